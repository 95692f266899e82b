"""Training learns, never loses a run, and refuses what it must."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from semascope.dictionary import (
    ActivationBatch,
    TensorSource,
    TrainConfig,
    TrainingPlan,
    load,
    quality,
    train,
    train_many,
)
from semascope.dictionary.training.checkpoint import steps_on_disk
from semascope.dictionary.training.trainer import Trainer
from semascope.errors import DictionaryError, NotFinite

CONFIG = TrainConfig(
    width=64, k=4, steps=60, checkpoint_every=20, log_every=10, lr=3e-3, dead_tokens=2000
)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Bitwise equality of all weights."""
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


def test_it_learns_and_what_it_saves_is_what_it_returns(
    activations: Tensor, tmp_path: Path
) -> None:
    """FVU falls well below that of the mean, and the folder reads back to the same coder."""
    config = CONFIG.model_copy(update={"steps": 300})
    seen: list[int] = []
    report = train(
        TensorSource(activations, batch_size=256),
        config,
        tmp_path,
        lambda done, total, figures: seen.append(done),
        site="resid_post.3",
    )
    assert seen == list(range(1, 301))
    result = quality(report.coder, [ActivationBatch(activations, torch.ones(4096))])
    assert result.fvu < 0.25
    assert result.l0 <= 4
    again = load(tmp_path)
    assert same(again, report.coder)
    assert (again.site, again.width, again.d_in) == ("resid_post.3", 64, 16)
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == list(range(10, 301, 10))
    assert lines[-1]["fvu"] == pytest.approx(result.fvu, rel=0.2)


def test_micro_batches_change_nothing(activations: Tensor, tmp_path: Path) -> None:
    """The FVU of a split batch is the whole batch's: a peer logs it divided by the count."""
    reports = [
        train(
            TensorSource(activations, batch_size=256),
            CONFIG.model_copy(update={"micro_batches": n, "steps": 10}),
            tmp_path / str(n),
        )
        for n in (1, 3)
    ]
    assert reports[0].figures["fvu"] == pytest.approx(reports[1].figures["fvu"], rel=1e-4)
    torch.testing.assert_close(reports[0].coder.W_dec, reports[1].coder.W_dec, rtol=1e-3, atol=1e-4)


class Stops:
    """A source that ends after some steps, as a kill between two steps would."""

    def __init__(self, source: TensorSource, at: int) -> None:
        self.source, self.at = source, at

    def batches(self, start_step: int) -> Iterator[ActivationBatch]:
        """The batches before step ``at``; then the machine goes down."""
        for step, batch in enumerate(self.source.batches(start_step), start_step):
            if step == self.at:
                raise RuntimeError("power cut")
            yield batch


def test_resuming_gives_the_same_bits(activations: Tensor, tmp_path: Path) -> None:
    """Weights, optimiser, dead latents, schedule and data must all come back."""
    source = TensorSource(activations, batch_size=256)
    whole = train(source, CONFIG, tmp_path / "whole")
    for at in (33, 45):
        with pytest.raises(RuntimeError, match="power cut"):
            train(Stops(source, at), CONFIG, tmp_path / "cut")
    resumed = train(source, CONFIG, tmp_path / "cut")
    assert same(whole.coder, resumed.coder)

    def lines(name: str) -> list[dict[str, float]]:
        text = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(x).items() if k != "time"} for x in text]

    assert lines("whole") == lines("cut")


