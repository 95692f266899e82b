"""WebDataset: samples of tars by offset, an index built once, damage that costs its own rows."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from semascope.corpus import open_corpus
from semascope.corpus.tabular.webdataset import index
from semascope.errors import CorpusError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/semascope/webdataset"


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 5), colour).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path: Path, *members: tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


TALK = json.dumps(
    {"image": "elsewhere.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"}]}
).encode()


def test_pictures_texts_and_records(tmp_path: Path) -> None:
    path = tar(
        tmp_path / "a.tar",
        ("d/000.png", png("red")),
        ("d/000.txt", b"A red square."),
        ("d/001.json", TALK),
        ("d/001.left.png", png("blue")),
        ("d/001.cls", b"7"),
        ("d/002.txt", b"words alone"),
    )
    corpus = open_corpus(path, images=True)
    one, two, three = (sample for _, sample in corpus.read())
    assert (one.text, one.images[0].getpixel((0, 0))) == ("A red square.", (255, 0, 0))
    assert (two.turns[0].text, two.turns[0].images) == ("What?", 1)
    assert (three.text, three.images) == ("words alone", ())
    assert len({one.id, two.id, three.id}) == 3


def test_bad_members_cost_their_rows(tmp_path: Path) -> None:
    path = tar(
        tmp_path / "a.tar",
        ("0.txt", b"\xff\xfe"),
        ("1.json", b"{"),
        ("2.png", b"nothing"),
        ("3.cls", b"4"),
        ("4.txt", b"good"),
    )
    corpus = open_corpus(path)
    assert [sample.text for _, sample in corpus.read()] == ["good"]
    assert dict(corpus.skipped.reasons) == {
        "text is not UTF-8": 1,
        "not JSON": 1,
        "not an image": 1,
        "neither text nor image": 1,
    }


def test_a_tar_cut_short_keeps_what_is_whole(tmp_path: Path) -> None:
    """A download that broke off: what came is read, the break is in the report."""
    members = [(f"{i}.txt", b"x" * 2000) for i in range(4)]
    path = tar(tmp_path / "a.tar", *members)
    data = path.read_bytes()
    path.write_bytes(data[: 2 * 2560 + 512 + 700])
    corpus = open_corpus(path)
    assert [row for row, _ in corpus.read()] == [0, 1]
    assert ("a.tar", "tar is cut short or damaged") in corpus.skipped.named
    assert corpus.skipped.reasons["tar is cut short"] == 1


def test_the_index_is_built_once(tmp_path: Path, cache: Path) -> None:
    """A second opening must not walk a terabyte of tars again; a changed tar must be walked."""
    path = tar(tmp_path / "a.tar", ("0.txt", b"one"))
    first = index(path)
    (kept,) = cache.iterdir()
    kept.write_text(kept.read_text().replace('"0"', '"marked"'))
    assert index(path)[0][0][0] == "marked"
    tar(path, ("0.txt", b"one"), ("1.txt", b"two"))
    assert len(index(path)[0]) == 2 and first[1] == ""
    for each in cache.iterdir():
        each.write_text("damaged")
    assert len(index(path)[0]) == 2


def test_shards_by_braces_and_compressed_tars(tmp_path: Path) -> None:
    for i in range(3):
        tar(tmp_path / f"s-{i:03d}.tar", (f"{i}.txt", str(i).encode()))
    corpus = open_corpus(f"{tmp_path}/s-{{000..002}}.tar")
    assert [sample.text for _, sample in corpus.read()] == ["0", "1", "2"]
    tar(tmp_path / "z.tar.gz", ("0.txt", b"one"), mode="w:gz")
    with pytest.raises(CorpusError, match="compressed"):
        open_corpus(tmp_path / "z.tar.gz")
    with pytest.raises(CorpusError, match="no corpus"):
        open_corpus(f"{tmp_path}/s-{{000..004}}.tar")
