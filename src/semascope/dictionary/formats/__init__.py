"""Checkpoints on disk: ``load`` any format that is known, found by looking; ``save``; ``convert``.

Ours is sparsify's two files (``cfg.json``, ``sae.safetensors``) with our keys beside its own, so
that either side reads the other's.
"""

from semascope.dictionary.formats.registry import FORMATS, convert, detect, load, save

__all__ = ["FORMATS", "convert", "detect", "load", "save"]
