"""Scenes: pictures drawn with complete ground truth, so that every claim can be checked.

``SceneCorpus`` composes sprites, shapes and words on backgrounds, deterministically by
seed, with a true mask for every object, a caption, and questions with answers.
"""

from semascope.corpus.scenes.corpus import SceneCorpus
from semascope.corpus.scenes.sprites import SpritePack

__all__ = ["SceneCorpus", "SpritePack"]
