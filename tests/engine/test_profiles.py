"""The launch profiles that ship, and what is said of a wrong one."""

from pathlib import Path

import pytest

from agentkit.engine import Profile, _profile_files, find_profile, read_profiles
from agentkit.errors import ConfigurationError

GOOD = """
model = "m"
why = "For a test."
licence = "none"
small = true
quantised = true
[weights]
file = "m.gguf"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_profile_files, "_SHIPPED", tmp_path)
    return tmp_path


def test_the_profiles_that_ship_are_whole_and_one_is_the_default() -> None:
    profiles = read_profiles()
    assert [profile.default for profile in profiles] == [True, *[False] * (len(profiles) - 1)]
    for profile in profiles:
        assert profile.weights.sha256
        assert profile.weights.size
        assert profile.weights.hub
        assert profile.licence == "Apache-2.0"


def test_the_readme_of_the_profiles_names_each() -> None:
    readme = (Path(__file__).parents[2] / "launch" / "README.md").read_text(encoding="utf-8")
    for profile in read_profiles():
        assert f"`{profile.name}`" in readme


def test_no_name_means_the_default_which_needs_no_hub() -> None:
    default = find_profile(None)
    assert default == read_profiles()[0]
    assert default.weights.index is not None


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'nonsense'.*qwen3-4b-gguf"):
        find_profile("nonsense")


def test_a_gguf_file_is_a_profile_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "Mine-F16.gguf").touch()
    profile = find_profile(str(tmp_path / "Mine-F16.gguf"))
    assert (profile.name, profile.quantised) == ("Mine-F16", False)
    assert profile.weights.path == tmp_path / "Mine-F16.gguf"
    with pytest.raises(ConfigurationError, match="no weights file"):
        find_profile(str(tmp_path / "other.gguf"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + 'colour = "red"', r"m\.toml, entry 'weights\.colour'"),
        (GOOD + 'sha256 = "abc"', r"entry 'weights\.sha256'"),
        (GOOD + "[engine]\nslots = 0", r"entry 'engine\.slots'"),
        (GOOD + '[weights.index]\npackage = "p"\nversion = "1"\nparts = 1', "package"),
        ("model = ", r"m\.toml cannot be read"),
        ('model = "m"', "entry 'why'"),
    ],
)
def test_a_wrong_profile_is_named_with_its_entry(folder: Path, text: str, message: str) -> None:
    (folder / "m.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        read_profiles()


def test_parts_without_a_hash_are_refused(folder: Path) -> None:
    index = '[weights.index]\npackage = "p{n}"\nversion = "1"\nparts = 1'
    (folder / "m.toml").write_text(GOOD + index, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="sha256"):
        read_profiles()


def test_profiles_are_values(folder: Path) -> None:
    (folder / "m.toml").write_text(GOOD, encoding="utf-8")
    (profile,) = read_profiles()
    assert isinstance(profile, Profile)
    assert hash(profile) == hash(find_profile("m"))
