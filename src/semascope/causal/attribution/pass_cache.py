"""Forward passes kept with their graphs: asking about another token costs a backward pass alone.

Whoever asks why one token came asks about the next one too, and the forward pass of their
conversation is the same. A ``CachedPass`` is that pass from the first watched site on: what passed
the sites, what the output embedding reads at each position, and the graph between. The logits at
any position are one product away, and a metric's gradient one backward pass. As a causal model
looks back only, the pass of a whole conversation serves each of its beginnings.

What the first layers made is kept too. A pass that changes something later, an ablation say, begins
there (``begun``); so do all of them where the graph cannot be kept: it is too large, the logits are
more than a product (``Subject.last``), or an edit would leave out other sinks in a beginning than
in the whole. Nothing is held of a model that looks ahead (``Subject.looks_back``), nor of sites of
the vision side; a pass begins half-way only where one that does was seen to end as a whole one.

A ``PassCache`` keeps the last used, in bytes, by content: two people share numbers only where all
that makes them is equal.

One thread at a time. Knows batches, edits and graphs; nothing of dictionaries or words.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from semascope.causal.attribution.forced_tokens import ForcedTokens
from semascope.causal.attribution.metrics import Metric, first_read
from semascope.causal.attribution.watched_run import Watch, WatchedRun, told, watched_run
from semascope.subject.model import Subject
from semascope.subject.patches import is_pictured
from semascope.subject.prefix import Begin, before, ends_alike, key_of_inputs
from semascope.subject.sinks import LEAST, TIMES
from semascope.subject.types import Edit, EditContext, Edits

MOST = 1 << 29
"""Bytes that a holder keeps."""
_REFUSED = 256
"""Passes that are known not to be held, and not tried again."""
_MAIN = ("input_ids", "attention_mask")
_SAVED = re.compile("_saved_|saved_tensors$")
"""Names under which a node of a graph tells what it saved."""


@dataclass(frozen=True, slots=True, eq=False)
class CachedPass:
    """One forward pass of one conversation: its graph, or, where that is too large to be kept, what
    the first layers made of it."""

    subject: Subject
    forced: ForcedTokens
    ids: tuple[int, ...]
    sites: tuple[str, ...]
    edits: Edits
    final: Tensor | None
    """(1, T, d) what the output embedding reads, at the end of the graph."""
    seen: Mapping[str, Tensor]
    """(1, T, d) what passed each site, in the graph, which begins at the first of them."""
    size: int
    """Bytes, those of the graph and of the inputs included."""
    base: Begin | None = None
    """Where other passes of this conversation may begin."""

    def logits(self, start: int, stop: int) -> Tensor:
        """(1, stop − start, V)"""
        if self.final is not None:
            found: Tensor = self.subject.head(self.final[:, start:stop])
            return found
        begin = self.begin(self.edits, len(self.ids))
        whole: Tensor = self.subject.logits(
            self.forced.batch, edits=self.edits, start=start, begin=begin
        )
        return whole[:, : stop - start]

    def begin(self, edits: Edits, length: int) -> Begin | None:
        """Where a pass of the first tokens under other edits begins; None at the first layer."""
        if self.base is None or not _all_past(self.subject, edits, self.base[0]):
            return None
        return self.base[0], self.base[1][:, :length]

    def run(self, forced: ForcedTokens, metric: Metric, targets: Sequence[str]) -> WatchedRun:
        """As ``watched_run`` of a prompt with which this pass begins, by one backward pass."""
        length = forced.batch.inputs["input_ids"].shape[1]
        if self.final is None:
            begin = self.begin(self.edits, length)
            return watched_run(
                self.subject, forced, self.sites, targets, metric, self.edits, begin=begin
            )
        start = first_read(forced.ends, metric)
        with torch.enable_grad():
            values = metric.measure(self.logits(start, length), forced.ends - start)  # (1,)
            grads = torch.autograd.grad(
                values.sum(), [self.seen[t] for t in targets], retain_graph=True, allow_unused=True
            )
        back = {
            site: None if grad is None else grad[:, :length]
            for site, grad in zip(targets, grads, strict=True)
        }
        seen = {site: x[:, :length] for site, x in self.seen.items()}
        return told(forced, values, seen, back, metric)


def _all_past(subject: Subject, edits: Edits, site: str) -> bool:
    """Whether all edits are at a site or after it."""
    order = list(subject.hooks)
    return all(order.index(other) >= order.index(site) for other in edits)


class PassCache:
    """The passes used last, at most ``most`` bytes of them."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._kept: OrderedDict[tuple[str, tuple[int, ...]], CachedPass] = OrderedDict()
        self._refused: OrderedDict[tuple[str, tuple[int, ...]], None] = OrderedDict()
        self._proved: dict[tuple[str, ...], bool] = {}
        self._heavy: dict[int, int] = {}
        """Of a subject: so many tokens have too large a graph."""

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return sum(held.size for held in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str, forced: ForcedTokens) -> CachedPass | None:
        """The pass that begins with this one, if it is held."""
        ids = ids_of(forced)
        for place, held in reversed(self._kept.items()):
            if place[0] == key and held.ids[: len(ids)] == ids:
                self._kept.move_to_end(place)
                return held
        return None

    def make(
        self, key: str, subject: Subject, forced: ForcedTokens, sites: Sequence[str], edits: Edits
    ) -> CachedPass | None:
        """Run it and hold it; None where it cannot be held, which is not tried twice."""
        place = (key, ids_of(forced))
        if place in self._refused:
            return None
        held = None
        if can_hold(subject, forced, sites) and self._looks_back(subject, forced):
            held = self._hold(subject, forced, sites, edits)
        if held is None or held.size > self.most:
            self._refused[place] = None
            while len(self._refused) > _REFUSED:
                self._refused.popitem(last=False)
            return None
        for other, old in list(self._kept.items()):
            beginning = other[0] == key and held.ids[: len(old.ids)] == old.ids
            if beginning and (held.final is not None or old.final is None):
                del self._kept[other]  # the new one says all that it did
        self._kept[place] = held
        while self.size > self.most:
            self._kept.popitem(last=False)
        return held

    def _hold(
        self, subject: Subject, forced: ForcedTokens, sites: Sequence[str], edits: Edits
    ) -> CachedPass | None:
        """With its graph, or what the first layers made of it, or nothing."""
        tokens = len(ids_of(forced))
        base = base_of(subject, sites, edits)
        held = None
        if tokens < self._heavy.get(id(subject), tokens + 1):
            try:
                held = hold(subject, forced, sites, edits, base, self.most)
            except NoGraph as error:
                self._heavy[id(subject)] = tokens if error.large else 0
            except torch.OutOfMemoryError:  # of a GPU that others use too
                self._kept.clear()
                self._heavy[id(subject)] = tokens
        if held is None:
            held = begun_at(subject, forced, sites, edits, base)
        if held is None or held.base is None or self._begins(held):
            return held
        return None if held.final is None else replace(held, base=None)

    def _looks_back(self, subject: Subject, forced: ForcedTokens) -> bool:
        """Measured once for each kind of input."""
        kind = ("back", str(id(subject)), *sorted(forced.batch.inputs))
        if kind not in self._proved:
            self._proved[kind] = bool(subject.looks_back(forced.batch))
        return self._proved[kind]

    def _begins(self, held: CachedPass) -> bool:
        """Whether passes may begin at its base: compared with a whole one, once for each kind of
        input."""
        assert held.base is not None
        kind = (held.base[0], str(id(held.subject)), *sorted(held.forced.batch.inputs))
        if kind not in self._proved:
            self._proved[kind] = _same_begun(held)
        return self._proved[kind]


