"""What runtimes are told, and what is said where none of them works."""

import csv
import re
import stat
import sys
from io import StringIO
from pathlib import Path

import anyio
import pytest

from agentkit.errors import ToolError
from agentkit.sandbox import WorkerLimits
from agentkit.sandbox._vm import VmInterpreter
from agentkit.sandbox._vm_backends import (
    Order,
    bundle,
    container_command,
    package_paths,
    python_paths,
)


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_container_gets_no_network_no_rights_and_limits(engine: str) -> None:
    limits = WorkerLimits(memory_bytes=1 << 30, file_bytes=64 << 20, processes=32)
    order = Order(folder=Path("/none"), limits=limits, image="python:3.13")
    command = list(container_command(engine, "agentkit-vm-1", order))
    image = command.index("python:3.13")
    assert command[:2] == [engine, "run"]
    for option, value in (
        ("--network", "none"),
        ("--memory", str((1 << 30) + (256 << 20))),
        ("--memory-swap", str((1 << 30) + (256 << 20))),
        ("--pids-limit", "96"),
        ("--cap-drop", "ALL"),
        ("--security-opt", "no-new-privileges"),
        ("--user", "65534:65534"),
        ("--pull", "never"),
        ("--name", "agentkit-vm-1"),
        ("--tmpfs", "/session:rw,nosuid,nodev,mode=1777,size=134217728"),
    ):
        assert command[command.index(option) + 1] == value
        assert command.index(option) < image
    for flag in ("--rm", "--interactive", "--read-only"):
        assert flag in command[:image]
    assert not {"--tty", "-t", "--privileged", "--volume", "-v", "--mount"} & set(command)
    assert command[image + 1 : image + 5] == ["-I", "-X", "utf8", "-c"]


def test_the_bundle_holds_python_read_only_and_nothing_else() -> None:
    order = Order(folder=Path("/none"), limits=WorkerLimits())
    config = bundle(order, "/opt/python3", ("/opt", "/usr/lib"))
    assert config["root"] == {"path": "rootfs", "readonly": True}
    process = config["process"]
    assert (process["user"], process["capabilities"]) == ({"uid": 65534, "gid": 65534}, {})
    assert process["noNewPrivileges"]
    binds = [mount for mount in config["mounts"] if mount["type"] == "bind"]
    assert [mount["source"] for mount in binds] == ["/opt", "/usr/lib"]
    assert all("ro" in mount["options"] for mount in binds)


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_container_is_shown_inputs_read_only_whatever_they_are_called(engine: str) -> None:
    odd = ('a, "b"', "two\nlines", "a\rb", "a=b", " a ", "x\ny,readonly=false")
    inputs = {"data.csv": "/home/me/data.csv"} | {
        name: f"/home/me/x,ro=false/{name}" for name in odd
    }
    order = Order(folder=Path("/none"), limits=WorkerLimits(), inputs=inputs)
    command = list(container_command(engine, "agentkit-vm-1", order))
    mounts = [command[place + 1] for place, word in enumerate(command) if word == "--mount"]
    assert mounts[0] == (
        "type=bind,source=/home/me/data.csv,target=/session/inputs/data.csv,readonly"
    )
    for name, mount in zip(odd, mounts[1:], strict=True):
        # As Go reads it; a real docker, asked once, took each of these as it is here.
        assert '"' not in re.sub(r'"([^"]|"")*"(,|$)', "", mount)
        assert list(csv.reader(StringIO(mount, newline=""))) == [
            ["type=bind", f"source={inputs[name]}", f"target=/session/inputs/{name}", "readonly"]
        ]
    assert "/session/inputs:rw,nosuid,nodev,mode=755,size=64k" in command


