"""What a server inherits of our environment: what programs need to run, and no secret."""

import re
from collections.abc import Mapping

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
        *("PROCESSOR_ARCHITECTURE", "SYSTEMDRIVE", "SYSTEMROOT", "COMSPEC"),
    )
)
_PREFIXES = ("LC_", "XDG_", "UV_", "PIP_", "NPM_CONFIG_")
_SECRET = re.compile(
    r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL|_AUTH|AUTHORI", re.IGNORECASE
)


def is_secret_name(name: str) -> bool:
    """Say whether a variable or header of this name holds a secret.

    >>> [is_secret_name(name) for name in ("OPENAI_API_KEY", "Authorization", "PATH")]
    [True, True, False]
    """
    return _SECRET.search(name) is not None


def child_environment(environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return what a server is started with: the harmless part of `environ`, and `extra`.

    Without certificates and proxies a server that installs itself fails in ways that are hard
    to read; without keys it cannot leak what it was never meant to have.

    >>> child_environment({"PATH": "/bin", "HF_TOKEN": "x", "UV_CACHE_DIR": "/c"}, {"A": "1"})
    {'PATH': '/bin', 'UV_CACHE_DIR': '/c', 'A': '1'}
    """
    inherited = {name: value for name, value in environ.items() if is_inherited(name)}
    return {**inherited, **extra}


def is_inherited(name: str) -> bool:
    """Say whether a variable of our environment is handed on."""
    upper = name.upper()
    return (upper in _NAMES or upper.startswith(_PREFIXES)) and not is_secret_name(name)
