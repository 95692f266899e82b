"""What each feature means: explainers, scorers, judges, and clients of LMM servers.

Stands on ``evidence`` and knows no model: the subject comes in as something that can be asked,
an LMM as an address. Import from the modules; this package imports nothing by itself.

* types        Explanation, Score, Cost, and the protocols
* vocabulary   the namer that needs no LMM          subject_namer  the subject asked about crops
* lmm_explainer  any OpenAI-compatible server       cascade  cheap first; best of n
* detection, iou, simulation, fuzzing, specificity, sensitivity, monosemanticity   the scorers
* driver       explain_all, score_all               plan  what it will cost
"""
