"""The training loop: one pass over the data, any number of dictionaries, nothing ever lost.

Each dictionary has a folder: ``state-*.safetensors`` (whole states), ``metrics.jsonl``, and at the
end ``cfg.json`` with ``sae.safetensors``. A run that is killed at any moment and started again ends
with the same weights, on a CPU to the bit. Knows neither model nor corpus: activations come from a
``Source``.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import TrainConfig
from semascope.dictionary.formats import load, save
from semascope.dictionary.training.batches import ActivationBatch, Resumable, Source
from semascope.dictionary.training.checkpoint import read_state, steps_on_disk, write_state
from semascope.dictionary.training.distributed import ProcessGroup
from semascope.dictionary.training.losses import Loss
from semascope.dictionary.training.trainer import Trainer
from semascope.errors import DictionaryError, NotFinite
from semascope.files import write_whole

log = logging.getLogger(__name__)
METRICS = "metrics.jsonl"
OnStep = Callable[[int, int, Mapping[str, float]], None]
"""(steps done, steps in all, newest figures)."""


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a finished run says of itself."""

    coder: SparseCoder
    folder: Path
    steps: int
    tokens: int
    seconds: float
    """Spent in this process."""
    figures: Mapping[str, float]
    """The last line of metrics.jsonl."""

    def __repr__(self) -> str:
        return (
            f"TrainingReport({str(self.folder)!r}: {self.steps} steps, {self.tokens} tokens, "
            f"{self.seconds:.0f} s)"
        )

    def _repr_html_(self) -> str:
        from semascope import html

        return html.block(html.line(repr(self), strong=True), html.table(self.figures.items()))


def train(
    source: Source,
    config: TrainConfig,
    folder: Path | str,
    on_step: OnStep | None = None,
    *,
    site: str = "",
    name: str = "main",
    device: torch.device | str = "cpu",
    losses: Sequence[Loss] | None = None,
    shard: bool = False,
) -> TrainingReport:
    """Train one dictionary, or go on with the run that ``folder`` holds.

    Args:
        source: batches by step; tokens of kind 0 are ignored.
        config: what and how.
        folder: where its states, metrics and final weights go.
        on_step: called after every step with steps done, steps in all, newest figures.
        site: the site's name, for messages and the checkpoint.
        losses: instead of the architecture's own.
        shard: with several processes, each holds a share of the features and all are given the
            same batches; otherwise each is given its share of a batch.

    Raises:
        NotFinite: NaN or infinity in a batch; the message names it, and the last state stands.
        DictionaryError: the folder holds another run, or the source ended at once.
    """
    plan = TrainingPlan(name, config, Path(folder), site, tuple(losses or ()), key="")
    return _loop(_One(source), [plan], on_step, device, shard)[name]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """One dictionary of several that are trained in one pass over the data."""

    name: str
    config: TrainConfig
    folder: Path
    site: str = ""
    """The site's name; also which of the source's batches it reads, unless ``key`` says other."""
    losses: tuple[Loss, ...] = ()
    """Instead of the architecture's own."""
    key: str | None = None
    site_out: str = ""
    """The site that a transcoder reconstructs, for the checkpoint; the source gives targets."""
    label: str = ""
    """What its report is called; by default its name."""

    @property
    def called(self) -> str:
        """What tells it from the other plans."""
        return self.label or self.name

    @property
    def reads(self) -> str:
        """Which of the source's batches it reads."""
        return self.site if self.key is None else self.key


class ManySource(Protocol):
    """Batches of several sites by step, all from the same pass over the model."""

    def batches(self, start_step: int) -> Iterator[Mapping[str, ActivationBatch]]:
        """Yield, for the steps from ``start_step`` on, a batch by site name."""
        ...


