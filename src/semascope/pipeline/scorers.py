"""Scorers by the names that the options use, and what they need of a run.

A new one is one line in a table here; the stages know none of them in particular.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semascope.config import ScoreOptions
from semascope.errors import ExplainError
from semascope.pipeline.explainers import ADDRESS, extra_fields, named, server
from semascope.pipeline.run_context import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semascope.corpus.sample import Sample
    from semascope.evidence.types import EvidenceSample
    from semascope.explain.scorers.lmm_judge import LMMJudge
    from semascope.explain.types import Judge, Scorer

TOGETHER = 16
"""Samples of one forward pass."""
BORROWED = ("clip", "grounded")
"""Scorers that need the weights of other models."""
JUDGES = ("words", "meaning", "lmm")
"""Who rates how well words fit a sample."""
CHOICES = 8
"""Exemplars of a feature for which an LMM chooses among explanations: each is a question."""


def make_scorers(run: Run) -> list[Scorer]:
    """The scorers that the options name; ``all`` leaves out those whose weights are not here.

    Raises ExplainError for one that was named and cannot be had.
    """
    found = []
    for name in run.options.score.scorers:
        if name != "all":
            found.append(named(_SCORERS, name, "scorer")(run))
            continue
        for other, maker in _SCORERS.items():
            try:
                found.append(maker(run))
            except ExplainError:
                if other not in BORROWED:
                    raise
    return found


def knows_meaning() -> bool:
    """Whether the embedder that is installed knows synonyms; hashed words do not."""
    from semascope.atlas.embed import minilm_folder

    return minilm_folder() is not None


def check_scorers(options: ScoreOptions) -> None:
    """Raise ExplainError for what there is not, before anything is done."""
    for name in options.scorers:
        if name != "all":
            named(_SCORERS, name, "scorer")
    named(dict.fromkeys(JUDGES), options.judge, "judge")
    if options.judge == "meaning" and not knows_meaning():
        raise ExplainError(
            "The judge 'meaning' needs word vectors: pip install 'semascope[embed]'."
        )
    if options.judge == "lmm" and not (options.base_url and options.model):
        raise ExplainError(f"The judge 'lmm' needs --base-url, {ADDRESS}, and --model.")
    extra_fields(options.extra_body)


def peaks(run: Run, samples: Sequence[Sample]) -> Any:
    """(n, width) scipy CSR: the largest activation of every feature on each sample.

    Of the tokens that evidence looks at: text and picture, the first token left out; at sites of
    the vision side, image tokens alone.
    """
    import torch
    from scipy import sparse

    from semascope.subject.patches import laid_out
    from semascope.subject.readable import read_kinds

    rows: list[Any] = []
    site = run.options.chosen()[0]
    for first in range(0, len(samples), TOGETHER):
        batch = run.subject.encode(
            samples[first : first + TOGETHER], max_tokens=run.options.train.max_tokens
        )
        with torch.inference_mode():
            out, _ = laid_out(site, run.reader.run(batch, [site])[site], batch)  # (B, T, d)
            for x, map_ in zip(out, batch.maps, strict=True):
                keep = torch.from_numpy(read_kinds(map_, site) != 0)
                codes = run.dictionary.encode(x.cpu()[keep].float())
                row = np.zeros(run.dictionary.width, np.float32)
                np.maximum.at(row, codes.indices.numpy().ravel(), codes.values.numpy().ravel())
                rows.append(sparse.csr_matrix(row))
    return sparse.vstack(rows).tocsr()


def vectors(run: Run) -> Callable[[Sequence[EvidenceSample]], NDArray[np.float32]]:
    """Sentence vectors of samples' captions or texts: an encoder that is not the subject."""
    from semascope.atlas import embedder
    from semascope.explain.text.documents import DocumentLibrary

    embed, library = embedder(), DocumentLibrary()
    known: dict[str, NDArray[np.float32]] = {}

    def of(samples: Sequence[EvidenceSample]) -> NDArray[np.float32]:
        docs = library.docs(samples)
        texts = [doc.caption or doc.text[:400] for doc in docs]
        fresh = sorted({t for t in texts if t not in known})
        if fresh:
            known.update(zip(fresh, embed(fresh), strict=True))
        return np.stack([known[t] for t in texts])

    return of


