"""The verb attribute: which features made the model answer so; by feature, by token, by region."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from semascope.cli.opened import (
    CausalVerb,
    Opened,
    asked_of,
    region_of,
    rows_of,
    sample_of,
    signed,
    slug,
)
from semascope.errors import CausalError
from semascope.numbers import Count, CountOrNone

if TYPE_CHECKING:
    from semascope.causal.attribution.metrics import Metric
    from semascope.causal.attribution.result import Attribution
    from semascope.corpus.sample import Sample
    from semascope.subject.model import Subject
    from semascope.subject.types import Batch


class Attribute(CausalVerb):
    """Which features made the model say what it says, in one forward and one backward pass.

    Every active feature at every token gets a signed score: what the metric would lose, to first
    order, without it. With --ablate N the N strongest are taken out one by one, exactly, and
    Pearson's r says how far the scores are to be believed. Tables go to the terminal; the same with
    the heat map on the picture goes into the workspace as HTML, JSON and PNG.
    """

    question: tyro.conf.Positional[str] = ""
    """What to ask; if left out, what is in the picture, or what a dog is where there is none."""
    picture: str = ""
    """A file, scene:SEED for a drawn scene, blank, or none; if left out, scene:1, or none with a
    model that reads text only."""
    target: str = ""
    """The words to explain, as the model would write them; if left out, the first word of its own
    answer that is more than an article, rather than that word's strongest rival."""
    versus: str = ""
    """Set the target against these words: why the one rather than the other."""
    metric: Literal["auto", "logit", "logprob", "prob", "logit_diff", "span", "contrast"] = "auto"
    """auto: with --target logprob of one token, span of several, contrast with --versus; without
    it the difference of logits to the strongest rival."""
    mode: Literal["attribution", "activation"] = "attribution"
    """activation: no target, the features strongest by their own maximum."""
    integrated: Count = 1
    """Steps of integrated gradients; 10 is closer to ablation, and ten times the work."""
    corrupted: str = ""
    """Another picture of the same size: which features carry the difference (patching)."""
    corrupted_question: str = ""
    """Another question of as many tokens: the same, of words; or of both."""
    interventions: Path | None = None
    """Attribute the run under these saved interventions."""
    ablate: CountOrNone = 0
    """Ablate so many of the strongest features exactly."""
    feature: str = ""
    """One feature (number, id or words): its part alone."""
    region: str = ""
    """Only image tokens that look at left,top,right,bottom, in pixels."""
    top: Count = 15
    """Rows of each table."""

    def run(self) -> int:
        """Attribute, print the tables, write the files."""
        opened = self.opened()
        asked = asked_of(opened.steerable.subject, self.picture, self.question)
        return self.model_copy(update=asked)._attribute(opened)

    def _attribute(self, opened: Opened) -> int:
        if self.mode == "activation":
            return self._activation(opened)
        subject, steerable = opened.steerable.subject, opened.steerable
        sample = sample_of(self.picture, self.question)
        batch = subject.encode([sample], answer="", max_tokens=None)
        metric, words = self._metric(subject, sample)
        found = self._attribution(opened, batch, metric)
        record = self._record(opened, batch, metric, found) | {"target": words}
        folder = opened.folder("attributions", slug(f"{self._asked} {words}"))
        from semascope.causal.attribution import report

        paths = report.write(folder, found, record, sample.images, opened.labels)
        record["files"] = [str(path) for path in paths]
        if self.as_json:
            print(json.dumps(record, indent=2))
        else:
            self._print(record, len(steerable.dictionaries))
        return 0

    @property
    def _corrupted(self) -> tuple[str, str] | None:
        """Question and picture of the run that is compared with, where there is one."""
        if not (self.corrupted or self.corrupted_question):
            return None
        return self.corrupted_question or self.question, self.corrupted or self.picture

    @property
    def _asked(self) -> str:
        """What is asked, and of which picture; less what, where runs are compared."""
        runs = [(self.question, self.picture), *([self._corrupted] if self._corrupted else [])]
        return ", less ".join(f"{question}  ({picture})" for question, picture in runs)

    def _metric(self, subject: Subject, sample: Sample) -> tuple[Metric, str]:
        """What is explained, and how a table calls it."""
        from semascope.causal.attribution.metrics import metric_from, token_ids

        target, versus = self.target, self.versus
        kind: str = self.metric
        if not target:
            return self._own_words(subject, sample, versus)
        if kind == "auto":
            several = len(token_ids(subject, target)) > 1
            kind = "contrast" if versus else "span" if several else "logprob"
        words = f"{target!r} rather than {versus!r}" if versus else repr(target)
        return metric_from(subject, kind, target, versus or None), words

    def _own_words(self, subject: Subject, sample: Sample, versus: str) -> tuple[Metric, str]:
        """The first word of the model's own answer that says something: 'a dog' is about a dog.

        Rather than its strongest rival: where the model is sure, nothing moves its probability."""
        from semascope.causal.attribution.metrics import (
            ContinuationContrast,
            ContinuationLogProb,
            LogitDiff,
            first_telling,
            metric_from,
        )

        said = subject.generate(sample, max_new_tokens=6, top=2).tokens
        if not said:
            raise CausalError("The model says nothing here: name the words with --target.")
        at = first_telling(t.text for t in said)
        if versus or self.metric not in ("auto", "span"):
            kind = "contrast" if self.metric in ("auto", "span") else self.metric
            words = repr(said[0].text)
            metric = metric_from(subject, kind, said[0].id, versus or None)
            return metric, f"{words} rather than {versus!r}" if versus else words
        before, told = tuple(t.id for t in said[:at]), repr(said[at].text)
        where = f" after {''.join(t.text for t in said[:at])!r}" if at else ""
        others = (other for other in said[at].top if other[0] != said[at].id)
        rival, instead, _ = next(others, (None, "", 0.0))
        if self.metric == "span" or rival is None:
            return ContinuationLogProb((*before, said[at].id), start=at), f"{told}{where}"
        words = f"{told} rather than {instead!r}{where}"
        if not at:
            return LogitDiff(said[at].id, rival), words
        return ContinuationContrast((*before, said[at].id), (*before, rival)), words

    def _attribution(self, opened: Opened, batch: Batch, metric: Metric) -> Attribution:
        """The scores: of one prompt, or of the difference of two."""

        steerable = opened.steerable
        if self._corrupted is None:
            edits = self._edits(opened)
            return steerable.attribute(
                batch,
                metric,
                integrated=self.integrated,
                edits=edits,
            )
        if self.interventions or self.integrated > 1 or self.ablate:
            raise CausalError(
                "--corrupted and --corrupted-question compare two plain runs to first order: leave "
                "--interventions, --integrated and --ablate out."
            )
        question, picture = self._corrupted
        other = sample_of(picture, question)
        return steerable.attribute_patch(batch, steerable.prompt(other), metric)[0]

    def _edits(self, opened: Opened) -> Any:
        from semascope.causal import load

        return opened.steerable.edits(load(self.interventions)) if self.interventions else {}

    def _record(
        self, opened: Opened, batch: Batch, metric: Metric, found: Attribution
    ) -> dict[str, Any]:
        """All tables."""
        from semascope.causal.attribution import report

        steerable, labels = opened.steerable, opened.labels
        record: dict[str, Any] = {"question": self.question, "picture": self.picture}
        if self._corrupted:
            record |= {"less_question": self._corrupted[0], "less_picture": self._corrupted[1]}
        record |= report.tables(
            found,
            labels=labels,
            statistics=steerable.statistics,
            top=self.top,
            region=region_of(self.region) if self.region else None,
        )
        if self.feature:
            key, index = opened.feature(self.feature)
            one = found.feature(key, index)
            record["feature"] = report.row(one, labels)
        if self.ablate:
            told = steerable.ablate_exactly(
                batch,
                metric,
                found,
                top=self.ablate,
                edits=self._edits(opened),
            )
            record["ablation"] = report.ablation_table(told, labels)
        return record

    def _print(self, record: dict[str, Any], dictionaries: int) -> None:
        from rich.console import Console

        console = Console(highlight=False)
        console.print(self._asked, markup=False)
        console.print(
            f"{record['metric']} of {record['target']}: {record['value']:.4g}", markup=False
        )
        columns = ("feature", "score", "peak", "tokens", "label")
        for title, rows in (
            ("\nBy feature", record["features"]),
            ("\nFeatures that fire on more than a tenth of all tokens", record["common"]),
            ("\nThe feature asked for", [record["feature"]] if "feature" in record else []),
        ):
            if rows:
                console.print(title)
                rows_of(console, columns, [_line(row) for row in rows])
        tokens = sorted(record["tokens"], key=lambda row: -abs(row["score"]))[: self.top]
        console.print("\nBy token")
        rows_of(
            console,
            ("position", "token", "score"),
            [(str(r["position"]), repr(r["text"]) if r["text"] else r["kind"], signed(r["score"]))
             for r in tokens],
        )  # fmt: skip
        self._print_regions(console, record["regions"])
        for site in record["sites"]:
            console.print(
                f"{site['dictionary']}: features {signed(site['features'])}, error "
                f"{signed(site['error'])}, bias {signed(site['bias'])}; x·g "
                f"{signed(site['total'])}; the error is {site['error_share']:.0%} of it all",
                markup=False,
            )
        if "ablation" in record:
            r = record["ablation"]["r"]
            told = "no r: too few, or all the same" if r is None else f"Pearson r {r:.3f}"
            number = len(record["ablation"]["features"])
            console.print(f"\nAgainst exact ablation of the top {number}: {told}")
        console.print("\n" + "\n".join(record["files"]), markup=False)

    @staticmethod
    def _print_regions(console: Any, rows: list[dict[str, Any]]) -> None:
        if rows:
            console.print("\nBy region of the picture")
            rows_of(
                console,
                ("left, top, right, bottom", "score", "strongest features"),
                [
                    (
                        ", ".join(f"{v:g}" for v in row["box"]),
                        signed(row["score"]),
                        "; ".join(f["label"] or f["id"] for f in row["features"]),
                    )
                    for row in rows
                ],
            )

    def _activation(self, opened: Opened) -> int:
        """The features that are strongest by their own measure, no gradient."""
        from semascope.causal.steering.token_masks import region_mask

        steerable, sample = opened.steerable, sample_of(self.picture, self.question)
        batch = steerable.prompt(sample)
        at = region_mask(region_of(self.region), batch.maps[0]) if self.region else None
        found = steerable.active_features(
            batch,
            at=at,
            edits=self._edits(opened),
        )[: self.top]
        rows = [
            {
                "id": f"{one.key}/{one.index}",
                "label": opened.labels.get((one.key, one.index), ""),
                "activation": one.activation,
                "of_own_maximum": one.ratio,
                "tokens": one.tokens,
                "position": one.position,
                "token": batch.maps[0].tokens[one.position],
            }
            for one in found
        ]
        if self.as_json:
            print(json.dumps({"mode": "activation", "features": rows}, indent=2))
            return 0
        from rich.console import Console

        rows_of(
            Console(highlight=False),
            ("feature", "of own max", "activation", "tokens", "at", "label"),
            [
                (str(r["id"]), f"{r['of_own_maximum']:.0%}", f"{r['activation']:.3g}",
                 str(r["tokens"]), str(r["position"]), str(r["label"]))
                for r in rows
            ],
        )  # fmt: skip
        return 0


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    """One feature as a table shows it."""
    peak, tokens = f"{row['peak']:.3g}", str(row["tokens"])
    return (row["id"], signed(row["score"]), peak, tokens, row["label"])
