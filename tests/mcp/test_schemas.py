"""Schemas and results that are made to cost time, to hide something, or to break other tools."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.types import CallToolResult, TextContent

from agentkit.errors import ToolInputError
from agentkit.mcp import ServerConfig, _result, _steps
from agentkit.mcp._listing import Listing, RawTool
from agentkit.mcp._offer import Offer, examine
from agentkit.mcp._result import render
from agentkit.mcp._schema import UnusableSchemaError, compiled, mended
from agentkit.mcp._steps import errors_in
from agentkit.mcp._text import clean, hides, one_line
from agentkit.mcp._tool import McpTool
from agentkit.messages import ToolSpec

HIDDEN = ("\x1b[31m", "\x00", "\u200b", "\u202e", "\U000e0041", "\ufe01", "\u3164", "\u2800")


@pytest.fixture
def keywords(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect each keyword that a value is held to."""
    seen: list[str] = []
    begin = _steps._Steps.begin

    def noted(self: _steps._Steps, key: str, value: Any, instance: Any) -> None:
        seen.append(key)
        begin(self, key, value, instance)

    monkeypatch.setattr(_steps._Steps, "begin", noted)
    yield seen
    assert len(seen) <= _steps._MAX_STEPS + 1


def of(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, **more}


def chain(length: int, way: str = "allOf", last: Any = None) -> dict[str, Any]:
    """Return schemas of which each refers to the next twice."""
    named: dict[str, Any] = {
        f"d{n}": {way: [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
        for n in range(length)
    }
    return of({"$ref": "#/$defs/d0"}, **{"$defs": {**named, f"d{length}": last or {}}})


def tool(schema: dict[str, Any]) -> McpTool:
    async def call(_: Any) -> str:
        return ""

    parameters = mended(schema)
    return McpTool(ToolSpec("t", "", parameters), compiled(parameters), call)


def raw(name: str, schema: Any, output: Any = None) -> RawTool:
    return RawTool(name, "", schema, output)


def offer(*tools: RawTool) -> Offer:
    config = ServerConfig(name="evil", command="x")
    return examine(config, Listing({one.name: one for one in tools}), None)


OBJECTS = [{"k": n} for n in range(60_000)]
TOO_LARGE: dict[str, Any] = {
    "enum": of({"enum": OBJECTS}),
    "enum of an older draft": of(
        {"enum": OBJECTS}, **{"$schema": "http://json-schema.org/draft-04/schema#"}
    ),
    "types": of({"type": [{}] * 60_000}),
    "required": {"type": "object", "required": [{}] * 60_000},
    "dependencies": {"dependencies": {"a": [{}] * 60_000}},
    "text": of({"default": "x" * 70_000}),
    "unknown keyword": of({"x-more": [0] * 60_000}),
    "small values": of({"const": [[]] * 20_001}),
    "deep value": of({"const": json.loads("[" * 300 + "]" * 300)}),
    "deep schema": json.loads('{"not":' * 70 + "{}" + "}" * 70),
    "references": chain(30),
    "references in a circle": chain(30, last={"$ref": "#/$defs/d0"}),
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_what_is_too_large_is_refused(what: str) -> None:
    with pytest.raises(UnusableSchemaError, match="too large"):
        mended(TOO_LARGE[what])


def test_lists_that_a_check_would_compare_item_by_item_are_made_plain_first() -> None:
    with pytest.raises(UnusableSchemaError, match=r"type is \{\}"):
        mended(of({"type": [{}] * 5000}))
    many = mended({"required": [{}] * 5000 + ["a", "a"], "dependentRequired": {"a": [{}, "b"]}})
    assert (many["required"], many["dependentRequired"]) == (["a"], {"a": ["b"]})


def test_comparing_all_items_of_a_result_is_left_to_the_server(keywords: list[str]) -> None:
    promised = compiled(mended(of({"type": "array", "uniqueItems": True})))
    assert errors_in({"a": [{"k": n} for n in range(8000)]}, promised) == []
    assert errors_in({"a": [{"k": n} for n in range(800)]}, promised) == []
    assert keywords == ["type", "properties", "type"] * 2


WIDE = {"anyOf": [{"type": "string", "enum": [f"{n}{m}" for m in range(9)]} for n in range(200)]}
TREE = {"anyOf": [{"items": {"$ref": "#/properties/a"}}, {"items": {"$ref": "#/properties/a"}}]}
NESTED = json.loads("[" * 40 + "1" + "]" * 40)
CHOICES = [list(range(n, n + 100)) for n in range(100)]
COSTLY: dict[str, tuple[Any, Any]] = {
    "references that multiply": (chain(30), 1),
    "and depend on each other": (chain(30, "anyOf", {"not": {}}), 1),
    "many choices for many items": (of({"items": WIDE}), [0] * 30_000),
    "a recursion with two ways": (of({**TREE, "type": "array"}), NESTED),
    "choices that look alike": (of({"items": {"enum": CHOICES}}), [[*range(99), -1]] * 100),
    "long errors": (of({"anyOf": [{"minItems": 99_999, "not": {}}] * 1000}), [0] * 40_000),
    "errors of errors": (of({"not": {"items": {"required": ["b"] * 1}}}), [{}] * 30_000),
    "empty schemas": (of({"allOf": [{"items": {}}] * 1000}), [0] * 40_000),
    "schemas without end": (of({"$ref": "#/properties/a"}), 1),
}


@pytest.mark.parametrize("what", COSTLY)
def test_holding_a_value_to_a_schema_ends_after_so_many_steps(
    keywords: list[str], what: str
) -> None:
    schema, value = COSTLY[what]
    assert len(errors_in({"a": value}, _steps.bounded(schema))) <= 1
    assert keywords


def test_arguments_are_the_server_s_to_check_once_that_takes_too_long(keywords: list[str]) -> None:
    arguments = {"a": NESTED}
    assert tool(of({**TREE, "type": "array"})).validate(arguments) is arguments
    assert len(keywords) > 1000


def test_what_was_found_before_the_steps_ran_out_is_told() -> None:
    schema = {"properties": {"b": {"type": "string"}, "a": {**TREE, "type": "array"}}}
    found = errors_in({"a": NESTED, "b": 1}, compiled(mended(schema)), 8)
    assert [one.message for one in found] == ["1 is not of type 'string'"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400])
def test_numbers_beyond_all_bounds_break_nothing(number: float) -> None:
    validator = compiled(mended(of({"multipleOf": 0.5})))
    assert errors_in({"a": number}, validator) == []


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(UnusableSchemaError, match="a number that JSON does not know"):
        mended(of({"default": float("nan")}))


def test_a_recursive_schema_holds_as_deep_as_the_data() -> None:
    tree = {"type": "object", "properties": {"next": {"$ref": "#/$defs/T"}, "n": {"type": "null"}}}
    schema = of({"$ref": "#/$defs/T"}, **{"$defs": {"T": tree}})
    assert mended(schema) == schema
    good = {"a": {"next": {"next": {"n": None}}}}
    assert tool(schema).validate(good) == good
    with pytest.raises(ToolInputError, match=r"a\.next\.next\.n: 1 is not of type 'null'"):
        tool(schema).validate({"a": {"next": {"next": {"n": 1}}}})


def test_types_that_all_refer_to_each_other_are_not_too_many() -> None:
    each = {"anyOf": [{"type": "null"}, *({"$ref": f"#/$defs/k{n}"} for n in range(8))]}
    schema = of({"$ref": "#/$defs/k0"}, **{"$defs": {f"k{n}": each for n in range(8)}})
    assert mended(schema) == schema


def test_only_a_schema_is_referred_to() -> None:
    schema = of({"$ref": "#/properties/b/default"}, default={"pattern": "^(a+)+$"})
    schema["properties"] |= {"b": {"default": {"type": 5}}, "c": {"$ref": "#/properties"}}
    assert mended(schema)["properties"] == {"a": {}, "b": {"default": {"type": 5}}, "c": {}}
    listed = of({"anyOf": [{"type": "string"}, {"type": "null"}]})
    listed["properties"] |= {"b": {"$ref": "#/properties/a/anyOf/1"}, "c": {"$ref": "#/x y"}}
    assert mended(listed)["properties"]["b"] == {"$ref": "#/properties/a/anyOf/1"}
    assert mended(listed)["properties"]["c"] == {}


def test_patterns_are_kept_for_the_model_and_never_run() -> None:
    schema = of({"pattern": "^(a+)+$"}, patternProperties={"^(a+)+$": {}})
    schema["additionalProperties"] = False
    assert mended(schema) == schema
    assert tool(schema).validate({"a": "a" * 50 + "!", "a" * 50 + "!": 1})


def test_older_drafts_are_said_in_the_words_of_the_newest() -> None:
    schema = of({"items": [{"type": "string"}], "additionalItems": False, "$id": 5, "$anchor": 7})
    schema["properties"]["b"] = {"minimum": 1, "exclusiveMinimum": True, "exclusiveMaximum": False}
    schema |= {"$schema": [], "dependencies": {"a": ["b"], "b": {"required": ["a"]}}}
    assert mended(schema) == {
        **of({"prefixItems": [{"type": "string"}], "items": False}),
        "properties": {
            "a": {"prefixItems": [{"type": "string"}], "items": False},
            "b": {"exclusiveMinimum": 1},
        },
        "dependentRequired": {"a": ["b"]},
        "dependentSchemas": {"b": {"required": ["a"]}},
    }
    with pytest.raises(ToolInputError, match="'b' is a dependency of 'a'"):
        tool(schema).validate({"a": ["x"]})


BAD: list[Any] = [
    {"type": 5},
    {"type": [{}]},
    {"type": {"object": 1}},
    of({"type": 5}),
    of({"type": []}),
    of({"type": [["string"]]}),
    of({"minimum": "1"}),
    of({"minLength": -1}),
    of({"multipleOf": 0}),
    of({"enum": "x"}),
]


@pytest.mark.parametrize("schema", BAD, ids=repr)
def test_a_bad_tool_costs_itself_alone(schema: Any) -> None:
    found = offer(raw("good", of({})), raw("bad", schema), raw("last", {}))
    assert list(found.tools) == ["good", "last"]
    assert [note for note in found.notes if "'bad' was left out: its" in note]


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": []},
        {"$schema": "x"},
        {"$id": 5},
        of({"$schema": [], "$ref": 5}),
        of({"$id": []}),
    ],
    ids=repr,
)
def test_what_nobody_needs_is_taken_away(schema: Any) -> None:
    found = offer(raw("odd", schema, schema))
    assert found.tools["odd"].parameters in ({"type": "object", "properties": {}}, of({}))
    assert found.tools["odd"].promised is not None


