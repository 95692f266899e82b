"""The verbs, in the order of the data flow: name, one line, where it lives, an example that runs.

Examples of the verbs that look at a run look at the demo's, which ``semascope demo --no-serve``
makes. Nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One verb."""

    name: str
    line: str
    """What it does, for the tour."""
    path: str
    """``module:class`` under ``semascope.cli.commands``."""
    example: str
    """A command that runs as it stands, once the demo has run."""


ENTRIES = (
    Entry("demo", "all of it: train, gather, explain, score, then the page", "run:Demo",
          "semascope demo --no-serve"),
    Entry("model fetch", "get the parts of the embedded model that do not ship, once",
          "model:Fetch", "semascope model fetch"),
    Entry("model card", "what the embedded model can do, in measured figures",
          "model:Card", "semascope model card"),
    Entry("model sites", "the places in a model where one can look",
          "model:Sites", "semascope model sites --subject sprite-llava"),
    Entry("model check", "whether a model does here what everything relies on",
          "model:Check", "semascope model check --subject sprite-llava"),
    Entry("train", "dictionaries: split sites' activations into features",
          "run:Train", "semascope train --arch topk --sites resid_post.4 resid_post.12 "
          "--widths 1x 4x --tokens 64000 --workspace workspace/family"),
    Entry("gather", "evidence: what every feature responds to, in one pass",
          "run:Gather", "semascope gather --workspace workspace/demo"),
    Entry("explain", "words for every alive feature, or what they would cost",
          "explain:Explain", "semascope explain --plan --workspace workspace/demo"),
    Entry("score", "how true the words are, on samples no explainer saw",
          "explain:Score", "semascope score --workspace workspace/demo"),
    Entry("read", "what the model says of a feature's own activations, exemplar by exemplar",
          "read:Read", "semascope read resid_post.12/main/2479 --workspace workspace/demo"),
    Entry("rate", "rate explanations blind: right, vague, wrong, silly; agreement with the scores",
          "explain:Rate", "semascope rate --sheet 5 --html sheet.html --workspace workspace/demo"),
    Entry("report", "the figures of a run, beside their baselines", "report:Report",
          "semascope report --workspace workspace/demo"),
    Entry("search", "features by meaning, by a picture, by examples", "search:Search",
          "semascope search 'a flag' --workspace workspace/demo"),
    Entry("attribute", "which features made the model answer so", "attribute:Attribute",
          "semascope attribute 'What is in the picture?' --picture scene:3 --ablate 20 "
          "--workspace workspace/demo"),
    Entry("steer", "turn features up or down, and see both answers", "steer:Steer",
          "semascope steer happy --picture scene:0 --kinds image --strength 3 "
          "--workspace workspace/demo"),
    Entry("find", "a wish in, a tested set of features out", "find:Find",
          "semascope find 'speak of a dog' --workspace workspace/demo"),
    Entry("study", "published studies: a feature at 10 × its maximum, personas, vectors",
          "study:Study",
          "semascope study clamped --feature 'a flag' --workspace workspace/demo"),
    Entry("serve", "the page, on this machine", "serve:Serve",
          "semascope serve --workspace workspace/demo --port 8123"),
    Entry("tour", "a guided tour: ask, look behind, change, measure", "tour:Guided",
          "semascope tour bridge --workspace workspace/demo"),
    Entry("evaluate subject", "can the model see: the card's figures, measured anew",
          "model:EvaluateSubject", "semascope evaluate subject --samples 20 --seed 1"),
    Entry("evaluate geometry", "does every image token look where its map says",
          "model:EvaluateGeometry", "semascope evaluate geometry --subject sprite-llava"),
    Entry("evaluate dictionary", "what it leaves out, what that costs the model, what is dead",
          "evaluate.dictionary:EvaluateDictionary",
          "semascope evaluate dictionary --workspace workspace/demo"),
    Entry("evaluate explanations", "how true the words are: every bar, with its interval",
          "explain:EvaluateExplanations",
          "semascope evaluate explanations --workspace workspace/demo --seed 1 --json"),
    Entry("evaluate completeness", "which known concepts have a feature, by width",
          "evaluate.completeness:EvaluateCompleteness",
          "semascope evaluate completeness --workspace workspace/demo"),
    Entry("evaluate splitting", "what features become in a wider dictionary, as a tree",
          "evaluate.geometry:EvaluateSplitting",
          "semascope evaluate splitting --workspace workspace/family"),
    Entry("evaluate shared", "features that fire on the word and on the picture, with controls",
          "evaluate.geometry:EvaluateShared",
          "semascope evaluate shared --workspace workspace/demo"),
    Entry("evaluate alignment", "how far single neurons carry the features",
          "evaluate.geometry:EvaluateAlignment",
          "semascope evaluate alignment --workspace workspace/demo"),
    Entry("evaluate attribution", "does attribution tell what ablation would, and at what cost",
          "evaluate.causal:EvaluateAttribution",
          "semascope evaluate attribution --samples 10 --seed 1 --workspace workspace/demo"),
    Entry("evaluate steering", "do object features get their concept named; the behaviours",
          "evaluate.causal:EvaluateSteering",
          "semascope evaluate steering --samples 20 --seed 1 --workspace workspace/demo"),
    Entry("evaluate hallucination", "inventions: what is to blame, what mends them, what breaks",
          "evaluate.causal:EvaluateHallucination",
          "semascope evaluate hallucination --samples 40 --seed 1 --workspace workspace/demo"),
    Entry("convert", "a dictionary's checkpoint between formats", "convert:Convert",
          "semascope convert workspace/demo/dictionaries/resid_post.12/main /tmp/sae "
          "--to sparsify"),
    Entry("adopt", "your own trained dictionary into a workspace, for all later verbs",
          "adopt:Adopt",
          "semascope adopt workspace/demo/dictionaries/resid_post.12/main --subject sprite-llava "
          "--workspace workspace/adopted"),
    Entry("export", "a run's features, words and scores as files", "convert:Export",
          "semascope export /tmp/features.jsonl --workspace workspace/demo"),
    Entry("export site", "a folder of pages that opens from disk", "export:ExportSite",
          "semascope export site /tmp/site --workspace workspace/demo"),
    Entry("export neuronpedia", "Neuronpedia's layout, with pictures",
          "export:ExportNeuronpedia",
          "semascope export neuronpedia /tmp/neuronpedia --workspace workspace/demo"),
    Entry("export dataset", "a Parquet file for Hugging Face datasets, with pictures",
          "export:ExportDataset",
          "semascope export dataset /tmp/features.parquet --workspace workspace/demo"),
    Entry("import", "what others found: Neuronpedia's files, multimodal-sae's caches",
          "imports:Import",
          "semascope import /tmp/neuronpedia --workspace workspace/imported"),
)  # fmt: skip

