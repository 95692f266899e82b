"""A tour of a thing that a run has no feature of goes on with one that it has, and says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from semascope.atlas import Atlas, FeatureFigures, HashingEmbedder, write_vectors
from semascope.atlas.packing import TokenLayout, pack_activations, pack_layout, pack_patches
from semascope.atlas.records import NewExemplar, SampleRecord
from semascope.explain.types import Score
from semascope.monitor.tours import tour
from semascope.serve.explorer.feature_index import FeatureIndex
from semascope.serve.explorer.guides import Guides
from semascope.workspace import Workspace

KEY = "resid_post.1/main"
LABELS = ("time", "clock", "owl")
MARKS = ((0.9, 0.9, 9), (0.8, 0.9, 9), (0.95, 0.95, 2))
"""IoU, detection, and how many pictures they stand on: one is no word of the picture's things,
one stands on too few."""


def figures(index: int) -> FeatureFigures:
    return FeatureFigures(
        index=index, alive=True, modality="image", density=0.01, density_text=0.0,
        density_image=0.01, max=1.0, samples=9, stats={},
    )  # fmt: skip


def words(index: int) -> SimpleNamespace:
    return SimpleNamespace(
        feature=index, label=LABELS[index], description=f"Pictures of {LABELS[index]}.",
        category="object", confidence=0.5, abstained=False, author="test", prompt_version="1",
        inputs="", cost={},
    )  # fmt: skip


@pytest.fixture
def guides(tmp_path: Path) -> Guides:
    space = Workspace(tmp_path)
    atlas = Atlas.open(space.atlas)
    atlas.add_dictionary(KEY, model="tiny", width=3)
    atlas.write_features(KEY, [figures(n) for n in range(3)])
    atlas.write_explanations(KEY, [words(n) for n in range(3)])
    layout = TokenLayout(
        np.ones(1, np.int8), np.full(1, -1, np.int16), np.full((1, 4), np.nan, "f4")
    )
    about = {"id": "s", "media": [], "sizes": [], "truth": {"objects": [{"name": "clock"}]}}
    patches = pack_patches(np.zeros((0, 4), np.float16))
    sample = SampleRecord(0, "score", 1, about, ["a"], pack_layout(layout), patches)
    atlas.write_samples("c", [sample])
    fired = pack_activations(np.array([0], np.int32), np.array([1.0], np.float32))
    atlas.write_exemplars(KEY, "c", [NewExemplar(n, 0, "top", 0, 9, 1.0, fired) for n in range(3)])
    atlas.write_scores(
        KEY,
        [
            Score(n, kind, value, 0.0, 0.0, 1.0, {"positives": many, "n": many}, "test")
            for n, (iou, detection, many) in enumerate(MARKS)
            for kind, value in (("iou", iou), ("detection", detection))
        ],
    )
    write_vectors(atlas, KEY, space.vectors / KEY, HashingEmbedder())
    return Guides(FeatureIndex(space, atlas), tmp_path / "kept.json", lambda key, index: [])


def test_another_thing_is_taken_and_said(guides: Guides) -> None:
    steps = guides.tour("fries").steps
    assert steps[0]["do"] == "say"
    assert "french fries" in steps[0]["text"]
    assert "'clock'" in steps[0]["text"]
    assert {s["words"] for s in steps if s["do"] in ("suppress", "strengthen")} == {"clock"}
    assert "{thing}" not in str(steps)


def test_a_tour_of_no_thing_is_as_it_is_written(guides: Guides) -> None:
    written = [step.do for step in tour("nine").steps]
    assert [s["do"] for s in guides.tour("nine").steps] == written
