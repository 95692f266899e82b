"""The verb steer: one question, two answers, with features turned up or down in the second."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from semascope.cli.opened import CausalVerb, Opened, asked_of, region_of, rows_of, sample_of
from semascope.errors import CausalError
from semascope.numbers import Count, Position, Seed, Share, Strength, Temperature

if TYPE_CHECKING:
    from semascope.causal import Comparison, Intervention, Where
    from semascope.corpus.sample import Sample

Kind = Literal["text", "special", "image", "tile", "newline"]
Role = Literal["system", "user", "assistant"]


class Steer(CausalVerb):
    """Turn features up or down, and see both answers side by side.

    A feature is named by its number, its id (site/dictionary/number), or by words: then it is
    the feature whose description is nearest to them, of several as near the one that the words
    tell best (what search --score calls detection). Several features, also of several sites, act
    together. They act everywhere, or only where all of --roles, --kinds, --span, --positions,
    --region and --only hold. --save keeps them as JSON; --interventions replays them.
    """

    features: tyro.conf.Positional[tuple[str, ...]] = ()
    """Numbers, ids or words."""
    strength: Strength = 8.0
    """In multiples of each feature's own maximum (see --unit); 0 changes nothing."""
    how: str = "add"
    """clamp, add, scale, ablate or project."""
    unit: Literal["max", "quantile", "absolute"] = "max"
    """What strength 1 is: the feature's own maximum, a quantile of it, or an activation of 1."""
    quantile: Share = 0.999
    """Which quantile of the feature's firing activations, for --unit quantile."""
    doses: tuple[Strength, ...] = ()
    """Several strengths, as 0 1 2 4 8: a line for each instead of one comparison."""
    roles: tuple[Role, ...] = ()
    """Only where these speak: system, user, assistant."""
    kinds: tuple[Kind, ...] = ()
    """Only tokens of these kinds: text, special, image, tile, newline."""
    span: str = ""
    """Only where these words stand in the prompt."""
    positions: tuple[Position, ...] = ()
    """Only these positions of the prompt; -1 is its last token."""
    region: str = ""
    """Only image tokens that look at left,top,right,bottom, in pixels; @1: of picture 1."""
    only: Literal["all", "prompt", "generated"] = "all"
    """All tokens, only the prompt's, or only those that the model writes."""
    only_active: bool = False
    """Only where the feature fires: for a signed neuron, where its polarity matches."""
    interventions: Path | None = None
    """Replay saved interventions, beside those of the flags."""
    save: Path | None = None
    """Write the interventions here, as JSON."""
    picture: str = ""
    """A file, scene:SEED for a drawn scene, blank, or none; if left out, scene:1, or none with a
    model that reads text only."""
    question: str = ""
    """What to ask; if left out, what is in the picture, or what a dog is where there is none."""
    tokens: Count = 40
    """Longest answer, in tokens."""
    temperature: Temperature = 0.0
    """0 takes the likeliest token; above, both answers are drawn with the same seed."""
    seed: Seed = 0
    """Of the drawing."""
    beams: Count = 1
    """Answer by beam search of this width."""

    def run(self) -> int:
        """Answer twice, and print both."""
        opened = self.opened()
        wishes = self._wishes(opened)
        if self.save is not None:
            from semascope.causal import save

            save(wishes, self.save)
        asked = asked_of(opened.steerable.subject, self.picture, self.question)
        return self.model_copy(update=asked)._steer(opened, wishes)

    def _steer(self, opened: Opened, wishes: list[Intervention]) -> int:
        sample = sample_of(self.picture, self.question)
        if self.doses:
            return self._curve(opened, sample, wishes)
        comparison = self._compare(opened, sample, wishes)
        record = comparison.as_json()
        if self.beams > 1:
            record["beams"] = self._beams(opened, sample, wishes)
        if self.as_json:
            print(json.dumps(record, indent=2))
        else:
            self._print(comparison, record)
        return 0

    def _wishes(self, opened: Opened) -> list[Intervention]:
        """The interventions: those of the file, and that of the flags."""
        from semascope.causal import load

        wishes = list(load(self.interventions)) if self.interventions else []
        if self.features:
            wishes.append(self._intervention(opened))
        if not wishes:
            raise CausalError(
                "Name features (numbers, ids or words), or saved interventions: "
                "semascope steer 'a flag', or semascope steer --interventions FILE"
            )
        return wishes

    def _intervention(self, opened: Opened) -> Intervention:
        from pydantic import ValidationError

        from semascope.causal import Intervention

        found = tuple(opened.feature(word) for word in self.features)
        try:
            return Intervention(
                features=tuple(dict.fromkeys(found)),
                where=self._where(),
                how=self.how,  # type: ignore[arg-type]  # checked by the model
                strength=self.strength,
                unit=self.unit,
                quantile=self.quantile,
                only_active=self.only_active,
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "features"
            given = getattr(self, place, "")
            raise CausalError(f"{first['msg']} (--{place.replace('_', '-')} {given})") from error

    def _where(self) -> Where:
        from semascope.causal import Where

        return Where(
            roles=self.roles or None,
            kinds=self.kinds or None,
            text=self.span or None,
            positions=self.positions or None,
            region=region_of(self.region) if self.region else None,
            generated={"all": None, "prompt": False, "generated": True}[self.only],
        )

    def _compare(self, opened: Opened, sample: Sample, wishes: list[Intervention]) -> Comparison:

        return opened.steerable.compare(
            sample,
            wishes,
            max_new_tokens=self.tokens,
            temperature=self.temperature,
            seed=self.seed,
        )

    def _beams(self, opened: Opened, sample: Sample, wishes: list[Intervention]) -> dict[str, str]:
        """Both answers by beam search."""
        from semascope.causal.steering.beam_search import beam_answer

        subject, edits = opened.steerable.subject, opened.steerable.edits(wishes)
        answer = partial(beam_answer, subject, sample, beams=self.beams, max_new_tokens=self.tokens)
        return {"base": answer(), "steered": answer(edits)}

    def _curve(self, opened: Opened, sample: Sample, wishes: list[Intervention]) -> int:
        """A line for each dose."""
        rows: list[dict[str, Any]] = []
        for dose in self.doses:
            found = self._compare(opened, sample, [one.at(dose) for one in wishes])
            rows.append({"strength": dose, "kl": found.kl, "answer": found.steered.text})
        if self.as_json:
            print(json.dumps({"question": self.question, "doses": rows}, indent=2))
            return 0
        from rich.console import Console

        rows_of(
            Console(highlight=False),
            ("strength", "KL", "answer"),
            [(f"{r['strength']:g}", f"{r['kl']:.3f}", r["answer"] or "(nothing)") for r in rows],
        )
        return 0

    def _print(self, comparison: Comparison, record: dict[str, Any]) -> None:
        from rich.columns import Columns
        from rich.console import Console
        from rich.panel import Panel
        from rich.text import Text

        named = "; ".join(one.label for one in comparison.interventions)
        console = Console(highlight=False)
        console.print(f"{self.question}  ({self.picture})", markup=False)
        both = record.get("beams") or record
        console.print(
            Columns(
                [
                    Panel(Text(both["base"] or "(nothing)"), title="as it is", width=48),
                    Panel(Text(both["steered"] or "(nothing)"), title="steered", width=48),
                ]
            )
        )
        console.print(f"{named}; KL {comparison.kl:.3f} nats a token", markup=False)
        for note in comparison.notes:
            console.print(note, markup=False)