def test_a_state_cut_short_is_passed_over(
    activations: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that lost the end of the newest state costs steps, not the run."""
    source = TensorSource(activations, batch_size=256)
    whole = train(source, CONFIG, tmp_path / "whole")
    with pytest.raises(RuntimeError):
        train(Stops(source, 45), CONFIG, tmp_path / "cut")
    newest = sorted((tmp_path / "cut").glob("state-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    assert same(whole.coder, train(source, CONFIG, tmp_path / "cut").coder)
    assert "cut short" in caplog.text


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
from conftest import planted
from semascope.dictionary import TensorSource, TrainConfig, train
torch.set_num_threads(1)
config = TrainConfig(width=64, k=4, steps=90, checkpoint_every=7, lr=3e-3, dead_tokens=2000)
folder, data = Path(sys.argv[1]), planted(2048)

def run(where, pipe=None):
    def tell(done, total, figures):
        if pipe is not None:
            os.write(pipe, bytes([done]))
    train(TensorSource(data, batch_size=128), config, where, tell)

for step in (20, 41, 69):
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        run(folder / "killed", into)
        os._exit(0)
    os.close(into)
    while os.read(out, 1)[0] < step:
        pass
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    os.close(out)
    assert not (folder / "killed" / "cfg.json").exists()
run(folder / "killed")
run(folder / "quiet")
"""


def test_kill_nine_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """Real processes, really killed, three times; the end is bitwise that of a quiet run."""
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert same(load(tmp_path / "quiet"), load(tmp_path / "killed"))


def test_nan_is_named_and_the_last_good_state_kept(activations: Tensor, tmp_path: Path) -> None:
    """A step on NaN would ruin every weight; it is refused by batch and site."""

    class Poisoned:
        def batches(self, start_step: int) -> Iterator[ActivationBatch]:
            source = TensorSource(activations, batch_size=256)
            for step, batch in enumerate(source.batches(start_step), start_step):
                if step == 13:
                    batch.x[5, 2] = float("nan")
                yield batch

    with pytest.raises(NotFinite, match=r"Batch 13 of mlp_out\.2 .*token 5"):
        train(Poisoned(), CONFIG, tmp_path, site="mlp_out.2")
    assert steps_on_disk(tmp_path) == [13]
    report = train(TensorSource(activations, batch_size=256), CONFIG, tmp_path)
    assert bool(report.coder.W_enc.isfinite().all())


def test_a_gpu_passes_over_nan_without_waiting(activations: Tensor) -> None:
    """Deferred checks: the bad step is skipped on the device, and named at the next look."""
    batch = ActivationBatch(activations[:256].clone(), torch.ones(256))
    trainee = Trainer.begin(CONFIG, batch)
    trainee.deferred = True
    for _ in range(3):
        trainee.learn(batch)
    before = {name: t.clone() for name, t in trainee.coder.state_dict().items()}
    batch.x[7, 1] = float("inf")
    trainee.learn(batch)
    for name, weight in trainee.coder.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=1e-6, atol=1e-7)
    with pytest.raises(NotFinite, match="Batch 3 of"):
        trainee.figures()


def test_another_run_in_the_folder_is_refused(activations: Tensor, tmp_path: Path) -> None:
    """Continuing with other settings would make weights that no configuration describes."""
    source = TensorSource(activations, batch_size=256)
    train(source, CONFIG, tmp_path)
    with pytest.raises(DictionaryError, match="k 4 -> 5"):
        train(source, CONFIG.model_copy(update={"k": 5}), tmp_path)
    narrow = TensorSource(activations[:, :8].contiguous(), batch_size=256)
    longer = tmp_path / "longer"
    with pytest.raises(RuntimeError):
        train(Stops(source, 30), CONFIG, longer)
    with pytest.raises(DictionaryError, match="width 16"):
        train(narrow, CONFIG, longer)


def test_a_finished_run_returns_at_once(activations: Tensor, tmp_path: Path) -> None:
    """The second `train` reads nothing from the source."""

    class Never:
        def batches(self, start_step: int) -> Iterator[ActivationBatch]:
            raise AssertionError("the source was read")
            yield

    first = train(TensorSource(activations, batch_size=256), CONFIG, tmp_path)
    second = train(Never(), CONFIG, tmp_path)
    assert same(first.coder, second.coder)
    assert second.figures == first.figures


def test_many_dictionaries_in_one_pass_equal_each_alone(
    activations: Tensor, tmp_path: Path
) -> None:
    """Sites and widths share the pass, and nothing else; one may end before another."""

    starts: list[int] = []

    class Sites:
        def batches(self, start_step: int) -> Iterator[dict[str, ActivationBatch]]:
            starts.append(start_step)
            for batch in TensorSource(activations, batch_size=256).batches(start_step):
                yield {"a": batch, "b": batch._replace(x=batch.x[:, :8] * 3)}

    wide = CONFIG.model_copy(update={"width": 128, "steps": 30})
    plans = [
        TrainingPlan("a-64", CONFIG, tmp_path / "a64", "a"),
        TrainingPlan("a-128", wide, tmp_path / "a128", "a"),
        TrainingPlan("b-64", CONFIG, tmp_path / "b64", "b"),
    ]
    reports = train_many(Sites(), plans)
    assert [reports[p.name].steps for p in plans] == [60, 30, 60]
    alone = train(TensorSource(activations, batch_size=256), wide, tmp_path / "alone")
    assert same(alone.coder, reports["a-128"].coder)
    assert reports["b-64"].coder.d_in == 8
    for folder in ("a64", "b64"):  # a kill before the last state of two of the three
        sorted((tmp_path / folder).glob("state-*"))[-1].unlink()
    starts.clear()
    again = train_many(Sites(), plans)
    assert starts == [40]
    assert same(again["b-64"].coder, reports["b-64"].coder)
    with pytest.raises(DictionaryError, match="gives no activations of 'c'"):
        train_many(Sites(), [TrainingPlan("c", CONFIG, tmp_path / "c", "c")])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 8, "k": 9}, "k = 9"),
        ({"k": 0}, "k = 0"),
        ({"width": -1}, "width = -1"),
        ({"prefixes": (50, 25, 100)}, "rise and end"),
        ({"skip": True}, "transcoder"),
        ({"colour": 1}, "colour"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, object], message: str) -> None:
    """In the user's words, before anything is loaded."""
    with pytest.raises(DictionaryError, match=message):
        TrainConfig(**fields)
