"""The subject benchmark: answers about held-out scenes against the truth.

Every figure is measured on held-out compositions (pairs of things that no training scene shows
together) drawn with the seed given; each question is asked alone and answered greedily:

* ``caption_f1``: names in captions, micro-averaged F1 over all scenes (an empty scene has none)
* ``presence``: balanced accuracy of yes and no
* ``position``, ``colour``, ``count``, ``word``, ``emotion``, ``map``: share of exact answers
* ``perplexity_ratio``: perplexity on plain English over that of the language model it came from

Each share comes with the number of questions and a 95 % Wilson interval.
"""

from __future__ import annotations

import copy
import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import LlavaForConditionalGeneration

from semascope.causal.search.cases import Progress
from semascope.corpus.sample import Question, Sample, Turn
from semascope.corpus.scenes import SceneCorpus, SpritePack
from semascope.errors import SubjectError
from semascope.statistics import share
from semascope.subject.generation.cache import cache_name, cache_of
from semascope.subject.model import Subject
from semascope.subject.types import PICTURE_KINDS, Batch

EXACT = ("position", "colour", "count", "word", "emotion", "map")
ARTICLES = re.compile(r"^(?:an?|some|the word|the|any)\s+", re.IGNORECASE)
BATCH = 48
LONGEST = 64
"""Length limit of an answer, in tokens."""


@dataclass(slots=True)
class AnswerCounts:
    """Right answers and questions by kind; names in captions: given, true, and both."""

    right: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    asked: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    hits: int = 0
    named: int = 0
    true: int = 0

    def add(self, question: Question, answer: str) -> None:
        """Count one answered question."""
        if question.kind == "describe":
            named, true = set(names(answer)), set(names(question.answer))
            self.hits += len(named & true)
            self.named += len(named)
            self.true += len(true)
            self.asked["describe"] += 1
            return
        key = f"presence {question.answer}" if question.kind == "presence" else question.kind
        self.asked[key] += 1
        self.right[key] += int(same(answer, question.answer))

    def share(self, key: str) -> float:
        """Share of right answers; 0 if no such question was asked."""
        return self.right[key] / self.asked[key] if self.asked[key] else 0.0

    def figures(self) -> dict[str, Any]:
        """All figures by name, with intervals and counts."""
        f1 = 2 * self.hits / (self.named + self.true) if self.named + self.true else 0.0
        out: dict[str, Any] = {
            "caption_f1": f1,
            "caption_precision": self.hits / max(1, self.named),
            "caption_recall": self.hits / max(1, self.true),
            "presence": (self.share("presence yes") + self.share("presence no")) / 2,
        }
        out |= {kind: self.share(kind) for kind in EXACT}
        out["intervals"] = {
            kind: share(self.right[kind], self.asked[kind]).interval for kind in sorted(self.right)
        }
        out["asked"] = dict(sorted(self.asked.items()))
        return out


def same(answer: str, truth: str) -> bool:
    """Whether an answer is the truth; case, articles and a final stop do not matter."""
    return plain(answer) == plain(truth)


def plain(text: str) -> str:
    """A phrase in lower case, without its article and final stop."""
    return ARTICLES.sub("", text.strip().rstrip(".!").lower())


def names(caption: str) -> list[str]:
    """The things that a caption lists; 'nothing' lists none."""
    whole = {s.name.lower() for s in SpritePack.load().sprites if " and " in s.name}
    listed: list[str] = []
    for piece in re.split(r",\s*(?:and\s+)?|\s+and\s+", caption.strip().rstrip(".")):
        name = plain(piece)
        joined = f"{listed[-1]} and {name}" if listed else ""
        if joined in whole:
            listed[-1] = joined
        elif name and name != "nothing":
            listed.append(name)
    return listed


def evaluate_subject(
    subject: Subject,
    *,
    seed: int = 1,
    samples: int = 1000,
    split: str = "heldout",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The model card's figures, measured on scenes drawn with ``seed``.

    Args:
        subject: a model that reads pictures.
        seed: random seed of the scenes.
        samples: number of questions of each kind (presence: half yes, half no), and of captions.
        split: split of the scenes.
        progress: called with (done, total, note).

    Raises:
        SubjectError: the subject reads no pictures.
    """
    if not subject.has_vision:
        raise SubjectError(
            f"{subject.name} reads text only: these figures need a subject that sees."
        )
    tally, todo = AnswerCounts(), _questions(seed, samples, split)
    done, total = 0, sum(len(questions) for _, questions in todo)
    for at in range(0, len(todo), BATCH):
        chunk = todo[at : at + BATCH]
        answers = answer_scenes(subject, [(s, [q.text for q in asked]) for s, asked in chunk])
        for (_, questions), texts in zip(chunk, answers, strict=True):
            for question, text in zip(questions, texts, strict=True):
                tally.add(question, text)
            done += len(questions)
        if progress:
            progress(done, total, f"caption F1 {tally.figures()['caption_f1']:.2f}")
    figures = tally.figures()
    figures["perplexity_ratio"] = perplexity_ratio(subject, seed=seed)
    figures |= {"seed": seed, "samples": samples, "split": split, "subject": subject.name}
    return figures


def _questions(seed: int, samples: int, split: str) -> list[tuple[Sample, list[Question]]]:
    """Scenes with the questions to ask of each, until every kind has its number.

    There are a quarter as many questions about maps, as only one scene in sixteen is a map.
    """
    wanted = {"describe": samples, "presence yes": samples // 2}
    wanted["presence no"] = samples - samples // 2
    wanted |= dict.fromkeys(EXACT, samples) | {"map": -(-samples // 4)}
    corpus = SceneCorpus(2**40, seed=seed + 1_000_003, split=split)
    todo: list[tuple[Sample, list[Question]]] = []
    for _, sample in corpus.read(0, samples * 60):
        asked: list[Question] = []
        for question in sample.truth.questions if sample.truth is not None else ():
            key = f"presence {question.answer}" if question.kind == "presence" else question.kind
            if wanted.get(key, 0) > 0:
                wanted[key] -= 1
                asked.append(question)
        if asked:
            todo.append((sample, asked))
        if not any(wanted.values()):
            break
    return todo


def ask(sample: Sample, text: str, name: str) -> Sample:
    """The sample's picture with one question and no answer."""
    return Sample(
        id=name, turns=(Turn("user", text, images=len(sample.images)),), images=sample.images
    )


@torch.inference_mode()
def answer_batch(subject: Subject, samples: Sequence[Sample], max_new_tokens: int) -> list[str]:
    """Greedy answers of several samples at once, padded on the left."""
    batch = subject.encode(samples, side="left", answer="")
    inputs = {k: v for k, v in batch.inputs.items() if v is not None}
    out = subject.model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=subject.tokenizer.pad_token_id,
    )
    new = out[:, batch.inputs["input_ids"].shape[1] :]
    return [str(t).strip() for t in subject.tokenizer.batch_decode(new, skip_special_tokens=True)]


