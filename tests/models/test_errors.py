import json
from typing import Any

import pytest

from agentkit.errors import (
    ContextOverflowError,
    ModelError,
    ModelRequestError,
    ModelUnavailableError,
)
from agentkit.models._errors import error_from_response, error_from_stream

URL = "http://h:1/v1"


def flat(message: str, code: int, kind: str = "BadRequestError") -> dict[str, Any]:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def nested(**fields: Any) -> dict[str, Any]:
    return {"error": fields}


OVERFLOWS = [
    flat("The input (12008 tokens) is longer than the model's context length (4096 tokens).", 400),
    flat(
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You "
        "requested a total of 4100 tokens: 10 tokens from the input messages and 4090 tokens for "
        "the completion. Please reduce …",
        400,
    ),
    nested(message="This model's maximum context length is 8192 tokens.", code=400),
    nested(message="Too long.", type="invalid_request_error", code="context_length_exceeded"),
    nested(
        code=400,
        message="the request exceeds the available context size, try increasing it",
        type="exceed_context_size_error",
    ),
]


@pytest.mark.parametrize("body", OVERFLOWS)
def test_a_prompt_that_does_not_fit_is_a_context_overflow(body: dict[str, Any]) -> None:
    error = error_from_response(400, {}, json.dumps(body).encode(), URL)
    assert isinstance(error, ContextOverflowError)
    assert not error.retryable
    assert error.hint


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_statuses_that_pass_are_worth_repeating(status: int) -> None:
    error = error_from_response(status, {}, b'{"error": {"message": "later"}}', URL)
    assert isinstance(error, ModelUnavailableError)
    assert error.retryable
    assert error.status == status


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422, 501])
def test_statuses_that_stay_are_never_repeated(status: int) -> None:
    error = error_from_response(status, {}, b'{"error": {"message": "no"}}', URL)
    assert isinstance(error, ModelRequestError)
    assert not error.retryable


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (flat("The request queue is full.", 503, "503"), "The request queue is full."),
        (nested(message="Loading model", code=503, type="unavailable_error"), "Loading model"),
        ({"error": "Unauthorized"}, "Unauthorized"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"message": "plain"}, "plain"),
        ("only a string", "only a string"),
        ([1, 2], "[1, 2]"),
        ({}, "no reason given"),
        (None, "null"),
    ],
)
def test_every_shape_of_an_error_body_is_read(body: object, said: str) -> None:
    assert said in str(error_from_response(503, {}, json.dumps(body).encode(), URL))


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"upstream connect error", b"{"])
def test_a_body_that_is_not_json_is_quoted_not_raised(body: bytes) -> None:
    assert "502" in str(error_from_response(502, {}, body, URL))


def test_a_web_page_is_named_with_the_way_out() -> None:
    error = error_from_response(404, {}, b"<!DOCTYPE html><html>" + b"x" * 5000, URL)
    assert "HTML" in str(error)
    assert "/v1" in error.hint
    assert len(str(error)) < 200


def test_a_validation_dump_shows_field_and_reason_but_no_path_of_the_server() -> None:
    dump = (
        "1 validation error:\n  {'type': 'list_type', 'loc': ('body', 'messages'), 'msg': 'Input "
        "should be a valid list', 'input': 5}\n\n  File \"/root/lib/python3.11/site-packages/x.py\""
        ", line 1870, in openai_v1_chat_completions\n    POST /v1/chat/completions [{'a': 5}]"
    )
    error = error_from_response(400, {}, json.dumps(flat(dump, 400, "Bad Request")).encode(), URL)
    assert str(error).endswith("body.messages: Input should be a valid list.")


def test_a_path_of_the_server_is_left_out_of_any_message() -> None:
    text = 'Failed: File "/opt/x/lib/y.py", line 3, in f and /usr/lib/python/z.py'
    shown = str(error_from_response(500, {}, json.dumps(flat(text, 500)).encode(), URL))
    assert "/opt" not in shown
    assert "/usr" not in shown


def test_an_endless_message_is_cut() -> None:
    assert (
        len(str(error_from_response(500, {}, json.dumps(flat("x" * 9999, 500)).encode(), URL)))
        < 800
    )


def test_a_colon_in_a_model_name_is_explained() -> None:
    body = flat("LoRA adapter '14b' was requested, but LoRA is not enabled.", 400)
    assert "colon" in error_from_response(400, {}, json.dumps(body).encode(), URL).hint


def test_a_server_without_a_tool_parser_is_explained() -> None:
    told = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    error = error_from_response(400, {}, json.dumps(flat(told, 400)).encode(), URL)
    assert not error.retryable
    assert "guided" in error.hint


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (flat("Failed to compile json grammar", 400, "BAD_REQUEST"), ModelRequestError, 400),
        (
            flat("The request queue is full.", 503, "SERVICE_UNAVAILABLE"),
            ModelUnavailableError,
            503,
        ),
        (flat("boom", 500, "InternalServerError"), ModelUnavailableError, 500),
        ({"message": "full", "code": "503"}, ModelUnavailableError, 503),
        ({"message": "bad", "type": "invalid_request_error"}, ModelRequestError, 400),
        ({"message": "?"}, ModelUnavailableError, None),
        ("oops", ModelUnavailableError, None),
        (flat(OVERFLOWS[0]["message"], 400), ContextOverflowError, 400),
    ],
)
def test_an_error_inside_a_stream_is_classed_by_its_code(
    error: object, kind: type[ModelError], status: int | None
) -> None:
    found = error_from_stream(error, URL)
    assert type(found) is kind
    assert found.status == status