def test_whatever_goes_wrong_with_one_tool_costs_that_tool_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(schema: dict[str, Any]) -> Any:
        if "bad" in schema["properties"]:
            raise AttributeError("no such thing")
        return compiled(schema)

    monkeypatch.setattr("agentkit.mcp._offer.compiled", broken)
    bad: dict[str, Any] = {"properties": {"bad": {}}}
    found = offer(raw("bad", bad), raw("good", {}), raw("lies", {}, bad))
    assert list(found.tools) == ["good", "lies"]
    assert found.notes == ("tool 'bad' was left out: it cannot be used (AttributeError)",)


@pytest.mark.parametrize("mark", HIDDEN)
def test_hidden_characters_are_taken_out_of_all_that_is_only_read(mark: str) -> None:
    bad = f"a{mark}b"
    words = dict.fromkeys(("title", "description", "$comment", "pattern", "format", "x-more"), bad)
    more = {"default": {bad: [bad]}, "examples": [bad], "$ref": f"#/{bad}", bad: bad}
    found = mended(of({**words, **more}))
    prose = dict.fromkeys(("title", "description", "$comment"), "ab")
    assert found["properties"]["a"] == {**prose, "default": {"ab": ["ab"]}, "examples": ["ab"]}


@pytest.mark.parametrize("mark", [*HIDDEN, "\u2028"])
@pytest.mark.parametrize(
    "where", ["properties", "required", "enum", "const", "$defs", "dependentRequired"]
)
def test_a_tool_that_hides_something_in_what_a_call_repeats_is_left_out(
    mark: str, where: str
) -> None:
    bad = f"a{mark}b"
    values: dict[str, Any] = {
        "properties": {bad: {}},
        "required": [bad],
        "enum": [[{bad: 1}]],
        "const": {"a": bad},
        "$defs": {bad: {}},
        "dependentRequired": {"a": [bad]},
    }
    found = offer(raw("bad", of({where: values[where]})), raw("good", {}))
    assert list(found.tools) == ["good"]
    assert "its schema hides characters in 'a" in found.notes[0]
    assert not hides(found.notes[0])


