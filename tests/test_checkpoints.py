"""Checkpoints: what `save` writes `load` gives back; whatever else is in a file ends in a CheckpointError."""

import json
import os
import pickle
import re
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

from minidiff import checkpoints
from minidiff.checkpoints import CheckpointError, load, save
from minidiff.recipes import RECIPES
from minidiff.support import files, parts
from minidiff.unet import UNet

BUILT_ON = []  # the device of every Tiny that is built


class Tiny(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        if type(width) is not int or width < 1:
            raise TypeError(f"width: got {width!r}, expected a whole number")
        self.width = width
        self.conv, self.norm = nn.Conv2d(2, width, 3), nn.BatchNorm2d(width)  # the norm has an int64 buffer
        BUILT_ON.append(self.conv.weight.device.type)


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)


class Note:
    """A part that is no model."""


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for kind in (Tiny, Other, Note):
        monkeypatch.setitem(parts.PARTS, kind.__name__, kind)


def write(path, model=None, seed=0, **changed):
    torch.manual_seed(seed)
    facts = {"command": "python -m minidiff train tiny", "seed": seed, "steps": 7, "metrics": {"loss": 0.5}}
    return save(Tiny() if model is None else model, path, **facts | changed)


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good.safetensors")


def weights(path):
    return safetensors.torch.load(path.read_bytes())


def metadata(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["card"])


def seal(path, tensors=None, **changed):
    """The same file with other weights, or entries of its card, and a sha256 that fits: what is behind comes to light.

    None removes an entry.
    """
    tensors = weights(path) if tensors is None else tensors
    card = metadata(path) | {"sha256": checkpoints._digest(tensors)} | changed
    card = json.dumps({key: value for key, value in card.items() if value is not None})
    path.write_bytes(safetensors.torch.save(tensors, {"card": card}))


def card_text(path, text):
    path.write_bytes(safetensors.torch.save(weights(path), {"card": text}))


def header(text, data=b""):
    return struct.pack("<Q", len(text)) + text + data


def test_what_is_saved_is_loaded(tmp_path):
    model = Tiny()
    model.norm.running_mean.fill_(0.1)
    model.norm.num_batches_tracked.fill_(12345)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = write(tmp_path / "new" / "tiny.v2.safetensors", model.to(memory_format=torch.channels_last))
    state = torch.random.get_rng_state()
    loaded = load(path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert type(loaded) is Tiny and not loaded.training and model.training
    for name, tensor in loaded.state_dict().items():
        expected = before[name].half().float() if before[name].is_floating_point() else before[name]
        assert tensor.dtype == before[name].dtype and torch.equal(tensor, expected), name
    assert sorted(os.listdir(path.parent)) == ["tiny.v2.safetensors"]
    assert {tensor.dtype for tensor in weights(path).values()} == {torch.float16, torch.int64}
    assert load(str(path)).conv.weight.equal(loaded.conv.weight)


def test_the_card_tells_how_it_was_made(good):
    card = checkpoints.card(good)
    assert card["model"] == {"part": "Tiny", "width": 4} and card["class"] == "Tiny"
    assert (card["command"], card["seed"], card["steps"]) == ("python -m minidiff train tiny", 0, 7)
    assert card["metrics"] == {"loss": 0.5} and card["versions"]["torch"] == torch.__version__
    assert card == metadata(good)


def test_a_default_that_changes_does_not_break_older_weights(tmp_path, monkeypatch):
    """The card has every argument: those that were left at their defaults too."""
    path = write(tmp_path / "unet.safetensors", UNet())
    monkeypatch.setattr(UNet.__init__, "__defaults__", (3, (8, 8), 2, *UNet.__init__.__defaults__[3:]))
    assert UNet().widths == [8, 8]
    assert load(path).widths == [16, 32, 64, 128]
    assert load("ddpm-digits").net.channels == 1  # and the shipped ones


def test_a_model_of_ones_own_comes_back_into_its_own_class(tmp_path):
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 3)

    mine = Mine()
    path = save(mine, tmp_path / "mine.safetensors")
    again = load(path, into=Mine())
    assert torch.equal(again.layer.weight, mine.layer.weight.half().float())
    with pytest.raises(CheckpointError, match=r"class that the course does not know, 'Mine'.*into=model"):
        load(path)


