"""What the drawn Explorer says when asked: made-up answers, reasons, concepts and effects."""

from __future__ import annotations

import math
import random
import time
from typing import Protocol

from semascope.causal.attribution.metrics import telling
from semascope.errors import NotThere
from semascope.serve.explorer.guides import Guides
from semascope.serve.explorer.protocol import Explorer
from semascope.serve.schema.answers import (
    Alternative,
    Answered,
    Compared,
    Gain,
    ShiftRecord,
    Side,
    Started,
    Token,
)
from semascope.serve.schema.events import (
    AlikeFound,
    AlikeRow,
    Emit,
    Pair,
    TestedFound,
    Tried,
    VersusFound,
    VersusSide,
)
from semascope.serve.schema.explanations import (
    Clustered,
    ClusterRecord,
    EffectRecord,
    Explained,
    Member,
    MetricName,
    NamedRecord,
    ReadBack,
    ReadRecord,
    Reason,
    RoleName,
    Target,
)
from semascope.serve.schema.register import TestedRecord
from semascope.serve.schema.requests import (
    ChatAsk,
    CompareAsk,
    ExamplesAsk,
    MeasureAsk,
    ReadAsk,
    SteerAsk,
    TourAsk,
    TryAsk,
    VersusAsk,
    WhyAsk,
)
from semascope.serve.schema.responses import ExemplarRecord, FeatureRow
from semascope.serve.tour.player import play_step

MODELS = ("drawn-subject", "drawn-other")
TOLD = "There is a red circle and a blue square on a white ground."


class DrawnFeatures(Explorer, Protocol):
    """The features that the answers are about."""

    width: int
    guides: Guides

    def number(self, feature_id: str) -> int:
        """The number of a feature."""
        ...

    def rows(self, indices: range) -> list[FeatureRow]:
        """Features by number."""
        ...

    def few(self, index: int) -> list[ExemplarRecord]:
        """Four of a feature's strongest exemplars."""
        ...


