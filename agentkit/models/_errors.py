"""Turns whatever a server or the HTTP client says into the errors of agentkit."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jiter import from_json

from agentkit.errors import (
    ContextOverflowError,
    ModelError,
    ModelRequestError,
    ModelUnavailableError,
)
from agentkit.models._json import is_object
from agentkit.resilience import retry_after

_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
_OVERFLOW = re.compile(
    r"longer than the model's context length|maximum context length|context_length_exceeded"
    r"|exceed_context_size|exceeds? the (available )?context|context size has been exceeded",
    re.IGNORECASE,
)
_PYDANTIC = re.compile(r"'loc': \((?P<loc>[^)]*)\), 'msg': '(?P<msg>[^']*)'")
_SERVER_PATH = re.compile(r"""(File )?["']?(/[\w.@+-]+){3,}["']?(, line \d+)?(, in \w+)?""")
_LONGEST_MESSAGE = 600

_HINTS = {
    401: "Set the API key of this server (AGENTKIT_API_KEY).",
    403: "The API key is not allowed to do this.",
    404: "Check the base URL (it usually ends in /v1) and the model name.",
    413: "The request is too large for the server.",
    429: "The server is busy; fewer runs side by side help.",
    503: "The server is busy or still loading.",
}


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, base_url: str
) -> ModelError:
    """Return the error that an answer with an HTTP status of 400 or more stands for."""
    if looks_like_html(body):
        return _refusal(
            f"Model server {base_url} answered {status} with an HTML page.",
            status,
            hint="Check the base URL: it must be the OpenAI-compatible API, usually ending in /v1.",
            retry_after=retry_after(headers),
        )
    message, kind = read_error(body)
    return _classify(status, message, kind, base_url, retry_after(headers))


def error_from_stream(error: object, base_url: str) -> ModelError:
    """Return the error that arrived inside a stream which began with HTTP 200."""
    fields = error if is_object(error) else {"message": error}
    kind = str(fields.get("type") or "")
    status = _status_in(fields.get("code"), kind)
    return _classify(status, _message_in(fields), kind, base_url, None)


def unavailable(error: BaseException, base_url: str) -> ModelUnavailableError:
    """Return the error of a connection that could not be made or broke before an answer."""
    # aiohttp's own text for a lost connection is the object it was reading when that happened.
    reasons = [said for cause in causes(error) if (said := str(cause)) and said[0] != "<"]
    reason = reasons[-1] if reasons else "the connection was closed"
    return ModelUnavailableError(
        f"No answer from the model server at {base_url}: {_tidy(reason)}",
        hint="Is the server running, and is the base URL right? `agentkit doctor` checks both.",
    )


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what led to it, outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def not_an_answer(body: bytes, base_url: str) -> ModelUnavailableError:
    """Return the error of a 200 that is no completion."""
    what = "an HTML page" if looks_like_html(body) else f"{_excerpt(body)!r}"
    return ModelUnavailableError(
        f"Model server {base_url} answered {what} where a completion was expected.",
        hint="Check the base URL: it must be the OpenAI-compatible API, usually ending in /v1.",
    )


def looks_like_html(body: bytes) -> bool:
    """Tell a web page from an answer.

    >>> looks_like_html(b" <!DOCTYPE html>"), looks_like_html(b'{"error": "<html>"}')
    (True, False)
    """
    start = body.lstrip()[:20].lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<body"))


def read_error(body: bytes) -> tuple[str, str]:
    """Return message and type of an error body, whatever its shape.

    >>> read_error(b'{"error": "Unauthorized"}')
    ('Unauthorized', '')
    >>> read_error(b'{"object": "error", "message": "full", "type": "503", "code": 503}')
    ('full', '503')
    >>> read_error(b'{"error": {"message": "no such model", "code": "model_not_found"}}')
    ('no such model', 'model_not_found')
    """
    try:
        fields: Any = from_json(body)
    except ValueError:
        return _excerpt(body), ""
    inner: Any = fields
    if is_object(inner):
        inner = inner.get("error") or inner
    if is_object(inner):
        kinds = [kind for kind in (inner.get("type"), inner.get("code")) if isinstance(kind, str)]
        return _message_in(inner), " ".join(kinds)
    return str(inner) if isinstance(inner, str) else _excerpt(body), ""


def _classify(
    status: int | None, message: str, kind: str, base_url: str, wait: float | None
) -> ModelError:
    said = _tidy(message) or "no reason given"
    where = f"Model server {base_url} answered {'an error' if status is None else status}: {said}"
    if _OVERFLOW.search(message) or _OVERFLOW.search(kind):
        return ContextOverflowError(
            where,
            status=status,
            hint="Start a new conversation, shorten tool results or lower limits.answer_tokens.",
        )
    return _refusal(where, status, hint=_hint(status, message), retry_after=wait)


def _hint(status: int | None, message: str) -> str:
    if "LoRA adapter" in message:
        return "SGLang reads 'base:adapter' in a model name: use a served name without a colon."
    if "--enable-auto-tool-choice" in message:  # vLLM, started without a tool parser
        return "Start it with these options, or set tool_calls to guided (AGENTKIT_TOOL_CALLS)."
    if "max_completion_tokens is too large" in message:
        return "Lower limits.answer_tokens."
    return _HINTS.get(status or 0, "")


def _refusal(
    message: str, status: int | None, *, hint: str = "", retry_after: float | None = None
) -> ModelError:
    later = status is None or status in _LATER or status >= 520  # 520 and up: proxies
    kind = ModelUnavailableError if later else ModelRequestError
    return kind(message, hint=hint, status=status, retry_after=retry_after)


def _status_in(code: object, kind: str) -> int | None:
    if isinstance(code, int) and not isinstance(code, bool):
        return code
    for text in (code, kind):
        if isinstance(text, str) and text.isdecimal():
            return int(text)
    return 400 if "bad_request" in kind.lower() or "invalid_request" in kind.lower() else None


def _message_in(fields: Mapping[str, Any]) -> str:
    for name in ("message", "detail", "error", "msg"):
        value = fields.get(name)
        if value:
            return value if isinstance(value, str) else repr(value)
    return ""


def _tidy(message: str) -> str:
    """Return what a person can use: no validation dump, no path of the server, not too long."""
    found = _PYDANTIC.search(message)
    if found is not None:
        place = ".".join(re.findall(r"[\w-]+", found["loc"]))
        return f"{place}: {found['msg']}."
    shown = " ".join(_SERVER_PATH.sub("…", message).split())
    return shown if len(shown) <= _LONGEST_MESSAGE else f"{shown[:_LONGEST_MESSAGE]}…"


def _excerpt(body: bytes) -> str:
    return body[:200].decode("utf-8", "replace").strip()
