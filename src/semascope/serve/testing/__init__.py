"""An Explorer over made-up features: for tests of the page, and for work on it.

Pictures, exemplars and answers come from a seeded generator and say so; nothing was measured.
``python -m semascope.serve.testing 8123`` serves it.
"""

from semascope.serve.testing.drawing import DICTIONARY
from semascope.serve.testing.explorer import DrawnExplorer

__all__ = ["DICTIONARY", "DrawnExplorer"]
