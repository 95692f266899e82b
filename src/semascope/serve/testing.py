"""An Explorer that draws its own data: for tests of the page, and for work on it.

Its pictures, features and answers are made up by a seeded generator and say so; nothing in
it was measured. ``python -m semascope.serve.testing 8123`` serves it.
"""

from __future__ import annotations

import io
import math
import random
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw

from semascope.errors import NotThere
from semascope.serve.events import (
    Alternative,
    Answered,
    Compared,
    Emit,
    Explained,
    Gain,
    Reason,
    ShiftRecord,
    Side,
    Started,
    Token,
)
from semascope.serve.pictures import Pictures
from semascope.serve.questions import ChatAsk, CompareAsk, ListQuery, SearchQuery, WhyAsk
from semascope.serve.records import (
    Bin,
    DictionaryInfo,
    ExemplarRecord,
    ExplanationRecord,
    FeatureList,
    FeaturePage,
    FeatureRow,
    Modality,
    Neighbour,
    PictureRecord,
    PromotedToken,
    ScoreRecord,
    SubjectInfo,
    TokenRecord,
    Upload,
)

SIDE, CELL = 128, 16
DICTIONARY = "resid_post.12/drawn"
COLOURS = {
    "red": "#d33c32", "blue": "#2c6fbb", "green": "#3c9a4e", "yellow": "#e8b92e",
    "purple": "#7d4ca8", "orange": "#e8792e", "black": "#2b2b2b", "pink": "#e58ab0",
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "ring", "diamond", "cross")
WORDS = ("dates", "Bible verses", "version numbers", "code", "questions", "negation")
Rect = tuple[float, float, float, float]


def _draw(pen: ImageDraw.ImageDraw, shape: str, colour: str, box: tuple[int, ...]) -> None:
    left, top, right, bottom = box
    x, y = (left + right) // 2, (top + bottom) // 2
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    elif shape == "triangle":
        pen.polygon([(x, top), (right, bottom), (left, bottom)], fill=colour)
    elif shape == "ring":
        pen.ellipse(box, outline=colour, width=9)
    elif shape == "diamond":
        pen.polygon([(x, top), (right, y), (x, bottom), (left, y)], fill=colour)
    else:
        pen.rectangle((x - 6, top, x + 6, bottom), fill=colour)
        pen.rectangle((left, y - 6, right, y + 6), fill=colour)