VERBS = {entry.name: entry for entry in ENTRIES}
GROUPS = {
    "model": "the model under the microscope",
    "evaluate": "does the microscope tell the truth",
}
STEPS = (
    ("Everything at once", ("demo",)),
    (
        "A subject, the model under the microscope",
        ("model fetch", "model card", "model sites", "model check"),
    ),
    ("reads a corpus; a dictionary splits its activations into features", ("train", "adopt")),
    ("one pass gathers evidence for every feature", ("gather",)),
    ("which is put into words, and the words are scored", ("explain", "score", "read", "rate")),
    (
        "the atlas keeps all of it",
        (
            "report",
            "search",
            "convert",
            "export",
            "export site",
            "export neuronpedia",
            "export dataset",
            "import",
        ),
    ),
    (
        "features are traced, turned up and down, and found by what they do",
        ("attribute", "steer", "find", "study"),
    ),
    ("and the page shows it", ("serve", "tour")),
    (
        "Does the microscope tell the truth",
        (
            "evaluate subject",
            "evaluate geometry",
            "evaluate dictionary",
            "evaluate completeness",
            "evaluate splitting",
            "evaluate shared",
            "evaluate alignment",
            "evaluate explanations",
            "evaluate attribution",
            "evaluate steering",
            "evaluate hallucination",
        ),
    ),
)


def tour(group: str = "") -> str:
    """The help of the whole command, or of a group of verbs."""
    if group:
        return f"usage: semascope {group} VERB\n\n{GROUPS[group]}\n\n{_lines(_of(group))}\n"
    parts = [
        "usage: semascope VERB [flags]      flags of a verb: semascope VERB --help",
        "",
        "Look inside a multimodal or language model: what its features are, what they respond",
        "to, what they mean and what they do. The verbs, in the order of the data flow:",
    ]
    for title, names in STEPS:
        parts += ["", title, _lines([VERBS[name] for name in names if name in VERBS])]
    parts += [
        "",
        "One run lives in one folder: --workspace, by default workspace/demo. demo and train begin",
        "one; the other verbs do what was left undone there, and go on where they were stopped.",
    ]
    return "\n".join(parts)


def _of(group: str) -> list[Entry]:
    return [entry for entry in ENTRIES if entry.name.startswith(f"{group} ")]


def _lines(entries: list[Entry]) -> str:
    return "\n".join(f"  {entry.name:<23}{entry.line}" for entry in entries)
