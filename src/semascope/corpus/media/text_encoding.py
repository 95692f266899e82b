"""Decodes text files by their byte order mark, else as UTF-8; anything else is refused.

Notepad's "Unicode" is UTF-16 with a mark. UTF-16 without a mark is recognised by its NULs if their
positions are unambiguous. Latin-1 and cp1252 cannot be distinguished from other eight-bit
encodings, so such text is refused, not guessed.
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
"""Bytes that are examined in a file without a mark."""
ZSTD = b"\x28\xb5\x2f\xfd"


def encoding_of(data: bytes) -> str:
    """The encoding by the byte order mark or by the positions of NULs; else ``utf-8``."""
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
    """The decoded text; BadRow if the encoding is unknown, or the text holds NUL."""
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
    """A whole file as UTF-8; BadRow if it is no text.

    UTF-8 itself is not checked, so that a bad line costs that line only.
    """
    if encoding_of(data) in ("utf-8", "utf-8-sig"):
        if b"\0" in data[:LOOKED_AT] and not data.startswith(codecs.BOM_UTF8):
            raise BadRow("file is binary, not text")
        return data.removeprefix(codecs.BOM_UTF8)
    return words_of(data).encode()


def is_packed(path: Path) -> bool:
    """Whether a file is compressed, by its ending."""
    return path.suffix.lower() in (".gz", ".zst", ".bz2", ".xz")


def unpacked(data: bytes) -> bytes:
    """Decompressed bytes; BadRow if they are cut short, damaged or of an unknown kind."""
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
