"""The verbs that measure causal work: every bar by name, with its controls and intervals.

A long evaluation writes its parts into the workspace as they are known, and goes on from them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from semascope.cli.commands.find import shown
from semascope.cli.opened import CausalVerb, Opened, rows_of
from semascope.errors import CausalError
from semascope.numbers import MOST, Count, CountOrNone, Seed, Strength

if TYPE_CHECKING:
    from semascope.causal.search.cases import Case
    from semascope.causal.search.ledger import Ledger
    from semascope.corpus.sample import SkipReport
    from semascope.evaluate.hallucination import Blame

Progress = Any


class CausalEvaluation(CausalVerb):
    """Base of the evaluations."""

    WHAT: ClassVar[str]
    PLACES: ClassVar[frozenset[str]] = frozenset({"workspace", "device", "as_json"})
    """Flags that do not change what is measured."""

    seed: Seed = 0
    """Of the scenes and the controls."""

    def run(self) -> int:
        """Measure, or go on; write the report; print it."""
        from semascope.causal.search.ledger import Ledger
        from semascope.cli.progress import ProgressBars
        from semascope.files import write_text

        opened = self.opened()
        about = {
            "dictionary": opened.key,
            "stages": {name: s.hash for name, s in self.space.record().stages.items()},
            **self.model_dump(mode="json", exclude=set(self.PLACES)),
        }
        path = opened.folder("evaluations") / f"{self.WHAT}-{self.seed}.json"
        ledger = Ledger(path.with_suffix(".parts.jsonl"), about)
        with ProgressBars() as bars:
            progress = bars.begin(f"evaluate {self.WHAT}", "")
            figures = self.measure(opened, ledger, progress)
        figures |= {"subject": opened.run.options.train.subject, "dictionary": opened.key}
        write_text(path, json.dumps(figures, indent=2) + "\n")
        if self.as_json:
            print(json.dumps(figures, indent=2))
        else:
            self.show(figures)
            print(path)
        return 0

    def measure(self, opened: Opened, ledger: Ledger, progress: Progress) -> dict[str, Any]:
        """Every figure by name."""
        raise NotImplementedError

    def show(self, figures: Mapping[str, Any]) -> None:
        """A line a figure."""
        from rich.console import Console

        rows_of(Console(highlight=False), ("figure", "value"), list(lines_of(figures)))


def lines_of(figures: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Figures with their intervals, and plain numbers and words; longer things stay in JSON."""
    lines = []
    for name, value in figures.items():
        if isinstance(value, dict) and {"value", "low", "high", "n"} <= set(value):
            share = value["value"] is None or 0 <= value["value"] <= 1
            share = share and not name.startswith(("r_", "kl"))
            text = shown(value) if share else _number(value)
            lines.append((before + name, text))
        elif isinstance(value, dict):
            lines += lines_of(value, f"{before}{name} ")
        elif isinstance(value, int | float | str):
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            lines.append((before + name, text))
    return lines


