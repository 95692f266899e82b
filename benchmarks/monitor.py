"""What the monitor costs: from a click to concepts, a search, and steering by the token.

``python -m benchmarks.monitor --json``. On the embedded model where it is there, else on a tiny one
of random weights (the record says which). The dictionary, its words and the search's vectors are
drawn at random in the sizes asked for: what they say does not matter to speed.

* *click*: from the question's joining the queue to the clusters' leaving it, over the same queue,
  atlas and clustering that the page uses; beside one forward and one backward pass of the same
  conversation. Here nothing is kept from the click before, and with 8 users all click at one
  instant; a table of its own has that, the same with passes kept, and eight people at the page
  (``_clicks``).
* *search*: the exact product over all vectors, p95; turning the query into a vector is told apart.
* *steering*: seconds a token of an answer, with one concept of 20 features clamped, and without.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from recipes.figures import shown

from benchmarks._clicks import QUESTION, clicks, picture
from benchmarks.causal import _seconds, _subject
from semascope.atlas import Atlas, FeatureFigures, HashingEmbedder, VectorIndex, embedder
from semascope.causal.steering.interventions import Intervention
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample, Turn
from semascope.dictionary import CoderConfig, SparseCoder
from semascope.monitor.base_rates import measured_base_rates, prompts
from semascope.serve.explorer.feature_index import FeatureIndex
from semascope.serve.explorer.model import ModelSession
from semascope.serve.explorer.why import TokenExplainer
from semascope.workspace import Workspace

WORDS = (
    "date verse number red car dog tree song river stone child house code law bread wind".split()
)


def main(
    subject: str = "sprite-llava",
    width: int = 4608,
    repeats: int = 20,
    descriptions: int = 1_000_000,
    tokens: int = 32,
    page: float = 50.0,
) -> dict[str, Any]:
    """Measure; the record of ``make model``."""
    model = _subject(subject)
    sites = [site for site in model.sites() if site.startswith("resid_post.")]
    site = sites[len(sites) // 2]
    coder = SparseCoder(CoderConfig(d_in=model.d_model, width=width, k=32), site=site)
    figures = {"max": np.ones(width), "density": np.full(width, 0.01)}
    steerable = SteerableModel.of(model, [coder], {f"{site}/main": figures})
    found: dict[str, Any] = {"subject": model.name, "site": site, "width": width}
    with tempfile.TemporaryDirectory() as folder:
        with written(Path(folder), steerable, f"{site}/main") as explainer:
            found |= clicks(explainer, repeats, page)
        found |= searches(Path(folder) / "many", descriptions, max(20, repeats))
    return found | steering(steerable, f"{site}/main", tokens, max(3, repeats // 4))


class Ready(ModelSession):
    """An session whose model is there already; its pictures are drawn."""

    def __init__(self, space: Workspace, steerable: SteerableModel) -> None:
        super().__init__(space, picture)
        self._steerable = steerable

    @property
    def steerable(self) -> SteerableModel:
        """As it was given."""
        return self._steerable


@contextmanager
def written(folder: Path, steerable: SteerableModel, key: str) -> Iterator[TokenExplainer]:
    """A workspace whose features have drawn words, and what looks behind answers in it."""
    space, draw = Workspace(folder), np.random.default_rng(0)
    width = steerable.dictionaries[key].width
    atlas = Atlas.open(space.atlas)
    atlas.add_dictionary(key, model=steerable.subject.name, width=width)
    atlas.write_features(key, (_figures(n) for n in range(width)))
    said_of = [" ".join(draw.choice(WORDS, 4)) for _ in range(width)]
    atlas.write_explanations(key, [_words(n, text) for n, text in enumerate(said_of)])
    embed = HashingEmbedder()
    VectorIndex.write(space.vectors / key, np.arange(width), embed(said_of), embedder=embed.name)
    known = measured_base_rates(steerable, prompts()[:4], folder / "ordinary")
    assert known is not None  # nobody stopped it
    yield TokenExplainer(
        Ready(space, steerable), FeatureIndex(space, atlas), {False: known, True: known}
    )
    atlas.close()


def _figures(index: int) -> FeatureFigures:
    return FeatureFigures(
        index=index, alive=True, modality="text", density=0.01, density_text=0.01,
        density_image=0.0, max=1.0, samples=1, stats={},
    )  # fmt: skip


def _words(index: int, text: str) -> SimpleNamespace:
    return SimpleNamespace(
        feature=index, label=text, description=text, category="other", confidence=0.5,
        abstained=False, author="drawn", prompt_version="1", inputs="", cost={},
    )  # fmt: skip


def searches(folder: Path, descriptions: int, repeats: int) -> dict[str, Any]:
    """Seconds a search over drawn vectors, 384 numbers each."""
    draw, dim = np.random.default_rng(1), 384
    rows = draw.standard_normal((descriptions, dim), dtype=np.float32)
    index = VectorIndex.write(folder, np.arange(descriptions), rows, embedder="drawn")
    queries = rows[: repeats + 1].copy()
    del rows
    index.search(queries[-1], 40)  # the file is mapped and read once
    taken = []
    for query in queries[:repeats]:
        begun = time.perf_counter()
        index.search(query, 40)
        taken.append(time.perf_counter() - begun)
    embed = embedder()
    return {
        "search_descriptions": descriptions,
        "seconds_search_p50": float(np.percentile(taken, 50)),
        "seconds_search_p95": float(np.percentile(taken, 95)),
        "seconds_embed_query": _seconds(lambda: embed(["a red car on a road"]), 5),
        "embedder": embed.name,
    }


def steering(steerable: SteerableModel, key: str, tokens: int, repeats: int) -> dict[str, Any]:
    """Seconds a token, steered and not."""
    sample = Sample(id="asked", turns=(Turn("user", QUESTION),))
    wish = Intervention(features=tuple((key, n) for n in range(20)), strength=1.0, unit="absolute")
    edits = steerable.edits([wish])

    def answer(how: Any) -> float:
        begun = time.perf_counter()
        made = steerable.subject.generate(sample, edits=how, max_new_tokens=tokens, top=0)
        return (time.perf_counter() - begun) / max(1, len(made.tokens))

    answer({}), answer(edits)
    pairs = [(answer({}), answer(edits)) for _ in range(repeats)]  # in turns: a machine drifts
    plain, steered = (float(np.median([pair[i] for pair in pairs])) for i in (0, 1))
    return {
        "seconds_a_token": plain,
        "seconds_a_token_steered": steered,
        "steering_adds": steered / plain - 1,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subject", default="sprite-llava", help="a name, or tiny:llava")
    parser.add_argument("--width", type=int, default=4608, help="features of the dictionary")
    parser.add_argument("--repeats", type=int, default=20, help="clicks, searches, answers")
    parser.add_argument("--descriptions", type=int, default=1_000_000, help="of the search")
    parser.add_argument("--tokens", type=int, default=32, help="of a steered answer")
    parser.add_argument("--page", type=float, default=50.0, help="seconds of eight people reading")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    record = main(
        options.subject,
        options.width,
        options.repeats,
        options.descriptions,
        options.tokens,
        options.page,
    )
    if options.json:
        print(json.dumps(record))
    else:
        for _, rows in record.pop("tables").values():
            for row in rows:
                print(", ".join(f"{key} {shown(value)}" for key, value in row.items()))
        for key, value in record.items():
            print(f"{key:48} {value:.4g}" if isinstance(value, float) else f"{key:48} {value}")