class DrawnExplorer:
    """``width`` made-up features: coloured shapes, and some of text; every fifth is dead.

    ``pause`` seconds pass between the tokens of an answer, as if a model were thinking.
    """

    def __init__(self, folder: Path, width: int = 240, pause: float = 0.0) -> None:
        self.pictures = Pictures(folder)
        self.width = width
        self.pause = pause
        self._drawn: dict[tuple[str, str, int], tuple[str, tuple[int, ...]]] = {}

    # -- looking ---------------------------------------------------------------------------

    @property
    def sessions_file(self) -> Path | None:
        """Beside the pictures."""
        return self.pictures.folder / "sessions.db"

    def info(self) -> SubjectInfo:
        """A subject that says that it is drawn."""
        alive = sum(1 for i in range(self.width) if i % 5 != 4)
        return SubjectInfo(
            name="drawn-subject",
            workspace="made-up data",
            has_vision=True,
            can_generate=True,
            dictionaries=[
                DictionaryInfo(
                    id=DICTIONARY, site="resid_post.12", width=self.width, alive=alive,
                    explained=alive - alive // 7, metrics={"fvu": 0.1, "l0": 32.0},
                )
            ],
            categories=["colour", "object", "text"],
            score_kinds=["iou", "detection_auroc"],
            can_search=True,
            features=self.width,
            questions=["What is in the picture?", "Is there a red circle?"],
        )  # fmt: skip

    def features(self, query: ListQuery) -> FeatureList:
        """Filter, sort, cut."""
        rows = [r for r in map(self._row, range(self.width)) if self._passes(r, query)]
        rows.sort(key=lambda r: self._key(r, query), reverse=query.order == "desc")
        return self._window(rows, query.offset, query.limit)

    def search(self, query: SearchQuery) -> FeatureList:
        """Nearest by shared words: enough to be sorted."""
        asked = set(query.q.lower().split())
        rows = []
        for row in map(self._row, range(self.width)):
            words = set(f"{row.label} {row.description}".lower().replace(".", "").split())
            if row.alive and (shared := len(asked & words)):
                near = shared / math.sqrt(len(asked) * len(words))
                rows.append(row.model_copy(update={"similarity": near}))
        rows.sort(key=lambda r: -(r.similarity or 0.0))
        return self._window(rows, 0, query.limit)

    def feature(self, feature_id: str) -> FeaturePage:
        """All about one."""
        index = self._index(feature_id)
        row = self._row(index)
        if not row.alive:
            return FeaturePage(feature=row, stats={"tokens": 500_000, "fired": 0})
        rng = random.Random(index)
        near = [self._row(i) for i in range(self.width) if i != index and i % 8 == index % 8][:6]
        written = not row.abstained
        return FeaturePage(
            feature=self._with_exemplars(row),
            explanations=self._explanations(row) if written else [],
            top=[self._exemplar(index, n, 9) for n in range(12)],
            intervals=[self._exemplar(index, 20 + n, n // 3) for n in range(30)],
            silent=[self._exemplar(index, 60 + n, None) for n in range(4)],
            histogram=[
                Bin(low=i / 2, high=(i + 1) / 2, count=int(9_000 * math.exp(-i / 3.1)) + i % 3)
                for i in range(20)
            ],
            stats={
                "tokens": 500_000, "fired": 9_000 + index, "mean": 2.4, "max": row.maximum or 0,
                "density_image": 0.03, "density_text": 0.001,
            },
            neighbours=[
                Neighbour(id=r.id, label=r.label, value=0.8 - 0.1 * n, how="direction")
                for n, r in enumerate(near)
            ],
            promoted=[
                PromotedToken(text=t, value=3.0 - 0.4 * n)
                for n, t in enumerate((" " + row.label.split()[0], " round", " the", " a"))
            ],
            lowered=[PromotedToken(text=t, value=-rng.random()) for t in (" none", " no")],
        )  # fmt: skip

    def media(self, digest: str) -> Path:
        """The drawn or uploaded file."""
        return self.pictures.path(digest)

    def warm(self) -> None:
        """Nothing to get ready."""

    def store(self, data: bytes) -> Upload:
        """Keep an upload."""
        return self.pictures.put(data)

    # -- asking ----------------------------------------------------------------------------

    def compare(self, ask: CompareAsk, emit: Emit) -> None:
        """Two made-up answers; at strength 0 they are one."""
        first = ask.interventions[0]
        dictionary, index = first.features[0]
        told = self._row(self._index(f"{dictionary}/{index}")).label
        strong = not first.is_identity
        plain = "There is a red circle and a blue square on a white ground."
        changed = f"There is a {told} and a blue square on a white ground." if strong else plain
        both: tuple[tuple[Side, str], ...] = (("before", plain), ("after", changed))
        for side, text in both:
            if self._answer(ask, side, text, emit):
                return
        shifts = [
            ShiftRecord(
                text=f" {word}" if n else word, before=-0.3, after=-0.3 - strong * (n % 5),
                kl=strong * (n % 5) / 4, promoted=[Gain(text=" no", before=0.02, after=0.4)],
            )
            for n, word in enumerate(plain.split(" "))
        ]  # fmt: skip
        kl = sum(shift.kl for shift in shifts) / len(shifts)
        emit(Compared(kl=kl, logprob_shift=-2.0 * strong, shifts=shifts))

    def chat(self, ask: ChatAsk, emit: Emit) -> None:
        """Say back what was asked, and how many pictures were seen; louder when steered."""
        seen = sum(len(message.pictures) for message in ask.messages)
        text = f"{ask.prefill}You said {ask.messages[-1].text!r} with {seen} pictures."
        self._answer(ask, "answer", text.upper() if ask.interventions else text, emit)

    def why(self, ask: WhyAsk, emit: Emit) -> None:
        """Made-up reasons: the first features, the even ones for it."""
        rows = [self._row(i) for i in range(0, 3 * ask.limit, 3)]
        reasons = [
            Reason(
                id=row.id, label=row.label, category=row.category, activation=3.0,
                attribution=(1.5 - 0.1 * n) * (-1) ** n, where=[n],
            )
            for n, row in enumerate(rows)
        ]  # fmt: skip
        emit(
            Explained(
                metric="logprob", value=-0.4, reasons=reasons[: ask.limit], unexplained=0.1,
                tokens=[" a"] * 12,
            )
        )  # fmt: skip

    def _answer(self, ask: CompareAsk | ChatAsk, side: Side, text: str, emit: Emit) -> bool:
        """Say a text word by word; True when the listener stopped it."""
        emit(Started(side=side))
        words = text.split(" ")[: ask.max_new_tokens]
        begun, said, stopped = time.perf_counter(), "", False
        for n, word in enumerate(words):
            time.sleep(self.pause)
            told = _told(side, n, word, ask.top)
            said += told.text
            if stopped := emit(told):
                break
        emit(
            Answered(
                side=side, text=said, stopped="cancelled" if stopped else "eos",
                prompt_tokens=80, seconds=time.perf_counter() - begun,
            )
        )  # fmt: skip
        return stopped

    # -- making up -------------------------------------------------------------------------

    def _index(self, feature_id: str) -> int:
        dictionary, _, index = feature_id.rpartition("/")
        if dictionary != DICTIONARY or not index.isdigit() or int(index) >= self.width:
            raise NotThere(
                f"There is no feature {feature_id!r} here: the list shows those there are."
            )
        return int(index)

    def _concept(self, index: int) -> tuple[str, str] | None:
        """Colour and shape; None for a feature of text."""
        if index % 6 == 5:
            return None
        colours = tuple(COLOURS)
        return colours[index % len(colours)], SHAPES[(index // 3) % len(SHAPES)]

    def _row(self, index: int) -> FeatureRow:
        rng = random.Random(index)
        alive = index % 5 != 4
        abstained = index % 7 == 6
        concept = self._concept(index)
        label = " ".join(concept) if concept else WORDS[index // 6 % len(WORDS)]
        modality: Modality = "image" if concept else "text"
        value = 0.25 + 0.7 * rng.random()
        words = (
            f"A {label} anywhere in the picture, strongest at its middle and weaker at its rim."
            if concept
            else f"Text about {label}, most of all at the first word of it."
        )
        known = alive and not abstained
        return FeatureRow(
            id=f"{DICTIONARY}/{index}",
            dictionary=DICTIONARY,
            index=index,
            label=label if known else "",
            description=words if known else "",
            category=("colour" if index % 2 else "object") if concept else "text",
            author="drawn-explainer",
            confidence=round(value, 2) if known else None,
            abstained=abstained and alive,
            alive=alive,
            modality=modality if alive else "none",
            density=10 ** -(1 + 3 * rng.random()) if alive else 0.0,
            maximum=10.0 + index % 9 if alive else 0.0,
            scores=self._scores(value, concept is not None) if known else [],
        )

    def _scores(self, value: float, pictures: bool) -> list[ScoreRecord]:
        auroc = min(0.99, value + 0.1)
        scores = [
            ScoreRecord(kind="detection_auroc", value=auroc, baseline=0.5,
                        low=auroc - 0.06, high=min(1.0, auroc + 0.05), evidence="24 held out")
        ]  # fmt: skip
        if pictures:
            scores.insert(0, ScoreRecord(kind="iou", value=value, baseline=0.11,
                                         low=value - 0.1, high=value + 0.04))  # fmt: skip
        return scores

    def _explanations(self, row: FeatureRow) -> list[ExplanationRecord]:
        return [
            ExplanationRecord(
                label=row.label, description=row.description, category=row.category,
                confidence=row.confidence, author=row.author, prompt_version="1",
            ),
            ExplanationRecord(
                label=f"{row.label} <b>bold</b>", author="second-explainer",
                description="Words with <img src=x onerror=alert(1)> that must stay words.",
                category=row.category, confidence=0.3, prompt_version="1",
            ),
        ]  # fmt: skip

    def _exemplar(self, index: int, n: int, interval: int | None) -> ExemplarRecord:
        concept = self._concept(index)
        peak = (10.0 + index % 9) * ((interval + 0.9) / 10 if interval is not None else 0.0)
        if interval == 9:
            peak *= 1 - 0.015 * n
        if concept is None:
            return self._text(index, n, peak, interval)
        colour, shape = concept
        if interval is None:
            colour = "black" if colour != "black" else "red"
        digest, box = self._picture(colour, shape, n)
        return ExemplarRecord(
            sample=f"drawn-{n}",
            peak=peak,
            split="explain" if n % 2 else "score",
            interval=interval,
            pictures=[_lit(digest, box, peak)],
            caption=f"a {colour} {shape}",
        )

    def _text(self, index: int, n: int, peak: float, interval: int | None) -> ExemplarRecord:
        topic = WORDS[index // 6 % len(WORDS)]
        words = f"On 9.11 she asked , once more , about {topic} and the year {1990 + n} ."
        rng = random.Random(f"{index}:{n}")
        tokens = [
            TokenRecord(
                text=f" {w}", value=peak if i == 8 else max(0.0, peak * (rng.random() - 0.7))
            )
            for i, w in enumerate(words.split(" "))
        ]
        return ExemplarRecord(
            sample=f"text-{n}", peak=peak, interval=interval, tokens=tokens,
            split="explain" if n % 2 else "score",
        )  # fmt: skip

    def _picture(self, colour: str, shape: str, n: int) -> tuple[str, tuple[int, ...]]:
        key = (colour, shape, n)
        if key not in self._drawn:
            rng = random.Random(f"{key}")
            ground = rng.choice(("#f4f1e8", "#dfe9ee", "#e9e4f0", "#cfd8cb"))
            sheet = Image.new("RGB", (SIDE, SIDE), ground)
            pen = ImageDraw.Draw(sheet)
            size = rng.randint(34, 56)
            left, top = rng.randint(4, SIDE - size - 4), rng.randint(4, SIDE - size - 4)
            other = rng.choice([c for c in COLOURS if c != colour])
            far = (left + SIDE // 2) % (SIDE - 30), (top + SIDE // 2) % (SIDE - 30)
            _draw(pen, rng.choice(SHAPES), COLOURS[other], (*far, far[0] + 28, far[1] + 28))
            box = (left, top, left + size, top + size)
            _draw(pen, shape, COLOURS[colour], box)
            buffer = io.BytesIO()
            sheet.save(buffer, "PNG")
            self._drawn[key] = (self.pictures.put(buffer.getvalue()).media, box)
        return self._drawn[key]

    def _passes(self, row: FeatureRow, query: ListQuery) -> bool:
        first = self._score(row, query.score)
        known = bool(row.description)
        return (
            query.dictionary in ("", row.dictionary)
            and query.category in ("", row.category)
            and query.modality in ("", row.modality)
            and (query.alive is None or query.alive == row.alive)
            and (query.explained is None or query.explained == known)
            and (query.min_score is None or (first is not None and first >= query.min_score))
            and query.words.lower() in f"{row.label} {row.description}".lower()
        )

    def _score(self, row: FeatureRow, kind: str) -> float | None:
        kind = kind or "iou"
        return next((s.value for s in row.scores if s.kind == kind), None)

    def _key(self, row: FeatureRow, query: ListQuery) -> tuple[bool, float | str]:
        value: float | str | None
        if query.sort == "score":
            value = self._score(row, query.score)
        elif query.sort == "max":
            value = row.maximum
        elif query.sort == "label":
            value = row.label
        elif query.sort == "index":
            value = row.index
        else:
            value = row.confidence if query.sort == "confidence" else row.density
        if isinstance(value, str):
            return True, value
        return (value is not None) == (query.order == "desc"), value or 0.0

    def _window(self, rows: list[FeatureRow], offset: int, limit: int) -> FeatureList:
        seen = [self._with_exemplars(row) for row in rows[offset : offset + limit]]
        return FeatureList(total=len(rows), offset=offset, rows=seen)

    def _with_exemplars(self, row: FeatureRow) -> FeatureRow:
        if not row.alive:
            return row
        few = [self._exemplar(row.index, n, 9) for n in range(4)]
        return row.model_copy(update={"exemplars": few})


def _told(side: Side, n: int, word: str, top: int) -> Token:
    """One word as a token, with made-up doubt."""
    p = 0.35 + 0.6 * random.Random(f"{word}{n}").random()
    text = " " * (n > 0) + word
    others = [
        Alternative(id=1_000 + i, text=f" {other}", logprob=math.log((1 - p) / (2 + i)))
        for i, other in enumerate(("a", "the", "no", "some", "one"))
    ]
    alternatives = [Alternative(id=n, text=text, logprob=math.log(p)), *others]
    return Token(
        side=side, id=n, text=text, logprob=math.log(p), top=alternatives[:top],
        entropy=-p * math.log(p) + (1 - p),
    )  # fmt: skip


def _lit(digest: str, box: tuple[int, ...], peak: float) -> PictureRecord:
    """Heat that falls with the distance from the shape's middle."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    reach = (box[2] - box[0]) / 1.6
    rects: list[Rect] = []
    values: list[float] = []
    for top in range(0, SIDE, CELL):
        for left in range(0, SIDE, CELL):
            far = math.hypot(left + CELL / 2 - x, top + CELL / 2 - y)
            rects.append((left, top, left + CELL, top + CELL))
            values.append(round(max(0.0, peak * (1 - far / reach)), 3))
    return PictureRecord(media=digest, width=SIDE, height=SIDE, rects=rects, values=values)


def main(port: int) -> None:
    """Serve the drawn data on loopback, for work on the page."""
    import uvicorn

    from semascope.serve.app import make_app

    with tempfile.TemporaryDirectory() as folder:
        app = make_app(DrawnExplorer(Path(folder), width=2_000, pause=0.12))
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8123)
