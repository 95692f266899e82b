"""``Subject``: a language or multimodal model under the microscope.

Loads, encodes samples, answers under edits; ``passes`` names its hook points and runs it as deep as
is asked. Knows nothing of dictionaries, features or files of a run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

from semascope.corpus.sample import Sample
from semascope.subject import generation, sites
from semascope.subject.chat import Template
from semascope.subject.encoding import Encoder, Side
from semascope.subject.passes import Passes
from semascope.subject.still import reads_video
from semascope.subject.types import Batch, Edits, Generation, TokenSink


class Subject(Passes):
    """A loaded Hugging Face model with what encodes its inputs.

    The parameters are frozen: gradients flow only through what edits bring with them.
    """

    def __init__(self, model: Any, processor: Any, *, name: str) -> None:
        """Wrap a model and its processor (or, for subjects without sight, its tokenizer)."""
        super().__init__(model, name=name)
        self.tokenizer: Any = getattr(processor, "tokenizer", processor)
        self.has_vision = getattr(processor, "image_processor", None) is not None
        self.processor: Any = processor if self.has_vision else None
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
        cls, ref: str | Path, *, device: str = "auto", dtype: str = "auto", offline: bool = False
    ) -> Subject:
        """Load "sprite-llava", a folder, or a hub name.

        ``device``: auto, cpu, cuda, cuda:1, mps, or spread (over all GPUs; needs accelerate).
        ``dtype``: auto (the checkpoint's own on a GPU, float32 on a CPU), float32, bfloat16,
        float16, or int8 and int4 (needs bitsandbytes and a GPU).
        ``offline`` reads the local hub cache only. Raises ``ModelNotFound`` with what to do.
        """
        from semascope.subject.loading import load

        model, processor, name = load(str(ref), device=device, dtype=dtype, offline=offline)
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

        Turns go through the chat template; plain text does not. ``answer`` opens the
        assistant's turn and begins it with these words ("" to leave it empty), one for all or
        one a sample. A sample longer than ``max_tokens`` is cut at the end, never through a
        picture: it stays longer where its pictures need that.
        """
        batch = self.encoder.encode(samples, max_tokens=max_tokens, answer=answer, side=side)
        extra = generation.positions(self.model, batch) if side == "left" else {}
        return self.place(Batch({**batch.inputs, **extra}, batch.maps, batch.sample_ids))

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
        """The subject's answer to a sample, from ``answer``'s words on, under ``edits``.

        ``temperature`` 0 is greedy. ``sink`` hears each token and may stop by returning True.
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
        """``generate``, a token at a time: between two of them the model may do other things."""
        batch = self.encode([sample], max_tokens=None, answer=answer, side="left")
        steps = generation.generating(
            self.model,
            self.encoder,
            batch,
            generation.Sampling(max_new_tokens, temperature, seed, top, top_p),
            eos=self.eos,
            sinks=[sink],
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
        """Answers to several samples at once, each as it would be alone."""
        batch = self.encode(samples, max_tokens=None, answer=answer, side="left")
        sampling = generation.Sampling(max_new_tokens, temperature, seed, top)
        with self.editing(edits or {}, batch.maps):
            return generation.generate(
                self.model, self.encoder, batch, sampling, eos=self.eos, sinks=sinks
            )

    @property
    def eos(self) -> frozenset[int]:
        """Token ids that end an answer."""
        told = getattr(self.model.generation_config, "eos_token_id", None)
        listed = told if isinstance(told, list) else [told]
        return frozenset(i for i in (*listed, self.tokenizer.eos_token_id) if i is not None)

    def __repr__(self) -> str:
        return f"Subject({self.name!r}, d_model={self.d_model}, sites: {sites.summary(self.hooks)})"


def _template(processor: Any, sees: bool) -> Template:
    """The processor's chat template, or its tokenizer's."""
    tokenizer = getattr(processor, "tokenizer", processor)
    owner = processor if getattr(processor, "chat_template", None) else tokenizer
    placeholder = None
    if sees:
        placeholder = getattr(processor, "boi_token", None) or getattr(
            processor, "image_token", None
        )
    moving = getattr(processor, "video_token", None) if reads_video(processor) else None
    return Template(owner, placeholder and str(placeholder), moving and str(moving))


def _token_id(what: str, processor: Any, config: Any) -> int | None:
    """Id of the token that stands at every place of an image, or of a video."""
    for owner, end in ((config, "id"), (config, "index"), (processor, "id")):
        found = getattr(owner, f"{what}_token_{end}", None)
        if isinstance(found, int):
            return found
    return None
