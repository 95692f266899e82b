"""An open run: one model with its dictionaries, and what is known of their features."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from semascope.errors import CausalError, SiteNotFound, WorkspaceError

if TYPE_CHECKING:
    from PIL import Image

    from semascope.api.chat import Chat
    from semascope.api.feature import Feature
    from semascope.api.parts import FeatureId
    from semascope.api.steering import Steering, Where
    from semascope.atlas import Atlas, Media
    from semascope.causal import Intervention, SteerableModel
    from semascope.dictionary.types import Dictionary
    from semascope.evidence import Evidence
    from semascope.pipeline.run_context import Run
    from semascope.subject import Subject
    from semascope.workspace import Workspace

ALIKE = 500
"""Features that are looked through for the one that words stand for."""
FULL_ID = re.compile(r"[^/\s]+/[^/]+/\d+")


class OpenRun:
    """A model with its dictionaries, and the words and exemplars of their features.

    Made by ``semascope.open``. Everything heavy is loaded when first needed.
    """

    def __init__(
        self, workspace: Workspace | None, make_steerable: Callable[[], SteerableModel]
    ) -> None:
        """``make_steerable`` loads the model with its dictionaries."""
        self.workspace = workspace
        self._make_steerable = make_steerable

    @classmethod
    def of_workspace(cls, workspace: Workspace, device: str = "auto") -> OpenRun:
        """A run on disk. WorkspaceError, when the model is first needed, before ``gather``."""
        run = cls(workspace, lambda: _steerable_of(run.pipeline))
        run._device = device
        return run

    @classmethod
    def of_parts(cls, subject: Subject, dictionary: Dictionary | None) -> OpenRun:
        """A model and a dictionary. SiteNotFound where they do not fit."""
        from semascope.causal import SteerableModel

        if dictionary is not None:
            _check_fits(subject, dictionary)
        steerable = SteerableModel.of(subject, [] if dictionary is None else [dictionary])
        return cls(None, lambda: steerable)

    _device = "auto"

    @cached_property
    def pipeline(self) -> Run:
        """The stages' view of the run. WorkspaceError without a workspace."""
        from semascope.pipeline import recorded
        from semascope.pipeline.run_context import Run

        space = self._space("Stages are run")
        options = recorded(space)
        train = options.train.model_copy(update={"device": self._device})
        return Run(space, options.model_copy(update={"train": train}))

    @cached_property
    def steerable(self) -> SteerableModel:
        """The model with its dictionaries and statistics, as ``semascope.causal`` takes it."""
        if self.workspace is not None:
            self.workspace.require("gather")
        return self._make_steerable()

    @property
    def subject(self) -> Subject:
        """The model."""
        return self.steerable.subject

    @cached_property
    def atlas(self) -> Atlas:
        """What is known of the features. WorkspaceError before ``index``."""
        from semascope.atlas import Atlas

        space = self._space("Words are kept")
        space.require("index")
        return Atlas.open(space.atlas)

    @cached_property
    def media(self) -> Media:
        """Pictures of exemplars."""
        from semascope.atlas import Media

        return Media(self._space("Pictures are kept").media)

    def evidence(self, dictionary: str) -> Evidence:
        """What features of a dictionary (``site/name``) respond to. EvidenceError if nothing."""
        from semascope.evidence import Evidence

        return Evidence.open(self._space("Evidence is kept").evidence(), dictionary)

    @property
    def dictionaries(self) -> tuple[str, ...]:
        """``site/name`` of every dictionary, the run's first."""
        if self.workspace is None:
            return tuple(self.steerable.dictionaries)
        from semascope.evidence.store.evidence import dictionaries

        self.workspace.require("gather")
        first = self.pipeline.dictionary_id
        others = (key for key in dictionaries(self.workspace.evidence()) if key != first)
        return (first, *others)

    def _space(self, what: str) -> Workspace:
        if self.workspace is None:
            raise WorkspaceError(
                f"{what} in a workspace, and this model was opened without one. Make one with "
                "semascope train, or semascope adopt for a dictionary of your own."
            )
        return self.workspace

    # -- asking --------------------------------------------------------------------------------

    def ask(
        self,
        question: str,
        picture: str | Image.Image | None = None,
        *,
        system: str = "",
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
        interventions: Sequence[Intervention] = (),
    ) -> Chat:
        """Ask the model, as ``semascope steer`` and the page do.

        Args:
            question: what to ask.
            picture: a file, ``scene:7`` for a drawn scene, ``blank``, or a PIL image.
            system: system prompt.
            max_new_tokens: length limit of the answer.
            temperature: 0 takes the likeliest token.
            seed: random seed for sampling.
            interventions: features to change while it answers.
        """
        from semascope.api.chat import Chat, first_turns

        sample = first_turns(question, picture, system)
        return Chat.answered(
            self, sample, tuple(interventions),
            max_new_tokens=max_new_tokens, temperature=temperature, seed=seed,
        )  # fmt: skip

    # -- features --------------------------------------------------------------------------------

    def features(
        self, query: str = "", limit: int = 10, *, sort: str = "", **where: Any
    ) -> list[Feature]:
        """Features by meaning, nearest first; without a query, the list of the page.

        Args:
            query: what to look for, in your words.
            limit: how many.
            sort: a score or figure to sort by, with ``-`` for the largest first; without a query.
            **where: filters of ``Atlas.features``: category="object", modality="image", alive=True…

        Raises:
            WorkspaceError: the run is not indexed yet.
        """
        if query:
            from semascope.pipeline import search

            rows = search(self._space("Words are kept"), query, limit, where or None)
            return [self.feature(str(row["id"])) for row in rows]
        from semascope.api.feature import Feature

        sort = sort or "-detection"
        if sort.lstrip("-") == "detection" and "detection" not in self.atlas.score_kinds():
            sort = "-density"
        page = self.atlas.features(sort=sort, where={"alive": True, **where}, limit=limit)
        return [Feature(self, (row.dictionary, row.index)) for row in page.rows]

    def feature(self, which: int | str | FeatureId) -> Feature:
        """One feature: by its number in the run's dictionary, its id, or its words."""
        from semascope.api.feature import Feature

        return Feature(self, self.resolve(which))

    def resolve(self, which: int | str | FeatureId | Feature) -> FeatureId:
        """(dictionary, number) of a feature that is named in any way.

        Raises:
            CausalError: no feature answers to the name.
        """
        if isinstance(which, tuple):
            return which
        if hasattr(which, "key"):
            return which.key
        text = str(which)
        if text.isdigit():
            return (self._first, int(text))
        if FULL_ID.fullmatch(text):
            from semascope.atlas.records import split_id

            return split_id(text)
        return self._nearest(text)

    @property
    def _first(self) -> str:
        """The dictionary that a number alone names."""
        return self.dictionaries[0] if self.workspace is None else self.pipeline.dictionary_id

    def _nearest(self, words: str) -> FeatureId:
        """The feature whose words are nearest; of several as near, the best by detection."""
        from semascope import pipeline
        from semascope.atlas.records import split_id

        try:
            rows = pipeline.search(self._space("Words are kept"), words, ALIKE)
        except WorkspaceError:  # not indexed, so nothing has a name yet
            rows = []
        if not rows:
            raise CausalError(
                f"No feature answers to {words!r}. Name one by its number or its id "
                "(resid_post.12/main/7), or give the features words: semascope explain."
            )
        alike = [row for row in rows if row["similarity"] == rows[0]["similarity"]]
        best = max(alike, key=lambda row: float(row["scores"].get("detection", 0.0)))
        return split_id(str(best["id"]))

    # -- steering --------------------------------------------------------------------------------

    def steer(
        self,
        *features: int | str | FeatureId | Feature,
        strength: float = 3.0,
        where: Where = None,
        how: str = "add",
        unit: str = "",
    ) -> Steering:
        """Features to turn up or down, ready to ask with or to compare with.

        Args:
            *features: numbers, ids, words or ``Feature`` objects; they act together.
            strength: in multiples of each feature's own maximum; activations without a workspace.
            where: None for everywhere; image, text, prompt or generated; or a
                ``semascope.causal.Where``.
            how: add, clamp, scale, ablate or project.
            unit: max, quantile or absolute.

        Raises:
            CausalError: no features, a feature that is not there, or numbers without sense.
        """
        from semascope.api.steering import Steering

        ids = tuple(dict.fromkeys(self.resolve(feature) for feature in features))
        unit = unit or ("absolute" if self.workspace is None else "max")
        return Steering.of(self, ids, strength=strength, where=where, how=how, unit=unit)

    # -- for people --------------------------------------------------------------------------------

    @property
    def figures(self) -> dict[str, Any]:
        """What ``semascope report`` measured: FVU, L0, explained, IoU, AUROC, beside baselines."""
        from semascope.pipeline.report import figures

        record = self._space("Figures are kept").record()
        stages: Mapping[str, Any] = {n: s.model_dump() for n, s in record.stages.items()}
        return figures(stages, self.pipeline.dictionary_id)

    def __repr__(self) -> str:
        if self.workspace is None:
            held = ", ".join(self.steerable.dictionaries) or "no dictionary"
            return f"OpenRun({self.subject.name}, {held})"
        record = self.workspace.record()
        return f"OpenRun({str(self.workspace.root)!r}: {record.subject}, {record.site})"

    def _repr_html_(self) -> str:
        from semascope.html import table

        if self.workspace is None:
            dictionaries = [("dictionary", key) for key in self.dictionaries]
            return table([("model", self.subject.name), *dictionaries])
        figures = [(k, v) for k, v in self.figures.items() if isinstance(v, int | float)]
        return table([("run", repr(self)), *figures])


