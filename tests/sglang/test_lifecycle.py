"""A server's whole life: the same assertions for SGLang and for the program that stands for it."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from anyio import to_thread

from agentkit.engine import Endpoint, GatedModel, find_running, stop_running
from agentkit.errors import AgentkitError, EngineError
from agentkit.messages import UserMessage
from agentkit.models import open_pool
from agentkit.policies import Retry
from agentkit.protocols import ModelRequest
from agentkit.resilience import retrying

if TYPE_CHECKING:
    from tests.conftest import Reported
    from tests.sglang.conftest import Installed

pytestmark = pytest.mark.timeout(240)

_CLIENT = """
import json, sys, anyio
from pathlib import Path
from agentkit.engine import ServerProfile, open_server
async def main():
    profile, python, weights, state = sys.argv[1:]
    profile = ServerProfile.model_validate_json(profile)
    print("started", flush=True)
    async with open_server(profile, python=Path(python), weights=Path(weights), state_dir=Path(state),
                           progress=lambda p: print(p.phase, p.stage, flush=True)) as endpoint:
        await anyio.sleep_forever()
anyio.run(main)
"""


_TRACEBACK = """Traceback (most recent call last):
  File "/x/sglang/pool.py", line 7, in f
RuntimeError: Not enough memory. Please try to increase --mem-fraction-static."""


async def get(endpoint: Endpoint, path: str, key: str | None = None) -> int:
    url = endpoint.base_url.removesuffix("/v1") + path
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(timeout=30, headers=headers, trust_env=False) as client:
        return (await client.get(url)).status_code


async def test_a_server_answers_whoever_has_its_key_and_leaves_nothing(
    installed: "Installed", state_dir: Path, reported: "Reported", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # a warm-up through it would kill it
    async with installed.open(state_dir, progress=reported) as endpoint:
        assert await get(endpoint, "/v1/models", endpoint.api_key) == 200
        assert await get(endpoint, "/v1/models") == 401
        commands = await to_thread.run_sync(installed.processes)
        [running] = await find_running(state_dir)
        log = await anyio.Path(running.log).read_text(encoding="utf-8")
        mode = (await anyio.Path(running.log).stat()).st_mode & 0o777
        left = [path.name async for path in anyio.Path(state_dir / "engines").glob("*.yaml")]
    assert (running.profile, running.state, running.url + "/v1") == (
        "qwen3-scripted",
        "ready",
        endpoint.base_url,
    )
    key = str(endpoint.api_key)
    assert key.startswith("ak-")  # one that began with a dash would be an option
    assert all(key not in command for command in commands.values())
    assert key not in log
    assert mode == 0o600
    assert "'api_key': '***'" in log
    assert left == []
    stages = list(dict.fromkeys(p.stage for p in reported.seen if p.stage))
    assert [stage for stage in stages if stage != "graph capture"] == [
        "weights",
        "KV cache",
        "warm-up",
    ]
    await installed.wait_until_gone()
    assert await find_running(state_dir) == ()


async def test_a_busy_port_is_found_before_anything_is_loaded(
    installed: "Installed", state_dir: Path
) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with pytest.raises(EngineError, match=f"Port {port}.*is taken") as caught:
            async with installed.with_server(port=port).open(state_dir):
                pass
    assert "AGENTKIT_BASE_URL" in caught.value.hint
    assert await to_thread.run_sync(installed.processes) == {}


async def test_a_port_that_another_server_is_about_to_take_is_taken(
    fake: "Installed", state_dir: Path, tmp_path: Path, free_tcp_port: int
) -> None:
    await anyio.Path(tmp_path / "hold").write_text("weights", encoding="utf-8")
    held = fake.with_environment(FAKE_SGLANG_HOLD=str(tmp_path / "hold"))
    first = held.with_server(port=free_tcp_port)
    second = replace(first, profile=first.profile.model_copy(update={"name": "another"}))
    async with anyio.create_task_group() as group:

        async def load() -> None:
            async with first.open(state_dir):
                pass

        group.start_soon(load)
        await first.wait_for_processes(3)
        with pytest.raises(EngineError, match="it is that of qwen3-scripted") as caught:
            async with second.open(state_dir):
                pass
        assert "agentkit server stop qwen3-scripted" in caught.value.hint
        group.cancel_scope.cancel()
    await fake.wait_until_gone()


@pytest.mark.parametrize("stage", ["", "KV cache", "warm-up"])
async def test_leaving_while_it_loads_leaves_nothing(
    installed: "Installed", state_dir: Path, reported: "Reported", tmp_path: Path, stage: str
) -> None:
    held = installed.with_environment(FAKE_SGLANG_HOLD=str(tmp_path / "hold"))
    await anyio.Path(tmp_path / "hold").write_text(stage, encoding="utf-8")
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def leave() -> None:
                await reported.wait_for(lambda progress: progress.stage == stage)
                if not stage:
                    await held.wait_for_processes(4)
                scope.cancel()

            group.start_soon(leave)
            async with held.open(state_dir, progress=reported):
                group.cancel_scope.cancel()  # it was quicker than we were
    await installed.wait_until_gone()


@pytest.mark.parametrize("when", ["loading", "ready"])
@pytest.mark.parametrize("victim", ["client", "guard", "runner"])
async def test_no_process_outlives_the_death_of_its_owner(
    installed: "Installed", state_dir: Path, tmp_path: Path, when: str, victim: str
) -> None:
    if installed.is_real and (victim, when) in {("runner", "ready"), ("guard", "ready")}:
        pytest.skip("the same to the server as a death while it loads, where more can go wrong")
    python = await to_thread.run_sync(installed.python_itself)
    words = [
        installed.profile.model_dump_json(),
        str(python),
        str(installed.weights),
        str(state_dir),
    ]
    client = await to_thread.run_sync(
        lambda: subprocess.Popen(
            [sys.executable, "-c", _CLIENT, *words], stdout=subprocess.PIPE, text=True
        )
    )
    assert client.stdout is not None
    wanted = "ready" if when == "ready" else "load"
    try:
        while not (await to_thread.run_sync(client.stdout.readline)).startswith(wanted):
            pass
        # guard, runner, server and a child of it; SGLang has three
        await installed.wait_for_processes(6 if installed.is_real else 4)
        if victim == "client":
            client.kill()
        elif victim == "guard":
            os.kill(installed.one("/guard_engine.py"), signal.SIGKILL)
        else:
            os.kill(installed.one("/run_server.py"), signal.SIGKILL)
        if victim == "guard" or (victim, when) == ("runner", "loading"):
            assert await to_thread.run_sync(client.wait) == 1  # it is told; else it is restarted
    finally:
        client.kill()
        client.stdout.close()
        await to_thread.run_sync(client.wait)
    await installed.wait_until_gone()


async def test_two_runtimes_share_a_server_and_the_last_one_stops_it(
    installed: "Installed", state_dir: Path
) -> None:
    async with installed.open(state_dir) as first:
        async with installed.open(state_dir) as second:
            assert first == second
        assert await get(first, "/v1/models", first.api_key) == 200
    await installed.wait_until_gone()


async def test_a_server_that_dies_starts_again_and_the_question_waits_for_it(
    installed: "Installed", state_dir: Path
) -> None:
    notices: list[str] = []

    def hear(kind: str, text: str, /) -> None:
        if kind == "notice":
            notices.append(text)

    async with installed.open(state_dir) as endpoint, open_pool() as pool:
        model = GatedModel(
            await pool.connect(
                endpoint.base_url, api_key=endpoint.api_key, sampling={"temperature": 0}
            ),
            endpoint.gate,
        )
        request = ModelRequest(messages=[UserMessage("Hello!")], max_tokens=60)
        before = (await model.ask(request, hear)).text
        victim = installed.one(
            "-m sglang.launch_server" if not installed.is_real else "sglang::scheduler"
        )
        os.kill(victim, signal.SIGKILL)
        again: list[AgentkitError] = []
        turn = await retrying(
            Retry(), lambda: model.ask(request, hear), lambda _n, _s, error: again.append(error)
        )
        assert turn.text == before == "Hello! How can I help you today?"
        assert again  # the first attempt met nobody
        assert notices == ["The model server is starting again; the question waits for it."]
        [running] = await find_running(state_dir)
        assert (running.deaths, f"{running.url}/v1") == (1, endpoint.base_url)
    await installed.wait_until_gone()


async def test_a_server_that_was_stopped_by_hand_is_lost_to_its_users(
    fake: "Installed", state_dir: Path
) -> None:
    async def use() -> None:
        async with fake.open(state_dir):
            [running] = await find_running(state_dir)
            await stop_running(running)
            await anyio.sleep_forever()

    with pytest.raises(EngineError, match="guard is gone"):
        await use()
    await fake.wait_until_gone()


async def test_a_server_that_is_kept_alive_is_stopped_by_hand_only(
    fake: "Installed", state_dir: Path
) -> None:
    async with fake.open(state_dir, keep_alive=float("inf")) as first:
        pass
    async with fake.open(state_dir) as second:
        assert first == second
    [running] = await find_running(state_dir)
    assert running.state == "ready"
    await stop_running(running)
    await fake.wait_until_gone()


async def test_a_server_that_hangs_is_ended_and_started_again(
    fake: "Installed", state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.engine._server._LOOK_SECONDS", 0.2)
    hanging = fake.with_environment(FAKE_SGLANG="hang")
    async with hanging.open(state_dir) as endpoint:
        first = hanging.one("-m sglang.launch_server")
        assert await get(endpoint, "/v1/models", endpoint.api_key) == 200  # its last answer
        while endpoint.gate.is_open:
            await endpoint.gate.wait_for_news(1)
        await endpoint.gate.wait()
        assert hanging.one("-m sglang.launch_server") != first
    await fake.wait_until_gone()


@pytest.mark.parametrize(
    ("says", "cause", "cure"),
    [
        (
            _TRACEBACK,
            r"no room for the KV cache.*Not enough memory.*pool\.py:7",
            "server plan",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to", "Memory ran out", "nvidia-smi"),
        ("RuntimeError: Found no NVIDIA driver on your system", "NVIDIA driver", "--gpus all"),
        ("GatedRepoError: 401 Client Error.", "gated", "HF_TOKEN"),
        ("error: unrecognized arguments: --nope", "does not know one of the options", "flags"),
        ("[Errno 98] address already in use", "port is taken", "--port"),
        ("ModuleNotFoundError: No module named 'x'", "environment is not complete", "install"),
        ("something else", "Its log may say why", "server logs"),
    ],
)
async def test_an_early_death_is_explained(
    fake: "Installed", state_dir: Path, says: str, cause: str, cure: str
) -> None:
    dying = fake.with_environment(FAKE_SGLANG="die", FAKE_SGLANG_SAYS=says)
    with pytest.raises(EngineError, match=rf"(?s)exit status 1.*{cause}") as caught:
        async with dying.open(state_dir):
            pass
    assert cure in caught.value.hint
    assert "\n" not in str(caught.value)
    await fake.wait_until_gone()


async def test_a_start_that_takes_too_long_is_ended(
    fake: "Installed", state_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "hold").write_text("weights", encoding="utf-8")
    held = fake.with_environment(FAKE_SGLANG_HOLD=str(tmp_path / "hold"))
    held = held.with_server(start_seconds=1.0)
    with pytest.raises(EngineError, match=r"not ready after 1 s|did not answer in time"):
        async with held.open(state_dir):
            pass
    await fake.wait_until_gone()


async def test_a_key_that_is_given_is_the_servers_key(fake: "Installed", state_dir: Path) -> None:
    with pytest.raises(EngineError, match="begins with a dash"):
        async with fake.open(state_dir, api_key="-secret"):
            pass
    async with fake.open(state_dir, api_key="my-secret") as endpoint:
        assert endpoint.api_key == "my-secret"
        assert await get(endpoint, "/v1/models", "my-secret") == 200
        commands = await to_thread.run_sync(fake.processes)
        assert not any("my-secret" in command for command in commands.values())
    await fake.wait_until_gone()


async def test_there_is_no_server_without_weights(fake: "Installed", state_dir: Path) -> None:
    without = replace(fake, weights=state_dir / "nowhere")
    with pytest.raises(EngineError, match="no folder of weights") as caught:
        async with without.open(state_dir):
            pass
    assert "server pull" in caught.value.hint
