"""What a sandbox holds and what it does not, as a value that can be shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxReport:
    """What holds a session, and what does not.

    Attributes:
        level: "process", "confined", "namespaced", "vm" or "monty".
        engine: what does the holding, with its version, such as "bubblewrap 0.8.0" or
            "Landlock ABI 7".
        enforced: short phrases, in a fixed order.
        not_enforced: short phrases, in a fixed order.
    """

    level: str
    engine: str = ""
    enforced: tuple[str, ...] = ()
    not_enforced: tuple[str, ...] = ()
