"""Several processes in one run: ``torchrun --nproc-per-node 4 -m semascope train …``.

The first process does the run: it holds the workspace's lock, decides what is left to do and writes
everything. The others wait for its word, train beside it, and are dismissed once the dictionaries
stand. Without torchrun there is one process, and nothing here does anything.

How training is shared among them is in ``dictionary.training.distributed``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Any

TRAIN, DONE = "train", "done"


def processes() -> int:
    """How many processes torchrun started; 1 without it."""
    told = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))
    return int(os.environ["WORLD_SIZE"]) if told else 1


def first() -> bool:
    """Whether this process speaks and writes for all."""
    return processes() == 1 or os.environ["RANK"] == "0"


class TorchrunGroup:
    """The processes of one run; a context manager that lets them go at the end."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.active = processes() > 1
        self.first = first()

    def __enter__(self) -> TorchrunGroup:
        if self.active:
            from semascope.dictionary.training.distributed import ProcessGroup

            ProcessGroup.join(self.device)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self.active and kind is None:
            self._leave()

    def dismiss(self) -> None:
        """The first process: training stands, the others may go."""
        if self.active:
            tell(DONE)
            self._leave()

    def help(self, train: Callable[[Any], object]) -> None:
        """Any other process: call ``train(options)`` each time that the first says so."""
        while (message := tell(None))[0] == TRAIN:
            train(message[1])

    def _leave(self) -> None:
        import torch.distributed as dist

        self.active = False
        if dist.is_initialized():
            dist.destroy_process_group()


def tell(word: str | None, options: Any = None) -> tuple[str, Any]:
    """The first process's word, to all; the others call it with None and are given it."""
    from semascope.dictionary.training.distributed import ProcessGroup

    told: tuple[str, Any] = ProcessGroup().told((word, options))
    return told
