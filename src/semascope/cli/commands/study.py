"""The verb study: published studies on one's own features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from semascope.cli.commands.evaluate.causal import lines_of
from semascope.cli.opened import CausalVerb, Opened, rows_of, sample_of
from semascope.errors import CausalError
from semascope.numbers import Count, Strength


class Study(CausalVerb):
    """Published studies on one's own features.

    clamped: a feature at 10 × its maximum at every token (the Golden Gate case). ablation: does
    attribution agree with exact ablation on one prompt. persona: what the model says of itself, and
    whether it refuses, with and without the feature. vector: the mean difference of two files of
    examples (one a line) as a steering vector, the baseline that a feature has to beat.
    """

    name: tyro.conf.Positional[Literal["clamped", "ablation", "persona", "vector"]]
    """Which study."""
    feature: Annotated[str, tyro.conf.arg(aliases=["-f"])] = ""
    """The feature: number, id or words."""
    strength: Strength = 10.0
    """In multiples of the feature's own maximum; of the vector, of its length."""
    want: Path | None = None
    """For vector: examples, one a line."""
    not_want: Path | None = None
    """For vector: counter-examples, one a line."""
    picture: str = "none"
    """A file, scene:SEED, blank, or none."""
    questions: tuple[str, ...] = ("What are you?", "What is your favourite place?")
    """What to ask."""
    tokens: Count = 48
    """Longest answer, in tokens."""

    def run(self) -> int:
        """Do it, and print it."""
        opened = self.opened()
        record: dict[str, Any] = getattr(self, f"_{self.name}")(opened)
        record = {"study": self.name, **record}
        if self.as_json:
            print(json.dumps(record, indent=2))
            return 0
        from rich.console import Console

        console = Console(highlight=False)
        for row in record.pop("answers", []):
            console.print(
                f"\n{row['question']}\n  as it is: {row['before']}\n  steered:  {row['after']}",
                markup=False,
            )
        rows_of(console, ("figure", "value"), lines_of(record))
        return 0

    def _own(self, opened: Opened) -> tuple[str, int]:
        if not self.feature:
            raise CausalError(f"The study {self.name} is of a feature: name it with --feature.")
        return opened.feature(self.feature)

    def _compared(self, found: list[Any]) -> dict[str, Any]:
        pairs = zip(self.questions, found, strict=True)
        rows = [{"question": q, "before": c.base.text, "after": c.steered.text} for q, c in pairs]
        return {"answers": rows, "kl": sum(c.kl for c in found) / max(1, len(found))}

    def _clamped(self, opened: Opened) -> dict[str, Any]:
        from semascope.causal.steering.studies import compare_clamped

        own = self._own(opened)
        asked = [sample_of(self.picture, question) for question in self.questions]
        found = compare_clamped(
            opened.steerable, own, asked, strength=self.strength, max_new_tokens=self.tokens
        )
        return {
            "feature": f"{own[0]}/{own[1]}",
            "label": opened.labels.get(own, ""),
            **self._compared(found),
        }

    def _ablation(self, opened: Opened) -> dict[str, Any]:
        from semascope.causal.attribution.metrics import LogitDiff

        steerable = opened.steerable
        sample = sample_of(self.picture, self.questions[0])
        batch = steerable.prompt(sample)
        said, rival = steerable.subject.logits(batch)[0, -1].topk(2).indices.tolist()
        metric = LogitDiff(said, rival)
        rows: dict[str, float | None] = {}
        for name, steps in (("r_gradient", 1), ("r_integrated", 10)):
            found = steerable.attribute(batch, metric, integrated=steps)
            told = steerable.ablate_exactly(batch, metric, found)
            rows[name] = told.r
        return {"question": self.questions[0], **rows, "features": len(told.features)}

    def _persona(self, opened: Opened) -> dict[str, Any]:
        from semascope.causal import Intervention
        from semascope.causal.steering.studies import probe_persona

        one = Intervention(features=(self._own(opened),), how="clamp", strength=self.strength)
        return probe_persona(opened.steerable, [one], max_new_tokens=self.tokens).as_json()

    def _vector(self, opened: Opened) -> dict[str, Any]:
        from semascope.causal import Intervention
        from semascope.causal.search.goal_files import read_items
        from semascope.causal.steering.studies import few_shot_vector, with_vector

        if self.want is None or self.not_want is None:
            raise CausalError("A steering vector needs --want FILE and --not-want FILE.")
        there, absent = read_items(self.want).texts, read_items(self.not_want).texts
        site = opened.key.partition("/")[0]
        vector, statistics = few_shot_vector(opened.steerable, site, there, absent)
        steerable = with_vector(opened.steerable, vector, statistics)
        one = Intervention(
            features=((f"{site}/{vector.name}", 0),), how="add", strength=self.strength
        )
        found = [
            steerable.compare(sample_of(self.picture, question), [one], max_new_tokens=self.tokens,
            )
            for question in self.questions
        ]  # fmt: skip
        return {"length": float(statistics["max"][0]), **self._compared(found)}
