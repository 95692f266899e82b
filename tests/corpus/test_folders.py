"""Folders as people have them: each picture once, with its words; what is left out is counted."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from semascope.corpus import Corpus, open_corpus
from semascope.errors import CorpusError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def put(root: Path, **files: str) -> Path:
    """Files by path; a picture where the name ends as one."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".jpg", ".png"):
            Image.new("RGB", (8, 6), "red").save(path)
        else:
            path.write_text(text)
    return root


def coco(name: str, number: int) -> str:
    images = [{"id": number, "file_name": name}]
    notes = [{"id": k, "image_id": number, "caption": f"words {name}"} for k in (1, 2)]
    return json.dumps({"images": images, "annotations": notes, "licenses": [{}] * 9})


BOXES = json.dumps({"images": [{"id": 0, "file_name": "0.jpg"}], "annotations": [{"bbox": [1]}]})
LLAVA = json.dumps(
    [{"id": "1", "image": "coco/0.jpg", "conversations": [{"from": "human", "value": "words 0"}]}]
)
FOLDERS: dict[str, dict[str, str]] = {
    "coco": {
        "images/val2017/0.jpg": "",
        "images/train2017/1.jpg": "",
        "annotations/captions_val2017.json": coco("0.jpg", 0),
        "annotations/captions_train2017.json": coco("1.jpg", 1),
        "annotations/instances_val2017.json": BOXES,
    },
    "img2dataset": {
        "00000/0.jpg": "",
        "00000/0.txt": "words 0",
        "00000/0.json": json.dumps({"caption": "words 0", "key": "0"}),
        "00000_stats.json": "{}",
    },
    "json sidecars": {"0.jpg": "", "0.json": '{"caption": "words 0"}'},
    "imagefolder": {
        "train/0.jpg": "",
        "train/metadata.jsonl": '{"file_name": "0.jpg", "text": "words train"}',
        "test/0.jpg": "",
        "test/metadata.csv": "file_name,text\n0.jpg,words test\n",
    },
    "llava": {"images/coco/0.jpg": "", "llava.json": LLAVA},
    "flickr30k": {
        "pictures/0.jpg": "",
        "results.csv": 'image_name| comment_number| comment\n0.jpg| 0| words "so"\n',
    },
    "flickr30k token": {"0.jpg": "", "results.token": '0.jpg#0\twords, "and\n'},
    "flickr8k": {"Images/0.jpg": "", "captions.txt": "image,caption\n0.jpg,words\n"},
    "by name": {"0.jpg": "", "captions.json": '{"0.jpg": "words"}'},
    "strays": {
        "0.jpg": "",
        "0.txt": "words",
        "README.json": '{"text": "no row"}',
        "dataset_infos.json": '{"default": {"features": {}}}',
        "README.md": "# no row",
        ".cache/x.jsonl": '{"text": "no row"}',
    },
}


def rows(corpus: Corpus) -> list[tuple[str, int]]:
    return [
        (sample.text or "".join(turn.text for turn in sample.turns), len(sample.images))
        for _, sample in corpus.read()
    ]


@pytest.mark.parametrize("name", FOLDERS)
def test_every_picture_once_with_its_words(tmp_path: Path, name: str) -> None:
    """One file that decided for the whole folder would cost pictures, or all of their words."""
    root = put(tmp_path / "data", **FOLDERS[name])
    corpus = open_corpus(root)
    found = rows(corpus)
    assert len(found) == sum(path.endswith(".jpg") for path in FOLDERS[name])
    assert all(words.startswith("words") and pictures == 1 for words, pictures in found), found
    assert corpus.skipped.layout and corpus.skipped.total == 0
    assert len({sample.id for _, sample in corpus.read()}) == len(found)


def test_pictures_that_no_table_names_are_read_too(tmp_path: Path) -> None:
    """A table of one split must not hide the pictures of the other, though names repeat."""
    table = '{"file_name": "0.jpg", "text": "words"}'
    root = put(
        tmp_path / "d", **{"train/0.jpg": "", "train/metadata.jsonl": table, "test/0.jpg": ""}
    )
    assert sorted(rows(open_corpus(root))) == [("", 1), ("words", 1)]
    assert rows(open_corpus(f"{root}#train")) == [("words", 1)]
    with pytest.raises(CorpusError, match="'dev'; it holds test, train"):
        open_corpus(f"{root}#dev")


