"""Digits, batches and the learner's own folder."""

import hashlib
import itertools
import pickle
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from minidiff import data

# ---------------------------------------------------------------------------------------------------------- digits


@pytest.mark.parametrize("size", [8, 16])
@pytest.mark.parametrize("split, n", [("train", 1500), ("test", 297)])
def test_digits_shapes_and_range(split, n, size):
    x, y = data.digits(split, size)
    assert (x.shape, x.dtype) == ((n, 1, size, size), torch.float32)
    assert (y.shape, y.dtype) == ((n,), torch.int64)
    assert x.min() == -1 and x.max() == 1 and x.is_contiguous()
    share = load_digits().target
    for label in range(10):  # stratified: within one picture of an equal share
        assert abs((y == label).sum().item() - (share == label).sum() * n / 1797) <= 1


def test_digits_of_size_8_are_the_17_levels_exactly():
    x = torch.cat([data.digits(split, 8)[0] for split in ("train", "test")])
    assert torch.equal(x.unique(), torch.arange(17) / 8 - 1)
    ours = ((x + 1) * 8).view(-1, 64).to(torch.int64)
    theirs = torch.from_numpy(load_digits().data).to(torch.int64)
    assert sorted(ours.tolist()) == sorted(theirs.tolist())  # the splits share no picture and miss none


def test_digits_of_size_16_are_the_bilinear_upsampling():
    small, big = data.digits("test", 8)[0], data.digits("test")[0]
    expected = torch.nn.functional.interpolate(small, (16, 16), mode="bilinear", align_corners=False)
    assert torch.equal(big, expected)
    assert torch.equal(data.digits("test", 8)[1], data.digits("test", 16)[1])


def test_the_split_never_changes():
    """A checkpoint trained on another split would have seen the test pictures."""
    x, y = data.digits("test", 8)
    told = hashlib.sha256(((x + 1) * 8).byte().numpy().tobytes() + y.byte().numpy().tobytes()).hexdigest()
    assert told == "0e428771f58918b081aaaa5ccfa7f679a695f87fecc83e57220b971ca72ea292"


def test_digits_are_the_callers_own():
    x, y = data.digits("test")
    x.zero_(), y.zero_()
    again, labels = data.digits("test")
    assert again.min() == -1 and labels.max() == 9


def test_a_size_may_be_numpys():
    assert data.digits(size=np.int64(8))[0].shape == (1500, 1, 8, 8)
    assert data.batches(torch.arange(6), size=np.int64(3))[np.int64(1)][0].shape == (3,)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"split": "valid"}, "split: got 'valid' .*expected one of 'train', 'test'"),
        ({"split": None}, "split: got None"),
        ({"size": 28}, "size: got 28 .*expected one of 8, 16"),
        ({"size": -8}, "size: got -8"),
        ({"size": "8"}, "size: got '8'"),
        ({"size": 8.0}, "size: got 8.0"),
        ({"size": torch.tensor([8, 16])}, "size: got int64 tensor"),
    ],
)
def test_digits_refuse_bad_input(arguments, match):
    with pytest.raises(ValueError, match=match):
        data.digits(**arguments)


# --------------------------------------------------------------------------------------------------------- batches


def test_batches_are_epochs_laid_end_to_end():
    n, size = 10, 4
    cut = data.batches(torch.arange(n), size=size, seed=3)
    rows = torch.cat([cut[k][0] for k in range(15)])  # 60 rows: 6 epochs
    epochs = rows.view(6, n)
    assert torch.equal(epochs.sort(1).values, torch.arange(n).expand(6, n))
    assert len({tuple(e.tolist()) for e in epochs}) == 6
    assert all(len(cut[k][0]) == size for k in range(15))


def test_a_batch_depends_on_its_number_alone():
    x = torch.randn(37, 3, generator=torch.Generator().manual_seed(0))
    straight = [b[0] for b in itertools.islice(data.batches(x, size=8, seed=1), 40)]
    cut = data.batches(x, size=8, seed=1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(5)).tolist()
    for k in [*order, 7, 7, 39, 0]:
        assert torch.equal(cut[k][0], straight[k])
    assert cut[10**12][0].shape == (8, 3)


