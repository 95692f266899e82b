"""What changes a run's foundation, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

from semascope.pipeline.context import subject_stamp


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
    assert subject_stamp(str(tmp_path)) != second


def test_names_stand_for_themselves() -> None:
    """Nothing is loaded or asked for, so that a run that stands opens in seconds."""
    assert subject_stamp("org/model") == "org/model"
    assert subject_stamp("org/model") != subject_stamp("org/other")
    assert subject_stamp("tiny:llava") == subject_stamp("tiny:llama")