def test_the_same_model_gives_the_same_bytes(tmp_path, good):
    again = write(tmp_path / "again.safetensors")
    assert again.read_bytes() == good.read_bytes()


def test_tied_weights(tmp_path, monkeypatch):
    class Tied(Other):
        def __init__(self):
            super().__init__()
            self.same = self.head

    monkeypatch.setitem(parts.PARTS, "Tied", Tied)
    loaded = load(write(tmp_path / "tied.safetensors", Tied().half()))
    assert loaded.same.weight is loaded.head.weight


class MyTiny(nn.Module):
    """A learner's own: another class, whose parts have the same names."""

    def __init__(self, width=4):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, width, 3, padding=1), nn.BatchNorm2d(width)


def test_into_fills_a_model_of_ones_own(good):
    mine = MyTiny().double()
    assert load(good, into=mine) is mine and not mine.training
    assert mine.conv.weight.dtype == torch.float64
    assert torch.equal(mine.conv.weight.float(), load(good).conv.weight)


def test_into_lists_the_differences_and_leaves_the_model_alone(good):
    mine = MyTiny(width=5)
    mine.extra, mine.norm = nn.Linear(2, 2), nn.Identity()
    before = mine.conv.weight.clone()
    with pytest.raises(CheckpointError) as caught:
        load(good, into=mine)
    lines = str(caught.value).splitlines()
    assert "  conv.weight: F16 (4, 2, 3, 3) in the file, F16 (5, 2, 3, 3) in the model" in lines
    assert "  extra.bias: missing in the file, F16 (2,) in the model" in lines
    assert "  norm.bias: F16 (4,) in the file, missing in the model" in lines
    assert "  and 1 more" in lines and len(lines) == 11  # the file, eight of nine, that line, what to do
    assert torch.equal(mine.conv.weight, before) and mine.training


def test_into_needs_no_known_class(good, monkeypatch):
    monkeypatch.delitem(parts.PARTS, "Tiny")
    assert torch.equal(load(good, into=MyTiny()).norm.weight, torch.ones(4))


@pytest.mark.parametrize("name", ["my.pt", Path("runs/my.pth"), "runs/last.ckpt"])
def test_a_file_of_torch_saves_is_refused_with_the_way_out(name):
    for read in (checkpoints.load, checkpoints.card):
        with pytest.raises(CheckpointError, match=r"a file of torch.save's.*checkpoints.save\(model"):
            read(name)


def test_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    assert checkpoints.names() == []
    with pytest.raises(CheckpointError, match="nothing: no such checkpoint. There are: none$"):
        load("nothing")
    for name in ("vae-digits", "pixels-digits"):
        write(checkpoints.SHIPPED / f"{name}.safetensors")
    assert checkpoints.names() == ["pixels-digits", "vae-digits"]
    assert type(load("vae-digits")) is Tiny and checkpoints.card("vae-digits")["steps"] == 7
    with pytest.raises(CheckpointError, match="Did you mean vae-digits. There are: pixels-digits, vae-digits$"):
        load("vae-digit")
    with pytest.raises(CheckpointError, match="python -m minidiff train ddpm-digits` makes one"):
        load("ddpm-digits")
    monkeypatch.chdir(tmp_path)
    write("here.safetensors")
    assert type(load("here.safetensors")) is type(load(Path("here.safetensors"))) is Tiny
    for other in ("here", Path("vae-digits"), "shipped/none", "..", ".", "", "a\0b", "a\0b.safetensors"):
        with pytest.raises(CheckpointError):
            load(other)
    for other in (None, 5, b"here.safetensors", Tiny()):
        with pytest.raises(TypeError, match="name_or_path"):
            load(other)
    with pytest.raises(TypeError, match="into: got str"):
        load("here.safetensors", into="Tiny")


