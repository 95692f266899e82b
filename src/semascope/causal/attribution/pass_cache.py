"""Forward passes cached with their graphs: attributing another token costs one backward pass.

Someone who asks why one token came asks about the next one too, and the forward pass is the same.
A ``CachedPass`` holds that pass from the first watched site on: the activations at the sites, the
input of the output embedding, and the graph between. The logits at any position are one product
away, and the gradient of a metric is one backward pass. A causal model looks back only, so the
pass over a whole conversation serves all of its prefixes.

The activations below the first site are cached too. A pass that changes something later, such as
an ablation, resumes there (``subject.prefix``). So do all passes when the graph cannot be cached:
it is too large, the logits are more than a product (``Subject.last``), or an edit would leave out
other attention sinks in a prefix than in the whole. Nothing is cached for a model that looks ahead
(``Subject.looks_back``) or for sites of the vision side, and a pass resumes mid-stack only after
one that does was compared with a full pass.

A ``PassCache`` keeps the passes used last, up to a number of bytes, by a hash of their content.
Not thread-safe.
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
from semascope.causal.attribution.watched_run import Watch, WatchedRun, by_token, watched_run
from semascope.subject.model import Subject
from semascope.subject.patches import is_pictured
from semascope.subject.prefix import Begin, before, ends_alike, key_of_inputs
from semascope.subject.sinks import LEAST, TIMES
from semascope.subject.types import Edit, EditContext, Edits

MOST = 1 << 29
"""Default bytes of a cache."""
_REFUSED = 256
"""Passes that cannot be cached, remembered so that they are not tried again."""
_MAIN = ("input_ids", "attention_mask")
_SAVED = re.compile("_saved_|saved_tensors$")
"""Attributes of an autograd node that hold its saved tensors."""


@dataclass(frozen=True, slots=True, eq=False)
class CachedPass:
    """One forward pass of one conversation: its graph, or only the activations of the first layers
    if the graph is too large."""

    subject: Subject
    forced: ForcedTokens
    ids: tuple[int, ...]
    sites: tuple[str, ...]
    edits: Edits
    final: Tensor | None
    """(1, T, d) input of the output embedding, at the end of the graph; None without a graph."""
    seen: Mapping[str, Tensor]
    """(1, T, d) activations at each site, in the graph, which begins at the first of them."""
    size: int
    """Bytes, with those of the graph and the inputs."""
    base: Begin | None = None
    """Where other passes of this conversation may resume."""

    def logits(self, start: int, stop: int) -> Tensor:
        """(1, stop − start, V) logits at positions from ``start`` to ``stop``."""
        if self.final is not None:
            logits: Tensor = self.subject.head(self.final[:, start:stop])
            return logits
        begin = self.begin(self.edits, len(self.ids))
        whole: Tensor = self.subject.logits(
            self.forced.batch, edits=self.edits, start=start, begin=begin
        )
        return whole[:, : stop - start]

    def begin(self, edits: Edits, length: int) -> Begin | None:
        """Where a pass over the first ``length`` tokens under other edits may resume, or None."""
        if self.base is None or not _all_past(self.subject, edits, self.base[0]):
            return None
        return self.base[0], self.base[1][:, :length]

    def run(self, forced: ForcedTokens, metric: Metric, targets: Sequence[str]) -> WatchedRun:
        """``watched_run`` of a prefix of this pass, by one backward pass."""
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
        return by_token(forced, values, seen, back, metric)


def _all_past(subject: Subject, edits: Edits, site: str) -> bool:
    """Whether all edits are at a site or later."""
    order = list(subject.hooks)
    return all(order.index(other) >= order.index(site) for other in edits)


class PassCache:
    """The passes used last, at most ``most`` bytes in all."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._kept: OrderedDict[tuple[str, tuple[int, ...]], CachedPass] = OrderedDict()
        self._refused: OrderedDict[tuple[str, tuple[int, ...]], None] = OrderedDict()
        self._proved: dict[tuple[str, ...], bool] = {}
        self._heavy: dict[int, int] = {}
        """By subject: the least number of tokens whose graph is too large."""

    @property
    def size(self) -> int:
        """Bytes in the cache."""
        return sum(cached.size for cached in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str, forced: ForcedTokens) -> CachedPass | None:
        """A cached pass that has these tokens as its prefix; None if there is none."""
        ids = ids_of(forced)
        for place, cached in reversed(self._kept.items()):
            if place[0] == key and cached.ids[: len(ids)] == ids:
                self._kept.move_to_end(place)
                return cached
        return None

    def make(
        self, key: str, subject: Subject, forced: ForcedTokens, sites: Sequence[str], edits: Edits
    ) -> CachedPass | None:
        """Run a pass and cache it; None if it cannot be cached, which is tried only once."""
        place = (key, ids_of(forced))
        if place in self._refused:
            return None
        cached = None
        if can_cache(subject, forced, sites) and self._looks_back(subject, forced):
            cached = self._pass_of(subject, forced, sites, edits)
        if cached is None or cached.size > self.most:
            self._refused[place] = None
            while len(self._refused) > _REFUSED:
                self._refused.popitem(last=False)
            return None
        for other, old in list(self._kept.items()):
            beginning = other[0] == key and cached.ids[: len(old.ids)] == old.ids
            if beginning and (cached.final is not None or old.final is None):
                del self._kept[other]  # the new pass covers it
        self._kept[place] = cached
        while self.size > self.most:
            self._kept.popitem(last=False)
        return cached

    def _pass_of(
        self, subject: Subject, forced: ForcedTokens, sites: Sequence[str], edits: Edits
    ) -> CachedPass | None:
        """A pass with its graph, or with the activations of the first layers, or None."""
        tokens = len(ids_of(forced))
        base = base_of(subject, sites, edits)
        cached = None
        if tokens < self._heavy.get(id(subject), tokens + 1):
            try:
                cached = cache_with_graph(subject, forced, sites, edits, base, self.most)
            except NoGraph as error:
                self._heavy[id(subject)] = tokens if error.large else 0
            except torch.OutOfMemoryError:  # a GPU with other users
                self._kept.clear()
                self._heavy[id(subject)] = tokens
        if cached is None:
            cached = cache_first_layers(subject, forced, sites, edits, base)
        if cached is None or cached.base is None or self._may_resume(cached):
            return cached
        return None if cached.final is None else replace(cached, base=None)

    def _looks_back(self, subject: Subject, forced: ForcedTokens) -> bool:
        """Whether the model looks back only, measured once for each kind of input."""
        kind = ("back", str(id(subject)), *sorted(forced.batch.inputs))
        if kind not in self._proved:
            self._proved[kind] = bool(subject.looks_back(forced.batch))
        return self._proved[kind]

    def _may_resume(self, cached: CachedPass) -> bool:
        """Whether passes may resume at its base: compared with a full pass, once for each kind of
        input."""
        assert cached.base is not None
        kind = (cached.base[0], str(id(cached.subject)), *sorted(cached.forced.batch.inputs))
        if kind not in self._proved:
            self._proved[kind] = _resumes_alike(cached)
        return self._proved[kind]


