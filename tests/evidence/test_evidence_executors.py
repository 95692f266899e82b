"""Shards done by datatrove's executors, some here and some there, give one process's files."""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from evidence_fakes import FakeDictionary, FakeSubject, corpus

from semascope.errors import EvidenceError
from semascope.evidence import EvidenceOptions, Gatherer
from semascope.evidence.gathering.datatrove import DatatroveStep

pytest.importorskip("datatrove")
pytestmark = pytest.mark.filterwarnings("default")  # the executors' own libraries warn
WORLD = 4


def make(folder: Path) -> Gatherer:
    """What every worker builds for itself."""
    return Gatherer(
        FakeSubject(),
        corpus(120),
        [FakeDictionary(), FakeDictionary(20, 3, 1, "small")],
        folder / "e",
        media=folder / "m",
        options=EvidenceOptions(top=4, per_interval=2, batch_size=2),
    )


def local(folder: Path, **more: Any) -> Any:
    """datatrove's executor of this machine."""
    from datatrove.executor import LocalPipelineExecutor

    step = DatatroveStep(partial(make, folder))
    log = str(folder / "log")
    return LocalPipelineExecutor([step], tasks=WORLD, workers=1, logging_dir=log, **more)


def same_files(folder: Path, whole: Path) -> None:
    """Every file of the evidence, to the bit."""
    make(whole).run()
    make(whole).merge()
    names = sorted(p.relative_to(whole) for p in (whole / "e").rglob("*") if p.is_file())
    assert len(names) > 6
    for name in names:
        if name.name != ".lock":
            assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def test_two_calls_of_the_local_executor(tmp_path: Path) -> None:
    """The second call finds what the first has done, and does the rest."""
    folder = tmp_path / "shards"
    local(folder, local_tasks=2).run()
    with pytest.raises(EvidenceError, match="No shard"):
        DatatroveStep(partial(make, folder)).merge(WORLD)
    local(folder).run()
    DatatroveStep(partial(make, folder)).merge(WORLD)
    same_files(folder, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a cluster of its own takes its time to start
def test_two_shards_here_and_the_rest_under_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that began on one machine ends on a cluster."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install semascope[ray] to test its executor.")
    import ray
    from datatrove.executor import RayPipelineExecutor

    folder = tmp_path / "shards"
    local(folder, local_tasks=2).run()
    monkeypatch.setenv("RAY_worker_niceness", "0")  # or a busy machine gives it no time at all
    here = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, here)))  # the workers import us
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        RayPipelineExecutor(
            [DatatroveStep(partial(make, folder))],
            tasks=WORLD,
            workers=1,
            cpus_per_task=1,
            mem_per_cpu_gb=0.1,
            logging_dir=str(folder / "log"),
        ).run()
    finally:
        ray.shutdown()
    DatatroveStep(partial(make, folder)).merge(WORLD)
    same_files(folder, tmp_path / "whole")
