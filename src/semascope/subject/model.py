"""``Subject``: a language or multimodal model to be interpreted.

It is loaded, encodes samples and answers under edits; its sites and forward passes are in
``forward``.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from semascope.corpus.sample import Sample
from semascope.subject import sites
from semascope.subject.forward import ForwardPass
from semascope.subject.generation import decoding
from semascope.subject.generation import generate as generation
from semascope.subject.inputs import image_token_count
from semascope.subject.inputs.chat_template import ChatTemplate
from semascope.subject.inputs.encoding import Encoder
from semascope.subject.types import Batch, Edits, Generation, Side, TokenSink
from semascope.subject.video.processors import reads_video

log = logging.getLogger(__name__)


class Subject(ForwardPass):
    """A loaded Hugging Face model and the encoder of its inputs.

    The parameters are frozen: gradients flow only to tensors that edits bring in.
    """

    def __init__(self, model: Any, processor: Any, *, name: str) -> None:
        """Wrap a model and its processor, or its tokenizer if it reads text only."""
        super().__init__(model, name=name)
        self.tokenizer: Any = getattr(processor, "tokenizer", processor)
        self.has_vision = getattr(processor, "image_processor", None) is not None
        self.processor: Any = processor if self.has_vision else None
        self._checked: set[str] = set()
        self.encoder = Encoder(
            tokenizer=self.tokenizer,
            processor=self.processor,
            config=model.config,
            template=_template(processor, self.has_vision),
            image_token_id=_token_id("image", processor, model.config),
            video_token_id=_token_id("video", processor, model.config),
            reads_video=reads_video(processor),
        )

    @classmethod
    def load(
        cls,
        ref: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        offline: bool = False,
        trust: bool = False,
        trust_remote_code: bool = False,
    ) -> Subject:
        """Load "sprite-llava", a folder, or a hub name.

        ``device``: auto, cpu, cuda, cuda:1, mps, or spread (over all GPUs; needs accelerate).
        ``dtype``: auto (the checkpoint's own on a GPU, float32 on a CPU), float32, bfloat16,
        float16, or int8 and int4 (needs bitsandbytes and a GPU).
        ``offline`` reads the local hub cache only. ``trust`` continues although weights are missing
        from the checkpoint. ``trust_remote_code`` runs Python code that the checkpoint contains.

        Raises:
            ModelNotFound: no such model, or its files cannot be read.
            SubjectError: the model cannot be a subject, or weights are missing.
        """
        from semascope.subject.loading.load import load

        model, processor, name = load(
            str(ref),
            device=device,
            dtype=dtype,
            offline=offline,
            trust=trust,
            code=trust_remote_code,
        )
        return cls(model, processor, name=name)

    def encode(
        self,
        samples: Iterable[Sample],
        *,
        max_tokens: int | None = 512,
        answer: str | Sequence[str] | None = None,
        side: Side = "right",
    ) -> Batch:
        """Samples to a padded batch with token maps, on the subject's device.

        Args:
            samples: turns go through the chat template; plain text does not.
            max_tokens: longer samples are cut at the end, never through a picture; tokens of
                pictures are not counted. None cuts nothing.
            answer: text with which the assistant's turn begins ("" only opens the turn), for all
                samples or for each.
            side: where padding goes.

        Raises:
            SubjectError: a sample that the model cannot read, or that exceeds its context.
        """
        batch = self.encoder.encode(samples, max_tokens=max_tokens, answer=answer, side=side)
        extra = (
            decoding.positions(self.model, batch.inputs["attention_mask"]) if side == "left" else {}
        )
        inputs = {**batch.inputs, **extra}
        placed = self.place(Batch(inputs, batch.maps, batch.sample_ids))
        self._check(placed)
        return placed

    def _check(self, batch: Batch) -> None:
        """Check once that pictures fit their tokens, and that the model reads text alone."""
        if self.has_vision and "words" not in self._checked and image_token_count.blind(batch):
            image_token_count.words_alone(self.model, batch)
            self._checked.add("words")
        if "counted" not in self._checked and image_token_count.readable(batch):
            image_token_count.check(self.model, batch)
            self._checked.add("counted")

    def generate(
        self,
        sample: Sample,
        *,
        edits: Edits | None = None,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
        top: int = 5,
        sink: TokenSink | None = None,
        answer: str = "",
    ) -> Generation:
        """The subject's answer to a sample under ``edits``, continuing ``answer``.

        ``temperature`` 0 is greedy. ``sink`` is called with each token; it returns True to stop.
        """
        return self.generate_batch(
            [sample],
            edits=edits,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            top=top,
            sinks=[sink],
            answer=answer,
        )[0]

    def answering(
        self,
        sample: Sample,
        *,
        edits: Edits | None = None,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
        top: int = 5,
        sink: TokenSink | None = None,
        answer: str = "",
        top_p: float = 1.0,
    ) -> Generator[None, None, Generation]:
        """``generate`` as a generator: it yields after each token, when the model may be used."""
        batch = self.encode([sample], max_tokens=None, answer=answer, side="left")
        steps = generation.generating(
            self.model,
            self.encoder,
            batch,
            generation.Sampling(self._room(batch, max_new_tokens), temperature, seed, top, top_p),
            eos=self.eos,
            sinks=[sink],
            decodes=self.decodes,
        )
        while True:
            with self.editing(edits or {}, batch.maps):
                try:
                    next(steps)
                except StopIteration as done:
                    (found,) = done.value
                    return found  # type: ignore[no-any-return]
            yield

    def generate_batch(
        self,
        samples: Sequence[Sample],
        *,
        edits: Edits | None = None,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
        top: int = 5,
        sinks: Sequence[TokenSink | None] = (),
        answer: str | Sequence[str] = "",
    ) -> list[Generation]:
        """Answers to several samples, each the same as it would be alone.

        A model that does not ignore padding (a recurrent one, say) answers them one by one. A model
        whose cache fails its test (``decodes``) runs the whole text again for every token.
        """
        batch = self.encode(samples, max_tokens=None, answer=answer, side="left")
        if len(samples) > 1 and not self.decodes.batched:
            return self._one_by_one(
                samples, answer, sinks, edits=edits, max_new_tokens=max_new_tokens,
                temperature=temperature, seed=seed, top=top,
            )  # fmt: skip
        sampling = generation.Sampling(self._room(batch, max_new_tokens), temperature, seed, top)
        decodes = self.decodes
        with self.editing(edits or {}, batch.maps):
            return generation.generate(
                self.model,
                self.encoder,
                batch,
                sampling,
                eos=self.eos,
                sinks=sinks,
                decodes=decodes,
            )

    def _one_by_one(
        self,
        samples: Sequence[Sample],
        answer: str | Sequence[str],
        sinks: Sequence[TokenSink | None],
        **options: Any,
    ) -> list[Generation]:
        answers = [answer] * len(samples) if isinstance(answer, str) else answer
        heard = [*sinks, *[None] * (len(samples) - len(sinks))]
        rows = zip(samples, answers, heard, strict=True)
        return [self.generate(s, answer=a, sink=h, **options) for s, a, h in rows]

    @cached_property
    def decodes(self) -> decoding.DecodingPlan:
        """How this model decodes correctly, tested at first use (``decoding.prove``)."""
        found = decoding.prove(self.model, self.words)
        if not found.cached:
            log.warning(
                "%s gives other logits with its cache than without, so the cache is not used and "
                "answers are slow.", self.name,
            )  # fmt: skip
        return found

    @cached_property
    def words(self) -> list[int]:
        """Up to 200 token ids spread over the vocabulary, without control and image tokens."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        taken = {*added, *self.tokenizer.all_special_ids, *self.encoder.shown_ids}
        rows = len(self.model.get_input_embeddings().weight)
        most = min(rows, len(self.tokenizer))
        free = [i for i in range(0, most, max(1, most // 400)) if i not in taken]
        return free[:: max(1, len(free) // 200)]

    def _room(self, batch: Batch, wanted: int) -> int:
        """Number of new tokens that fit into the context: ``wanted`` at most, one at least."""
        if self.context is None:
            return wanted
        return max(1, min(wanted, self.context - int(batch.mask.sum(1).max()) + 1))

    @property
    def context(self) -> int | None:
        """Context length in tokens; None if the config names no limit."""
        return self.encoder.context

    @property
    def eos(self) -> frozenset[int]:
        """Token ids that end an answer."""
        told = getattr(self.model.generation_config, "eos_token_id", None)
        listed = told if isinstance(told, list) else [told]
        return frozenset(i for i in (*listed, self.tokenizer.eos_token_id) if i is not None)

    def __repr__(self) -> str:
        return f"Subject({self.name!r}, d_model={self.d_model}, sites: {sites.summary(self.hooks)})"


def _template(processor: Any, sees: bool) -> ChatTemplate:
    """The processor's chat template, or its tokenizer's."""
    tokenizer = getattr(processor, "tokenizer", processor)
    owner = processor if getattr(processor, "chat_template", None) else tokenizer
    placeholder = None
    if sees:
        placeholder = getattr(processor, "boi_token", None) or getattr(
            processor, "image_token", None
        )
    moving = getattr(processor, "video_token", None) if reads_video(processor) else None
    return ChatTemplate(owner, placeholder and str(placeholder), moving and str(moving))


def _token_id(what: str, processor: Any, config: Any) -> int | None:
    """Id of the token that the processor repeats for an image, or for a video."""
    for owner, end in ((config, "id"), (config, "index"), (processor, "id")):
        found = getattr(owner, f"{what}_token_{end}", None)
        if isinstance(found, int):
            return found
    return None
