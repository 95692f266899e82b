"""IoU without true masks: a detector finds the thing that the words name, a segmenter outlines it.

GroundingDINO (Liu et al. 2023) is given the words and the picture and returns boxes; SAM
(Kirillov et al. 2023) turns each box into a mask; the union is what the words name. The heat map
of each held-out exemplar, thresholded as in ``iou``, is laid against it. ``grounded_random`` is
the same with another feature's words, as the multimodal-SAE paper's random baseline; unlike
there, the exemplars are none that the explanation was made from. A picture in which the detector
finds nothing counts 0.

Knows pictures and words; loads the two models from folders or a hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence
from semascope.explain.crops import firing_picture
from semascope.explain.scorers.clip import loaded
from semascope.explain.scorers.iou import THRESHOLDS, overlap
from semascope.explain.scorers.match_truth import areas, picture_tokens
from semascope.explain.shuffled_words import shuffled_words
from semascope.explain.text.exemplar_terms import distinct, mode_of
from semascope.explain.types import Explanation, Pictures, Score
from semascope.statistics import Floats, mean_interval

Mask = NDArray[np.bool_]


class Outliner(Protocol):
    """Says where in a picture the named thing is."""

    @property
    def name(self) -> str:
        """Which models."""
        ...

    def outline(self, picture: Image.Image, words: str) -> Mask:
        """(H, W) pixels of the named thing; all False where it is not found."""
        ...


class DinoSam:
    """``transformers``' GroundingDinoForObjectDetection, then its SamModel."""

    def __init__(
        self,
        detector: tuple[Any, Any],
        segmenter: tuple[Any, Any],
        name: str = "dino+sam",
        *,
        threshold: float = 0.25,
    ) -> None:
        self.detector, self.reader = detector[0].eval(), detector[1]
        self.segmenter, self.cutter = segmenter[0].eval(), segmenter[1]
        self.name = name
        self.threshold = threshold

    @classmethod
    def load(cls, detector: str, segmenter: str, *, device: str = "cpu") -> DinoSam:
        """From folders or hub names. Raises ExplainError that says how to get the weights."""
        from transformers import (
            GroundingDinoForObjectDetection,
            GroundingDinoProcessor,
            SamModel,
            SamProcessor,
        )

        return cls(
            loaded(
                GroundingDinoForObjectDetection,
                GroundingDinoProcessor,
                detector,
                "--detector",
                device,
            ),
            loaded(SamModel, SamProcessor, segmenter, "--segmenter", device),
            name=f"{detector}+{segmenter}",
        )

    def outline(self, picture: Image.Image, words: str) -> Mask:
        """(H, W) union of the masks of all boxes that the detector is sure enough of."""
        image = picture.convert("RGB")
        boxes = self.boxes(image, words)
        if not len(boxes):
            return np.zeros((image.height, image.width), bool)
        return np.asarray(self.masks(image, boxes).any(0))

    def boxes(self, image: Image.Image, words: str) -> NDArray[np.float32]:
        """(n, 4) left, top, right, bottom in pixels."""
        import torch

        # The detector was trained on lower-case phrases, each ended by a full stop.
        asked = ". ".join(p.strip() for p in words.lower().split(" or ")).rstrip(".") + "."
        inputs = self.reader(images=image, text=asked, return_tensors="pt").to(self.detector.device)
        with torch.inference_mode():
            out = self.detector(**inputs)
        found = self.reader.post_process_grounded_object_detection(
            out,
            inputs["input_ids"],
            threshold=self.threshold,
            text_threshold=self.threshold,
            target_sizes=[(image.height, image.width)],
        )[0]["boxes"]
        return np.asarray(found.float().cpu().numpy(), np.float32)

    def masks(self, image: Image.Image, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(n, H, W), the best mask of each box."""
        import torch

        inputs = self.cutter(image, input_boxes=[boxes.tolist()], return_tensors="pt")
        inputs = inputs.to(self.segmenter.device)
        with torch.inference_mode():
            out = self.segmenter(
                pixel_values=inputs["pixel_values"],
                input_boxes=inputs["input_boxes"].float(),
                multimask_output=False,
            )
        found = self.cutter.image_processor.post_process_masks(
            out.pred_masks.cpu(), inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )[0]  # (n, 1, H, W)
        return np.asarray(found[:, 0].numpy().astype(bool))


class GroundedScorer:
    """``grounded`` and ``grounded_random`` of every explained feature of pictures."""

    name = "grounded"

    def __init__(
        self,
        outliner: Outliner,
        pictures: Pictures,
        *,
        least: int = 2,
        most: int = 6,
        seed: int = 0,
    ) -> None:
        self.outliner = outliner
        self.pictures = pictures
        self.least, self.most, self.seed = least, most, seed
        self._outlines: dict[tuple[str, str], Mask] = {}

    def score(
        self, records: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
    ) -> list[Score]:
        """Scores of every feature with ``least`` held-out pictures on which it fires."""
        trials = []
        for record, explanation in zip(records, explanations, strict=True):
            score = self._pictures(record, "score")
            if not explanation.abstained and len(score) >= self.least:
                trials.append((record, explanation, self._pictures(record, "explain"), score))
        lent = shuffled_words([t[1].label for t in trials], self.seed).tolist() if trials else []
        found = []
        for (record, own, train, test), j in zip(trials, lent, strict=True):
            at = self._threshold(train, own)
            found.append(self._one("grounded", record, own, own, test, at))
            if j >= 0:
                found.append(self._one("grounded_random", record, own, trials[j][1], test, at))
        return found

    def _pictures(self, record: FeatureEvidence, split: str) -> list[Exemplar]:
        fired = distinct(record.split(split))  # type: ignore[arg-type]
        return [e for e in fired if mode_of(e) == "picture"][: self.most]

    def _threshold(self, train: list[Exemplar], own: Explanation) -> int:
        """Chosen on the explain split, the middle one where that is empty."""
        grids = [self._overlap(e, own)[0] for e in train]
        return int(np.mean(grids, 0).argmax()) if grids else len(THRESHOLDS) // 2

    def _one(
        self,
        kind: str,
        record: FeatureEvidence,
        own: Explanation,
        words: Explanation,
        test: list[Exemplar],
        at: int,
    ) -> Score:
        pairs = [self._overlap(e, words) for e in test]
        values = np.array([grid[at] for grid, _ in pairs])
        base = float(np.mean([chance[at] for _, chance in pairs]))
        figure = mean_interval(values, self.seed)
        detail = {"n": len(values), "label": words.label, "model": self.outliner.name}
        return Score(record.index, kind, figure.value, base, *figure.interval, detail, own.author)

    def _overlap(self, exemplar: Exemplar, words: Explanation) -> tuple[Floats, Floats]:
        """(10,) grid IoU at each threshold, and (10,) what as many random tokens would get."""
        shown = exemplar.shown
        picture = max(firing_picture(exemplar), 0)
        tokens = picture_tokens(shown, picture)
        share = self._share(shown, picture, words, tokens)
        heat = exemplar.activations[tokens].astype(np.float64)
        if not len(tokens) or share.max(initial=0.0) <= 0 or heat.max(initial=0.0) <= 0:
            nothing = np.zeros(len(THRESHOLDS))
            return nothing, nothing
        found = overlap(heat / heat.max(), share, areas(shown, tokens))
        return found.grid, found.chance

    def _share(
        self, shown: EvidenceSample, picture: int, words: Explanation, tokens: NDArray[np.int64]
    ) -> Floats:
        """(n,) share of each token's rectangle that the named thing covers."""
        key = (shown.media[picture], words.label or words.description)
        if key not in self._outlines:
            self._outlines[key] = self.outliner.outline(self.pictures(key[0]), key[1])
        mask = self._outlines[key]
        width, height = shown.sizes[picture]
        scale = np.array([mask.shape[1] / width, mask.shape[0] / height] * 2)
        out = np.zeros(len(tokens))
        for i, rect in enumerate(shown.rects[tokens] * scale):
            left, top, right, bottom = np.round(rect).astype(int)
            part = mask[max(top, 0) : bottom, max(left, 0) : right]
            out[i] = part.mean() if part.size else 0.0
        return out
