"""Ctrl-C is heard, also where Python drops it.

Python raises KeyboardInterrupt wherever it happens to be. Inside a finaliser, a weak reference's
callback or a hook that is called from C it is printed, or lost, and the command goes on. ``heard``
remembers that it was asked to stop; whatever reports progress asks ``check``, and stops there.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_asked = threading.Event()


@contextmanager
def heard() -> Iterator[None]:
    """Remember an interrupt for as long as a command runs; only a main thread can.

    Where interrupts are ignored, as they are for a shell's background jobs, or go to somebody
    else's handler, they still do.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _asked.clear()


def check() -> None:
    """Raise the KeyboardInterrupt that was asked for and got lost, if there is one."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _stop(number: int, frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt
