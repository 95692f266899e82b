"""``python -m semascope`` is the command ``semascope``."""

import sys

from semascope.cli import main

if __name__ == "__main__":
    sys.exit(main())
