"""The verb import: what others found, into the atlas of a workspace."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from semascope.cli.base import InWorkspace
from semascope.errors import AtlasError
from semascope.numbers import Index

if TYPE_CHECKING:
    from semascope.atlas import Atlas, Media
    from semascope.atlas.imports import Imported


class Import(InWorkspace):
    """Features that others found, into the atlas: to look at, to search, to export again.

    A folder in Neuronpedia's layout (features/batch-0.jsonl.gz and its neighbours; as semascope
    export neuronpedia writes it, with pictures), or a cache folder of multimodal-sae
    (0_1023.safetensors…), with --explanations its JSON files, and with --images the folder of
    pictures that it was made from. A second import of the same files changes nothing. Into a
    dictionary of a run, words come in beside the run's own, under their own author, and the run's
    figures and exemplars stay; rows that cannot be read are left out and named.
    """

    source: tyro.conf.Positional[Path]
    """The folder."""
    format: Literal["auto", "neuronpedia", "multimodal-sae"] = "auto"
    """auto looks at what the folder holds."""
    explanations: Path | None = None
    """multimodal-sae: a folder of explanations, labels and scores, or one JSON file."""
    images: Path | None = None
    """multimodal-sae: the folder of the cached pictures, in the order of their names."""
    name: str = ""
    """site/name to call the dictionary by; none: what the files say."""
    model: str = ""
    """The model that it belongs to; none: what the files say."""
    width: Index = 0
    """multimodal-sae: features of the dictionary; 0: what the files say."""

    replace: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Let the imported words take the place of those that are there."""

    def run(self) -> int:
        """Bring it in, and say what came."""
        from semascope.atlas import Atlas, Media

        if not self.source.exists():
            raise AtlasError(f"There is no {self.source}. Name the folder to import.")
        kind = self.format if self.format != "auto" else found_format(self.source)
        with Atlas.open(self.space.atlas) as atlas:
            bring = self._neuronpedia if kind == "neuronpedia" else self._multimodal_sae
            done = bring(atlas, Media(self.space.media))
            self._vectors(atlas, done.dictionary)
        print(
            f"{done.dictionary}: {done.alive} alive of {done.features} features, "
            f"{done.explanations} explanations, {done.exemplars} exemplars"
        )
        print(
            f"explanations: {done.added} added, {done.there} there already; "
            f"rows left out: {done.skipped}"
        )
        if done.kept:
            print(
                f"{done.kept} of them stand beside this run's own words, which stay "
                "(--replace puts the imported ones in their place)"
            )
        if done.own:
            print(
                f"{done.dictionary} is this run's own: its figures and exemplars stay as they are"
            )
        for note in done.notes:
            print(f"semascope: {note}", file=sys.stderr)
        return 0

    def _neuronpedia(self, atlas: Atlas, media: Media) -> Imported:
        from semascope.atlas.imports import import_neuronpedia

        return import_neuronpedia(
            atlas, media, self.source, name=self.name, model=self.model, overwrite=self.replace
        )

    def _multimodal_sae(self, atlas: Atlas, media: Media) -> Imported:
        from semascope.atlas.imports import import_multimodal_sae

        cached = self.source.is_dir() and any(self.source.glob("*.safetensors"))
        return import_multimodal_sae(
            atlas,
            media,
            self.source if cached else None,
            self.explanations or (None if cached else self.source),
            pictures=pictures(self.images) if self.images else (),
            name=self.name,
            model=self.model,
            width=self.width,
            overwrite=self.replace,
        )

    def _vectors(self, atlas: Atlas, key: str) -> None:
        """So that the words can be searched."""
        from semascope.atlas import write_vectors

        write_vectors(atlas, key, self.space.vectors / key)


def found_format(folder: Path) -> str:
    """Which layout a folder has; AtlasError where it has none that is known."""
    if (folder / "features").is_dir():
        return "neuronpedia"
    if folder.suffix == ".json" or any(folder.glob("*.safetensors")) or any(folder.glob("*.json")):
        return "multimodal-sae"
    raise AtlasError(
        f"{folder} is neither an export of Neuronpedia (features/batch-0.jsonl.gz) nor a cache or "
        "explanations of multimodal-sae (0_1023.safetensors, *.json). Name the folder that holds "
        "these."
    )


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, in the order of their names."""
    from semascope.corpus.tabular.json_files import SUFFIXES

    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise AtlasError(f"There are no pictures in {folder}.")
    return found
