"""The verbs about subjects: fetch, card and sites of a model, and how well it sees."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from semascope.cli.base import Verb
from semascope.numbers import Count, Seed

if TYPE_CHECKING:
    from semascope.subject import Subject
    from semascope.subject.check import CheckOutcome
    from semascope.subject.geometry.verify import GeometryProof

RIGHT = 0.9
"""Share of places at which the map must be right."""
FINE = 0.65
"""The same of small boxes: right rectangles reach 1 (.75 where a sheet of patches is scaled down by
two of every few patches); those off by half of one at the far corner reach about .5."""
JsonFlag = Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff]


class Fetch(Verb):
    """Get what the embedded model needs and does not ship: SmolLM2's weights, once, 93 MB.

    They are checked by SHA-256 and kept in the user's cache ($SEMASCOPE_CACHE moves it).
    """

    def run(self) -> int:
        """Fetch, and say where they lie."""
        from semascope.subject.embedded.smollm import fetch

        print(fetch(lambda note: print(note, file=sys.stderr)))
        return 0


class Card(Verb):
    """The embedded model's card: what it is, and what it can do in measured figures."""

    as_json: JsonFlag = False
    """Print JSON."""

    def run(self) -> int:
        """Print the card."""
        from semascope.subject.embedded.load import card

        record = card()
        if self.as_json:
            print(json.dumps(record, indent=2))
            return 0
        figures = record.get("figures", {})
        about = {key: value for key, value in record.items() if not isinstance(value, dict)}
        for key, value in about.items():
            print(f"{key}: {value}")
        print_figures(figures)
        return 0


class Sites(Verb):
    """The places in a model where one can look, with their widths, in forward order."""

    subject: str = "sprite-llava"
    """The model: the embedded one, a folder, or a name at a model hub."""
    match: str = "*"
    """Only these, e.g. resid_post.*"""
    device: str = "auto"
    """auto, cpu, cuda…"""

    def run(self) -> int:
        """Print one site a line."""
        from semascope.pipeline.run_context import load_subject

        subject = load_subject(self.subject, device=self.device)
        widths = subject.sites()
        for name in subject.resolve(self.match):
            print(f"{name:<24}{widths[name]:>8}")
        return 0


class EvaluateSubject(Verb):
    """Measure anew what the card says: captions, presence, position, colour, count, word,
    emotion, and how well plain English survived, on scenes drawn with this seed."""

    subject: str = "sprite-llava"
    """The model."""
    seed: Seed = 1
    """Of the scenes."""
    samples: Count = 1000
    """Questions of each kind."""
    device: str = "auto"
    """auto, cpu, cuda…"""
    as_json: JsonFlag = False
    """Print JSON."""

    def run(self) -> int:
        """Measure and print."""
        from semascope.cli.progress import ProgressBars
        from semascope.evaluate.subject import evaluate_subject
        from semascope.pipeline.run_context import load_subject

        with ProgressBars() as bars:
            progress = bars.begin("evaluate", "")
            subject = load_subject(self.subject, device=self.device)
            figures = evaluate_subject(
                subject, seed=self.seed, samples=self.samples, progress=progress
            )
        if self.as_json:
            print(json.dumps(figures, indent=2))
        else:
            print_figures(figures)
        return 0


class Check(Verb):
    """Try whether a model does, in this installation, what everything here relies on. Seconds.

    Two prompts, alone and together, with pictures where the model sees: padding, sites against the
    model's own hidden states and against what layers add, the cache against whole passes, where an
    edit of a generated token lands, image tokens, geometry. A workspace does this by itself when it
    first meets a model, and stops where a check fails, unless --trust is given.
    """

    subject: str = "sprite-llava"
    """The model: the embedded one, a folder, or a name at a model hub."""
    device: str = "auto"
    """auto, cpu, cuda…"""
    dtype: str = "auto"
    """auto, float32, bfloat16, float16."""
    trust: bool = False
    """Check a model some of whose weights are not in its checkpoint."""
    trust_remote_code: bool = False
    """Run Python code that the model's checkpoint brings with it."""
    as_json: JsonFlag = False
    """Print JSON."""

    def run(self) -> int:
        """Check and print; exit code 1 where a check fails."""
        from dataclasses import asdict

        from semascope.pipeline.run_context import load_subject
        from semascope.subject.check import check, failures

        subject = load_subject(
            self.subject,
            device=self.device,
            dtype=self.dtype,
            trust=self.trust,
            trust_remote_code=self.trust_remote_code,
        )
        outcomes = check(subject)
        if self.as_json:
            found = {"subject": self.subject, "checks": [asdict(one) for one in outcomes]}
            print(json.dumps({**found, "unavailable": dict(subject.unavailable)}, indent=2))
        else:
            _print_outcomes(outcomes)
        return 1 if failures(outcomes) else 0