@torch.inference_mode()
def answer_scenes(subject: Subject, scenes: Sequence[tuple[Sample, list[str]]]) -> list[list[str]]:
    """Greedy answers to every question about every scene, each asked alone.

    The prompt up to the picture's end runs once per scene, and its KV cache serves every question;
    questions of one length run together, so that nothing is padded. If pictures differ in their
    number of tokens, every question runs whole.
    """
    rows = [(i, q) for i, (_, asked) in enumerate(scenes) for q in range(len(asked))]
    alone = [ask(scenes[i][0], scenes[i][1][q], f"{i}-{q}") for i, q in rows]
    encoded = [subject.encode([one], answer="") for one in alone]
    ends = [
        int(np.flatnonzero(np.isin(e.maps[0].kinds, PICTURE_KINDS)).max(initial=-1)) + 1
        for e in encoded
    ]
    out: list[list[str]] = [[""] * len(asked) for _, asked in scenes]
    if len(set(ends)) != 1 or not isinstance(subject.model, LlavaForConditionalGeneration):
        texts = answer_batch(subject, alone, LONGEST)
    else:
        texts = _shared(subject, encoded, [i for i, _ in rows], ends[0])
    for (i, q), text in zip(rows, texts, strict=True):
        out[i][q] = text
    return out


def _shared(subject: Subject, encoded: list[Batch], scene: list[int], end: int) -> list[str]:
    """Answers with one KV cache per scene for the first ``end`` tokens."""
    first = {i: n for n, i in reversed(list(enumerate(scene)))}
    order = {i: at for at, i in enumerate(sorted(first))}
    heads = [encoded[first[i]] for i in sorted(first)]
    prefix = torch.cat([h.inputs["input_ids"][:, :end] for h in heads])
    pixels = torch.cat([h.inputs["pixel_values"] for h in heads])
    cache = cache_of(subject.model(input_ids=prefix, pixel_values=pixels, use_cache=True))
    texts = [""] * len(encoded)
    tails = [e.inputs["input_ids"][0, end:] for e in encoded]
    for length in sorted({len(t) for t in tails}):
        some = [n for n, t in enumerate(tails) if len(t) == length]
        selected = copy.deepcopy(cache)
        selected.batch_select_indices(torch.tensor([order[scene[n]] for n in some]))
        ids = torch.stack([tails[n] for n in some])
        for n, text in zip(some, _greedy(subject, ids, selected), strict=True):
            texts[n] = text
    return texts


def _greedy(subject: Subject, ids: torch.Tensor, cache: Any) -> list[str]:
    """Decode rows of one length after a cache, until each has ended."""
    stop = subject.tokenizer.eos_token_id
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    written: list[torch.Tensor] = []
    past = {str(cache_name(subject.model)): cache}
    for _ in range(LONGEST):
        logits = subject.model(input_ids=ids, **past, logits_to_keep=1).logits
        ids = logits[:, -1].argmax(-1, keepdim=True)
        done |= ids[:, 0] == stop
        written.append(ids.masked_fill(done[:, None], stop))
        if bool(done.all()):
            break
    texts = subject.tokenizer.batch_decode(torch.cat(written, 1), skip_special_tokens=True)
    return [str(t).strip() for t in texts]


@torch.inference_mode()
def perplexity(
    logits: Callable[[torch.Tensor], torch.Tensor], texts: Sequence[torch.Tensor]
) -> float:
    """exp of the mean negative log-likelihood per token; ``texts`` are (1, T) token ids."""
    total, count = 0.0, 0
    for ids in texts:
        scores = logits(ids)[0, :-1].float()
        total += float(F.cross_entropy(scores, ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    return math.exp(total / max(1, count))


def perplexity_ratio(subject: Subject, *, seed: int = 1, passages: int = 80) -> float | None:
    """Perplexity on held-out plain English relative to SmolLM2's; None for other subjects."""
    if subject.name != "sprite-llava":
        return None
    from semascope.corpus.text import plain_english
    from semascope.subject.embedded.smollm import language_model

    texts = plain_english(passages)
    ids = [subject.tokenizer(t, return_tensors="pt").input_ids[:, :256] for t in texts]
    ours = perplexity(lambda i: subject.model(input_ids=i.to(subject.device)).logits.cpu(), ids)
    base = language_model()
    return ours / perplexity(lambda i: base(input_ids=i).logits, ids)
