"""Explainers by the names that the options use.

A new one is one line in a table here; the stages know none of them in particular. Scorers are
in ``scorers``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from semascope.config import ExplainOptions, RunOptions
from semascope.errors import EvidenceError, ExplainError
from semascope.pipeline.run_context import Run

if TYPE_CHECKING:
    from semascope.corpus.sample import Sample
    from semascope.explain.explainers.vocabulary import VocabularyNamer
    from semascope.explain.llm.client import LMM
    from semascope.explain.types import Explainer, Promoted
    from semascope.pipeline.readings import Readings
    from semascope.subject.types import Generation

Made = TypeVar("Made")
ADDRESS = "the address of an OpenAI-compatible server such as http://localhost:8000/v1"
REPLY_TOKENS = 300
"""Tokens that a server's reply may have, where the options do not say."""
ANSWER = 12
"""Tokens of the subject's answer to "What do you see?"."""
PROMOTED = 256
"""Features whose promoted tokens are read together."""


def make(name: str, run: Run) -> Explainer:
    """The explainer by that name.

    Raises ExplainError that lists the names there are.
    """
    return named(_EXPLAINERS, name, "explainer")(run)


def check_explainers(options: ExplainOptions) -> None:
    """Raise ExplainError for an explainer that does not exist or that lacks its model's address."""
    for name in options.explainers:
        named(_EXPLAINERS, name, "explainer")
        if name in ("lmm", "server") and not (options.base_url and options.model):
            raise ExplainError(
                f"The explainer {name!r} needs --base-url, {ADDRESS}, and --model, the name of a "
                "model there."
            )
        if name == "local" and not options.model:
            raise ExplainError(
                "The explainer 'local' needs --model, a folder or a hub name of a model that "
                "reads pictures and text."
            )
    extra_fields(options.extra_body)


def extra_fields(text: str) -> dict[str, Any]:
    """The fields that --extra-body adds to every request.

    Raises ExplainError for what is no JSON object, and for fields that are semascope's own.
    """
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ExplainError(
            f"--extra-body {text!r} is no JSON object; one looks like "
            """'{"reasoning_effort": "low"}'."""
        )
    ours = sorted({"messages", "model", "stream", "n"} & found.keys())
    if ours:
        raise ExplainError(f"--extra-body cannot set {', '.join(ours)}: semascope does.")
    return found


def reach_judge(options: RunOptions) -> None:
    """Ask the server of the LMM that judges, where one does, whether it is there.

    Raises ServerUnreachable, ExplainError.
    """
    if options.score.judge == "lmm":
        server(options.score).check()


def reach(options: RunOptions) -> None:
    """Ask the server, where one is meant, whether it is there and has the model.

    Raises ServerUnreachable, ExplainError.
    """
    explain = options.explain
    wants = {"lmm", "server"} & set(explain.explainers)
    if wants or (explain.base_url and {"cascade", "best"} & set(explain.explainers)):
        server(explain).check()


def server(options: Any, run: Run | None = None) -> LMM:
    """The client of the server that some options name; replies are kept in the run's cache.

    Of several addresses, parted by commas, each worker takes one in turn.
    """
    from semascope.explain.llm.client import LMM
    from semascope.explain.llm.reply_cache import ReplyCache
    from semascope.explain.types import Price

    addresses = [one.strip() for one in options.base_url.split(",") if one.strip()]
    rank = run.rank if run else 0
    return LMM(
        base_url=addresses[rank % len(addresses)] if addresses else "",
        model=options.model,
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        concurrency=options.concurrency,
        timeout=options.reply_timeout,
        extra=extra_fields(options.extra_body),
        max_tokens=options.max_reply_tokens or REPLY_TOKENS,
        price=Price(getattr(options, "price_in", 0.0), getattr(options, "price_out", 0.0)),
        cache=ReplyCache(run.workspace.root / "explanations" / "replies.db") if run else None,
    )


def promoted(run: Run) -> Callable[[int], Sequence[str]]:
    """Tokens that a feature's direction makes likelier, read through the unembedding.

    Nothing for a site that does not write into the residual stream.
    """
    known: dict[int, list[list[str]]] = run.promoted_tokens

    def told(feature: int) -> Sequence[str]:
        block = feature // PROMOTED
        if block not in known:
            known[block] = _promoted(run, block * PROMOTED)
        return known[block][feature % PROMOTED]

    return told


def _promoted(run: Run, first: int) -> list[list[str]]:
    import numpy as np

    from semascope.evidence.analysis.logit_lens import promoted as read

    ids = np.arange(first, min(first + PROMOTED, run.dictionary.width))
    try:
        up = read(run.dictionary, run.unembedding, ids).up
    except EvidenceError:
        return [[] for _ in ids]
    return [[str(run.subject.encoder.text(token)) for token in row] for row in up.tolist()]


