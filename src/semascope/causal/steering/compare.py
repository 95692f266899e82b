"""One sample answered with and without interventions, and the distance between the answers.

The figures are measured on the tokens of the *base* answer, forced in both runs, so that they
compare the same positions: log-probability before and after, and KL(base ‖ steered) in nats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semascope.causal.attribution.forced_tokens import answer_logprobs, divergence
from semascope.causal.steering.edits import edits_for
from semascope.causal.steering.interventions import Intervention, dump
from semascope.causal.steering.units import Statistics
from semascope.corpus.sample import Sample
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError
from semascope.subject.model import Subject
from semascope.subject.types import Edits, Generation, TokenSink


@dataclass(frozen=True, slots=True)
class Shift:
    """Effect of interventions on one token of the base answer."""

    id: int
    text: str
    before: float
    """Log-probability without them, in nats."""
    after: float
    """Log-probability with them."""
    kl: float
    """KL(base ‖ steered) of the whole distribution at this position, in nats."""
    promoted: tuple[tuple[int, str, float, float], ...] = ()
    """(id, text, before, after) probabilities of the tokens that gained most."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both answers, and the distance between them."""

    base: Generation
    steered: Generation
    shifts: tuple[Shift, ...]
    interventions: tuple[Intervention, ...]
    notes: tuple[str, ...] = ()
    """Notes for the reader, in sentences."""

    @property
    def changed(self) -> bool:
        """Whether the two answers differ."""
        return self.base.text != self.steered.text

    @property
    def kl(self) -> float:
        """Mean KL per token of the base answer, in nats."""
        return sum(s.kl for s in self.shifts) / len(self.shifts) if self.shifts else 0.0

    @property
    def logprob_shift(self) -> float:
        """Change of the base answer's log-probability, summed over its tokens, in nats."""
        return sum(s.after - s.before for s in self.shifts)

    def __repr__(self) -> str:
        answers = f"{self.base.text!r} → {self.steered.text!r}"
        return f"Comparison({answers}, KL {self.kl:.3g} nats/token)"

    def _repr_html_(self) -> str:
        from semascope import html

        labels = ", ".join(one.label for one in self.interventions)
        shift = f"log-probability of the base answer {self.logprob_shift:+.3g} nats"
        return html.block(
            html.line(labels, strong=True),
            html.turn("base", self.base.text),
            html.turn("steered", self.steered.text),
            html.line(f"KL {self.kl:.3g} nats per token; {shift}."),
            *(html.line(note) for note in self.notes),
        )

    def as_json(self) -> dict[str, Any]:
        """For a page or a file."""
        return {
            "base": self.base.text,
            "steered": self.steered.text,
            "changed": self.changed,
            "kl": self.kl,
            "logprob_shift": self.logprob_shift,
            "tokens": [
                {
                    "id": s.id,
                    "text": s.text,
                    "before": s.before,
                    "after": s.after,
                    "kl": s.kl,
                    "promoted": [list(row) for row in s.promoted],
                }
                for s in self.shifts
            ],
            "interventions": dump(self.interventions),
            "notes": list(self.notes),
        }


def compare(
    subject: Subject,
    sample: Sample,
    interventions: Sequence[Intervention],
    dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary],
    statistics: Statistics | None = None,
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    promoted: int = 3,
    sinks: tuple[TokenSink | None, TokenSink | None] = (None, None),
) -> Comparison:
    """Answer ``sample`` twice and measure what the interventions changed.

    Args:
        subject: a ``Subject``.
        sample: the prompt, with its pictures.
        interventions: what to do in the second run.
        dictionaries: those that the interventions name.
        statistics: sizes of units, as ``edits_for`` takes them.
        max_new_tokens: length limit of each answer.
        temperature: 0 is greedy; both runs draw with the same ``seed``.
        seed: random seed for sampling.
        promoted: how many gaining tokens to name at each position.
        sinks: called at each token of the base and of the steered answer.

    Raises:
        CausalError: the interventions cannot be done; see ``edits_for``.
    """
    edits = edits_for(interventions, dictionaries, statistics)
    base, steered = (
        subject.generate(
            sample,
            edits=run_edits,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            sink=sink,
        )
        for run_edits, sink in zip(({}, edits), sinks, strict=True)
    )
    shifts = token_shifts(subject, sample, [token.id for token in base.tokens], edits, promoted)
    return Comparison(base, steered, shifts, tuple(interventions), _notes(edits, shifts))


def _notes(edits: Edits, shifts: Sequence[Shift]) -> tuple[str, ...]:
    """A note if interventions changed nothing at all."""
    if not edits or any(shift.kl or shift.after != shift.before for shift in shifts):
        return ()
    return (
        "These interventions changed nothing: their tokens are not in this prompt, or the "
        "features do not fire there (ablate and scale need a feature that fires).",
    )


def token_shifts(
    subject: Subject,
    sample: Sample,
    ids: Sequence[int],
    edits: Edits,
    promoted: int = 3,
    prefill: str = "",
) -> tuple[Shift, ...]:
    """Effect of edits at each token of an answer that begins with ``prefill``."""
    if not ids:
        return ()
    batch = subject.encode([sample], answer=prefill, max_tokens=None)
    before = answer_logprobs(subject, batch, [ids], {})[0]  # (L, V)
    after = answer_logprobs(subject, batch, [ids], edits)[0] if edits else before  # (L, V)
    if not bool(torch.isfinite(after.amax(-1)).all()):
        raise CausalError(
            f"The steered model's output is not finite: {first_unbounded(subject, batch, edits)} "
            "is the first site where it breaks. Lower the strengths."
        )
    kl = divergence(before, after)  # (L,)
    gains = (after.exp() - before.exp()).topk(promoted)  # (L, promoted)
    return tuple(
        Shift(
            id=token,
            text=subject.encoder.text(token),
            before=float(before[at, token]),
            after=float(after[at, token]),
            kl=float(kl[at]),
            promoted=tuple(
                _gain(subject, before[at], after[at], int(other))
                for other, gain in zip(gains.indices[at], gains.values[at], strict=True)
                if gain > 1e-6
            ),
        )
        for at, token in enumerate(ids)
    )


def _gain(
    subject: Subject, before: Tensor, after: Tensor, token: int
) -> tuple[int, str, float, float]:
    """One gaining token: id, text, probability before and after."""
    text = subject.encoder.text(token)
    return token, text, float(before[token].exp()), float(after[token].exp())


def first_unbounded(subject: Subject, batch: Any, edits: Edits) -> str:
    """The first site, in forward order, that is not finite under ``edits``."""
    sites = [site for site in subject.sites() if site.startswith("resid_post.")]
    with torch.no_grad():
        outputs = subject.run(batch, sites, edits=edits)
    for site in sites:
        if not bool(torch.isfinite(outputs[site]).all()):
            return str(site)
    return "the output head"
