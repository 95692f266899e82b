"""The σ of a dictionary, one small file each, found by name.

To add one: write a subclass of ``Activation``, give it a name here and in ``ArchitectureName``.
"""

from semascope.dictionary.architectures.base import Activation
from semascope.dictionary.architectures.batchtopk import BatchTopK
from semascope.dictionary.architectures.gated import Gated
from semascope.dictionary.architectures.jumprelu import JumpReLU
from semascope.dictionary.architectures.relu import ReLU
from semascope.dictionary.architectures.topk import TopK

ACTIVATIONS: dict[str, type[Activation]] = {
    cls.name: cls for cls in (TopK, BatchTopK, JumpReLU, ReLU, Gated)
}

__all__ = ["ACTIVATIONS", "Activation", "BatchTopK", "Gated", "JumpReLU", "ReLU", "TopK"]
