"""The third stage: words for every alive feature.

The vocabulary namer names all; it costs nothing. The explainers that ask a model are slow, so
they are asked about those features that are most in need: first those that have no words, then
those whose words are least sure. Such a feature keeps the words that do better on a part of the
explain split that neither saw (``explain.cascade``); nothing is ever chosen by the score split.
At the end all words are refined: interest, low level and duplicates (``explain.refine``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semascope.pipeline import readings
from semascope.pipeline.accounts import replies
from semascope.pipeline.accounts.features import of_explaining
from semascope.pipeline.run_context import Run
from semascope.pipeline.stages.base import StageProgress
from semascope.pipeline.stages.parts import Parts, blocks

if TYPE_CHECKING:
    from semascope.explain.refine import Refined
    from semascope.explain.types import Cost, Explanation

FREE = "vocabulary"
REFINED = "refined"
"""Folder of what is made of all words together."""
SEEING = "subject"
"""The explainer that is asked about features of pictures alone."""
READER = "reader"
"""The explainer that reads the model's own activations: a reading costs a tenth of a question, so
every feature that fires on pictures is read."""
FREE_BLOCK = 512
"""Features that a namer without a model is given at once."""
READ_BLOCK = 128
"""Features of which the readings are put into words at once."""
ASKED_BLOCK = 4
"""Features that an explainer with a model is given at once: what a kill may lose."""
ASKED_COST = 500
"""One feature put to a model takes about so many times as long as one put to none: for the
time left, which is told over both."""


def folder(run: Run) -> Path:
    """Where the parts of this run's explanations lie."""
    site, name = run.options.chosen()
    return run.workspace.root / "explanations" / site / name


def explain_features(run: Run, progress: StageProgress) -> Mapping[str, Any]:
    """Explain, or go on; count what has words."""
    progress(0, 1, "opening the evidence")
    folder(run).mkdir(parents=True, exist_ok=True)
    alive = [int(i) for i in run.evidence.alive()]
    order = run.options.explain.explainers
    ask = to_ask(run, len(alive))
    if READER in order:
        for read_now, all_of_them in readings.make(run):
            progress(read_now, all_of_them, "reading activations")
    total = sum(ask * ASKED_COST if asked_few(name) else count(run, name, alive) for name in order)
    done = 0
    for name in order:
        cost = ASKED_COST if asked_few(name) else 1
        for size, note in explain_share(run, name, alive):
            done += cost * size
            progress(done, total, note)
        replies.check(replies.tally(_explanations(Parts(folder(run) / name))))
    Parts(folder(run) / REFINED).write(0, map(asdict, refined(run)))
    return _figures(run, alive)


