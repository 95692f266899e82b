"""``open_corpus``: from a short description to a corpus.

    scenes                      drawn scenes with ground truth
    scenes:heldout?size=224     another split, another size
    text, text:heldout          the passages that ship with semascope
    scenes+text, 3*scenes+text  several, interleaved by weight
    folder/  data.jsonl  data.json  data.csv  data.parquet  notes.txt  shard-{000..009}.tar
    saved_dataset#train         a Hugging Face dataset saved to disk, one of its splits
    hf:name/split               a Hugging Face dataset by name (needs the extra ``datasets``)

The rows of a text file are its paragraphs, or its lines if it has no empty lines.

After a question mark: ``n``, ``seed``, ``size`` (scenes), ``image``, ``video``, ``text``,
``question``, ``answer`` and ``conversation`` (names of columns), ``images`` (folder that paths of
pictures are relative to), ``outside=1`` (they may leave it), ``frames`` (most frames of a video,
32). Open a folder that is called scenes or text as ./scenes or ./text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl

from semascope.corpus.mixed import Mixed
from semascope.corpus.sample import Corpus
from semascope.corpus.tabular.base import FirstRows, exists
from semascope.corpus.text import TextCorpus
from semascope.errors import CorpusError, NoImages

SCENES = 20_000
"""Number of scenes if none is given."""
GLANCE = 256
"""Rows that are searched for a picture."""
OPTIONS = (
    "n", "seed", "size", "split", "image", "video", "text", "question", "answer", "conversation",
    "images", "outside", "frames",
)  # fmt: skip


def open_corpus(
    spec: str | Path,
    *,
    n: int | None = None,
    seed: int = 0,
    images: bool = False,
    columns: Sequence[str] = (),
) -> Corpus:
    """The corpus that ``spec`` describes (see this module's docstring).

    Args:
        spec: description of the corpus.
        n: most rows.
        seed: draws scenes, and orders passages.
        images: whether pictures are required.
        columns: names of columns in files, such as ``text=body``.

    Raises:
        CorpusError: the description is wrong, or files cannot be read.
        NoImages: pictures are required, and the first rows have none.
    """
    text = str(spec).strip()
    named = _columns(columns)
    parts = [text] if text and exists(text) else _split(text)
    opened = [_part(part, n, seed, named) for part in parts]
    corpus = opened[0][1] if len(opened) == 1 else Mixed(
        [part for _, part in opened], [weight for weight, _ in opened]
    )  # fmt: skip
    corpus = corpus if n is None else FirstRows(corpus, n)
    if images:
        require_images(corpus)
    return corpus


def require_images(corpus: Corpus) -> None:
    """Raise NoImages if none of the first rows has a picture."""
    for _, sample in corpus.read(0, min(GLANCE, len(corpus))):
        if sample.pictures:
            return
    skipped = f" ({corpus.skipped.total} rows could not be read)" if corpus.skipped.total else ""
    raise NoImages(
        f"{corpus.name} has no pictures in its first {min(GLANCE, len(corpus))} rows{skipped}. "
        "Name a corpus with pictures, such as scenes, or say which column holds them with "
        "?image=NAME."
    )


def _split(text: str) -> list[str]:
    parts = [part.strip() for part in _joined(text.split("+"))]
    if not all(parts):
        raise CorpusError(
            f"{text!r} names no corpus. Try scenes, text, scenes+text, a path, or hf:name/split."
        )
    return parts


def _joined(parts: list[str]) -> list[str]:
    """The parts, joined again if the + is within an existing path."""
    out: list[str] = []
    while parts:
        whole = (k for k in range(len(parts), 1, -1) if exists("+".join(parts[:k])))
        take = next(whole, 1)
        out.append("+".join(parts[:take]))
        parts = parts[take:]
    return out


def _columns(words: Sequence[str]) -> dict[str, str]:
    """``text=body image=shot`` as options; CorpusError if one has another form."""
    from semascope.corpus.readers import COLUMNS

    options: dict[str, str] = {}
    for word in words:
        role, equals, column = word.partition("=")
        if role not in COLUMNS or not equals or not column:
            raise CorpusError(
                f"--columns {word!r} is not of the form text=NAME. There are {', '.join(COLUMNS)}."
            )
        options[role] = column
    return options


def _part(text: str, n: int | None, seed: int, named: Mapping[str, str]) -> tuple[float, Corpus]:
    """Weight and corpus of one part."""
    factor, name = 1.0, text
    weight, star, rest = text.partition("*")
    if star and re.fullmatch(r"\d+(\.\d+)?", weight):  # else a pattern of files: shards/*.tar
        factor, name = float(weight), rest
    path, _, query = (name, "", "") if exists(name) else name.partition("?")
    options = {**named, **_options(query, name)}
    number = int(options["n"]) if "n" in options else n
    corpus = _named(path, options, number, int(options.get("seed", seed)))
    return factor, corpus if "n" not in options else FirstRows(corpus, int(options["n"]))


def _options(query: str, name: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise CorpusError(f"{name}: no option {unknown[0]!r}. There are {', '.join(OPTIONS)}.")
    for key in ("n", "seed", "size", "frames"):
        if key in options and not options[key].isdecimal():
            raise CorpusError(f"{name}: {key} must be a whole number, not {options[key]!r}.")
    return options


def _named(path: str, options: dict[str, str], n: int | None, seed: int) -> Corpus:
    kind, _, split = path.partition(":")
    if kind == "scenes":
        from semascope.corpus.scenes import SceneCorpus

        size = int(options.get("size", 128))
        return SceneCorpus(n or SCENES, seed=seed, split=split or "train", size=size)
    if kind == "text":
        return TextCorpus(split or "train", seed=seed)  # type: ignore[arg-type]
    from semascope.corpus.readers import open_path

    return open_path(path, options)
