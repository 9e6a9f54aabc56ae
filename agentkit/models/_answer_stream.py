"""Shows the answer inside `{"answer": "…"}` while the object is still being written."""

import re
from json import JSONDecoder

_STRING = JSONDecoder(strict=False)
_HEX = "[0-9a-fA-F]"
_HEAD = re.compile(r'\s*\{\s*"answer"\s*:\s*"')
_HEAD_BEGUN = re.compile(r'\s*(\{\s*("(a(n(s(w(e(r("\s*(:\s*)?)?)?)?)?)?)?)?)?)?\Z')
_WHOLE = re.compile(  # as much of a JSON string as can be decoded without what follows
    rf"""(?:[^"\\]|\\["\\/bfnrt]
    |\\u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}
    |\\u[dD][89abAB]{_HEX}{{2}}(?=[^\\]|\\[^u]|\\u[^dD]|\\u[dD][^c-fC-F])
    |\\u(?![dD][89abAB]){_HEX}{{4}})*""",
    re.VERBOSE,
)


class AnswerStream:
    """Takes pieces of JSON text, gives back what of the answer they bring.

    Text that is no JSON object passes as it is: a server may ignore the schema.
    """

    def __init__(self) -> None:
        self._state = "head"
        self._held = ""

    def feed(self, piece: str) -> str:
        r"""Return the next piece of the answer, decoded.

        >>> stream = AnswerStream()
        >>> [stream.feed(piece) for piece in ('{"ans', 'wer": "a\\', 'nb', '"}')]
        ['', 'a', '\nb', '']
        """
        if self._state == "raw":
            return piece
        if self._state == "mute":
            return ""
        self._held += piece
        if self._state == "head" and not self._past_head():
            return ""
        if self._state == "raw":
            text, self._held = self._held, ""
            return text
        return self._decode()

    def _past_head(self) -> bool:
        found = _HEAD.match(self._held)
        if found is not None:
            self._state = "inside"
            self._held = self._held[found.end() :]
            return True
        if _HEAD_BEGUN.match(self._held):
            return False
        self._state = "mute" if self._held.lstrip().startswith("{") else "raw"
        return self._state == "raw"

    def _decode(self) -> str:
        found = _WHOLE.match(self._held)
        ready = found[0] if found is not None else ""
        self._held = self._held[len(ready) :]
        if self._held.startswith('"'):
            self._state = "mute"
        text = _STRING.decode(f'"{ready}"') if ready else ""
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