def test_the_bundle_shows_inputs_read_only_and_lets_code_read_them() -> None:
    order = Order(folder=Path("/none"), limits=WorkerLimits(), inputs={"x": "/home/me/x"})
    config = bundle(order, "/opt/python3", ("/opt",))
    folder, bind = config["mounts"][-2:]
    assert (folder["source"], folder["destination"]) == ("/none/inputs", "/session/inputs")
    assert (bind["source"], bind["destination"]) == ("/home/me/x", "/session/inputs/x")
    for mount in (folder, bind):
        assert mount["type"] == "bind"
        assert {"ro", "nosuid", "nodev"} <= set(mount["options"])
    capabilities = config["process"]["capabilities"]
    assert {one for held in capabilities.values() for one in held} == {"CAP_DAC_READ_SEARCH"}


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker that knows its version, and nothing else."""
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\necho 27.0\n", encoding="utf-8")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


async def test_a_container_that_could_not_read_an_input_is_not_started(
    docker: None, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "file").touch(mode=0o600)
    for name in ("folder", "file"):
        vm = VmInterpreter(backend="docker", inputs={name: str(tmp_path / name)})
        with pytest.raises(ToolError, match="may not be read by others") as caught:
            await vm.run("1", 20)
        assert f"docker cannot show '{tmp_path / name}' to code" in str(caught.value)
        await vm.aclose()


async def test_a_name_that_docker_reads_otherwise_is_refused(docker: None, tmp_path: Path) -> None:
    odd = tmp_path / "a\r\nb"
    odd.touch()
    vm = VmInterpreter(backend="docker", inputs={odd.name: str(odd)})
    with pytest.raises(ToolError, match="it reads no such line break"):
        await vm.run("1", 20)
    await vm.aclose()


def test_of_this_machine_only_python_and_libraries_are_shown() -> None:
    paths = python_paths()
    assert sys.base_prefix in paths or any(sys.base_prefix.startswith(p) for p in paths)
    for package in package_paths():
        assert any(package == path or package.startswith(f"{path}/") for path in paths)
    home = str(Path.home())
    assert not {"/", "/etc", "/home", "/tmp", "/var", home} & set(paths)


async def test_a_runtime_without_its_daemon_is_refused_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tmp_path / "docker"
    client.write_text(
        "#!/bin/sh\necho 'Cannot connect to the Docker daemon. Is it running?' >&2\nexit 1\n",
        encoding="utf-8",
    )
    client.chmod(client.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    vm = VmInterpreter(backend="docker")
    with pytest.raises(ToolError, match=r"docker cannot be used: Cannot connect to the Docker"):
        await vm.run("1", 20)
    await vm.aclose()


async def test_an_image_that_is_not_there_is_refused_in_the_words_of_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tmp_path / "podman"
    client.write_text(
        "#!/bin/sh\ncase $1 in version) echo 5.0 ;; run) echo 'no such image' >&2; exit 125 ;;\n"
        f'*) echo "$@" > {tmp_path}/removed ;; esac\n',
        encoding="utf-8",
    )
    client.chmod(client.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    vm = VmInterpreter(backend="podman", image="mine")
    with pytest.raises(ToolError, match=r"podman cannot run Python: no such image") as caught:
        await vm.run("1", 20)
    assert "mine" in caught.value.hint
    removed = await anyio.Path(tmp_path / "removed").read_text(encoding="utf-8")
    assert removed.startswith("rm --force agentkit-vm-")
    await vm.aclose()


async def test_closing_while_one_backend_starts_ends_it_and_starts_no_other(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (
        (
            "runsc",
            "case $1 in --version) echo version 1 ;; *) touch $PLACE/begun; sleep 60 ;; esac",
        ),
        ("docker", "touch $PLACE/tried; echo 27.0"),
    ):
        client = tmp_path / name
        client.write_text(
            f"#!/bin/sh\n{script}\n".replace("$PLACE", str(tmp_path)), encoding="utf-8"
        )
        client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    vm = VmInterpreter()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            with pytest.raises(ToolError, match=r"The code interpreter is closed\."):
                await vm.run("1", 20)

        tasks.start_soon(run)
        begun = anyio.Path(tmp_path / "begun")
        while not await begun.exists():  # noqa: ASYNC110 - of another process
            await anyio.sleep(0.01)
        with anyio.fail_after(5):
            await vm.aclose()
    assert not (tmp_path / "tried").exists()


async def test_where_no_backend_is_installed_all_reasons_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    vm = VmInterpreter()
    with pytest.raises(ToolError) as caught:
        await vm.run("1", 20)
    for backend in ("runsc", "docker", "podman"):
        assert f"{backend} is not installed." in str(caught.value)
    assert vm.isolation.engine == "runsc or docker or podman"
    await vm.aclose()


def test_a_backend_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"'lxc' is not a backend of level vm\."):
        VmInterpreter(backend="lxc")