def _steerable_of(run: Run) -> SteerableModel:
    """The model with every dictionary of the run that evidence was gathered for."""
    from semascope.causal import SteerableModel
    from semascope.dictionary import load
    from semascope.evidence import Evidence
    from semascope.evidence.store.evidence import dictionaries

    key, space = run.dictionary_id, run.workspace
    loaded: dict[str, Any] = {key: run.dictionary}
    statistics: dict[str, Any] = {key: run.evidence}
    for other in dictionaries(space.evidence()):
        folder = space.dictionary(*other.rsplit("/", 1))
        if other not in loaded and folder.exists():
            loaded[other] = load(folder)
            statistics[other] = Evidence.open(space.evidence(), other)
    return SteerableModel.of(run.same_subject, loaded, statistics)


def _check_fits(subject: Subject, dictionary: Dictionary) -> None:
    sites = subject.sites()
    for site in dictionary.site.split("+"):
        if site not in sites:
            raise SiteNotFound(
                f"{subject.name} has no site {site!r}, which the dictionary reads. Name one of "
                f"{', '.join(list(sites)[:6])}… with site=…, or see semascope model sites."
            )
    width = sum(sites[site] for site in dictionary.site.split("+"))
    if width != dictionary.d_in:
        raise SiteNotFound(
            f"The dictionary reads {dictionary.d_in} numbers a token and {dictionary.site} of "
            f"{subject.name} gives {width}: it was trained on another model or site."
        )