def test_seeds_and_epochs_do_not_meet():
    x = torch.arange(50)
    orders = [data.batches(x, size=50, seed=seed)[epoch][0] for seed in range(4) for epoch in range(4)]
    assert len({tuple(o.tolist()) for o in orders}) == 16


def test_rows_of_all_tensors_stay_together():
    x, y = torch.randn(20, 1, 4, 4), torch.arange(20)
    for images, labels, plain in itertools.islice(data.batches(x, y, -y, size=7), 10):
        assert torch.equal(images, x[labels]) and torch.equal(plain, -labels)


def test_a_batch_may_be_longer_than_the_data():
    (rows,) = data.batches(torch.arange(3), size=8)[1]
    singly = data.batches(torch.arange(3), size=1)
    assert torch.equal(rows, torch.cat([singly[k][0] for k in range(8, 16)]))


def test_batches_are_copies_and_leave_the_generators_alone():
    x, state = torch.zeros(6, 2), torch.get_rng_state()
    cut = data.batches(x, size=2)
    cut[0][0].fill_(9)
    assert x.eq(0).all() and cut[0][0].eq(0).all()
    assert torch.equal(state, torch.get_rng_state())


def test_batches_have_no_length():
    with pytest.raises(TypeError):
        len(data.batches(torch.zeros(3), size=2))


@pytest.mark.parametrize(
    "k, error, match",
    [
        (-1, ValueError, "k: got -1, expected at least 0"),
        (1.0, TypeError, "k: got 1.0"),
        (slice(3), TypeError, "k: got slice"),
        (None, TypeError, "k: got None"),
    ],
)
def test_batches_refuse_bad_numbers(k, error, match):
    with pytest.raises(error, match=match):
        data.batches(torch.zeros(3), size=2)[k]


@pytest.mark.parametrize(
    "tensors, arguments, error, match",
    [
        (([1, 2],), {"size": 1}, TypeError, "x: got a list, expected a tensor"),
        ((torch.zeros(3), [1, 2, 3]), {"size": 1}, TypeError, r"others\[0\]: got a list"),
        ((torch.zeros(3), torch.zeros(4)), {"size": 1}, ValueError, r"others\[0\]: got shape \(4,\), expected 3 rows"),
        ((torch.zeros(0, 2),), {"size": 1}, ValueError, r"x: got shape \(0, 2\), expected at least one row"),
        ((torch.tensor(1.0),), {"size": 1}, ValueError, r"x: got shape \(\)"),
        ((torch.zeros(3),), {"size": 0}, ValueError, "size: got 0"),
        ((torch.zeros(3),), {"size": -2}, ValueError, "size: got -2"),
        ((torch.zeros(3),), {"size": 2.0}, TypeError, "size: got 2.0"),
        ((torch.zeros(3),), {"size": 2, "seed": -1}, ValueError, "seed: got -1"),
        ((torch.zeros(3),), {"size": 2, "seed": None}, TypeError, "seed: got None"),
    ],
)
def test_batches_refuse_bad_input(tensors, arguments, error, match):
    with pytest.raises(error, match=match):
        data.batches(*tensors, **arguments)


# ---------------------------------------------------------------------------------------------------------- folder


