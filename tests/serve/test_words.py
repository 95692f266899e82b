"""What features are called: read once, and again when somebody wrote."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from semascope.atlas import Atlas, FeatureFigures
from semascope.serve.explorer.feature_index import FeatureIndex
from semascope.workspace import Workspace

KEY = "resid_post.1/main"


def tell(atlas: Atlas, feature: int, label: str) -> None:
    words = SimpleNamespace(
        feature=feature, label=label, description=f"Shows {label}.", category="object",
        confidence=0.9, abstained=False, author="hand", prompt_version="1", inputs="", cost={},
    )  # fmt: skip
    atlas.write_explanations(KEY, [words])


def test_rows_are_read_again_when_the_atlas_was_written_to(tmp_path: Path) -> None:
    """By another process, say: rows that were kept would be the old ones."""
    space = Workspace(tmp_path)
    other = Atlas.open(space.atlas)
    other.add_dictionary(KEY, model="tiny", width=3)
    figures = FeatureFigures(
        index=1, alive=True, modality="text", density=0.1, density_text=0.1,
        density_image=0.0, max=1.0, samples=1, stats={},
    )  # fmt: skip
    other.write_features(KEY, [figures])
    tell(other, 1, "a dog")
    words = FeatureIndex(space, Atlas.open(space.atlas))
    before = words.rows([(KEY, 1), (KEY, 2)])
    assert [row.label for row in before.values()] == ["a dog"]
    assert words.rows([(KEY, 1)])[KEY, 1] is before[KEY, 1]
    tell(other, 1, "a cat")
    assert words.rows([(KEY, 1)])[KEY, 1].label == "a cat"
    other.close()
    words.atlas.close()
