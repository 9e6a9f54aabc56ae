"""Options that several commands share, and the settings they make."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from agentkit.errors import ConfigurationError, InvalidTaskError

if TYPE_CHECKING:
    from agentkit.policies import Policy
    from agentkit.settings import Settings

BaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Model server that speaks the OpenAI protocol; its key is AGENTKIT_API_KEY.",
        metavar="URL",
    ),
]
ModelName: TypeAlias = Annotated[
    str | None,
    typer.Option("--model", help="Model as the server names it."),
]
Weights: TypeAlias = Annotated[
    str | None,
    typer.Option(help="GGUF file, or a name of `agentkit models list`."),
]
Engine: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Where the model runs: auto, embedded, url, or a name of `agentkit server profiles`.",
        metavar="ENGINE",
    ),
]
Thinking: TypeAlias = Annotated[
    bool | None,
    typer.Option("--thinking/--no-thinking", help="Let the model think first, or not."),
]
Plan: TypeAlias = Annotated[
    bool | None, typer.Option("--plan/--no-plan", help="Write a plan first, or not.")
]
ToolCalls: TypeAlias = Annotated[
    Literal["native", "guided", "auto"] | None,
    typer.Option(help="How calls are asked for."),
]
McpFile: TypeAlias = Annotated[
    Path | None, typer.Option("--mcp", help="MCP server file.", metavar="FILE")
]
NoMcp: TypeAlias = Annotated[bool, typer.Option("--no-mcp", help="Start no MCP servers.")]
MaxSteps: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Most model calls of a run.", metavar="N")
]
Timeout: TypeAlias = Annotated[
    float | None, typer.Option(min=0.001, help="Most seconds of a run.", metavar="SECONDS")
]
Instructions: TypeAlias = Annotated[
    str, typer.Option(help="Standing orders for the model.", metavar="TEXT")
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", help="Make every call that wants approval.")]
Images: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--image", help="A picture for a model that sees; may be repeated.", metavar="FILE"
    ),
]
Output: TypeAlias = Annotated[
    Literal["text", "json", "jsonl"],
    typer.Option(help="Answer alone, one JSON object, or events as they happen."),
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show nothing but the answer and errors.")
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show thinking, whole results, tracebacks.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the command line says about model, tools and limits; the rest is settings."""

    base_url: str | None = None
    model: str | None = None
    weights: str | None = None
    engine: str | None = None
    tool_calls: str | None = None
    thinking: bool | None = None
    plan: bool | None = None
    mcp: Path | None = None
    with_mcp: bool = True
    tools: tuple[str, ...] | None = None
    trace: bool | None = None
    max_steps: int | None = None
    timeout: float | None = None

    def settings(self) -> "Settings":
        """Return the settings.

        Raises:
            InvalidTaskError: what the command line names is not there, or makes no sense.
            ConfigurationError: a value of the settings is wrong.
        """
        from agentkit.settings import read_settings

        self._check()
        engine = self.engine
        if engine is None and self.base_url is not None:
            engine = "url"  # the command line wins over an engine that a file names
        if engine is None and self.weights is not None:
            engine = "embedded"
        return read_settings(
            base_url=self.base_url,
            model=self.model,
            weights=self.weights,
            engine=engine,
            tool_calls=self.tool_calls,
            thinking=self.thinking,
            plan=self.plan,
            mcp_servers=self.mcp,
            tools=self.tools,
            trace=self.trace,
        )

    def _check(self) -> None:
        """Look at names on the command line: settings with such a value are another error."""
        if self.mcp is not None and not self.mcp.is_file():
            raise InvalidTaskError(f"--mcp: there is no file {self.mcp}.", hint="Name one that is.")
        try:
            if self.engine not in {None, "auto", "embedded", "url"}:
                from agentkit.engine import find_engine

                find_engine(str(self.engine))
            elif self.weights is not None:
                from agentkit.engine import find_profile

                find_profile(self.weights)
            if self.base_url is not None:
                from agentkit.models import check_base_url

                for url in self.base_url.split(","):
                    check_base_url(url.strip())
        except ConfigurationError as error:
            raise InvalidTaskError(str(error), hint=error.hint) from error

    def policy(self, settings: "Settings") -> "Policy":
        """Return the settings' policy with the limits of the command line."""
        policy = settings.policy
        if self.max_steps is not None:
            policy = replace(policy, limits=replace(policy.limits, steps=self.max_steps))
        if self.timeout is not None:
            policy = replace(policy, timeouts=replace(policy.timeouts, run=self.timeout))
        return policy
