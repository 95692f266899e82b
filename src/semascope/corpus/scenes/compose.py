"""Compose one scene: choose things, place them, draw them, and know every visible pixel.

The text of a scene is written in ``language``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.corpus.sample import SceneObject
from semascope.corpus.scenes import surfaces
from semascope.corpus.scenes.colours import NAMES as COLOURS
from semascope.corpus.scenes.colours import PALETTE
from semascope.corpus.scenes.sprites import SHAPES, TEXTURES, Sprite, SpritePack, shape_mask

COUNTS = (0.05, 0.22, 0.23, 0.20, 0.14, 0.09, 0.07)
"""Probability of 0, 1, … 6 things."""
SIZES = (
    (0.5, 0.5),
    (0.38, 0.8),
    (0.34, 0.56),
    (0.3, 0.46),
    (0.28, 0.4),
    (0.25, 0.34),
    (0.25, 0.31),
)
"""Smallest and largest side of a thing, as a share of the picture, by how many there are."""
HELD_OUT_FONT = "ComicNeue-Bold"
PANEL_SHARE = 0.06
KINDS = (0.70, 0.12, 0.05, 0.13)
"""Shares of sprites, coloured shapes, textured shapes and words among things."""


@dataclass(slots=True)
class SceneItem:
    """A thing to draw, not yet placed."""

    name: str
    category: str
    article: str
    sprite: Sprite | None = None
    colour: str | None = None
    texture: str | None = None
    emotion: str | None = None
    word: str | None = None
    style: str = "noto"
    size: tuple[int, int] = (0, 0)
    at: tuple[int, int] = (0, 0)

    @property
    def concept(self) -> str:
        """What makes it the same thing in two scenes: name, with colour or material if drawn."""
        colour = self.colour if self.category == "shape" else None
        return " ".join(p for p in (colour, self.texture, self.name) if p)


@dataclass(slots=True, eq=False)
class Scene:
    """A drawn scene with its parts, without its text."""

    image: Image.Image
    objects: list[SceneObject]
    things: list[SceneItem]
    background: str
    panel: bool = False
    extra: dict[str, str] = field(default_factory=dict)


def held_out_pair(a: str, b: str) -> bool:
    """One pair of names in ten never stands together in a training scene."""
    low, high = sorted((a, b))
    return zlib.crc32(f"{low}|{high}".encode()) % 10 == 0


class Composer:
    """Draws scenes of one split at one size."""

    panel_share = PANEL_SHARE

    def __init__(
        self,
        pack: SpritePack,
        split: str = "train",
        size: tuple[int, int] = (128, 128),
        counts: tuple[float, ...] = COUNTS,
        kinds: tuple[float, ...] = KINDS,
    ) -> None:
        self.pack, self.split, self.size = pack, split, size
        self.categories = sorted(pack.by_category)
        weights = np.sqrt([len(pack.by_category[c]) for c in self.categories])
        weights[self.categories.index("flag")] *= 0.5
        self.weights = np.cumsum(weights / weights.sum())
        fonts = [f for f in pack.fonts if (f == HELD_OUT_FONT) == (split == "styles")]
        self.fonts = fonts or list(pack.fonts)
        self.counts = np.cumsum(counts)
        self.kinds = np.cumsum(kinds)

    def scene(self, rng: np.random.Generator) -> Scene:
        """One scene from a random generator's next numbers."""
        panel = rng.random() < self.panel_share
        things = self._panel(rng) if panel else self._things(rng)
        canvas, background = self._background(rng, panel)
        image = Image.fromarray(canvas)
        objects = self._draw(image, things, rng)
        order = sorted(range(len(objects)), key=lambda i: reading_order(objects[i], self.size))
        return Scene(
            image, [objects[i] for i in order], [things[i] for i in order], background, panel
        )

    # ---- what is in the scene

    def _things(self, rng: np.random.Generator) -> list[SceneItem]:
        wanted = int(np.searchsorted(self.counts, rng.random()))
        things: list[SceneItem] = []
        for _ in range(40 * wanted):
            if len(things) == wanted:
                break
            thing = self._thing(rng)
            if self._fits(thing, things, wanted):
                things.append(thing)
        low, high = (share * min(self.size) for share in SIZES[len(things)])
        for thing in things:
            self._scale(thing, float(rng.uniform(low, high)), rng)
        return self._place(things, rng)

    def _fits(self, thing: SceneItem, things: list[SceneItem], wanted: int) -> bool:
        """Distinct names, and pairs as the split wants them."""
        if any(t.name == thing.name or (t.word and thing.word) for t in things):
            return False
        if self.split == "styles":
            return True
        if self.split == "train":
            return not any(held_out_pair(t.concept, thing.concept) for t in things)
        return len(things) != 1 or held_out_pair(things[0].concept, thing.concept)

    def _thing(self, rng: np.random.Generator) -> SceneItem:
        u = rng.random()
        if u < self.kinds[0]:
            return self._sprite(rng)
        if u < self.kinds[1]:
            colour = COLOURS[rng.integers(len(COLOURS))]
            return SceneItem(SHAPES[rng.integers(len(SHAPES))], "shape", "a", colour=colour)
        if u < self.kinds[2]:
            texture = TEXTURES[rng.integers(len(TEXTURES))]
            shape = ("circle", "square", "triangle", "star")[rng.integers(4)]
            return SceneItem(shape, "shape", "a", texture=texture)
        word = self.pack.words[rng.integers(len(self.pack.words))]
        return SceneItem(
            f"word {word}", "word", "the", word=word, colour=COLOURS[rng.integers(len(COLOURS))]
        )

    def _sprite(self, rng: np.random.Generator, category: str | None = None) -> SceneItem:
        category = category or self.categories[int(np.searchsorted(self.weights, rng.random()))]
        group = self.pack.by_category[category]
        s = group[rng.integers(len(group))]
        style = "noto"
        if self.split == "styles" and "twemoji" in self.pack.styles(s):
            style = "twemoji"
        return SceneItem(s.name, s.category, s.article, s, s.colour, emotion=s.emotion, style=style)

    def _panel(self, rng: np.random.Generator) -> list[SceneItem]:
        """A map: four or six flags in a grid."""
        columns, rows = (2, 2) if rng.random() < 0.5 else (3, 2)
        flags = rng.permutation(len(self.pack.by_category["flag"]))[: columns * rows]
        width, height = self.size[0] // columns, self.size[1] // rows
        side = int(min(width, height) * 0.86)
        things = []
        for i, f in enumerate(flags):
            s = self.pack.by_category["flag"][int(f)]
            x = i % columns * width + (width - side) // 2
            y = i // columns * height + (height - side) // 2
            things.append(SceneItem(s.name, s.category, s.article, s, size=(side, side), at=(x, y)))
        return things

    # ---- where it stands

    def _scale(self, thing: SceneItem, side: float, rng: np.random.Generator) -> None:
        if thing.word is None:
            thing.size = (round(side), round(side))
            return
        font = self.fonts[rng.integers(len(self.fonts))]
        thing.style = font
        mask = self.pack.word(thing.word, font, 20)
        ratio = mask.width / mask.height
        room = self.size[0] * 0.9
        height = min(max(side * 0.42, min(self.size) * 0.11), room / ratio)
        thing.size = (max(4, round(height * ratio)), max(4, round(height)))

    def _place(self, things: list[SceneItem], rng: np.random.Generator) -> list[SceneItem]:
        """Random places; the least overlapping of up to sixty tries is kept."""
        placed: list[SceneItem] = []
        for thing in sorted(things, key=lambda t: -t.size[0] * t.size[1]):
            room = (max(1, self.size[0] - thing.size[0]), max(1, self.size[1] - thing.size[1]))
            xs, ys = rng.random(60) * room[0], rng.random(60) * room[1]
            clash = np.zeros(60)
            for other in placed:
                wide = np.minimum(xs + thing.size[0], other.at[0] + other.size[0]) - np.maximum(
                    xs, other.at[0]
                )
                tall = np.minimum(ys + thing.size[1], other.at[1] + other.size[1]) - np.maximum(
                    ys, other.at[1]
                )
                clash += np.clip(wide, 0, None) * np.clip(tall, 0, None)
            free = np.flatnonzero(clash <= 0.04 * thing.size[0] * thing.size[1])
            best = int(free[0]) if len(free) else int(clash.argmin())
            thing.at = (int(xs[best]), int(ys[best]))
            placed.append(thing)
        return placed

    # ---- how it looks

    def _background(self, rng: np.random.Generator, panel: bool) -> tuple[NDArray[np.uint8], str]:
        colour = _any_colour(rng, 96)
        u = rng.random()
        if panel or u < 0.45:
            return surfaces.plain(self.size, colour), "plain"
        if u < 0.75:
            other, angle = _any_colour(rng, 60), float(rng.random() * 6.283)
            return surfaces.graded(self.size, colour, other, angle), "graded"
        texture = TEXTURES[rng.integers(len(TEXTURES))]
        at = rng.integers(0, surfaces.TILE, 2)
        return surfaces.textured(self.size, texture, (int(at[0]), int(at[1]))), texture

    def _draw(
        self, image: Image.Image, things: list[SceneItem], rng: np.random.Generator
    ) -> list[SceneObject]:
        """Paint in order; a later thing hides what is under it."""
        width, height = self.size
        owner = np.full((height, width), -1, np.int8)
        for i, thing in enumerate(things):
            x, y = thing.at
            art, alpha = self._art(image, thing, rng)
            image.paste(art, (x, y), alpha)
            solid = np.asarray(alpha) > 110
            view = owner[y : y + solid.shape[0], x : x + solid.shape[1]]
            view[solid[: view.shape[0], : view.shape[1]]] = i
        return [self._object(t, owner == i) for i, t in enumerate(things)]

    def _art(
        self, image: Image.Image, thing: SceneItem, rng: np.random.Generator
    ) -> tuple[Image.Image, Image.Image]:
        """RGB picture and its alpha mask, both at the thing's size."""
        if thing.sprite is not None:
            art = self.pack.picture(thing.sprite, thing.size[0], thing.style).convert("RGBA")
            return art.convert("RGB"), art.getchannel("A")
        if thing.word is not None:
            alpha = self.pack.word(thing.word, thing.style, thing.size[1])
            thing.colour = _legible(image, thing, thing.colour or "black")
            return Image.new("RGB", alpha.size, PALETTE[thing.colour]), alpha
        turn = int(rng.integers(-3, 4)) * 5
        alpha = shape_mask(thing.name, thing.size[0], turn)
        if thing.texture is not None:
            at = rng.integers(0, surfaces.TILE, 2)
            return Image.fromarray(
                surfaces.textured(alpha.size, thing.texture, (int(at[0]), int(at[1])))
            ), alpha
        jitter = rng.integers(-10, 11, 3)
        paint = np.clip(np.asarray(PALETTE[thing.colour or "black"]) + jitter, 0, 255)
        return Image.new("RGB", alpha.size, tuple(int(c) for c in paint)), alpha

    @staticmethod
    def _object(thing: SceneItem, mask: NDArray[np.bool_]) -> SceneObject:
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (
            (int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1)
            if len(rows)
            else (0, 0, 0, 0)
        )
        return SceneObject(
            thing.name, thing.category, box, mask,
            thing.colour, thing.texture, thing.emotion, thing.word,
            thing.style, thing.sprite.key if thing.sprite else "",
        )  # fmt: skip


def _any_colour(rng: np.random.Generator, darkest: int) -> tuple[int, int, int]:
    red, green, blue = rng.integers(darkest, 256, 3)
    return int(red), int(green), int(blue)


def _legible(image: Image.Image, thing: SceneItem, colour: str) -> str:
    """The wanted colour, or black or white where it would not stand out from what is behind it."""
    x, y = thing.at
    behind = np.asarray(
        image.resize((1, 1), Image.Resampling.BOX, (x, y, x + thing.size[0], y + thing.size[1]))
    )
    ground = float(behind.reshape(3) @ np.array([0.299, 0.587, 0.114]))
    ink = float(np.asarray(PALETTE[colour]) @ np.array([0.299, 0.587, 0.114]))
    if abs(ink - ground) > 70:
        return colour
    return "black" if ground > 128 else "white"


def reading_order(thing: SceneObject, size: tuple[int, int]) -> tuple[int, int]:
    """Rows of an eighth of the picture from the top, then from the left."""
    return (thing.box[1] * 8 // size[1], thing.box[0])
