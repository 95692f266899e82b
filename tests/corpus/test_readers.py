"""Readers: what each format gives, and that a bad row of every kind costs itself alone."""

import io
import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from semascope.corpus import Corpus, open_corpus
from semascope.corpus.sample import Sample
from semascope.errors import CorpusError, NoImages


def png(colour: str = "red", size: tuple[int, int] = (6, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def everything(corpus: Corpus) -> list[Sample]:
    return [sample for _, sample in corpus.read()]


def jsonl(folder: Path, *rows: object, name: str = "data.jsonl") -> str:
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    (folder / name).write_bytes(b"\n".join(lines) + b"\n")
    return str(folder / name)


LLAVA = {
    "id": "abc",
    "image": "a.png",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "Red."},
    ],
}


def test_llava_conversation(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (sample,) = everything(open_corpus(jsonl(tmp_path, LLAVA)))
    assert [(t.role, t.text, t.images) for t in sample.turns] == [
        ("user", "What is it?", 1),
        ("assistant", "Red.", 0),
    ]
    assert sample.images[0].size == (6, 4)
    assert sample.id.startswith("abc")


def test_llava_array_in_a_json_file(tmp_path: Path) -> None:
    """LLaVA's own files are one JSON array, not lines."""
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "mix.json").write_text(json.dumps([LLAVA, LLAVA]))
    samples = everything(open_corpus(tmp_path / "mix.json"))
    assert len({sample.id for sample in samples}) == 2, "LLaVA repeats ids; ours must not"


def test_messages_with_parts_and_data_urls(tmp_path: Path) -> None:
    import base64

    url = "data:image/png;base64," + base64.b64encode(png("blue")).decode()
    row = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "text", "text": "What colour?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "Blue."}]},
        ]
    }
    (sample,) = everything(open_corpus(jsonl(tmp_path, row)))
    assert [(t.role, t.images) for t in sample.turns] == [
        ("system", 0),
        ("user", 1),
        ("assistant", 0),
    ]
    assert sample.images[0].getpixel((0, 0)) == (0, 0, 255)