def _same_begun(held: CachedPass) -> bool:
    """Whether a pass that begins at the base ends as a whole one does."""
    subject, batch = held.subject, held.forced.batch
    last = len(held.ids) - 1
    begin = held.begin(held.edits, len(held.ids))

    def whole() -> Tensor:
        if held.final is not None:
            return held.logits(last, last + 1)
        found: Tensor = subject.logits(batch, edits=held.edits, start=last)
        return found

    return ends_alike(
        lambda: subject.logits(batch, edits=held.edits, start=last, begin=begin), whole
    )


def ids_of(forced: ForcedTokens) -> tuple[int, ...]:
    """The tokens of one prompt and what follows it."""
    return tuple(forced.batch.inputs["input_ids"][0].tolist())


def key_of(subject: Subject, forced: ForcedTokens, sites: Sequence[str], changes: str) -> str:
    """A hash of all that makes a pass but its tokens; ``changes`` names the edits in full.

    The prompt's length is part of it, as edits tell what was asked from what was answered.
    """
    length = int(forced.ends[0]) if changes else 0
    about = (id(subject), tuple(sites), changes, length)
    return key_of_inputs(forced.batch.inputs, about, _MAIN)


def can_hold(subject: Subject, forced: ForcedTokens, sites: Sequence[str]) -> bool:
    """Whether one prompt can be watched at these sites by position: not on the vision side, nor
    where a crosscoder reads several side by side."""
    mask = forced.batch.mask
    one = len(forced.ends) == 1 and mask.shape[1] > 1 and bool(mask.all())
    return one and all(site in subject.hooks and not is_pictured(site) for site in sites)


def base_of(subject: Subject, sites: Sequence[str], edits: Edits) -> str:
    """The site before all that is watched or changed, if a pass may begin there; else empty."""
    first = next((site for site in subject.hooks if site in edits or site in sites), "")
    site = before(first)
    return site if site and not is_pictured(first) and subject.can_fork(site) else ""


