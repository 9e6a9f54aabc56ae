"""What a docstring says about a function and its parameters."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Docs:
    """The text before the first section, and a description for each documented parameter."""

    summary: str = ""
    parameters: dict[str, str] = field(default_factory=dict[str, str])


def read_docstring(text: str) -> Docs:
    r"""Read a Google-style docstring.

    >>> read_docstring("Add.\n\nArgs:\n    a: the first").parameters
    {'a': 'the first'}
    """
    if "\n" not in text:  # nearly every tool: griffe, which takes 0.1 s to load, is not needed
        return Docs(text)
    from griffe import Docstring, DocstringSectionKind, parse_google

    summary: list[str] = []
    parameters: dict[str, str] = {}
    for section in parse_google(Docstring(text), warnings=False):
        if section.kind is DocstringSectionKind.text:
            summary.append(" ".join(str(section.value).split()))
        elif section.kind is DocstringSectionKind.parameters:
            parameters |= {item.name: " ".join(item.description.split()) for item in section.value}
    return Docs(" ".join(summary), parameters)