def train_many(
    source: ManySource,
    plans: Sequence[TrainingPlan],
    on_step: OnStep | None = None,
    *,
    device: torch.device | str = "cpu",
    shard: bool = False,
) -> dict[str, TrainingReport]:
    """Train several dictionaries (sites, widths, architectures, seeds) on one pass over the data.

    Each ends with the weights that ``train`` alone would have given it. Plans are told apart by
    label or name and must not share a folder. ``shard`` is as in ``train``.
    """
    if len({p.called for p in plans}) < len(plans) or len({p.folder for p in plans}) < len(plans):
        raise DictionaryError("Two plans share a name or a folder; give each its own.")
    return _loop(source, plans, on_step, device, shard)


def _loop(
    source: ManySource,
    plans: Sequence[TrainingPlan],
    on_step: OnStep | None,
    device: torch.device | str,
    shard: bool,
) -> dict[str, TrainingReport]:
    """1. take back states  2. learn, log, checkpoint  3. write the final weights."""
    began = time.monotonic()
    runs = [_Run(plan, device, shard) for plan in plans]
    start, position = _take_back(runs)
    _agree(start)
    ours = ProcessGroup().size == 1 or getattr(source, "common", False) or shard
    if position and isinstance(source, Resumable) and ours:
        source.restore(position)  # where processes read apart, the note is the first one's alone
    total = max(plan.config.steps for plan in plans)
    if start < total:
        for batches in source.batches(start):
            note = source.position() if isinstance(source, Resumable) else {}
            start += 1
            for run in runs:
                run.learn(batches, note)
            if on_step is not None:
                on_step(start, total, runs[0].figures)
            if start >= total:
                break
        else:
            log.warning("The source ended after step %d of %d.", start, total)
    return {run.plan.called: run.finish(time.monotonic() - began) for run in runs}


def _agree(start: int) -> None:
    """DictionaryError where another process would go on from another step."""
    first = ProcessGroup().told(start)
    if ProcessGroup().largest_of(int(first != start)):
        raise DictionaryError(
            "The processes see different training states: their folder must lie on a disk that "
            "all of them share."
        )


def _take_back(runs: Sequence[_Run]) -> tuple[int, Mapping[str, int]]:
    """Restore the newest step that every unfinished run has on disk; it, and the data's position.

    A run that had reached its end stays there. A state that cannot be read, or that another run
    lacks, is stepped back from.
    """
    goals = [run.plan.config.steps for run in runs]
    newest = [steps_on_disk(run.plan.folder) for run in runs]
    while all(newest):
        tops = [steps[-1] for steps in newest]
        unfinished = [top for top, goal in zip(tops, goals, strict=True) if top < goal]
        step = min(unfinished, default=max(goals))
        targets = [top if top >= goal else step for top, goal in zip(tops, goals, strict=True)]
        found = [read_state(r.plan.folder, t) for r, t in zip(runs, targets, strict=True)]
        reached = [-1 if state is None else int(state[1]["step"]) for state in found]
        if reached == targets:
            position: Mapping[str, int] = {}
            for run, state in zip(runs, found, strict=True):
                assert state is not None
                run.resume(*state)
                if state[1]["step"] == step:
                    position = state[1]["position"]
            return step, position
        newest = [
            [s for s in steps if s <= max_step]
            for steps, max_step in zip(newest, reached, strict=True)
        ]
    return 0, {}


