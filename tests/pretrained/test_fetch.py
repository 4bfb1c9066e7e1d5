"""Fetching published weights from a stand-in for the hub on this machine: quick, slow, cut, wrong, refusing, silent."""

import hashlib
import json
import re
import shutil
import socket
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download

from minidiff.cli import published as commands
from minidiff.cli.main import main
from minidiff.pretrained import fetch as module
from minidiff.pretrained.fetch import PUBLISHED, FetchError, Published, fetch, fetched, place

FILES = {"config.json": b'{"a": 1}', "unet/weights.safetensors": bytes(range(256)) * 400}
REPOSITORY, COMMIT = "someone/tiny", "c" * 40


class Hub(BaseHTTPRequestHandler):
    """The three addresses that are asked for; `server.how` says what goes wrong."""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        how = self.server.how
        if how.status and (how.status_of in self.path):
            return self._send(how.status, b"{}", body)
        if self.path.startswith("/api/models/"):
            return self._send(200, json.dumps(listing(how)).encode(), body)
        name = self.path.partition(f"/resolve/{COMMIT}/")[2]
        content = FILES[name] if not how.other or name not in how.other else how.other[name]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if body:
            how.ranges.append((name, start))
        self._send(206 if start else 200, content[start:], body, cut=how.cut.get(name), etag=f'"{name}"')

    def _send(self, status, content, body, cut=None, etag='"x"'):
        self.send_response(status)
        for key, value in {"Content-Length": len(content), "ETag": etag, "X-Repo-Commit": COMMIT}.items():
            self.send_header(key, str(value))
        if status == 206:
            self.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if body:
            if cut and cut[0] > 0:  # so often the line is cut after so many bytes
                cut[0] -= 1
                self.wfile.write(content[: cut[1]])
                self.wfile.flush()
                self.server.how.silence.wait(self.server.how.seconds)
                return self.connection.shutdown(socket.SHUT_RDWR)
            self.wfile.write(content)

    def log_message(self, *args):
        pass


def listing(how) -> dict:
    def entry(name, content):
        found = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
        lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return found | ({"lfs": lfs} if name.endswith(".safetensors") else {})

    files = [entry(name, content) for name, content in FILES.items() if name not in how.without]
    return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "siblings": files}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub, and the data folder that what it has is fetched into; `hub.how` is what goes wrong."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    silence = threading.Event()
    server.how = SimpleNamespace(
        status=None, status_of="", other=None, cut={}, ranges=[], without=(), silence=silence, seconds=0
    )
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path))
    monkeypatch.setitem(PUBLISHED, "tiny", Published(REPOSITORY, tuple(FILES), "a licence: https://x", "0.1 MB"))
    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # what is lost when a line is cut, 10 MB in earnest
    monkeypatch.setenv("TQDM_POSITION", "-1")  # shows the bar although this is no terminal
    yield server
    silence.set()
    server.shutdown()
    server.server_close()


def kept(folder) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_it_is_fetched_once_with_its_licence_named(hub, tmp_path, capsys):
    assert not fetched("tiny")
    folder = fetch("tiny", hub.address)
    assert folder == place("tiny") == tmp_path / "pretrained" / "tiny" and fetched("tiny")
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert kept(folder) == ["config.json", "weights.safetensors"]
    said = capsys.readouterr()
    assert f"tiny: 0.1 MB from {hub.address}/{REPOSITORY}" in said.out
    assert "licence: a licence: https://x" in said.out and f"into {folder}" in said.out
    assert "weights.safetensors: 100%" in said.err
    count = len(hub.how.ranges)
    assert fetch("tiny", hub.address) == folder and len(hub.how.ranges) == count


def test_a_line_that_is_cut_is_taken_up_where_it_was(hub):
    hub.how.cut["unet/weights.safetensors"] = [2, 30_000]
    folder = fetch("tiny", hub.address)
    assert [start for name, start in hub.how.ranges if "weights" in name] == [0, 30_000, 60_000]
    assert (folder / "unet/weights.safetensors").read_bytes() == FILES["unet/weights.safetensors"]


