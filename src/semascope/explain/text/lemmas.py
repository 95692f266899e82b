"""Families of words: send, sends, sent and sending are one thing.

Lemmas are lemminflect's (Jascob 2020). A term "=send" stands for every form of a word. Parts of
speech are not known, so a word belongs to each family that it may be of ("left": left, leave).
"""

from __future__ import annotations

import re
from functools import lru_cache

SIGN = "="
"""Begins the term of a family."""
OPENING = "forms of "
_LABEL = re.compile(rf'{OPENING}("[^"]+"(?: or "[^"]+")*)')
_QUOTED = re.compile(r'"([^"]+)"')


@lru_cache(maxsize=200_000)
def families(word: str) -> tuple[str, ...]:
    """Terms of the families that a word may be of; none for what is no English word."""
    from lemminflect import getAllLemmas

    small = word.lower().replace("’", "'").removesuffix("'s")
    if not small.isalpha() or len(small) < 3:
        return ()
    found = {lemma for lemmas in getAllLemmas(small).values() for lemma in lemmas}
    return tuple(sorted(f"{SIGN}{lemma.lower()}" for lemma in found))


def written(key: str) -> str:
    """How the term of a family is written in a label: "=send" -> forms of "send"."""
    return f'{OPENING}"{key.removeprefix(SIGN)}"'


def read_back(label: str) -> tuple[list[str], str]:
    """The families that a label names, as terms, and the label without them.

    'forms of "send" or "carry"' -> (["=send", "=carry"], "").
    """
    keys = [
        f"{SIGN}{word.lower()}" for some in _LABEL.findall(label) for word in _QUOTED.findall(some)
    ]
    return keys, _LABEL.sub(" ", label)
