"""Two real processes give what one gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from semascope.dictionary import load
from semascope.dictionary.prefilter import select_topk_prefiltered
from semascope.dictionary.sparse import select_topk

TWO = """
import os, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[2])
import torch, torch.distributed as dist
from conftest import planted
from semascope.dictionary import (
    ActivationBatch, CoderConfig, SparseCoder, TensorSource, TrainConfig, train)
from semascope.dictionary.parallel import ShardedTopK
torch.set_num_threads(1)
folder, data = Path(sys.argv[1]), planted(2048)
config = TrainConfig(width=64, k=4, steps=12, lr=3e-3, dead_tokens=600, normalize_input=False)

class Half:
    def __init__(self, rank):
        self.rank = rank
    def batches(self, start):
        for batch in TensorSource(data, batch_size=256).batches(start):
            yield batch.rows(slice(128 * self.rank, 128 * (self.rank + 1)))

class Whole:
    def batches(self, start):
        yield from TensorSource(data, batch_size=256).batches(start)

def child(rank):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    train(Half(rank), config, folder / "two")
    # The sharded dictionary, one rank holding latents that win far more than their share.
    torch.manual_seed(1)
    coder = SparseCoder(CoderConfig(d_in=16, width=64, k=6))
    coder.b_enc.data[:32] += 0.4
    coder.b_dec.data.normal_()
    for capacity in (1.0, 4.0):
        coder.zero_grad()
        sharded = ShardedTopK(coder, capacity=capacity)
        x = data[:200]
        x_hat = sharded(x)
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
    dist.destroy_process_group()

first = next(Half(0).batches(0))
class Same:  # begins at the first rank's b_dec, as the pair does
    def batches(self, start):
        yield from Whole().batches(start)
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
from semascope.dictionary import trainee
median = trainee.geometric_median
trainee.geometric_median = lambda points, **rest: median(first.x, **rest)
train(Whole(), config, folder / "one")
"""


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Data parallel: the weights of the whole batch. Sharded: output and every gradient."""
    command = [sys.executable, "-c", TWO, str(tmp_path), str(Path(__file__).parent)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    one, two = load(tmp_path / "one"), load(tmp_path / "two")
    for name, weight in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], weight, rtol=1e-3, atol=1e-4)


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
