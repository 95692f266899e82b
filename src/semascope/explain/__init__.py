"""What each feature means: explainers, scorers, judges, and clients of LMM servers.

Stands on ``evidence`` and knows no model: the subject comes in as something that can be asked,
an LMM as an address. Import from the modules; this package imports nothing by itself.

* types        Explanation, Score, Cost, and the protocols
* vocabulary   the namer that needs no LMM          subject_namer  the subject asked about crops
* lmm_explainer  any OpenAI-compatible server       local  a model on this machine
* causal_namer the subject, steered                 cascade  cheap first; best of n
* kinds, lexicon, words   what is known of names without a model
* detection, iou, simulation, fuzzing, specificity, sensitivity, monosemanticity, clip, grounded
  the scorers                                       drawn  fresh scenes of what a label names
* refine       interest, low level, duplicates      rating, agreement  people
* driver       explain_all, score_all               plan  what it will cost
* bars, coverage   the figures of ``semascope evaluate explanations``
"""
