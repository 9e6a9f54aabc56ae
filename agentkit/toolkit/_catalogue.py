"""More tools than a prompt should hold: the model finds those it needs by what they do."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import log

from agentkit.messages import Message, ModelTurn, ToolSpec
from agentkit.protocols import Tool
from agentkit.toolkit._function import FunctionTool

_FOUND_AT_ONCE = 8
_NAMES_SHOWN = 40
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]")
_IN_NAME = 3.0
_SHORTEST_STEM = 4
_CHARS_A_TOKEN = 4


def schema_tokens(specs: Iterable[ToolSpec]) -> int:
    """Return about how many tokens of a prompt the model is told of tools.

    >>> schema_tokens([ToolSpec("now", "Tell the time.", {"type": "object"})])
    8
    """
    told = (
        len(spec.name)
        + len(spec.description)
        + len(json.dumps(spec.parameters, ensure_ascii=False))
        for spec in specs
    )
    return sum(told) // _CHARS_A_TOKEN


class Catalogue:
    """The tools of a run that are not in its prompt until the model has found them.

    Args:
        tools: all that may be found.
        transcript: what was called before is found already.
    """

    def __init__(self, tools: Sequence[Tool], transcript: Iterable[Message] = ()) -> None:
        self._specs = {tool.spec.name: tool.spec for tool in tools}
        self._found: dict[str, ToolSpec] = {}
        for entry in transcript:
            if isinstance(entry, ModelTurn):
                for call in entry.tool_calls:
                    self.open(call.name)

    @property
    def found(self) -> tuple[ToolSpec, ...]:
        """What has been found so far, in the order in which it was."""
        return tuple(self._found.values())

    def open(self, name: str) -> None:
        """Take note that a tool is wanted; without effect on any other name."""
        if name in self._specs:
            self._found.setdefault(name, self._specs[name])

    @cached_property
    def tool(self) -> FunctionTool:
        """What the model searches with."""
        names = ", ".join(list(self._specs)[:_NAMES_SHOWN])
        more = len(self._specs) - _NAMES_SHOWN
        return FunctionTool(
            self.search_tools,
            effect="pure",
            open_world=False,
            description=f"Find tools by what they do: there are {len(self._specs)} more than are "
            f"shown here ({names}{f' and {more} others' if more > 0 else ''}). What is found can "
            "be called from then on.",
        )

    async def search_tools(self, query: str) -> str:
        """Find tools.

        Args:
            query: what is to be done, in a few words, or the name of a tool
        """
        best = rank(query, self._specs)[:_FOUND_AT_ONCE]
        if not best:
            return f"Nothing fits {query!r}. There are: {', '.join(self._specs)}."
        for name in best:
            self.open(name)
        lines = (f"- {name}: {_first_sentence(self._specs[name].description)}" for name in best)
        return "These can be called now:\n" + "\n".join(lines)


def rank(query: str, specs: Mapping[str, ToolSpec]) -> list[str]:
    """Return the names of what fits a query, best first; rare words count more.

    >>> weather = ToolSpec("get_forecast", "Tell the weather of a city.", {})
    >>> rank("weather in Paris", {"get_forecast": weather, "add": ToolSpec("add", "Add.", {})})
    ['get_forecast']
    """
    names = {name: frozenset(_words(name)) for name in specs}
    texts = {name: frozenset(_words(_told(spec))) | names[name] for name, spec in specs.items()}
    spread = Counter(word for words in texts.values() for word in words)
    wanted = dict.fromkeys(_words(query))

    def score(name: str) -> float:
        return sum(
            log(1 + len(specs) / spread[word]) * (_IN_NAME if word in names[name] else 1.0)
            for word in wanted
            if word in texts[name]
        )

    scores = {name: 1e9 if name == query.strip() else score(name) for name in specs}
    return sorted((name for name in scores if scores[name] > 0), key=lambda n: (-scores[n], n))


def _told(spec: ToolSpec) -> str:
    properties: Mapping[str, object] = spec.parameters.get("properties") or {}
    return " ".join((spec.description, *properties))


def _words(text: str) -> list[str]:
    """Return the words of a text, bare of the endings that tell little.

    >>> _words("getForecasts of cities, 天气")
    ['get', 'forecast', 'of', 'citi', '天', '气']
    """
    return [_stem(found.lower()) for found in _WORD.findall(text)]


def _stem(word: str) -> str:
    for ending in ("ies", "ing", "es", "ed", "y", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM - 1:
            return word[: -len(ending)] + ("i" if ending in {"ies", "y"} else "")
    return word


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s|\n", text, maxsplit=1)[0][:200]
