"""The σ of a dictionary, one small file each, found by name.

To add one: write a subclass of ``Activation``, give it a name here and in ``ArchitectureName``.
"""

from semascope.dictionary.architectures.base import Activation
from semascope.dictionary.architectures.topk import TopK

ACTIVATIONS: dict[str, type[Activation]] = {"topk": TopK}

__all__ = ["ACTIVATIONS", "Activation", "TopK"]
