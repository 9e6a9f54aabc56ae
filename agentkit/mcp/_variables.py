"""`${VAR}`, `${VAR:-default}` and `${env:VAR}` in the texts of a configuration."""

import re
from collections.abc import Mapping

from agentkit.mcp._environment import as_address, handed_on, is_inherited, secrets_in

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_CONTENT = re.compile(r"(?:env:)?(?P<name>[A-Za-z_]\w*)(?::-(?P<default>.*))?", re.DOTALL)
SHORTEST_SECRET = 6
"""A shorter value would be found inside ordinary words."""


class UnsetVariableError(Exception):
    """A reference has no value; the message names the reference, never a value."""


class Variables:
    """Expands references in one pass and remembers the values that must never be shown."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.secrets: set[str] = set()

    def expand(self, text: str) -> str:
        """Return `text` with its references replaced; what they bring in is not expanded again.

        Raises:
            UnsetVariableError: a variable without a value and without a default.

        >>> Variables({"A": "${B}"}).expand("${A} ${C:-c} $A")
        '${B} c $A'
        """
        return _REFERENCE.sub(self._value, text)

    def _value(self, reference: re.Match[str]) -> str:
        content = _CONTENT.fullmatch(reference[1])
        if content is None:
            raise UnsetVariableError(f"{reference[0]} is not a reference to a variable")
        value = self._environ.get(content["name"])
        default: str | None = content["default"]
        if default is not None and not value:
            return default
        if value is None:
            raise UnsetVariableError(f"the variable {content['name']} is not set")
        self.secrets |= secrets_in(as_address(content["name"], value))
        if len(value) >= SHORTEST_SECRET and not _is_open(content["name"], value):
            self.secrets.add(value)
        return value


def _is_open(name: str, value: str) -> bool:
    """Say whether every server has the value anyway, as it is."""
    return is_inherited(name) and handed_on(name, value) == value
