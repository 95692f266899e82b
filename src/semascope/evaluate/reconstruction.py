"""The control without SAE errors: activations replaced by their reconstruction.

What changes then is what the dictionaries' errors cost, a confound of every intervention that
drops them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from semascope.causal.attribution.scores import reconstruct
from semascope.causal.attribution.watched_run import Watch
from semascope.causal.steering.units import dictionary_id, output_site
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError
from semascope.subject.patches import VisionPatches, is_pictured
from semascope.subject.readable import read_positions, without_sinks
from semascope.subject.types import Edit, EditContext, Edits


def reconstruction_only(dictionaries: Iterable[Dictionary]) -> Edits:
    """Edits that replace x by its reconstruction x̂, without the error and with every feature as is.

    A dictionary that reads one site and writes another gives x̂ of what it read.

    Raises:
        CausalError: two dictionaries reconstruct the same site.
    """
    known = list(dictionaries)
    writers: dict[str, Dictionary] = {}
    for dictionary in known:
        other = writers.setdefault(output_site(dictionary), dictionary)
        if other is not dictionary:
            raise CausalError(
                f"{dictionary_id(other)} and {dictionary_id(dictionary)} both reconstruct "
                f"{output_site(dictionary)}: choose one of them."
            )
    edits: dict[str, Edit] = {}
    readers: dict[str, Watch] = {}
    for site, dictionary in writers.items():
        if site != dictionary.site:
            readers.setdefault(dictionary.site, Watch())
        edits[site] = Reconstruct(site, dictionary, readers.get(dictionary.site))
    for site, reader in readers.items():
        reader.before = edits.get(site)
    return {**edits, **readers}


@dataclass(frozen=True, slots=True)
class Reconstruct:
    """x -> x̂ at tokens that the dictionary reads.

    The others stay as they are: first tokens, template tokens and attention sinks; on the vision
    side, the class token and patches without an image token.
    """

    site: str
    """Where x̂ goes."""
    dictionary: Dictionary
    reader: Watch | None = None
    """Records x where the dictionary reads, if that is another site."""

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        source = self._source(x)
        if is_pictured(self.site):
            layout = VisionPatches.of(self.site, x, context.maps)
            inputs = VisionPatches.of(self.dictionary.site, source, context.maps).spread(source)
            after = self._reconstructed(layout.spread(x), inputs, EditContext(0, layout.maps))
            return layout.gather(after, x)
        return self._reconstructed(x, source, context)

    def _source(self, x: Tensor) -> Tensor:
        """What the dictionary reads."""
        if self.site == self.dictionary.site:
            return x
        if self.reader is None or self.reader.seen is None:
            raise CausalError(f"{self.dictionary.site}, which feeds {self.site}, did not run.")
        return self.reader.seen

    def _reconstructed(self, x: Tensor, source: Tensor, context: EditContext) -> Tensor:
        """(R, T, d) by token, from (R, T, d_in)."""
        read = read_positions(
            context.maps, x.shape[1], start=context.start, site=self.dictionary.site
        )
        copies = len(x) // len(context.maps)
        tokens = torch.from_numpy(read).to(x.device).repeat_interleave(copies, dim=0)  # (R, T)
        tokens = without_sinks([source], tokens)
        rows = source[tokens].float()  # (N, d_in)
        output = reconstruct(self.dictionary, self.dictionary.encode(rows), rows)
        return x.index_put((tokens,), output.to(x))
