"""Tools from typed functions, the set of tools a run has, and text on its way to a model."""

from agentkit.text import capped, defused, harmless
from agentkit.toolkit._asking import ask_first
from agentkit.toolkit._builtin import builtin_tools
from agentkit.toolkit._catalogue import Catalogue, schema_tokens
from agentkit.toolkit._function import FunctionTool, as_text, tool
from agentkit.toolkit._registry import Registry
from agentkit.toolkit._schema import compact_schema
from agentkit.toolkit._shelf import Shelf

RESERVED = (Catalogue.search_tools.__name__, Shelf.read_result.__name__)
"""Names of tools that a run brings along."""

__all__ = [
    "RESERVED",
    "Catalogue",
    "FunctionTool",
    "Registry",
    "Shelf",
    "as_text",
    "ask_first",
    "builtin_tools",
    "capped",
    "compact_schema",
    "defused",
    "harmless",
    "schema_tokens",
    "tool",
]
