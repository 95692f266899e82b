"""A model reads its own activations in words.

One activation vector is put where the picture stands in a prompt that has no picture, at the layer
that it was taken from, and the model answers as if it saw it. No training is needed (Patchscopes,
Ghandeharioun et al. 2024; SelfIE, Chen et al. 2024). Whether a model can do this is measured on
drawn scenes whose things are known (``SelfReader.measure``) before any reading is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from semascope.corpus.sample import Sample, Turn
from semascope.corpus.scenes import SceneCorpus
from semascope.errors import ExplainError
from semascope.explain.reader.shared_prompt import SharedPrompt
from semascope.explain.text import terms
from semascope.subject.generation.cache import rope_owner
from semascope.subject.generation.decoding import FOREIGN
from semascope.subject.generation.generate import Sampling, generate
from semascope.subject.model import Subject
from semascope.subject.types import PICTURE_KINDS, Batch, EditContext, Edits, Kind, TokenMap

QUESTION = "What is in the picture?"
TOKENS = 8
ROWS = 128
"""Readings of one batch."""
PROBES = 32
TRIED = 4
"""Readings by which the quick way is compared with the plain one."""
LEAST_SHARE = 0.25
"""Share of probes that must be named, beyond what other probes' names would get."""
STREAM = ("resid_pre", "resid_post")


@dataclass(frozen=True, slots=True)
class SelfReadingTrial:
    """How many activations of known things a model named."""

    named: float
    """Share of the probes whose thing is in the reading."""
    chance: float
    """The same with the reading of another probe."""
    probes: int

    @property
    def can_read(self) -> bool:
        """Whether readings of this model mean anything."""
        return self.named - self.chance >= LEAST_SHARE

    def __str__(self) -> str:
        return (
            f"it names {self.named:.0%} of {self.probes} of its own activations of known things "
            f"({self.chance:.0%} by chance)"
        )


def reading_site(site: str) -> str:
    """The site of the residual stream at which a dictionary's exemplars are read.

    Raises ExplainError for sites outside the language model.
    """
    stem, _, number = site.partition("+")[0].partition(".")
    if stem in STREAM and number.isdigit():
        return f"{stem}.{number}"
    if number.isdigit() and not stem.startswith("vision"):
        return f"resid_post.{number}"
    raise ExplainError(
        f"Activations of {site} cannot be read in words: the model that answers begins after it. "
        "Use a dictionary of resid_post.N."
    )


