"""The verb steer: one question, two answers, with a feature turned up or down in the second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from semascope.cli.base import InWorkspace
from semascope.config import RunOptions
from semascope.errors import CausalError, CorpusError

if TYPE_CHECKING:
    from semascope.causal import Intervention
    from semascope.corpus.sample import Sample


class Steer(InWorkspace):
    """Turn features up or down at every token, and see both answers side by side.

    A feature is named by its number, its id (site/dictionary/number), or by words: then it is
    the feature whose description is nearest to them.
    """

    features: tyro.conf.Positional[tuple[str, ...]]
    """Numbers, ids or words."""
    strength: float = 8.0
    """In multiples of each feature's own maximum; 0 changes nothing."""
    how: str = "add"
    """clamp, add, scale, ablate or project."""
    picture: str = "scene:1"
    """A file, scene:SEED for a drawn scene, blank, or none."""
    question: str = "What is in the picture?"
    """What to ask."""
    tokens: int = 40
    """Longest answer, in tokens."""
    device: str = "auto"
    """auto, cpu, cuda…"""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""

    def run(self) -> int:
        """Answer twice, and print both."""
        self.space.require("gather")
        from semascope.causal import compare
        from semascope.pipeline import recorded
        from semascope.pipeline.context import Run

        options = recorded(self.space)
        train = options.train.model_copy(update={"device": self.device})
        run = Run(self.space, options.model_copy(update={"train": train}))
        wishes = [self._intervention(run.options)]
        comparison = compare(
            run.subject,
            sample_of(self.picture, self.question),
            wishes,
            [run.dictionary],
            {run.dictionary_id: run.evidence},
            max_new_tokens=self.tokens,
        )
        self._print(comparison)
        return 0

    def _intervention(self, options: RunOptions) -> Intervention:
        from pydantic import ValidationError

        from semascope.causal import Intervention

        key = "/".join(options.chosen())
        found = tuple((key, self._number(word, key)) for word in self.features)
        try:
            return Intervention(
                features=tuple(dict.fromkeys(found)),
                how=self.how,  # type: ignore[arg-type]  # checked by the model
                strength=self.strength,
            )
        except ValidationError as error:
            raise CausalError(f"{error.errors()[0]['msg']} (--how {self.how})") from error

    def _number(self, word: str, key: str) -> int:
        """A feature's number from a number, an id or words."""
        last = word.removeprefix(f"{key}/")
        if last.isdigit():
            return int(last)
        from semascope.pipeline import search

        found = search(self.space, word, 1)
        if not found:
            raise CausalError(f"No feature answers to {word!r}. Name one by its number.")
        return int(str(found[0]["id"]).rpartition("/")[2])

    def _print(self, comparison: Any) -> None:
        if self.as_json:
            print(json.dumps(comparison.as_json(), indent=2))
            return
        from rich.columns import Columns
        from rich.console import Console
        from rich.panel import Panel

        named = "; ".join(one.label for one in comparison.interventions)
        console = Console(highlight=False)
        console.print(f"{self.question}  ({self.picture})", markup=False)
        console.print(
            Columns(
                [
                    Panel(comparison.base.text or "(nothing)", title="as it is", width=48),
                    Panel(comparison.steered.text or "(nothing)", title="steered", width=48),
                ]
            )
        )
        console.print(f"{named}; KL {comparison.kl:.3f} nats a token", markup=False)


def sample_of(picture: str, question: str) -> Sample:
    """A question about a picture: a file, scene:SEED, blank, or none."""
    from semascope.corpus.sample import Sample, Turn

    images = _images(picture)
    turn = Turn("user", question, images=len(images))
    return Sample(id=f"asked/{picture}", turns=(turn,), images=images)


def _images(picture: str) -> tuple[Any, ...]:
    from PIL import Image, UnidentifiedImageError

    if picture == "none":
        return ()
    if picture == "blank":
        return (Image.new("RGB", (128, 128), (255, 255, 255)),)
    if picture.startswith("scene:"):
        from semascope.corpus.scenes import SceneCorpus

        number = picture.removeprefix("scene:")
        if not number.isdigit():
            raise CorpusError(f"{picture!r} names no scene: write scene:7, say.")
        return SceneCorpus(int(number) + 1, split="heldout").sample(int(number)).images
    try:
        with Image.open(Path(picture)) as image:
            return (image.convert("RGB"),)
    except FileNotFoundError as error:
        raise CorpusError(f"There is no picture {picture}. Or ask of: scene:7, blank.") from error
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise CorpusError(f"{picture} cannot be read as a picture: {error}.") from error
