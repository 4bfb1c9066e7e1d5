"""Checkpoints: what `save` writes `load` gives back; whatever else is in the files ends in a CheckpointError."""

import hashlib
import json
import os
import pickle
import re
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

from minidiff import cards, checkpoints
from minidiff.checkpoints import CheckpointError, load, save
from minidiff.recipes import RECIPES, Recipe

BUILT_ON = []  # the device of every Tiny that is built


class Tiny(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        if type(width) is not int or width < 1:
            raise TypeError(f"width: got {width!r}, expected a whole number")
        self.conv, self.norm = nn.Conv2d(2, width, 3), nn.BatchNorm2d(width)  # the norm has an int64 buffer
        BUILT_ON.append(self.conv.weight.device.type)


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)


@pytest.fixture(autouse=True)
def recipes(monkeypatch):
    for name, model in (("tiny", Tiny), ("other", Other)):
        monkeypatch.setitem(RECIPES, name, Recipe(model, lambda split: (), {"ci": 1, "cpu": 1, "gpu": 1}))


def write(path, model=None, seed=0, **changed):
    torch.manual_seed(seed)
    entries = {"recipe": "tiny", "args": {"width": 4}, "command": "python -m minidiff train tiny", "seed": seed}
    entries |= {"steps": 7, "data": "none", "metrics": {"loss": 0.5}}
    return save(path, Tiny() if model is None else model, **entries | changed)


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good.safetensors")


def edit(path, **changed):
    """Change entries of the card; None removes one."""
    card = json.loads(path.with_suffix(".json").read_text()) | changed
    path.with_suffix(".json").write_text(json.dumps({key: value for key, value in card.items() if value is not None}))


def seal(path, blob):
    """Other weights with a card that knows their sha256: what is behind that check comes to light."""
    path.write_bytes(blob)
    edit(path, sha256=hashlib.sha256(blob).hexdigest())


def weights(path):
    return safetensors.torch.load(path.read_bytes())


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
    assert sorted(os.listdir(path.parent)) == ["tiny.v2.json", "tiny.v2.safetensors"]
    assert {tensor.dtype for tensor in weights(path).values()} == {torch.float16, torch.int64}
    assert load(str(path)).conv.weight.equal(loaded.conv.weight)


def test_the_card_tells_how_it_was_made(good):
    card = checkpoints.card(good)
    assert card["sha256"] == hashlib.sha256(good.read_bytes()).hexdigest()
    assert (card["recipe"], card["args"], card["seed"], card["steps"]) == ("tiny", {"width": 4}, 0, 7)
    assert (card["command"], card["data"]) == ("python -m minidiff train tiny", "none")
    assert card["metrics"] == {"loss": 0.5} and card["versions"]["torch"] == torch.__version__
    assert card == json.loads(good.with_suffix(".json").read_text())


def test_the_same_model_gives_the_same_bytes(tmp_path, good):
    again = write(tmp_path / "again.safetensors")
    assert again.read_bytes() == good.read_bytes()
    assert again.with_suffix(".json").read_bytes() == good.with_suffix(".json").read_bytes()


def test_tied_weights(tmp_path, monkeypatch):
    class Tied(Other):
        def __init__(self):
            super().__init__()
            self.same = self.head

    monkeypatch.setitem(RECIPES, "tied", Recipe(Tied, lambda split: (), {}))
    loaded = load(write(tmp_path / "tied.safetensors", Tied().half(), recipe="tied", args={}))
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


def test_into_needs_no_recipe(good, monkeypatch):
    monkeypatch.delitem(RECIPES, "tiny")
    assert torch.equal(load(good, into=MyTiny()).norm.weight, torch.ones(4))


def test_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    assert checkpoints.names() == []
    with pytest.raises(CheckpointError, match="nothing: no such checkpoint. There are: none$"):
        load("nothing")
    for name in ("vae-digits", "pixels-digits"):
        write(checkpoints.SHIPPED / f"{name}.safetensors")
    assert checkpoints.names() == ["pixels-digits", "vae-digits"]
    assert type(load("vae-digits")) is Tiny and checkpoints.card("vae-digits")["recipe"] == "tiny"
    with pytest.raises(CheckpointError, match="Did you mean vae-digits. There are: pixels-digits, vae-digits$"):
        load("vae-digit")
    with pytest.raises(CheckpointError, match="python -m minidiff train tiny` makes one"):
        load("tiny")
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
    return safetensors.torch.save({name: tensor for name, tensor in kept.items() if tensor is not None})


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


