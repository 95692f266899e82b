"""Twenty explanations with what their features fire on, ten of the best and ten of the worst.

    python -m recipes.explained --workspace workspace/demo --out docs/images/explanations.png

The best and the worst are by held-out detection AUROC among features that were explained, half of
either by pictures and half by text; no two of the same words. The samples shown are held out too:
what the explainer never saw. Chromium draws the page.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from semascope.atlas import Atlas
from semascope.evidence import Evidence, Exemplar
from semascope.explain.crops import data_url, firing_picture, overlay
from semascope.explain.text.exemplar_terms import mode_of
from semascope.pipeline import recorded
from semascope.pipeline.run_context import Run
from semascope.workspace import Workspace

SHOWN = 4
LONGEST = 24
"""Tokens of a text, around where the feature fires most."""
STYLE = """
body{font:14px/1.4 system-ui,sans-serif;color:#222;margin:20px;width:1180px;background:#fff}
h2{font-size:16px;margin:18px 0 6px} table{border-collapse:collapse;width:100%}
td{border-top:1px solid #ddd;padding:6px 10px 6px 0;vertical-align:top}
.words{width:250px} .all{white-space:nowrap} .words b{display:block} .dim{color:#777;font-size:12px}
.num{width:120px;font-variant-numeric:tabular-nums;white-space:nowrap}
img{width:112px;height:112px;border-radius:4px;margin-right:6px}
.text{display:inline-block;width:172px;margin-right:8px;font:12px/1.35 ui-monospace,monospace;
vertical-align:top;overflow-wrap:anywhere;white-space:pre-wrap} mark{background:none}
"""


def chosen(atlas: Atlas, dictionary: str, count: int, modality: str, seed: int) -> Iterator[Any]:
    """``count`` good rows, then as many bad: drawn from the upper and the lower tenth."""
    where = {"explained": True, "modality": modality}
    page = atlas.features(dictionary, sort="-detection", where=where, limit=100_000)
    rows = [row for row in page.rows if "detection" in row.scores]
    tenth = max(count, len(rows) // 10)
    taken: set[str] = set()
    for part in (rows[:tenth], rows[-tenth:]):
        found = 0
        for row in random.Random(seed).sample(part, len(part)):
            if found < count and row.label not in taken:
                taken.add(row.label)
                found += 1
                yield row


def marked(exemplar: Exemplar) -> str:
    """Text as HTML, darker where the feature fires more; a picture's tokens are left out."""
    shown = exemplar.shown
    words = np.flatnonzero(shown.image < 0)
    values = exemplar.activations[words]
    at = int(values.argmax())
    window = slice(max(0, at - LONGEST * 2 // 3), max(0, at - LONGEST * 2 // 3) + LONGEST)
    most = float(values.max()) or 1.0
    parts = []
    for word, value in zip(words[window], values[window], strict=True):
        shade = f' style="background:rgba(217,72,15,{0.75 * float(value) / most:.2f})"'
        parts.append(f"<mark{shade if value > 0 else ''}>{escape(shown.tokens[word])}</mark>")
    return f'<span class="text">{"".join(parts)}</span>'


def drawn(exemplar: Exemplar, run: Run) -> str:
    """One sample: its picture with the heat map, or its text."""
    if mode_of(exemplar) != "picture":
        return marked(exemplar)
    picture = firing_picture(exemplar)
    image = run.media.open(exemplar.shown.media[picture])
    return f'<img src="{data_url(overlay(image, exemplar, picture))}">'


def line(row: Any, evidence: Evidence, run: Run) -> str:
    """One feature as a row of the table."""
    held = evidence.feature(row.index).split("score")
    figures = [
        f"{name} {row.scores[kind].value:.2f}"
        for kind, name in (("detection", "detection"), ("iou", "IoU"))
        if kind in row.scores
    ]
    return (
        f'<tr><td class="words"><b>{escape(row.label)}</b>{escape(row.description)}'
        f'<br><span class="dim">{escape(row.id)}</span></td>'
        f'<td class="num">{"<br>".join(figures)}</td>'
        f'<td class="all">{"".join(drawn(e, run) for e in held.top[:SHOWN])}</td></tr>'
    )


def sheet(space: Workspace, seed: int) -> str:
    """The whole page as HTML."""
    run = Run(space, recorded(space))
    evidence, key = run.evidence, run.dictionary_id
    with Atlas.open(space.atlas) as atlas:
        kinds = [list(chosen(atlas, key, 5, kind, seed)) for kind in ("image", "text")]
    good = [row for rows in kinds for row in rows[:5]]
    bad = [row for rows in kinds for row in rows[5:]]
    parts = [
        f"<h2>{title}</h2><table>{''.join(line(row, evidence, run) for row in rows)}</table>"
        for title, rows in (
            ("Drawn from the tenth with the best detection", good),
            ("Drawn from the tenth with the worst", bad),
        )
    ]
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{''.join(parts)}"


def photograph(html: str, out: Path) -> None:
    """A page as Chromium shows it, from top to bottom."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or os.environ.get("CHROMIUM")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1220, "height": 200})
        page.set_content(html)
        page.screenshot(path=str(out), full_page=True)
        browser.close()
    print(out)


def main() -> None:
    """Draw, photograph."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("workspace/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/explanations.png"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    photograph(sheet(Workspace(options.workspace), options.seed), options.out)


if __name__ == "__main__":
    main()