def steered(run: Run) -> Callable[[Sample, int, float], Generation]:
    """The subject's answer with a feature held up on the picture's tokens."""
    from semascope.causal.steering.edits import edits_for
    from semascope.causal.steering.interventions import Intervention, Where

    def answer(sample: Sample, feature: int, strength: float) -> Generation:
        wishes = []
        if feature >= 0 and strength:
            where = Where(kinds=("image", "tile"))
            features = ((run.dictionary_id, feature),)
            wishes = [Intervention(features=features, strength=strength, where=where)]
        edits = edits_for(wishes, [run.dictionary], {run.dictionary_id: run.evidence})
        made: Generation = run.subject.generate(sample, edits=edits, max_new_tokens=ANSWER)
        return made

    return answer


def _vocabulary(run: Run) -> Explainer:
    return vocabulary(run, promoted(run))


def vocabulary(run: Run, promoted: Promoted | None = None) -> VocabularyNamer:
    """The namer that costs nothing, as this run's options want it."""
    from semascope.explain.explainers.term_cover import VocabularyOptions
    from semascope.explain.explainers.vocabulary import VocabularyNamer

    wanted = VocabularyOptions(least_gain=run.options.explain.least_gain)
    return VocabularyNamer(run.background, promoted=promoted, options=wanted)


def _asked(run: Run) -> Explainer:
    from semascope.explain.explainers.self_naming import SubjectNamer

    return SubjectNamer(run.subject, run.media.open)


def _reader(run: Run) -> Explainer:
    from semascope.pipeline import readings

    return reading(run, readings.read(run))


def reading(run: Run, known: Readings) -> Explainer:
    """The explainer that puts readings into words."""
    from semascope.explain.reader.explainer import ReaderExplainer

    return ReaderExplainer(
        known.texts,
        model=run.subject.name,
        refusal=known.refusal,
        seconds=known.seconds,
    )


def _steering(run: Run) -> Explainer:
    from semascope.explain.explainers.steering import CausalNamer

    return CausalNamer(steered(run), run.subject.name)


def _lmm(run: Run) -> Explainer:
    from semascope.explain.explainers.lmm import LMMExplainer

    lmm = server(run.options.explain, run)
    return LMMExplainer(lmm, run.media.open, promoted=promoted(run))


def _local(run: Run) -> Explainer:
    from semascope.explain.explainers.local_lmm import LocalExplainer
    from semascope.pipeline.run_context import load_subject

    ref = run.options.explain.model
    models: dict[str, Any] = run.local_models
    if ref not in models:
        train = run.options.train
        models[ref] = load_subject(ref, device=train.device, dtype=train.dtype)
    allowed = run.options.explain.max_reply_tokens
    more = {"max_new_tokens": allowed} if allowed else {}
    return LocalExplainer(models[ref], run.media.open, promoted=promoted(run), **more)


def _after(dear: Callable[[Run], Explainer]) -> Callable[[Run], Explainer]:
    """The namer that costs nothing, then a dear one: its words are kept where they are better."""
    return lambda run: _chain(run, [_vocabulary(run), dear(run)], most=1.0)  # --ask says how many


def _contest(other: Callable[[Run], Explainer]) -> Callable[[Run], Explainer]:
    """Both name every feature, however good the first words are."""
    from semascope.explain.explainers.cascade import BestOf

    return lambda run: BestOf([_vocabulary(run), other(run)])


def _chain(run: Run, steps: Sequence[Explainer], most: float) -> Explainer:
    from semascope.explain.explainers.cascade import Cascade

    return Cascade(steps, bar=run.options.explain.bar, most=most)


def _all(run: Run) -> list[Explainer]:
    """All that can be had here, cheapest first."""
    found = [_vocabulary(run)]
    if run.subject.has_vision:
        found.append(_asked(run))
    if run.options.explain.base_url:
        found.append(_lmm(run))
    return found


def _cascade(run: Run) -> Explainer:
    return _chain(run, _all(run), run.options.explain.most)


def _best(run: Run) -> Explainer:
    from semascope.explain.explainers.cascade import BestOf

    return BestOf(_all(run))


_EXPLAINERS: dict[str, Callable[[Run], Explainer]] = {
    "vocabulary": _vocabulary,
    "subject": _after(_asked),
    "reader": _contest(_reader),
    "causal": _after(_steering),
    "lmm": _after(_lmm),
    "server": _after(_lmm),
    "local": _after(_local),
    "cascade": _cascade,
    "best": _best,
}


def named(table: Mapping[str, Made], name: str, what: str) -> Made:
    """An entry of a table. Raises ExplainError that lists the names there are."""
    if name not in table:
        raise ExplainError(f"There is no {what} {name!r}; there are: {', '.join(table)}.")
    return table[name]
