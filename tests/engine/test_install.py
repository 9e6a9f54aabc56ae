"""An environment for a server, made by the real venv and pip; what is installed is tiny."""

import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

from agentkit.engine import find_sglang, install_sglang
from agentkit.errors import ConfigurationError, EngineError

if TYPE_CHECKING:
    from tests.conftest import Reported

pytestmark = pytest.mark.timeout(120)


def no_program(_name: str) -> None:
    """Find none of that name."""


@pytest.fixture(params=["pip", "uv"])
def index(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all an installer knows."""
    if request.param == "pip":
        monkeypatch.setattr("agentkit.engine._install.shutil.which", no_program)
    elif shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    folder = tmp_path / "index"
    folder.mkdir()
    about = "agentkit_tiny_server-1.0.dist-info"
    with zipfile.ZipFile(folder / "agentkit_tiny_server-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("agentkit_tiny_server.py", "answer = 42\n")
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: agentkit-tiny-server\nVersion: 1.0\n"
        )
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


TINY = ("agentkit-tiny-server==1.0",)


async def found(data: Path) -> Path | None:
    return await to_thread.run_sync(find_sglang, None, data)


async def imports(python: Path) -> bool:
    done = await anyio.run_process([str(python), "-c", "import agentkit_tiny_server"], check=False)
    return done.returncode == 0


async def test_an_environment_is_made_once_and_gone_on_with_where_it_broke_off(
    index: Path, tmp_path: Path, reported: "Reported"
) -> None:
    data = tmp_path / "data"
    with pytest.raises(EngineError, match=r"could not be installed.*install-sglang\.log") as caught:
        await install_sglang(data, reported, requirements=("agentkit-nowhere==1",), need=0)
    assert "go on from there" in caught.value.hint
    assert await found(data) is None  # half of one is none

    python = await install_sglang(data, reported, requirements=TINY, need=0)
    assert await imports(python)
    assert await found(data) == python
    assert {progress.phase for progress in reported.seen} == {"install"}

    await to_thread.run_sync(lambda: [path.unlink() for path in index.iterdir()])
    assert await install_sglang(data, reported, requirements=TINY, need=0) == python


async def test_an_installation_ends_with_its_caller(
    index: Path, tmp_path: Path, reported: "Reported"
) -> None:
    data = tmp_path / "data"
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: install_sglang(data, reported, requirements=TINY, need=0))
        await reported.wait_for(lambda progress: "environment" in progress.detail)
        group.cancel_scope.cancel()
    assert await found(data) is None
    assert await imports(await install_sglang(data, reported, requirements=TINY, need=0))


async def test_a_disk_without_room_is_said_before(tmp_path: Path, reported: "Reported") -> None:
    with pytest.raises(EngineError, match="SGLang needs") as caught:
        await install_sglang(tmp_path, reported, need=10**18)
    assert "AGENTKIT_DATA_DIR" in caught.value.hint


def test_an_environment_of_ones_own_is_taken_by_its_folder_or_its_python(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch(mode=0o755)
    assert find_sglang(tmp_path, tmp_path) == find_sglang(python, tmp_path) == python
    with pytest.raises(ConfigurationError, match="There is no python in") as caught:
        find_sglang(tmp_path / "nowhere", tmp_path)
    assert "AGENTKIT_SERVER_PYTHON" in caught.value.hint
