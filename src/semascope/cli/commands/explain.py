"""The verbs about words: explain, score, rate, and evaluate explanations."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import Field

from semascope.cli.base import InWorkspace
from semascope.cli.commands.run import StageVerb
from semascope.config import ExplainOptions, RunOptions, ScoreOptions
from semascope.errors import ExplainError
from semascope.numbers import Count, CountOrNone, NotNegative, Seed

if TYPE_CHECKING:
    from semascope.explain.cost_plan import CostPlan

JsonFlag = Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff]


class Explain(ExplainOptions, StageVerb):
    """Put every alive feature into words.

    The vocabulary namer needs no model; the subject is asked about what it saw; an LMM is any
    OpenAI-compatible server (vLLM, SGLang, a hosted API, another semascope): --explainer
    vocabulary lmm --base-url http://localhost:8000/v1 --model NAME (its key, where it wants one,
    in OPENAI_API_KEY). --plan says what it will cost, and asks nothing.
    """

    PART = "explain"
    KIND = ExplainOptions
    UNTIL = "explain"

    explainers: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--explainer"])] = (
        "vocabulary",
        "subject",
    )
    """Who names features, in this order: vocabulary (no model), subject, causal (steers the
    subject over blank pictures), lmm (a server), local (a Hugging Face model), cascade (cheap
    ones first, dear ones where those score low), best (all of them, the best is kept)."""
    plan: tyro.conf.FlagCreatePairsOff[bool] = False
    """Say what it will cost in calls, tokens, seconds and money, here and for 131,072 and 34
    million features; explain nothing."""
    pilot: CountOrNone = 0
    """Features that a plan looks at; 0 takes a few."""
    prompt_per_second: NotNegative = 0.0
    """For a plan: prompt tokens a second of one server."""
    completion_per_second: NotNegative = 0.0
    """For a plan: completion tokens a second of one server."""
    servers: Count = 1
    """For a plan: how many servers answer side by side."""
    as_json: JsonFlag = False
    """Print a plan as JSON."""

    def run(self) -> int:
        """Explain, or plan."""
        from semascope.pipeline import recorded
        from semascope.pipeline.checks import check_names
        from semascope.pipeline.explainers import reach

        own = self.KIND(**{name: getattr(self, name) for name in self.KIND.model_fields})
        options = recorded(self.space).model_copy(update={self.PART: own})
        check_names(options)
        if self.plan:
            return self._plan(options)
        self.space.begun()
        reach(options)
        return super().run()

    def _plan(self, options: RunOptions) -> int:
        self.space.require("gather")
        from semascope.explain.cost_plan import Rates
        from semascope.explain.types import Price
        from semascope.pipeline.cost import as_json, plans
        from semascope.pipeline.run_context import Run

        rates = Rates(
            prompt_per_second=self.prompt_per_second,
            completion_per_second=self.completion_per_second,
            servers=self.servers,
            price=Price(self.price_in, self.price_out),
        )
        found = plans(Run(self.space, options), rates, self.pilot)
        if self.as_json:
            print(json.dumps(as_json(found), indent=2))
        else:
            for name, some in found.items():
                show_plans(name, some)
        return 0


class Score(ScoreOptions, StageVerb):
    """Score the words on samples that no explainer saw, then index them for search.

    Every figure stands beside its chance baseline and the figure of another feature's words.
    The scorers clip and grounded (GroundingDINO and SAM) need weights that do not ship.
    """

    PART = "score"
    KIND = ScoreOptions
    UNTIL = "index"

    scorers: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--scorer"])] = (
        "iou",
        "detection",
        "fuzzing",
        "simulation",
        "specificity",
        "told_apart",
    )
    """Which figures: iou, detection, fuzzing, simulation, specificity, told_apart,
    monosemanticity, sensitivity, clip, grounded, or all of those that can be had here."""

    def run(self) -> int:
        """Score, and print the means beside their baselines."""
        from semascope.pipeline import recorded
        from semascope.pipeline.explainers import reach_judge
        from semascope.pipeline.scorers import check_scorers

        own = self.KIND(**{name: getattr(self, name) for name in self.KIND.model_fields})
        check_scorers(own)
        reach_judge(recorded(self.space).model_copy(update={self.PART: own}))
        code = super().run()
        from semascope.pipeline.run_context import Run
        from semascope.pipeline.stages.score import summary

        show_scores(summary(Run(self.space, recorded(self.space))))
        return code


class Rate(InWorkspace):
    """Rate explanations blind: see where a feature is active, read its explanation, press a key.

    The grades are right, vague, wrong and silly (keys 1 to 4). The author is hidden, and only
    samples that no explainer saw are shown. Stop with q at any time; what was graded is kept.
    One task in five carries the explanation of another feature, except on a sheet: --sheet 60
    draws so many explanations at random, and --html FILE writes them as a page that opens from
    disk; --read brings in the ratings that it downloads. --agreement says how far people agree
    with one another and with each kind of score.
    """

    rater: str = "me"
    """Your name, so that raters can be told apart."""
    tasks: Count = 50
    """Explanations to deal, drawn by the seed."""
    sheet: CountOrNone = 0
    """Explanations on a sheet, drawn by the seed; none of them is swapped. 0: no sheet."""
    html: Path | None = None
    """With --sheet: write a page to rate from, and ask nothing here."""
    read: Path | None = None
    """Bring in the ratings that such a page downloaded, and print what they say."""
    exemplars: CountOrNone = 0
    """Samples shown with each explanation; 0: 3 at the terminal, 6 on a page."""
    agreement: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print how far raters agree with one another and with the scores; rate nothing."""
    seed: Seed = 0
    """Of the draw."""
    as_json: JsonFlag = False
    """With --agreement and --read: print JSON."""

    def run(self) -> int:
        """Rate until done or stopped, write or read a sheet, or print the agreement."""
        if self.html is not None and not self.sheet:
            raise ExplainError("--html writes a sheet: say how many explanations, --sheet 60.")
        self.space.require("explain")
        from semascope.cli.commands import rate
        from semascope.pipeline import recorded
        from semascope.pipeline.run_context import Run

        run = Run(self.space, recorded(self.space))
        if self.agreement:
            return rate.agreement(run, as_json=self.as_json)
        if self.read is not None:
            return rate.read_sheet(run, self.read, as_json=self.as_json)
        if self.html is not None:
            return rate.write_sheet(run, self.sheet, self.exemplars or 6, self.seed, self.html)
        if self.sheet:
            return rate.rate_sheet(run, self.rater, self.sheet, self.exemplars or 3, self.seed)
        return rate.rate(run, self.rater, self.tasks, self.exemplars or 3, self.seed)


