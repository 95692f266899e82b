"""The dictionaries of one run: every site at every width, each with its own configuration.

It reads the options and the sites' widths; nothing is trained here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.errors import DictionaryError
from semascope.subject.patches import is_pictured
from semascope.wiring import SKIP, TO, Wiring, activation_of

if TYPE_CHECKING:
    from semascope.dictionary.config import ArchitectureName, TrainConfig
    from semascope.pipeline.run_context import Run

PREFIXES = (6, 12, 25, 50, 100)
"""Matryoshka prefixes in percent of the width: halves of halves (Bussmann et al. 2025)."""
NESTED = "matryoshka-"
KINDS = ("text", "image", "tile")
OWN = {
    "width": "widths are set by --widths or --latents",
    "expansion": "widths are set by --widths or --latents",
    "steps": "steps are set by --tokens",
    "b_dec_tokens": "it follows from --tokens",
    "checkpoint_every": "it follows from the run",
    "log_every": "it follows from the run",
    "normalize_input": "it is always on here",
} | {
    name: f"{name} has a flag of its own, or follows from --arch and --sites"
    for name in ("k", "architecture", "prefixes", "transcode", "skip", "parts", "lr", "seed")
}
"""Fields of the training's configuration that ``--settings`` cannot name, and why."""


@dataclass(frozen=True, slots=True)
class DictionaryMember:
    """One dictionary that the run trains."""

    wiring: Wiring
    name: str
    width: int
    folder: Path

    @property
    def site(self) -> str:
        """Where it reads; of a crosscoder, its sites joined by +."""
        return self.wiring.site

    @property
    def id(self) -> str:
        """``site/name``."""
        return f"{self.site}/{self.name}"


def family(run: Run) -> tuple[DictionaryMember, ...]:
    """The dictionaries that the options ask to train; later stages read the first unless told.

    Raises:
        DictionaryError: a width cannot be, or two dictionaries would share a folder.
        SiteNotFound: no such site.
    """
    options = run.options.train
    sites = {site: int(run.subject.sites()[site]) for site in run.sites}
    wires = {site: options.wiring_of(site, name) for site, name, _ in options.trained()}
    for one in options.wirings():
        _possible(run, one)
    members = tuple(
        DictionaryMember(
            wires[site],
            name,
            _width(asked, max(sites[part] for part in wires[site].reads), options.latents),
            _folder(run, site, name),
        )
        for site, name, asked in options.trained()
    )
    doubled = sorted({m.id for m in members if [o.id for o in members].count(m.id) > 1})
    if doubled:
        raise DictionaryError(
            f"{', '.join(doubled)} is asked for twice; name each width once, and each site that is "
            "read once."
        )
    rates(options.keep)
    for member in members:  # one that cannot be must not end a run that trained the others
        d_in = sum(sites[site] for site in member.wiring.reads)
        config_of(run, member, steps=1).coder(d_in, d_out=sites.get(member.wiring.writes))
    return members


def _possible(run: Run, wires: Wiring) -> None:
    """DictionaryError for sites that cannot be of one dictionary."""
    for site in wires.sites if len(wires.sites) > 1 else ():
        if is_pictured(site):
            raise DictionaryError(
                f"{wires} takes {site} together with another site, but pictures' patches are not "
                "the tokens of the language model. Name sites of the language model alone."
            )
    order = list(run.subject.sites())
    if wires.writes and order.index(wires.writes) < order.index(wires.reads[0]):
        raise DictionaryError(
            f"{wires.writes} comes before {wires.reads[0]} in the model, so it does not depend on "
            f"it. Turn them round: {wires.writes}{TO}{wires.reads[0]}."
        )


def config_of(run: Run, member: DictionaryMember, *, steps: int, **more: Any) -> TrainConfig:
    """How one member is trained."""
    from semascope.dictionary import TrainConfig

    options = run.options.train
    nested, wires = options.arch.startswith(NESTED), member.wiring
    named: ArchitectureName = activation_of(options.arch)  # type: ignore[assignment]
    widths = run.subject.sites()
    several = len(wires.reads) > 1
    return TrainConfig(
        width=member.width,
        k=options.k,
        architecture=named,
        prefixes=PREFIXES if nested else (),
        transcode=bool(wires.writes),
        skip=options.arch.startswith(SKIP),
        parts=tuple(int(widths[site]) for site in wires.reads) if several else (),
        steps=steps,
        lr=options.lr,
        # From one seed a narrow start would be the beginning of a wide one, and splitting would
        # find features that never parted.
        seed=options.seed + (member.width if options.widths else 0),
        **{**more, **settings(options.settings)},
    )


def settings(words: tuple[str, ...]) -> Mapping[str, Any]:
    """``optimizer=muon`` and its like as fields of a ``TrainConfig``; values are checked there."""
    from semascope.dictionary import TrainConfig

    fields = TrainConfig.model_fields
    free = [name for name in fields if name not in OWN]
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in free or not equals:
            hint = f"; {OWN[name]}" if name in OWN else ""
            raise DictionaryError(
                f"--settings takes name=value, such as optimizer=muon, and {word!r} is none"
                f"{hint}. There are: {', '.join(free)}."
            )
        several = isinstance(fields[name].default, tuple)
        found[name] = tuple(value.split(",")) if several else value
    return found


def rates(words: tuple[str, ...]) -> Mapping[str, float]:
    """``image=0.25`` and its like as shares by kind."""
    found: dict[str, float] = {}
    for word in words:
        kind, _, share = word.partition("=")
        if kind not in KINDS or not re.fullmatch(r"0?\.\d+|[01](\.0*)?", share):
            raise DictionaryError(
                f"--keep takes a kind of token ({', '.join(KINDS)}) and the share of it to train "
                f"on, as in image=0.25; not {word!r}."
            )
        found[kind] = float(share)
    return found


def _folder(run: Run, site: str, name: str) -> Path:
    return run.workspace.dictionary(site, name)


def _width(asked: str, d: int, usual: int) -> int:
    """``16x`` of a site of width ``d``, or an absolute number."""
    if not asked:
        return usual
    times = asked.endswith(("x", "X", "×"))
    number = asked[:-1] if times else asked
    if not re.fullmatch(r"\d+(\.\d+)?", number) or not (times or number.isdigit()):
        raise DictionaryError(
            f"--widths takes numbers of features, absolute or as multiples of the site's width, "
            f"such as 4608 or 16x; not {asked!r}."
        )
    width = round(float(number) * d) if times else int(number)
    if width < 1:
        raise DictionaryError(f"A dictionary of {asked} features at a site of width {d} is empty.")
    return width
