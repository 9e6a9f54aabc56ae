"""The text of a macOS profile: what it denies, and paths that could break out of their quotes."""

import pytest

from agentkit.sandbox._seatbelt import command, profile


def test_everything_is_denied_first_and_the_network_by_name() -> None:
    lines = profile(["/opt/python"], "/private/tmp/work").splitlines()
    assert lines[:3] == ["(version 1)", "(deny default)", "(deny network*)"]
    assert not any("allow network" in line or "allow default" in line for line in lines)


def test_only_the_folder_may_be_written() -> None:
    text = profile(["/opt/python", "/opt/packages"], "/private/tmp/work")
    writing = [line for line in text.splitlines() if "file-write*" in line]
    assert writing == ['(allow file-read* file-write* (subpath "/private/tmp/work"))']
    assert '(allow file-read* (subpath "/opt/python"))' in text
    assert '(allow file-read* (subpath "/opt/packages"))' in text
    assert '(subpath "/")' not in text
    assert "/Users" not in text


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ('/a"b', r'"/a\"b"'),
        ("/a\\b", r'"/a\\b"'),
        ('/x")) (allow default) (allow file-read* (subpath "/', None),
        ("/with space/(paren)", '"/with space/(paren)"'),
        ("/é", '"/é"'),
        ("/a\\", r'"/a\\"'),
    ],
)
def test_a_path_stays_inside_its_quotes(path: str, quoted: str | None) -> None:
    text = profile([path], "/private/tmp/work")
    (line,) = text.splitlines()[-2:-1]
    if quoted is not None:
        assert line == f"(allow file-read* (subpath {quoted}))"
    assert _strings_of(line) == [path]
    assert line.endswith('"))')


@pytest.mark.parametrize("path", ["", "relative", "/a\nb", "/a\0b", "/a\x7f"])
def test_a_path_that_no_rule_can_carry_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"absolute path|control character"):
        profile([path], "/private/tmp/work")
    with pytest.raises(ValueError, match=r"absolute path|control character"):
        profile([], path)


def test_parentheses_outside_of_strings_are_balanced() -> None:
    text = profile(['/odd")("', "/x)"], "/private/tmp/work")
    outside = _outside_of_strings(text)
    assert outside.count("(") == outside.count(")")


def test_the_command_is_the_system_s_own_and_hands_on_its_arguments() -> None:
    text = profile([], "/private/tmp/work")
    assert command(text, ["/opt/python", "-I", "x y"]) == [
        "/usr/bin/sandbox-exec",
        "-p",
        text,
        "/opt/python",
        "-I",
        "x y",
    ]


def _strings_of(line: str) -> list[str]:
    """Read the strings of a line as a Scheme reader does."""
    found: list[str] = []
    characters = iter(line)
    for character in characters:
        if character != '"':
            continue
        text = ""
        for inner in characters:
            if inner == '"':
                break
            text += next(characters) if inner == "\\" else inner
        found.append(text)
    return found


def _outside_of_strings(text: str) -> str:
    outside = ""
    characters = iter(text)
    for character in characters:
        if character != '"':
            outside += character
            continue
        for inner in characters:
            if inner == '"':
                break
            if inner == "\\":
                next(characters)
    return outside
