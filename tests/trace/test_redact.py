import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.trace import MASK, Redactor, secrets_in
from agentkit.trace._redact import without_secrets


@pytest.mark.parametrize(
    "text",
    [
        "Bearer in mind that it rains",
        "the ring bearer authentication scheme",
        "a task-oriented, risk-averse desk-bound clerk",
        "http://localhost:8000/v1 or mail ada@example.org",
        "self_hosted models",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert Redactor()(text) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abc123def", f"Authorization: Bearer {MASK}"),
        ("key=sk-proj-abcdefgh1234", f"key={MASK}"),
        ("hf_abcdefghijklmnopqrst", MASK),
        ("postgres://ada:pw@db/x", f"postgres://{MASK}@db/x"),
        ("https://ghp_aaaaaaaaaaaaaaaaaaaa@github.com", f"https://{MASK}@github.com"),
    ],
)
def test_secrets_known_by_their_shape_are_masked(text: str, clean: str) -> None:
    assert Redactor()(text) == clean


def test_variables_count_as_secret_by_name() -> None:
    environment = {
        "OPENAI_API_KEY": "a1b2c3d4",
        "DB_PASSWORD": "swordfish",
        "KEYBOARD": "us-intl",
        "PWD": "/home/ada",
        "TOKENIZERS_PARALLELISM": "disabled",
    }
    assert secrets_in(environment) == ("a1b2c3d4", "swordfish")


def test_short_harmless_and_path_values_hide_nothing() -> None:
    text = "none of EMPTY or /run/agent.sock or default is hidden"
    assert Redactor(["none", "EMPTY", "/run/agent.sock", "default"])(text) == text


def test_arguments_without_secrets_are_handed_on_as_they_are() -> None:
    arguments = {"zone": "Asia/Tokyo", "max_tokens": 5}
    assert without_secrets(arguments) is arguments


def test_secret_arguments_are_masked_at_any_depth() -> None:
    given_arguments = {"logins": [{"api-key": "k"}, {"access_token": "t"}], "page": 3}
    assert without_secrets(given_arguments) == {
        "logins": [{"api-key": MASK}, {"access_token": MASK}],
        "page": 3,
    }


@given(st.text(min_size=6), st.text())
def test_a_given_secret_is_never_found_again(secret: str, text: str) -> None:
    redact = Redactor([secret])
    if redact(secret) != secret:  # else it is too ordinary to hide
        assert secret not in redact(f"{text}{secret}{text}").replace(MASK, "")


def test_no_depth_of_arguments_is_too_much() -> None:
    value: list[object] = [{"password": "enigma"}]
    for _ in range(5000):
        value = [value]
    assert "enigma" not in repr(without_secrets({"value": value}))
