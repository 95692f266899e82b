"""What every test stands on."""

import os

from hypothesis import settings

# Hostile input is drawn anew on a developer's machine, and the same in CI: a rare find is mended
# where it was found, and does not fail somebody else's change.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")
