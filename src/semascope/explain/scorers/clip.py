"""CLIP score: how alike are the words and the pictures that fire, to a model that knows both?

Cosine of CLIP's vectors of the description and of each held-out exemplar (Radford et al. 2021;
100 times it is the CLIPScore of Hessel et al. 2021): of the ``whole`` picture, and of it ``masked``
to where the feature fired, all else grey, as the multimodal-SAE paper does. Beside each stands
what that paper left out: the same words on pictures where the feature is silent (the baseline)
and another feature's words on these pictures (``…_shuffled``).

A CLIP similarity is no proof: words may be near for their style. It is one figure of several.
Knows pictures and words; loads a CLIP model from a folder or a hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.errors import ExplainError
from semascope.evidence.types import Exemplar, FeatureEvidence
from semascope.explain.crops import firing_picture, lit
from semascope.explain.shuffled_words import shuffled_words
from semascope.explain.text.exemplar_terms import distinct, mode_of
from semascope.explain.types import Explanation, Pictures, Score
from semascope.statistics import mean_interval

GREY = (127, 127, 127)
KINDS = ("clip", "clip_masked")


class Similarity(Protocol):
    """Vectors of pictures and of words in one space."""

    @property
    def name(self) -> str:
        """Which model."""
        ...

    def images(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """(n, d) unit rows."""
        ...

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) unit rows."""
        ...


class Clip:
    """A ``transformers`` CLIPModel with its processor."""

    def __init__(self, model: Any, processor: Any, name: str = "clip", *, batch: int = 16) -> None:
        self.model, self.processor, self.name = model.eval(), processor, name
        self.batch = batch

    @classmethod
    def load(cls, ref: str, *, device: str = "cpu") -> Clip:
        """From a folder or a hub name. Raises ExplainError that says how to get the weights."""
        from transformers import CLIPModel, CLIPProcessor

        return cls(*loaded(CLIPModel, CLIPProcessor, ref, "--clip", device), name=ref)

    def images(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """(n, d) unit rows."""
        import torch

        rows = []
        for first in range(0, len(pictures), self.batch):
            some = [p.convert("RGB") for p in pictures[first : first + self.batch]]
            pixels = self.processor.image_processor(images=some, return_tensors="pt")
            with torch.inference_mode():
                pooled = self.model.vision_model(
                    pixel_values=pixels["pixel_values"].to(self.model.device)
                ).pooler_output
                rows.append(self.model.visual_projection(pooled))
        return _unit(torch.cat(rows))

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) unit rows; texts longer than the model reads are cut."""
        import torch

        words = self.processor.tokenizer(
            list(texts), padding=True, truncation=True, return_tensors="pt",
            max_length=self.model.config.text_config.max_position_embeddings,
        ).to(self.model.device)  # fmt: skip
        with torch.inference_mode():
            pooled = self.model.text_model(
                input_ids=words["input_ids"], attention_mask=words["attention_mask"]
            ).pooler_output
            return _unit(self.model.text_projection(pooled))


class ClipScorer:
    """``clip`` and ``clip_masked`` of every explained feature of pictures, with ``_shuffled``."""

    name = "clip"

    def __init__(
        self,
        similarity: Similarity,
        pictures: Pictures,
        *,
        least: int = 2,
        most: int = 8,
        seed: int = 0,
    ) -> None:
        self.similarity = similarity
        self.pictures = pictures
        self.least, self.most, self.seed = least, most, seed

    def score(
        self, records: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
    ) -> list[Score]:
        """Scores of every feature with ``least`` held-out pictures on which it fires."""
        trials = []
        for record, explanation in zip(records, explanations, strict=True):
            mine = record.split("score")
            fired = [e for e in distinct(mine) if mode_of(e) == "picture"][: self.most]
            if not explanation.abstained and len(fired) >= self.least:
                trials.append((mine, explanation, fired))
        if not trials:
            return []
        words = self.similarity.texts([f"a picture of {_said(e)}" for _, e, _ in trials])
        lent = shuffled_words([e.label for _, e, _ in trials], self.seed).tolist()
        found: list[Score] = []
        for i, ((record, own, fired), j) in enumerate(zip(trials, lent, strict=True)):
            found += self._scores(record, own, fired, words[i], words[j] if j >= 0 else None)
        return found

    def _scores(
        self,
        record: FeatureEvidence,
        own: Explanation,
        fired: list[Exemplar],
        mine: NDArray[np.float32],
        lent: NDArray[np.float32] | None,
    ) -> list[Score]:
        shown = [self.pictures(e.shown.media[firing_picture(e)]) for e in fired]
        silent = [self.pictures(s.media[0]) for s in record.silent if s.media][: self.most]
        views = {"clip": self.similarity.images(shown)}
        views["clip_masked"] = self.similarity.images(
            [masked(image, e) for image, e in zip(shown, fired, strict=True)]
        )
        base = self.similarity.images(silent) @ mine if silent else np.zeros(0)
        found = []
        for kind, vectors in views.items():
            base_mean = float(base.mean()) if len(base) else 0.0
            found.append(self._score(record, own, kind, vectors @ mine, base_mean))
            if lent is not None:
                found.append(
                    self._score(record, own, f"{kind}_shuffled", vectors @ lent, base_mean)
                )
        return found

    def _score(
        self,
        record: FeatureEvidence,
        own: Explanation,
        kind: str,
        values: NDArray[np.floating],
        base: float,
    ) -> Score:
        figure = mean_interval(np.asarray(values, np.float64), self.seed)
        detail = {"n": len(values), "model": self.similarity.name}
        return Score(record.index, kind, figure.value, base, *figure.interval, detail, own.author)


def masked(image: Image.Image, exemplar: Exemplar, share: float = 0.3) -> Image.Image:
    """The picture where the feature fires at ``share`` of its peak or more, grey elsewhere."""
    picture = firing_picture(exemplar)
    size = exemplar.shown.sizes[picture]
    tokens, heat = lit(exemplar, picture)
    mask = np.zeros((size[1], size[0]), bool)
    for token in tokens[heat >= share].tolist():
        left, top, right, bottom = exemplar.shown.rects[token].round().astype(int)
        mask[max(top, 0) : bottom, max(left, 0) : right] = True
    seen = np.asarray(image.convert("RGB").resize(size))
    return Image.fromarray(
        np.where(mask[:, :, None], seen, np.array(GREY, np.uint8)).astype(np.uint8)
    )


def loaded(model: Any, processor: Any, ref: str, flag: str, device: str) -> tuple[Any, Any]:
    """A model and its processor from a folder or the hub.

    Raises ExplainError that says how to get them, whatever the hub's client raised.
    """
    try:
        return model.from_pretrained(ref).to(device), processor.from_pretrained(ref)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ExplainError(
            f"The weights of {ref} are not here: {first} Download them where there is a network "
            f"(`hf download {ref}`), or name a folder that holds them with {flag}; or leave this "
            "scorer out of --scorers."
        ) from error


def _said(explanation: Explanation) -> str:
    return explanation.label or explanation.description


def _unit(rows: Any) -> NDArray[np.float32]:
    import torch

    return np.asarray(torch.nn.functional.normalize(rows.float(), dim=-1).cpu().numpy())