def lmm_judge(run: Run) -> LMMJudge | None:
    """The LMM that judges, one for all scorers of a run; None where words are judged by rule."""
    options = run.options.score
    if options.judge != "lmm":
        return None
    if run.lmm_judge is None:
        from semascope.explain.scorers.lmm_judge import LMMJudge

        run.lmm_judge = LMMJudge(server(options, run), run.media.open)
    return run.lmm_judge


def _judge(run: Run) -> Judge:
    """The judge that the options name, one for all scorers of a run: a sample is read once."""
    asked = lmm_judge(run)
    if asked is not None:
        return asked
    if run.lexical_judge is None:
        from semascope.atlas.embed import word_embedder
        from semascope.explain.scorers.lexical_judge import LexicalJudge

        meaning = run.options.score.judge == "meaning"
        run.lexical_judge = LexicalJudge(embed=word_embedder() if meaning else None)
    return run.lexical_judge


def _iou(run: Run) -> Scorer:
    from semascope.explain.scorers.iou import IoUScorer

    return IoUScorer(seed=run.options.score.seed)


def _detection(run: Run) -> Scorer:
    from semascope.explain.scorers.detection import DetectionScorer

    return DetectionScorer(_judge(run), seed=run.options.score.seed)


def _fuzzing(run: Run) -> Scorer:
    from semascope.explain.scorers.fuzzing import FuzzingScorer
    from semascope.explain.scorers.regions import EitherRegions, TruthRegions, WordRegions

    judge = EitherRegions(WordRegions(), TruthRegions())
    return FuzzingScorer(judge, seed=run.options.score.seed)


def _simulation(run: Run) -> Scorer:
    from semascope.explain.scorers.simulation import SimulationScorer, WordSimulator

    return SimulationScorer(WordSimulator(truth=True), seed=run.options.score.seed)


def _specificity(run: Run) -> Scorer:
    from semascope.explain.scorers.specificity import SpecificityScorer

    return SpecificityScorer(_judge(run), seed=run.options.score.seed)


def told_apart(run: Run) -> Scorer:
    """The scorer of words against those of the nearest features, with the judge of the options."""
    from semascope.explain.scorers.lmm_choice import LMMChooser
    from semascope.explain.scorers.told_apart import (
        LargestRating,
        ToldApartScorer,
        nearest_explained,
    )
    from semascope.pipeline.stages.explain import best, read

    own = {feature: e for feature, e in best(read(run)).items() if not e.abstained}
    by_direction, by_firing = (run.evidence.nearest(by)[0] for by in ("cosine", "cofire"))
    judge, seed = lmm_judge(run), run.options.score.seed
    neighbours = nearest_explained(by_direction, by_firing, own)
    if judge is not None:
        return ToldApartScorer(neighbours, LMMChooser(judge, seed=seed), most=CHOICES, seed=seed)
    return ToldApartScorer(neighbours, LargestRating(_judge(run)), seed=seed)


def _monosemanticity(run: Run) -> Scorer:
    from semascope.explain.scorers.monosemanticity import MonosemanticityScorer

    return MonosemanticityScorer(vectors(run), seed=run.options.score.seed)


def _sensitivity(run: Run) -> Scorer:
    from semascope.explain.scorers.generated_scenes import SceneGenerator
    from semascope.explain.scorers.sensitivity import SensitivityScorer

    def heat(samples: Sequence[Sample], features: Sequence[int]) -> NDArray[np.float32]:
        return np.asarray(peaks(run, samples)[:, list(features)].toarray())

    # Other scenes than the run's own: a seed far from those of corpora.
    return SensitivityScorer(SceneGenerator(), heat, seed=run.options.score.seed + 7_000_003)


def _clip(run: Run) -> Scorer:
    from semascope.explain.scorers.clip import Clip, ClipScorer

    options = run.options.score
    return ClipScorer(Clip.load(options.clip), run.media.open, seed=options.seed)


def _grounded(run: Run) -> Scorer:
    from semascope.explain.scorers.dino_sam import DinoSam, GroundedScorer

    options = run.options.score
    outliner = DinoSam.load(options.detector, options.segmenter)
    return GroundedScorer(outliner, run.media.open, seed=options.seed)


_SCORERS: Mapping[str, Callable[[Run], Scorer]] = {
    "iou": _iou,
    "detection": _detection,
    "fuzzing": _fuzzing,
    "simulation": _simulation,
    "specificity": _specificity,
    "told_apart": told_apart,
    "monosemanticity": _monosemanticity,
    "sensitivity": _sensitivity,
    "clip": _clip,
    "grounded": _grounded,
}
