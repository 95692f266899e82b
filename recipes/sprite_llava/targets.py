"""What every patch of a scene should be known as: the tower's teacher, drawn from the truth.

Knows scenes and a patch grid; knows no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.scenes import surfaces
from semascope.corpus.scenes.colours import NAMES as COLOURS
from semascope.corpus.scenes.colours import PALETTE
from semascope.corpus.scenes.compose import Scene, SceneItem
from semascope.corpus.scenes.language import SIDES, extreme
from semascope.corpus.scenes.sprites import SHAPES, TEXTURES, SpritePack, shape_mask


@dataclass(frozen=True, slots=True, eq=False)
class PatchTruth:
    """Labels of one scene on a grid of P patches; −1 where there is nothing to say."""

    name: NDArray[np.int64]
    """(P,) class of the thing seen there, 0 for background."""
    colour: NDArray[np.int64]
    """(P,) index into COLOURS."""
    texture: NDArray[np.int64]
    """(P,) index into TEXTURES."""
    sides: NDArray[np.float32]
    """(P, 4) is this patch's thing the furthest left, right, top, bottom; −1 on background."""
    picture: NDArray[np.int64]
    """(P,) row in ``thumbnails`` of the thing seen there, −1 on background."""
    place: NDArray[np.float32]
    """(P, 2) centre of this patch's thing, 0 to 1 from the left and from the top; −1 elsewhere."""
    count: int
    """How many things the scene has."""


class Vocabulary:
    """Class numbers of everything that a patch can be."""

    def __init__(self, pack: SpritePack) -> None:
        names = sorted({s.name for s in pack.sprites})
        self.names = ["nothing", *names, *SHAPES, *(f"word {w}" for w in pack.words)]
        # A shape and a sprite may share a word (star, arrow); a shape's class is its own.
        self.sprite = {n: i + 1 for i, n in enumerate(names)}
        self.shape = {n: i + 1 + len(names) for i, n in enumerate(SHAPES)}
        self.word = {
            f"word {w}": i + 1 + len(names) + len(SHAPES) for i, w in enumerate(pack.words)
        }

    def __len__(self) -> int:
        return len(self.names)

    def of(self, name: str, category: str) -> int:
        """Class of a thing."""
        table = {"shape": self.shape, "word": self.word}.get(category, self.sprite)
        return table[name]


def thumbnails(pack: SpritePack, side: int = 8) -> NDArray[np.float32]:
    """(pictures, side·side·4) each picture small, standardised: what a patch should imagine whole.

    A name says only that two pictures differ; a thumbnail says how, so the tower learns from the
    first step on to gather an object from its patches. Sprites first, then every shape in every
    colour and texture, then every word (a strip of 4·side × side, since it is read along).
    """
    sprites = [np.asarray(pack.picture(s, side)).reshape(-1) for s in pack.sprites]
    shapes = [_painted(shape, paint, side) for shape in SHAPES for paint in (*COLOURS, *TEXTURES)]
    flat = np.stack([*sprites, *shapes]).astype(np.float32) / 255
    flat = (flat - flat.mean(0)) / (flat.std(0) + 0.05)
    strips = [pack.word(w, pack.fonts[0], side).resize((4 * side, side)) for w in pack.words]
    words = np.stack([np.asarray(strip).reshape(-1) for strip in strips]).astype(np.float32) / 255
    return np.concatenate([flat, (words - words.mean(0)) / (words.std(0) + 0.05)])


def _painted(shape: str, paint: str, side: int) -> NDArray[np.float32]:
    """A shape in a colour or texture, premultiplied RGBA, flat."""
    alpha = np.asarray(shape_mask(shape, side), np.float32)[..., None] / 255
    textured = paint in TEXTURES
    rgb = surfaces.textured((side, side), paint).mean((0, 1)) if textured else PALETTE[paint]
    solid = np.full((side, side, 3), rgb, np.float32)
    return np.concatenate([solid * alpha, 255 * alpha], -1).reshape(-1)


def picture_of(thing: SceneItem, pack: SpritePack) -> int:
    """Row of a thing in ``thumbnails``."""
    if thing.sprite is not None:
        return thing.sprite.index
    if thing.word is not None:
        looks = len(SHAPES) * (len(COLOURS) + len(TEXTURES))
        return len(pack.sprites) + looks + pack.words.index(thing.word)
    paint = (*COLOURS, *TEXTURES).index(str(thing.texture or thing.colour))
    at = SHAPES.index(thing.name) * (len(COLOURS) + len(TEXTURES)) + paint
    return len(pack.sprites) + at


def coverage(scene: Scene, grid: int) -> NDArray[np.float32]:
    """(n, grid·grid): share of each patch that each object covers."""
    if not scene.objects:
        return np.zeros((0, grid * grid), np.float32)
    masks = np.stack([o.extent for o in scene.objects])
    n, h, w = masks.shape
    tiles = masks.reshape(n, grid, h // grid, grid, w // grid)
    return tiles.mean((2, 4), dtype=np.float32).reshape(n, -1)


def patch_truth(
    scene: Scene, vocabulary: Vocabulary, grid: int = 8, least: float = 0.22
) -> PatchTruth:
    """Labels of a scene: a patch is of the object that covers most of it, if at least ``least``."""
    cover = coverage(scene, grid)
    patches = grid * grid
    name = np.zeros(patches, np.int64)
    colour, texture = np.full(patches, -1), np.full(patches, -1)
    picture = np.full(patches, -1)
    sides = np.full((patches, 4), -1, np.float32)
    place = np.full((patches, 2), -1, np.float32)
    width, height = scene.image.size
    furthest = [
        extreme(scene.objects, s, scene.image.size) if scene.objects else None for s in SIDES
    ]
    if len(cover):
        owner = np.where(cover.max(0) >= least, cover.argmax(0), -1)
        for i, (o, t) in enumerate(zip(scene.objects, scene.things, strict=True)):
            mine = owner == i
            name[mine] = vocabulary.of(o.name, o.category)
            colour[mine] = COLOURS.index(t.colour) if t.colour else -1
            texture[mine] = TEXTURES.index(t.texture) if t.texture else -1
            picture[mine] = picture_of(t, SpritePack.load())
            left, top, right, bottom = o.box
            place[mine] = ((left + right) / 2 / width, (top + bottom) / 2 / height)
            sides[mine] = [float(f == i) for f in furthest]
    return PatchTruth(name, colour, texture, sides, picture, place, len(scene.objects))
