"""Step 3: teach the language model to read a picture's tokens.

    python -m recipes.sprite_llava.language --folder runs/sprite-llava --eyes oracle --minutes 50
    python -m recipes.sprite_llava.language --folder runs/sprite-llava --eyes tower --threads 2

Two pairs of eyes. ``oracle``: the words that each patch should begin as (``words``), straight
from the truth, with the mistakes of a half-trained tower mixed in: no pixels, no tower, so this
runs beside step 1, and most of the background can be left out. ``tower``: the trained tower
through the projector, which learns along. Low-rank deltas on every linear layer; the loss is on
answers only, and only answer positions pass the head. One batch in ten is plain text, so that
the language survives. ``--bf16`` multiplies in bfloat16 where the processor is faster at it: the
frozen weights are kept so, the deltas stay as they are. Resumes; logs to language.jsonl.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from recipes.sprite_llava import lora
from recipes.sprite_llava.asking import ask, drill
from recipes.sprite_llava.batches import IGNORE, KINDS, Packed, Sheet, Writer, pack
from recipes.sprite_llava.eyes import Eyes, Oracle
from recipes.sprite_llava.practice import CROWDED, for_reader
from recipes.sprite_llava.targets import Vocabulary, patch_truth
from recipes.sprite_llava.together import Team
from recipes.sprite_llava.words import WordSpace
from semascope.corpus.sample import Question
from semascope.corpus.scenes import SpritePack
from semascope.corpus.scenes.compose import Scene
from semascope.corpus.scenes.language import QuestionWriter
from semascope.corpus.text import passages
from semascope.subject.embedded import smollm

TOKENIZER = Path(__file__).parents[2] / "src/semascope/subject/sprite_llava"
TEXT_EVERY = 10
TALK_EVERY = 10


@dataclass(frozen=True, slots=True)
class Item:
    """One picture with its questions: what the eyes are to look at, or what they said of it."""

    sheet: Sheet
    scene: Scene
    said: Tensor | None = None
    """(P, d) the oracle's tokens."""
    kept: Tensor | None = None
    """(K,) the tower's tokens to read; None reads all."""


def answer_loss(
    lm: LlamaForCausalLM, embeds: Tensor, packed: Packed
) -> tuple[Tensor, dict[str, float]]:
    """Mean cross-entropy over answer tokens, and the share of them that was the likeliest: of
    all, and of each kind of question."""
    hidden = lm.model(
        inputs_embeds=embeds,
        attention_mask=packed.mask,
        position_ids=packed.positions,
        use_cache=False,
    ).last_hidden_state
    b, t = torch.nonzero(packed.labels[:, 1:] != IGNORE, as_tuple=True)
    # (answers, V): 2-D, answers only
    logits = F.linear(hidden[b, t], lm.model.embed_tokens.weight).float()
    goal = packed.labels[b, t + 1]
    right = (logits.detach().argmax(-1) == goal).float()
    of = packed.kinds[b, t + 1]
    kinds = {KINDS[k]: float(right[of == k].mean()) for k in of.unique().tolist() if k >= 0}
    return F.cross_entropy(logits, goal), {"right": float(right.mean()), **kinds}


