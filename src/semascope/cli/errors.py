"""What ends a command: sentences for the user, an exit code, never a traceback for their mistake.

A fault of semascope's own still shows its traceback: it is to be reported, not hidden.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from semascope.cli.interrupt import heard
from semascope.errors import DiskFull, SemascopeError
from semascope.files import full_sentence, is_full

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def guarded(work: Callable[[], int], again: str, folder: Path) -> int:
    """Run a command; turn what the user can mend into a sentence on stderr.

    ``again`` is the command that goes on, ``folder`` where a full disk would be.
    """
    try:
        with heard():
            return work()
    except SemascopeError as error:
        return complain(error)
    except KeyboardInterrupt:
        print(
            f"\nStopped. What was finished is kept whole; to go on where it was, run:\n  {again}",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough: semascope report | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if is_full(error):
            return complain(DiskFull(full_sentence(folder)))
        raise


def complain(error: SemascopeError) -> int:
    """Print the sentence; return the exit code."""
    print(f"semascope: {error}", file=sys.stderr)
    return error.exit_code