def card_text(path, text):
    path.with_suffix(".json").write_bytes(text)


NAN = torch.full((4,), float("nan"), dtype=torch.float16)
HALF = torch.zeros(4, dtype=torch.float16)
BIG = json.dumps({"conv.weight": {"dtype": "F16", "shape": [10**12], "data_offsets": [0, 2 * 10**12]}}).encode()
F4 = json.dumps({"conv.weight": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
DEEP = b'{"args": ' + b"[" * 200_000
CODE = {"width": "__import__('pathlib').Path('sprung').touch()"}
LATIN = '{"recipe": "\xe9"}'.encode("latin1")

BROKEN = {
    "missing": (lambda p: p.unlink(), "No such file"),
    "empty": (lambda p: p.write_bytes(b""), "damaged"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "damaged"),
    "a bit flipped": (lambda p: p.write_bytes(flip(p, -9)), "damaged"),
    "a bit flipped in the header": (lambda p: p.write_bytes(flip(p, 20)), "damaged"),
    "not the card's file": (lambda p: write(p.with_name("b.safetensors"), seed=1).replace(p), "not the file its card"),
    "too large": (lambda p: sparse(p, 200_000_001), r"200,000,001 bytes, the limit is 200,000,000"),
    "a folder": (lambda p: instead(p, Path.mkdir), "is a folder"),
    "a loop of links": (lambda p: instead(p, loop), "(?i)symbolic links"),
    "a pipe": (lambda p: instead(p, os.mkfifo), "no regular file"),
    "empty, sealed": (lambda p: seal(p, b""), "header too small"),
    "truncated, sealed": (lambda p: seal(p, p.read_bytes()[:-1]), "not fully covered"),
    "trailing bytes": (lambda p: seal(p, p.read_bytes() + b"PK"), "not fully covered"),
    "a huge header": (lambda p: seal(p, struct.pack("<Q", 2**63) + p.read_bytes()[8:]), "header too large"),
    "a header that is no JSON": (lambda p: seal(p, header(b"{conv: 1}")), "invalid JSON"),
    "a header that is a list": (lambda p: seal(p, header(b"[1, 2]")), "invalid JSON"),
    "a tensor of terabytes": (lambda p: seal(p, header(BIG)), "(?i)header"),
    "a dtype unknown to torch": (lambda p: seal(p, header(F4, b"x")), r"F4 \(2,\) in the file, F16"),
    "a pickle": (lambda p: seal(p, pickle.dumps(Trap())), "header"),
    "torch's own format": (lambda p: torch.save(Trap(), p) or seal(p, p.read_bytes()), "header"),
    "other shapes": (lambda p: seal(p, changed_weights(p, norm_bias=HALF[:3])), r"bias: F16 \(3,\) in .*F16 \(4,\)"),
    "another dtype": (lambda p: seal(p, changed_weights(p, norm_bias=HALF.float())), r"bias: F32 \(4,\) in"),
    "a tensor less": (lambda p: seal(p, changed_weights(p, norm_bias=None)), "norm.bias: missing in the file"),
    "a tensor more": (lambda p: seal(p, changed_weights(p, extra=HALF)), "extra: .* missing in the model"),
    "NaN": (lambda p: seal(p, changed_weights(p, norm_bias=NAN)), "NaN.* in norm.bias"),
    "another recipe": (lambda p: edit(p, recipe="other", args={}), "head.weight: missing in the file"),
    "other args": (lambda p: edit(p, args={"width": 10_000}), "F16 .10000, 2, 3, 3. in the model"),
    "an unknown recipe": (
        lambda p: edit(p, recipe="os.system"),
        "recipe that is not here, 'os.system'. Known are: .*tiny",
    ),
    "args the builder refuses": (lambda p: edit(p, args={"width": -1}), "refuses the card's args.*width: got -1"),
    "args the builder has not": (lambda p: edit(p, args={"depth": 1}), "refuses the card's args.*depth"),
    "args with code": (lambda p: edit(p, args=CODE), "refuses the card's args"),
    "args that are a list": (lambda p: edit(p, args=[4]), r"of another type: args \(dict\)"),
    "no card": (lambda p: p.with_suffix(".json").unlink(), "good.json: cannot be read .No such file"),
    "an empty card": (lambda p: card_text(p, b""), "good.json: cannot be read .Expecting value"),
    "half a card": (lambda p: card_text(p, p.with_suffix(".json").read_bytes()[:99]), "good.json: cannot be read"),
    "a card that is a list": (lambda p: card_text(p, b"[]"), "holds a list"),
    "a card in latin-1": (lambda p: card_text(p, LATIN), "codec can't decode"),
    "a card without end": (lambda p: card_text(p, DEEP), "recursion"),
    "a card that is a folder": (lambda p: instead(p.with_suffix(".json"), Path.mkdir), "good.json: is a folder"),
    "a huge card": (lambda p: sparse(p.with_suffix(".json"), 10**7), "good.json: has 10,000,000 bytes"),
    "a card without seed": (lambda p: edit(p, seed=None), r"missing or of another type: seed \(int\)"),
    "a card of wrong types": (lambda p: edit(p, seed=True, metrics=0), r"seed \(int\), metrics \(dict\)"),
    "a number for sha256": (lambda p: edit(p, sha256=0), r"sha256 \(str\)"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_checkpoint(kind, good, monkeypatch):
    spoil, message = BROKEN[kind]
    monkeypatch.chdir(good.parent)
    spoil(good)
    BUILT_ON.clear()
    with pytest.raises(CheckpointError, match=r"(?s)" + message) as caught:
        load(good)
    assert str(good.with_suffix("")) in str(caught.value)  # it names the file, the weights or the card
    assert re.search("Get it again|Known are|Build the model", str(caught.value))  # and what to do
    assert "cpu" not in BUILT_ON[:-1] and (kind == "NaN" or set(BUILT_ON) <= {"meta"})  # nothing was allocated
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
    write(good.with_name("b.safetensors"))
    load(good)
    good.chmod(0), good.with_name("b.json").chmod(0)
    for folder in list(good.parents)[:3]:
        folder.chmod(0o755)
    good.parent.chmod(0o555)
    request.getfixturevalue("unprivileged")
    with pytest.raises(CheckpointError, match="good.safetensors: cannot be read .Permission denied"):
        load(good)
    with pytest.raises(CheckpointError, match="b.json: cannot be read .Permission denied"):
        load(good.with_name("b.safetensors"))
    with pytest.raises(CheckpointError, match="cannot be written .Permission denied"):
        write(good.with_name("c.safetensors"))


BAD_SAVES = {
    "NaN": ({"model": "nan"}, "NaN, infinity or numbers beyond float16 .* in conv.bias"),
    "beyond float16": ({"model": 65_520.0}, "beyond float16 .* in conv.bias"),
    "a complex weight": ({"model": 1j}, "dtype that is not stored: conv.bias .torch.complex64"),
    "another model": ({"model": Other()}, "head.weight: F16 .* missing in the model"),
    "other args": ({"args": {"width": 3}}, r"F16 \(4, 2, 3, 3\) in the file, F16 \(3, 2, 3, 3\) in the model"),
    "args refused": ({"args": {"width": 0}}, "refuses the card's args"),
    "a tuple": ({"metrics": {"losses": (1, 2)}}, "comes? back changed"),
    "a tensor": ({"metrics": {"loss": torch.tensor(1.0)}}, "not JSON serializable"),
    "NaN in the card": ({"metrics": {"loss": float("nan")}}, "would not be JSON"),
    "a number as key": ({"metrics": {5: 1}}, "comes? back changed"),
    "no command": ({"command": None}, r"command \(str\)"),
    "unknown recipe": ({"recipe": "tinny"}, "recipe: got 'tinny'.* expected one of .*'tiny'"),
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
def test_a_stop_at_any_moment_leaves_the_old_pair_or_the_new_one(dead, tmp_path, monkeypatch):
    path, seeds, event = tmp_path / "a.safetensors", [], -1
    while not seeds or seeds[-1] is not None:
        event += 1
        write(path, seed=1)
        assert sorted(os.listdir(tmp_path)) == ["a.json", "a.safetensors"]  # what a stop had left is swept
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
    assert set(ends[:-1]) == {-signal.SIGKILL} and len(ends) > 5
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
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.safetensors"]


def test_no_writer_comes_between_the_card_and_the_weights(good, monkeypatch):
    fcntl, tried = pytest.importorskip("fcntl"), []

    def opening(path, **options):
        folder = os.open(path.parent, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(folder)
        tried.append(path)
        return safe_open(path, **options)

    monkeypatch.setattr(cards, "safe_open", opening)
    load(good)
    assert tried == [good]


def test_two_processes_write_one_file_and_neither_meets_the_others_half(tmp_path, forked):
    path, size = tmp_path / "a.npz", 2**20

    def fill(byte):
        for _ in range(20):
            with cards.output(path) as file:
                for _ in range(16):
                    file.write(byte * (size // 16))

    running = [forked(lambda byte=byte: fill(byte)) for byte in (b"a", b"b")]
    while any(child.is_alive() for child in running):
        with suppress(FileNotFoundError):
            assert path.read_bytes() in (b"a" * size, b"b" * size)
    assert [child.exitcode for child in running] == [0, 0] and os.listdir(tmp_path) == ["a.npz"]


def test_a_second_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    for first in range(14):
        for second in range(14):
            path = write(tmp_path / f"{first} {second}.safetensors", seed=1)
            for seed, event in ((2, first), (3, second)):
                with monkeypatch.context() as patch, suppress(Killed):
                    stop_at(patch, event, dead=True)
                    write(path, seed=seed)
                torch.manual_seed(checkpoints.card(path)["seed"])
                assert torch.equal(load(path).conv.weight, Tiny().conv.weight.half().float())


def test_a_first_save_that_was_killed_between_its_renames_is_whole(tmp_path):
    path = write(tmp_path / "a.safetensors")
    path.with_suffix(".json").rename(tmp_path / "a.json.pending")
    assert checkpoints.card(path)["seed"] == 0 and type(load(path)) is Tiny
    (tmp_path / "a.json.pending").write_text("{}")
    with pytest.raises(CheckpointError, match="a.json: cannot be read"):
        load(path)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="cannot be written .No space left on device.*free the disk"):
        write(tmp_path / "a.safetensors")
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_keeps_the_old_pair(good, little_room):
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
    """A good pair as bytes, with the folder for its mutants; loaded once, so that all imports are done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "tiny", Recipe(Tiny, lambda split: (), {}))
        path = write(tmp_path_factory.mktemp("fuzz") / "a.safetensors")
        load(path)
    return path, path.read_bytes(), path.with_suffix(".json").read_bytes()


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
@given(st.one_of(mutants("weights"), mutants("sealed"), mutants("card")))
def test_a_mutant_is_loaded_or_refused_and_runs_nothing(fuzzed, mutant):
    global watching
    path, blob, text = fuzzed
    what, changes, cut = mutant
    path.write_bytes(blob), path.with_suffix(".json").write_bytes(text)
    if what == "card":
        path.with_suffix(".json").write_bytes(mutate(text, changes, cut))
    else:
        (seal if what == "sealed" else Path.write_bytes)(path, mutate(blob, changes, cut))
    seen.clear()
    watching = True
    try:
        load(path)
    except CheckpointError:
        pass
    else:
        assert what != "weights" or path.read_bytes() == blob  # damage is never taken for the file
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
        assert checkpoints.card(name)["recipe"] in RECIPES
    assert max(sizes.values(), default=0) <= 4_000_000 and sum(sizes.values()) <= 25_000_000


def test_atomic_writes_where_it_can(tmp_path):
    with cards.atomic(tmp_path / "a.npz") as file:
        file.write(b"whole")
        assert not (tmp_path / "a.npz").exists()
    assert (tmp_path / "a.npz").read_bytes() == b"whole"
    with pytest.raises(KeyboardInterrupt), cards.atomic(tmp_path / "a.npz") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "a.npz").read_bytes() == b"whole" and os.listdir(tmp_path) == ["a.npz"]