def _resumes_alike(cached: CachedPass) -> bool:
    """Whether a pass that resumes at the base gives the logits of a full pass."""
    subject, batch = cached.subject, cached.forced.batch
    last = len(cached.ids) - 1
    begin = cached.begin(cached.edits, len(cached.ids))

    def whole() -> Tensor:
        if cached.final is not None:
            return cached.logits(last, last + 1)
        logits: Tensor = subject.logits(batch, edits=cached.edits, start=last)
        return logits

    return ends_alike(
        lambda: subject.logits(batch, edits=cached.edits, start=last, begin=begin), whole
    )


def ids_of(forced: ForcedTokens) -> tuple[int, ...]:
    """The token ids of prompt and continuation."""
    return tuple(forced.batch.inputs["input_ids"][0].tolist())


def key_of(subject: Subject, forced: ForcedTokens, sites: Sequence[str], changes: str) -> str:
    """A hash of everything that determines a pass except its tokens; ``changes`` names the edits.

    With edits it includes the prompt's length, since edits tell prompt from answer.
    """
    length = int(forced.ends[0]) if changes else 0
    about = (id(subject), tuple(sites), changes, length)
    return key_of_inputs(forced.batch.inputs, about, _MAIN)


def can_cache(subject: Subject, forced: ForcedTokens, sites: Sequence[str]) -> bool:
    """Whether one prompt can be cached at these sites: not on the vision side, and not for the
    joined sites of a crosscoder."""
    mask = forced.batch.mask
    one = len(forced.ends) == 1 and mask.shape[1] > 1 and bool(mask.all())
    return one and all(site in subject.hooks and not is_pictured(site) for site in sites)