def _number(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "none"
    return f"{figure['value']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}], n {figure['n']}"


class EvaluateAttribution(CausalEvaluation):
    """Does attribution tell what ablation would: r over the top features of each prompt, the
    identity of the sums, and what attributing all features costs over one forward and backward.

    Beside it: the plain gradient, and activation alone. Stopped, it goes on where it was.
    """

    WHAT: ClassVar[str] = "attribution"
    PLACES: ClassVar[frozenset[str]] = CausalEvaluation.PLACES | {"samples"}
    """A prompt is the same among many as among few: more of them go on from those measured."""

    samples: int = Field(default=100, ge=1, le=MOST)
    """Prompts."""
    features: int = Field(default=50, ge=3, le=MOST)
    """Features ablated a prompt."""
    steps: Count = 10
    """Of the integration."""

    def measure(self, opened: Opened, ledger: Ledger, progress: Progress) -> dict[str, Any]:
        """r, identity, cost."""
        from semascope.evaluate.attribution import evaluate_attribution

        return evaluate_attribution(
            opened.steerable,
            seed=self.seed,
            samples=self.samples,
            top=self.features,
            steps=self.steps,
            ledger=ledger,
            progress=progress,
        )


class EvaluateSteering(CausalEvaluation):
    """Do object features, put into an empty picture, get their concept named; and the behaviours.

    Tokens, dose, size of the set and site are chosen on half of the concepts, one for all, and
    judged on the other half beside random features of like density and norm. Behaviours: name an
    object unprompted, read the word and ignore the picture, speak with feeling; each found by
    itself and judged on held-out prompts. Stopped, it goes on where it was.
    """

    WHAT: ClassVar[str] = "steering"

    samples: int = Field(default=100, ge=4, le=MOST)
    """Object features, the best-scored first."""
    doses: tuple[Strength, ...] = (2.0, 3.0, 4.0, 6.0, 8.0)
    """In multiples of each feature's own maximum."""
    sizes: tuple[Count, ...] = (1, 2, 4, 8)
    """Features of one concept that are added together."""
    sites: tuple[str, ...] = ()
    """Other sites to which the directions are lent, as resid_post.8 resid_post.16."""
    how: Literal["add", "clamp"] = "add"
    """What is done with them."""
    tokens: Count = 12
    """Longest answer, in tokens."""
    behaviours: bool = True
    """Look for the behaviours too."""
    wishes: tuple[Literal["object", "word", "feeling"], ...] = ("object", "word", "feeling")
    """Which of them."""
    concept: str = ""
    """The object to name unprompted; the first that steering named, if left out."""

    def measure(self, opened: Opened, ledger: Ledger, progress: Progress) -> dict[str, Any]:
        """Named on a blank picture; behaviours found."""
        from semascope.causal.search.behaviours import NamedObject
        from semascope.evaluate.behaviours import evaluate_behaviours
        from semascope.evaluate.steering import SteeringPlan, evaluate_steering

        objects = opened.objects(self.samples)
        if len(objects) < 4:
            raise CausalError(
                f"{len(objects)} features of {opened.key} are called objects; four are needed. "
                "Give more features words: semascope explain."
            )
        plan = SteeringPlan(
            doses=self.doses,
            sizes=self.sizes,
            sites=("", *opened.steerable.subject.resolve(self.sites)) if self.sites else ("",),
            how=self.how,
            tokens=self.tokens,
            instances=opened.instances(concept for _, concept in objects),
        )
        figures = evaluate_steering(
            opened.steerable, objects, seed=self.seed, plan=plan, ledger=ledger, progress=progress
        )
        figures["samples"] = len(objects)
        if self.behaviours:
            concept = self.concept or _first_named(figures) or objects[0][1]
            every = opened.objects(100_000)
            own = next((features for features, name in every if name == concept), ())
            figures |= evaluate_behaviours(
                opened.steerable,
                opened.search,
                names=self.wishes,
                thing=NamedObject(concept, own, opened.instances([concept])[concept]),
                seed=self.seed,
                ledger=ledger,
                progress=progress,
            )
        return figures

    def show(self, figures: Mapping[str, Any]) -> None:
        """The bar, then one line a behaviour."""
        told = {name: one["reason"] for name, one in figures.get("behaviours", {}).items()}
        plain = {k: v for k, v in figures.items() if k not in ("behaviours", "where")}
        super().show({**plain, "where": json.dumps(figures["where"]), **told})


def _first_named(figures: Mapping[str, Any]) -> str:
    """The first concept that the model named under its features; empty if there is none."""
    return next((str(row["concept"]) for row in figures["concepts"] if row["named"]), "")


class EvaluateHallucination(CausalEvaluation):
    """Inventions ("yes" to what is not there): how many, what mends them, what that breaks.

    On scenes: presence, the flags on a map, the written word. Or on the user's own POPE or
    HallusionBench files. The set is found by itself on half of the pictures and judged on the
    others, beside no-op, reconstruction only and random features. Wrong answers are explained, with
    a picture of what spoke for them. Also the empathy case. Stopped, it goes on where it was.
    """

    WHAT: ClassVar[str] = "hallucination"

    samples: int = Field(default=1000, ge=8, le=MOST)
    """Scenes, or questions of a file; inventions are few, so a hundred scenes hold hardly one."""
    pope: Path | None = None
    """A question file of POPE's instead of scenes; --images says where its pictures are."""
    hallusion: Path | None = None
    """HallusionBench.json instead of scenes."""
    images: Path = Path()
    """The folder of the pictures that --pope or --hallusion names."""
    candidates: Count = 48
    """How many features to try."""
    explained: CountOrNone = 6
    """Wrong answers to explain."""
    empathy: bool = True
    """Measure emotion features on prompts of words alone too."""
    emotion_features: tuple[str, ...] = ()
    """Which; those that the atlas calls emotions, if left out."""

    def measure(self, opened: Opened, ledger: Ledger, progress: Progress) -> dict[str, Any]:
        """What is invented, mended, broken."""
        from semascope.causal import SearchOptions
        from semascope.causal.search.presence import SMALL_DOSES
        from semascope.evaluate.hallucination_bench import evaluate_hallucination

        questions = self._questions()
        figures = evaluate_hallucination(
            opened.steerable,
            seed=self.seed,
            samples=self.samples,
            cases=None if questions is None else questions[0],
            options=SearchOptions(
                doses=SMALL_DOSES,
                tokens=4,
                seed=self.seed,
                candidates=self.candidates,
                trial_cases=16,
            ),
            explained=self.explained,
            on_blame=lambda found: self._draw(opened, found),
            ledger=ledger,
            progress=progress,
        )
        if questions is not None:
            cases, report = questions
            figures["questions"] = {
                "used": len(cases),
                "left_out": dict(report.reasons),
                "named": [f"{row}: {reason}" for row, reason in report.named],
            }
        if self.empathy:
            figures["empathy"] = self._empathy(opened, ledger, progress)
        return figures

    def _cases(self) -> list[Case] | None:
        """The user's own questions; None for scenes."""
        questions = self._questions()
        return None if questions is None else questions[0]

    def _questions(self) -> tuple[list[Case], SkipReport] | None:
        """The user's own questions, and those that cannot be used, which are told on stderr."""
        from semascope.evaluate.pope_hallusion import read_hallusion, read_pope

        if self.pope is not None and self.hallusion is not None:
            raise CausalError("Give --pope or --hallusion, one at a time.")
        path = self.pope or self.hallusion
        if path is None:
            return None
        read = read_pope if self.pope is not None else read_hallusion
        cases, report = read(path, self.images, self.samples)
        if report.total:
            why = ", ".join(f"{n} × {reason}" for reason, n in report.reasons.most_common())
            named = ", ".join(row for row, _ in report.named[:3])
            print(
                f"semascope: {report.total} of {report.total + len(cases)} questions of {path} "
                f"cannot be used and are left out: {why} (first: {named})",
                file=sys.stderr,
            )
        return cases, report

    def _draw(self, opened: Opened, found: Blame) -> str | None:
        """The picture of one wrong answer, as a file of the workspace."""
        from semascope.cli.opened import slug

        picture = found.picture()
        if picture is None:
            return None
        folder = opened.folder("evaluations", f"hallucination-{self.seed}")
        path = folder / f"{slug(found.case.id)}.png"
        picture.save(path)
        return str(path)

    def _empathy(self, opened: Opened, ledger: Ledger, progress: Progress) -> dict[str, Any]:
        """The empathy case, or why there is none."""
        from semascope.evaluate.empathy import empathy

        named = [opened.feature(word) for word in self.emotion_features]
        try:
            return empathy(
                opened.steerable,
                named or opened.emotions(),
                seed=self.seed,
                ledger=ledger,
                progress=progress,
            )
        except CausalError as error:
            if named:
                raise
            return {"reason": str(error)}

    def show(self, figures: Mapping[str, Any]) -> None:
        """Accuracy by kind, the arms, and the wrong answers."""
        from rich.console import Console

        console = Console(highlight=False)
        rows_of(
            console,
            ("arm", "fixed", "broken", "unchanged", "inventions mended"),
            [
                (
                    row["arm"],
                    *(shown(row[name]) for name in ("fixed", "broken", "unchanged")),
                    shown(figures["mended"][row["arm"]]),
                )
                for row in figures["arms"]
            ],
        )
        for row in figures["wrong"]:
            console.print(
                f"{row['question']}  {row['answer']!r}, not {row['wanted']!r}: to blame is the "
                f"{row['culprit']} ({row['image_share']:.0%} image)  {row['picture'] or ''}",
                markup=False,
            )
        rest = {"base": figures["base"], "finding": figures["finding"]["reason"]}
        if "questions" in figures:
            rest |= {"questions": {k: v for k, v in figures["questions"].items() if k != "named"}}
        super().show({**rest, "empathy": figures.get("empathy", {})})
