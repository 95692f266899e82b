"""Two real processes give what one gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from semascope.dictionary import SparseCoder, TensorSource, TrainConfig, load, train
from semascope.dictionary.kernels.topk import select_topk
from semascope.dictionary.kernels.topk_bf16 import select_topk_prefiltered
from semascope.dictionary.training.checkpoint import read_state
from semascope.dictionary.training.sharded import shardable
from semascope.errors import DictionaryError

TWO = """
import os, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[2])
import torch, torch.distributed as dist
from conftest import planted
from semascope.dictionary import (
    ActivationBatch, CoderConfig, SparseCoder, TensorSource, TrainConfig, train)
from semascope.dictionary.training.distributed import ProcessGroup
from semascope.dictionary.training.sharded import ShardedTopK
torch.set_num_threads(1)
folder, data = Path(sys.argv[1]), planted(4096)
config = TrainConfig(width=256, k=4, steps=24, lr=3e-3, dead_tokens=200, checkpoint_every=8)

class Half:
    def __init__(self, rank):
        self.rank = rank
    def batches(self, start):
        for batch in TensorSource(data, batch_size=256).batches(start):
            yield batch.rows(slice(128 * self.rank, 128 * (self.rank + 1)))

class Whole:
    def __init__(self, stop=99):
        self.stop = stop
    def batches(self, start):
        for step, batch in enumerate(TensorSource(data, batch_size=256).batches(start), start):
            if step == self.stop:
                return
            yield batch

def exchanged(rank):
    lengths = [3, 0, 2, 5, 1]
    every = [torch.randn((n, 4), generator=torch.Generator().manual_seed(n)) for n in lengths]
    found = ProcessGroup().exchange(every[rank::2], lengths)
    assert all(torch.equal(a, b) for a, b in zip(found, every, strict=True))
    assert torch.equal(ProcessGroup().rows(every[rank]), torch.cat(every[:2]))

def child(rank):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    exchanged(rank)
    train(Half(rank), config, folder / "two")
    train(Whole(stop=16), config, folder / "sharded", shard=True)
    # One rank holds latents that win far more than their share.
    torch.manual_seed(1)
    coder = SparseCoder(CoderConfig(d_in=16, width=64, k=6))
    coder.b_enc.data[:32] += 0.4
    coder.b_dec.data.normal_()
    for capacity in (1.0, 4.0):
        coder.zero_grad()
        sharded = ShardedTopK(coder, capacity=capacity)
        x = data[:200]
        x_hat = sharded(x).x_hat
        (x_hat - x).square().sum().backward()
        done = coder(x)
        (done.x_hat - x).square().sum().backward()
        mine = slice(32 * rank, 32 * (rank + 1))
        close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
        close(x_hat, done.x_hat)
        close(sharded.W_enc.grad, coder.W_enc.grad[mine])
        close(sharded.W_dec.grad, coder.W_dec.grad[mine])
        close(sharded.b_enc.grad, coder.b_enc.grad[mine])
        close(sharded.b_dec.grad, coder.b_dec.grad)
        for dead in ([1, 40, 41, 50, 63], [33, 40, 41]):  # also where one rank has none
            k, dead = 3, torch.tensor(dead)
            own = dead[(dead >= 32 * rank) & (dead < 32 * rank + 32)] - 32 * rank
            centred = x - coder.b_dec.detach()
            close(sharded.from_some(centred, own, k), coder.from_some(centred, dead, k))
    dist.destroy_process_group()

children = []
for rank in (0, 1):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(rank)
            code = 0
        finally:
            os._exit(code)
    children.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
one = train(Whole(), config, folder / "one")
assert one.figures["dead_fraction"] > 0  # AuxK had latents to revive
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, two by tokens, and two by feature stopped two thirds of the way."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-c", TWO, str(folder), str(Path(__file__).parent)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def close(one: SparseCoder, other: SparseCoder) -> None:
    """Equal but for the order of sums."""
    for name, weight in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], weight, rtol=1e-3, atol=1e-5)


def test_two_processes_equal_one(trained: Path) -> None:
    """By tokens: scale, b_dec, AuxK and every step are those of the whole batch."""
    close(load(trained / "one"), load(trained / "two"))


def test_a_sharded_run_goes_on_in_one_process(trained: Path, activations: Tensor) -> None:
    """By feature: its state is that of one process, which goes on and ends where one ends."""
    state = read_state(trained / "sharded")
    assert state is not None
    tensors, meta = state
    assert meta["step"] == 16
    alone = read_state(trained / "one", 16)
    assert alone is not None
    assert tensors.keys() == alone[0].keys()
    for name, tensor in alone[0].items():
        if name == "sums":  # figures since the last report, and a run that ends has just reported
            continue
        assert tensors[name].shape == tensor.shape, name
        torch.testing.assert_close(
            tensors[name], tensor, rtol=1e-3, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}"
        )
    config = TrainConfig(width=256, k=4, steps=24, lr=3e-3, dead_tokens=200, checkpoint_every=8)
    source = TensorSource(activations, batch_size=256)
    close(load(trained / "one"), train(source, config, trained / "sharded").coder)


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"clip": 1.0}, "clip"), ({"optimizer": "muon"}, "muon"), ({"prefixes": (50, 100)}, "prefix")],
)
def test_what_needs_the_whole_dictionary_is_not_sharded(
    fields: dict[str, object], named: str
) -> None:
    """A gradient's norm over one shard would clip each shard differently."""
    with pytest.raises(DictionaryError, match=named):
        shardable(TrainConfig(**fields))


def test_the_prefilter_is_exact_whatever_the_margin() -> None:
    """Random inputs are mostly proved; near ties are not, and are done again in full."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(70, 64), torch.randn(512, 64) / 8, 0.1 * torch.randn(512)
    values, indices, again = select_topk_prefiltered(x, weight, bias, 8)
    truth = select_topk(x, weight, bias, 8)[0]
    torch.testing.assert_close(values.sort(1).values, truth.sort(1).values, rtol=1e-4, atol=1e-4)
    pre = x @ weight.t() + bias
    torch.testing.assert_close(pre.gather(1, indices), values, rtol=1e-4, atol=1e-4)
    assert again < 70
    crowded = weight[:1] + 1e-4 * torch.randn(512, 64)  # every latent nearly the same
    values, _, again = select_topk_prefiltered(x, crowded, bias * 0, 8)
    truth = select_topk(x, crowded, bias * 0, 8)[0]
    torch.testing.assert_close(values.sort(1).values, truth.sort(1).values, rtol=1e-5, atol=1e-5)
    assert again == 70
