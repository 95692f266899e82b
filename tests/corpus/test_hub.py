"""Hugging Face datasets by name: rows come undecoded; without the library a sentence says so."""

import io
import sys
from types import ModuleType, SimpleNamespace

import pyarrow as pa
import pytest
from PIL import Image as Pictures

from semascope.corpus import open_corpus
from semascope.errors import CorpusError


class Image:
    """A feature that the library would decode."""


class Fake:
    """What ``load_dataset`` returns, as far as the reader knows it."""

    def __init__(self, table: pa.Table) -> None:
        self.table, self._fingerprint = table, "abc"
        self.features = {"shot": Image(), "caption": object()}

    def with_format(self, kind: str) -> pa.Table:
        assert kind == "arrow", "decoded by the library, one damaged picture would stop the run"
        return self.table


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Pictures.new("RGB", (70, 70), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    asked: list[tuple[object, ...]] = []
    images = [{"bytes": b, "path": None} for b in (png("red"), png("red")[:70], png("blue"))]
    table = pa.table({"shot": images, "caption": ["a", "b", "c"]})

    def load_dataset(name: str, config: str | None, split: str) -> Fake:
        asked.append((name, config, split))
        if name == "gone":
            raise FileNotFoundError("no such dataset")
        return Fake(table)

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    module.config = SimpleNamespace(HF_CACHE_HOME="/nowhere")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_rows_of_a_hub_dataset(library: list[tuple[object, ...]]) -> None:
    corpus = open_corpus("hf:org/name@small/test", images=True)
    assert library == [("org/name", "small", "test")]
    assert [(row, s.text) for row, s in corpus.read()] == [(0, "a"), (2, "c")]
    assert dict(corpus.skipped.reasons) == {"image is cut short or damaged": 1}
    assert corpus.fingerprint() == open_corpus("hf:org/name@small/test").fingerprint()


def test_a_dataset_that_is_not_there(library: list[tuple[object, ...]]) -> None:
    with pytest.raises(CorpusError, match=r"gone .* cannot be loaded"):
        open_corpus("hf:gone")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match="pip install"):
        open_corpus("hf:org/name/train")
