import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.models._rescue import is_leftover, rescue, tidy

SCHEMAS: dict[str, dict[str, Any]] = {
    "fetch": {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
    "code_interpreter": {
        "type": "object",
        "properties": {
            "code": {"type": "string"},
            "limit": {"type": "integer"},
            "fast": {"type": "boolean"},
            "rate": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "env": {"type": "object"},
            "names": {"type": "array"},
        },
    },
    "now": {"type": "object", "properties": {}},
}
HERMES = '{"name": "fetch", "arguments": {"url": "http://a"}}'
FETCH = [("fetch", {"url": "http://a"})]


def found(text: str) -> list[tuple[str, Any]]:
    rescued = rescue(text, SCHEMAS)
    calls = rescued.calls if rescued else ()
    return [(call.name, json.loads(call.arguments)) for call in calls]


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>{HERMES}</tool_call>",
        f"<tool_call>\n{HERMES}\n</tool_call>",
        f"<tool_call>{HERMES}",
        f"<tool_call>\n{HERMES}}}\n</tool_call>",
        f"<tool_call>[{HERMES}]</tool_call>",
        f"<tool_call>{HERMES}</tool_call>\n<tool_call>{HERMES}</tool_call>",
        f"```json\n{HERMES}\n```",
        f"```\n{HERMES}\n```",
        f"```tool_call\n{HERMES}```",
        f"```json\n{HERMES}",
        f"{{{HERMES}",
        f"{{{HERMES}}}",
        f"<tool_call>\n{{{HERMES}}}\n</tool_call>",
        HERMES,
        f"  {HERMES}\n",
        f"{HERMES}\n</tool_call>",
        HERMES.replace("arguments", "parameters"),
        '{"name": "fetch", "arguments": "{\\"url\\": \\"http://a\\"}"}',
        '{"type": "function", "function": {"name": "fetch", "arguments": {"url": "http://a"}}}',
        "<tool_call>\n<function=fetch>\n<parameter=url>\nhttp://a\n</parameter>\n</function>\n</tool_call>",
        "<function=fetch><parameter=url>http://a</parameter></function>",
        "<function=fetch>\n<parameter=url>\nhttp://a",
    ],
)
def test_a_stranded_call_is_found_in_each_of_its_forms(text: str) -> None:
    assert found(text) == FETCH
    rescued = rescue(text, SCHEMAS)
    assert rescued is not None
    assert rescued.rest == ""
    assert rescued.problem == ""


def test_text_beside_a_call_stays() -> None:
    rescued = rescue(f"I will look.\n```json\n{HERMES}\n```\nThen I tell you.", SCHEMAS)
    assert rescued is not None
    assert rescued.rest.startswith("I will look.")
    assert rescued.rest.endswith("Then I tell you.")
    assert "fetch" not in rescued.rest


def test_several_calls_keep_their_order() -> None:
    text = f'<tool_call>{HERMES}</tool_call><tool_call>{{"name": "now"}}</tool_call>'
    assert [name for name, _ in found(text)] == ["fetch", "now"]


def test_a_raw_newline_inside_code_is_mended() -> None:
    text = '<tool_call>{"name": "code_interpreter", "arguments": {"code": "a = 1\nprint(a)"}}'
    assert found(text) == [("code_interpreter", {"code": "a = 1\nprint(a)"})]


def test_a_fence_inside_the_code_of_a_call_does_not_end_it() -> None:
    code = "```json\n{}\n``` </tool_call>"
    text = "```json\n" + json.dumps({"name": "code_interpreter", "arguments": {"code": code}})
    assert found(text + "\n```") == [("code_interpreter", {"code": code})]


def test_values_in_xml_become_what_the_schema_says() -> None:
    values = {
        "code": "12", "limit": "12", "fast": "True", "rate": "0.5", "env": '{"a": 1}', "names": "[1]"
    }  # fmt: skip
    inner = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in values.items())
    [(_, arguments)] = found(f"<function=code_interpreter>\n{inner}</function>")
    assert arguments == {
        "code": "12", "limit": 12, "fast": True, "rate": 0.5, "env": {"a": 1}, "names": [1]
    }  # fmt: skip


def test_a_value_that_does_not_fit_stays_text_for_validation_to_name() -> None:
    text = "<function=code_interpreter><parameter=limit>many</parameter></function>"
    assert found(text) == [("code_interpreter", {"limit": "many"})]


@pytest.mark.parametrize(
    "text",
    [
        "The capital of France is Paris.",
        'Call it like {"name": "fetch", "arguments": {}} and see.',
        f"For example:\n{HERMES}\nwould fetch a page, which you may want to do.",
        '{"name": "fetch"}',  # may be data
        '{"name": "Ada", "arguments": {}}',
        '{"name": "fetch", "arguments": {"url": "x"}, "note": "not a bare call"}',
        '```json\n{"name": "fetch", "age": 3}\n```',
        '```json\n{"name": "other", "arguments": {}}\n```',
        "```python\nprint({'name': 'fetch'})\n```",
        '{"city": "Tokyo", "country": "Japan"}',
        "A <tool_call> tag begins a call.",
        "<function=other><parameter=a>1</parameter></function>",
        "",
    ],
)
def test_what_is_not_clearly_a_call_is_left_alone(text: str) -> None:
    assert rescue(text, SCHEMAS) is None or found(text) == []


