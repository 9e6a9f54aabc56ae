"""What a server inherits of our environment, and what is a secret, there and in its settings."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from urllib.parse import unquote

_NAMES = frozenset(
    (
        *(
            "HOME",
            "LOGNAME",
            "USER",
            "SHELL",
            "TERM",
            "PATH",
            "LANG",
            "LANGUAGE",
            "TZ",
            "TMPDIR",
            "TEMP",
            "TMP",
        ),
        *(
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "NODE_EXTRA_CA_CERTS",
        ),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "LD_LIBRARY_PATH"),
        *(
            "APPDATA",
            "LOCALAPPDATA",
            "HOMEDRIVE",
            "HOMEPATH",
            "USERNAME",
            "USERPROFILE",
            "PATHEXT",
            "PROGRAMDATA",
        ),
        *("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"),
        *("XDG_RUNTIME_DIR", "XDG_CONFIG_DIRS", "XDG_DATA_DIRS"),
        *("PROCESSOR_ARCHITECTURE", "SYSTEMDRIVE", "SYSTEMROOT", "COMSPEC"),
    )
)
_PREFIXES = ("LC_", "UV_", "PIP_", "NPM_CONFIG_")
_BETWEEN_WORDS = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_SECRET = re.compile(
    r"token(?!i[sz])|secret|passw|passphrase|credential|authori[sz]ation"
    r"|(?:api|access|private|auth)_?key"
    r"|(?:^|_)(?:pass|pat|key|auth|cookie|dsn|private|jwt|bearer)(?:s|\d+)?(?:_|$)|(?<=.)_pwd$",
    re.IGNORECASE,
)
_USERINFO = re.compile(
    # What is not a port after `:` is a password, even one with a slash that should be `%2F`.
    r"(?<=://)(?P<user>[^\s/?#:\[]*)"
    r"(?::(?P<password>[^\s/?#]*|(?!\d*(?:[/?#\s,]|$))\S{0,256}?))?@"
)
_BARE_USERINFO = re.compile(r"\A\S*@")
_OF_QUERY = re.compile(r"[?&#]([^=?&#\s]+)=([^&#\s]+)")
_NAMED = re.compile(r"(-*[\w.-]+)(?:=|: *)(.+)", re.DOTALL)
_KNOWN_SHAPE = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-|gh[opsur]_|github_pat_|glpat-|hf_|xox[abps]-)(?=[\w-]{0,99}\d)[\w-]{16,}",
    re.ASCII,
)


def is_secret_name(name: str) -> bool:
    """Say whether a variable, header or option of this name holds a secret.

    >>> [is_secret_name(name) for name in ("OPENAI_API_KEY", "--authToken", "PATH", "KEYBOARD")]
    [True, True, False, False]
    """
    return _SECRET.search(_BETWEEN_WORDS.sub("_", name)) is not None


def child_environment(environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return what a server is started with: the harmless part of `environ`, and `extra`.

    Without certificates and proxies a server that installs itself fails in ways that are hard
    to read; without keys it cannot leak what it was never meant to have. An address is handed on
    without user and password: a proxy or an index that needs them is given in `extra`, whole.

    >>> child_environment({"PATH": "/bin", "HF_TOKEN": "x", "UV_CACHE_DIR": "/c"}, {"A": "1"})
    {'PATH': '/bin', 'UV_CACHE_DIR': '/c', 'A': '1'}
    >>> child_environment({"HTTPS_PROXY": "http://me:pw@proxy:8080"}, {})
    {'HTTPS_PROXY': 'http://proxy:8080'}
    """
    inherited = {name: handed_on(name, environ[name]) for name in environ if is_inherited(name)}
    return {**inherited, **extra}


def is_inherited(name: str) -> bool:
    """Say whether a variable of our environment is handed on."""
    upper = name.upper()
    return (upper in _NAMES or upper.startswith(_PREFIXES)) and not is_secret_name(name)


def handed_on(name: str, value: str) -> str:
    """Return what is handed on of the value of a variable: addresses lose user and password.

    >>> handed_on("UV_INDEX", "a=https://me:pw@a/simple https://b/simple")
    'a=https://a/simple https://b/simple'
    """
    if as_address(name, value) != value:
        return _BARE_USERINFO.sub("", value, count=1)
    return _USERINFO.sub("", value)


def as_address(name: str, value: str) -> str:
    """Return the value of a variable, the address of a proxy in full.

    >>> as_address("HTTPS_PROXY", "me:pw@proxy:80"), as_address("LANG", "C")
    ('http://me:pw@proxy:80', 'C')
    """
    return f"http://{value}" if "PROXY" in name.upper() and "://" not in value else value


def secrets_in(text: str) -> set[str]:
    """Return what is secret in any text by its shape.

    That is the password of an address, its user where there is no password, secret parameters of
    its query, and tokens of well-known services.

    >>> sorted(secrets_in("postgres://me:pw@db/x?sslmode=off&apikey=k"))
    ['k', 'pw']
    """
    found = set(_KNOWN_SHAPE.findall(text))
    found |= {value for name, value in query_of(text) if is_secret_name(name)}
    found |= {password for one in _USERINFO.finditer(text) if (password := _password(text, one))}
    return found | {unquote(value) for value in found}


def query_of(text: str) -> list[tuple[str, str]]:
    """Return the parameters of the addresses in `text`."""
    return _OF_QUERY.findall(text)


def password_of(url: str) -> str:
    """Return the password of an address, or the token in its place; empty if there is none.

    >>> [password_of(url) for url in ("http://me:pw@h/a", "https://token@h", "http://h:80/a@b")]
    ['pw', 'token', '']
    """
    found = _USERINFO.search(url)
    return _password(url, found) if found else ""


def named_in_args(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what has a name in the arguments of a program, with its name.

    >>> list(named_in_args(["-v", "--token", "a", "--key=b", "-e", "PAT=c"]))
    [('--token', 'a'), ('--key', 'b'), ('-e', 'PAT=c'), ('PAT', 'c')]
    >>> list(named_in_args(["--header=Authorization: d"]))
    [('--header', 'Authorization: d'), ('Authorization', 'd')]
    """
    for one, after in pairwise([*args, ""]):
        if found := _NAMED.fullmatch(one):
            yield found[1], found[2]
            if inner := _NAMED.fullmatch(found[2]):
                yield inner[1], inner[2]
        elif _is_option(one) and after and not after.startswith("-"):
            yield one, after


def _is_option(text: str) -> bool:
    return text.startswith("-") and not text.startswith("--no-")  # that takes no value


def _password(text: str, found: re.Match[str]) -> str:
    if found["password"]:
        return found["password"]
    # A user alone is a token where the web is spoken, and a mere name elsewhere.
    is_web = text.endswith(("http://", "https://"), 0, found.start())
    return found["user"] if is_web else ""