def test_pictures_that_no_turn_names_are_shown_first(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    row = {**LLAVA, "conversations": [{"from": "human", "value": "What is it?"}]}
    (sample,) = everything(open_corpus(jsonl(tmp_path, row)))
    assert sample.turns[0].images == 1


BAD: list[tuple[object, str]] = [
    (b"{not json", "not JSON"),
    (b'{"text": "\xff\xfe caf\xe9"}', "text is not UTF-8"),
    (b'{"text": "\\ud800"}', "text is not UTF-8"),
    (b"[" * 100_000, "not JSON"),
    ([1, 2], "record is not an object"),
    ({"text": 5}, "text is of the wrong type"),
    ({"text": "  "}, "neither text nor image"),
    ({}, "neither text nor image"),
    ({"image": "gone.png", "text": "x"}, "missing file"),
    ({"image": "cut.png"}, "image is cut short or damaged"),
    ({"image": "words.png"}, "not an image"),
    ({"image": "empty.png"}, "image file is empty"),
    ({"image": 7}, "image is of the wrong type"),
    ({"image": "folder"}, "file cannot be read"),
    ({"image": "nul\0.png"}, "file cannot be read"),
    ({"image": "../secret.png"}, "image path leads out of the dataset"),
    ({"image": "link.png"}, "image path leads out of the dataset"),
    ({"image": "/etc/hostname"}, "image path leads out of the dataset"),
    ({"image": "https://example.com/a.png"}, "image is an address on the network"),
    ({"image": "data:image/png;base64,@@@"}, "image is cut short or damaged"),
    ({**LLAVA, "conversations": [{"from": "alien", "value": "hm"}]}, "unknown role"),
    ({**LLAVA, "conversations": "text"}, "conversation is not a list"),
    ({**LLAVA, "conversations": [7]}, "turn is not an object"),
    ({"conversations": [{"from": "human", "value": 5}]}, "turn's text is of the wrong type"),
    (
        {**LLAVA, "conversations": [{"from": "human", "value": "<image><image>?"}]},
        "number of images and of <image> differ",
    ),
    ({**LLAVA, "image": None}, "number of images and of <image> differ"),
    ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "unknown part of a message"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_bad_row_is_counted_named_and_passed_over(
    tmp_path: Path, row: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows before and after are read; report and log name it once, with its reason."""
    home = tmp_path / "home"
    (home / "folder").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png())
    (home / "link.png").symlink_to(tmp_path / "secret.png")
    (home / "a.png").write_bytes(png())
    (home / "cut.png").write_bytes(png(size=(99, 99))[:60])
    (home / "words.png").write_text("words")
    (home / "empty.png").touch()
    corpus = open_corpus(jsonl(home, {"text": "before"}, row, {"text": "after"}))
    with caplog.at_level(logging.WARNING):
        assert [sample.text for sample in everything(corpus)] == ["before", "after"]
        everything(corpus)
    assert dict(corpus.skipped.reasons) == {reason: 1}, "read twice, counted once"
    assert corpus.skipped.named == [("data.jsonl row 1", reason)]
    assert [r.message.count(reason) for r in caplog.records] == [1]


def test_paths_may_leave_when_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "out.png").write_bytes(png())
    path = jsonl(tmp_path / "home", {"image": "../out.png"})
    assert len(everything(open_corpus(f"{path}?outside=1"))) == 1
    assert len(everything(open_corpus(f"{path}?images={tmp_path}"))) == 0, "../ leads out of both"
    path = jsonl(tmp_path / "home", {"image": "out.png"}, name="b.jsonl")
    assert len(everything(open_corpus(f"{path}?images={tmp_path}"))) == 1


def test_lines_without_an_end_with_returns_and_empty_ones(tmp_path: Path) -> None:
    """Row numbers are lines that hold something: a trailing newline must not add a row."""
    (tmp_path / "a.jsonl").write_bytes(
        b'\xef\xbb\xbf{"text": "a"}\r\n\r\n\n{"text": "b"}\n{"text": "c"}'
    )
    corpus = open_corpus(tmp_path / "a.jsonl")
    assert [sample.text for sample in everything(corpus)] == ["a", "b", "c"]
    assert [row for row, _ in corpus.read(1, 99)] == [1, 2]
    assert [sample.text for _, sample in corpus.read(2, 3)] == ["c"]


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def parquet(path: Path, rows: int = 5, declared: bool = False) -> None:
    images = [{"bytes": png(), "path": f"{i}.png"} for i in range(rows)]
    images[1]["bytes"] = png(size=(99, 99))[:60]
    name = "shot" if declared else "image"
    table = pa.table(
        {name: pa.array(images, IMAGE), "caption": [f"caption {i}" for i in range(rows)]}
    )
    if declared:
        features = {"shot": {"_type": "Image"}, "caption": {"dtype": "string", "_type": "Value"}}
        about = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(about)
    pq.write_table(table, path, row_group_size=2)


@pytest.mark.parametrize("declared", [False, True])
def test_parquet_with_an_image_feature(tmp_path: Path, declared: bool) -> None:
    """The column may have any name, when the file's own metadata say that it is an image."""
    parquet(tmp_path / "x.parquet", declared=declared)
    corpus = open_corpus(tmp_path / "x.parquet", images=True)
    samples = dict(corpus.read())
    assert sorted(samples) == [0, 2, 3, 4]
    assert samples[4].text == "caption 4"
    assert samples[4].images[0].size == (6, 4)
    assert dict(corpus.skipped.reasons) == {"image is cut short or damaged": 1}


def test_a_damaged_shard_among_others_is_named(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    parquet(tmp_path / "c.parquet")
    corpus = open_corpus(tmp_path)
    assert len(corpus) == 10
    assert corpus.skipped.named == [("b.parquet", "file is cut short or damaged")]
    with pytest.raises(CorpusError, match="no Parquet"):
        open_corpus(tmp_path / "b.parquet")


def test_a_damaged_row_group_costs_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"text": [f"{i} " + "word " * 50 for i in range(6)]})
    pq.write_table(table, path, row_group_size=2, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    at = column.data_page_offset
    data[at : at + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes(data))
    corpus = open_corpus(path)
    assert [row for row, _ in corpus.read()] == [0, 1, 4, 5]
    assert corpus.skipped.total == 2


def test_text_in_parquet_that_is_not_utf8(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"\xff\xfe", b"fine"], pa.binary())
    table = pa.table({"text": pa.Array.from_buffers(pa.string(), 3, raw.buffers())})
    pq.write_table(table, tmp_path / "x.parquet")
    corpus = open_corpus(tmp_path / "x.parquet")
    assert [sample.text for sample in everything(corpus)] == ["good", "fine"]
    assert dict(corpus.skipped.reasons) == {"text is not UTF-8": 1}


def save_to_disk(folder: Path) -> None:
    """What ``datasets.save_to_disk`` leaves: an Arrow stream, and a state that names it."""
    folder.mkdir(parents=True)
    table = pa.table({"image": pa.array([{"bytes": png(), "path": None}], IMAGE), "text": ["hi"]})
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as writer:
        writer.write_table(table)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))


