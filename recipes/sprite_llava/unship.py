"""Go on training where the shipped weights stand, without the folder of the run that made them.

    python -m recipes.sprite_llava.unship --folder runs/sprite-llava
    python -m recipes.sprite_llava.tower --folder runs/sprite-llava --again --minutes 60
    python -m recipes.sprite_llava.language --folder runs/sprite-llava --eyes tower --again

Writes tower.pt and language-tower.pt without optimisers. When the tower has changed, its projector
must begin with words again: remove language-tower.pt, and ``language`` starts from the deltas
alone, which language-oracle.pt holds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from recipes.sprite_llava.ship import HEADS, OUT
from recipes.sprite_llava.tower import READ, vision_config


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--folder", type=Path, required=True)
    p.add_argument("--scale", type=float, default=2.0, help="of the deltas, as they were trained")
    p.add_argument("--scenes", type=int, default=1_302_200, help="scenes the tower has seen")
    p.add_argument("--pictures", type=int, default=30_056, help="pictures the language has seen")
    a = p.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    shipped = {k: v.float() for k, v in load_file(OUT / "weights.safetensors").items()}
    heads = {k: v.float() for k, v in load_file(HEADS).items()}

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in shipped.items() if k.startswith(prefix)}

    deltas = {k: v / a.scale if k.endswith(".up") else v for k, v in part("delta.").items()}
    tower_state = {"scenes": a.scenes, "seconds": 0.0}
    projector = part("model.multi_modal_projector.")
    missing = READ * vision_config().hidden_size - projector["linear_1.weight"].shape[1]
    projector["linear_1.weight"] = F.pad(projector["linear_1.weight"], (missing, 0))
    torch.save(
        {
            "tower": part("model.vision_tower."),
            "heads": heads,
            "projector": projector,
            "state": tower_state,
        },
        a.folder / "tower.pt",
    )
    state = {"pictures": a.pictures, "pairs": 0, "seconds": 0.0}
    torch.save({"deltas": deltas, "state": state}, a.folder / "language-oracle.pt")
    torch.save(
        {"deltas": deltas, "projector": projector, "state": state}, a.folder / "language-tower.pt"
    )


if __name__ == "__main__":
    main()