class Trap:
    """Unpickled, it would leave a file."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def changed_weights(path, **changed):
    """The tensors of `path` with others in place of some; None removes one."""
    kept = weights(path) | {name.replace("_", ".", 1): tensor for name, tensor in changed.items()}
    return {name: tensor for name, tensor in kept.items() if tensor is not None}


def flip(path, position):
    blob = bytearray(path.read_bytes())
    blob[position] ^= 0x10
    return bytes(blob)


def sparse(path, size):
    with path.open("r+b") as file:
        file.truncate(size)


def instead(path, make):
    path.unlink()
    make(path)


def loop(path):
    path.symlink_to(path.name)


NAN = torch.full((4,), float("nan"), dtype=torch.float16)
HALF = torch.zeros(4, dtype=torch.float16)
BIG = json.dumps({"conv.weight": {"dtype": "F16", "shape": [10**12], "data_offsets": [0, 2 * 10**12]}}).encode()
F4 = json.dumps({"conv.weight": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
DEEP = '{"model": ' + "[" * 200_000
CODE = {"part": "Tiny", "width": "__import__('pathlib').Path('sprung').touch()"}

BROKEN = {
    "missing": (lambda p: p.unlink(), "No such file"),
    "empty": (lambda p: p.write_bytes(b""), "header too small"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "not fully covered"),
    "trailing bytes": (lambda p: p.write_bytes(p.read_bytes() + b"PK"), "not fully covered"),
    "a bit flipped": (lambda p: p.write_bytes(flip(p, -9)), "damaged"),
    "too large": (lambda p: sparse(p, 200_000_001), r"200,000,001 bytes, the limit is 200,000,000"),
    "a folder": (lambda p: instead(p, Path.mkdir), "is a folder"),
    "a loop of links": (lambda p: instead(p, loop), "(?i)symbolic links"),
    "a pipe": (lambda p: instead(p, os.mkfifo), "no regular file"),
    "a huge header": (lambda p: p.write_bytes(struct.pack("<Q", 2**63) + p.read_bytes()[8:]), "header too large"),
    "a header that is no JSON": (lambda p: p.write_bytes(header(b"{conv: 1}")), "invalid JSON"),
    "a header that is a list": (lambda p: p.write_bytes(header(b"[1, 2]")), "invalid JSON"),
    "a tensor of terabytes": (lambda p: p.write_bytes(header(BIG)), "not fully covered"),
    "a pickle": (lambda p: p.write_bytes(pickle.dumps(Trap())), "header"),
    "torch's own format": (lambda p: torch.save(Trap(), p), "header"),
    "other shapes": (lambda p: seal(p, changed_weights(p, norm_bias=HALF[:3])), r"bias: F16 \(3,\) in .*F16 \(4,\)"),
    "another dtype": (lambda p: seal(p, changed_weights(p, norm_bias=HALF.float())), r"bias: F32 \(4,\) in"),
    "a tensor less": (lambda p: seal(p, changed_weights(p, norm_bias=None)), "norm.bias: missing in the file"),
    "a tensor more": (lambda p: seal(p, changed_weights(p, extra=HALF)), "extra: .* missing in the model"),
    "NaN": (lambda p: seal(p, changed_weights(p, norm_bias=NAN)), "NaN.* in norm.bias"),
    "another model": (lambda p: seal(p, model={"part": "Other"}), "head.weight: missing in the file"),
    "other arguments": (
        lambda p: seal(p, model={"part": "Tiny", "width": 10_000}),
        "F16 .10000, 2, 3, 3. in the model",
    ),
    "no model": (lambda p: seal(p, model=None), "class that the course does not know, 'Tiny'"),
    "an unknown part": (lambda p: seal(p, model={"part": "os.system"}), "part: got 'os.system'"),
    "a part without a name": (lambda p: seal(p, model={"part": [1]}), r"part: got \[1\]"),
    "a part that is no model": (lambda p: seal(p, model={"part": "Note"}), "describes a Note, expected a model"),
    "arguments refused": (lambda p: seal(p, model={"part": "Tiny", "width": -1}), "cannot be built.*width: got -1"),
    "arguments unknown": (lambda p: seal(p, model={"part": "Tiny", "depth": 1}), "cannot be built.*depth"),
    "arguments with code": (lambda p: seal(p, model=CODE), "cannot be built"),
    "a model that is a list": (lambda p: seal(p, model=[4]), "describes a list, expected a model"),
    "no card": (lambda p: p.write_bytes(safetensors.torch.save(weights(p))), "no card in its metadata"),
    "an empty card": (lambda p: card_text(p, ""), "Expecting value"),
    "a card that is a list": (lambda p: card_text(p, "[]"), "no JSON object with the weights' sha256"),
    "a card without end": (lambda p: card_text(p, DEEP), "recursion"),
    "a number for sha256": (lambda p: seal(p, sha256=0), "no JSON object with the weights' sha256"),
    "another's sha256": (lambda p: seal(p, sha256="0" * 64), "is damaged .the sha256"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_checkpoint(kind, good, monkeypatch):
    spoil, message = BROKEN[kind]
    monkeypatch.chdir(good.parent)
    spoil(good)
    BUILT_ON.clear()
    with pytest.raises(CheckpointError, match=r"(?s)" + message) as caught:
        load(good)
    assert str(good) in str(caught.value)  # it names the file
    assert re.search("Get it again|into=model|Build the model", str(caught.value))  # and what to do
    assert set(BUILT_ON) <= {"meta"}  # nothing was allocated
    assert not Path("sprung").exists()


@pytest.fixture
def unprivileged():
    """Root may read everything: be nobody for the test."""
    if os.geteuid():
        yield
    else:
        os.seteuid(65534)
        yield
        os.seteuid(0)


def test_no_permission(good, request):
    good.chmod(0)
    for folder in list(good.parents)[:3]:
        folder.chmod(0o755)
    good.parent.chmod(0o555)
    request.getfixturevalue("unprivileged")
    with pytest.raises(CheckpointError, match="good.safetensors: cannot be read .Permission denied"):
        load(good)
    with pytest.raises(CheckpointError, match="cannot be written .Permission denied"):
        write(good.with_name("c.safetensors"))


BAD_SAVES = {
    "NaN": ({"model": "nan"}, "NaN, infinity or numbers beyond float16 .* in conv.bias"),
    "beyond float16": ({"model": 65_520.0}, "beyond float16 .* in conv.bias"),
    "a complex weight": ({"model": 1j}, "dtype that is not stored: conv.bias .torch.complex64"),
    "a tuple": ({"metrics": {"losses": (1, 2)}}, "comes? back changed"),
    "a tensor": ({"metrics": {"loss": torch.tensor(1.0)}}, "not JSON serializable"),
    "NaN in the card": ({"metrics": {"loss": float("nan")}}, "would not be JSON"),
    "a number as key": ({"metrics": {5: 1}}, "comes? back changed"),
}


@pytest.mark.parametrize("kind", BAD_SAVES)
def test_what_load_would_refuse_is_not_written(kind, good):
    changed, message = BAD_SAVES[kind]
    model = changed.pop("model", None) if isinstance(changed.get("model"), nn.Module) else Tiny()
    if "model" in changed:
        model.conv.bias = nn.Parameter(torch.full((4,), complex(changed["model"])))
        if changed["model"] != 1j:
            model.conv.bias = nn.Parameter(model.conv.bias.real.detach())
    before = {file.name: file.read_bytes() for file in good.parent.iterdir()}
    with pytest.raises(ValueError, match=message):
        write(good, model, **{key: value for key, value in changed.items() if key != "model"})
    assert {file.name: file.read_bytes() for file in good.parent.iterdir()} == before


@pytest.mark.parametrize("name", ["model.pt", "model", "", "a\0b.safetensors", "file/model.safetensors", "x" * 300])
def test_places_that_cannot_be_written(name, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="Let it end in .safetensors|cannot be written"):
        write(os.path.join(tmp_path, name))
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="cannot be written"):
        write(tmp_path / "folder.safetensors")
    with pytest.raises(TypeError, match="path: got int"):
        write(1)
    with pytest.raises(TypeError, match="model: got str"):
        save("model", tmp_path / "a.safetensors")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.safetensors"]


class Killed(BaseException):
    pass


def killed():
    raise Killed


def stop_at(monkeypatch, event, dead, stop=killed):
    """Stop before the event-th change on disk; if `dead`, before all that follow too: a kill cleans nothing up."""
    count = iter(range(10**6))

    def stopping(do):
        def step(*args, **kwargs):
            n = next(count)
            if n == event or dead and n > event:
                stop()
            return do(*args, **kwargs)

        return step

    for where, name in ((os, "replace"), (os, "fsync"), (Path, "unlink"), (Path, "mkdir")):
        monkeypatch.setattr(where, name, stopping(getattr(where, name)))


@pytest.mark.parametrize("dead", [True, False], ids=["kill", "Ctrl-C"])
def test_a_stop_at_any_moment_leaves_the_old_file_or_the_new_one(dead, tmp_path, monkeypatch):
    path, seeds, event = tmp_path / "a.safetensors", [], -1
    while not seeds or seeds[-1] is not None:
        event += 1
        write(path, seed=1)
        assert path.exists()
        with monkeypatch.context() as patch:
            stop_at(patch, event, dead)
            try:
                write(path, seed=2)
                seeds.append(None)
            except Killed:
                seeds.append(checkpoints.card(path)["seed"])
        kept = checkpoints.card(path)["seed"]
        torch.manual_seed(kept)
        assert torch.equal(load(path).conv.weight, Tiny().conv.weight.half().float())
    assert kept == 2 and seeds[0] == 1 and seeds[-2] == 2  # from the old to the new, each seen
    assert seeds[:-1] == sorted(seeds[:-1])


def test_kill_9_while_a_checkpoint_is_written(tmp_path, monkeypatch, forked):
    """As above, by the real signal: nothing of Python's own cleaning up runs."""
    path, seeds, ends = tmp_path / "a.safetensors", [], []

    def die():
        stop_at(monkeypatch, len(ends), True, lambda: os.kill(os.getpid(), signal.SIGKILL))
        write(path, seed=2)

    while 0 not in ends:
        write(path, seed=1)
        (child := forked(die)).join()
        ends.append(child.exitcode)
        seeds.append(checkpoints.card(path)["seed"])
        torch.manual_seed(seeds[-1])
        assert torch.equal(load(path).conv.weight, Tiny().conv.weight.half().float())
    assert set(ends[:-1]) == {-signal.SIGKILL} and len(ends) > 3
    assert seeds == sorted(seeds) and set(seeds) == {1, 2}


