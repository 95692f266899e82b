"""Step 4: gather what was trained into the package: tower, projector, deltas, all in float16.

python -m recipes.sprite_llava.ship --folder runs/sprite-llava
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from recipes.sprite_llava.tower import READ, vision_config

HEADS = Path(__file__).parent / "heads.safetensors"
"""The tower's readers: no part of the model, kept so that its training can go on."""
OUT = Path(__file__).parents[2] / "src/semascope/subject/sprite_llava"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--folder", type=Path, required=True)
    p.add_argument("--scale", type=float, default=2.0, help="of the deltas, as they were trained")
    p.add_argument(
        "--projector",
        choices=("language", "tower"),
        default="language",
        help="whose: as the language model's training left it, or as the tower's did since",
    )
    a = p.parse_args()
    tower = torch.load(a.folder / "tower.pt", weights_only=True)
    language = torch.load(a.folder / "language-tower.pt", weights_only=True)
    projector = (tower if a.projector == "tower" else language)["projector"]
    out: dict[str, Tensor] = {f"model.vision_tower.{k}": v for k, v in tower["tower"].items()}
    out |= {f"model.multi_modal_projector.{k}": v for k, v in projector.items()}
    for key, value in language["deltas"].items():
        out[f"delta.{key}"] = value * a.scale if key.endswith(".up") else value
    save_file({k: v.half().contiguous() for k, v in tower["heads"].items()}, HEADS)
    path = OUT / "weights.safetensors"
    save_file({k: v.half().contiguous() for k, v in out.items()}, path)
    keep = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "image_size",
        "patch_size",
        "hidden_act",
    )
    config: dict[str, object] = {k: getattr(vision_config(), k) for k in keep}
    config["vision_feature_layer"] = list(range(-READ, 0))
    (OUT / "vision.json").write_text(json.dumps(config, indent=1))
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {language['state']}")


if __name__ == "__main__":
    main()
