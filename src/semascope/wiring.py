"""What dictionaries read and write, from the words of ``--arch`` and ``--sites``.

A sparse autoencoder reads a site and gives it back. A transcoder reads one site and gives another:
``mlp_in.12:mlp_out.12``. A crosscoder reads and gives several: ``resid_post.6+resid_post.12``.
Knows names alone: neither models nor weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from semascope.errors import DictionaryError

TO, JOIN = ":", "+"
Kind = Literal["sae", "transcoder", "crosscoder"]
SKIP = "skip_"
Resolve = Callable[[str], list[str]]
"""The sites that a pattern stands for, in the order of the model."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """The sites of one dictionary."""

    reads: tuple[str, ...]
    """Where its input is read; of a crosscoder, all its sites."""
    writes: str = ""
    """Of a transcoder: the site that it reconstructs."""

    @property
    def site(self) -> str:
        """What stands in the dictionary's id, ``site/name``."""
        return JOIN.join(self.reads)

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site that must be read to train it."""
        return (*self.reads, self.writes) if self.writes else self.reads

    def __str__(self) -> str:
        """As ``--sites`` takes it."""
        return f"{self.site}{TO}{self.writes}" if self.writes else self.site


def kind_of(arch: str) -> Kind:
    """What kind of dictionary ``--arch`` asks for."""
    stem = arch.partition("-")[0].removeprefix(SKIP)
    if stem == "transcoder":
        return "transcoder"
    return "crosscoder" if stem == "crosscoder" else "sae"


def activation_of(arch: str) -> str:
    """Which latents are active: the σ of ``--arch``, TopK unless it is named."""
    stem, _, named = arch.partition("-")
    if kind_of(arch) == "sae":
        return named or stem
    return named or "topk"


def wiring(arch: str, word: str) -> Wiring:
    """What one word of ``--sites`` means for an architecture.

    Raises:
        DictionaryError: another architecture reads such words, or the word lacks a site.
    """
    kind = kind_of(arch)
    source, to, target = (part.strip() for part in word.partition(TO))
    reads = tuple(part.strip() for part in source.split(JOIN))
    if not all(reads) or (to and not target):
        raise DictionaryError(f"{word!r} lacks a site: write {_EXAMPLES[kind]}.")
    if target and kind != "transcoder":
        raise DictionaryError(
            f"{word!r} reads one site and gives another, which is a transcoder: say --arch "
            f"transcoder. With --arch {arch} write {_EXAMPLES[kind]}."
        )
    if len(reads) > 1 and kind != "crosscoder":
        raise DictionaryError(
            f"{word!r} joins {len(reads)} sites in one dictionary, which is a crosscoder: say "
            f"--arch crosscoder. With --arch {arch} write {_EXAMPLES[kind]}."
        )
    if kind == "transcoder":
        return _transcoder(reads[0], target)
    if kind == "crosscoder":
        _several(reads, word)
    return Wiring(reads)


def wired(word: str) -> Wiring:
    """The wiring that ``str(wiring)`` was of; what kind it is follows from the word."""
    source, _, target = word.partition(TO)
    return Wiring(tuple(source.split(JOIN)), target)


def expand(arch: str, words: Sequence[str], resolve: Resolve) -> tuple[str, ...]:
    """Words of ``--sites`` whose wildcards are put in full.

    Of a crosscoder a pattern's sites are joined in one dictionary; of others each is its own, and
    a transcoder's targets are matched to its inputs in the order of the model.

    Raises:
        SiteNotFound: from ``resolve``.
        DictionaryError: there are more inputs than targets, or fewer.
    """
    kind = kind_of(arch)
    if kind == "crosscoder":
        return tuple(
            JOIN.join(dict.fromkeys(s for part in word.split(JOIN) for s in resolve(part.strip())))
            for word in words
        )
    if kind == "sae":
        return tuple(resolve(",".join(words)))
    found: list[str] = []
    for word in words:
        source, to, target = word.partition(TO)
        reads = resolve(source)
        writes = resolve(target) if to else [""] * len(reads)
        if len(reads) != len(writes):
            raise DictionaryError(
                f"{word!r} names {len(reads)} sites to read and {len(writes)} to give; a "
                "transcoder needs one of each."
            )
        found += [str(_transcoder(one, two)) for one, two in zip(reads, writes, strict=True)]
    return tuple(found)


_EXAMPLES = {
    "sae": "one site a word, as in --sites resid_post.6 resid_post.12",
    "transcoder": "where it reads and what it gives, as in --sites mlp_in.12:mlp_out.12",
    "crosscoder": "sites joined by +, as in --sites resid_post.6+resid_post.12",
}


def _transcoder(site: str, target: str) -> Wiring:
    stem, dot, layer = site.partition(".")
    if not target and stem == "mlp_in":
        target = f"mlp_out{dot}{layer}"
    if not target:
        raise DictionaryError(
            f"A transcoder reads one site and gives another, and of {site!r} it is not said which: "
            f"write {_EXAMPLES['transcoder']}. (mlp_in.12 alone means that.)"
        )
    if target == site:
        raise DictionaryError(
            f"A transcoder from {site} to itself is a sparse autoencoder: leave --arch at topk."
        )
    return Wiring((site,), target)


def _several(reads: Sequence[str], word: str) -> None:
    if len(reads) < 2:
        raise DictionaryError(
            f"A crosscoder reads several sites at once, and {word!r} is one: write "
            f"{_EXAMPLES['crosscoder']}."
        )
    if len(set(reads)) < len(reads):
        raise DictionaryError(f"{word!r} joins a site with itself: name each once.")