def test_two_processes_save_to_one_file_while_a_third_reads_it(tmp_path, forked):
    path, reads = write(tmp_path / "a.safetensors", seed=1), set()
    again = [lambda seed=seed: [write(path, seed=seed) for _ in range(30)] for seed in (1, 2)]
    running = [forked(save) for save in again]
    while any(child.is_alive() for child in running):
        reads.add(checkpoints.card(path)["seed"])
        assert type(load(path)) is Tiny
    assert [child.exitcode for child in running] == [0, 0] and reads == {1, 2}
    torch.manual_seed(checkpoints.card(path)["seed"])
    assert torch.equal(load(path).conv.weight, Tiny().conv.weight.half().float())
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_two_processes_write_one_file_and_neither_meets_the_others_half(tmp_path, forked):
    path, size = tmp_path / "a.npz", 2**20

    def fill(byte):
        for _ in range(20):
            with files.whole(path) as file:
                for _ in range(16):
                    file.write(byte * (size // 16))

    running = [forked(lambda byte=byte: fill(byte)) for byte in (b"a", b"b")]
    while any(child.is_alive() for child in running):
        with suppress(FileNotFoundError):
            assert path.read_bytes() in (b"a" * size, b"b" * size)
    assert [child.exitcode for child in running] == [0, 0] and os.listdir(tmp_path) == ["a.npz"]


def test_what_the_dead_have_left_is_swept_and_what_the_living_write_is_kept(good):
    left = [
        good.with_name(f".{name}.tmp") for name in ("good.safetensors.dead", "good.safetensors.alive", "other.dead")
    ]
    for path in left:
        path.touch()
        os.utime(path, (0, 0) if "dead" in path.name else None)
    write(good)
    assert {path for path in left if path.exists()} == set(left[1:])


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="cannot be written .No space left on device.*free the disk"):
        write(tmp_path / "a.safetensors")
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_keeps_the_old_file(good, little_room):
    before = {file.name: file.read_bytes() for file in good.parent.iterdir()}
    for room in range(0, max(map(len, before.values())), 97):
        with (
            little_room(room),
            pytest.raises(CheckpointError, match="good.*cannot be written .File too.*free the disk"),
        ):
            write(good, seed=1)
        assert {file.name: file.read_bytes() for file in good.parent.iterdir()} == before
    with little_room(room + 97):
        write(good, seed=1)
    assert checkpoints.card(good)["seed"] == 1


WATCHED = {
    "exec",
    "import",
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.fork",
    "subprocess.Popen",
    "ctypes.dlopen",
}
seen = []
watching = False


@sys.addaudithook
def record(event, args):
    if watching and event in WATCHED:
        seen.append((event, args))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """A good file as bytes, with the folder for its mutants; loaded once, so that all imports are done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(parts.PARTS, "Tiny", Tiny)
        path = write(tmp_path_factory.mktemp("fuzz") / "a.safetensors")
        load(path)
    return path, path.read_bytes(), json.dumps(metadata(path))


def mutants(what):
    """Changes to a file: bytes set at some places, then a cut."""
    place = st.integers(0, 2000)
    return st.tuples(st.just(what), st.lists(st.tuples(place, st.integers(0, 255)), max_size=4), st.none() | place)


def mutate(blob, changes, cut):
    blob = bytearray(blob)
    for place, byte in changes:
        blob[place % len(blob)] = byte
    return bytes(blob[:cut])


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(mutants("file"), mutants("card")))
def test_a_mutant_is_loaded_or_refused_and_runs_nothing(fuzzed, mutant):
    global watching
    path, blob, text = fuzzed
    what, changes, cut = mutant
    path.write_bytes(blob)
    if what == "card":
        card_text(path, mutate(text.encode(), changes, cut).decode("latin-1"))
    else:
        path.write_bytes(mutate(blob, changes, cut))
    seen.clear()
    watching = True
    try:
        load(path)
    except CheckpointError:
        pass
    else:
        kept = weights(path)
        assert all(torch.equal(kept[name], each) for name, each in safetensors.torch.load(blob).items())
    finally:
        watching = False
    assert seen == []


def test_the_watch_sees_what_it_should():
    global watching
    seen.clear()
    watching = True
    exec("1 + 1")
    pickle.loads(pickle.dumps(Path.touch))
    watching = False
    assert {event for event, _ in seen} >= {"exec", "pickle.find_class"}


def test_every_shipped_checkpoint_loads_and_is_small(monkeypatch):
    sizes = {name: (checkpoints.SHIPPED / f"{name}.safetensors").stat().st_size for name in checkpoints.names()}
    for name in sizes:
        assert not load(name).training
        card = checkpoints.card(name)
        assert card["recipe"] in RECIPES and card["model"]["part"] == type(load(name)).__name__
    assert max(sizes.values(), default=0) <= 4_000_000 and sum(sizes.values()) <= 60_000_000


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    with files.whole(tmp_path / "a.npz") as file:
        file.write(b"whole")
        assert not (tmp_path / "a.npz").exists()
    assert (tmp_path / "a.npz").read_bytes() == b"whole"
    with pytest.raises(KeyboardInterrupt), files.whole(tmp_path / "a.npz") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "a.npz").read_bytes() == b"whole" and os.listdir(tmp_path) == ["a.npz"]


@pytest.mark.parametrize("classes", [5, "cat", {"a": 0}, True])
def test_classes_that_are_no_list_are_refused_before_the_model_is_touched(tmp_path, classes):
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    save(nn.Linear(2, 2), tmp_path / "a.safetensors", classes=classes)
    with pytest.raises(CheckpointError, match="a.safetensors: its card has classes = "):
        load(tmp_path / "a.safetensors", into=model)
    assert torch.equal(model.weight, before)


def test_names_of_classes_may_be_an_array(tmp_path):
    model = nn.Linear(2, 2)
    model.class_names = np.array(["ant", "bee"])
    save(model, tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors", into=nn.Linear(2, 2)).class_names == ["ant", "bee"]


def test_what_holds_no_numbers_is_neither_stored_nor_filled(tmp_path):
    path = tmp_path / "a.safetensors"
    for model in (nn.Linear(2, 2, device="meta"), nn.LazyLinear(2)):
        with pytest.raises(CheckpointError, match="a.safetensors: its weights cannot be stored"):
            save(model, path)
    assert not path.exists()
    save(nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match="into: got weights on the meta device"):
        load(path, into=nn.Linear(2, 2, device="meta"))


def test_a_name_in_capitals_is_taken_for_the_one_in_small_letters():
    with pytest.raises(CheckpointError, match="Did you mean vae-digits?"):
        load("VAE-digits")