def test_without_tools_nothing_is_a_call() -> None:
    assert rescue(HERMES, {}) is None


def test_a_call_that_cannot_be_read_is_a_problem_the_model_can_mend() -> None:
    rescued = rescue('<tool_call>{"name": "fetch", "arguments": {"url": "x"</tool_call>', SCHEMAS)
    assert rescued is not None
    assert rescued.calls == ()
    assert "could not be read as JSON" in rescued.problem


def test_a_tagged_call_of_an_unknown_tool_names_the_known_ones() -> None:
    rescued = rescue('<tool_call>{"name": "mail", "arguments": {}}</tool_call>', SCHEMAS)
    assert rescued is not None
    assert rescued.calls == ()
    assert "'mail'" in rescued.problem
    assert "code_interpreter" in rescued.problem


def test_arguments_left_over_from_a_dropped_call_are_no_answer() -> None:
    rescued = rescue(' "arguments": {"x": 1}}\n', SCHEMAS)
    assert rescued is not None
    assert rescued.rest == ""
    assert "does not exist" in rescued.problem


PROSE = st.text(st.characters(blacklist_characters='<`{["', codec="utf-8"))
BITS = st.sampled_from(
    ["<tool_call>", "</tool_call>", "<function=", "<parameter=", ">", "</function>", "```json\n", "```",
     HERMES, HERMES[:-1], '{"name": "', '"arguments": ', "{", "}", "[", "]", '"', "\n", "\\", "fetch",
     "now", "other", "</think>", "<think>", ' {"a": 1}', "prose "]
)  # fmt: skip


@given(PROSE)
def test_plain_prose_is_never_touched(text: str) -> None:
    assert rescue(text, SCHEMAS) is None
    assert tidy(text.strip("\n"), "") == (text.strip("\n"), "")


@given(st.lists(BITS, max_size=14).map("".join) | st.text())
def test_nothing_raises_and_no_unknown_tool_is_ever_called(text: str) -> None:
    rescued = rescue(text, SCHEMAS)
    tidy(text, "")
    if rescued is not None:
        for call in rescued.calls:
            assert call.name in SCHEMAS
            assert call.name in text
            assert isinstance(json.loads(call.arguments), dict)


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans(), max_size=4))
def test_a_tagged_call_keeps_its_arguments(arguments: dict[str, Any]) -> None:
    text = json.dumps({"name": "now", "arguments": arguments}, ensure_ascii=False)
    assert found(f"<tool_call>{text}</tool_call>") == [("now", arguments)]


def test_brackets_without_end_are_no_crash() -> None:
    assert rescue("<tool_call>" + "[" * 100_000, SCHEMAS) is None or True
    assert rescue("```json\n" + '{"name":' * 50_000, SCHEMAS) is None


@pytest.mark.parametrize(
    ("text", "thinking", "clean"),
    [
        ("</think>\n\nYes.", "hm", ("Yes.", "hm")),
        ("rest of it\n</think>\n\nYes.", "", ("Yes.", "rest of it")),
        ("<think>\nhm\n</think>\n\nYes.", "", ("Yes.", "hm")),
        ("<think>\nnever closed", "", ("", "never closed")),
        ("Yes.\n</tool_call>", "", ("Yes.", "")),
        ("The `</think>` tag ends a thought.", "", ("The `</think>` tag ends a thought.", "")),
    ],
)
def test_tags_a_parser_forgot_are_taken_out(
    text: str, thinking: str, clean: tuple[str, str]
) -> None:
    assert tidy(text, thinking) == clean


def test_braces_left_beside_a_call_are_leftovers() -> None:
    assert is_leftover("}\n")
    assert not is_leftover("")
    assert not is_leftover("ok }")


@pytest.mark.parametrize("form", ["```json\n{}\n```", "<tool_call>{}</tool_call>", "{}"])
def test_arguments_nested_deeper_than_anyone_reads_are_no_call(form: str) -> None:
    def call(levels: int) -> str:
        nested = "[" * levels + "]" * levels
        return form.replace("{}", f'{{"name": "now", "arguments": {{"value": {nested}}}}}')

    assert [name for name, _ in found(call(190))] == ["now"]
    assert found(call(201)) == []
    assert found(call(700)) == []


def test_a_value_in_xml_nested_too_deeply_stays_text() -> None:
    nested = "[" * 700 + "]" * 700
    text = f"<function=code_interpreter><parameter=names>{nested}</parameter></function>"
    assert found(text) == [("code_interpreter", {"names": nested})]
