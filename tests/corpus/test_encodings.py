"""Text files in other encodings, packed, and files that are no text: read right, or counted."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semascope.corpus import open_corpus
from semascope.errors import CorpusError


def texts(path: Path) -> list[str]:
    return [sample.text for _, sample in open_corpus(path).read()]


@pytest.mark.parametrize("name", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".json", ".csv"])
def test_files_are_read_by_their_mark(tmp_path: Path, name: str, ending: str) -> None:
    """Notepad's Unicode is UTF-16: read as UTF-8, words are full of NUL."""
    body = {
        ".txt": "first wörds\r\n\r\nsecond",
        ".jsonl": '{"text": "first wörds"}\r\n{"text": "second"}\r\n',
        ".json": '[{"text": "first wörds"}, {"text": "second"}]',
        ".csv": "text,n\r\nfirst wörds,1\r\nsecond,2\r\n",
    }[ending]
    path = tmp_path / f"x{ending}"
    path.write_bytes(body.encode(name))
    assert texts(path) == ["first wörds", "second"]


def test_other_encodings_are_refused_and_counted(tmp_path: Path) -> None:
    """Latin-1 cannot be told from its kin: a guess would be silently wrong."""
    path = tmp_path / "x.txt"
    path.write_bytes("café\n\nplain".encode("latin-1"))
    corpus = open_corpus(path)
    assert [sample.text for _, sample in corpus.read()] == ["plain"]
    assert dict(corpus.skipped.reasons) == {"text is not UTF-8": 1}
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a\\u0000b"}\n{"text": "plain"}')
    assert texts(path) == ["plain"]
    path = tmp_path / "y.txt"
    path.write_bytes(bytes(range(256)) * 16)
    with pytest.raises(CorpusError, match="binary, not text"):
        open_corpus(path)


def test_packed_lines(tmp_path: Path) -> None:
    body = b'{"text": "one"}\n{"text": "two"}\n'
    stream = pa.BufferOutputStream()
    with pa.CompressedOutputStream(stream, "zstd") as out:
        out.write(body)
    packed = gzip.compress(body)
    (tmp_path / "x.jsonl.gz").write_bytes(packed)
    (tmp_path / "x.jsonl.zst").write_bytes(stream.getvalue().to_pybytes())
    assert texts(tmp_path / "x.jsonl.gz") == texts(tmp_path / "x.jsonl.zst") == ["one", "two"]
    (tmp_path / "x.jsonl.gz").write_bytes(packed[:-12])
    with pytest.raises(CorpusError, match="cut short or damaged"):
        open_corpus(tmp_path / "x.jsonl.gz")


def test_rows_that_do_not_fit_the_header_are_counted(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('text,n\n"one, two",1\na,b,c\nshort\nlast,2\n')
    corpus = open_corpus(tmp_path / "x.csv")
    assert [sample.text for _, sample in corpus.read()] == ["one, two", "last"]
    assert dict(corpus.skipped.reasons) == {
        "row has more fields than the header": 1,
        "row has fewer fields than the header": 1,
    }


NAMES = st.sampled_from(
    "image images text caption captions question answer answers conversations messages texts query "
    "response prompt chosen choices history system video sentences caption_0 foo id".split()
)
WORDS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["<image>", "a.png", "../a", "data:image/png;base64,AA", "A" * 120, "\0"]),
)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), WORDS)
KEYS = st.one_of(
    NAMES, st.sampled_from(["role", "from", "value", "content", "type", "user", "url"])
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=4) | VALUES, min_size=1, max_size=4))
def test_hostile_rows_are_samples_or_reasons(tmp_path: Path, rows: list[object]) -> None:
    """Never a traceback: a row is read, or counted with its reason; or the file is a sentence."""
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    try:
        corpus = open_corpus(path)
    except CorpusError:
        return
    assert len(list(corpus.read())) + corpus.skipped.total == len(corpus)
    assert corpus.fingerprint()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        ["txt", "jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz", "arrow", "token"]
    ),
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from([b"", b"\xff\xfe", b"\xef\xbb\xbf", b"PAR1", b"\x1f\x8b", b"text,n\n", b"[{"]),
)
def test_hostile_files_in_a_folder(tmp_path: Path, ending: str, body: bytes, head: bytes) -> None:
    """Never a traceback, from the file alone or from the folder around it."""
    folder = tmp_path / "d"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / f"x.{ending}").write_bytes(head + body)
    for place in (folder, folder / f"x.{ending}"):
        try:
            corpus = open_corpus(place)
        except CorpusError:
            continue
        assert len(list(corpus.read())) + corpus.skipped.total >= len(corpus)
