"""Step 1: train the vision tower to know, at every patch, what it sees.

    python -m recipes.sprite_llava.tower --folder runs/sprite-llava --minutes 60 --threads 1
    torchrun --nproc-per-node 2 -m recipes.sprite_llava.tower --folder ... (see ``together``)

A CLIPVisionModel (256 wide, 6 layers, patch 16, 128 px) with linear heads that are thrown away
afterwards: at each thing's patches its name, colour, texture and a thumbnail of the whole;
whether it is the furthest
left, right, top or bottom; and, at every background patch, how many things there are. Scenes are
drawn on the fly and never repeat. The projector learns along: it says every patch in the language
model's input embeddings (``words``), so that the tower's last layer holds what a projector can
say. Matrices learn by Muon, the rest by AdamW. Resumes from its last checkpoint; logs to
tower.jsonl.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast

from recipes.sprite_llava.muon import Muon
from recipes.sprite_llava.practice import for_tower
from recipes.sprite_llava.projector import Naming, Projector, Telling
from recipes.sprite_llava.targets import PatchTruth, Vocabulary, patch_truth, thumbnails
from recipes.sprite_llava.together import Team
from recipes.sprite_llava.words import WordSpace
from semascope.corpus.scenes import SpritePack
from semascope.corpus.scenes.colours import NAMES as COLOURS
from semascope.corpus.scenes.compose import Scene
from semascope.corpus.scenes.sprites import TEXTURES
from semascope.subject.embedded import smollm

TOKENIZER = Path(__file__).parents[2] / "src/semascope/subject/sprite_llava"
READ = 2
"""How many of the tower's last layers the projector reads (``vision_feature_layer``)."""
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def vision_config(width: int = 256, layers: int = 6) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=width // 64, image_size=128, patch_size=16, hidden_act="gelu",
    )  # fmt: skip