class SelfReader:
    """Reads vectors of one site of a subject."""

    def __init__(
        self, subject: Subject, site: str, *, question: str = QUESTION, max_new_tokens: int = TOKENS
    ) -> None:
        if not subject.has_vision:
            raise ExplainError(f"{subject.name} reads no pictures, so it cannot name what it saw.")
        self.subject = subject
        self.site = reading_site(site)
        self.question = question
        self.max_new_tokens = max_new_tokens

    @cached_property
    def prompt(self) -> tuple[list[int], int]:
        """Ids of the prompt with one placeholder where the picture stands, and its position."""
        blank = Image.new("RGB", (64, 64), (214, 214, 214))
        turn = Turn("user", self.question, images=1)
        sample = Sample(id="reader", turns=(turn,), images=(blank,))
        (token_map,) = self.subject.encode([sample], answer="", max_tokens=None).maps
        shown = np.isin(token_map.kinds, PICTURE_KINDS)
        at = int(np.flatnonzero(shown)[0])
        keep = ~shown & (token_map.kinds != Kind.PAD)
        keep[at] = True
        return token_map.ids[keep].tolist(), int(keep[:at].sum())

    def read(self, vectors: NDArray[np.float32]) -> list[str]:
        """What the model says of each of (n, d) vectors."""
        texts: list[str] = []
        for start in range(0, len(vectors), ROWS):
            texts += self._read(torch.from_numpy(np.ascontiguousarray(vectors[start:][:ROWS])))
        return texts

    @cached_property
    def quick(self) -> SharedPrompt | None:
        """The shared prompt, where it was seen to give the same readings as the plain way."""
        ids, at = self.prompt
        edits = dict(self._edits(torch.zeros(1, 1), at))
        edits.pop(self.site)
        if not self.site.startswith("resid_post.") or rope_owner(self.subject.model) is not None:
            return None  # positions of pictures are kept between passes, and not in the cache
        try:
            shared = SharedPrompt(self.subject, self.site, ids, at, edits, (_words_alone(ids),))
            vectors = shared.stream[0, at:][:TRIED].clone().cpu()
            said = self._quickly(shared, vectors)
        except FOREIGN:
            return None
        return shared if said == self._plainly(vectors) else None

    def _read(self, vectors: torch.Tensor) -> list[str]:
        if self.quick is not None:
            return self._quickly(self.quick, vectors)
        return self._plainly(vectors)

    def _quickly(self, shared: SharedPrompt, vectors: torch.Tensor) -> list[str]:
        answers = shared.read(vectors, self.max_new_tokens, self.subject.eos)
        decode = self.subject.tokenizer.decode
        return [str(decode(ids, skip_special_tokens=True)).strip() for ids in answers]

    def _plainly(self, vectors: torch.Tensor) -> list[str]:
        ids, at = self.prompt
        subject, n = self.subject, len(vectors)
        rows = torch.tensor([ids] * n, device=subject.device)
        inputs = {"input_ids": rows, "attention_mask": torch.ones_like(rows)}
        batch = Batch(inputs, tuple([_words_alone(ids)] * n))
        decodes = subject.decodes  # proved by trial, which no edit may touch
        with subject.editing(self._edits(vectors, at), batch.maps):
            answers = generate(
                subject.model,
                subject.encoder,
                batch,
                Sampling(self.max_new_tokens, top=1),
                eos=subject.eos,
                decodes=decodes,
            )
        return [answer.text.strip() for answer in answers]

    def _edits(self, vectors: torch.Tensor, at: int) -> Edits:
        """The vectors at the placeholder of the prompt, whose own embedding is taken away."""

        def put(x: torch.Tensor, context: EditContext) -> torch.Tensor:
            if context.start > at:
                return x
            x = x.clone()
            x[:, at - context.start] = vectors.to(x)
            return x

        def empty(x: torch.Tensor, context: EditContext) -> torch.Tensor:
            if context.start > at:
                return x
            x = x.clone()
            x[:, at - context.start] = 0
            return x

        first = next((name for name in self.subject.hooks if name.startswith("resid_pre.")), "")
        if not first or first == self.site:
            return {self.site: put}
        return {first: empty, self.site: put}

    def measure(self, probes: int = PROBES, seed: int = 0) -> SelfReadingTrial:
        """Take activations in the middle of drawn things, read them, and count right names."""
        corpus = SceneCorpus(probes, seed=seed + 9_000_011, split="heldout", turns="none")
        vectors, things = [], []
        for _, sample in corpus.read():
            encoded = self.subject.encode([sample], max_tokens=None)
            with torch.inference_mode():
                x = self.subject.run(encoded, [self.site])[self.site][0].float().cpu().numpy()
            token, thing = _middle(encoded.maps[0], sample)
            if token >= 0:
                vectors.append(x[token])
                things.append(thing)
        if not vectors:
            return SelfReadingTrial(0.0, 0.0, 0)
        said = self.read(np.stack(vectors))
        shifted = [*said[1:], said[0]]
        return SelfReadingTrial(
            float(np.mean([_named(t, s) for t, s in zip(things, said, strict=True)])),
            float(np.mean([_named(t, s) for t, s in zip(things, shifted, strict=True)])),
            len(said),
        )


def _words_alone(ids: Sequence[int]) -> TokenMap:
    """A map of a prompt without pictures."""
    n = len(ids)
    return TokenMap(
        ids=np.asarray(ids, np.int64),
        tokens=("",) * n,
        kinds=np.full(n, Kind.TEXT, np.int8),
        roles=np.zeros(n, np.int8),
        image=np.full(n, -1, np.int16),
        rects=np.full((n, 4), np.nan, np.float32),
        sizes=(),
    )


def _middle(token_map: TokenMap, sample: Sample) -> tuple[int, str]:
    """The image token that looks most at one drawn thing, and the thing; −1 where none does."""
    best, token, thing = 0.0, -1, ""
    seen = np.flatnonzero(np.isin(token_map.kinds, (Kind.IMAGE, Kind.TILE)))
    for drawn in sample.truth.objects if sample.truth else ():
        inside = np.pad(drawn.extent.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        for at in seen:
            if not np.isfinite(token_map.rects[at]).all():
                continue
            left, top, right, bottom = token_map.rects[at].round().astype(int)
            bottom, right = min(bottom, len(inside) - 1), min(right, inside.shape[1] - 1)
            area = (bottom - top) * (right - left)
            if area <= 0:
                continue
            covered = inside[bottom, right] - inside[top, right] - inside[bottom, left]
            share = (covered + inside[top, left]) / area
            if share > best:
                best, token, thing = share, int(at), drawn.word or drawn.name
    return token, thing


def _named(thing: str, reading: str) -> bool:
    """Whether the last word of a thing's name is said."""
    stems = {terms.stem(reading[a:b]) for a, b in terms.spans(reading)}
    where = terms.spans(thing)
    return bool(where) and terms.stem(thing[slice(*where[-1])]) in stems
