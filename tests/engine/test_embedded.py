"""The embedded engine's life, with a real llama.cpp and weights of a hundred kilobytes."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import httpx2
import pytest
from anyio import to_thread

from agentkit.engine import Endpoint, Profile, open_embedded
from agentkit.engine._autopsy import explain_death
from agentkit.engine._lease import EngineSpec, open_lease
from agentkit.errors import EngineError

if TYPE_CHECKING:
    from tests.conftest import Reported
    from tests.engine.conftest import Processes, Watched

_CLIENT = """
import sys, anyio
from pathlib import Path
from agentkit.engine import find_profile, open_embedded
async def main():
    weights, state, keep_alive = sys.argv[1:]
    async with open_embedded(find_profile(weights), cache_dir=Path(state), state_dir=Path(state),
                             keep_alive=float(keep_alive)) as endpoint:
        print(endpoint.base_url, flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""


async def ask(endpoint: Endpoint, *, key: str | None = None) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30) as client:
        return await client.post(
            f"{endpoint.base_url}/completions",
            json={"model": endpoint.model, "prompt": "a", "max_tokens": 2},
            headers={"Authorization": f"Bearer {key or endpoint.api_key}"},
        )


async def find(processes: "Processes") -> "tuple[Watched, Watched]":
    """Return the guard and the engine."""
    guard, engine = await to_thread.run_sync(processes.now)
    return guard, engine


async def nothing_runs(processes: "Processes") -> None:
    """Hold that the engine is gone by now, and its guard about to be."""
    left = await to_thread.run_sync(processes.now)
    assert not any(process.is_engine for process in left)
    for guard in left:
        await guard.wait_until_gone()


async def test_the_engine_answers_and_is_gone_after_the_block(
    tiny: Profile, state_dir: Path, reported: "Reported", processes: "Processes"
) -> None:
    async with open_embedded(
        tiny, cache_dir=state_dir, state_dir=state_dir, progress=reported
    ) as endpoint:
        answer = await ask(endpoint)
        assert answer.status_code == 200
        assert endpoint.model == answer.json()["model"] == "tiny"
        assert (endpoint.backend, endpoint.context_tokens) == ("llamacpp", 8192)
        assert (endpoint.small, endpoint.quantised) == (True, True)
    assert reported.phases == ["load", "ready"]
    await nothing_runs(processes)


async def test_nobody_without_the_key_is_answered(tiny: Profile, state_dir: Path) -> None:
    async with open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir) as endpoint:
        assert (await ask(endpoint, key="another")).status_code == 401


async def test_starters_at_the_same_moment_share_one_engine(
    tiny: Profile, state_dir: Path, processes: "Processes"
) -> None:
    endpoints: list[Endpoint] = []
    everyone, seen = anyio.Event(), anyio.Event()

    async def use() -> None:
        async with open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir) as endpoint:
            endpoints.append(endpoint)
            if len(endpoints) == 4:
                everyone.set()
            await seen.wait()

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(use)
        await everyone.wait()
        await find(processes)  # one guard, one engine
        seen.set()
    assert len(set(endpoints)) == 1
    await nothing_runs(processes)


async def test_an_engine_outlives_one_of_its_users(tiny: Profile, state_dir: Path) -> None:
    async with open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir) as first:
        async with open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir) as second:
            assert first == second
        assert (await ask(first)).status_code == 200


async def test_an_engine_kept_alive_serves_the_next_block(
    tiny: Profile, state_dir: Path, processes: "Processes"
) -> None:
    async with open_embedded(
        tiny, cache_dir=state_dir, state_dir=state_dir, keep_alive=600
    ) as first:
        pass
    guard, engine = await find(processes)
    async with open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir) as second:
        assert first == second
    os.kill(guard.pid, signal.SIGTERM)
    await guard.wait_until_gone()
    await engine.wait_until_gone()


async def test_a_killed_user_takes_the_engine_with_it(
    tiny_gguf: Path, state_dir: Path, processes: "Processes"
) -> None:
    command = [sys.executable, "-c", _CLIENT, str(tiny_gguf), str(state_dir), "0"]
    async with await anyio.open_process(command, stderr=subprocess.DEVNULL) as client:
        assert client.stdout
        assert b"http://" in await client.stdout.receive()
        guard, engine = await find(processes)
        client.kill()
        await guard.wait_until_gone()
        await engine.wait_until_gone()


async def test_a_dead_engine_is_restarted_at_the_same_address(
    tiny: Profile, state_dir: Path, reported: "Reported", processes: "Processes"
) -> None:
    async with open_embedded(
        tiny, cache_dir=state_dir, state_dir=state_dir, progress=reported
    ) as endpoint:
        _, engine = await find(processes)
        os.kill(engine.pid, signal.SIGKILL)
        await reported.wait_for(lambda it: "exit status -9" in it.detail)
        await reported.wait_for(lambda it: "restarted" in it.detail)
        assert (await ask(endpoint)).status_code == 200


async def _kill_until_lost(processes: "Processes", reported: "Reported") -> None:
    for restart in range(3):
        _, engine = await find(processes)
        os.kill(engine.pid, signal.SIGKILL)
        if restart < 2:
            await reported.wait_for_count(lambda it: "restarted" in it.detail, restart + 1)


async def test_an_engine_that_keeps_dying_ends_the_block_with_the_reason(
    tiny: Profile, state_dir: Path, reported: "Reported", processes: "Processes"
) -> None:
    async def use() -> None:
        async with open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir, progress=reported):
            await _kill_until_lost(processes, reported)
            await anyio.sleep_forever()

    with pytest.raises(EngineError, match=r"died 3 times \(exit status -9\).*memory") as caught:
        await use()
    assert "smaller" in caught.value.hint
    await nothing_runs(processes)


