"""Build the sprite pack of ``corpus.scenes`` from a colour-emoji font and its CLDR names.

    python recipes/make_sprites.py --font NotoColorEmoji.ttf --names emojibase-data/en/data.json \
        --twemoji twemoji/72x72-or-svg-folder --fonts FONT.ttf …

Inputs (see NOTICE): Noto Color Emoji (Debian ``fonts-noto-color-emoji``, SIL OFL 1.1), emojibase
data (npm ``emojibase-data``, MIT), Twemoji graphics (npm ``@twemoji/svg``, CC-BY 4.0) as the
held-out style, and a few free typefaces whose letters are drawn once into glyph sheets.
Output, in ``src/semascope/corpus/scenes/data``: one WebP sheet a style, ``sprites.json``,
``glyphs.npz``.
The script knows nothing of models; users of semascope never need to run it.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from semascope.corpus.scenes.colours import dominant

HERE = Path(__file__).parent
OUT = HERE.parent / "src/semascope/corpus/scenes/data"
CELL = 72
COLUMNS = 32
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:!?+-=%$&'"

CATEGORIES = {
    "face": "face-smiling face-affection face-tongue face-hand face-neutral-skeptical face-sleepy "
    "face-unwell face-hat face-glasses face-concerned face-negative",
    "character": "face-costume monkey-face person-fantasy",
    "cat face": "cat-face",
    "heart": "heart emotion",
    "hand": "hand-fingers-open hand-fingers-partial hand-single-finger hand-fingers-closed hands "
    "hand-prop",
    "body part": "body-parts",
    "person": "person person-gesture person-role family",
    "action": "person-activity person-sport person-resting",
    "mammal": "animal-mammal",
    "bird": "animal-bird",
    "animal": "animal-amphibian animal-reptile animal-marine",
    "insect": "animal-bug",
    "plant": "plant-flower plant-other",
    "fruit": "food-fruit",
    "vegetable": "food-vegetable",
    "food": "food-prepared food-asian",
    "sweet": "food-sweet",
    "drink": "drink",
    "dish": "dishware household",
    "landscape": "place-map place-geographic place-other",
    "building": "place-building place-religious",
    "vehicle": "transport-ground transport-water transport-air hotel",
    "time": "time",
    "weather": "sky-weather",
    "party": "event award-medal",
    "sport": "sport",
    "game": "game arts-crafts",
    "clothing": "clothing",
    "music": "sound music musical-instrument",
    "device": "phone computer light-video",
    "stationery": "book-paper mail writing office",
    "money": "money currency",
    "tool": "lock tool science medical other-object",
    "sign": "transport-sign warning religion math punctuation other-symbol gender",
    "flag": "country-flag",
}
# Places whose flags are those of another country, or that are no country; the rest are nations.
NOT_NATIONS = set(
    "AC AI AQ AS AW AX BL BM BQ BV CC CK CP CW CX DG EA EH EU FK FO GF GG GI GL GP GS GU HK HM IC "
    "IM IO JE KY MF MO MP MQ MS NC NF NU PF PM PN PR RE SH SJ SX TA TC TF TK UM UN VG VI WF YT SQ "
    "GB-ENG GB-SCT GB-WLS".split()
)
FLAG_NAMES = {
    "United States": "USA", "United Kingdom": "Britain", "Bosnia & Herzegovina": "Bosnia",
    "Congo - Kinshasa": "DR Congo", "Congo - Brazzaville": "Congo", "Czechia": "Czechia",
    "Hong Kong SAR China": "Hong Kong", "Myanmar (Burma)": "Myanmar", "Türkiye": "Turkey",
    "Palestinian Territories": "Palestine", "Côte d’Ivoire": "Ivory Coast",
    "São Tomé & Príncipe": "Sao Tome", "St. Kitts & Nevis": "Saint Kitts",
    "St. Lucia": "Saint Lucia",
    "St. Vincent & Grenadines": "Saint Vincent", "Trinidad & Tobago": "Trinidad",
    "Antigua & Barbuda": "Antigua", "United Arab Emirates": "Emirates",
    "Central African Republic": "Central Africa", "Papua New Guinea": "Papua New Guinea",
}  # fmt: skip
PLURAL = set(
    "grapes,cherries,blueberries,peanuts,beans,french fries,pancakes,noodles,chopsticks,eyes,lips,"
    "lungs,praying hands,raised hands,clapping hands,heart hands,glasses,sunglasses,goggles,jeans,"
    "gloves,socks,shorts,briefs,ballet shoes,shopping bags,books,music notes,fireworks,skis,dolls,"
    "scissors,scales,headphones,maracas,control knobs,film frames,theatre masks,nesting dolls,"
    "wrestlers,bunny dancers,houses,logs,bricks,autumn leaves,green leaves,paw prints,chains,"
    "bubbles,sparkles,footprints,two hearts,two beers,crossbones,crossed swords,prayer beads,"
    "crossed fingers,pinched fingers,hot springs,fork and knife".split(",")
)
MASS = set(
    "bread,bacon,popcorn,butter,salt,rice,curry,cheese,meat,corn,garlic,ginger,lettuce,broccoli,"
    "spaghetti,sushi,paella,stew,salad,milk,coffee,tea,sake,champagne,beer,whisky,soda,poo,"
    "toilet paper,soap,fire,rain,snow,fog,wind,lightning,yarn,thread,flying money,"
    "coral,shaved ice,chocolate bar,"
    "water polo,table tennis,meditation,badminton,cooked rice,bubble tea,mate,dna".split(",")
)


def rename_table() -> dict[str, str]:
    """CLDR label -> name[|emotion], from names.tsv."""
    rows = (HERE / "sprites/names.tsv").read_text(encoding="utf-8").splitlines()
    return dict(row.split("\t", 1) for row in rows if row and not row.startswith("#"))


def keep(label: str) -> bool:
    """Leave out variants that differ by gender, direction or skin only."""
    if ":" in label or "facing right" in label or label.endswith(("o’clock", "-thirty")):
        return False
    first = label.split()[0]
    return not (
        first in {"man", "men", "women", "woman", "deaf"}
        and " " in label
        and label not in {"man dancing", "woman dancing"}
    )


def article(name: str) -> str:
    """'a', 'an', 'the' or nothing, as a person would say it."""
    if name.startswith("flag of"):
        return "the"
    if name in PLURAL or name in MASS or name.endswith(("shoes", "hands", "notes", "leaves")):
        return "some"
    if name[0].isupper() and name in {"Santa Claus", "Mrs. Claus", "Statue of Liberty"}:
        return "the" if name == "Statue of Liberty" else ""
    sound = name.lower()
    if sound.startswith(("uni", "ewe", "euro", "ufo", "one", "us")):
        return "a"
    return "an" if sound[0] in "aeiou" or sound.startswith(("hour", "x-ray")) else "a"


def entries(path: Path) -> list[dict[str, Any]]:
    """Named pictures wanted: name, category, emotion, hexcode."""
    meta = json.loads((path.parent.parent / "meta/groups.json").read_text(encoding="utf-8"))
    sub = {int(k): v for k, v in meta["subgroups"].items()}
    category = {s: c for c, subs in CATEGORIES.items() for s in subs.split()}
    renames = rename_table()
    found = []
    for e in json.loads(path.read_text(encoding="utf-8")):
        if "subgroup" not in e or (group := category.get(sub[e["subgroup"]])) is None:
            continue
        label, emotion = e["label"], None
        if group == "flag":
            if _region(e["hexcode"]) in NOT_NATIONS:
                continue
            country = label.removeprefix("flag: ")
            name = "flag of " + FLAG_NAMES.get(country, country)
        else:
            if label not in renames and not keep(label):
                continue
            name, _, emotion = renames.get(label, label).partition("|")
        if name:
            found.append(
                {
                    "name": name,
                    "category": group,
                    "emotion": emotion or None,
                    "hexcode": e["hexcode"],
                    "article": article(name),
                }
            )
    return found


def _region(hexcode: str) -> str:
    return "".join(
        chr(int(h, 16) - 0x1F1E6 + 65) for h in hexcode.split("-") if h.startswith("1F1")
    )


class EmojiFont:
    """Bitmaps of a CBDT colour font by emoji sequence."""

    def __init__(self, path: Path) -> None:
        font = TTFont(path)
        self.cmap = font.getBestCmap()
        self.strike = font["CBDT"].strikeData[0]
        self.ligatures: dict[tuple[str, ...], str] = {}
        for lookup in font["GSUB"].table.LookupList.Lookup:
            for table in lookup.SubTable:
                table = getattr(table, "ExtSubTable", table)
                for first, sets in getattr(table, "ligatures", {}).items():
                    for lig in sets:
                        self.ligatures[(first, *lig.Component)] = lig.LigGlyph

    def picture(self, hexcode: str) -> Image.Image | None:
        """RGBA bitmap of an emoji, or None where the font has none."""
        points = [int(h, 16) for h in hexcode.split("-")]
        glyphs = [self.cmap[p] for p in points if p != 0xFE0F and p in self.cmap]
        if len(glyphs) != len([p for p in points if p != 0xFE0F]):
            return None
        name = glyphs[0] if len(glyphs) == 1 else self.ligatures.get(tuple(glyphs))
        if name is None or name not in self.strike or not hasattr(self.strike[name], "imageData"):
            return None
        return Image.open(io.BytesIO(self.strike[name].imageData)).convert("RGBA")


def cell(picture: Image.Image) -> Image.Image:
    """Trim to what is visible, fit into a CELL square, centred."""
    box = picture.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox()
    picture = picture.crop(box)
    scale = CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    premultiplied = picture.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    canvas = Image.new("RGBA", (CELL, CELL))
    canvas.paste(premultiplied, ((CELL - size[0]) // 2, (CELL - size[1]) // 2))
    return canvas


def sheet(cells: list[Image.Image], path: Path, quality: int) -> None:
    """Write cells row by row into one WebP sheet."""
    rows = -(-len(cells) // COLUMNS)
    canvas = Image.new("RGBA", (COLUMNS * CELL, rows * CELL))
    for i, one in enumerate(cells):
        canvas.paste(one, (i % COLUMNS * CELL, i // COLUMNS * CELL))
    canvas.save(path, "WEBP", quality=quality, alpha_quality=90, method=6)


def twemoji(folder: Path, hexcode: str) -> Image.Image | None:
    """A Twemoji SVG drawn at twice the cell size with rsvg-convert."""
    stem = "-".join(h.lower().lstrip("0") for h in hexcode.split("-"))
    for name in (stem, stem.replace("-fe0f", "")):
        if (path := folder / f"{name}.svg").exists():
            png = subprocess.run(
                ["rsvg-convert", "-w", "144", "-h", "144", str(path)],
                check=True,
                capture_output=True,
            ).stdout
            return Image.open(io.BytesIO(png)).convert("RGBA")
    return None


def glyphs(fonts: list[Path]) -> dict[str, np.ndarray]:
    """Letters of each typeface at 40 px as one alpha strip with its x offsets."""
    out: dict[str, np.ndarray] = {}
    for path in fonts:
        font = ImageFont.truetype(str(path), 40)
        ascent, descent = font.getmetrics()
        strips, edges = [], [0]
        for letter in LETTERS:
            width = max(1, round(font.getlength(letter)))
            tile = Image.new("L", (width, ascent + descent))
            ImageDraw.Draw(tile).text((0, 0), letter, 255, font)
            strips.append(np.asarray(tile))
            edges.append(edges[-1] + width)
        out[f"{path.stem}.alpha"] = np.concatenate(strips, axis=1)
        out[f"{path.stem}.edges"] = np.asarray(edges, np.int32)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--font", type=Path, required=True)
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("--twemoji", type=Path, required=True)
    parser.add_argument("--fonts", type=Path, nargs="+", required=True)
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)

    # 1) The main style: every wanted picture that the font draws.
    noto, kept, cells = EmojiFont(args.font), [], []
    for entry in entries(args.names):
        picture = noto.picture(entry["hexcode"])
        if picture is not None:
            cells.append(cell(picture))
            plain = entry["category"] not in ("flag", "face")
            entry["colour"] = dominant(np.asarray(cells[-1])) if plain else None
            kept.append(entry)
    sheet(cells, OUT / "noto.webp", 82)

    # 2) The held-out style: one picture a name, drawn by other artists.
    other, other_cells = [], []
    for i, entry in enumerate(kept):
        first = entry["name"] not in {kept[j]["name"] for j in other}
        if (
            first
            and entry["category"] != "flag"
            and (art := twemoji(args.twemoji, entry["hexcode"]))
        ):
            other.append(i)
            other_cells.append(cell(art))
    chosen = sorted(range(len(other)), key=lambda j: hash_order(kept[other[j]]["hexcode"]))[:320]
    sheet([other_cells[j] for j in chosen], OUT / "twemoji.webp", 80)

    # 3) Names, and letters.
    pack = {
        "cell": CELL,
        "columns": COLUMNS,
        "letters": LETTERS,
        "sprites": kept,
        "styles": {"noto": list(range(len(kept))), "twemoji": [other[j] for j in chosen]},
    }
    (OUT / "sprites.json").write_text(
        json.dumps(pack, ensure_ascii=False, indent=0), encoding="utf-8"
    )
    np.savez_compressed(OUT / "glyphs.npz", **glyphs(args.fonts))
    names = {e["name"] for e in kept}
    print(
        f"{len(kept)} pictures, {len(names)} names, {len({e['category'] for e in kept})} categories"
    )


def hash_order(text: str) -> str:
    """A fixed shuffle."""
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
