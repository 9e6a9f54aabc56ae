"""Promises about the shape of the package that no single module can keep."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import agentkit
from agentkit import errors

ROOT = Path(__file__).parents[2]


FACADE = """
Agent AgentkitError CallFinished CallStarted Conversation Event Limits ModelTurn
NoticeGiven PlanMade Policy Result Retry RetryScheduled Run RunEnded RunStarted Runtime
Settings StepStarted SystemMessage TextDelta TextReplaced ThinkingDelta Timeouts ToolCall ToolError
ToolResult Usage UsageReported UserMessage read_settings tool
"""
"""Every public name. One that goes breaks somebody's program: see the changelog first."""


def test_the_facade_is_sorted_complete_and_pinned() -> None:
    names = agentkit.__all__
    assert names == sorted(names)
    assert names == FACADE.split()
    assert all(getattr(agentkit, name) is not None for name in names)
    assert dir(agentkit) == names


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Agnt'"):
        _ = agentkit.Agnt


def test_the_drawing_of_the_errors_is_the_tree() -> None:
    drawn: list[tuple[str, str]] = []
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if "Error" not in line or not line.lstrip("│├└─ ").startswith(
            tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        ):
            continue
        indent, name = line.index(line.lstrip("│├└─ ")[0]), line.lstrip("│├└─ ").split()[0]
        if not name.endswith("Error"):
            continue
        path[indent // 4 :] = [name]
        drawn.append((name, path[-2] if len(path) > 1 else "Exception"))
    real = [
        (name, kind.__mro__[1].__name__)
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Exception)
    ]
    assert sorted(drawn) == sorted(real)


@pytest.mark.parametrize("imported", ["agentkit", "agentkit.cli", "agentkit.agent"])
def test_importing_loads_neither_openai_nor_mcp(imported: str) -> None:
    code = f"import sys, {imported}; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"openai", "mcp", "httpx2", "aiohttp", "griffe", "xllamacpp"} & set(loaded)


def test_every_package_of_the_wheel_has_its_marker() -> None:
    assert (ROOT / "agentkit" / "py.typed").exists()
    assert (ROOT / "tools" / "agentkit_tools" / "py.typed").exists()


def test_the_lock_names_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


def test_modules_stay_small() -> None:
    sizes = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("agentkit", "tools")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert not {str(path): size for path, size in sizes.items() if size > 400}


def test_every_module_says_what_it_is_for() -> None:
    bare = [
        str(path)
        for folder in ("agentkit", "tools")
        for path in (ROOT / folder).rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not bare