def test_a_table_with_its_own_pictures_beside_others(tmp_path: Path) -> None:
    root = put(tmp_path / "d", **{"0.jpg": "", "notes.txt": "no row", "sound.wav": ""})
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "PNG")
    pq.write_table(
        pa.table({"image": [{"bytes": buffer.getvalue(), "path": "0.jpg"}], "text": ["words"]}),
        root / "x.parquet",
    )
    pq.write_table(pa.table({"foo": ["bar"]}), root / "y.parquet")
    corpus = open_corpus(root)
    assert sorted(rows(corpus)) == [("", 1), ("words", 1)]
    assert dict(corpus.skipped.left) == {
        "files of another kind (.wav)": 1,
        "tables without a column of words or pictures": 1,
        "text files that belong to no picture": 1,
    }


def test_a_changed_caption_is_another_corpus(tmp_path: Path) -> None:
    """A run that resumes on changed captions would mix two corpora."""
    root = put(tmp_path / "d", **{"0.jpg": "", "0.txt": "words"})
    before = open_corpus(root).fingerprint()
    put(root, **{"0.txt": "other"})
    assert open_corpus(root).fingerprint() != before


def test_names_with_brackets_braces_and_pluses(tmp_path: Path) -> None:
    """They are parts of a name where such a file is there, and patterns where none is."""
    for name in ("we[i]rd {1..2} ünï", "c++"):
        root = put(tmp_path / name, **{"p [1].jpg": "", "p [1].txt": "words"})
        put(root, **{"sub/x[0].jsonl": '{"text": "a"}'})
        assert len(open_corpus(f"{root}+text?n=2")) == 4
        assert rows(open_corpus(root / "sub" / "x[0].jsonl")) == [("a", 0)]


def test_the_same_corpus_twice_has_ids_of_its_own(tmp_path: Path) -> None:
    """Two folders called images: what is known by id would be mixed up."""
    one, two = (put(tmp_path / k / "images", **{"0.jpg": ""}) for k in "ab")
    ids = [sample.id for _, sample in open_corpus(f"{one}+{two}+{one}").read()]
    assert ids == ["images/0.jpg", "images~2/0.jpg", "images~3/0.jpg"]


def test_what_a_part_skipped_is_in_the_report_of_the_whole(tmp_path: Path) -> None:
    """Also what was found when it was opened, and behind ?n=."""
    root = put(tmp_path / "d", **{"0.jpg": "", "1.wav": ""})
    (root / "2.jpg").write_text("no picture")
    corpus = open_corpus(f"{root}?n=2+text?n=1")
    assert len(list(corpus.read())) == 2
    assert dict(corpus.skipped.reasons) == {"not an image": 1}
    assert dict(corpus.skipped.left) == {"files of another kind (.wav)": 1}


def tar(path: Path, *members: tuple[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_tars_of_one_name_in_two_folders(tmp_path: Path) -> None:
    for k in "ab":
        tar(tmp_path / "d" / k / "0.tar", ("k.txt", k.encode()), ("k.cls", b"1"))
    corpus = open_corpus(tmp_path / "d")
    assert [(s.id, s.text) for _, s in corpus.read()] == [("0.tar:k", "a"), ("0.tar:k~2", "b")]
    assert corpus.skipped.left["files of a tar that are not read (.cls)"] == 2


@pytest.mark.parametrize("at", [300, 0, -1])
def test_a_tar_cut_or_damaged_in_a_header_is_told(tmp_path: Path, at: int) -> None:
    """tarfile takes such a header for the end of the archive, and says nothing."""
    path = tar(tmp_path / "a.tar", *((f"{n}.txt", b"x" * 600) for n in range(3)))
    data = bytearray(path.read_bytes())
    second = 2 * 1536
    if at < 0:
        data[second : second + 100] = b"\xff" * 100
    else:
        del data[second + at :]
    path.write_bytes(data)
    corpus = open_corpus(path)
    assert len(list(corpus.read())) == 2
    assert dict(corpus.skipped.reasons) == {"tar is cut short or damaged": 1}


def test_links_and_bad_pictures_are_counted(tmp_path: Path) -> None:
    root = put(tmp_path / "d", **{"ok.jpg": ""})
    (root / "zero.jpg").touch()
    (root / "cut.jpg").write_bytes((root / "ok.jpg").read_bytes()[:200])
    (root / "link.jpg").symlink_to("/nowhere/at/all")
    (root / "loop").symlink_to(root)
    corpus = open_corpus(root)
    assert len(rows(corpus)) == 1
    assert corpus.skipped.total == 3
    assert corpus.skipped.left["folders that are links"] == 1
