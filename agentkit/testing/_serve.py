"""`python -m agentkit.testing.fake_sglang`: the fake server for other processes."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import anyio

from agentkit.testing._script import Script
from agentkit.testing.answers import Answer, AnyAnswer, Fault, Raw


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal comes; the first line on stdout is JSON with the base URL."""
    parser = argparse.ArgumentParser(prog="python -m agentkit.testing.fake_sglang")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 for a free one")
    parser.add_argument("--script", type=Path, help="JSON file with answers; see read_script")
    parser.add_argument("--model", default="qwen3-scripted", help="name of the served model")
    parser.add_argument("--context-tokens", type=int, default=8192, help="size of the context")
    parser.add_argument("--api-key", help="what clients have to show")
    parser.add_argument("--refused", type=float, default=0.0, help="seconds without a listener")
    parser.add_argument("--warming", type=float, default=0.0, help="seconds of 503 from probes")
    options = parser.parse_args(arguments)
    script = None if options.script is None else read_script(options.script.read_text("utf-8"))
    anyio.run(_serve, options, script)


def read_script(text: str) -> Script:
    """Return the script written in JSON.

    A list, or an object by question; an answer is a text, or an object with the fields of `Answer`,
    or of `Raw` if it has `written`. A fault is its kind, or an object with the fields of `Fault`.

    >>> read_script('["Hello!", {"text": "Hi.", "fault": {"kind": "drop", "after": 2}}]')[1].fault
    Fault(kind='drop', status=503, after=2, at='line', seconds=0.0, retry_after=None)
    """
    value: object = json.loads(text)
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value)
        return {question: _answers(found) for question, found in entries.items()}
    return _answers(value)


def _answers(value: object) -> list[AnyAnswer]:
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return [_answer(item) for item in items]


def _answer(value: Any) -> AnyAnswer:
    if isinstance(value, str):
        return value
    fields = dict(value)
    if isinstance(fields.get("fault"), dict):
        fields["fault"] = Fault(**fields["fault"])
    return Raw(**fields) if "written" in fields else Answer(**fields)


async def _serve(options: argparse.Namespace, script: Script | None) -> None:
    from agentkit.testing.fake_sglang import FakeSGLang

    server = FakeSGLang(
        script,
        model=options.model,
        context_tokens=options.context_tokens,
        api_key=options.api_key,
        port=options.port,
        state="refused" if options.refused else "warming" if options.warming else "ready",
    )
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with server, anyio.create_task_group() as group:
            group.start_soon(_boot, server, options)
            async for _ in signals:
                break
            group.cancel_scope.cancel()


async def _boot(server: Any, options: argparse.Namespace) -> None:
    sys.stdout.write(json.dumps({"base_url": server.base_url}) + "\n")
    sys.stdout.flush()
    if options.refused:
        await anyio.sleep(options.refused)
        await server.become("warming")
    await anyio.sleep(options.warming)
    await server.become("ready")