def text_loss(lm: LlamaForCausalLM, texts: list[list[int]]) -> Tensor:
    """Language-model loss on plain text, a quarter of the positions through the head."""
    n = max(map(len, texts))
    ids = torch.tensor([t + [0] * (n - len(t)) for t in texts])
    real = torch.tensor([[True] * len(t) + [False] * (n - len(t)) for t in texts])
    hidden = lm.model(input_ids=ids, attention_mask=real.long(), use_cache=False).last_hidden_state
    b, t = torch.nonzero(real[:, 1:], as_tuple=True)
    some = torch.randperm(len(b))[: max(1, len(b) // 4)]
    logits = F.linear(hidden[b[some], t[some]], lm.model.embed_tokens.weight).float()
    return F.cross_entropy(logits, ids[b[some], t[some] + 1])


def _log(path: Path, line: dict[str, object]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


class Run:
    """Everything that one training run holds."""

    def __init__(self, a: argparse.Namespace) -> None:
        self.a, self.log, self.team = a, a.folder / "language.jsonl", Team()
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
        self.tokenize = lambda text: self.tokenizer(text, add_special_tokens=False).input_ids
        self.lm = smollm.language_model()
        self.lm.set_attn_implementation("eager")  # a sixth faster at a hundred tokens
        self.deltas = lora.attach(self.lm, a.rank, a.scale)
        self.vocabulary = Vocabulary(SpritePack.load())
        embed = self.lm.model.embed_tokens.weight.detach()
        self.words = WordSpace(embed, self.tokenize, self.vocabulary)
        self.rng = np.random.default_rng((int(time.time()), self.team.rank))
        if a.bf16:
            lora.halve(self.deltas)
        self.oracle = Oracle(self.words, self.vocabulary, self.rng)
        self.eyes: Oracle | Eyes = self.oracle
        groups = [
            {"params": [p for m in self.deltas.values() for p in (m.down, m.up)], "peak": a.lr}
        ]
        if a.eyes == "tower":
            self.eyes = Eyes(a.folder, self.words.d)
            if a.watch:
                self.eyes.requires_grad_(False)
            else:
                rate = a.lr / 3
                groups.append({"params": list(self.eyes.projector.parameters()), "peak": rate})
        self.optimiser = torch.optim.AdamW(
            groups, lr=a.lr, weight_decay=0.0, betas=(0.9, 0.98), fused=True
        )
        self.state = {"pictures": 0, "pairs": 0, "seconds": 0.0}
        self._resume()
        self.texts = self._texts()
        kept = a.folder / "talk.jsonl"
        self.talk = [json.loads(line) for line in kept.open()] if kept.exists() else []

    def _resume(self) -> None:
        path = self.a.folder / f"language-{self.a.eyes}.pt"
        before = self.a.folder / "language-oracle.pt"
        if path.exists():
            kept = torch.load(path, weights_only=True)
            lora.restore(self.deltas, kept["deltas"])
            before_it = kept.get("optimiser", {"param_groups": ()})["param_groups"]
            if len(before_it) == len(self.optimiser.param_groups) and not self.a.again:
                self.optimiser.load_state_dict(kept["optimiser"])
            self.state = kept["state"] | ({"seconds": 0.0} if self.a.again else {})
            if isinstance(self.eyes, Eyes) and not self.a.watch and not self.a.again:
                self.eyes.projector.load_state_dict(kept["projector"])
            return
        if isinstance(self.eyes, Eyes) and before.exists():
            kept = torch.load(before, weights_only=True)
            lora.restore(self.deltas, kept["deltas"])
            self.state |= {k: kept["state"][k] for k in ("pictures", "pairs")}

    def _texts(self) -> list[list[int]]:
        """Passages of the built-in corpus, training split, up to 96 tokens each."""
        long = (p.text for p in passages() if p.split == "train" and len(p.text) > 150)
        chosen = self.rng.permutation(list(long))[:6000]
        return [self.tokenize(str(text))[:96] for text in chosen]

    def save(self) -> None:
        if not self.team.leads:
            return
        kept = {
            "deltas": lora.state(self.deltas),
            "optimiser": self.optimiser.state_dict(),
            "state": self.state,
        }
        if isinstance(self.eyes, Eyes):
            kept["projector"] = self.eyes.projector.state_dict()
        path = self.a.folder / f"language-{self.a.eyes}.pt"
        torch.save(kept, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def items(self, scenes: list[Scene], asker: QuestionWriter, writer: Writer) -> list[Item]:
        """Every scene with its questions, shortest first, so that a batch has little padding."""
        make = self._of_oracle if isinstance(self.eyes, Oracle) else self._of_tower
        out = [make(scene, asker, writer) for scene in scenes]
        return sorted(out, key=lambda item: len(item.sheet.ids))

    def _of_oracle(self, scene: Scene, asker: QuestionWriter, writer: Writer) -> Item:
        """Its prefix is short, so few questions: more pictures teach more names."""
        said, kept = self.oracle.see(scene)
        first, *rest = ask(asker, scene, self.rng)
        questions = [first, *(rest[int(i)] for i in self.rng.permutation(len(rest))[:3])]
        self.state["pairs"] += len(questions)
        talk = bool(self.rng.random() < 0.1)
        return Item(writer.sheet(64, questions, talk, kept), scene, said=said)

    def _of_tower(self, scene: Scene, asker: QuestionWriter, writer: Writer) -> Item:
        """A sample of all questions, or a drill; three pictures in four without most background.
        A share of the drills is through the oracle's eyes: where to look is learned soonest there.
        """
        drilled = bool(self.rng.random() < self.a.drill)
        if drilled and self.rng.random() < self.a.ideal:
            said, seen = self.oracle.see(scene)
            questions = drill(asker, scene, self.rng)
            self.state["pairs"] += len(questions)
            return Item(writer.sheet(64, questions, kept=seen), scene, said=said)
        questions = (drill if drilled else ask)(asker, scene, self.rng)
        self.state["pairs"] += len(questions)
        kept = None
        if self.rng.random() < 0.75:
            thing = patch_truth(scene, self.vocabulary).name > 0
            share = self.rng.uniform(0.1, 0.4)
            kept = np.flatnonzero(thing | (self.rng.random(len(thing)) < share))
        talk = bool(self.rng.random() < 0.1)
        sheet = writer.sheet(64, questions, talk, None if kept is None else kept.tolist())
        return Item(sheet, scene, kept=None if kept is None else torch.from_numpy(kept))

    def batch(self, item: Item) -> tuple[Tensor, Packed]:
        """Input embeddings with the picture in its place, and the rest."""
        if item.said is not None:
            seen = item.said
        else:
            assert isinstance(self.eyes, Eyes)
            seen = self.eyes.see([item.scene])[0]
            seen = seen if item.kept is None else seen[item.kept]
        packed = pack([item.sheet])
        embeds = self.lm.model.embed_tokens(packed.ids.clamp(min=0))
        return embeds.masked_scatter((packed.ids == -1)[..., None], seen), packed

    def _fast(self) -> torch.autocast:
        """Products in bfloat16, where that was asked for."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.a.bf16)

    def _read_text(self) -> dict[str, float]:
        """Gradient of a few plain passages."""
        chosen = self.rng.integers(0, len(self.texts), self.a.batch)
        with self._fast():
            loss = text_loss(self.lm, [self.texts[i] for i in chosen])
        loss.backward()
        return {"text": float(loss.detach())}

    def _talk(self, writer: Writer) -> dict[str, float]:
        """Gradient of SmolLM2's own answers to plain questions, where ``talk`` has kept some."""
        chosen = [self.talk[i] for i in self.rng.integers(0, len(self.talk), self.a.batch)]
        sheets = [writer.sheet(0, [Question("describe", t["text"], t["answer"])]) for t in chosen]
        for sheet, line in zip(sheets, chosen, strict=True):
            if not line["ended"]:  # it was cut: its end is no end
                sheet.labels[-1] = IGNORE
        packed = pack(sheets)
        with self._fast():
            loss, right = answer_loss(self.lm, self.lm.model.embed_tokens(packed.ids), packed)
        loss.backward()
        return {"talk": float(loss.detach()), "talk right": right["right"]}

    def _answer(self, items: list[Item]) -> dict[str, float]:
        """Gradient of some pictures' questions, one picture at a time: nothing is padded, and
        what one picture needs fits a cache."""
        answers = [sum(y != IGNORE for y in item.sheet.labels) for item in items]
        found: dict[str, list[float]] = {}
        for item, n in zip(items, answers, strict=True):
            embeds, packed = self.batch(item)
            with self._fast():
                loss, right = answer_loss(self.lm, embeds, packed)
            (loss * (n / sum(answers))).backward()
            for key, value in {"loss": float(loss.detach()), **right}.items():
                found.setdefault(key, []).append(value)
        return {key: float(np.mean(values)) for key, values in found.items()}

    def train(self) -> None:
        a = self.a
        seed = 3 if a.eyes == "oracle" else 4
        pack_ = SpritePack.load()
        corpus = for_reader(pack_, 7) if a.usual else for_reader(pack_, seed, CROWDED)
        asker, writer = QuestionWriter(pack_), Writer(self.tokenize)
        mean: dict[str, float] = {}
        waiting: list[list[Item]] = []
        started, saved, step = time.time() - self.state["seconds"], time.time(), 0
        learned = [p for g in self.optimiser.param_groups for p in g["params"]]
        while (elapsed := self.team.clock(time.time() - started)) < a.minutes * 60:
            share, warm = elapsed / (a.minutes * 60), min(1.0, (step + 1) / 20)
            for group in self.optimiser.param_groups:
                group["lr"] = group["peak"] * warm * (0.02 + 0.98 * (1 - share))
            self.optimiser.zero_grad(set_to_none=True)
            if self.texts and step % TEXT_EVERY == TEXT_EVERY - 1:
                stats = self._read_text()
            elif self.talk and step % TALK_EVERY == 0:
                stats = self._talk(writer)
            else:
                if not waiting:
                    first, many = int(self.state["pictures"]), 6 * a.batch
                    rows = range(
                        first + self.team.rank, first + many * self.team.size, self.team.size
                    )
                    ready = self.items([corpus.scene(row) for row in rows], asker, writer)
                    waiting = [ready[i : i + a.batch] for i in range(0, many, a.batch)]
                    self.rng.shuffle(waiting)
                    self.state["pictures"] += many * self.team.size
                stats = self._answer(waiting.pop())
            self.team.average(learned)
            nn.utils.clip_grad_norm_(learned, 1.0)
            self.optimiser.step()
            step += 1
            mean |= {k: v if k not in mean else 0.95 * mean[k] + 0.05 * v for k, v in stats.items()}
            if step % 20 == 0 and self.team.leads:
                _log(
                    self.log,
                    {
                        "stage": a.eyes,
                        **{k: int(self.state[k]) for k in ("pictures", "pairs")},
                        "minutes": round(elapsed / 60, 2),
                        **{k: round(v, 4) for k, v in mean.items()},
                    },
                )
            if time.time() - saved > 150:
                self.state["seconds"], saved = time.time() - started, time.time()
                self.save()
                if a.watch and isinstance(self.eyes, Eyes):
                    self.eyes.refresh()
        self.state["seconds"] = time.time() - started
        self.save()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--folder", type=Path, required=True)
    p.add_argument("--eyes", choices=("oracle", "tower"), required=True)
    p.add_argument("--minutes", type=float, default=45, help="training time, over all resumes")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--batch", type=int, default=4, help="pictures a step")
    p.add_argument("--rank", type=int, default=16)
    p.add_argument("--scale", type=float, default=2.0)
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument(
        "--watch", action="store_true", help="take the projector from step 1 as it learns"
    )
    p.add_argument(
        "--drill", type=float, default=0.0, help="share of pictures asked all that is hard (0 to 1)"
    )
    p.add_argument("--ideal", type=float, default=0.5, help="share of drills by the oracle's eyes")
    p.add_argument("--bf16", action="store_true", help="where the processor multiplies it faster")
    p.add_argument("--usual", action="store_true", help="scenes as full as readers will meet")
    p.add_argument("--again", action="store_true", help="a new schedule from the kept weights")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    a.folder.mkdir(parents=True, exist_ok=True)
    Run(a).train()


if __name__ == "__main__":
    main()
