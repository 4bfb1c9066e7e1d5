"""`folder`: every kind of picture has the pixels that it shows or is named, and every layout the classes it means."""

import os
import pickle
import struct
import sys
import tempfile
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minidiff import data
from minidiff.data import pictures
from minidiff.data.layout import is_hidden, split_of

# --------------------------------------------------------------------------------------------------- kinds of files

GREY = np.array([[0, 17, 51, 255], [85, 170, 34, 204], [255, 238, 0, 68], [102, 119, 136, 187]], np.uint8)
COLOUR = np.stack([GREY, GREY.T, GREY[::-1]], axis=2)
SHEER = np.zeros((4, 4), np.uint8)  # ink on the left half only; what is not ink is black, and transparent
SHEER[:, :2] = 255
ON_WHITE = np.where(SHEER[:, :, None] == 255, COLOUR, 255)
GREY_ON_WHITE = np.where(SHEER == 255, GREY, 255)
HALF = np.where(GREY < 128, 0, 255).astype(np.uint8)
LEVELS = np.uint8([0, 85, 170, 255])[np.arange(16).reshape(4, 4) % 4]  # of two bits


def rgba():
    return Image.fromarray(np.dstack([COLOUR * (SHEER[:, :, None] // 255), SHEER]))


def png(depth, kind, rows, **chunks):
    """A PNG as it is in the file: rows of bytes, and further chunks, such as the colour that is transparent."""
    head = struct.pack(">IIBBBBB", 4, 4, depth, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    parts = {"IHDR": head, **chunks, "IDAT": body, "IEND": b""}
    chunk = [struct.pack(">I", len(x)) + name.encode() + x + struct.pack(">I", zlib.crc32(name.encode() + x))
             for name, x in parts.items()]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk)


def tiff(bits, values, kind=1, photometric=1):
    """A TIFF of one strip: `values` in `bits` bits each, packed; kind is the SampleFormat."""
    packed = "".join(f"{int(value):0{bits}b}" for value in values.ravel())
    strip = int(packed, 2).to_bytes(len(packed) // 8, "big")
    tags = {256: 4, 257: 4, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 4, 279: len(strip), 339: kind}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    strip += b"\0" * (len(strip) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def big_endian(array):
    return [row.astype(">u2").tobytes() for row in array]


def palette(image):
    return image.convert("RGB").quantize(32, dither=Image.Dither.NONE)


def frames(mode="RGB"):
    return {"save_all": True, "append_images": [Image.new(mode, (4, 4), "red")], "duration": 100}


def key(levels, value):
    return np.where(levels == value, 255, levels)


G, C = Image.fromarray(GREY), Image.fromarray(COLOUR)
FLOATS = (GREY / 255).astype(np.float32)
DEEP = GREY.astype(np.uint16) * 257
LA = Image.merge("LA", [Image.fromarray(GREY * (SHEER // 255)), Image.fromarray(SHEER)])
CMYK = Image.merge("CMYK", [Image.fromarray(255 - COLOUR[..., i]) for i in range(3)] + [Image.new("L", (4, 4))])
EXACT = {  # name of the file -> (what is written, options to save it; the pixels it shows, None for what Pillow says)
    "1bit.png": (Image.fromarray(HALF).convert("1"), HALF),
    "1bit.tif": (Image.fromarray(HALF).convert("1"), HALF),
    "1bit.bmp": (Image.fromarray(HALF).convert("1"), HALF),
    "1bit.pbm": (Image.fromarray(HALF).convert("1"), HALF),
    "2bit.png": (png(2, 0, [[0b00011011]] * 4), LEVELS),
    "4bit.png": (png(4, 0, [[a // 17 * 16 + b // 17, c // 17 * 16 + d // 17] for a, b, c, d in GREY.tolist()]), GREY),
    "8bit.png": (G, GREY),
    "8bit.tif": (G, GREY),
    "8bit.pgm": (G, GREY),
    "8bit.jp2": (G, GREY),
    "white-is-0.tif": (tiff(8, GREY, photometric=0), 255 - GREY),
    "12bit.tif": (tiff(12, GREY.astype(int) // 17 * 273), GREY),
    "16bit.png": (Image.fromarray(DEEP), GREY),
    "16bit.tif": (Image.fromarray(DEEP), GREY),
    "16bit-lzw.tif": (Image.fromarray(DEEP), {"compression": "tiff_lzw"}, GREY),
    "16bit-big-endian.tif": (Image.fromarray(DEEP.astype(">u2")), GREY),
    "16bit-white-is-0.tif": ((DEEP, {"photometric": "miniswhite"}), 255 - GREY),
    "16bit.jp2": (Image.fromarray(DEEP), GREY),
    "16bit.pgm": (Image.fromarray(DEEP), GREY),
    "10bit.pgm": (b"P5 4 4 1023\n" + np.round(GREY / 255 * 1023).astype(">u2").tobytes(), GREY),
    "16bit-colour.png": (png(16, 2, big_endian(COLOUR.astype(int).reshape(4, 12) * 257)), COLOUR),
    "16bit-colour.tif": ((COLOUR.astype(np.uint16) * 257, {"photometric": "rgb"}), COLOUR),
    "16bit-colour.ppm": (b"P6 4 4 65535\n" + (COLOUR.astype(">u2") * 257).astype(">u2").tobytes(), COLOUR),
    "float.tif": (Image.fromarray(FLOATS), GREY),
    "float.pfm": (Image.fromarray(FLOATS), GREY),
    "float-rounded.tif": (Image.fromarray(FLOATS * np.float32(1.0000002) - np.float32(1e-7)), GREY),
    "colour.png": (C, COLOUR),
    "colour.bmp": (C, COLOUR),
    "colour.tif": (C, COLOUR),
    "planes.tif": ((COLOUR.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}), COLOUR),
    "big-endian-floats.tif": ((FLOATS, {"byteorder": ">", "photometric": "minisblack"}), GREY),
    "colour.tga": (C, COLOUR),
    "colour.webp": (C, {"lossless": True}, COLOUR),
    "colour.jp2": (C, COLOUR),
    "colour.ppm": (C, COLOUR),
    "colour.qoi": (C, COLOUR),
    "colour.dds": (C, COLOUR),
    "colour.pcx": (C, COLOUR),
    "colour.sgi": (C, COLOUR),
    "colour.gif": (palette(C), COLOUR),
    "palette.png": (palette(C), COLOUR),
    "palette.tif": (palette(C), COLOUR),
    "cmyk.tif": (CMYK, COLOUR),
    "ycbcr.tif": (C.convert("YCbCr"), np.array(C.convert("YCbCr").convert("RGB"))),
    "black-and-white.xbm": (Image.fromarray(HALF).convert("1"), HALF),
    "rgba.png": (rgba(), ON_WHITE),
    "rgba.tif": (rgba(), ON_WHITE),
    "rgba.webp": (rgba(), {"lossless": True, "exact": True}, ON_WHITE),
    "rgba.tga": (rgba(), ON_WHITE),
    "rgba.qoi": (rgba(), ON_WHITE),
    "rgba.dds": (rgba(), ON_WHITE),
    "rgba.ico": (rgba(), {"sizes": [(4, 4)]}, ON_WHITE),
    "rgba.gif": (rgba(), ON_WHITE),
    "rgba-half.png": (Image.new("RGBA", (4, 4), (0, 0, 0, 102)), np.full((4, 4), 153, np.uint8)),
    "rgba-none-seen.png": (Image.new("RGBA", (4, 4), (0, 0, 0, 0)), np.full((4, 4), 255, np.uint8)),
    "16bit-rgba.png": (png(16, 6, big_endian(np.array(rgba()).astype(int).reshape(4, 16) * 257)), ON_WHITE),
    "la.png": (LA, GREY_ON_WHITE),
    "la.tif": (LA, GREY_ON_WHITE),
    "16bit-la.png": (png(16, 4, big_endian(np.array(LA).astype(int).reshape(4, 8) * 257)), GREY_ON_WHITE),
    "pa.tif": (palette(C).convert("PA"), COLOUR),
    "palette-and-bytes.png": (palette(C), {"transparency": bytes(range(255, 0, -8))}, None),
    "palette-and-index.png": (palette(C), {"transparency": 2}, None),
    "palette-and-index.gif": (palette(C), {"transparency": 2}, None),
    "key-1bit.png": (png(1, 0, [[0b01010000]] * 4, tRNS=b"\0\0"), np.full((4, 4), 255, np.uint8)),
    "key-2bit.png": (png(2, 0, [[0b00011011]] * 4, tRNS=b"\0\1"), key(LEVELS, 85)),
    "key-8bit.png": (G, {"transparency": 51}, key(GREY, 51)),
    "key-16bit.png": (png(16, 0, big_endian(DEEP), tRNS=struct.pack(">H", 51 * 257)), key(GREY, 51)),
    "key-colour.png": (C, {"transparency": tuple(COLOUR[1, 2].tolist())}, None),
    "animated.gif": (palette(C), frames(), COLOUR),
    "animated.webp": (C, frames() | {"lossless": True}, COLOUR),
    "animated.png": (C, frames(), COLOUR),
    "two-pages.tif": (C, frames(), COLOUR),
    "UPPER.PNG": (C, COLOUR),
    "Mixed.TiFF": (C, COLOUR),
    "no ending": (C, {"format": "PNG"}, COLOUR),
    "a JPEG by name.jpg": (C, {"format": "PNG"}, COLOUR),
    "猫 é №1.png": (C, COLOUR),
}
NEAR = {  # compressed with loss: within this many levels
    "colour.jpg": ({"quality": 100, "subsampling": 0}, 3),
    "colour.JPEG": ({"quality": 100, "subsampling": 0}, 3),
    "colour.jfif": ({"format": "JPEG", "quality": 100, "subsampling": 0}, 3),
    "colour.mpo": ({"format": "MPO", "quality": 100, "subsampling": 0, **frames()}, 3),
    "colour.avif": ({"quality": 100, "subsampling": "4:4:4"}, 3),
}


def write(file, what, options=None):
    if isinstance(what, bytes):
        file.write_bytes(what)
    elif isinstance(what, tuple):
        tifffile.imwrite(file, what[0], **what[1])
    else:
        what.save(file, **options or {})


def laid_on_white(file):
    """What Pillow shows of a picture, laid on white by the formula: an answer that is not our code's."""
    x = np.array(Image.open(file).convert("RGBA")).astype(float)
    alpha = x[..., 3:] / 255
    return np.round(alpha * x[..., :3] + (1 - alpha) * 255)


def read(folder, size=4):
    """The pictures of a folder as uint8 (N, size, size, 3)."""
    x = data.folder(folder, size=size).images
    return ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("name", EXACT)
def test_a_picture_has_the_pixels_that_it_shows(tmp_path, name):
    what, *options, shown = EXACT[name]
    write(tmp_path / name, what, *options)
    [pixels] = read(tmp_path)
    if shown is None:
        shown = laid_on_white(tmp_path / name)
        assert (shown == 255).any() and abs(pixels.astype(int) - shown).max() <= 1
    else:
        assert np.array_equal(pixels, shown if shown.ndim == 3 else np.dstack([shown] * 3))


@pytest.mark.parametrize("name", NEAR)
def test_a_picture_compressed_with_loss_is_near_what_it_shows(tmp_path, name):
    options, levels = NEAR[name]
    C.save(tmp_path / name, **options)
    assert abs(read(tmp_path)[0].astype(int) - COLOUR).max() <= levels


TURNS = {1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud}
TURNS |= {5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, 3), 7: lambda x: np.rot90(x, 2).swapaxes(0, 1)}
TURNS |= {8: np.rot90}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", "avif", "deep.png", "sheer.png"])
def test_a_picture_is_turned_as_its_camera_noted(tmp_path, turn, ending):
    exif = Image.Exif()
    exif[0x0112] = turn
    corners = np.zeros((32, 32), np.uint8)
    corners[:16, :16], corners[:16, 16:] = 255, 128  # no symmetry is left
    made = {"deep.png": Image.fromarray(corners.astype(np.uint16) * 257), "sheer.png": Image.fromarray(corners)}
    image = made.get(ending, Image.fromarray(corners).convert("RGB"))
    more = {"jpg": {"quality": 100}, "webp": {"lossless": True}, "sheer.png": {"transparency": 0}}.get(ending, {})
    image.save(tmp_path / f"a.{ending}", exif=exif, **more)
    wanted = TURNS[turn](key(corners, 0) if ending == "sheer.png" else corners).astype(int)
    assert abs(read(tmp_path, 32)[0, :, :, 0] - wanted).max() <= (4 if ending == "avif" else 1)


REFUSED = {  # name of the file -> (what is written, a part of the reason)
    "levels.tif": (Image.fromarray(GREY.astype(np.float32)), "from 0 to 255, expected 0 .* to 1"),
    "below.tif": (Image.fromarray(FLOATS - 0.5), "from -0.5 to 0.5"),
    "nan.tif": (Image.fromarray(FLOATS * np.float32("nan")), "from nan to nan"),
    "inf.tif": (Image.fromarray(np.where(FLOATS == 1, np.inf, FLOATS).astype(np.float32)), "to inf"),
    "int32.tif": (Image.fromarray(GREY.astype(np.int32)), "signed"),
    "uint32.tif": ((GREY.astype(np.uint32), {"photometric": "minisblack"}), "32 bits .* which is white"),
    "int16.tif": ((GREY.astype(np.int16), {"photometric": "minisblack"}), "signed"),
    "int8.tif": ((GREY.astype(np.int8), {"photometric": "minisblack"}), "signed"),
    "float16.tif": ((FLOATS.astype(np.float16), {"photometric": "minisblack"}), "no picture, a damaged one"),
    "float-colour.tif": ((COLOUR / np.float32(255), {"photometric": "rgb"}), "no picture, a damaged one"),
    "planes-16bit.tif": (
        (COLOUR.astype(np.uint16).transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}),
        "in planes",
    ),
    "float-big-endian.tif": ((FLOATS * 0 + 0.5, {"byteorder": ">", "compression": "zlib"}), "floats are big-endian"),
    "lab.tif": (Image.new("LAB", (4, 4)), "L.a.b"),
    "key-16bit-colour.png": (png(16, 2, [bytes(24)] * 4, tRNS=bytes(6)), "16-bit colours is transparent"),
    "photo.HEIC": (b"\0\0\0\x18ftypheic", "pip install pillow-heif"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "does not read .svg here: save it as PNG"),
    "raw.NEF": (b"MM\0*", "does not read .NEF"),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "does not read .eps|no picture"),
    "empty.png": (b"", "no picture, a damaged one"),
    "page.jpg": (b"<html>not found</html>", "no picture, a damaged one"),
    "pickle.jpg": (pickle.dumps(print), "no picture, a damaged one"),
    "huge.png": (png(8, 2, []).replace(struct.pack(">II", 4, 4), struct.pack(">II", 2**16, 2**16)), "."),
}


@pytest.fixture
def pets(tmp_path):
    """Two classes of flat colours: cat (red, green), dog (blue)."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (40, 40), (255, 0, 0)).save(tmp_path / "cat" / "1.png")
    Image.new("RGB", (8, 8), (0, 255, 0)).save(tmp_path / "cat" / "2.png")
    Image.new("RGB", (32, 32), (0, 0, 255)).save(tmp_path / "dog" / "1.png")
    return tmp_path


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_rightly_is_left_out_by_name(pets, name, capsys):
    what, why = REFUSED[name]
    write(pets / "dog" / name, what)
    found = data.folder(pets)
    assert found.files == ["cat/1.png", "cat/2.png", "dog/1.png"] and found.left_out.keys() == {f"dog/{name}"}
    assert f"left out: 1 (dog/{name}: " in capsys.readouterr().out
    (pets / "dog" / "1.png").unlink()
    with pytest.raises(ValueError, match=f"path: '.*{name}' cannot be read as a picture .*{why}.*no picture of dog"):
        data.folder(pets)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("ending", "png jpg gif webp bmp tif ppm jp2 avif tga ico qoi dds pcx sgi xbm".split())
def test_a_truncated_picture_is_left_out_by_name(pets, ending, share):
    file = pets / "dog" / f"odd one.{ending}"
    noise = Image.effect_noise((64, 64), 80)
    noise.convert("1" if ending == "xbm" else "RGB").save(file)
    assert len(data.folder(pets).files) == 4
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    found = data.folder(pets)
    assert len(found.files) == 3 and found.left_out.keys() == {f"dog/{file.name}"}


def test_a_flipped_byte_and_a_pickle_do_no_harm(pets, monkeypatch):
    monkeypatch.chdir(pets)
    whole = png(8, 0, GREY)
    (pets / "dog" / "flipped.png").write_bytes(whole[:50] + bytes(b ^ 0xFF for b in whole[50:60]) + whole[60:])
    (pets / "dog" / "trap.jpg").write_bytes(pickle.dumps(Trap()))
    assert sorted(data.folder(pets).left_out) == ["dog/flipped.png", "dog/trap.jpg"]
    assert not (pets / "sprung").exists()


class Trap:
    """Unpickled, it would leave a file."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def test_a_plug_in_for_heic_is_used(monkeypatch):
    called = []
    plug_in = types.SimpleNamespace(register_heif_opener=lambda: called.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", plug_in)
    pictures._formats.__wrapped__()
    assert called == [1]


# --------------------------------------------------------------------------------------------------------- layouts

LAYOUTS = {  # what it is -> (files; what is read, "split class" -> how many; what is left out)
    "classes": ("cat/1.png cat/2.png dog/1.png", {" cat": 2, " dog": 1}, ""),
    "flat": ("1.png 2.png", {" ROOT": 2}, ""),
    "flat and a note": ("1.png notes.txt", {" ROOT": 1}, "notes.txt"),
    "wrapped": ("pets/cat/1.png pets/dog/1.png", {" cat": 1, " dog": 1}, ""),
    "wrapped twice": ("a/b/cat/1.png a/b/dog/1.png a/README.md", {" cat": 1, " dog": 1}, "a/README.md"),
    "wrapped and flat": ("pets/1.png pets/2.png", {" pets": 2}, ""),
    "train and test": ("train/cat/1.png test/cat/1.png", {"train cat": 1, "test cat": 1}, ""),
    "train and val": ("train/cat/1.png train/dog/1.png val/cat/1.png val/dog/2.png",
                      {"train cat": 1, "train dog": 1, "val cat": 1, "val dog": 1}, ""),
    "three in any case": ("Train/cat/1.png VAL/cat/1.png tEst/cat/1.png tEst/dog/1.png Train/dog/1.png",
                          {"train cat": 1, "train dog": 1, "val cat": 1, "test cat": 1, "test dog": 1}, ""),
    "other names": ("training_set/cat/1.png training_set/dog/1.png Validation Images/cat/1.png testing/dog/1.png",
                    {"train cat": 1, "train dog": 1, "val cat": 1, "test dog": 1}, ""),
    "numbered": ("train2017/cat/1.png train2017/dog/1.png valid2017/cat/1.png",
                 {"train cat": 1, "train dog": 1, "val cat": 1}, ""),
    "wrapped splits": ("pets/train/cat/1.png pets/test/cat/1.png pets/test/dog/1.png",
                       {"train cat": 1, "test cat": 1, "test dog": 1}, ""),
    "splits wrapped in themselves": ("train/train/cat/1.png train/train/dog/1.png test/test/cat/1.png",
                                     {"train cat": 1, "train dog": 1, "test cat": 1}, ""),
    "flat splits": ("train/1.png train/2.png test/1.png", {"train ROOT": 2, "test ROOT": 1}, ""),
    "a test without classes": ("train/cat/1.png train/dog/1.png test/1.png test/2.png",
                               {"train cat": 1, "train dog": 1}, "test/1.png test/2.png"),
    "train alone": ("pets/train/cat/1.png pets/train/dog/1.png", {"train cat": 1, "train dog": 1}, ""),
    "train alone and flat": ("train/1.png train/2.png", {" train": 2}, ""),
    "a class named train": ("bus/1.png plane/1.png train/1.png", {" bus": 1, " plane": 1, " train": 1}, ""),
    "a class of two levels": ("cat/1.png cat/more/2.png cat/more/yet/3.png dog/1.png", {" cat": 3, " dog": 1}, ""),
    "pictures one level down": ("cat/images/1.png dog/images/1.png", {" cat": 1, " dog": 1}, ""),
    "numbers": ("10/1.png 2/1.png 1/1.png 0/1.png 11/1.png", {f" {k}": 1 for k in (0, 1, 2, 10, 11)}, ""),
    "numbers in words": ("class10/1.png class9/1.png", {" class9": 1, " class10": 1}, ""),
    "any script": ("猫/1.png собака/1.png é/1.png قط/1.png", {" é": 1, " собака": 1, " قط": 1, " 猫": 1}, ""),
    "hidden ones": ("cat/1.png cat/.ipynb_checkpoints/1-checkpoint.png cat/._1.png cat/.DS_Store cat/Thumbs.db "
                    "cat/desktop.ini __MACOSX/cat/._1.png __MACOSX/cat/1.png .git/x.png @eaDir/1.png dog/1.png "
                    "dog/deep/.ipynb_checkpoints/2.png dog/deep/__macosx/3.png dog/deep/2.png",
                    {" cat": 1, " dog": 2}, ""),
    "hidden ones in splits": ("train/cat/1.png train/dog/2.png train/.ipynb_checkpoints/3.png test/cat/1.png "
                              "test/__MACOSX/1.png .ipynb_checkpoints/4.png",
                              {"train cat": 1, "train dog": 1, "test cat": 1}, ""),
    "hidden ones around one folder": ("__MACOSX/pets/._cat pets/cat/1.png pets/dog/1.png .DS_Store",
                                      {" cat": 1, " dog": 1}, ""),
    "other files": ("cat/1.png cat/labels.csv dog/1.png dog/clip.mp4 index.html cat/1.jpg.part",
                    {" cat": 1, " dog": 1}, "cat/1.jpg.part cat/labels.csv dog/clip.mp4 index.html"),
    "a folder without pictures": ("cat/1.png dog/1.png labels/a.xml labels/b.xml", {" cat": 1, " dog": 1}, "labels/"),
    "images and labels": ("images/train/1.png images/val/2.png labels/train/1.txt labels/val/2.txt",
                          {"train images": 1, "val images": 1}, "labels/"),
    "a stray picture": ("cat/1.png cat/2.png dog/1.png overview.png", {" cat": 2, " dog": 1}, "overview.png"),
}  # fmt: skip


def plant(root, files):
    for name in files:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".png":
            Image.new("RGB", (4, 4)).save(file)
        else:
            file.write_text("a note")


def split_up(text):
    """Names apart by spaces, some of which have spaces themselves."""
    return text.replace("Validation Images", "Validation\0Images").split()


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_has_the_classes_that_it_means(tmp_path, name):
    files, wanted, left_out = LAYOUTS[name]
    root = tmp_path / "ROOT"
    root.mkdir()
    plant(root, [file.replace("\0", " ") for file in split_up(files)])
    found = data.folder(root, size=4)
    kinds = [f"{split} {found.classes[label]}" for split, label in zip(found.splits, found.labels.tolist())]
    assert {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)} == wanted
    assert found.classes == list(dict.fromkeys(kind.split(" ", 1)[1] for kind in wanted))
    assert sorted(found.left_out) == left_out.split()
    assert len(found.images) == len(found.labels) == len(found.files) and all(
        (root / file).exists() for file in found.files
    )


AMBIGUOUS = {
    "years above classes": (
        "2019/cat/1.png 2019/dog/1.png 2020/cat/1.png 2020/dog/1.png",
        "holds the folders cat, dog",
    ),
    "splits below classes": ("cat/train/1.png cat/test/2.png dog/train/1.png dog/test/2.png", "holds the folders test"),
    "splits in a language of one's own": ("学习/cat/1.png 学习/dog/1.png 考试/cat/1.png 考试/dog/2.png", "cat, dog"),
    "splits with a name in front": ("seg_train/a/1.png seg_train/b/1.png seg_test/a/1.png seg_test/b/1.png", "a, b"),
    "splits beside classes": ("cat/1.png dog/1.png test/1.png", "test beside cat, dog, so which are classes"),
    "splits beside more": ("train/cat/1.png train/dog/1.png extra/1.png", "train beside extra"),
    "flat splits beside more": ("train/1.png test/1.png masks/1.png", "test, train beside masks"),
    "more beside folders than in them": (
        "1.png 2.png 3.png thumbs/1.png",
        "3 pictures beside the folders thumbs with 1",
    ),
    "nothing": ("", "which has no picture"),
    "no picture": ("notes.txt cat/list.csv", r"no picture, expected .*\(left out: 2 \(cat/: no picture in it"),
    "hidden ones only": ("__MACOSX/1.png .hidden/2.png", "which has no picture"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_layout_that_is_not_plain_is_refused(tmp_path, name):
    files, why = AMBIGUOUS[name]
    plant(tmp_path, files.split())
    with pytest.raises(ValueError, match=f"path: got '.*{why}"):
        data.folder(tmp_path)


def test_names_of_splits_and_of_the_system():
    for split, names in {
        "train": "train TRAIN Training training_set train-images train_2017 Training Data trainset",
        "val": "val valid Validation dev VAL_set eval valid2",
        "test": "test Testing test_set TEST test1",
    }.items():
        assert {split_of(name) for name in names.replace("Training Data", "Training-Data").split()} == {split}
    assert {split_of(name) for name in ("cat", "training shoes", "trainval", "trains", "test train", "", "1")} == {None}
    assert all(map(is_hidden, [".x", "._1.png", "__MACOSX", "THUMBS.DB", "~$a.png", "desktop.ini", "Icon\r"]))
    assert not any(map(is_hidden, ["_", "x.png", "__", "icon"]))


def test_links_that_go_round_or_nowhere_are_harmless(pets):
    (pets / "cat" / "up").symlink_to(pets)
    (pets / "cat" / "self").symlink_to("self")
    (pets / "cat" / "dogs").symlink_to(pets / "dog")  # before dog, which stays the place of its pictures
    (pets / "cat" / "world").symlink_to("/")
    (pets / "cat" / "gone.jpg").symlink_to(pets / "nowhere.jpg")
    (pets / "cat" / "3.png").symlink_to(pets / "cat" / "1.png")
    other = pets.with_name("elsewhere")
    plant(other, ["1.png", "2.png"])
    (other / "back").symlink_to(pets / "cat")
    (other / "round").symlink_to(other)
    (pets / "emu").symlink_to(other)
    found = data.folder(pets)
    counts = [found.labels.tolist().count(i) for i in range(3)]
    assert found.classes == ["cat", "dog", "emu"] and counts == [3, 1, 2]
    left = {"cat/dogs", "cat/gone.jpg", "cat/self", "cat/up", "cat/world", "emu/back", "emu/round"}
    assert found.left_out.keys() == left and "nowhere" in found.left_out["cat/gone.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_what_is_no_file_is_not_waited_for(pets):
    os.mkfifo(pets / "dog" / "2.png")
    assert data.folder(pets).left_out == {"dog/2.png": "no regular file"}


def test_a_name_in_bytes_that_are_no_text_is_read_and_printed(pets, capsys):
    try:
        os.mkdir(os.fsencode(pets) + b"/caf\xe9")
    except OSError:
        pytest.skip("this disk takes only names that are text")
    Image.new("RGB", (4, 4)).save(pets / "1.png")
    os.rename(pets / "1.png", os.fsencode(pets) + b"/caf\xe9/\xe9.png")
    found = data.folder(pets)
    assert found.classes == [r"caf\udce9", "cat", "dog"] and found.files[0] == r"caf\udce9/\udce9.png"
    assert r"caf\udce9 1" in capsys.readouterr().out


def test_an_accent_may_be_a_letter_or_two(tmp_path):
    plant(tmp_path, ["train/cafe\u0301/1.png", "train/b/1.png", "test/caf\u00e9/1.png"])
    assert data.folder(tmp_path).classes == ["b", "caf\u00e9"]


# -------------------------------------------------------------------------------------------------------- the whole


def test_folder_reads_pictures_labels_and_names(pets, monkeypatch):
    x, y, names = data.folder(pets, size=16)
    assert (x.shape, x.dtype) == ((3, 3, 16, 16), torch.float32)
    assert y.tolist() == [0, 0, 1] and y.dtype == torch.int64 and names == ["cat", "dog"]
    colours = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert torch.equal(x, colours[:, :, None, None].expand(3, 3, 16, 16))
    assert data.folder(str(pets))[0].shape == (3, 3, 32, 32)
    monkeypatch.setenv("HOME", str(pets.parent))
    assert data.folder(f"~/{pets.name}")[2] == names
    monkeypatch.chdir(pets / "cat")
    assert data.folder(".").classes == ["cat"]


def test_what_was_found_is_said(tmp_path, capsys, monkeypatch):
    plant(tmp_path, [f"train/{name}/{i}.png" for name in ("cat", "dog") for i in range(3)])
    plant(tmp_path, ["test/cat/1.png", "test/emu/1.png", "a.txt", "b.txt", "c.txt", "d.txt"])
    found = data.folder(tmp_path)
    told = [
        "8 pictures in 3 classes: cat 4, dog 3, emu 1",
        "train/ 6, test/ 2",
        "none in train/ of emu",
        "none in test/ of dog",
        "left out: 4 (a.txt: no picture; b.txt: no picture; c.txt: no picture; and 1 more)",
    ]
    assert capsys.readouterr().out.strip() == str(found) == "; ".join(told)
    train = data.folder(tmp_path, split="train")
    assert len(train.images) == 6 and train.classes == found.classes and str(train).startswith("6 pictures in 3")
    with pytest.raises(ValueError, match="split: got 'val', expected one that '.*' has: test, train"):
        data.folder(tmp_path, split="val")
    capsys.readouterr()
    monkeypatch.setenv("RANK", "1")  # the second of two processes
    data.folder(tmp_path)
    assert capsys.readouterr().out == ""


def test_the_middle_of_a_wide_and_of_a_high_picture_is_kept(pets):
    wide = Image.new("RGB", (64, 16), (0, 0, 0))
    wide.paste((255, 255, 255), (24, 0, 40, 16))
    wide.save(pets / "dog" / "2.png")
    wide.rotate(90, expand=True).save(pets / "dog" / "3.png")
    assert data.folder(pets, size=16)[0][3:].eq(1).all()


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.text("ab Zé猫", min_size=1, max_size=6).filter(lambda name: name.strip() == name),
        st.lists(st.tuples(*[st.integers(1, 60)] * 2, *[st.integers(0, 255)] * 3), min_size=1, max_size=3),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 24),
)
def test_any_folder_of_flat_pictures_is_read(classes, size):
    """Whatever their sizes, names and number: one row each, by class, in the colour that they have."""
    with tempfile.TemporaryDirectory() as root:
        for name, shown in classes.items():
            Path(root, name).mkdir()
            for i, (width, height, *rgb) in enumerate(shown):
                Image.new("RGB", (width, height), tuple(rgb)).save(Path(root, name, f"{i}.png"))
        x, y, names = data.folder(root, size=size)
    wanted = [(i, rgb) for i, name in enumerate(sorted(classes)) for *_, rgb in [(p, p[2:]) for p in classes[name]]]
    assert names == sorted(classes) and y.tolist() == [i for i, _ in wanted]
    colours = torch.tensor([rgb for _, rgb in wanted]) / 127.5 - 1
    assert x.shape == (len(wanted), 3, size, size) and (x - colours[:, :, None, None]).abs().max() < 1e-6


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"path": None}, TypeError, "path: got None .*expected the path of a folder"),
        ({"path": 3}, TypeError, "path: got 3"),
        ({"path": ".", "size": 0}, ValueError, "size: got 0, expected between 1 and 1024"),
        ({"path": ".", "size": 2000}, ValueError, "size: got 2000"),
        ({"path": ".", "size": 1.5}, TypeError, "size: got 1.5"),
        ({"path": "cat", "split": "all"}, ValueError, "split: got 'all' .*, expected one of 'train', 'val', 'test'"),
        ({"path": "bad\0name"}, ValueError, "path: got 'bad"),
        ({"path": "nowhere"}, ValueError, "path: got 'nowhere', which is no folder, expected a folder with one"),
        ({"path": "cat/1.png"}, ValueError, "1.png', which is no folder"),
        ({"path": "pets.zip"}, ValueError, "pets.zip', which is no folder: unpack it first"),
        ({"path": "~no such user/pets"}, ValueError, "path: got '~no such user.*, which is no folder"),
        ({"path": "x" * 300}, ValueError, "path: got 'xxx.*, which is no folder"),
        ({"path": "x/" * 3000}, ValueError, "path: got 'x/x.*, which is no folder"),
    ],
)
def test_folder_refuses_bad_input(pets, monkeypatch, arguments, error, match):
    monkeypatch.chdir(pets)
    with pytest.raises(error, match=match):
        data.folder(**arguments)


def test_a_folder_that_cannot_be_opened_is_refused_by_name(pets, monkeypatch):
    def closed(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(ValueError, match="path: got '.*', which cannot be opened .Permission denied., expected a fold"):
        data.folder(pets)


def test_a_lone_split_is_the_one_that_is_asked_for(tmp_path):
    plant(tmp_path, ["train/cat/1.png", "train/dog/1.png"])
    assert data.folder(tmp_path, split="train").classes == ["cat", "dog"]
    with pytest.raises(ValueError, match="split: got 'test', expected one that '.*' has: train"):
        data.folder(tmp_path, split="test")


def test_a_cursor_whose_mask_pillow_does_not_read_is_left_out(pets):
    (pets / "dog" / "arrow.cur").write_bytes(b"\0\0\2\0")
    assert data.folder(pets).left_out == {"dog/arrow.cur": "no picture"}
