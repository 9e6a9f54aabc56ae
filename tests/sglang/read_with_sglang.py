"""Reads texts with SGLang's own parsers, as its chat endpoint calls them.

Run by the python of SGLang: rows on standard input, `[{"pieces", "tools", "thinking"}, …]`; on
standard output, for each, what the answer says whole and what the deltas of a stream say.
"""

import json
import sys
from typing import Any

from sglang.srt.entrypoints.openai.protocol import Function, Tool
from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.parser.reasoning_parser import ReasoningParser


def main() -> None:
    rows = json.load(sys.stdin)
    found = [{"whole": whole(row), "stream": stream(row)} for row in rows]
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def reasoning(row: dict[str, Any], *, stream_reasoning: bool) -> Any:
    return ReasoningParser(
        "qwen3",
        stream_reasoning,
        row["thinking"],
        tool_call_parser_active=row["tools"] is not None,
    )


def caller(row: dict[str, Any]) -> Any:
    parameters = {"type": "object", "properties": {"q": {"type": "string"}}}
    tools = [
        Tool(type="function", function=Function(name=name, parameters=parameters))
        for name in row["tools"]
    ]
    return FunctionCallParser(tools, "qwen")


def whole(row: dict[str, Any]) -> dict[str, Any]:
    thought, text = reasoning(row, stream_reasoning=False).parse_non_stream("".join(row["pieces"]))
    calls: list[list[str]] = []
    if row["tools"] is not None and caller(row).has_tool_call(text):
        text, read = caller(row).parse_non_stream(text)
        calls = [[one.name, one.parameters] for one in read]
    return {"text": text or "", "thinking": thought or "", "calls": calls}


def stream(row: dict[str, Any]) -> dict[str, Any]:
    thinks, calls_parser = reasoning(row, stream_reasoning=True), None
    said = {"text": "", "thinking": ""}
    calls: list[list[str]] = []
    if row["tools"] is not None:
        calls_parser = caller(row)
    for number, piece in enumerate(row["pieces"], 1):
        is_last = number == len(row["pieces"])
        thought, text = thinks.parse_stream_chunk(piece)
        if is_last:
            more_thought, more_text = thinks.parse_stream_end()
            thought, text = (thought or "") + (more_thought or ""), (text or "") + (more_text or "")
        said["thinking"] += thought or ""
        if calls_parser is None:
            said["text"] += text or ""
            continue
        if text:
            normal, read = calls_parser.parse_stream_chunk(text)
            said["text"] += normal or ""
            take(calls, read)
    if calls_parser is not None:
        normal, read = calls_parser.parse_stream_end()
        said["text"] += normal or ""
        take(calls, read)
        finish(calls, calls_parser.detector)
    return {**said, "calls": calls}


def take(calls: list[list[str]], read: Any) -> None:
    for one in read:
        if one.name:
            calls.append([one.name, ""])
        if one.parameters:
            calls[one.tool_index][1] += one.parameters


def finish(calls: list[list[str]], detector: Any) -> None:
    """Send what of the last call's arguments has not been sent, as the endpoint does at the end."""
    known, sent = detector.prev_tool_call_arr, detector.streamed_args_for_tool
    if not known or not sent or len(known) > len(sent):
        return
    arguments = known[-1].get("arguments", {})
    whole = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    if whole.startswith(sent[len(known) - 1]):
        calls[len(known) - 1][1] += whole[len(sent[len(known) - 1]) :]


if __name__ == "__main__":
    main()
