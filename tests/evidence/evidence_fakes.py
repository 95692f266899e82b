"""A subject that reads characters and patches, a dictionary drawn at random, a corpus in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from semascope.corpus.sample import Sample, SceneObject, SceneTruth, SkipReport, Turn
from semascope.dictionary.types import Codes
from semascope.subject.types import Batch, Kind, TokenMap

SITE = "resid_post.1"
DIM = 12
THINGS = ("bat", "cup", "fox", "gem")


class ListCorpus:
    """Samples in a list; None is a bad row."""

    def __init__(self, samples: Sequence[Sample | None], name: str = "list") -> None:
        self.samples, self.name, self.skipped = list(samples), name, SkipReport()

    def __len__(self) -> int:
        return len(self.samples)

    def fingerprint(self) -> str:
        text = "|".join(s.id + s.text + str(s.turns) if s else "-" for s in self.samples)
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Sample]]:
        for row in range(start, min(stop or len(self), len(self))):
            if self.samples[row] is None:
                self.skipped.add(str(row), "bad")
            else:
                yield row, self.samples[row]


class FakeSubject:
    """Activations are a function of a token and its place; four patches to a picture."""

    name = "fake"

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.table = torch.randn(512, DIM, generator=generator)

    def _map(self, sample: Sample) -> TokenMap:
        ids, kinds, image, rects = [0], [Kind.SPECIAL], [-1], [[np.nan] * 4]
        for number, picture in enumerate(sample.images):
            pixels = np.asarray(picture.convert("L").resize((2, 2), Image.Resampling.BOX))
            w, h = picture.width / 2, picture.height / 2
            for i, value in enumerate(pixels.reshape(-1)):
                ids.append(256 + int(value))
                kinds.append(Kind.IMAGE)
                image.append(number)
                x, y = i % 2, i // 2
                rects.append([x * w, y * h, (x + 1) * w, (y + 1) * h])
        text = sample.text + "".join(t.text for t in sample.turns)
        for byte in text.encode()[:200]:
            ids.append(byte)
            kinds.append(Kind.TEXT)
            image.append(-1)
            rects.append([np.nan] * 4)
        return TokenMap(
            ids=np.array(ids, np.int64),
            tokens=tuple(chr(i) for i in ids),
            kinds=np.array(kinds, np.int8),
            roles=np.zeros(len(ids), np.int8),
            image=np.array(image, np.int16),
            rects=np.array(rects, np.float32),
            sizes=tuple(i.size for i in sample.images),
        )

    def encode(self, samples: Sequence[Sample], *, max_tokens: int = 512) -> Batch:
        maps = [self._map(s) for s in samples]
        longest = max(len(m) for m in maps)
        padded = [_pad(m, longest) for m in maps]
        ids = torch.from_numpy(np.stack([m.ids for m in padded]))
        mask = torch.from_numpy(np.stack([m.kinds != Kind.PAD for m in padded]))
        return Batch({"input_ids": ids, "attention_mask": mask}, tuple(padded))

    def run(self, batch: Batch, sites: Sequence[str], **_: object) -> dict[str, torch.Tensor]:
        ids = batch.inputs["input_ids"]
        real = batch.inputs["attention_mask"].float()[:, :, None]  # (B, T, 1)
        x = self.table[ids] * real  # (B, T, d)
        x = x + 0.5 * torch.cumsum(x, 1) / torch.cumsum(real, 1).clamp_min(1)
        return dict.fromkeys(sites, x)


def _pad(m: TokenMap, longest: int) -> TokenMap:
    n = longest - len(m)  # on the left
    return TokenMap(
        ids=np.pad(m.ids, (n, 0)),
        tokens=("",) * n + m.tokens,
        kinds=np.pad(m.kinds, (n, 0)),
        roles=np.pad(m.roles, (n, 0)),
        image=np.pad(m.image, (n, 0), constant_values=-1),
        rects=np.pad(m.rects, ((n, 0), (0, 0)), constant_values=np.nan),
        sizes=m.sizes,
    )


class FakeDictionary:
    """Random directions, TopK of k."""

    def __init__(self, width: int = 40, k: int = 4, seed: int = 0, name: str = "main") -> None:
        generator = torch.Generator().manual_seed(seed)
        self.name, self.site, self.width, self.d_in, self.k = name, SITE, width, DIM, k
        self.site_out = ""
        self.weight = torch.randn(width, DIM, generator=generator)
        self.weight[-1] = 0  # never fires

    def encode(self, x: torch.Tensor) -> Codes:
        top = torch.relu(x @ self.weight.T).topk(self.k, dim=1)
        return Codes(top.values, top.indices)

    def decode(self, codes: Codes, x: torch.Tensor | None = None) -> torch.Tensor:
        raise NotImplementedError

    def directions(self, ids: torch.Tensor) -> torch.Tensor:
        return self.weight[ids]


def picture(seed: int, size: tuple[int, int] = (16, 8)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def corpus(n: int, seed: int = 0, pictures: bool = True) -> ListCorpus:
    """Texts and pictures with some duplicates, one bad row in 29."""
    rng = np.random.default_rng(seed)
    out: list[Sample | None] = []
    for row in range(n):
        if row % 29 == 13:
            out.append(None)
            continue
        letters = rng.integers(97, 123, int(rng.integers(1, 20)))
        text = "".join(map(chr, letters))
        images = (picture(int(rng.integers(0, 50))),) if pictures and rng.random() < 0.5 else ()
        mask = np.zeros((8, 16), bool)
        mask[:, :8] = True
        thing = SceneObject("bat", "animal", (0, 0, 8, 8), mask)
        truth = SceneTruth((thing,), "plain", "a bat") if images else None
        turns = (Turn("user", text, len(images)),)
        out.append(Sample(f"s{row}", turns=turns, images=images, truth=truth))
    return ListCorpus(out)


def scene(row: int, thing: int) -> Sample:
    """One thing on the left half, its name in the words, a row number so that no two are alike."""
    pixels = np.full((8, 16, 3), 250, np.uint8)
    pixels[:, :8] = 40 + 40 * thing
    pixels[0, 15] = row % 256, row // 256, 0
    mask = np.zeros((8, 16), bool)
    mask[:, :8] = True
    truth = SceneTruth((SceneObject(THINGS[thing], "thing", (0, 0, 8, 8), mask),), "plain", "")
    turns = (Turn("user", f"{row} {THINGS[thing]}", 1),)
    return Sample(f"s{row}", turns=turns, images=(Image.fromarray(pixels),), truth=truth)
