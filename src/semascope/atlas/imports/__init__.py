"""Bringing in what others found: Neuronpedia's files, multimodal-sae's caches and explanations.

Each writes an atlas and a media folder alone: no model, no evidence. An import into an atlas that
has the dictionary already adds to it, and changes nothing when it is done again.
"""

from semascope.atlas.imports.multimodal_sae import import_multimodal_sae
from semascope.atlas.imports.neuronpedia import import_neuronpedia
from semascope.atlas.imports.words import Imported

__all__ = ["Imported", "import_multimodal_sae", "import_neuronpedia"]
