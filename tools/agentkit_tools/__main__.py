"""Serves built-in tools to any MCP client: `python -m agentkit_tools clock fetch`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from agentkit.protocols import Tool

NAMES = ("clock", "fetch", "code_interpreter")

_USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the client closes the connection; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m agentkit_tools",
        description="Serve built-in tools over MCP, on stdin and stdout unless --http is given.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}, or all")
    parser.add_argument(
        "--http",
        type=int,
        metavar="PORT",
        help="serve streamable HTTP on 127.0.0.1 (0 takes a free port); there, code_interpreter "
        "keeps no variables between calls, because its clients share the server",
    )
    options = parser.parse_args(arguments)
    names: list[str] = list(NAMES) if options.names == ["all"] else options.names
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        wrong = f"No tool named {unknown[0]!r}." if unknown else "Which tool?"
        return _refuse(f"{wrong} Known tools: {', '.join(NAMES)}, or all of them with: all")
    if options.http is not None and not 0 <= options.http < 65536:
        return _refuse(f"Port {options.http} does not exist.")
    tools = load(names)
    from agentkit_tools import _serve  # the MCP SDK takes half a second to load

    return _serve.serve(tools, options.http)


def load(names: Sequence[str]) -> tuple[Tool, ...]:
    """Return the tools of the named modules, in order, each once."""
    modules = [import_module(f"agentkit_tools.{name}") for name in dict.fromkeys(names)]
    return tuple(tool for module in modules for tool in module.TOOLS)


def _refuse(message: str) -> int:
    sys.stderr.write(f"agentkit_tools: {message}\n")
    return _USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())