class Heads(nn.Module):
    """Linear readers of one patch's features."""

    def __init__(self, width: int, names: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        sizes = {
            "name": names,
            "colour": len(COLOURS),
            "texture": len(TEXTURES),
            "sides": 4,
            "count": 7,
            "thumbnail": 256,
        }
        self.read = nn.ModuleDict({k: nn.Linear(width, n) for k, n in sizes.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # (B, P, width) -> each (B, P, n)
        x = self.norm(x)
        return {k: head(x) for k, head in self.read.items()}


def pixels(images: list[np.ndarray]) -> Tensor:
    """(B, 3, H, W) normalised as the shipped image processor does."""
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255)
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def features(tower: CLIPVisionModel, x: Tensor, keep: Tensor | None = None) -> Tensor:
    """(B, P, READ · width): the last layers side by side, without the class token, as LLaVA reads
    them; the last ``width`` numbers are the last layer's.

    ``keep`` (B, K) names the patches to compute: most background can be left out while learning
    names, which makes a step nearly twice as cheap.
    """
    inner = getattr(tower, "vision_model", tower)
    hidden = inner.embeddings(x)
    if keep is not None:
        at = torch.cat([torch.zeros_like(keep[:, :1]), keep + 1], 1)[..., None]
        hidden = hidden.gather(1, at.expand(-1, -1, hidden.shape[-1]))
    hidden, seen = inner.pre_layrnorm(hidden), []
    for layer in inner.encoder.layers:
        hidden = layer(hidden, attention_mask=None)
        seen.append(hidden)
    return torch.cat(seen[-READ:], -1)[:, 1:]


def choose(truth: list[PatchTruth], k: int, rng: np.random.Generator) -> np.ndarray:
    """(B, k) patches to compute: at least four of background, then things, then what is left."""
    rows = []
    for t in truth:
        rank = np.where(t.name > 0, 1.0, 2.0) + rng.random(len(t.name)) * 0.9
        empty = rng.permutation(np.flatnonzero(t.name == 0))[:4]
        rank[empty] = 0
        rows.append(np.argsort(rank)[:k])
    return np.stack(rows)


def only(truth: PatchTruth, keep: np.ndarray) -> PatchTruth:
    """The labels of the chosen patches."""
    return PatchTruth(
        truth.name[keep],
        truth.colour[keep],
        truth.texture[keep],
        truth.sides[keep],
        truth.picture[keep],
        truth.place[keep],
        truth.count,
    )


def loss_of(
    out: dict[str, Tensor], truth: list[PatchTruth], small: Tensor, imagined: float = 2.0
) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of every head's loss, thumbnails by ``imagined``, and accuracies to log."""
    name = torch.from_numpy(np.stack([t.name for t in truth]))
    colour = torch.from_numpy(np.stack([t.colour for t in truth]))
    texture = torch.from_numpy(np.stack([t.texture for t in truth]))
    sides = torch.from_numpy(np.stack([t.sides for t in truth]))
    count = torch.tensor([min(t.count, 6) for t in truth])
    thing, empty = name > 0, name == 0
    weight = torch.ones(out["name"].shape[-1])
    weight[0] = 0.2
    name_loss = F.cross_entropy(out["name"].flatten(0, 1), name.flatten(), weight)
    wide = count[:, None].expand_as(name)
    count_loss = F.cross_entropy(out["count"][empty], wide[empty])
    colour_loss = F.cross_entropy(out["colour"].flatten(0, 1), colour.flatten(), ignore_index=-1)
    texture_loss = F.cross_entropy(out["texture"].flatten(0, 1), texture.flatten(), ignore_index=-1)
    if not bool((texture >= 0).any()):
        texture_loss = out["texture"].sum() * 0
    side_loss = F.binary_cross_entropy_with_logits(out["sides"][thing], sides[thing])
    picture = torch.from_numpy(np.stack([t.picture for t in truth]))
    seen = picture >= 0
    image_loss = F.mse_loss(out["thumbnail"][seen], small[picture[seen]])
    total = (
        imagined * image_loss
        + name_loss
        + 0.3 * count_loss
        + 0.2 * colour_loss
        + 0.05 * texture_loss
        + 1.5 * side_loss
    )
    with torch.no_grad():
        stats = {
            "loss": float(total.detach()),
            "thumbnail": float(image_loss.detach()),
            "name": float((out["name"].argmax(-1) == name)[thing].float().mean()),
            "empty": float((out["name"].argmax(-1) == 0)[empty].float().mean()),
            "count": float((out["count"].argmax(-1) == wide)[empty].float().mean()),
            "colour": float((out["colour"].argmax(-1) == colour)[colour >= 0].float().mean()),
            "sides": _overlap((out["sides"] > 0)[thing], sides[thing] > 0.5),
        }
    return total, stats


def _overlap(said: Tensor, true: Tensor) -> float:
    """Intersection over union of two boolean tensors of one shape."""
    return float((said & true).sum() / (said | true).sum().clamp(min=1))


class Run:
    """Everything that one training run holds."""

    def __init__(self, a: argparse.Namespace) -> None:
        self.a, self.team = a, Team()
        self.vocabulary = Vocabulary(SpritePack.load())
        self.words = word_space(self.vocabulary)
        self.parts = nn.ModuleDict(
            {
                "tower": CLIPVisionModel(vision_config(a.width, a.layers)),
                "heads": Heads(a.width, len(self.vocabulary)),
                "projector": Projector(READ * a.width, self.words.d),
                "naming": Naming(self.words.names, a.near),
                "telling": Telling(self.words),
            }
        )
        if a.only_projector:
            self.parts["tower"].requires_grad_(False)
            self.parts["heads"].requires_grad_(False)
        self.optimisers = optimisers(self.parts, a.lr, a.bf16)
        self.peaks = [o.param_groups[0]["lr"] for o in self.optimisers]
        self.state = {"scenes": 0, "seconds": 0.0}
        self.small = torch.from_numpy(thumbnails(SpritePack.load()))
        self._resume()
        self.rng = np.random.default_rng((self.state["scenes"], self.team.rank))
        self.learned = [p for p in self.parts.parameters() if p.requires_grad]

    def _resume(self) -> None:
        if not (self.a.folder / "tower.pt").exists():
            return
        kept = torch.load(self.a.folder / "tower.pt", weights_only=True)
        for name, part in self.parts.items():
            if name in kept:
                part.load_state_dict(kept[name], strict=name not in ("heads", "naming"))
        if "optimisers" in kept and not self.a.again:
            for optimiser, its in zip(self.optimisers, kept["optimisers"], strict=True):
                optimiser.load_state_dict(its)
        self.state = kept["state"] | ({"seconds": 0.0} if self.a.again else {})

    def save(self) -> None:
        if not self.team.leads:
            return
        kept = {name: part.state_dict() for name, part in self.parts.items()}
        kept |= {"optimisers": [o.state_dict() for o in self.optimisers], "state": self.state}
        part = self.a.folder / "tower.pt.part"
        torch.save(kept, part)
        part.replace(self.a.folder / "tower.pt")

    def step(self, drawn: list[Scene], sparse: bool) -> dict[str, float]:
        """Learn from some scenes, a few at a time (what fits a cache is faster); what it knew."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        few = [drawn[i : i + self.a.few] for i in range(0, len(drawn), self.a.few)]
        found = [self._learn(some, sparse, len(some) / len(drawn)) for some in few]
        self.team.average(self.learned)
        nn.utils.clip_grad_norm_(self.parts.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        return {k: float(np.nanmean([f[k] for f in found if k in f])) for k in found[0]}

    def _learn(self, drawn: list[Scene], sparse: bool, share: float) -> dict[str, float]:
        """Add the gradient of a share of a step."""
        truth = [patch_truth(s, self.vocabulary) for s in drawn]
        keep = None
        if sparse:
            chosen = choose(truth, self.a.keep, self.rng)
            keep = torch.from_numpy(chosen)
            truth = [only(t, c) for t, c in zip(truth, chosen, strict=True)]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.a.bf16):
            seen = features(self.parts["tower"], pixels([np.asarray(s.image) for s in drawn]), keep)
            out = self.parts["heads"](seen[..., -self.a.width :])
            said = self.parts["projector"](seen.flatten(0, 1)).float()
        out = {k: v.float() for k, v in out.items()}
        loss, stats = loss_of(out, truth, self.small, self.a.imagined)
        goal = torch.cat([self.words.target(t) for t in truth])
        name = torch.from_numpy(np.concatenate([t.name for t in truth]))
        more, near = self.parts["naming"].loss(said, goal, name)
        aloud, told = self.parts["telling"].loss(said, truth)
        ((loss + more + aloud) * share).backward()
        return stats | near | told

    def train(self) -> None:
        a, state = self.a, self.state
        corpus = for_tower(SpritePack.load(), seed=1)
        mean: dict[str, float] = {}
        started, saved, step = time.time() - state["seconds"], time.time(), 0
        while (elapsed := self.team.clock(time.time() - started)) < a.minutes * 60:
            # The rate follows the clock, so that a run of any length ends cooled down.
            share = elapsed / (a.minutes * 60)
            rate = min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
            for optimiser, peak in zip(self.optimisers, self.peaks, strict=True):
                optimiser.param_groups[0]["lr"] = peak * rate
            first = state["scenes"] + self.team.rank * a.batch
            drawn = [corpus.scene(first + i) for i in range(a.batch)]
            stats = self.step(drawn, sparse=share < a.sparse_until and not a.only_projector)
            state["scenes"] += a.batch * self.team.size
            step += 1
            mean = {
                k: v if k not in mean or v != v else 0.95 * mean[k] + 0.05 * v
                for k, v in stats.items()
            }
            if step % 20 == 0 and self.team.leads:
                line = {"scenes": state["scenes"], "minutes": round(elapsed / 60, 2)}
                with (a.folder / "tower.jsonl").open("a") as file:
                    rounded = {k: round(v, 4) for k, v in mean.items()}
                    file.write(json.dumps(line | rounded) + "\n")
            if time.time() - saved > 120:
                state["seconds"], saved = time.time() - started, time.time()
                self.save()
        state["seconds"] = time.time() - started
        self.save()


def word_space(vocabulary: Vocabulary) -> WordSpace:
    """The words of every name, in SmolLM2's input embeddings."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
    embed = smollm.language_model().model.embed_tokens.weight.detach().clone()
    return WordSpace(
        embed, lambda text: tokenizer(text, add_special_tokens=False).input_ids, vocabulary
    )


def optimisers(parts: nn.ModuleDict, rate: float, half: bool) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside, AdamW for embeddings, heads, norms and biases."""
    inside = [
        p
        for name, p in [*parts["tower"].named_parameters(), *parts["projector"].named_parameters()]
        if p.ndim == 2 and "embed" not in name
    ]
    known = {id(p) for p in inside}
    rest = [p for p in parts.parameters() if id(p) not in known]
    return [
        Muon(inside, lr=rate, weight_decay=0.02, half=half),
        torch.optim.AdamW(rest, lr=8e-4, weight_decay=0.02, betas=(0.9, 0.98), fused=True),
    ]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--folder", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=60, help="training time, over all resumes")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--batch", type=int, default=100, help="scenes a step, of each process")
    p.add_argument("--few", type=int, default=25, help="scenes gone through at once")
    p.add_argument("--lr", type=float, default=1.2e-3, help="of Muon; AdamW's stays at 8e-4")
    p.add_argument("--width", type=int, default=256)
    p.add_argument("--layers", type=int, default=6)
    p.add_argument("--keep", type=int, default=36, help="patches computed a scene at first")
    p.add_argument("--sparse-until", type=float, default=0.8, help="share of the time with --keep")
    p.add_argument(
        "--only-projector", action="store_true", help="leave the tower as it is: three times faster"
    )
    p.add_argument("--imagined", type=float, default=2.0, help="weight of the thumbnails")
    p.add_argument("--near", type=float, default=0.125, help="weight of what is said amiss")
    p.add_argument("--bf16", action="store_true", help="where the processor multiplies it faster")
    p.add_argument("--again", action="store_true", help="a new schedule from the kept weights")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    a.folder.mkdir(parents=True, exist_ok=True)
    Run(a).train()


if __name__ == "__main__":
    main()
