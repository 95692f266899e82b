"""A token a hundred times as long as its neighbours says nothing of a feature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from evidence_fakes import FakeDictionary, FakeSubject, ListCorpus

from semascope.corpus.sample import Sample
from semascope.evidence import Evidence, EvidenceOptions, gather
from semascope.subject.types import Batch

SINK = "Q"


class SinkingSubject(FakeSubject):
    """One letter parks attention: its own activations are large, and no others."""

    def run(self, batch: Batch, sites: Sequence[str], **more: object) -> dict[str, torch.Tensor]:
        found = super().run(batch, sites, **more)
        sink = batch.inputs["input_ids"] == ord(SINK)
        return {site: torch.where(sink[..., None], 100 * x, x) for site, x in found.items()}


def seen(folder: Path, outlier: float, text: str) -> Evidence:
    rows = ListCorpus([Sample(id=str(n), text=f"{text} number {n} of many") for n in range(12)])
    options = EvidenceOptions(top=3, per_interval=2, batch_size=4, outlier=outlier)
    gather(
        SinkingSubject(),
        rows,
        [FakeDictionary()],
        folder / "e",
        media=folder / "m",
        options=options,
    )
    return Evidence.open(folder / "e", "main")


def test_sinks_are_left_out_and_counted_where_asked(tmp_path: Path) -> None:
    without = seen(tmp_path / "a", 10.0, f"a {SINK} here")
    counted = seen(tmp_path / "b", 0.0, f"a {SINK} here")
    plain = seen(tmp_path / "c", 10.0, "a  here")

    def largest(evidence: Evidence) -> float:
        return max(evidence.feature(int(i)).stats["max"] for i in evidence.alive())

    assert largest(counted) > 20 * largest(without)
    tokens = {name: e.feature(int(e.alive()[0])).stats["tokens"] for name, e in
              (("without", without), ("counted", counted), ("plain", plain))}  # fmt: skip
    assert tokens["counted"] - tokens["without"] == 12
    assert tokens["plain"] == pytest.approx(tokens["without"], abs=12)
