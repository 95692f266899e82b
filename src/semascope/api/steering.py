"""Features turned up or down: asked with, or set beside the plain answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from semascope.errors import CausalError

if TYPE_CHECKING:
    from PIL import Image

    from semascope.api.chat import Chat
    from semascope.api.parts import FeatureId, RunParts
    from semascope.causal import Comparison, Intervention
    from semascope.causal import Where as Places

    Where = Literal["image", "text", "prompt", "generated"] | Places | None

PLACES: dict[str, dict[str, Any]] = {
    "image": {"kinds": ("image", "tile")},
    "text": {"kinds": ("text",)},
    "prompt": {"generated": False},
    "generated": {"generated": True},
}


@dataclass(frozen=True, eq=False)
class Steering:
    """An intervention on an open run."""

    run: RunParts
    intervention: Intervention

    @classmethod
    def of(
        cls,
        run: RunParts,
        features: Sequence[FeatureId],
        *,
        strength: float,
        where: Where,
        how: str,
        unit: str,
    ) -> Steering:
        """See ``OpenRun.steer``."""
        from pydantic import ValidationError

        from semascope.causal import Intervention
        from semascope.causal import Where as Places

        if not features:
            raise CausalError("Name features to steer by: numbers, ids or words.")
        if isinstance(where, str) and where not in PLACES:
            raise CausalError(f"where={where!r} is not known; there are {', '.join(PLACES)}.")
        places = Places(**PLACES[where]) if isinstance(where, str) else where or Places()
        try:
            made = Intervention.model_validate(
                {"features": tuple(features), "where": places, "how": how,
                 "strength": strength, "unit": unit}
            )  # fmt: skip
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "features"
            raise CausalError(f"{name}: {first['msg']}.") from error
        return cls(run, made)

    def at(self, strength: float) -> Steering:
        """The same at another strength."""
        return Steering(self.run, self.intervention.at(strength))

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
        """Ask under the intervention, and under ``interventions`` too; see ``OpenRun.ask``."""
        from semascope.api.chat import Chat, first_turns

        sample = first_turns(question, picture, system)
        return Chat.answered(
            self.run, sample, (self.intervention, *interventions),
            max_new_tokens=max_new_tokens, temperature=temperature, seed=seed,
        )  # fmt: skip

    def compare(self, chat: Chat) -> SteeringComparison:
        """The question of ``chat`` answered with and without, and how far apart the two are.

        KL(plain ‖ steered) and log-probabilities are of the plain answer's tokens, forced in both.
        """

        result = self.run.steerable.compare(
            chat.sample,
            (*chat.interventions, self.intervention),
            **chat.settings,
        )
        return SteeringComparison(chat, self, result)

    def __repr__(self) -> str:
        return f"Steering({self.intervention.label})"


@dataclass(frozen=True, eq=False)
class SteeringComparison:
    """A plain and a steered answer to the same question."""

    chat: Chat
    steering: Steering
    result: Comparison

    @property
    def plain(self) -> str:
        """The answer without the intervention."""
        return self.result.base.text

    @property
    def steered(self) -> str:
        """The answer with it."""
        return self.result.steered.text

    @property
    def kl(self) -> float:
        """Mean KL(plain ‖ steered) a token of the plain answer, nats."""
        return self.result.kl

    def __repr__(self) -> str:
        return f"SteeringComparison({self.plain!r} → {self.steered!r}, KL {self.kl:.3g} nats/token)"

    def _repr_html_(self) -> str:
        return self.result._repr_html_()
