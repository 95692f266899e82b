"""What does the tower know of things it never saw together? By kind of thing, patches pooled.

    python -m recipes.sprite_llava.look --folder runs/sprite-llava --scenes 300

Prints JSON: the share of patches named right; by kind, the share of objects whose name is right
when the probabilities of their patches are added; how often empty patches count right.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPVisionModel

from recipes.sprite_llava.targets import Vocabulary, coverage, patch_truth
from recipes.sprite_llava.tower import Heads, features, pixels, vision_config
from semascope.corpus.scenes import SceneCorpus, SpritePack
from semascope.corpus.scenes.compose import Scene

OWN_KIND = ("flag", "face", "shape", "word")


class Count:
    """Right and asked, by name."""

    def __init__(self) -> None:
        self.right: dict[str, int] = defaultdict(int)
        self.asked: dict[str, int] = defaultdict(int)

    def add(self, name: str, right: int, asked: int = 1) -> None:
        self.right[name] += right
        self.asked[name] += asked

    def shares(self) -> dict[str, float]:
        return {k: round(self.right[k] / n, 4) for k, n in self.asked.items() if n}


def look(out: dict[str, torch.Tensor], scene: Scene, vocabulary: Vocabulary, count: Count) -> None:
    """Add one scene's readings, (P, n) each."""
    truth, chance = patch_truth(scene, vocabulary), out["name"].softmax(-1)
    thing, empty = truth.name > 0, truth.name == 0
    right = chance.argmax(-1).numpy() == truth.name
    count.add("patches", int(right[thing].sum()), int(thing.sum()))
    if empty.any():
        said = out["count"][torch.from_numpy(empty)].softmax(-1).mean(0).argmax()
        count.add("count", int(said == min(6, truth.count)))
    for o, cover in zip(scene.objects, coverage(scene, 8), strict=True):
        weight = torch.from_numpy(np.where(cover > 0.22, cover, 0) if cover.max() > 0.22 else cover)
        pooled = (chance * weight[:, None]).sum(0)
        pooled[0] = -1
        kind = o.category if o.category in OWN_KIND else "sprite"
        hit = int(pooled.argmax() == vocabulary.of(o.name, o.category))
        count.add(kind, hit)
        count.add("objects", hit)


@torch.no_grad()
def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--folder", type=Path, required=True)
    p.add_argument("--scenes", type=int, default=300)
    p.add_argument("--seed", type=int, default=99)
    a = p.parse_args()
    kept = torch.load(a.folder / "tower.pt", weights_only=True)
    vocabulary = Vocabulary(SpritePack.load())
    tower, heads = CLIPVisionModel(vision_config()), Heads(256, len(vocabulary))
    tower.load_state_dict(kept["tower"])
    heads.load_state_dict(kept["heads"])
    tower.eval()
    corpus, count = SceneCorpus(2**40, seed=a.seed, split="heldout"), Count()
    for first in range(0, a.scenes, 50):
        scenes = [corpus.scene(first + i)[0] for i in range(min(50, a.scenes - first))]
        seen = features(tower, pixels([np.asarray(s.image) for s in scenes]))
        out = heads(seen[..., -256:])
        for i, scene in enumerate(scenes):
            look({k: v[i] for k, v in out.items()}, scene, vocabulary, count)
    print(json.dumps({"scenes": a.scenes, "seed": a.seed, **count.shares()}))


if __name__ == "__main__":
    main()