def test_a_silent_server_is_given_up_and_the_next_call_goes_on(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.how.cut["unet/weights.safetensors"], hub.how.seconds = [1, 50_000], 5
    real = file_download.http_get
    monkeypatch.setattr(file_download, "http_get", lambda *args, **told: real(*args, _nb_retries=0, **told))
    with pytest.raises(
        FetchError, match="could not fetch tiny: no answer.*`python -m minidiff fetch tiny` goes on with"
    ):
        fetch("tiny", hub.address)
    assert any(name.endswith(".part") for name in kept(place("tiny"))) and not fetched("tiny")
    monkeypatch.setattr(file_download, "http_get", real)
    fetch("tiny", hub.address)
    assert fetched("tiny") and [start for name, start in hub.how.ranges if "weights" in name][-1] == 50_000


@pytest.mark.parametrize("other, told", [(b"short", "Consistency check failed"), (b"\0" * 102_400, "came damaged")])
def test_another_content_is_not_taken(hub, other, told):
    hub.how.other = {"unet/weights.safetensors": other}
    with pytest.raises(FetchError, match=told):
        fetch("tiny", hub.address)
    assert not fetched("tiny") and "weights.safetensors" not in kept(place("tiny"))
    hub.how.other = None
    if len(other) < 100:  # a beginning that is another file's shows by its sha256
        with pytest.raises(FetchError, match="came damaged"):
            fetch("tiny", hub.address)
    fetch("tiny", hub.address)
    assert (place("tiny") / "unet/weights.safetensors").read_bytes() == FILES["unet/weights.safetensors"]


@pytest.mark.parametrize(
    "status, told",
    [
        (401, r"asks who you are \(401\): accept its licence there, then `hf auth login`"),
        (403, r"asks who you are \(403\)"),
        (404, r"is not there any more \(404\)"),
        (500, "could not fetch tiny: .*500"),
    ],
)
@pytest.mark.parametrize("where", ["/api/", "weights"])
def test_a_refusal_is_explained(hub, monkeypatch, status, told, where):
    hub.how.status, hub.how.status_of = status, where
    with pytest.raises(FetchError, match=told):
        fetch("tiny", hub.address)
    assert not fetched("tiny")


def test_a_file_that_the_repository_lost_is_named(hub):
    hub.how.without = ("config.json",)
    with pytest.raises(FetchError, match="someone/tiny has no config.json any more"):
        fetch("tiny", hub.address)


def test_without_a_network_a_sentence_says_what_to_do(hub):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(FetchError) as caught:
        fetch("tiny", nobody)
    told = f"could not fetch tiny: no answer from {nobody} "
    assert str(caught.value).startswith(told) and "it needs a network. Where there is none, bring" in str(caught.value)
    assert str(place("tiny")) in str(caught.value)


def test_a_full_disk_is_known_before_anything_is_fetched(hub, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**30))
    with pytest.raises(FetchError, match=r"1\.1 GB are needed and 1\.1 GB free at .*MINIDIFF_DATA"):
        fetch("tiny", hub.address)
    assert not hub.how.ranges


def test_ctrl_c_keeps_what_has_come(hub, monkeypatch):
    def stop(url, file, **told):
        file.write(FILES["config.json"][:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(file_download, "http_get", stop)
    with pytest.raises(KeyboardInterrupt, match="interrupted: `python -m minidiff fetch tiny` goes on"):
        fetch("tiny", hub.address)
    [part] = kept(place("tiny"))
    assert part.startswith(".config.json.") and (place("tiny") / part).read_bytes() == FILES["config.json"][:3]


def test_the_command_the_doctor_and_sample_know_what_is_there(hub, monkeypatch, capsys, tmp_path):
    assert commands.told().startswith("none; `python -m minidiff fetch sd-1.5` fetches some")
    assert main(["sample", "tiny", "--out", str(tmp_path / "x.png")]) == 2
    assert "tiny: not there yet; `python -m minidiff fetch tiny` fetches it" in capsys.readouterr().err
    monkeypatch.setattr(module, "fetch", partial(fetch, endpoint=hub.address))
    assert main(["fetch", "tiny"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(place("tiny"))
    assert commands.told() == f"tiny in {place('tiny')}"
    assert main(["fetch", "nothing"]) == 2
    assert re.search("NAME: got 'nothing'.*expected one of 'sd-1.5', 'clip-vit", capsys.readouterr().err)


def test_what_is_listed_can_be_loaded():
    """Each network of a diffusers folder has its configuration and its weights among the files."""
    parts = {file.partition("/")[0] for file in PUBLISHED["sd-1.5"].files if "/" in file}
    assert parts == {"unet", "vae", "text_encoder", "tokenizer", "scheduler"}
    assert {"config.json", "model.safetensors", "vocab.json"} <= set(PUBLISHED["clip-vit-large-patch14"].files)
    assert module.SPARE == 2**30
