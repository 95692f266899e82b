"""Every class of transformers that reads pictures: is it read rightly, or refused in words?

    python -m benchmarks picture_families

Each model type of AutoModelForImageTextToText that has a small maker is made with random weights
and its family's own processor. A picture and a question are encoded; rows beside a longer one,
beside one of two pictures and beside words alone are compared with what they are alone, padded on
either side; where its image tokens look is proved by cause. What is refused stands in the table
with its sentence; a traceback is an error of this project.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from semascope.corpus.sample import Sample, Turn
from semascope.errors import SemascopeError
from semascope.subject import Subject
from semascope.subject.geometry.verify import prove
from semascope.subject.testing import ALL, TEXT, tiny

CLOSE = 1e-3
"""Largest difference from alone, in units of the mean activation."""
RIGHT, FINE = 0.95, 0.65
SIZES = ((150, 70), (60, 160))


def main() -> dict[str, Any]:
    """One row a model type."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as NAMES,
    )

    made: dict[str, Subject | str] = {}
    for family in ALL:
        if family not in TEXT:
            made[family] = attempt(partial(tiny, family))
    rows = [row(family, subject) for family, subject in made.items()]
    types = {str(row["model_type"]) for row in rows}
    rest = sorted(name for name in NAMES if name not in types)
    return {"rows": rows, "not_made": rest, "classes": len(NAMES), **counted(rows)}


def counted(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How the table comes out."""
    cells = [str(value) for row in rows for name, value in row.items() if name not in LABELS]
    return {
        "made": sum(row["encode"] == "read" for row in rows),
        "wrong": sum(cell.startswith("WRONG") for cell in cells),
        "tracebacks": sum(cell.startswith("TRACEBACK") for cell in cells),
        "proved": sum(row["places"] == "proved" for row in rows),
    }


LABELS = ("family", "model_type")


def row(family: str, subject: Subject | str) -> dict[str, Any]:
    """What one family does."""
    if isinstance(subject, str):
        return {"family": family, "model_type": family, "encode": subject, "places": ""}
    short, long = asked("What?", (60, 60)), asked("Is it the red one of these?", (96, 64))
    two, words = asked("Which is it?", (60, 60), (40, 90)), asked("A red circle.")
    checks: dict[str, Callable[[], str]] = {
        "encode": lambda: encoded(subject, short),
        "longer": lambda: batched(subject, [short, long]),
        "two_pictures": lambda: batched(subject, [two, short]),
        "words_alone": lambda: batched(subject, [long, words]),
        "places": lambda: places(subject, short),
    }
    kind = str(subject.model.config.model_type)
    found = {name: attempt(check) for name, check in checks.items()}
    return {"family": family, "model_type": kind, **found}


def attempt(work: Callable[[], Any]) -> Any:
    """What comes of it; a refusal or an error as words."""
    try:
        return work()
    except SemascopeError as error:
        return f"refused: {str(error).split('. ')[0].split(': ')[0]}"
    except Exception as error:  # noqa: BLE001  the table is to show whatever escapes
        return f"TRACEBACK {type(error).__name__}: {error}"


def asked(text: str, *sizes: tuple[int, int]) -> Sample:
    """A question about pictures of noise."""
    rng = np.random.default_rng(len(text))
    pixels = [rng.integers(0, 255, (h, w, 3), dtype=np.uint8) for w, h in sizes]
    turn = Turn("user", text, images=len(sizes))
    return Sample("asked", turns=(turn,), images=tuple(map(Image.fromarray, pixels)))


def encoded(subject: Subject, sample: Sample) -> str:
    """Whether a picture is read at all, and makes a difference."""
    batch, blank = (
        subject.encode([s])
        for s in (sample, Sample("b", turns=sample.turns, images=(Image.new("RGB", (60, 60)),)))
    )
    site = last(subject)
    a, b = (subject.run(x, site)[site][:, -1] for x in (batch, blank))
    return "read" if float((a - b).abs().max()) > 1e-6 else "WRONG: blind"


def batched(subject: Subject, samples: list[Sample]) -> str:
    """Rows of a batch, padded on either side, against each alone."""
    site, worst = last(subject), 0.0
    for side in ("left", "right"):
        batch = subject.encode(samples, side=side)  # type: ignore[arg-type]
        x = subject.run(batch, site)[site]
        for n, sample in enumerate(samples):
            alone = subject.run(subject.encode([sample]), site)[site][0]
            far = (x[n][batch.mask[n]] - alone).abs().max() / alone.abs().mean()
            worst = max(worst, float(far))
    return "as alone" if worst < CLOSE else f"WRONG: differs by {worst:.2g}"


def places(subject: Subject, sample: Sample) -> str:
    """Where image tokens look: proved, or said to be unknown."""
    if subject.encode([sample]).maps[0].geometry != "known":
        return "said to be unknown"
    rows = prove(subject, SIZES)
    right = all(r.first >= RIGHT and not r.fine < FINE for r in rows)
    told = [(round(r.first, 2), round(r.fine, 2)) for r in rows if not math.isnan(r.first)]
    return "proved" if right else f"WRONG: {told}"


def last(subject: Subject) -> str:
    """The last residual site."""
    return [name for name in subject.sites() if name.startswith("resid_post")][-1]
