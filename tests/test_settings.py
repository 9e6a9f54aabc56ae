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
    with pytest.raises(ConfigurationError, match="thinking"):
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
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_settings()


def test_the_key_is_not_shown() -> None:
    assert "hunter2" not in repr(read_settings(api_key="hunter2"))


def test_tools_are_a_list_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_TOOLS", "clock, fetch")
    assert read_settings().tools == ("clock", "fetch")
