"""The verbs export site, neuronpedia and dataset: a run's features for others to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from semascope.cli.base import InWorkspace, own_dictionary
from semascope.errors import WorkspaceError
from semascope.numbers import CountOrNone


class _Out(InWorkspace):
    """What the three have in common."""

    target: tyro.conf.Positional[Path]
    """Where to write."""
    dictionary: str = ""
    """Which, as site/name; none: the run's own, or the only one."""

    def _export(self, write: Callable[[Any, Any, str, Path], int]) -> int:
        from semascope.atlas import Atlas, Media
        from semascope.files import disk_guard
        from semascope.pipeline.feature_search import require_features

        require_features(self.space)
        with Atlas.open(self.space.atlas, readonly=True) as atlas:
            key = self.dictionary or own_dictionary(self.space, atlas)
            with disk_guard(self.target):
                count = write(atlas, Media(self.space.media), key, self.target)
        print(f"{self.target} ({count} features)")
        return 0


class ExportSite(_Out):
    """A folder of pages, one a feature with words: opens from disk, lives on any web server."""

    exemplars: CountOrNone = 8
    """Pictures and texts a feature."""

    def run(self) -> int:
        """Write the folder."""
        from semascope.atlas.exports import export_site

        return self._export(
            lambda atlas, media, key, to: export_site(
                atlas, media, key, to, exemplars=self.exemplars
            )
        )


class ExportNeuronpedia(_Out):
    """Every alive feature in Neuronpedia's layout, with image fields beside its own."""

    def run(self) -> int:
        """Write the folder."""
        from semascope.atlas.exports import export_neuronpedia

        return self._export(export_neuronpedia)


class ExportDataset(_Out):
    """Every feature with words as one Parquet file that Hugging Face datasets reads, pictures
    and heat included."""

    pictures: CountOrNone = 5
    """Pictures a feature."""

    def run(self) -> int:
        """Write the file."""
        from semascope.atlas.exports import export_dataset

        if self.target.is_dir():
            raise WorkspaceError(f"{self.target} is a folder. Name a file to write.")
        return self._export(
            lambda atlas, media, key, to: export_dataset(
                atlas, media, key, to, pictures=self.pictures
            )
        )
