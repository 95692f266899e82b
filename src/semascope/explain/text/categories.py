"""Which category a label belongs to, from short word lists: colours, emotions, materials, …

Knows English words; knows no sample, no model. A label whose words are in no list is an object
when it was read off pictures and text when it was read off text.
"""

from __future__ import annotations

from semascope.explain.text import hypernyms, terms
from semascope.explain.types import Category


def _stems(listing: str) -> frozenset[str]:
    return frozenset(terms.stem(word) for word in listing.split())


COLOURS = _stems(
    """red orange yellow green blue purple violet pink brown black white grey gray cyan magenta
    teal turquoise gold golden silver beige maroon navy olive lime indigo crimson scarlet dark
    light bright pale colour color coloured colored"""
)
EMOTIONS = _stems(
    """happy sad angry fearful afraid scared surprised surprise disgusted disgust calm tired sleepy
    joy joyful laughing crying smiling frowning worried anxious bored confused excited love
    neutral proud shy sick emotion feeling happiness sadness anger fear"""
)
MATERIALS = _stems(
    """wood wooden metal metallic stone marble brick glass paper cloth fabric leather sand water
    ice snow gravel concrete plastic rubber wool fur grass"""
)
TEXTURES = _stems(
    """striped stripe dotted dot checked chequered checkered plaid grid noisy noise smooth rough
    zigzag wavy wave gradient graded speckled spotted pattern patterned texture textured"""
)
SCENES = _stems(
    """background sky beach forest city street room kitchen landscape indoors outdoors mountains
    desert ocean sea field night sunset sunrise scene empty"""
)
PARTS = _stems(
    """eye ear nose mouth hand foot leg arm head face hair tail wing wheel window door handle
    corner edge border stem leaf petal beak paw horn finger tooth"""
)
ACTIONS = _stems(
    """running walking swimming dancing cycling biking surfing rowing climbing lifting juggling
    playing jumping skiing sleeping eating drinking riding cooking singing writing reading"""
)

_LISTS: tuple[tuple[Category, frozenset[str]], ...] = (
    ("scene", frozenset({"background"})),
    ("colour", COLOURS),
    ("emotion", EMOTIONS),
    ("texture", TEXTURES),
    ("material", MATERIALS),
    ("action", ACTIONS),
    ("scene", SCENES),
    ("part", PARTS),
)


_OF_KIND: tuple[tuple[str, Category], ...] = (
    ("landscape", "scene"),
    ("weather", "scene"),
    ("body part", "part"),
    ("action", "action"),
)
"""Kinds of things (``kinds``) that are no objects."""


def category(label: str, *, seen: bool) -> Category:
    """Category of a label; ``seen`` when it was read off pictures.

    The last word of a phrase decides ("red mango" is an object), save that "background"
    anywhere makes a scene.
    """
    if not seen:
        return "text"
    # The head of "glass of water" is the glass, and a glass is no material: "of" names things.
    heads = [phrase[-1] for phrase in terms.alternatives(label)]
    if not heads:
        return "text" if terms.quoted(label) else "other"
    if " of " in label:
        return "object"
    votes = [_vote(phrase) for phrase in terms.alternatives(label)]
    return max(dict.fromkeys(votes), key=votes.count)


def _vote(phrase: tuple[str, ...]) -> Category:
    """Category of one thing: by its last word, else by what kind of thing it is known to be."""
    for name, group in _LISTS:
        if phrase[-1] in group:
            return name
    key = " ".join(phrase)
    if key in hypernyms.feelings():
        return "emotion"
    known = hypernyms.of(key) | {key}
    return next((name for kind, name in _OF_KIND if kind in known), "object")
