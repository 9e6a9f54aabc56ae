"""`agentkit version`: what is installed."""

import platform

from agentkit.cli._terminal import ending, say


def version() -> None:
    """Print the versions of agentkit and Python."""
    with ending():
        from importlib.metadata import version as version_of

        say(f"agentkit {version_of('qwen-agentkit')} (Python {platform.python_version()})")
