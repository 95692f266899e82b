"""Bytes of text files to words: by their byte order mark, else UTF-8; anything else is refused.

Notepad's "Unicode" is UTF-16 with a mark. UTF-16 without one shows itself by its NULs, and is read
where it is plain which half of each pair they are. Latin-1 and cp1252 cannot be told from other
eight-bit encodings, so such text is refused, not guessed. Knows bytes alone.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from semascope.corpus.tabular.base import BadRow

MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
NOT_UTF8 = "text is not UTF-8"
NUL = "text holds NUL characters"
LOOKED_AT = 4096
"""Bytes from which a file without a mark is judged."""
ZSTD = b"\x28\xb5\x2f\xfd"


def encoding_of(data: bytes) -> str:
    """The encoding that the bytes' mark, or the place of their NULs, says; else ``utf-8``."""
    for mark, name in MARKS:
        if data.startswith(mark):
            return name
    head = data[:LOOKED_AT]
    even, odd = head[::2], head[1::2]
    if len(head) >= 4 and b"\0" in head:
        if odd.count(0) > 0.4 * len(odd) and not even.count(0):
            return "utf-16-le"
        if even.count(0) > 0.4 * len(even) and not odd.count(0):
            return "utf-16-be"
    return "utf-8"


def words_of(data: bytes) -> str:
    """The text of bytes; BadRow where they are in no known encoding, or hold NUL."""
    name = encoding_of(data)
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        raise BadRow(NOT_UTF8) from error
    if data and not text and name != "utf-8-sig":  # a mark alone
        raise BadRow(NOT_UTF8)
    return well_formed(text)


def well_formed(text: str) -> str:
    """The text, if it can be written as UTF-8 and holds no NUL; BadRow otherwise.

    JSON may hold half of a surrogate pair, and any string an escaped NUL.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRow(NOT_UTF8) from error
    if "\0" in text:
        raise BadRow(NUL)
    return text


def recoded(data: bytes) -> bytes:
    """The same text as UTF-8, where a whole file is in another encoding; BadRow where it is none.

    UTF-8 itself passes untouched, so that one bad line costs that line alone.
    """
    if encoding_of(data) in ("utf-8", "utf-8-sig"):
        if b"\0" in data[:LOOKED_AT] and not data.startswith(codecs.BOM_UTF8):
            raise BadRow("file is binary, not text")
        return data.removeprefix(codecs.BOM_UTF8)
    return words_of(data).encode()


def is_packed(path: Path) -> bool:
    """Whether a file's ending says that it is compressed."""
    return path.suffix.lower() in (".gz", ".zst", ".bz2", ".xz")


def unpacked(data: bytes) -> bytes:
    """What compressed bytes hold; BadRow where they are cut, damaged, or of a kind not read."""
    import bz2
    import lzma

    try:
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
        if data.startswith(b"BZh"):
            return bz2.decompress(data)
        if data.startswith(b"\xfd7zXZ"):
            return lzma.decompress(data)
        if data.startswith(ZSTD):
            return _zstd(data)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise BadRow("compressed file is cut short or damaged") from error
    return data


def _zstd(data: bytes) -> bytes:
    """Through pyarrow, which the readers of tables need anyway."""
    import pyarrow as pa

    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        return bytes(stream.read())
