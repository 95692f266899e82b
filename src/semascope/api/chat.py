"""One conversation: the question, the answer, and what can be asked about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from semascope.errors import CausalError

if TYPE_CHECKING:
    from PIL import Image

    from semascope.api.parts import RunParts
    from semascope.api.why import Why
    from semascope.causal import Intervention
    from semascope.corpus.sample import Sample
    from semascope.monitor.conversation import Conversation, ConversationToken
    from semascope.subject import Generation, TokenChoice


def first_turns(question: str, picture: str | Image.Image | None, system: str) -> Sample:
    """A question as a sample, with its picture and its system prompt."""
    from semascope.corpus.prompts import pictures_of
    from semascope.corpus.sample import Sample, Turn

    images = pictures_of(picture)
    turns = [Turn("system", system)] if system else []
    turns.append(Turn("user", question, images=len(images)))
    return Sample(id="asked", turns=tuple(turns), images=images)


@dataclass(frozen=True, eq=False)
class Chat:
    """A conversation and the answer to its last turn."""

    run: RunParts
    sample: Sample
    """The turns before the answer, with their pictures."""
    answer: Generation
    """The answer, each token with its log-probability and rivals."""
    interventions: tuple[Intervention, ...] = ()
    """Interventions during the answer."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Length limit, temperature and seed."""

    @classmethod
    def answered(
        cls,
        run: RunParts,
        sample: Sample,
        interventions: tuple[Intervention, ...] = (),
        **settings: Any,
    ) -> Chat:
        """Let the model answer. CausalError if the interventions cannot be done."""
        edits = run.steerable.edits(interventions)
        answer = run.subject.generate(sample, edits=edits, **settings)
        return cls(run, sample, answer, interventions, settings)

    @property
    def text(self) -> str:
        """The answer."""
        return self.answer.text

    @property
    def tokens(self) -> tuple[TokenChoice, ...]:
        """The answer's tokens, each with its log-probability and its rivals."""
        return self.answer.tokens

    @property
    def pictures(self) -> tuple[Image.Image, ...]:
        """The pictures of the conversation."""
        return self.sample.images

    @cached_property
    def conversation(self) -> Conversation:
        """The conversation as ``semascope.monitor`` takes it."""
        from semascope.causal.attribution.pass_cache import PassCache
        from semascope.monitor.conversation import Conversation

        ids = tuple(token.id for token in self.answer.tokens if not token.ends)
        return Conversation(
            self.run.steerable, self.sample, "", ids, self.interventions, pass_cache=PassCache()
        )

    def ask(self, question: str, picture: str | Image.Image | None = None) -> Chat:
        """Ask a follow-up question in the same conversation."""
        from semascope.corpus.prompts import pictures_of
        from semascope.corpus.sample import Sample, Turn

        images = pictures_of(picture)
        turns = (*self.sample.turns, Turn("assistant", self.text))
        turns = (*turns, Turn("user", question, images=len(images)))
        sample = Sample(id="asked", turns=turns, images=(*self.sample.images, *images))
        return Chat.answered(self.run, sample, self.interventions, **self.settings)

    def read(self, top: int = 5) -> list[ConversationToken]:
        """Every token of prompt and answer with its own probability and ``top`` rivals."""
        from semascope.monitor.conversation import read_tokens

        return read_tokens(self.conversation, top)

    def why(
        self,
        token: int | str | None = None,
        *,
        against: str | None = None,
        mode: str = "attribution",
        integrated: int = 8,
    ) -> Why:
        """The features behind one token of the answer.

        Args:
            token: a word of the answer, or the number of a token in it (−1 the last); the first
                word of more than three letters by default.
            against: explain the token's logit against that of this word.
            mode: attribution (signed; gradient times activation) or activation.
            integrated: steps of integrated gradients (Sundararajan et al. 2017); 1 is the plain
                gradient, which is quicker and less exact.

        Raises:
            CausalError: the answer is empty, or holds no such token.
        """
        from semascope.api.why import Why

        return Why.of(self, self.place(token), against, mode, integrated)

    def place(self, token: int | str | None = None) -> int:
        """Number of a token of the answer. CausalError if there is no such token."""
        tokens = [one for one in self.tokens if not one.ends]
        if not tokens:
            raise CausalError("The answer is empty, so there is no token to explain.")
        if isinstance(token, int):
            if not -len(tokens) <= token < len(tokens):
                raise CausalError(f"The answer has {len(tokens)} tokens; there is no {token}.")
            return token % len(tokens)
        if token is None:
            words = (n for n, one in enumerate(tokens) if len(one.text.strip()) > 3)
            return next(words, 0)
        for number, one in enumerate(tokens):
            if one.text.strip() and one.text.strip().lower() in token.lower().split():
                return number
        wanted = token.strip().lower()
        for number, one in enumerate(tokens):
            if one.text.strip() and wanted.startswith(one.text.strip().lower()):
                return number
        raise CausalError(f"{token!r} is not in the answer {self.text!r}.")

    def __repr__(self) -> str:
        return f"Chat({self.sample.turns[-1].text!r} → {self.text!r})"

    def _repr_html_(self) -> str:
        from semascope import html

        parts = [html.turn(turn.role, turn.text) for turn in self.sample.turns]
        parts += [html.picture(image, 192) for image in self.pictures]
        words = [(t.text, t.logprob) for t in self.tokens if not t.ends]
        parts.append(html.turn("assistant", html.by_probability(words), raw=True))
        return html.block(*parts)