def base_of(subject: Subject, sites: Sequence[str], edits: Edits) -> str:
    """The last site below all watches and edits if a pass may resume there, else empty."""
    first = next((site for site in subject.hooks if site in edits or site in sites), "")
    site = before(first)
    return site if site and not is_pictured(first) and subject.can_fork(site) else ""


def cache_with_graph(
    subject: Subject, forced: ForcedTokens, sites: Sequence[str], edits: Edits, base: str, most: int
) -> CachedPass | None:
    """One pass with watches at ``sites`` and its graph; None if prefixes would have another graph.

    Raises:
        NoGraph: the graph has more than ``most`` bytes, or the logits are more than a product.
    """
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
    activations: dict[str, Tensor] = {site: x for site, x in seen.items() if x is not None}
    size = graph_bytes(final, subject.model) + _inputs_bytes(forced)
    if size > most:
        raise NoGraph(large=True)
    start = None if first.seen is None else (base, first.seen)
    return CachedPass(
        subject, forced, ids_of(forced), tuple(sites), edits, final, activations, size, start
    )


def cache_first_layers(
    subject: Subject, forced: ForcedTokens, sites: Sequence[str], edits: Edits, base: str
) -> CachedPass | None:
    """Activations at ``base``, without a graph; None if no pass could use them."""
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
    """An edit that records the activations at its site, then applies another edit."""

    then: Edit | None = None
    seen: Tensor | None = field(default=None, init=False)

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        self.seen = x.detach()
        return x if self.then is None else self.then(x, context)


@dataclass(slots=True, eq=False)
class _Steady:
    """An edit that checks whether every prefix has the same attention sinks.

    Edits skip tokens whose norm is far above the median (``sinks``), and a prefix may have another
    median.
    """

    edit: Edit
    prompt: int
    same: bool = field(default=True, init=False)

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        norms = torch.linalg.vector_norm(x.detach().float(), dim=-1)[0].cpu()  # (T,)
        lengths = torch.arange(self.prompt, len(norms) + 1)  # of each prefix
        bounds = torch.stack([TIMES * norms[:n].median() for n in lengths.tolist()])
        far = norms > bounds[:, None]  # (prefixes, T)
        inside = torch.arange(len(norms)) < lengths[:, None]
        alike = bool(((far == far[-1]) | ~inside).all())
        self.same = self.same and self.prompt >= LEAST and alike
        return self.edit(x, context)


class NoGraph(Exception):
    """The graph is too ``large`` to be cached, or cannot be cached at all for this model."""

    def __init__(self, large: bool) -> None:
        super().__init__(large)
        self.large = large


def _inputs_bytes(forced: ForcedTokens) -> int:
    """Bytes of the model inputs, mostly pictures."""
    inputs = forced.batch.inputs.values()
    return sum(x.untyped_storage().nbytes() for x in inputs if isinstance(x, Tensor))


def graph_bytes(final: Tensor, model: torch.nn.Module) -> int:
    """Bytes that a graph keeps alive: each storage once, without the model's weights.

    Walks the finished graph. (Saved-tensor hooks would keep it alive for ever: a node that saves
    its own result would own itself.)
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
            saved = getattr(node, name)
            for x in saved if isinstance(saved, list | tuple) else (saved,):
                if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in known:
                    known.add(x.untyped_storage().data_ptr())
                    total += x.untyped_storage().nbytes()
    return total