class EvaluateExplanations(InWorkspace):
    """How true a workspace's explanations are: every figure with its interval, beside its bar.

    Explanations and scores are read from the workspace: the share of alive features explained,
    detection, IoU, told_apart (held-out samples that fit a feature's explanation better than those
    of its five nearest features; chance is one in six; measured here where it was not scored),
    labels_refused (labels that a test of form refuses) and distinct_labels (of the explained).
    Which concepts the model itself names, and which of those have a feature, is measured on fresh
    scenes drawn with the seed; so is what a cascade saves against asking the subject about
    everything.
    """

    seed: Seed = 0
    """Of the scenes and of the bootstrap."""
    concepts: CountOrNone = 60
    """Concepts drawn; 0 leaves this part out."""
    each: Annotated[Count, Field(ge=2)] = 16
    """Scenes of each concept: half to choose its feature, half to judge it."""
    cascade: CountOrNone = 40
    """Features put to the cascade and to the subject alone; 0 leaves this part out."""
    ceiling: CountOrNone = 500
    """Features named from the very samples that judge them, for what words could do at best."""
    device: str = "auto"
    """auto, cpu, cuda…"""
    as_json: JsonFlag = False
    """Print JSON."""

    def run(self) -> int:
        """Measure and print."""
        self.space.require("score")
        from semascope.cli.progress import ProgressBars
        from semascope.evaluate.explanations_run import evaluate
        from semascope.pipeline import recorded
        from semascope.pipeline.run_context import Run

        options = recorded(self.space)
        train = options.train.model_copy(update={"device": self.device})
        run = Run(self.space, options.model_copy(update={"train": train}))
        with ProgressBars() as bars:
            found = evaluate(
                run,
                seed=self.seed,
                concepts=self.concepts,
                each=self.each,
                cascade=self.cascade,
                ceiling=self.ceiling,
                progress=bars.begin("evaluate", ""),
            )
        if self.as_json:
            print(json.dumps(found, indent=2))
        else:
            show_figures(found)
        return 0


def show_plans(name: str, some: list[CostPlan]) -> None:
    """A table of one explainer's plans."""
    from rich.console import Console
    from rich.table import Table

    first = some[0]
    how = "measured on" if first.measured else "counted, without asking, from questions about"
    title = f"{name}: {how} {first.pilot} features"
    rows = Table(title=title, title_justify="left", box=None, pad_edge=False)
    heads = ("features", "calls", "prompt tokens", "completion tokens", "hours", "money")
    for head in heads:
        rows.add_column(head, justify="right")
    for plan in some:
        spent = plan.total
        hours = f"{plan.hours:,.2f}" if plan.hours == plan.hours else "unknown"
        cells = (plan.features, spent.calls, spent.prompt_tokens, spent.completion_tokens)
        rows.add_row(*(f"{n:,}" for n in cells), hours, f"{spent.money:,.2f}")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(rows)
    for step, share in first.shares:
        console.print(f"  {step} is asked about {share:.0%} of the features", markup=False)
    if any(plan.hours != plan.hours for plan in some):
        console.print("  For the time, say how fast a server is: --prompt-per-second.")


def show_scores(kinds: list[dict[str, Any]]) -> None:
    """A table of all kinds of score."""
    from rich.console import Console
    from rich.table import Table

    rows = Table(box=None, pad_edge=False)
    for head in ("score", "mean", "95 % interval", "baseline", "features"):
        rows.add_column(head, justify="left" if head == "score" else "right")
    for kind in kinds:
        rows.add_row(
            kind["kind"],
            f"{kind['mean']:.3f}",
            "–" if kind["low"] is None else f"{kind['low']:.3f} to {kind['high']:.3f}",
            f"{kind['baseline']:.3f}",
            f"{kind['features']}",
        )
    Console(highlight=False, stderr=True).print(rows)


def show_figures(found: dict[str, Any]) -> None:
    """Bars first, then every other figure."""
    from rich.console import Console
    from rich.table import Table

    from semascope.evaluate.explanations import BARS

    rows = Table(box=None, pad_edge=False)
    for head in ("figure", "value", "95 % interval", "bar", ""):
        rows.add_column(head)
    for name in (*BARS, *(k for k, v in found.items() if isinstance(v, float) and k not in BARS)):
        value, ends = found.get(name), found.get(f"{name}_interval")
        bar = BARS.get(name)
        wanted = "" if bar is None else (f"≥ {bar[0]:g}" if bar[1] >= 1 else f"≤ {bar[1]:g}")
        if bar is not None and bar[0] > 0 and bar[1] < 1:
            wanted = f"{bar[0]:g} to {bar[1]:g}"
        rows.add_row(
            name,
            "not measured" if value is None else f"{value:.3f}",
            f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "",
            wanted,
            "" if bar is None else ("reached" if found["bars"][name] else "not reached"),
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(rows)
