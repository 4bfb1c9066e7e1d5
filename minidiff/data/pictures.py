"""One file of a picture as 8-bit RGB, whatever its kind. What cannot be read rightly is refused, with the reason."""

import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Pillow's formats of pictures. Not its documents (EPS would be run by Ghostscript), films, scientific arrays, and CUR,
# of which it does not read what is transparent.
FORMATS = "AVIF BMP DDS DIB GIF HEIF ICNS ICO JPEG JPEG2000 MPO PCX PNG PPM PSD QOI SGI TGA TIFF WEBP XBM XPM"
# Pictures too, which Pillow does not read, or only with a plug-in: to be named, and not taken for any other file.
UNREAD = ".heic .heif .hif .avif .jxl .svg .dng .cr2 .cr3 .nef .arw .raf .orf .rw2 .exr .hdr .eps".split()
COLOUR_KEY = {"L;2": 85, "L;4": 17}  # PNG's grey of 2 and 4 bits: Pillow spreads it over 0 … 255, but not the key


@cache
def _formats() -> list[str]:
    """Those of FORMATS that can be opened here."""
    from PIL import Image

    with suppress(ImportError):  # a telephone's HEIC, where this plug-in is installed
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return [name for name in FORMATS.split() if name in Image.OPEN]


@cache
def endings() -> frozenset[str]:
    """The endings, in lower case with their dot, by which a file is known as a picture."""
    from PIL import Image

    known = [*_formats(), "MPO"]  # opened as the JPEG that it begins with
    return frozenset([end for end, name in Image.registered_extensions().items() if name in known] + UNREAD)


def is_picture(file: Path) -> bool:
    """By the file's ending; where there is none, by what it begins with."""
    if file.suffix:
        return file.suffix.lower() in endings()
    from PIL import Image

    try:
        with Image.open(file, formats=("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")):
            return True
    except Exception:  # a damaged file makes Pillow raise nearly anything
        return False


def square(file: Path, size: int) -> Tensor:
    """The middle square of a picture, scaled to uint8 (3, size, size). Any exception says why it cannot be read."""
    from PIL import Image

    image = read(file)
    side = min(image.size)
    left = (image.width - side) // 2
    top = (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side != size:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def read(file: Path):
    """The picture as a PIL image in RGB: the first of several, turned as its camera noted, on white if transparent.

    Grey of more than 8 bits is scaled by its depth, floats from 0 (black) to 1 (white). Any exception says why it
    cannot be read: numbers that do not say which of them is white are refused.
    """
    from PIL import Image, ImageOps

    if file.suffix.lower() in UNREAD and file.suffix.lower() not in Image.registered_extensions():
        heic = ", or `pip install pillow-heif`" if re.match(r"\.h(eic|eif|if)$", file.suffix, re.I) else ""
        raise ValueError(f"Pillow does not read {file.suffix} here: save it as PNG or JPEG{heic}")
    with Image.open(file, formats=_formats()) as image:
        white, inverted = _depth(image)
        key = _colour_key(image)
        image = ImageOps.exif_transpose(image)  # a telephone's portrait lies on its side until now
    if white is not None:
        return Image.fromarray(_grey(image, white, inverted, key)).convert("RGB")
    if image.mode == "LAB":
        raise ValueError("its colours are L*a*b*, which Pillow does not turn into red, green and blue")
    if key is not None:
        image.info["transparency"] = key
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _depth(image) -> tuple[float | None, bool]:
    """Of grey that is not in 8 bits the number for white, else None; and whether 0 is white and not black."""
    tags = getattr(image, "tag_v2", {})
    _refuse_tiff(image.mode, tags)
    inverted = tags.get(262) == 0  # PhotometricInterpretation; Pillow itself turns only 8 bits and fewer
    if image.mode == "F":
        return 1.0, inverted
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # of these two, Pillow makes 16 bits
        raise ValueError("its whole numbers have 32 bits and do not say which is white: save it in 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return 2.0 ** (12 if tags.get(258) == (12,) else 16) - 1, inverted
    return None, False


def _refuse_tiff(mode: str, tags) -> None:
    """ValueError for those kinds of TIFF that Pillow opens and misreads. tags: of its header, {} of other formats."""
    if set(tags.get(339, ())) - {1, 3}:  # SampleFormat: 1 whole, 2 signed, 3 float
        raise ValueError("its numbers are signed and do not say which is black: save it in 8 or 16 bits, from 0")
    packed = tags.get(259, 1) != 1  # Compression
    if tags.get(284) == 2 and 16 in tags.get(258, ()) and not packed:  # PlanarConfiguration, BitsPerSample
        raise ValueError("its colours of 16 bits lie in planes, which Pillow mixes up: save it in 8 bits, or as PNG")
    if mode == "F" and packed and tags.prefix == b"MM":
        raise ValueError("its compressed floats are big-endian, which Pillow does not turn: save it in 8 or 16 bits")


def _colour_key(image):
    """What a PNG stores as its one transparent colour, in the numbers that Pillow gives to pixels; None if none."""
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None or not image.tile:
        return key
    raw = image.tile[0][3]
    if raw == "RGB;16B":
        raise ValueError("one of its 16-bit colours is transparent, and Pillow reads 8 bits: save it in 8, or as RGBA")
    return key * COLOUR_KEY[raw] if raw in COLOUR_KEY else key


def _grey(image, white: float, inverted: bool, key: int | None) -> np.ndarray:
    """Numbers from 0 to `white` as uint8 (H, W); those that equal `key` are transparent, so white."""
    values = np.asarray(image).astype(np.float64)
    levels = np.round((white - values if inverted else values) * (255 / white))
    if not (levels.min() >= 0 and levels.max() <= 255):  # so for NaN too; what rounds to 0 or 1 is taken for it
        told = f"its numbers go from {values.min():.4g} to {values.max():.4g}"
        raise ValueError(f"{told}, expected 0 (black) to {white:g} (white)")
    levels = levels.astype(np.uint8)
    if key is not None:
        levels[values == key] = 255
    return levels
