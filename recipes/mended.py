"""One invention from picture to cause to fix, every number measured while it is drawn.

    semascope evaluate hallucination --workspace workspace/demo --seed 1 --samples 2000
    python -m recipes.mended --workspace workspace/demo --out docs/images/invention.png

Of the held-out inventions that the found set mends, the one that the model was surest of: its
picture, the parts and the features that spoke for it with what else they fire on, and the margin of
the right answer as the set's dose grows, beside random features. Chromium draws the page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from recipes.explained import STYLE, drawn, photograph
from semascope.causal.search.cases import Case, halves, meets
from semascope.causal.search.ledger import Ledger
from semascope.causal.search.presence import presence_goal
from semascope.causal.search.trials import CachedRuns
from semascope.causal.steering.controls import as_controls
from semascope.causal.steering.interventions import Intervention
from semascope.cli.opened import Opened
from semascope.evaluate.hallucination import Blame, blame
from semascope.explain.crops import data_url
from semascope.workspace import Workspace

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""Of the found set's dose."""
CAUSES, SHOWN, CONTROLS = 4, 3, 3
TOKENS = 4
MORE = """
.three{display:grid;grid-template-columns:250px 1fr 330px;gap:24px} h2{margin-top:0}
.three img.large{width:240px;height:240px;image-rendering:auto}
.cause{display:flex;gap:10px;align-items:center;border-top:1px solid #ddd;padding:6px 0}
.cause div:first-child{width:150px}
.said{font-size:15px} .wrong{color:#b3261e} .right{color:#1b6e3c}
"""


@dataclass(frozen=True, slots=True)
class Mended:
    """An invention, who is to blame, and what doses do to it."""

    case: Case
    before: str
    after: str
    blamed: Blame
    found: list[float]
    """The right answer's margin at each of ``FACTORS``, nats."""
    random: list[list[float]]
    """The same of random sets."""


def measured(opened: Opened, report: dict[str, Any]) -> Mended:
    """The surest of the inventions that are mended. Raises SystemExit where there is none."""
    own = report["finding"]["interventions"] or report["finding"]["best_tried"]
    chosen = TypeAdapter(list[Intervention]).validate_python(own)
    runs = CachedRuns(opened.steerable, Ledger())
    goal = presence_goal(report["samples"], seed=report["seed"], split=report["split"])
    held = {case.id: case for case in halves(goal.cases)[1]}
    wrong = [held[row["id"]] for row in report["wrong"] if row["id"] in held]
    now = runs.met(wrong, chosen, meets, TOKENS)
    fixed = [case for case, fine in zip(wrong, now, strict=True) if fine]
    if not fixed:
        raise SystemExit("None of the inventions that the report explains is mended.")
    margins = runs.margins(fixed, ())
    case = fixed[margins.index(min(margins))]
    before, after = (runs.answers([case], set_, TOKENS)[0] for set_ in ((), chosen))
    controls = [as_controls(opened.steerable, chosen, seed) for seed in range(CONTROLS)]
    curves = [curve(runs, case, one) for one in (chosen, *controls)]
    return Mended(case, before, after, blame(opened.steerable, case, before), curves[0], curves[1:])


def curve(runs: CachedRuns, case: Case, chosen: Sequence[Intervention]) -> list[float]:
    """The margin at each factor of the dose."""
    return [
        runs.margins([case], [one.at(factor * one.strength) for one in chosen] if factor else [])[0]
        for factor in FACTORS
    ]


