"""What `sandbox-exec` of macOS is told. Experimental: no Mac has run it yet.

Apple calls the command deprecated and uses what is below it for its own programs. It refuses
files, network and signals; it does not limit memory or time.
"""

from collections.abc import Sequence

COMMAND = "/usr/bin/sandbox-exec"
"""By its path: a program of that name in the PATH would be somebody else's."""

_RULES = """\
(version 1)
(deny default)
(deny network*)
(allow process-fork)
(allow process-exec)
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow file-read-metadata)
(allow file-read* file-write-data (literal "/dev/null") (literal "/dev/zero"))
(allow file-read* (literal "/") (literal "/dev/random") (literal "/dev/urandom"))
(allow file-read*
  (subpath "/System/Library")
  (subpath "/usr/lib")
  (subpath "/usr/share/zoneinfo")
  (subpath "/private/var/db/timezone")
  (subpath "/private/var/db/dyld"))"""


def profile(read: Sequence[str], write: str) -> str:
    r"""Return a profile that denies all but Python's own needs, `read` and `write`.

    Paths have to be real ones: the rules see a path after its links are followed, and `/tmp` and
    `/var` are links there. Names and sizes of files can be seen everywhere, contents cannot.

    Args:
        read: folders that may be read, such as those of Python and its packages.
        write: the one folder that may be read and written.

    >>> print(profile(["/opt/py"], "/private/tmp/a").splitlines()[-2])
    (allow file-read* (subpath "/opt/py"))

    Raises:
        ValueError: a path is not absolute, or has a character that no rule can carry.
    """
    rules = [f"(allow file-read* (subpath {_quote(path)}))" for path in read]
    rules.append(f"(allow file-read* file-write* (subpath {_quote(write)}))")
    return "\n".join([_RULES, *rules])


def command(text: str, argv: Sequence[str]) -> list[str]:
    """Return the command that runs another one under a profile.

    >>> command("(version 1)", ["python3", "-p"])
    ['/usr/bin/sandbox-exec', '-p', '(version 1)', 'python3', '-p']
    """
    return [COMMAND, "-p", text, *argv]


def _quote(path: str) -> str:
    """Return a path as a string of the profile's language, which is a Scheme."""
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path.")
    if any(character < " " or character == "\x7f" for character in path):
        raise ValueError(f"{path!r} has a control character, which no rule can carry.")
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
