"""A family of widths with planted splits, over a subject that sees four things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.evidence.evidence_fakes import DIM, SITE, THINGS, FakeSubject, ListCorpus, scene

from semascope.corpus.sample import Sample
from semascope.dictionary import CoderConfig, SparseCoder, save
from semascope.evidence import gather
from semascope.workspace import RunRecord, StageRecord, Workspace

NARROW, WIDE, WIDEST = (f"{SITE}/main-{width}" for width in (4, 8, 12))
EYE = torch.eye(DIM)
PICTURED, WRITTEN = EYE[0] + 0.3 * EYE[4], EYE[0] - 0.3 * EYE[4]
"""The bat's directions: one feature of the narrow dictionary, two of the wide one."""


class Things(FakeSubject):
    """A token of a thing's picture, or its first letter, is the thing's direction."""

    def __init__(self) -> None:
        self.table = EYE[11].repeat(512, 1)
        for i, thing in enumerate(THINGS):
            self.table[256 + 40 + 40 * i] = EYE[i]
            self.table[ord(thing[0])] = EYE[i]
        self.table[256 + 40], self.table[ord("b")] = PICTURED, WRITTEN
        self.table[256 + 160] = EYE[3] + EYE[5]  # a gem's picture: two features of the wide one

    def run(self, batch: Any, sites: Any, **_: object) -> dict[str, torch.Tensor]:
        return dict.fromkeys(sites, self.table[batch.inputs["input_ids"]])


def coder(name: str, rows: list[torch.Tensor]) -> SparseCoder:
    """Features that fire where the activation is nearly theirs."""
    made = SparseCoder(CoderConfig(d_in=DIM, width=len(rows), k=2), name=name, site=SITE)
    with torch.no_grad():
        made.W_dec.copy_(torch.nn.functional.normalize(torch.stack(rows), dim=1))
        made.W_enc.copy_(made.W_dec)
        made.b_enc.fill_(-0.95)
    return made


def coders() -> tuple[SparseCoder, SparseCoder]:
    """The bat splits, cup and fox stay, the gem is new; the last ones never fire."""
    never = [EYE[8] - EYE[9], EYE[6], EYE[7]]
    narrow = coder("main-4", [EYE[0], EYE[1], EYE[2], never[0]])
    wide = [PICTURED, WRITTEN, EYE[1], EYE[2], EYE[3], EYE[5], *never[1:]]
    return narrow, coder("main-8", wide)


def widest() -> SparseCoder:
    """One more: the bat's picture splits again, and the rest stays."""
    parts = [PICTURED + 0.2 * EYE[10], PICTURED - 0.25 * EYE[10]]
    never = [EYE[6], EYE[7], EYE[8], EYE[9], EYE[8] - EYE[9]]
    return coder("main-12", [*parts, WRITTEN, EYE[1], EYE[2], EYE[3], EYE[5], *never])


def workspace(root: Path, dictionaries: tuple[SparseCoder, ...], rows: ListCorpus) -> Path:
    """A run that was trained and gathered."""
    space = Workspace(root)
    for one in dictionaries:
        save(one, space.dictionary(SITE, one.name))
    gather(Things(), rows, list(dictionaries), space.evidence(), media=space.media, per_interval=40)
    done = {name: StageRecord(done=True) for name in ("train", "gather")}
    space.save(RunRecord(site=SITE, dictionary=dictionaries[0].name, stages=done))
    return root


def planted_rows() -> ListCorpus:
    """Scenes of one thing each, and names written without their thing as well."""
    which = np.random.default_rng(0).choice(4, 100, p=np.array([6, 4, 3, 2]) / 15)
    rows = [scene(i, int(w)) for i, w in enumerate(which)]
    rows += [Sample(f"t{i}", text=f"{i} {THINGS[i % 4]}") for i in range(20)]
    return ListCorpus(rows)