def chart(one: Mended) -> str:
    """Margins by dose as an SVG: above the line the right answer wins."""
    wide, high, left, top = 320, 230, 44, 12
    every = [v for row in (one.found, *one.random) for v in row]
    low, most = min(*every, -0.5), max(*every, 0.5)

    def at(factor: float, value: float) -> str:
        x = left + (wide - left - 10) * factor / FACTORS[-1]
        return f"{x:.1f},{top + (high - top - 40) * (most - value) / (most - low):.1f}"

    def path(row: Sequence[float], colour: str, width: float) -> str:
        points = " ".join(at(f, v) for f, v in zip(FACTORS, row, strict=True))
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'

    x0, y0 = at(0, 0).split(",")
    ticks = "".join(
        f'<text x="{at(f, low).split(",")[0]}" y="{high - 22}" text-anchor="middle">{f:g}</text>'
        for f in FACTORS[::2]
    )
    lines = "".join(path(row, "#9aa0a6", 1.2) for row in one.random)
    return (
        f'<svg width="{wide}" height="{high}" font-size="11" fill="#555">'
        f'<line x1="{x0}" y1="{y0}" x2="{wide - 10}" y2="{y0}" stroke="#bbb" stroke-dasharray="3"/>'
        f'<text x="{left - 6}" y="{float(y0) + 4}" text-anchor="end">0</text>'
        f'<text x="{left - 6}" y="{top + 8}" text-anchor="end">{most:+.1f}</text>'
        f'<text x="{left - 6}" y="{high - 40}" text-anchor="end">{low:+.1f}</text>'
        f"{lines}{path(one.found, '#1b6e3c', 2.4)}{ticks}"
        f'<text x="{wide / 2}" y="{high - 6}" text-anchor="middle">dose, × that of the set</text>'
        "</svg>"
    )


def causes(opened: Opened, one: Mended) -> str:
    """The features that spoke most for the wrong answer, with what else they fire on."""
    rows = []
    every = sorted([*one.blamed.image, *one.blamed.text], key=lambda share: -share.score)
    for share in every[:CAUSES]:
        label = opened.labels.get((share.key, share.index), "") or "no words"
        fired = opened.run.evidence.feature(share.index).split("score").top[:SHOWN]
        shown = "".join(drawn(exemplar, opened.run) for exemplar in fired)
        side = "at the picture" if share in one.blamed.image else "at the words"
        rows.append(
            f'<div class="cause"><div><b>{escape(label)}</b><br><span class="dim">'
            f"{escape(share.key.split('/')[0])} · {share.index}<br>{share.score:+.2f} nats {side}"
            f"</span></div><div>{shown}</div></div>"
        )
    return "".join(rows)


def sheet(opened: Opened, report: dict[str, Any], one: Mended) -> str:
    """The whole page as HTML."""
    picture = one.case.sample.images[0]
    heat = one.blamed.picture() or picture
    asked = escape(one.case.sample.turns[-1].text)
    reason = escape(report["finding"]["reason"])
    return (
        f"<!doctype html><meta charset=utf-8><style>{STYLE}{MORE}</style><div class='three'><div>"
        f"<h2>1 The answer</h2><img class='large' src='{data_url(picture)}'>"
        f"<p class='said'>{asked}<br><b class='wrong'>{escape(one.before)}</b></p></div><div>"
        f"<h2>2 Its cause: the {one.blamed.culprit} ({one.blamed.image_share:.0%} image)</h2>"
        f"<div class='cause'><img class='large' src='{data_url(heat)}'><div>What spoke for it, in "
        f"red; below, the features that spoke loudest, and what else they fire on.</div></div>"
        f"{causes(opened, one)}</div><div><h2>3 The fix</h2>"
        f"<p class='said'>{asked}<br><b class='right'>{escape(one.after)}</b></p>"
        f"<p>log p({escape(one.case.wanted)}) − log p({escape(one.case.unwanted)}) under the set "
        f"that was found (green) and under random features (grey):</p>{chart(one)}"
        f"<p class='dim'>{reason}</p></div></div>"
    )


def main() -> None:
    """Measure, draw, photograph."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("workspace/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/invention.png"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    file = options.workspace / "evaluations" / f"hallucination-{options.seed}.json"
    if not file.exists():
        raise SystemExit(f"{file} is not there: run semascope evaluate hallucination first.")
    report = json.loads(file.read_text(encoding="utf-8"))
    opened = Opened(Workspace(options.workspace))
    photograph(sheet(opened, report, measured(opened, report)), options.out)


if __name__ == "__main__":
    main()