def _print_outcomes(outcomes: Sequence[CheckOutcome]) -> None:
    from rich.console import Console
    from rich.table import Table

    marks = {"ok": "[green]ok[/]", "failed": "[red]FAILED[/]", "not applicable": "–"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for one in outcomes:
        figure = "" if one.figure is None else f"{one.figure:.3g}"
        table.add_row(marks[one.state], one.name, figure, one.sentence)
    Console(highlight=False).print(table)


class EvaluateGeometry(Verb):
    """Prove where image tokens look: change some pixels, see which of the model's inputs change.

    Pictures are not square. Models that read video are also shown three frames, one of them
    changed. With --families all, every family that has an adapter is proved on a
    small model of its shape, with its own processor and random weights: semascope evaluate
    geometry --families all --json; or those named: --families llava_next qwen2_vl.
    """

    subject: str = "sprite-llava"
    """The model."""
    families: tuple[str, ...] = ()
    """Instead of the model: all, or names of families."""
    probes: Count = 12
    """Places painted over, a picture size."""
    seed: Seed = 0
    """Of the pictures and the places."""
    device: str = "auto"
    """auto, cpu, cuda…"""
    as_json: JsonFlag = False
    """Print JSON."""

    def run(self) -> int:
        """Prove and print; exit code 1 where a token looks elsewhere than its map says."""
        from dataclasses import asdict
        from math import isnan

        proofs = [proof for subject in self._subjects() for proof in self._proved(subject)]
        if self.as_json:
            print(json.dumps([asdict(proof) for proof in proofs], indent=2))
        else:
            for proof in proofs:
                what = f"{proof.size[0]}×{proof.size[1]}"
                what += f", {proof.frames} frames" if proof.frames else ""
                print(
                    f"{proof.family} {what}: {proof.tokens} image tokens; "
                    f"the one that changes most is the one that looks there in "
                    f"{proof.first:.0%} of {proof.probes} places"
                    + ("" if isnan(proof.fine) else f", and {proof.fine:.0%} of small ones")
                )
        return 0 if all(proof.first >= RIGHT and not proof.fine < FINE for proof in proofs) else 1

    def _subjects(self) -> Iterator[Subject]:
        """The model, or a small one of each family, one after another."""
        from semascope.errors import ModelNotFound
        from semascope.pipeline.run_context import load_subject
        from semascope.subject.testing import VISION, tiny

        unknown = [name for name in self.families if name not in (*VISION, "all")]
        if unknown:
            raise ModelNotFound(
                f"No family {unknown[0]!r} reads pictures here; there are {', '.join(VISION)}, and "
                "all."
            )
        if not self.families:
            yield load_subject(self.subject, device=self.device)
        for name in VISION if "all" in self.families else self.families:
            yield tiny(name)

    def _proved(self, subject: Subject) -> Sequence[GeometryProof]:
        from semascope.subject.geometry.verify import prove, prove_videos

        pictures = prove(subject, probes=self.probes, seed=self.seed)
        if not subject.encoder.reads_video:
            return pictures
        return [*pictures, *prove_videos(subject, probes=self.probes, seed=self.seed)]


def print_figures(figures: dict[str, Any]) -> None:
    """One figure a line, with a bar for those between 0 and 1."""
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table

    rows = Table(box=None, pad_edge=False, show_header=False)
    for name, value in figures.items():
        if not isinstance(value, int | float):
            continue
        share = isinstance(value, float) and 0 <= value <= 1
        bar = Bar(size=1.0, begin=0.0, end=float(value), width=24) if share else ""
        rows.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value), bar)
    Console(highlight=False).print(rows)
