"""What is checked before a run writes anything: names, sites, widths, pictures."""

from __future__ import annotations

from semascope.config import RunOptions
from semascope.errors import CorpusError, NoImages
from semascope.pipeline.explainers import check_explainers
from semascope.pipeline.members import family
from semascope.pipeline.run_context import Run
from semascope.pipeline.scorers import check_scorers

GLANCE = 16
"""Rows that are searched for pictures where there should be none."""


def check_names(options: RunOptions) -> None:
    """Raise ExplainError for an unknown explainer or scorer, before the earlier stages run."""
    check_explainers(options.explain)
    check_scorers(options.score)


def verify(run: Run) -> None:
    """Raise a SemascopeError for what the options get wrong. Nothing is written."""
    from semascope.dictionary.training.tracking import need

    family(run)  # resolves the sites, and refuses impossible widths
    if run.options.train.track:
        need(run.options.train.track)
    if run.subject.has_vision:
        _check_pictures(run)
    else:
        _check_words(run)
    _check_patches(run)


def check_and_sign(run: Run) -> None:
    """Verify the options, then write into ``run.json`` what the run is of."""
    verify(run)
    run.sign()


def _check_pictures(run: Run) -> None:
    """A multimodal subject needs pictures, unless ``--text-only`` is given."""
    from semascope.corpus.open import require_images

    if run.options.train.text_only:
        return
    try:
        require_images(run.corpus)
    except NoImages as error:
        raise NoImages(
            f"{error} To read words alone with {run.options.train.subject}, say --text-only."
        ) from error


def _check_words(run: Run) -> None:
    """A language model needs a corpus without pictures."""
    first_rows = run.corpus.read(0, min(GLANCE, len(run.corpus)))
    if any(sample.pictures for _, sample in first_rows):
        raise CorpusError(
            f"{run.options.train.subject} reads words alone, and {run.corpus.name} has "
            "pictures. Name a --corpus of words, such as text."
        )


def _check_patches(run: Run) -> None:
    """At sites of the vision side, each image token must stand for one patch.

    Tried on the first sample that has pictures; SubjectError says why where it does not hold.
    """
    from semascope.corpus.open import GLANCE as FAR
    from semascope.subject.patches import is_pictured, laid_out

    pictured = [site for site in run.sites if is_pictured(site)]
    if not pictured:
        return
    first_rows = run.corpus.read(0, min(FAR, len(run.corpus)))
    sample = next((sample for _, sample in first_rows if sample.pictures), None)
    if sample is None:
        raise CorpusError(
            f"{pictured[0]} reads pictures, and {run.corpus.name} has none in its first "
            f"{FAR} rows. Name a --corpus with pictures, or a --site of the language model."
        )
    batch = run.subject.encode([sample], max_tokens=run.options.train.max_tokens)
    for site, x in run.subject.run(batch, pictured).items():
        laid_out(site, x, batch)
