"""Draw sheet.webp (64 x 64 pixels a drawing, 64 drawings a row) and write names.json, both into this folder.

It needs three things that the course itself does not need:

    apt-get download fonts-noto-color-emoji unicode-data     # Debian 12; `dpkg -x FILE.deb FOLDER` unpacks each
    pip install --target names emoji==2.16.0
    PYTHONPATH=names python data/emoji/make_sheet.py NotoColorEmoji.ttf emoji-test.txt

The font has the drawings, the package `emoji` the names of Unicode's CLDR in English and Chinese, and Unicode's
emoji-test.txt the order and the kinds. Pillow joins the parts of a sequence where it was built with raqm.
"""

import json
import re
import sys
from pathlib import Path

import emoji
import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
FONT_SIZE = 109  # the font's one size of pictures
SIZE, COLUMNS = 64, 64
JOINED = 2  # the status of what is to be drawn: "fully qualified"
LACKING = ("\U0001f1e8\U0001f1f6",)  # what the font draws as a flag with a question mark: Sark
PART = re.compile(
    r"(?<= )(?:(?:(?:medium-)?(?:light|dark)|medium) skin tone|(?:red|curly|white|blond) hair|bald$|beard$)"
)
MEMBERS = re.compile(r"(couple with heart|kiss|family) ((?:(?:man|woman|person|adult|boy|girl|child)(?: |$))+)")
PAIRS = ("couple", "kiss", "holding hands", "family")  # in two skin tones each: hundreds that are nearly alike
KINDS = {"cat-face": "face", "monkey-face": "face", "hands": "hand", "country-flag": "flag", "subdivision-flag": "flag"}


def kinds(path: str) -> dict[str, tuple[int, str]]:
    """A sequence without variation selectors -> its place in emoji-test.txt, and its kind such as "person-role"."""
    found, kind = {}, ""
    for line in Path(path).read_text("utf-8").splitlines():
        if line.startswith("# subgroup: "):
            kind = line.removeprefix("# subgroup: ")
        elif line and not line.startswith("#"):
            sign = "".join(chr(int(code, 16)) for code in line.partition(";")[0].split())
            found.setdefault(plain(sign), (len(found), KINDS.get(kind, kind)))
    return found


def plain(sign: str) -> str:
    """The sequence without variation selectors, which some lists have and others leave out."""
    return sign.replace("\ufe0f", "")


def english(name: str, kind: str) -> str:
    """CLDR's name in lower case, with the colon and the commas that the package leaves out."""
    name = name.strip(":").replace("_", " ").replace("’", "'").lower()
    if kind == "flag" and " flag" not in name:
        return f"flag: {name}"
    if name.startswith("keycap "):
        return name.replace(" ", ": ", 1)
    if members := MEMBERS.fullmatch(name):
        return f"{members[1]}: {', '.join(members[2].split())}"
    parts = PART.findall(name)
    return f"{name[: PART.search(name).start()].strip()}: {', '.join(parts)}" if parts else name


def chinese(name: str, flag: bool) -> str:
    """The same in Chinese. A flag's bar stands before what CLDR has in brackets: the two Congos."""
    name = name.strip(":").lower()
    return re.sub("_(.+)", r"（\1）", f"旗: {name}") if flag else name.replace("_", ": ")


def draw(sign: str, font) -> np.ndarray | None:
    """A drawing on white, uint8 (SIZE, SIZE, 3); None where the font lacks it: nothing drawn, or several pieces."""
    image = Image.new("RGB", (170, 170), "white")
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.textbbox((0, 0), sign, font=font, embedded_color=True)
    width, height = right - left, bottom - top
    if not 60 <= width <= 150:
        return None
    pen.text(((170 - width) // 2 - left, (170 - height) // 2 - top), sign, font=font, embedded_color=True)
    tile = np.asarray(image.crop((17, 17, 153, 153)).resize((SIZE, SIZE), Image.LANCZOS))
    return None if (tile > 250).mean() > 0.999 else tile


def entries(places: dict) -> list[dict]:
    """Sign, names and kind of every emoji wanted, in Unicode's order; what is newer stands beside its first sign."""
    emoji.config.load_language("zh")
    rows = []
    for sign, entry in emoji.EMOJI_DATA.items():
        if entry["status"] != JOINED or sign in LACKING:
            continue
        place, kind = places.get(plain(sign)) or places.get(sign[0], (len(places), "other-symbol"))
        name = english(entry["en"], kind)
        if "skin tone" in name and any(word in name for word in PAIRS):
            continue
        zh = chinese(entry["zh"], name.startswith("flag: "))
        rows.append((place, entry["E"], name, {"sign": sign, "en": name, "zh": zh, "kind": kind}))
    return [row[-1] for row in sorted(rows, key=lambda row: row[:3])]


def drawn(rows: list[dict], font) -> tuple[list[np.ndarray], list[dict]]:
    """The drawings and their entries, of several that are equal the first."""
    kept = {}
    for row in rows:
        tile = draw(row["sign"], font)
        if tile is not None:
            kept.setdefault(tile.tobytes(), (tile, row))
    return [tile for tile, _ in kept.values()], [row for _, row in kept.values()]


def main() -> None:
    font, places = sys.argv[1:]
    tiles, names = drawn(entries(kinds(places)), ImageFont.truetype(font, FONT_SIZE))
    sheet = np.full((-(-len(tiles) // COLUMNS) * SIZE, COLUMNS * SIZE, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // COLUMNS * SIZE, i % COLUMNS * SIZE
        sheet[top : top + SIZE, left : left + SIZE] = tile
    Image.fromarray(sheet).save(HERE / "sheet.webp", quality=90, method=6)
    lines = ",\n".join(json.dumps(name, ensure_ascii=False) for name in names)
    (HERE / "names.json").write_text(f"[\n{lines}\n]\n", "utf-8")
    print(f"{len(tiles)} drawings, {(HERE / 'sheet.webp').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
