"""What docs/figures say: the commands that measure it, and those that make what they look at."""

from __future__ import annotations

DEMO, FAMILY, WIDE = "workspace/demo", "workspace/family", "workspace/wide"
EARLY = "workspace/early"
MADE: dict[str, tuple[str, ...]] = {
    DEMO: ("demo --no-serve",),
    FAMILY: ("train --widths 1x 4x 16x --tokens 220000 --settings lr_scale=0.667", "gather"),
    WIDE: (
        "train --corpus 'scenes?n=40000' --arch batchtopk --k 16 --latents 9216 --tokens 640000",
        "gather --samples 8000",
        "explain --least-gain 0.5",
        "score",
    ),
    EARLY: (
        "train --sites resid_post.4 resid_post.8 --tokens 150000",
        "gather --dictionary resid_post.8/main --samples 1500",
    ),
}
"""By workspace: the semascope commands that make it, in order; each gets ``--workspace``."""
MEASURED: dict[str, tuple[str, str]] = {
    "card": (
        "What the embedded model can do, on held-out compositions",
        "evaluate subject --seed 1 --samples {samples:1000} --json",
    ),
    "demo": (
        "The demo's figures, beside their baselines",
        f"report --workspace {DEMO} --json",
    ),
    "explanations": (
        "How true the explanations of 9,216 features of scenes are (16 ×)",
        f"evaluate explanations --workspace {WIDE} --seed 1 --json",
    ),
    "attribution": (
        "Attribution beside exact ablation, on the demo's dictionary",
        f"evaluate attribution --workspace {DEMO} --seed 1 --samples {{samples:100}} --json",
    ),
    "steering": (
        "Object features put into an empty picture",
        f"evaluate steering --workspace {DEMO} --seed 1 --samples {{samples:100}} "
        "--doses 3 4 6 8 --sizes 2 4 8 --no-behaviours --json",
    ),
    "behaviours": (
        "Behaviours, each found by itself and judged on held-out prompts",
        f"evaluate steering --workspace {DEMO} --seed 2 --samples 4 --doses 4 --sizes 8 "
        "--concept flag --wishes object feeling --json",
    ),
    "hallucination": (
        "Inventions, what mends them and what that breaks",
        f"evaluate hallucination --workspace {DEMO} --seed 1 --samples {{samples:2000}} --json",
    ),
    "word": (
        "Read the word and ignore the picture, wished of dictionaries at layers 4 and 8",
        f"find 'read the word and ignore the picture' --workspace {EARLY} --json",
    ),
    "completeness": (
        "Known concepts that have a feature, by width",
        f"evaluate completeness --workspace {FAMILY} --seed 1 --json",
    ),
    "splitting": (
        "What features become in the next wider dictionary",
        f"evaluate splitting --workspace {FAMILY} --concept flag --threshold 0.4 --json",
    ),
    "shared": (
        "Features that fire on the word and on the picture",
        f"evaluate shared --workspace {DEMO} --json",
    ),
    "alignment": (
        "Features beside the neurons that follow them best",
        f"evaluate alignment --workspace {DEMO} --json",
    ),
}
"""By name: the title, and the semascope command that prints the figures as JSON; ``{samples:N}``
is N or what ``--samples`` says."""
