"""The verb find: a wish in, a tested intervention out, or a sentence that says none does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from pydantic import Field

from semascope.cli.opened import CausalVerb, Opened, rows_of, sample_of, slug
from semascope.errors import CausalError
from semascope.numbers import MOST, Count, CountOrNone, NotNegative, Seed, Share, Strength

if TYPE_CHECKING:
    from semascope.causal import Goal, SearchOptions, SearchResult

DOSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""For wishes that change what is spoken of."""


class Find(CausalVerb):
    """Find the smallest set of features that does what you wish, and prove it on held-out prompts.

    The wish is a sentence ('a dog': speak of it unprompted; 'read the word and ignore the picture';
    'speak with feeling'; 'do not see what is not there'), examples in files (one a line: a text, or
    {"question": …, "answer": …, "picture": …}), or one wrong answer (--picture, --question,
    --wrong, --right). Candidates come from search, attribution and contrast; tokens and doses are
    chosen on half of the prompts; the set is judged on the other half beside random features. The
    file that it writes is replayed by: semascope steer --interventions FILE. Stopped, it goes on.
    """

    wish: tyro.conf.Positional[str]
    """What the model should do, in your words."""
    behaviour: Literal["auto", "object", "word", "feeling", "presence"] = "auto"
    """Which ready wish the words mean; auto reads them."""
    want: Path | None = None
    """Examples that show it, one a line."""
    not_want: Path | None = None
    """Examples that do not, one a line."""
    keep: Path | None = None
    """Questions whose answers are right and must stay so, one a line."""
    picture: str = "none"
    """Of a wrong answer to mend: a file, scene:SEED, blank or none."""
    question: str = ""
    """Of a wrong answer to mend."""
    wrong: str = ""
    """The answer that it gives."""
    right: str = ""
    """The answer that it should give."""
    doses: tuple[Strength, ...] = ()
    """Tried for features that are pushed up, in multiples of their own maximum; if left out, .06 to
    1 for what is there and what is not, else .5 to 8."""
    candidates: Count = 32
    """How many features to try."""
    largest: Count = 4
    """Most interventions in the set."""
    samples: int = Field(default=1000, ge=8, le=MOST)
    """Scenes, for wishes about what is there and what is not: inventions are few."""
    tokens: CountOrNone = 0
    """Longest answer, in tokens; 0: 4 for yes and no, else 16."""
    min_fixed: Share = 0.5
    """Least share of held-out failures that it must mend."""
    max_broken: Share = 0.02
    """Largest share of right answers that it may break."""
    max_kl: NotNegative = 0.5
    """Largest cost on unrelated prompts, nats a token."""
    seed: Seed = 0
    """Of scenes and controls."""
    save: Path | None = None
    """Write the finding here too."""

    def run(self) -> int:
        """Find, print, write; exit code 1 where nothing does it."""
        from semascope.causal import find
        from semascope.causal.search.ledger import Ledger
        from semascope.cli.progress import ProgressBars
        from semascope.files import write_text

        opened = self.opened()
        folder = opened.folder("findings")
        name = slug(self.wish)
        about = self.model_dump(mode="json", exclude={"workspace", "device", "as_json", "save"})
        ledger = Ledger(folder / f"{name}.parts.jsonl", about | {"dictionary": opened.key})
        with ProgressBars() as bars:
            progress = bars.begin("find", "")
            wish, kind = self._wish(opened)
            options = self._options(kind)
            bars.say(f"{len(wish.cases)} prompts; read as: {wish.text}")
            found = find(opened.steerable, wish, options, ledger=ledger, progress=progress)
        record = {"wish": self.wish, "read_as": wish.text, **found.as_json()}
        path = folder / f"{name}.json"
        for target in (path, *([self.save] if self.save else [])):
            write_text(target, json.dumps(record, indent=2) + "\n")
        if self.as_json:
            print(json.dumps(record, indent=2))
        else:
            self._print(opened, found, path)
        return 0 if found.found else 1

    def _wish(self, opened: Opened) -> tuple[Goal, str]:
        """What is wished, and which sort it is."""
        from semascope.causal.search.behaviours import NamedObject, goal_for, variants
        from semascope.causal.search.goal import Goal
        from semascope.causal.search.goal_files import GoalItems, read_items, reading, with_files

        files = [self.want, self.not_want, self.keep]
        want, not_want, keep = (read_items(p) if p else GoalItems() for p in files)
        found = opened.search(self.wish)
        if self.wrong or self.right:
            if not (self.wrong and self.right and self.question):
                raise CausalError("To mend an answer give --question, --wrong and --right.")
            cases = variants(sample_of(self.picture, self.question), self.right, self.wrong)
            wish, kind = Goal(cases=cases, features=found, text="mend this answer"), "mend"
        elif want.answers:
            wish, kind = Goal(cases=(), features=found, text="answer as the examples do"), "files"
        else:
            kind, concept = self.behaviour, self.wish
            if kind == "auto":
                kind, concept = reading(self.wish)
            if kind == "presence":
                wish = self._presence()
            else:
                thing = NamedObject(concept, kinds=opened.instances([concept])[concept])
                wish = goal_for(opened.steerable, kind, opened.search, thing=thing, seed=self.seed)
        return with_files(wish, sample_of, want=want, not_want=not_want, keep=keep), kind

    def _presence(self) -> Goal:
        from semascope.causal.search.presence import presence_goal

        return presence_goal(self.samples, seed=self.seed)

    def _options(self, kind: str) -> SearchOptions:
        from semascope.causal import SearchOptions
        from semascope.causal.search.presence import SMALL_DOSES

        presence = kind == "presence"
        return SearchOptions(
            doses=self.doses or (SMALL_DOSES if presence else DOSES),
            trial_cases=16 if presence else 8,
            candidates=self.candidates,
            largest=self.largest,
            tokens=self.tokens or (4 if presence else 16),
            min_fixed=self.min_fixed,
            max_broken=self.max_broken,
            max_kl=self.max_kl,
            seed=self.seed,
        )

    def _print(self, opened: Opened, found: SearchResult, path: Path) -> None:
        from rich.console import Console

        console = Console(highlight=False)
        console.print(found.reason, markup=False)
        if found.best:
            console.print("\nThe set" if found.found else "\nThe best set that was tried")
            rows_of(console, ("feature", "how", "where", "label"), _set_rows(opened, found))
        if found.held_out is not None:
            console.print("\nOn held-out prompts")
            verdicts = [("found", found.held_out), *(("random", one) for one in found.controls)]
            rows_of(console, ("set", "mended", "broken", "KL"), [_verdict(*v) for v in verdicts])
        console.print(f"\n{path}", markup=False)
        if found.found:
            console.print(f"semascope steer --interventions {path}", markup=False, soft_wrap=True)


def _set_rows(opened: Opened, found: SearchResult) -> list[tuple[str, ...]]:
    """The features of the set, one a line."""
    return [
        (
            f"{key}/{index}",
            f"{one.how} × {one.strength:g}",
            one.where.model_dump_json(exclude_defaults=True),
            opened.labels.get((key, index), ""),
        )
        for one in found.best
        for key, index in one.features
    ]


def _verdict(name: str, verdict: Any) -> tuple[str, ...]:
    """One line of the judgement."""
    kl = "" if verdict.effects is None else f"{verdict.effects.kl.value:.3f}"
    return (name, shown(verdict.fixed.as_json()), shown(verdict.broken.as_json()), kl)


def shown(figure: dict[str, Any]) -> str:
    """A share with its interval and its number of cases."""
    if figure["value"] is None:
        return "no case"
    return f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}] of {figure['n']}"