def hold(
    subject: Subject, forced: ForcedTokens, sites: Sequence[str], edits: Edits, base: str, most: int
) -> CachedPass | None:
    """One pass with watches at ``sites``, its graph kept; None where it is not the graph of its
    beginnings too. NoGraph where it has more than ``most`` bytes, or ends in no product."""
    prompt = int(forced.ends[0])
    steady = {s: _Steady(edit, prompt) for s, edit in edits.items() if not is_pictured(s)}
    watches: dict[str, Watch] = {site: Watch(steady.get(site)) for site in sites}
    changes: dict[str, Edit] = {**edits, **steady, **watches}
    first = _First(changes.get(base))
    if base:
        changes[base] = first
    with torch.enable_grad():
        final = subject.last(forced.batch, edits=changes)
    if final is None:
        raise NoGraph(large=False)
    if not final.requires_grad or not all(s.same for s in steady.values()):
        return None
    seen = {site: watch.seen for site, watch in watches.items()}
    if any(x is None or x.shape[:2] != final.shape[:2] for x in seen.values()):
        return None
    kept: dict[str, Tensor] = {site: x for site, x in seen.items() if x is not None}
    size = graph_bytes(final, subject.model) + _inputs_bytes(forced)
    if size > most:
        raise NoGraph(large=True)
    start = None if first.seen is None else (base, first.seen)
    return CachedPass(
        subject, forced, ids_of(forced), tuple(sites), edits, final, kept, size, start
    )


def begun_at(
    subject: Subject, forced: ForcedTokens, sites: Sequence[str], edits: Edits, base: str
) -> CachedPass | None:
    """What the layers up to ``base`` make, without a graph; None where that is no help."""
    if not base or (edits and not _all_past(subject, edits, base)):
        return None
    first = _First()
    with torch.no_grad():
        subject.run(forced.batch, [base], edits={base: first})
    if first.seen is None:
        return None
    size = first.seen.untyped_storage().nbytes() + _inputs_bytes(forced)
    return CachedPass(
        subject, forced, ids_of(forced), tuple(sites), edits, None, {}, size, (base, first.seen)
    )


@dataclass(slots=True, eq=False)
class _First:
    """An edit that remembers what stood at its site before another one."""

    then: Edit | None = None
    seen: Tensor | None = field(default=None, init=False)

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        self.seen = x.detach()
        return x if self.then is None else self.then(x, context)


@dataclass(slots=True, eq=False)
class _Steady:
    """An edit, and whether it leaves out the same sinks in every beginning that it was given.

    Edits pass by the tokens that are far longer than the median one (``sinks``), and the median of
    a beginning may be another one.
    """

    edit: Edit
    prompt: int
    same: bool = field(default=True, init=False)

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        norms = torch.linalg.vector_norm(x.detach().float(), dim=-1)[0].cpu()  # (T,)
        lengths = torch.arange(self.prompt, len(norms) + 1)  # of each beginning
        bounds = torch.stack([TIMES * norms[:n].median() for n in lengths.tolist()])
        far = norms > bounds[:, None]  # (beginnings, T)
        there = torch.arange(len(norms)) < lengths[:, None]
        alike = bool(((far == far[-1]) | ~there).all())
        self.same = self.same and self.prompt >= LEAST and alike
        return self.edit(x, context)


class NoGraph(Exception):
    """The graph cannot be kept: it is past its bound, or else this model's never can."""

    def __init__(self, large: bool) -> None:
        super().__init__(large)
        self.large = large


def _inputs_bytes(forced: ForcedTokens) -> int:
    """Of what the model reads, pictures mostly."""
    inputs = forced.batch.inputs.values()
    return sum(x.untyped_storage().nbytes() for x in inputs if isinstance(x, Tensor))


def graph_bytes(final: Tensor, model: torch.nn.Module) -> int:
    """What a graph keeps alive: each storage once, the model's weights not counted.

    The graph is walked when it is there. (Hooks on what is saved would count it as it grows, and
    keep it for ever: a node that saves its own result would own itself.)
    """
    known = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    total, names = 0, dict[type, tuple[str, ...]]()
    left: list[Any] = [final.grad_fn]
    done: set[Any] = set()
    while left:
        node = left.pop()
        if node is None or node in done:
            continue
        done.add(node)
        left += [before for before, _ in node.next_functions]
        if type(node) not in names:
            names[type(node)] = tuple(n for n in dir(node) if n == "variable" or _SAVED.match(n))
        for name in names[type(node)]:
            found = getattr(node, name)
            for x in found if isinstance(found, list | tuple) else (found,):
                if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in known:
                    known.add(x.untyped_storage().data_ptr())
                    total += x.untyped_storage().nbytes()
    return total
