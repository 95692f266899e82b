"""Can a subject see: what it says of scenes that it never saw, against what is true of them.

Every figure is measured on held-out compositions (pairs of things that no training scene shows
together) drawn with the seed given, each question asked by itself, answered greedily:

* ``caption_f1``: names in captions, micro-averaged F1 over all scenes (an empty scene has none)
* ``presence``: balanced accuracy of yes and no
* ``position``, ``colour``, ``count``, ``word``, ``emotion``, ``map``: share of exact answers
* ``perplexity_ratio``: perplexity on plain English over that of the language model it came from

Each share comes with the number of questions and a 95 % Wilson interval. Knows subjects and
scenes; knows no dictionary.
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

from semascope.corpus.sample import Question, Sample, Turn
from semascope.corpus.scenes import SceneCorpus, SpritePack
from semascope.errors import SubjectError
from semascope.statistics import share
from semascope.subject.generation.cache import cache_name, cache_of
from semascope.subject.model import Subject
from semascope.subject.types import PICTURE_KINDS, Batch

Progress = Callable[[int, int, str], None]
EXACT = ("position", "colour", "count", "word", "emotion", "map")
ARTICLES = re.compile(r"^(?:an?|some|the word|the|any)\s+", re.IGNORECASE)
BATCH = 48
LONGEST = 64
"""Tokens of the longest answer waited for."""


@dataclass(slots=True)
class AnswerCounts:
    """Right and asked, by kind of question; true and false positives of names."""

    right: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    asked: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    hits: int = 0
    said: int = 0
    there: int = 0

    def add(self, question: Question, answer: str) -> None:
        """Count one answered question."""
        if question.kind == "describe":
            said, there = set(names(answer)), set(names(question.answer))
            self.hits += len(said & there)
            self.said += len(said)
            self.there += len(there)
            self.asked["describe"] += 1
            return
        key = f"presence {question.answer}" if question.kind == "presence" else question.kind
        self.asked[key] += 1
        self.right[key] += int(same(answer, question.answer))

    def share(self, key: str) -> float:
        """Share of right answers, 0 where none was asked."""
        return self.right[key] / self.asked[key] if self.asked[key] else 0.0

    def figures(self) -> dict[str, Any]:
        """All figures by name, intervals and counts beside them."""
        f1 = 2 * self.hits / (self.said + self.there) if self.said + self.there else 0.0
        out: dict[str, Any] = {
            "caption_f1": f1,
            "caption_precision": self.hits / max(1, self.said),
            "caption_recall": self.hits / max(1, self.there),
            "presence": (self.share("presence yes") + self.share("presence no")) / 2,
        }
        out |= {kind: self.share(kind) for kind in EXACT}
        out["intervals"] = {
            kind: share(self.right[kind], self.asked[kind]).interval for kind in sorted(self.right)
        }
        out["asked"] = dict(sorted(self.asked.items()))
        return out


def same(answer: str, truth: str) -> bool:
    """Whether an answer says the truth: case, articles and a final stop do not matter."""
    return plain(answer) == plain(truth)


def plain(text: str) -> str:
    """A phrase as it is compared."""
    return ARTICLES.sub("", text.strip().rstrip(".!").lower())


def names(caption: str) -> list[str]:
    """The things that a caption lists; 'nothing' lists none."""
    whole = {s.name.lower() for s in SpritePack.load().sprites if " and " in s.name}
    found: list[str] = []
    for piece in re.split(r",\s*(?:and\s+)?|\s+and\s+", caption.strip().rstrip(".")):
        said = plain(piece)
        joined = f"{found[-1]} and {said}" if found else ""
        if joined in whole:
            found[-1] = joined
        elif said and said != "nothing":
            found.append(said)
    return found


def evaluate_subject(
    subject: Subject,
    *,
    seed: int = 1,
    samples: int = 1000,
    split: str = "heldout",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The model card's figures, measured on scenes drawn with ``seed``.

    ``samples`` questions of each kind (half of presence each way) and as many captions. Raises
    SubjectError when the subject has no sight.
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
        for (_, asked), said in zip(chunk, answers, strict=True):
            for question, answer in zip(asked, said, strict=True):
                tally.add(question, answer)
            done += len(asked)
        if progress:
            progress(done, total, f"caption F1 {tally.figures()['caption_f1']:.2f}")
    figures = tally.figures()
    figures["perplexity_ratio"] = perplexity_ratio(subject, seed=seed)
    figures |= {"seed": seed, "samples": samples, "split": split, "subject": subject.name}
    return figures


def _questions(seed: int, samples: int, split: str) -> list[tuple[Sample, list[Question]]]:
    """Scenes with the questions that are put to each, until every kind has its number.

    A map is asked about a quarter as often: one scene in sixteen is one.
    """
    wanted = {"describe": samples, "presence yes": samples // 2}
    wanted["presence no"] = samples - samples // 2
    wanted |= dict.fromkeys(EXACT, samples) | {"map": -(-samples // 4)}
    corpus, found = SceneCorpus(2**40, seed=seed + 1_000_003, split=split), []
    for _, sample in corpus.read(0, samples * 60):
        asked: list[Question] = []
        for question in sample.truth.questions if sample.truth is not None else ():
            key = f"presence {question.answer}" if question.kind == "presence" else question.kind
            if wanted.get(key, 0) > 0:
                wanted[key] -= 1
                asked.append(question)
        if asked:
            found.append((sample, asked))
        if not any(wanted.values()):
            break
    return found


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
    """Greedy answers to every question about every scene, each asked by itself.

    What all rows share up to their picture's end is run once a scene and its cache reused for
    every question; questions of one length go through together, so that nothing is padded.
    Where pictures differ in their number of tokens each question is run whole instead.
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
        said = answer_batch(subject, alone, LONGEST)
    else:
        said = _shared(subject, encoded, [i for i, _ in rows], ends[0])
    for (i, q), text in zip(rows, said, strict=True):
        out[i][q] = text
    return out


