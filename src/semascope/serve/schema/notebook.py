"""Records of what people keep about features: lists, grades and how far raters agree."""

from __future__ import annotations

from pydantic import Field

from semascope.serve.schema.responses import ExemplarRecord, Measure, Record


class ListRecord(Record):
    """A named list of features."""

    name: str
    size: int


class GradeRecord(Record):
    """A grade that a rater may give."""

    grade: int
    meaning: str


class RatingTask(Record):
    """An explanation to grade, without its feature and author: it may be another feature's."""

    task: str | None = None
    """None when all are graded."""
    description: str = ""
    exemplars: list[ExemplarRecord] = Field(default_factory=list)
    """Held-out exemplars, which no explainer saw."""
    grades: list[GradeRecord] = Field(default_factory=list)
    done: int = 0
    total: int = 0


class RatingReveal(Record):
    """What a rater learns after grading."""

    feature: str
    label: str
    """The feature's own label in the atlas."""
    description: str
    author: str
    swapped: bool
    """Whether the graded explanation belongs to another feature."""
    done: int
    total: int


class GradeShare(Record):
    """How often a grade was given to features' own explanations."""

    name: str
    value: Measure = None
    low: Measure = None
    """Ends of Wilson's 95 % interval."""
    high: Measure = None
    n: int


class JudgeAgreement(Record):
    """How people's grades rank features, compared with one kind of score."""

    name: str
    rho: Measure = None
    """Spearman's, with a 95 % bootstrap interval; null of fewer than eight features."""
    low: Measure = None
    high: Measure = None
    features: int


class AgreementRecord(Record):
    """How far raters agree."""

    raters: int
    ratings: int
    alpha: Measure = None
    """Krippendorff's alpha; 1 is full agreement."""
    mean: Measure = None
    low: Measure = None
    high: Measure = None
    swapped: Measure = None
    """Mean grade of explanations that belong to another feature."""
    shares: list[GradeShare] = Field(default_factory=list)
    """Best grade first."""
    judges: list[JudgeAgreement] = Field(default_factory=list)
    """Kinds of score that rated features have."""
