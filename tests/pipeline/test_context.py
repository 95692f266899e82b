"""What changes a run's foundation, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from semascope.config import RunOptions
from semascope.errors import WorkspaceError
from semascope.pipeline.run_context import Run, subject_stamp
from semascope.workspace import RunRecord, Workspace


def test_a_folder_whose_files_change_is_another_subject(tmp_path: Path) -> None:
    """New weights under an old name would be explained by old evidence."""
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = subject_stamp(str(tmp_path))
    assert subject_stamp(str(tmp_path)) == first
    weights.write_bytes(b"other")
    assert subject_stamp(str(tmp_path)) != first
    second = subject_stamp(str(tmp_path))
    os.utime(weights, ns=(1, 1))
    assert subject_stamp(str(tmp_path)) == second, "a copy is the same model"


def test_a_large_file_is_known_by_pieces_from_all_over_it(tmp_path: Path) -> None:
    """Training on changes every tensor and no size."""
    weights = tmp_path / "model.safetensors"
    values = np.random.default_rng(0).integers(0, 256, 5_000_000, np.uint8)
    weights.write_bytes(values.tobytes())
    first = subject_stamp(str(tmp_path))
    values[3_000_000:3_100_000] ^= 1  # one tensor of fifty
    weights.write_bytes(values.tobytes())
    assert subject_stamp(str(tmp_path)) != first


def test_features_are_not_put_into_another_model(tmp_path: Path) -> None:
    """An updated model keeps its name; a workspace of the old one says what to do."""
    workspace = Workspace(tmp_path / "run")
    options = RunOptions.model_validate({"train": {"subject": "tiny:llava"}})
    workspace.save(RunRecord(subject="tiny:llava"))
    assert Run(workspace, options).same_subject.name, "records of before carry no weights"
    workspace.save(RunRecord(subject="tiny:llava", weights=subject_stamp("tiny:llava")))
    assert Run(workspace, options).same_subject.name
    workspace.save(RunRecord(subject="tiny:llava", weights="others"))
    with pytest.raises(WorkspaceError, match=r"not those that .*run was made with.*semascope demo"):
        _ = Run(workspace, options).same_subject


def test_names_stand_for_themselves() -> None:
    """Nothing is loaded or asked for, so that a run that stands opens in seconds."""
    assert subject_stamp("org/model") == "org/model"
    assert subject_stamp("org/model") != subject_stamp("org/other")
    assert subject_stamp("tiny:llava") == subject_stamp("tiny:llama")
