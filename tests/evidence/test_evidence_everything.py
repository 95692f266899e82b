"""The full store equals brute force, however it was cut; what is beside the evidence is exact."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from evidence_brute import LEFT_OUT
from evidence_fakes import DIM, FakeDictionary, FakeSubject, ListCorpus, corpus

from semascope.errors import EvidenceError
from semascope.evidence import Evidence, EvidenceOptions, Gatherer, gather
from semascope.evidence.analysis.neuron_alignment import align, neurons_beside
from semascope.evidence.gathering import shard
from semascope.evidence.store import logit_lens_store
from semascope.evidence.store.all_activations import AllActivations

ROWS = 120
OPTIONS = EvidenceOptions(top=4, per_interval=2, batch_size=2)


class Neurons(FakeSubject):
    """A layer of neurons beside the site: neuron n is a fixed mixture; 7 is feature 3's own."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(9)
        self.mix = torch.randn(DIM, 9, generator=generator)
        self.mix[:, 7] = FakeDictionary().weight[3]
        self.tokenizer = self

    def decode(self, ids: list[int]) -> str:
        return f"w{ids[0]}"

    def sites(self) -> dict[str, int]:
        return {"resid_post.1": DIM, "mlp_neurons.1": 9}

    def unembedding(self) -> torch.Tensor:
        return torch.randn(30, DIM, generator=torch.Generator().manual_seed(5))

    def run(self, batch, sites, **_):  # type: ignore[no-untyped-def]
        x = super().run(batch, ["resid_post.1"])["resid_post.1"]
        return {s: torch.relu(x @ self.mix) if s.startswith("mlp") else x for s in sites}


def brute(rows: ListCorpus, dictionary: FakeDictionary) -> dict[int, dict[tuple[int, int], float]]:
    """By feature: {(row, position): value}."""
    subject, out = FakeSubject(), defaultdict(dict)
    for row, sample in rows.read():
        batch = subject.encode([sample])
        codes = dictionary.encode(subject.run(batch, [dictionary.site])[dictionary.site][0])
        for t in range(1, len(batch.maps[0])):
            if batch.maps[0].kinds[t] in LEFT_OUT:
                continue
            for value, feature in zip(
                codes.values[t].tolist(), codes.indices[t].tolist(), strict=True
            ):
                if value > 0:
                    out[feature][row, t] = value
    return out


def gatherer(folder: Path, every: int) -> Gatherer:
    return Gatherer(
        FakeSubject(), corpus(ROWS), [FakeDictionary()], folder / "e", media=folder / "m",
        options=OPTIONS, every=every, store_all=True,
    )  # fmt: skip


@pytest.mark.parametrize("shards", [1, 3])
def test_every_activation_is_kept(
    tmp_path: Path, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In three shards with checkpoints and small parts, or in one piece: as if kept by hand."""
    monkeypatch.setattr(shard, "PART_BYTES", 1 if shards > 1 else shard.PART_BYTES)
    run = gatherer(tmp_path, every=16 if shards > 1 else 1000)
    for rank in range(shards):
        run.run(rank, shards)
    run.merge(shards)
    stored = Evidence.open(tmp_path / "e", "main").everything()
    wanted, dictionary = brute(corpus(ROWS), FakeDictionary()), FakeDictionary()
    for index in range(dictionary.width):
        found = stored.feature(index)
        pairs = list(zip(found.row.tolist(), found.position.tolist(), strict=True))
        assert pairs == sorted(wanted[index])
        values = [wanted[index][pair] for pair in pairs]
        assert np.allclose(found.value, values, rtol=1e-4, atol=1e-5)
    assert len(stored) == sum(map(len, wanted.values()))
    on_row = stored.sample(7)
    assert set(on_row.feature.tolist()) == {
        f for f, at in wanted.items() if any(r == 7 for r, _ in at)
    }
    assert set(on_row.row.tolist()) == {7}


def test_a_killed_shard_keeps_nothing_twice(tmp_path: Path) -> None:
    """Parts that no state names are leftovers of a kill: removed, and read anew."""
    run = gatherer(tmp_path, every=16)

    def die(done: int, total: int, note: str) -> None:
        if done > 50:
            raise KeyboardInterrupt

    run.progress = die
    with pytest.raises(KeyboardInterrupt):
        run.run()
    (run.shard().folder / "every-0-000099.parquet").write_bytes(b"cut short")
    again = gatherer(tmp_path, every=16)
    again.run()
    again.merge()
    wanted = brute(corpus(ROWS), FakeDictionary())
    assert len(Evidence.open(tmp_path / "e", "main").everything()) == sum(map(len, wanted.values()))


def test_where_only_exemplars_were_kept(tmp_path: Path) -> None:
    """The message says how to keep the rest."""
    with pytest.raises(EvidenceError, match="gather --store-all"):
        AllActivations(tmp_path)


def test_neurons_that_fire_along() -> None:
    """Against numpy's own correlation over all tokens; the planted neuron comes first."""
    rows, dictionary, subject = corpus(60), FakeDictionary(), Neurons()
    z, x = [], []
    for _, sample in rows.read():
        batch = subject.encode([sample])
        found = subject.run(batch, ["resid_post.1", "mlp_neurons.1"])
        codes = dictionary.encode(found["resid_post.1"][0, 1:])
        z.append(torch.zeros(len(codes.values), 40).scatter_(1, codes.indices, codes.values))
        x.append(found["mlp_neurons.1"][0, 1:])
    codes, neurons = torch.cat(z).numpy(), torch.cat(x).numpy()
    alive = np.flatnonzero(codes.sum(axis=0) > 0)
    full = np.corrcoef(codes[:, alive].T, neurons.T)[: len(alive), len(alive) :]
    found = align(subject, rows, dictionary, alive, k=2, options=OPTIONS)
    best = np.argsort(-np.abs(full), axis=1)[:, :2]
    assert found.neuron.tolist() == best.tolist()
    assert np.allclose(found.correlation, np.take_along_axis(full, best, 1), atol=1e-4)
    assert found.neuron[np.searchsorted(alive, 3), 0] == 7
    assert neurons_beside(subject.sites(), "projector") is None
    assert neurons_beside(subject.sites(), "mlp_out.1") == "mlp_neurons.1"


def test_output_tokens_and_neurons_are_written_once(tmp_path: Path) -> None:
    """Beside the evidence, for every alive feature, and read back without the model."""
    subject, dictionary = Neurons(), FakeDictionary()
    gather(subject, corpus(60), [dictionary], tmp_path / "e", media=tmp_path / "m", options=OPTIONS)
    evidence = Evidence.open(tmp_path / "e", "main")
    assert logit_lens_store.read(evidence) is None
    logit_lens_store.write(evidence, subject, dictionary, corpus(60), options=OPTIONS)
    found = logit_lens_store.read(evidence)
    assert found is not None
    one = int(evidence.alive()[2])
    said = found.of(one)
    logits = subject.unembedding() @ dictionary.weight[one]
    assert [t for t, _ in said["promoted"]] == [f"w{i}" for i in logits.topk(10).indices]
    assert said["suppressed"][0][0] == f"w{int(logits.argmin())}"
    assert len(said["neurons"]) == 3
    assert found.of(39) == {}  # it never fires
    again = logit_lens_store.write(
        evidence, None, dictionary, corpus(60)
    )  # the model is not asked again
    assert again.of(one) == said
