"""Taking what is known elsewhere: Neuronpedia's files, a dataset of explanations, a static site.

Each reads the atlas and the media folder alone: no model, no evidence.
"""

from semascope.atlas.exports.dataset import export_dataset
from semascope.atlas.exports.neuronpedia import export_neuronpedia
from semascope.atlas.exports.site import export_site

__all__ = ["export_dataset", "export_neuronpedia", "export_site"]
