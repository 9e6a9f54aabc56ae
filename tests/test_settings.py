from pathlib import Path

import pytest

from agentkit.errors import ConfigurationError
from agentkit.settings import read_settings


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_arguments_win_over_environment_over_folder_over_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tmp_path / "config" / "agentkit"
    user.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (user / "config.toml").write_text('model = "user"\n', encoding="utf-8")
    assert read_settings().model == "user"
    Path("agentkit.toml").write_text('model = "folder"\n[limits]\nsteps = 3\n', encoding="utf-8")
    assert read_settings().model == "folder"
    monkeypatch.setenv("AGENTKIT_MODEL", "environment")
    assert read_settings().model == "environment"
    assert read_settings(model="argument").model == "argument"
    assert read_settings().limits.steps == 3


def test_thinking_is_set_for_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_THINKING", '{"plan": true, "check": "auto"}')
    assert read_settings().thinking == {"plan": True, "check": "auto"}
    monkeypatch.setenv("AGENTKIT_THINKING", '{"plam": true}')
    with pytest.raises(
        ConfigurationError, match=r"'thinking' \(AGENTKIT_THINKING\): must be 'auto'"
    ):
        read_settings()
    monkeypatch.setenv("AGENTKIT_THINKING", "false")
    assert read_settings().thinking is False


def test_what_is_not_given_does_not_win() -> None:
    assert read_settings(engine=None).engine == "auto"


def test_a_wrong_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_LIMITS__STEPS", "many")
    with pytest.raises(ConfigurationError, match=r"'limits.steps' \(AGENTKIT_LIMITS__STEPS\)"):
        read_settings()


def test_an_unknown_key_of_a_file_is_an_error() -> None:
    Path("agentkit.toml").write_text('modle = "x"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="'modle'"):
        read_settings()


def test_a_malformed_file_is_a_clear_error() -> None:
    Path("agentkit.toml").write_text("model = \n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"agentkit\.toml cannot be read: .*line 1"):
        read_settings()


def test_the_key_is_not_shown() -> None:
    assert "hunter2" not in repr(read_settings(api_key="hunter2"))


def test_tools_are_a_list_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_TOOLS", "clock, fetch")
    assert read_settings().tools == ("clock", "fetch")


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("AGENTKIT_PLAN", "maybe", r"'plan' \(AGENTKIT_PLAN\): must be 'auto', true or false\."),
        ("AGENTKIT_SMALL_MODEL", "yes?", r"AGENTKIT_SMALL_MODEL\): must be true or false\."),
        ("AGENTKIT_SAMPLING", "cold", "AGENTKIT_SAMPLING is not valid JSON"),
        ("AGENTKIT_LIMITS__STEP", "3", "AGENTKIT_LIMITS__STEP is no setting"),
        ("AGENTKIT_LIMITS_STEPS", "3", "AGENTKIT_LIMITS_STEPS is no setting"),
        ("AGENTKIT_MODLE", "x", "AGENTKIT_MODLE is no setting"),
        ("AGENTKIT_LIMIT__STEPS", "3", "AGENTKIT_LIMIT__STEPS is no setting"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named_with_what_would(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=told) as caught:
        read_settings()
    assert caught.value.hint


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AGENTKIT_BASE_URL", ""),
        ("AGENTKIT_FETCH_ALLOW", "wiki"),
        ("AGENTKIT_FETCH_DENY", "wiki"),
        ("AGENTKIT_FETCH_ONLY", "wiki"),
        ("AGENTKIT_FETCH_PROXY", "http://wiki"),
        ("AGENTKIT_FETCH_ROBOTS", "never"),
        ("AGENTKIT_COLOUR", "teal"),
    ],
)
def test_an_empty_variable_and_one_of_somebody_else_mean_nothing(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert read_settings().base_url is None


def test_an_empty_text_of_a_file_means_unset_and_an_empty_list_of_tools_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("agentkit.toml").write_text('base_url = ""\n', encoding="utf-8")
    assert read_settings().base_url is None
    assert read_settings().tools is None
    monkeypatch.setenv("AGENTKIT_TOOLS", "")
    assert read_settings().tools == ()