def explain_share(
    run: Run,
    name: str,
    alive: Sequence[int],
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[tuple[int, str]]:
    """Do the blocks of one explainer that fall to one worker of several, but for those that
    stand; one in which a model's answer was of no use is asked anew, and one that an earlier
    version of the namer wrote is named anew. All of the explainers before it must be done. Yields
    (0, what begins) before a block is done and (its number of features, the explainer) after.

    Raises ExplainError where a model's first answers were all of no use."""
    if name == READER:
        for _ in readings.make(run, rank, world_size):
            pass
    parts = Parts(folder(run) / name)
    features, size = _work(run, name, alive), block_size(name)
    answers: dict[str, replies.ReplyCounts] = {}
    for number, block in enumerate(blocks(features, size)):
        if number % world_size != rank:
            continue
        if not _stands(parts, name, number):
            yield 0, f"{name}: {len(block)} features"
            made = _explain(run, name, block)
            parts.write(number, map(asdict, made))
            replies.check(replies.tally(made, answers), early=True)
        yield len(block), name


def _stands(parts: Parts, name: str, number: int) -> bool:
    """Whether a block is done, and its words are of use and of this version."""
    if number not in parts:
        return False
    records = list(parts.one(number))
    if name == FREE:
        from semascope.explain.explainers.vocabulary import VERSION

        if any(record.get("prompt_version") not in ("", None, VERSION) for record in records):
            return False
    return not replies.failed(records)


def asked_few(name: str) -> bool:
    """Whether an explainer is so dear that it is asked about few features (``--ask``)."""
    return name not in (FREE, READER)


def block_size(name: str) -> int:
    """Features that an explainer is given at once."""
    return {FREE: FREE_BLOCK, READER: READ_BLOCK}.get(name, ASKED_BLOCK)


def _work(run: Run, name: str, alive: Sequence[int]) -> list[int]:
    """The features that an explainer is given, in order."""
    if name == FREE:
        return list(alive)
    if name == READER:
        return readable(run, alive)
    return in_need(run, name, alive)[: to_ask(run, len(alive))]


def count(run: Run, name: str, alive: Sequence[int]) -> int:
    """How many features an explainer is given."""
    if name == READER:
        return len(readable(run, alive))
    return to_ask(run, len(alive)) if asked_few(name) else len(alive)


def readable(run: Run, alive: Sequence[int]) -> list[int]:
    """Features with a reading: those that fire on pictures."""
    from semascope.evidence.store.peak_vectors import peaks

    texts = readings.read(run).texts
    records = ((feature, run.evidence.feature(feature)) for feature in alive)
    return [f for f, r in records if any((p.row, p.token) in texts for p in peaks(r, None))]


def to_ask(run: Run, alive: int) -> int:
    """How many features a model is asked about."""
    ask = run.options.explain.ask
    return alive if ask < 0 else min(ask, alive)


def refined(run: Run) -> list[Refined]:
    """Interest, low level and group of duplicates of every feature's own words, by number."""
    from semascope.evidence.types import FeatureEvidence
    from semascope.explain.refine import meaning, refine

    own = [one for _, one in sorted(best(read(run)).items())]
    density = run.evidence.stats("density")
    shared = Counter(meaning(one.label) for one in own if not one.abstained)
    records = []
    for one in own:
        # Exemplars tell duplicates alone, and only where words are shared.
        top = run.evidence.feature(one.feature).top if shared[meaning(one.label)] > 1 else ()
        stats = {"density": float(density[one.feature])}
        records.append(FeatureEvidence(one.feature, top, (), (), stats))
    return refine(records, own)


def read_refined(run: Run) -> list[Refined]:
    """What ``refined`` wrote; nothing before the stage is done."""
    from semascope.explain.refine import Refined

    parts = Parts(folder(run) / REFINED)
    return [Refined(**record) for record in parts.read()] if 0 in parts else []


def _explain(run: Run, name: str, block: Sequence[int]) -> list[Explanation]:
    """One block's words; a fresh namer each, so that what it read before cannot matter."""
    from semascope.pipeline.explainers import make

    return make(name, run).explain([run.evidence.feature(index) for index in block])


def read(run: Run) -> dict[str, list[Explanation]]:
    """All explanations so far, by explainer, in the order of asking."""
    return {
        name: list(_explanations(Parts(folder(run) / name)))
        for name in run.options.explain.explainers
        if (folder(run) / name).is_dir()
    }


def _explanations(parts: Parts) -> Iterable[Explanation]:
    from semascope.explain.types import Cost, Explanation

    for record in parts.read():
        yield Explanation(**{**record, "cost": Cost(**record["cost"])})


def best(found: Mapping[str, Sequence[Explanation]]) -> dict[int, Explanation]:
    """Each feature's own words: the last ones, which won over those before them; an abstention
    only where nobody has words."""
    chosen: dict[int, Explanation] = {}
    for explanations in found.values():
        for one in explanations:
            if one.feature not in chosen or not one.abstained:
                chosen[one.feature] = one
    return chosen


def in_need(run: Run, name: str, alive: Sequence[int]) -> list[int]:
    """Features to ask a model about, those without words first, then the least sure.

    Only words of the explainers before ``name`` count, so that a resumed run asks the same.
    """
    order = run.options.explain.explainers
    before = {
        other: ones for other, ones in read(run).items() if order.index(other) < order.index(name)
    }
    sure = {f: -1.0 if e.abstained else e.confidence for f, e in best(before).items()}
    if name == SEEING:
        stats = run.evidence.stats
        seen = np.maximum(stats("density_image"), stats("density_tile")) >= stats("density_text")
        alive = [feature for feature in alive if seen[feature]]
    return sorted(alive, key=lambda feature: (sure.get(feature, -1.0), feature))


def _figures(run: Run, alive: Sequence[int]) -> dict[str, Any]:
    found = read(run)
    chosen = best(found)
    own = [one for one in chosen.values() if not one.abstained]
    return {
        "features_explained": len(own),
        "share_explained": len(own) / len(alive) if alive else 0.0,
        "by_author": dict(Counter(one.author for one in own)),
        "calls": sum(one.cost.calls for ones in found.values() for one in ones),
        "cost": asdict(_spent(found)),
        "interesting": sum(one.interest >= 0.5 for one in read_refined(run)),
        "low_level": sum(one.low_level for one in read_refined(run)),
        "duplicates": sum(one.group != one.feature for one in read_refined(run)),
        **replies.figures(replies.tally(one for ones in found.values() for one in ones)),
        **_reading(run),
        "read": of_explaining(run.evidence, alive, chosen) | _notes(run),
    }


def _reading(run: Run) -> dict[str, Any]:
    """How the model did as a reader of itself, where it was tried."""
    known = readings.read(run)
    if not known.trial and not known.refusal:
        return {}
    told = {"readings": len(known.texts), "seconds_a_reading": known.seconds}
    return {"reader": {**known.trial, **told, "refusal": known.refusal}}


def _notes(run: Run) -> dict[str, Any]:
    """Why the model reads nothing, for whoever wonders where its words are."""
    known = readings.read(run)
    return {"notes": [f"reader: {known.refusal}"]} if known.refusal else {}


def _spent(found: Mapping[str, Sequence[Explanation]]) -> Cost:
    """All that was paid for words: calls, tokens, seconds, money."""
    from semascope.explain.types import Cost

    return sum((one.cost for ones in found.values() for one in ones), Cost())
