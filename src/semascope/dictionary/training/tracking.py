"""Metrics of a run to a tracker, beside metrics.jsonl: trackio or Weights & Biases, where there."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Literal

from semascope.errors import DictionaryError


def need(backend: str) -> Any:
    """The tracker's module; DictionaryError where it is not installed."""
    try:
        return importlib.import_module(backend)
    except ImportError as error:
        raise DictionaryError(
            f"{backend} is not installed. Install it (pip install {backend}), or do without: "
            "metrics.jsonl is written in any case."
        ) from error


class Track:
    """An ``on_step`` for ``train`` that logs each new line of figures.

    Args:
        project: the tracker's project.
        backend: ``trackio`` (local) or ``wandb``; both take the same calls.
        run: the run's name; the tracker makes one up otherwise.
        config: kept with the run.
    """

    def __init__(
        self,
        project: str,
        *,
        backend: Literal["trackio", "wandb"] = "trackio",
        run: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._tracker = need(backend)
        self._tracker.init(project=project, name=run, config=dict(config or {}))
        self._logged = -1

    def __call__(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Log figures once for each step that they belong to."""
        step = int(figures.get("step", -1))
        if step > self._logged:
            self._logged = step
            self._tracker.log({k: v for k, v in figures.items() if k != "step"}, step=step)

    def finish(self) -> None:
        """Close the run."""
        self._tracker.finish()
