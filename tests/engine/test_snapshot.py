"""A model's folder from hubs of this machine, with the real hub client."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import pytest
from anyio import to_thread

from agentkit.engine import ServerProfile, ensure_snapshot, find_server_profile, find_snapshot
from agentkit.engine._snapshot import folder_of
from agentkit.errors import WeightsError

if TYPE_CHECKING:
    from tests.conftest import Reported

KNOWN = find_server_profile("qwen3-0.6b")
COMMIT = "c" * 40
FILES = {
    "config.json": b'{"model_type": "qwen3"}',
    "model-00001-of-00002.safetensors": b"first " * 40_000,
    "model-00002-of-00002.safetensors": b"second " * 30_000,
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"not wanted beside safetensors",
    "figures/logo.png": b"not wanted",
    "../outside.txt": b"never written",
}
WANTED = [name for name in FILES if name.endswith((".json", ".safetensors"))]


class Hub(http.server.ThreadingHTTPServer):
    """Speaks as much of both hubs as their clients ask for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(FILES)
        self.gated = False
        self.breaks = 0  # downloads of weights that are to break off in the middle
        self.asked: list[tuple[str, str]] = []  # path and range
        self.wrong = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride] - of this server only

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append((path, self.headers.get("Range", "")))
        if "/nothing" in path:
            self._send(404, b'{"error": "Repository not found"}', "RepoNotFound")
        elif self.server.gated:
            self._send(401, b'{"error": "Access is restricted"}', "GatedRepo")
        elif path.startswith("/api/v1/models/"):
            self._send(200, self._modelscope())
        elif path.startswith("/api/models/"):
            self._send(200, self._hugging_face())
        else:
            self._file(self.server.files[path.rsplit("/resolve/")[1].split("/", 1)[1]])

    def _hugging_face(self) -> bytes:
        siblings = [
            {"rfilename": name, "size": len(data), **self._lfs(name, data)}
            for name, data in self.server.files.items()
        ]
        return json.dumps({"id": "Qwen/Tiny", "sha": COMMIT, "siblings": siblings}).encode()

    def _lfs(self, name: str, data: bytes) -> dict[str, Any]:
        if not name.endswith(".safetensors"):
            return {}
        known = "0" * 64 if name == self.server.wrong else hashlib.sha256(data).hexdigest()
        return {"lfs": {"sha256": known, "size": len(data), "pointerSize": 134}}

    def _modelscope(self) -> bytes:
        files = [
            {"Path": name, "Size": len(data), "Type": "blob", "Sha256": _sha256(data)}
            for name, data in self.server.files.items()
        ]
        files.append({"Path": "figures", "Size": 0, "Type": "tree", "Sha256": ""})
        return json.dumps({"Code": 200, "Data": {"Files": files}}).encode()

    def _file(self, data: bytes) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.server.breaks and len(data) > 1000:
            self.server.breaks -= 1
            self.wfile.write(data[start : start + 1000])
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(data[start:])

    def _send(self, status: int, body: bytes, code: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base names it so
        """Say nothing."""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def profile(repo: str = "Qwen/Tiny", **source: str) -> ServerProfile:
    source = {"repo": repo, **source}
    return ServerProfile.model_validate({**KNOWN.model_dump(), "source": source})


@pytest.mark.parametrize("name", ["huggingface", "modelscope"])
async def test_a_folder_is_fetched_verified_and_then_trusted(
    hub: Hub, tmp_path: Path, reported: "Reported", name: str
) -> None:
    folder = await ensure_snapshot(profile(), tmp_path, reported, hub=name)
    assert folder == tmp_path / "weights" / "Qwen--Tiny"
    found = await to_thread.run_sync(_files_in, folder)
    assert found == {key: FILES[key] for key in WANTED}
    assert not await anyio.Path(tmp_path / "weights" / "outside.txt").exists()
    assert "download" in reported.phases
    assert reported.seen[-1].total is not None
    hub.asked.clear()
    assert await ensure_snapshot(profile(), tmp_path, reported) == folder
    assert hub.asked == []
    assert await to_thread.run_sync(find_snapshot, profile(), tmp_path) == folder


async def test_a_broken_download_goes_on_where_it_stopped(
    hub: Hub, tmp_path: Path, reported: "Reported"
) -> None:
    hub.breaks = 7  # five in a row without a byte end it; these bring some
    folder = await ensure_snapshot(profile(), tmp_path, reported)
    assert await to_thread.run_sync(_files_in, folder) == {key: FILES[key] for key in WANTED}
    ranges = [asked for path, asked in hub.asked if path.endswith("00001-of-00002.safetensors")]
    assert "bytes=1000-" in ranges


async def test_a_file_with_the_wrong_hash_is_thrown_away(
    hub: Hub, tmp_path: Path, reported: "Reported"
) -> None:
    hub.wrong = "model-00002-of-00002.safetensors"
    with pytest.raises(WeightsError, match="is not what the hub says"):
        await ensure_snapshot(profile(), tmp_path, reported)
    assert await to_thread.run_sync(find_snapshot, profile(), tmp_path) is None
    assert not await anyio.Path(tmp_path / "weights" / "Qwen--Tiny" / hub.wrong).exists()
    hub.wrong = ""
    hub.asked.clear()
    await ensure_snapshot(profile(), tmp_path, reported)
    fetched = [path for path, _ in hub.asked if path.endswith(".safetensors")]
    assert len(fetched) == 1  # the others were kept


async def test_a_gated_model_is_named_with_what_to_do(
    hub: Hub, tmp_path: Path, reported: "Reported"
) -> None:
    hub.gated = True
    with pytest.raises(WeightsError, match="it is gated") as caught:
        await ensure_snapshot(profile(), tmp_path, reported)
    assert "HF_TOKEN" in caught.value.hint
    assert f"{hub.url}/Qwen/Tiny" in caught.value.hint


@pytest.mark.parametrize("name", ["huggingface", "modelscope"])
async def test_a_repository_that_is_not_there_is_said(
    hub: Hub, tmp_path: Path, reported: "Reported", name: str
) -> None:
    with pytest.raises(WeightsError, match=r"Qwen/nothing.*no such repository"):
        await ensure_snapshot(profile("Qwen/nothing"), tmp_path, reported, hub=name)


async def test_a_hub_that_cannot_be_reached_is_said_with_the_ways_on(
    tmp_path: Path, reported: "Reported", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match="cannot be reached") as caught:
        await ensure_snapshot(profile(), tmp_path, reported, hub="modelscope")
    assert "AGENTKIT_WEIGHTS" in caught.value.hint


async def test_a_disk_without_room_is_found_before_the_download(
    hub: Hub, tmp_path: Path, reported: "Reported", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.engine._snapshot._ROOM", 1e12)
    with pytest.raises(WeightsError, match="GB are free"):
        await ensure_snapshot(profile(), tmp_path, reported)
    assert not [path for path, _ in hub.asked if path.endswith(".safetensors")]


async def test_a_folder_that_is_given_is_taken_as_it_is(
    tmp_path: Path, reported: "Reported"
) -> None:
    given = profile().model_copy(update={"weights": tmp_path})
    assert await ensure_snapshot(given, tmp_path, reported) == tmp_path
    missing = profile().model_copy(update={"weights": tmp_path / "nowhere"})
    with pytest.raises(WeightsError, match="no folder of weights"):
        await ensure_snapshot(missing, tmp_path, reported)


def test_a_revision_has_a_folder_of_its_own() -> None:
    source = profile(revision="v1/odd name").source
    assert source is not None
    name = folder_of(source, Path("cache")).name
    assert name.startswith("Qwen--Tiny-v1")
    assert "/" not in name


def _files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".whole"
    }
