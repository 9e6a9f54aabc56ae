"""The pages about how it is built name what is there, and all of it."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import BaseModel

from agentkit.engine import Profile, ServerProfile

ROOT = Path(__file__).parents[2]
PAGES = (
    "docs/architecture.md",
    "AGENTS.md",
    "CHANGELOG.md",
    "README.md",
    "README.zh-CN.md",
    "launch/README.md",
)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_every_path_and_module_of_a_page_exists(page: str) -> None:
    text = read(page)
    paths = re.findall(
        r"`((?:agentkit|tools|tests|docs|examples|launch|bench|\.ci)/[\w./-]*)`", text
    )
    assert not [path for path in paths if not (ROOT / path).exists()]
    groups = {"agentkit.tools"}  # the entry-point group, which is no module
    modules = set(re.findall(r"\b(agentkit(?:\.[a-z_]+)+)", text)) - groups
    missing = {name for name in modules if not is_module_or_attribute(name)}
    assert not missing - {"agentkit.toml"}


def is_module_or_attribute(name: str) -> bool:
    parent, _, last = name.rpartition(".")
    if find_spec(parent) is None:
        return False
    module = __import__(parent, fromlist=[last])
    is_package = hasattr(module, "__path__")
    return hasattr(module, last) or (is_package and find_spec(name) is not None)


def test_the_architecture_names_every_top_level_module() -> None:
    there = {
        path.stem
        for path in (ROOT / "agentkit").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
    }
    assert there == set(re.findall(r"\bagentkit\.(\w+)", read("docs/architecture.md"))) & there


def test_the_layers_are_drawn_in_the_order_of_the_contract() -> None:
    contract = read("pyproject.toml").split('id = "layers"', 1)[1].split("layers = [", 1)[1]
    layers = [set(line.split(" | ")) for line in re.findall(r'"([^"]+)"', contract.split("]")[0])]
    drawn = re.findall(r"^agentkit\.(\w+) ", read("docs/architecture.md"), re.M)
    for layer in layers:
        assert set(drawn[: len(layer)]) == layer
        drawn = drawn[len(layer) :]
    assert not drawn


@pytest.mark.parametrize(
    ("heading", "kind"), [("Model servers", ServerProfile), ("The embedded engine", Profile)]
)
def test_every_entry_of_a_profile_is_explained(heading: str, kind: type[BaseModel]) -> None:
    part = read("launch/README.md").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    explained: set[str] = set()
    for cell in re.findall(r"^\| (`[a-z\[].*?`) \|", part, re.M):
        table = re.search(r"\[([\w.]+)\] ", cell)
        prefix = f"{table[1]}." if table else ""
        explained |= {prefix + name for name in re.findall(r"`(?:\[.+?\] )?(\w+)`", cell)}
    assert explained == set(entries(kind)) - {"name"}


def entries(table: type[BaseModel], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, field in table.model_fields.items():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        found += entries(inner[0], f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
    return found


def test_every_target_of_the_makefile_that_is_named_exists() -> None:
    makefile = read("Makefile")
    for page in PAGES:
        for target in re.findall(r"`make ([a-z]+)", read(page)):
            assert re.search(rf"^{target}:", makefile, re.M), f"{page} names make {target}"


def test_every_decision_is_a_numbered_page() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