def test_saved_datasets_need_no_library(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "all/test")
    (tmp_path / "all/dataset_dict.json").write_text('{"splits": ["test"]}')
    (sample,) = everything(open_corpus(f"{tmp_path / 'all'}#test"))
    assert sample.text == "hi" and len(sample.images) == 1
    with pytest.raises(CorpusError, match="splits test"):
        open_corpus(f"{tmp_path / 'all'}#train")


def test_image_folder(tmp_path: Path) -> None:
    (tmp_path / "cats/deep").mkdir(parents=True)
    (tmp_path / "cats/a.PNG").write_bytes(png())
    (tmp_path / "cats/a.txt").write_text("A cat.")
    (tmp_path / "cats/deep/b.jpg").write_bytes(b"no picture")
    (tmp_path / "cats/c.png").write_bytes(png())
    (tmp_path / "cats/c.txt").write_bytes(b"\xff\xfe\xfa")
    corpus = open_corpus(tmp_path, images=True)
    (sample,) = everything(corpus)
    assert (sample.text, sample.source) == ("A cat.", "cats")
    assert dict(corpus.skipped.reasons) == {"not an image": 1, "text is not UTF-8": 1}


def test_paragraphs_of_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"One\nand on.\n\n\nTwo.\r\n \r\n\xff bad\n\nThree.\n")
    corpus = open_corpus(tmp_path / "a.txt")
    assert [sample.text for sample in everything(corpus)] == ["One\nand on.", "Two.", "Three."]


def test_lines_of_a_text_file_without_empty_lines(tmp_path: Path) -> None:
    """One row would be cut to its first tokens, and be trained on and held out at once."""
    (tmp_path / "a.txt").write_bytes(b"\nOne.\r\nTwo.\nThree.\n\n")
    corpus = open_corpus(tmp_path / "a.txt")
    assert [sample.text for sample in everything(corpus)] == ["One.", "Two.", "Three."]


def test_no_images_says_what_to_do(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "words"}, {"foto": "a.png", "text": "more"})
    with pytest.raises(NoImages, match=r"\?image=NAME"):
        open_corpus(path, images=True)
    (tmp_path / "a.png").write_bytes(png())
    assert everything(open_corpus(f"{path}?image=foto"))[1].images


@pytest.mark.parametrize("change", ["row", "picture", "shorter"])
def test_a_changed_dataset_has_another_fingerprint(tmp_path: Path, change: str) -> None:
    """A run that resumes on changed data would mix two corpora in one result."""
    (tmp_path / "a.png").write_bytes(png())
    path = jsonl(tmp_path, LLAVA, {"text": "x"})
    before = open_corpus(path).fingerprint()
    assert open_corpus(path).fingerprint() == before
    if change == "row":
        jsonl(tmp_path, LLAVA, {"text": "y"})
    elif change == "picture":
        (tmp_path / "a.png").write_bytes(png("blue"))
    else:
        jsonl(tmp_path, LLAVA)
    assert open_corpus(path).fingerprint() != before