@pytest.fixture
def pets(tmp_path):
    """Two classes of flat colours: cat (red, green), dog (blue, wide)."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (40, 40), (255, 0, 0)).save(tmp_path / "cat" / "1.png")
    Image.new("RGB", (8, 8), (0, 255, 0)).save(tmp_path / "cat" / "2.png")
    Image.new("RGB", (32, 32), (0, 0, 255)).save(tmp_path / "dog" / "1.png")
    return tmp_path


def test_folder_reads_pictures_labels_and_names(pets, monkeypatch):
    x, y, names = data.folder(pets, size=16)
    assert (x.shape, x.dtype) == ((3, 3, 16, 16), torch.float32)
    assert y.tolist() == [0, 0, 1] and y.dtype == torch.int64 and names == ["cat", "dog"]
    colours = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert torch.equal(x, colours[:, :, None, None].expand(3, 3, 16, 16))
    assert data.folder(str(pets))[0].shape == (3, 3, 32, 32)
    monkeypatch.setenv("HOME", str(pets.parent))
    assert data.folder(f"~/{pets.name}")[2] == names


def test_folder_keeps_the_middle_of_a_wide_picture(pets):
    wide = Image.new("RGB", (64, 16), (0, 0, 0))
    wide.paste((255, 255, 255), (24, 0, 40, 16))
    wide.save(pets / "dog" / "2.png")
    assert data.folder(pets, size=16)[0][3].eq(1).all()


def test_folder_turns_a_picture_as_its_camera_noted(pets):
    lying = Image.new("RGB", (32, 32), (0, 0, 0))
    lying.paste((255, 255, 255), (0, 0, 16, 32))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the left side becomes the top
    lying.save(pets / "dog" / "2.png", exif=exif)
    x = data.folder(pets)[0][3]
    assert x[:, :16].eq(1).all() and x[:, 16:].eq(-1).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_folder_makes_every_picture_rgb(pets, mode):
    Image.new("RGB", (32, 32), (255, 255, 255)).convert(mode).save(pets / "dog" / "2.tif")
    assert data.folder(pets)[0][3].eq(1).all()


def test_folder_passes_over_hidden_folders(pets):
    (pets / ".ipynb_checkpoints").mkdir()
    assert data.folder(pets)[2] == ["cat", "dog"]


def test_folder_needs_a_folder_with_classes(tmp_path):
    with pytest.raises(ValueError, match="path: got '.*nowhere', which is no folder, expected a folder with one"):
        data.folder(tmp_path / "nowhere")
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(ValueError, match="picture.png', which is no folder"):
        data.folder(tmp_path / "picture.png")
    with pytest.raises(ValueError, match="path: .*expected a folder with one sub-folder .* It has no sub-folder"):
        data.folder(tmp_path)


def test_folder_names_the_class_without_pictures(pets):
    (pets / "emu").mkdir()
    (pets / "emu" / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match="path: .*emu"):
        data.folder(pets)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped"])
def test_folder_names_the_damaged_picture(pets, damage):
    file = pets / "dog" / "odd one.png"
    Image.effect_noise((64, 64), 80).save(file)
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(
        {
            "empty": b"",
            "text": b"<html>not found</html>",
            "cut": whole[:middle],
            "flipped": whole[:40] + bytes(b ^ 0xFF for b in whole[40:80]) + whole[80:],
        }[damage]
    )
    with pytest.raises(ValueError, match="path: '.*odd one.png' cannot be read as a picture"):
        data.folder(pets)


def photograph(file, damage):
    """A .jpg that is cut, or is none: text, a pickle, or the head of a picture of 4 gigapixels."""
    Image.effect_noise((64, 64), 80).save(file, quality=95)
    whole, huge = file.read_bytes(), struct.pack(">IIBBBBB", 2**16, 2**16, 8, 2, 0, 0, 0)
    head = b"IHDR" + huge
    file.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "text": b"a list of what is in this folder\n",
            "pickle": pickle.dumps(Trap()),
            "huge": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)),
        }[damage]
    )


class Trap:
    """Unpickled, it would leave a file."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("damage", ["cut", "text", "pickle", "huge"])
def test_folder_names_the_damaged_photograph(pets, damage, monkeypatch):
    monkeypatch.chdir(pets)
    photograph(pets / "dog" / "2.jpg", damage)
    with pytest.raises(ValueError, match="path: '.*2.jpg' cannot be read as a picture .*: mend or remove it"):
        data.folder(pets)
    assert not (pets / "sprung").exists()
    (pets / "dog" / "2.jpg").unlink()
    (pets / "dog" / "2.jpg").symlink_to(pets / "gone.jpg")
    with pytest.raises(ValueError, match="path: '.*2.jpg' cannot be read as a picture .*No such file"):
        data.folder(pets)


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
        for name, pictures in classes.items():
            Path(root, name).mkdir()
            for i, (width, height, *rgb) in enumerate(pictures):
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
        ({"path": "bad\0name"}, ValueError, "path: got 'bad"),
    ],
)
def test_folder_refuses_bad_input(arguments, error, match):
    with pytest.raises(error, match=match):
        data.folder(**arguments)
