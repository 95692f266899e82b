"""Serve the drawn data on loopback, for work on the page."""

import sys
import tempfile
from pathlib import Path

import uvicorn

from semascope.serve.app import make_app
from semascope.serve.testing import DrawnExplorer


def main(port: int) -> None:
    """Until Ctrl-C."""
    with tempfile.TemporaryDirectory() as folder:
        app = make_app(DrawnExplorer(Path(folder), width=2_000, pause=0.12))
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8123)