async def test_a_lost_engine_can_be_told_instead_of_ending_the_block(
    tiny: Profile, state_dir: Path, reported: "Reported", processes: "Processes"
) -> None:
    told = anyio.Event()
    async with open_embedded(
        tiny,
        cache_dir=state_dir,
        state_dir=state_dir,
        progress=reported,
        on_loss=lambda _: told.set(),
    ):
        await _kill_until_lost(processes, reported)
        await told.wait()


async def test_no_engine_outlives_its_guard(
    tiny: Profile, state_dir: Path, processes: "Processes"
) -> None:
    async def use() -> None:
        async with open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir):
            guard, engine = await find(processes)
            os.kill(guard.pid, signal.SIGKILL)
            with anyio.CancelScope(shield=True):  # this block is cancelled as soon as it is known
                await engine.wait_until_gone()
            await anyio.sleep_forever()

    with pytest.raises(EngineError, match="guard is gone"):
        await use()
    async with open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir) as endpoint:
        assert (await ask(endpoint)).status_code == 200  # the socket left behind is no obstacle


async def test_an_engine_ends_when_its_socket_is_removed(
    tiny: Profile, state_dir: Path, processes: "Processes"
) -> None:
    async def use() -> None:
        async with open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir):
            guard, engine = await find(processes)
            await to_thread.run_sync(_remove_sockets, state_dir)
            with anyio.CancelScope(shield=True):  # this block is cancelled as soon as it is known
                await guard.wait_until_gone()
                await engine.wait_until_gone()
            await anyio.sleep_forever()

    with pytest.raises(EngineError):
        await use()


def _remove_sockets(state_dir: Path) -> None:
    for path in (state_dir / "engines").glob("*.sock"):
        path.unlink()


async def test_weights_that_are_none_are_named_with_the_end_of_the_log(
    tiny: Profile, tiny_gguf: Path, tmp_path: Path, state_dir: Path, processes: "Processes"
) -> None:
    broken = tmp_path / "broken.gguf"
    await anyio.Path(broken).write_bytes(await anyio.Path(tiny_gguf).read_bytes())
    os.truncate(broken, 2000)
    weights = tiny.weights.model_copy(update={"path": broken})
    unreadable = tiny.model_copy(update={"weights": weights})
    with pytest.raises(EngineError, match=r"(?s)cannot read the weights.*error loading model"):
        await open_embedded(unreadable, cache_dir=tmp_path, state_dir=state_dir).__aenter__()
    await nothing_runs(processes)


async def test_the_block_s_own_error_comes_out_as_it_is(tiny: Profile, state_dir: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir):
            raise KeyError("mine")


async def test_no_secret_and_no_core_dump_reaches_the_engine(
    tiny: Profile, state_dir: Path, processes: "Processes", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "s3cret")
    async with open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir) as endpoint:
        for process in await find(processes):
            environment = Path(f"/proc/{process.pid}/environ")
            assert b"s3cret" not in await to_thread.run_sync(environment.read_bytes)
            assert str(endpoint.api_key) not in process.command
            assert resource.prlimit(process.pid, resource.RLIMIT_CORE) == (0, 0)


async def test_a_folder_that_others_can_enter_is_refused(tiny: Profile, state_dir: Path) -> None:
    (state_dir / "engines").mkdir(parents=True)
    (state_dir / "engines").chmod(0o755)
    with pytest.raises(EngineError, match="yours alone"):
        await open_embedded(tiny, cache_dir=state_dir, state_dir=state_dir).__aenter__()


async def test_a_state_folder_too_deep_for_a_socket_is_no_obstacle(
    tiny: Profile, tmp_path: Path
) -> None:
    deep = tmp_path / ("deep" * 20) / ("er" * 20)
    async with open_embedded(tiny, cache_dir=deep, state_dir=deep) as endpoint:
        assert (await ask(endpoint)).status_code == 200


@pytest.fixture
def hanging(tmp_path: Path, state_dir: Path) -> EngineSpec:
    """An engine that never stops loading, and lets no thread run: it opens a pipe."""
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    options = {
        "runner": "run_llamacpp.py",
        "weights": str(pipe),
        "model": "hanging",
        "context_tokens": 512,
        "slots": 1,
        "threads": 1,
    }
    return EngineSpec(
        options=options,
        state_dir=state_dir,
        profile="hanging",
        what="The embedded engine",
        explain=explain_death,
    )


async def test_leaving_while_the_engine_loads_stops_it(
    hanging: EngineSpec, processes: "Processes"
) -> None:
    async with open_lease(hanging) as lease:
        assert lease.status["state"] == "loading"
        guard, engine = await _wait_for_engine(processes)
    await guard.wait_until_gone()
    await engine.wait_until_gone()


async def test_a_user_or_guard_killed_while_the_engine_loads_leaves_nothing(
    hanging: EngineSpec, processes: "Processes"
) -> None:
    async with open_lease(hanging) as lease:
        guard, engine = await _wait_for_engine(processes)
        os.kill(guard.pid, signal.SIGKILL)
        await engine.wait_until_gone()
        with pytest.raises(EngineError):
            await lease.next_status()


async def _wait_for_engine(processes: "Processes") -> "tuple[Watched, Watched]":
    """Poll until the engine is there: a process that is not our child sends no event for it."""
    with anyio.fail_after(20):
        while True:
            found = await to_thread.run_sync(processes.now)
            if len(found) == 2:
                return found[0], found[1]
            await anyio.lowlevel.checkpoint()
