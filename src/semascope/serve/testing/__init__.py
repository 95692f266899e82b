"""An Explorer that draws its own data: for tests of the page, and for work on it.

Its pictures, features and answers are made up by a seeded generator and say so; nothing in
it was measured. ``python -m semascope.serve.testing 8123`` serves it.
"""

from semascope.serve.testing.explorer import DICTIONARY, DrawnExplorer

__all__ = ["DICTIONARY", "DrawnExplorer"]