class _Run:
    """One plan being carried out."""

    def __init__(self, plan: TrainingPlan, device: torch.device | str, shard: bool) -> None:
        self.plan = plan
        self.options: dict[str, Any] = {
            "site": plan.site,
            "site_out": plan.site_out,
            "name": plan.name,
            "device": device,
            "losses": plan.losses or None,
            "shard": shard,
        }
        self.trainee: Trainer | None = None
        self.figures: dict[str, float] = {}
        self.position: Mapping[str, int] = {}
        plan.folder.mkdir(parents=True, exist_ok=True)

    def resume(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Go on from a state; metrics written after it are dropped."""
        self.trainee = Trainer.resume(self.plan.config, tensors, meta, **self.options)
        self.figures = meta["figures"]
        self.position = meta["position"]
        self._cut_metrics(self.trainee.step)

    def learn(self, batches: Mapping[str, ActivationBatch], note: Mapping[str, int]) -> None:
        """One step, where there is one left; then a line of metrics and a state when due."""
        plan = self.plan
        if plan.reads not in batches:
            raise DictionaryError(
                f"The source gives no activations of {plan.reads!r}; it has {sorted(batches)}."
            )
        batch = batches[plan.reads].kept()
        if self.trainee is None:
            if not len(batch.x):
                raise DictionaryError(
                    f"The first batch has no token of {plan.site or 'the site'}, so that a "
                    "dictionary of it cannot begin. Name a corpus where it has more."
                )
            self.trainee = Trainer.begin(plan.config, batch, **self.options)
            self._cut_metrics(0)
        trainee = self.trainee
        if trainee.step >= plan.config.steps:
            return
        try:
            if len(batch.x):
                trainee.learn(batch)
            else:  # a step of the data without a token of this site
                trainee.step += 1
        except NotFinite:
            self.checkpoint()  # the step was not taken: this is the last good state
            raise
        self.position = note
        last = trainee.step == plan.config.steps
        if last or trainee.step % plan.config.log_every == 0:
            self._log()
        if last or trainee.step % plan.config.checkpoint_every == 0:
            self.checkpoint()

    def checkpoint(self) -> None:
        """The whole state, atomically."""
        assert self.trainee is not None
        tensors, meta = self.trainee.state()  # of a sharded one, every process has a part
        if not self.trainee.ranks.first:
            return
        meta |= {"position": dict(self.position), "figures": self.figures}
        write_state(self.plan.folder, self.trainee.step, tensors, meta)

    def finish(self, seconds: float) -> TrainingReport:
        """Write the dictionary as others read it."""
        if self.trainee is None:
            raise DictionaryError("The source gave no batch at all, so nothing was trained.")
        if self.trainee.step < self.plan.config.steps:
            self._log()
            self.checkpoint()
        coder = self.trainee.finished()
        if coder is not None and self.trainee.ranks.first:
            save(coder, self.plan.folder, notes=self._notes())
        self.trainee.ranks.wait()
        return TrainingReport(
            coder=load(self.plan.folder) if coder is None else coder,
            folder=self.plan.folder,
            steps=self.trainee.step,
            tokens=self.trainee.tokens,
            seconds=seconds,
            figures=self.figures,
        )

    def _notes(self) -> dict[str, Any]:
        assert self.trainee is not None
        return {
            "input_scale": self.trainee.scaling.unit,
            "steps": self.trainee.step,
            "tokens": self.trainee.tokens,
            "figures": self.figures,
            "train": self.plan.config.model_dump(mode="json"),
        }

    def _log(self) -> None:
        """A line of metrics."""
        assert self.trainee is not None
        counts = {"step": self.trainee.step, "tokens": self.trainee.tokens}
        self.figures = {**counts, **self.trainee.figures()}
        if not self.trainee.ranks.first:
            return
        with (self.plan.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**self.figures, "time": round(time.time(), 3)}) + "\n")

    def _cut_metrics(self, step: int) -> None:
        """Drop the lines written after the state that the run goes on from."""
        path = self.plan.folder / METRICS
        if not path.exists():
            return
        if ProcessGroup().rank:
            return
        lines = [line for line in path.read_text("utf-8").splitlines() if _step_of(line) <= step]
        write_whole(path, lambda at: at.write_text("".join(f"{x}\n" for x in lines), "utf-8"))


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 1 << 62  # a line cut short by a kill


@dataclass(slots=True)
class _One:
    """A single source in the shape that the loop reads: batches by name."""

    source: Source

    def batches(self, start_step: int) -> Iterator[Mapping[str, ActivationBatch]]:
        """The source's batches, named ''."""
        for batch in self.source.batches(start_step):
            yield {"": batch}

    def position(self) -> Mapping[str, int]:
        """The source's note, where it keeps one."""
        return self.source.position() if isinstance(self.source, Resumable) else {}

    def restore(self, position: Mapping[str, int]) -> None:
        """Passed on."""
        if isinstance(self.source, Resumable):
            self.source.restore(position)