def test_what_scripts_emoji_and_line_ends_need_stays() -> None:
    choices = ["\u2764\ufe0f", "\U0001f468\u200d\U0001f469", "\u0645\u06cc\u200c\u062e", "\r\n"]
    schema = of({"enum": choices, "default": choices[0]})
    assert mended(schema) == schema
    assert clean("a\u2028b\u2029c") == "a\nb\nc"


def test_a_line_is_made_of_the_beginning_of_a_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned: list[int] = []

    def noted(text: str) -> str:
        cleaned.append(len(text))
        return clean(text)

    monkeypatch.setattr("agentkit.mcp._text.clean", noted)
    assert one_line("\u202e" * 1_000_000 + "x", 100) == "..."
    assert one_line("a" * 1_000_000, 10) == "aaaaaaa..."
    assert max(cleaned) <= 800


async def test_a_result_is_measured_by_its_structure_and_not_by_its_text(
    keywords: list[str],
) -> None:
    promised = compiled(mended(of({"type": "array", "items": {"type": "string"}})))
    text = TextContent(type="text", text="ok")
    huge = CallToolResult(content=[text], structured_content={"a": [0] * 200_000})
    assert await render(huge, promised=promised) == "ok"
    assert keywords == []
    small = CallToolResult(content=[text], structured_content={"a": [0] * 20})
    assert "0 is not of type 'string'" in await render(small, promised=promised)


async def test_a_large_structure_is_written_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []

    async def turn() -> None:
        turns.append(1)

    monkeypatch.setattr(_result, "checkpoint", turn)
    value = {"a": [{"k": n, "ü": [None, True, 1.5, "x"]} for n in range(20_000)]}
    shown = await render(CallToolResult(content=[], structured_content=value))
    assert shown == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert len(turns) > 50