def _shared(subject: Subject, encoded: list[Batch], scene: list[int], end: int) -> list[str]:
    first = {i: n for n, i in reversed(list(enumerate(scene)))}
    order = {i: at for at, i in enumerate(sorted(first))}
    heads = [encoded[first[i]] for i in sorted(first)]
    prefix = torch.cat([h.inputs["input_ids"][:, :end] for h in heads])
    pixels = torch.cat([h.inputs["pixel_values"] for h in heads])
    cache = cache_of(subject.model(input_ids=prefix, pixel_values=pixels, use_cache=True))
    said = [""] * len(encoded)
    tails = [e.inputs["input_ids"][0, end:] for e in encoded]
    for length in sorted({len(t) for t in tails}):
        some = [n for n, t in enumerate(tails) if len(t) == length]
        mine = copy.deepcopy(cache)
        mine.batch_select_indices(torch.tensor([order[scene[n]] for n in some]))
        ids = torch.stack([tails[n] for n in some])
        for n, text in zip(some, _greedy(subject, ids, mine), strict=True):
            said[n] = text
    return said


def _greedy(subject: Subject, ids: torch.Tensor, cache: Any) -> list[str]:
    """Decode rows of one length after a cache, until each has ended."""
    stop = subject.tokenizer.eos_token_id
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    kept: list[torch.Tensor] = []
    held = {str(cache_name(subject.model)): cache}
    for _ in range(LONGEST):
        logits = subject.model(input_ids=ids, **held, logits_to_keep=1).logits
        ids = logits[:, -1].argmax(-1, keepdim=True)
        done |= ids[:, 0] == stop
        kept.append(ids.masked_fill(done[:, None], stop))
        if bool(done.all()):
            break
    texts = subject.tokenizer.batch_decode(torch.cat(kept, 1), skip_special_tokens=True)
    return [str(t).strip() for t in texts]


@torch.inference_mode()
def perplexity(
    logits: Callable[[torch.Tensor], torch.Tensor], texts: Sequence[torch.Tensor]
) -> float:
    """exp of the mean negative log-likelihood a token; ``texts`` are (1, T) token ids."""
    total, count = 0.0, 0
    for ids in texts:
        scores = logits(ids)[0, :-1].float()
        total += float(F.cross_entropy(scores, ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    return math.exp(total / max(1, count))


def perplexity_ratio(subject: Subject, *, seed: int = 1, passages: int = 80) -> float | None:
    """Perplexity on held-out plain English over SmolLM2's own; None for other subjects."""
    if subject.name != "sprite-llava":
        return None
    from semascope.corpus.text import plain_english
    from semascope.subject.embedded.smollm import language_model

    texts = plain_english(passages)
    ids = [subject.tokenizer(t, return_tensors="pt").input_ids[:, :256] for t in texts]
    ours = perplexity(lambda i: subject.model(input_ids=i.to(subject.device)).logits.cpu(), ids)
    base = language_model()
    return ours / perplexity(lambda i: base(input_ids=i).logits, ids)