class DrawnAnswers:
    """Answers of the made-up model; one method for each row of ``QUESTIONS``.

    Args:
        explorer: the features that the answers are about.
        pause: seconds between two tokens.
        namer: the model that is said to name concepts; empty for none.
    """

    def __init__(self, explorer: DrawnFeatures, pause: float, namer: str) -> None:
        self.explorer = explorer
        self.pause = pause
        self.namer = namer

    def compare(self, ask: CompareAsk, emit: Emit) -> None:
        """Two made-up answers; at strength 0 they are one."""
        first = ask.interventions[0]
        dictionary, index = first.features[0]
        number = self.explorer.number(f"{dictionary}/{index}")
        label = self.explorer.rows(range(number, number + 1))[0].label
        strong = not first.is_identity
        changed = f"There is a {label} and a blue square on a white ground." if strong else TOLD
        both: tuple[tuple[Side, str], ...] = (("before", TOLD), ("after", changed))
        for side, text in both:
            if self._answer(ask, side, text, emit):
                return
        emit(_apart("after", changed, float(strong), len(first.features) / self.explorer.width))

    def chat(self, ask: ChatAsk, emit: Emit) -> None:
        """Say back what was asked, and how many pictures were seen; louder when steered."""
        seen = sum(len(message.pictures) for message in ask.messages)
        text = f"{ask.prefill}You said {ask.messages[-1].text!r} with {seen} pictures."
        self._answer(ask, "answer", text.upper() if ask.interventions else text, emit)

    def read(self, ask: ReadAsk, emit: Emit) -> None:
        """Words as tokens; a picture is four cells."""
        tokens = [ReadRecord(id=0, text="<s>", kind="special", role="none")]
        for message in ask.messages:
            for n in range(4 * len(message.pictures)):
                left, top = 64.0 * (n % 2), 64.0 * (n // 2 % 2)
                tokens.append(
                    ReadRecord(
                        id=1, text="", kind="image", role=message.role, image=n // 4,
                        rect=(left, top, left + 64, top + 64),
                    )
                )  # fmt: skip
            tokens += [
                _read(n, word, message.role, ask.top) for n, word in enumerate(message.text.split())
            ]
        tokens += [_read(i, f"token{i}", "assistant", ask.top) for i in ask.answer]
        pictures = sum(len(message.pictures) for message in ask.messages)
        emit(ReadBack(tokens=tokens, sizes=[(128, 128)] * pictures))

    def why(self, ask: WhyAsk, emit: Emit) -> None:
        """Made-up reasons: the first features, the even ones for it; as concepts by their words."""
        rows = self.explorer.rows(range(0, min(3 * ask.limit, self.explorer.width), 3))
        active = ask.mode == "activation"
        reasons = [
            Reason(
                id=row.id, label=row.label, category=row.category, activation=3.0, share=0.3,
                attribution=0.0 if active else (1.5 - 0.1 * n) * (-1) ** n, where=[n],
            )
            for n, row in enumerate(rows)
        ]  # fmt: skip
        target = Target(id=7, text=" red", position=11, probability=0.67)
        rival: MetricName = "logprob" if ask.against is None else "logit_diff"
        emit(
            Explained(
                metric="activation" if active else rival, value=-0.4, mode=ask.mode, target=target,
                tokens=[" a"] * 12,
                reasons=reasons[: ask.limit], unexplained=None if active else 0.1,
            )
        )  # fmt: skip
        if ask.clusters:
            self._concepts(ask, rows, emit)

    def _concepts(self, ask: WhyAsk, rows: list[FeatureRow], emit: Emit) -> None:
        groups: dict[str, list[FeatureRow]] = {}
        for row in rows:
            if row.label:
                groups.setdefault(row.label.split()[-1], []).append(row)
        clusters = [
            ClusterRecord(
                number=n, label=word, coherence=6.0 - n % 3, surprise=5.0 - 0.5 * n,
                score=(2.0 - 0.3 * n) * (-1) ** n, suppress=_without(word, members),
                features=[
                    Member(id=r.id, label=r.label, description=r.description, score=0.4 - 0.1 * n)
                    for r in members
                ],
            )
            for n, (word, members) in enumerate(groups.items())
        ]  # fmt: skip
        alone = len(rows) - sum(len(group.features) for group in clusters)
        emit(Clustered(clusters=clusters, unclustered=alone))
        for group in clusters[: ask.names if self.namer else 0]:
            author = f"lmm:{self.namer}"
            if group.number % 3 == 2:
                emit(NamedRecord(cluster=group.number, author=author, note="The model refused."))
            else:  # as a model of ill will would write
                name = f"<i>{group.label}</i>"
                emit(NamedRecord(cluster=group.number, author=author, label=name, coherence=6.5))
        for group in clusters[: ask.effects]:
            time.sleep(self.pause)
            after = 0.67 - 0.2 * group.score / 2
            if emit(
                EffectRecord(cluster=group.number, before=0.67, after=after, effect=after - 0.67)
            ):
                return

    def steer(self, ask: SteerAsk, emit: Emit) -> None:
        """Three made-up answers; the control changes little."""
        strong = any(not one.is_identity for one in ask.interventions)
        name = ask.interventions[0].label
        if not ask.answer and self._answer(ask, "before", TOLD, emit):
            return
        changed = f"There is a {name} and a blue square on a white ground." if strong else TOLD
        sides: tuple[tuple[Side, str, float], ...] = (("after", changed, float(strong)),)
        if ask.control:
            sides = (*sides, ("control", TOLD, 0.1 * strong))
        for side, text, force in sides:
            if self._answer(ask, side, text, emit):
                return
            emit(
                _apart(side, text, force, len(ask.interventions[0].features) / self.explorer.width)
            )

    def try_feature(self, ask: TryAsk, emit: Emit) -> None:
        """Its own strongest exemplar, called yours."""
        index = self.explorer.number(ask.feature)
        (row,) = self.explorer.rows(range(index, index + 1))
        if not row.alive:
            raise NotThere(f"{ask.feature} never fired, so there is nothing to try.")
        exemplar = self.explorer.few(index)[0].model_copy(update={"sample": "yours", "split": ""})
        share = exemplar.peak / row.maximum if row.maximum else None
        emit(Tried(feature=ask.feature, peak=exemplar.peak, share=share, exemplar=exemplar))

    def examples(self, ask: ExamplesAsk, emit: Emit) -> None:
        """The first living features."""
        every = self.explorer.rows(range(self.explorer.width))
        rows = [row for row in every if row.alive][: ask.limit]
        alike = [
            AlikeRow(row=row, score=0.5 / (n + 1), wanted=0.6 / (n + 1), unwanted=0.1 / (n + 1))
            for n, row in enumerate(rows)
        ]
        emit(AlikeFound(rows=alike))

    def versus(self, ask: VersusAsk, emit: Emit) -> None:
        """Only one dictionary is drawn; two names of it are refused as they would be elsewhere."""
        for name in ask.models:
            if name not in ("", *MODELS):
                raise NotThere(f"No model {name!r} is served here; there are {MODELS}.")
        rows = self.explorer.rows(range(min(ask.limit, self.explorer.width)))
        known = rows[0].dictionary
        for name in ask.dictionaries:
            if not name.startswith(known.split("/")[0]):
                raise NotThere(f"There is no dictionary {name!r} here; there is {known}.")
        reasons = [
            Reason(id=row.id, label=row.label, attribution=1.0 / (n + 1), activation=3.0, where=[n])
            for n, row in enumerate(rows)
        ]
        models = [name or MODELS[0] for name in ask.models]
        same = models[0] == models[1]
        both: tuple[tuple[Side, str], ...] = (("one", TOLD), ("other", TOLD.replace("red", "warm")))
        if ask.write and not ask.answers:
            for side, text in both[: 1 if same else 2]:
                if self._answer(ask, side, text, emit):
                    return
        target = Target(id=7, text=" red", position=11 + ask.token, probability=0.67)
        groups = [
            ClusterRecord(
                number=n, label=row.label, coherence=5.0, score=1.0 / (n + 1),
                features=[Member(id=row.id, label=row.label, description="", score=1.0 / (n + 1))],
                suppress=_without(row.label, [row]),
            )
            for n, row in enumerate(rows[:3] if ask.clusters else ())
        ]  # fmt: skip
        sides = [
            VersusSide(
                dictionary=name, l0=32.0, fvu=0.1, unexplained=0.1, reasons=reasons, model=model,
                value=-0.4, target=target, clusters=groups,
            )
            for name, model in zip(ask.dictionaries, models, strict=True)
        ]  # fmt: skip
        emit(VersusFound(value=-0.4, sides=sides, pairs=[
            Pair(one=rows[0].id, other=rows[-1].id, together=0.8)
        ] if same else []))  # fmt: skip

    def measure(self, ask: MeasureAsk, emit: Emit) -> None:
        """A made-up effect, kept as a measured one would be."""
        self.explorer.number(ask.feature)
        from semascope.monitor.safety_register import register

        probes = len(register().concept(ask.concept).probes)
        effect = TestedRecord(
            effect=0.8, low=0.2, high=1.4, control=0.05, strength=ask.strength, probes=probes,
            when="2026-01-01T10:00:00+00:00",
        )  # fmt: skip
        emit(TestedFound(concept=ask.concept, feature=ask.feature, tested=effect))
        self.explorer.guides.keep(ask.concept, ask.feature, effect)

    def play_tour(self, ask: TourAsk, emit: Emit) -> None:
        """A step, played on these answers."""
        for _ in play_step(self.explorer, ask, emit):
            pass

    def _answer(self, ask: CompareAsk | ChatAsk, side: Side, text: str, emit: Emit) -> bool:
        """Say a text word by word; True when the listener stopped it."""
        emit(Started(side=side))
        words = text.split(" ")[: ask.max_new_tokens]
        begun, written, stopped = time.perf_counter(), "", False
        for n, word in enumerate(words):
            time.sleep(self.pause)
            token = _token(side, n, word, ask.top)
            written += token.text
            if stopped := emit(token):
                break
        emit(
            Answered(
                side=side, text=written, stopped="cancelled" if stopped else "eos",
                prompt_tokens=80, seconds=time.perf_counter() - begun,
            )
        )  # fmt: skip
        return stopped


def _token(side: Side, n: int, word: str, top: int) -> Token:
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
        tells=telling(text),
        entropy=-p * math.log(p) + (1 - p),
    )  # fmt: skip


def _read(n: int, word: str, role: RoleName, top: int) -> ReadRecord:
    token = _token("answer", n, word, top)
    return ReadRecord(
        id=n, text=token.text, kind="text", role=role, logprob=token.logprob, entropy=token.entropy,
        top=token.top,
    )  # fmt: skip


def _without(word: str, members: list[FeatureRow]) -> dict[str, object]:
    features = [[row.dictionary, row.index] for row in members]
    return {"features": features, "how": "ablate", "name": f"without '{word}'"}


def _apart(side: Side, text: str, force: float, share: float) -> Compared:
    """How far a made-up answer lies from the unchanged one."""
    shifts = [
        ShiftRecord(
            text=f" {word}" if n else word, before=-0.3, after=-0.3 - force * (n % 5),
            kl=force * (n % 5) / 4, promoted=[Gain(text=" no", before=0.02, after=0.4)],
        )
        for n, word in enumerate(TOLD.split(" "))
    ]  # fmt: skip
    return Compared(
        side=side, changed=text != TOLD, kl=sum(s.kl for s in shifts) / len(shifts),
        logprob_shift=sum(s.after - s.before for s in shifts), shifts=shifts, share=share,
    )  # fmt: skip
