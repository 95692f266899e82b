"""Put a scene into words: its caption, and questions about it with their answers."""

from __future__ import annotations

import numpy as np

from semascope.corpus.sample import Question, SceneObject
from semascope.corpus.scenes.compose import Scene, SceneItem
from semascope.corpus.scenes.sprites import Sprite, SpritePack

NUMBERS = ("none", "one", "two", "three", "four", "five", "six")
SIDES = ("left", "right", "top", "bottom")
DESCRIBE = ("What is in the picture?", "What do you see?", "Describe the picture.")
COUNT = ("How many things are in the picture?", "How many things do you see?")
READ = ("What does the text say?", "What word is written?")
FEEL = ("How does the face feel?", "What does the face express?")


def phrase(thing: SceneItem) -> str:
    """A thing with its article: 'a mango', 'some grapes', 'the word STOP', 'an orange star'."""
    if thing.word is not None:
        return f"the word {thing.word}"
    if thing.sprite is None:
        adjective = thing.texture or thing.colour or ""
        return f"{'an' if adjective[:1] == 'o' else 'a'} {adjective} {thing.name}"
    article = thing.article
    return f"{article} {thing.name}" if article else thing.name


def caption(things: list[SceneItem]) -> str:
    """All things in reading order, as one noun phrase; 'nothing' for an empty picture."""
    said = [phrase(t) for t in things]
    if len(said) < 2:
        return said[0] if said else "nothing"
    return f"{', '.join(said[:-1])} and {said[-1]}"


def extreme(objects: list[SceneObject], side: str, size: tuple[int, int]) -> int | None:
    """Which object is furthest to a side, where one clearly is: by a tenth of the picture."""
    axis = 0 if side in ("left", "right") else 1
    centres = np.array([(o.box[axis] + o.box[axis + 2]) / 2 for o in objects])
    if side in ("right", "bottom"):
        centres = -centres
    order = np.argsort(centres)
    if len(objects) < 2 or centres[order[1]] - centres[order[0]] < 0.1 * size[axis]:
        return None
    return int(order[0])


class QuestionWriter:
    """Asks about scenes."""

    def __init__(self, pack: SpritePack) -> None:
        self.pack = pack
        self.categories = sorted(pack.by_category)

    def questions(self, scene: Scene, rng: np.random.Generator) -> tuple[Question, ...]:
        """Every kind that the scene can answer, in random order after the description."""

        def pick(options: tuple[str, ...]) -> str:
            return options[rng.integers(len(options))]

        out = [Question("describe", pick(DESCRIBE), caption(scene.things))]
        rest = [Question("count", pick(COUNT), NUMBERS[len(scene.things)])]
        rest += self._presence(scene, rng)
        rest += self._positions(scene, rng)
        rest += self._colours(scene, rng)
        words = [t for t in scene.things if t.word]
        if words:
            rest.append(Question("word", pick(READ), f"it says {words[0].word}", words[0].name))
        felt = [t for t in scene.things if t.emotion]
        if len(felt) == 1:
            rest.append(Question("emotion", pick(FEEL), felt[0].emotion or "", felt[0].name))
        order = rng.permutation(len(rest))
        return (*out, *(rest[i] for i in order))

    def _presence(self, scene: Scene, rng: np.random.Generator) -> list[Question]:
        """One present and one absent; half of the absent are of a kind that is present."""
        found = []
        here = [t for t in scene.things if t.word is None]
        if here:
            found.append(self._is_there(here[rng.integers(len(here))], "yes", scene.panel, rng))
        names = {t.name for t in scene.things}
        kinds = [t.category for t in here if t.sprite is not None]
        for _ in range(20):
            close = kinds and (scene.panel or rng.random() < 0.5)
            group = (
                kinds[rng.integers(len(kinds))]
                if close
                else self.categories[rng.integers(len(self.categories))]
            )
            sprites = self.pack.by_category[group]
            absent = sprites[rng.integers(len(sprites))]
            if absent.name not in names:
                found.append(self._is_there(_as_thing(absent), "no", scene.panel, rng))
                break
        return found

    @staticmethod
    def _is_there(thing: SceneItem, answer: str, panel: bool, rng: np.random.Generator) -> Question:
        if panel:
            country = thing.name.removeprefix("flag of ")
            return Question("map", f"Is {country} on this map?", answer, thing.name)
        where = " in the picture" if rng.random() < 0.4 else ""
        some = phrase(thing).replace("some ", "any ")
        verb = "Are" if _plural(thing) else "Is"
        return Question("presence", f"{verb} there {some}{where}?", answer, thing.concept)

    @staticmethod
    def _positions(scene: Scene, rng: np.random.Generator) -> list[Question]:
        found = []
        for side in rng.permutation(SIDES)[:2]:
            at = extreme(scene.objects, str(side), scene.image.size)
            if at is not None:
                where = f"on the {side}" if side in ("left", "right") else f"at the {side}"
                thing = scene.things[at]
                found.append(Question("position", f"What is {where}?", phrase(thing), thing.name))
        return found

    @staticmethod
    def _colours(scene: Scene, rng: np.random.Generator) -> list[Question]:
        coloured = [t for t in scene.things if t.colour and not t.emotion]
        if not coloured:
            return []
        t = coloured[rng.integers(len(coloured))]
        what = "word" if t.word else t.name
        verb = "are" if _plural(t) else "is"
        return [Question("colour", f"What colour {verb} the {what}?", t.colour or "", t.name)]


def _plural(thing: SceneItem) -> bool:
    return thing.article == "some" and thing.name.endswith(("s", "dice", "teeth"))


def _as_thing(sprite: Sprite) -> SceneItem:
    return SceneItem(
        sprite.name, sprite.category, sprite.article, sprite, sprite.colour, emotion=sprite.emotion
    )
