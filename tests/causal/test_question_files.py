"""POPE's and HallusionBench's files: pictures as a corpus reads them, every unused row told."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from semascope.cli.commands.evaluate.causal import EvaluateHallucination
from semascope.corpus.media.pictures import decode
from semascope.errors import CausalError
from semascope.evaluate.pope_hallusion import read_hallusion, read_pope


def ask(**more: object) -> dict[str, object]:
    return {"image": "ok.png", "text": "Is there a dog?", "label": "no", **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "ok.png")
    return tmp_path


def test_pictures_are_those_of_a_corpus(folder: Path) -> None:
    """16 bits became white, transparency black, a rotated photograph stayed on its side."""
    Image.new("RGBA", (8, 6), (255, 0, 0, 0)).save(folder / "clear.png")
    Image.fromarray(np.full((6, 8), 32768, np.uint16)).save(folder / "grey16.png")
    Image.new("CMYK", (8, 6), (0, 200, 200, 0)).save(folder / "cmyk.jpg")
    Image.new("P", (8, 6), 3).save(folder / "palette.gif")
    turned = Image.new("RGB", (8, 6), "blue")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    names = ["clear.png", "grey16.png", "cmyk.jpg", "palette.gif", "turned.jpg"]
    (folder / "q.json").write_text("\n".join(json.dumps(ask(image=name)) for name in names))
    cases, report = read_pope(folder / "q.json", folder)
    assert report.total == 0
    for case in cases:
        wanted = decode(folder / case.sample.id)
        assert np.array_equal(np.asarray(case.sample.images[0]), np.asarray(wanted))


def test_questions_that_are_left_out_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nine of ten were dropped without a word, and the figures were of the tenth."""
    rows = [ask(), *(ask(image=f"gone{n}.png") for n in range(9))]
    (folder / "q.json").write_text("\n".join(map(json.dumps, rows)))
    verb = EvaluateHallucination(workspace=folder, pope=folder / "q.json", images=folder)
    cases = verb._cases()
    assert cases is not None and len(cases) == 1
    said = capsys.readouterr().err
    assert "9 of 10 questions" in said and "9 × missing file" in said and "q.json:2" in said


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16", "utf-32"])
def test_marks_null_lines_and_lines_that_are_no_json(folder: Path, name: str) -> None:
    (folder / "q.json").write_bytes(json.dumps([ask()]).encode(name))
    assert len(read_pope(folder / "q.json", folder)[0]) == 1
    (folder / "q.json").write_bytes(f"null\n{json.dumps(ask())}\n{{cut".encode(name))
    cases, report = read_pope(folder / "q.json", folder)
    assert len(cases) == 1
    assert dict(report.reasons) == {"question is not an object": 1, "line is not JSON": 1}


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text())
ROWS = st.dictionaries(
    st.sampled_from(
        ["image", "text", "label", "question", "gt_answer", "filename", "visual_input"]
    ),
    VALUES | st.sampled_from(["ok.png", "yes", "no", "0", "1", "../ok.png", "\0", "\ud800"]),
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS | VALUES, max_size=4), st.booleans())
def test_hostile_questions(folder: Path, rows: list[object], lines: bool) -> None:
    """A case, a counted row, or one sentence; never a traceback."""
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
    (folder / "q.json").write_text(text)
    for read in (read_pope, read_hallusion):
        try:
            cases, report = read(folder / "q.json", folder)
        except CausalError:
            continue
        assert len(cases) + report.total >= 1
