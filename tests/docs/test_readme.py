"""What the README shows is what happens: each fenced block is run, read by its reader or compared."""

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from agentkit.cli._exit import Exit
from agentkit.engine import find_profile, find_server_profile, find_sglang, fit, gpus_of
from agentkit.mcp import config_of
from agentkit.policies import Limits, Policy, Retry, Timeouts, Traffic
from agentkit.settings import Settings, read_settings
from agentkit.testing import Answer

if TYPE_CHECKING:
    from tests.docs.conftest import Serve

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "README.zh-CN.md")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVER_URL = "http://127.0.0.1:30000/v1"

TOKYO = Answer(calls=[("clock", {"zone": "Asia/Tokyo"})])
BOTH = [{"need": "time in Tokyo", "tool": "clock"}, {"need": "6 * 7", "tool": "code_interpreter"}]

ANSWERS: dict[str, Sequence[Answer | str]] = {
    "What time is it in Tokyo?": [TOKYO, "It is morning in Tokyo."],
    "东京现在几点？": [
        TOKYO,
        "东京现在是早上。",
    ],
    "How many apples are in the shop?": [Answer(calls=[("stock", {"fruit": "apple"})]), "Three."],
    "What time is it in Tokyo, and what is 6 * 7?": [
        json.dumps({"steps": BOTH}),
        Answer(calls=[TOKYO.calls[0], ("code_interpreter", {"code": "6 * 7"})]),
        "It is morning in Tokyo, and 6 * 7 is 42.",
        json.dumps({"complete": True, "missing": ""}),
    ],
    "My name is Ada.": ["Hello, Ada."],
    "What is my name?": ["Your name is Ada."],
    "Is 221 a prime number?": [Answer(thinking="13 * 17", text="No: 13 * 17.")],
    "Summarise these notes.": ["They are about apples."],
    "What is 2 to the power of 100?": [
        Answer(calls=[("code_interpreter", {"code": "2 ** 100"})]),
        "1267650600228229401496703205376",
    ],
}
"""What the model says to each task of the pages, in the order of its requests."""

PRELUDE = """
set -euo pipefail
make() { printf '%s\\n' "make ${*@Q}" >> "$SAID"; }
pip() { printf '%s\\n' "pip ${*@Q}" >> "$SAID"; }
sglang() { printf '%s\\n' "sglang ${*@Q}" >> "$SAID"; }
agentkit() {
    case "${*:1:2}" in
        "models pull") command agentkit models info "${@:3}" > /dev/null ;;
        "server install" | "server start" | "run --engine") printf '%s\\n' "agentkit ${*@Q}" >> "$SAID" ;;
        *) command agentkit "$@" ;;
    esac
}
"""
"""What cannot run here is written down, and looked at by the test; a download becomes a look."""


@dataclass(frozen=True)
class Block:
    """One fenced block, with the output that the page shows below it."""

    page: str
    line: int
    kind: str
    text: str
    shown: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}:{self.kind}"


@dataclass(frozen=True)
class Stage:
    """Where a block is run: its folder, its model server, the answers it is to ask for."""

    folder: Path
    server: Any
    expected: int


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page; an output right below a block belongs to it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found: list[Block] = []
    end = 0
    for fence in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, fence.start()) + 1
        belongs = fence[1] == "text" and not text[end : fence.start()].strip()
        if belongs and found and found[-1].shown is None:
            found[-1] = dataclasses.replace(found[-1], shown=fence[2])
        else:
            found.append(Block(page, line, fence[1], fence[2]))
        end = fence.end()
    assert text.count("\n```") == 2 * len(re.findall(r"^```\w*$\n(?s:.*?)^```$", text, re.M))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command in the test's folder, with the commands of this environment."""

    def start(*argv: str, merged: bool = False) -> "subprocess.CompletedProcess[str]":
        search = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        return subprocess.run(
            argv,
            cwd=tmp_path,
            env={**os.environ, "PATH": search, "COLUMNS": "100", "SAID": str(tmp_path / "said")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            encoding="utf-8",
            timeout=280,  # a busy machine; alone it takes seconds
            check=False,
        )

    return start


@pytest.mark.timeout(300)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_does_what_the_page_says(
    block: Block, serve: "Serve", run: Any, tmp_path: Path
) -> None:
    asks = "def test_" not in block.text  # a test brings its own model
    text = re.sub(r"^agentkit run --engine .*$", "", block.text, flags=re.M)  # has a GPU
    asked = sorted((text.index(task), task) for task in ANSWERS if asks and f'"{task}"' in text)
    answers = [answer for _, task in asked for answer in ANSWERS[task]]
    server = serve(answers)
    checks: Mapping[str, Callable[[Block, Stage, Any], None]] = {
        "sh": check_shell,
        "console": check_console,
        "python": check_python,
        "json": check_json,
        "toml": check_toml,
    }
    assert block.kind in checks, f"no test for a block of kind {block.kind!r}"
    checks[block.kind](block, Stage(tmp_path, server, len(answers)), run)
    assert len(server.requests) == len(answers)


def check_python(block: Block, stage: Stage, run: Any) -> None:
    file = stage.folder / "test_block.py"
    file.write_text(block.text, encoding="utf-8")
    if "def test_" in block.text:
        (stage.folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        done = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file))
        assert re.search(r"^\d+ passed", done.stdout, re.M), done.stdout + done.stderr
    else:
        done = run(sys.executable, "-X", "dev", "-W", "error::SyntaxWarning", str(file))
    assert done.returncode == 0, done.stderr
    if block.shown is not None:
        assert_like(done.stdout, block.shown)


def check_shell(block: Block, stage: Stage, run: Any) -> None:
    prepare(block, stage.folder)
    text = block.text.replace(SERVER_URL, stage.server.base_url)
    done = run("bash", "-c", PRELUDE + text)
    assert done.returncode == 0, done.stdout + done.stderr
    said = stage.folder / "said"
    lines = said.read_text(encoding="utf-8").splitlines() if said.exists() else []
    for line in lines:
        check_said(shlex.split(line), stage)
    if block.shown is None:
        return
    if any(line.startswith("make") for line in lines):
        check_progress(block.shown)
    else:
        assert_like(done.stdout, block.shown)


def check_console(block: Block, stage: Stage, run: Any) -> None:
    prepare(block, stage.folder)
    for entry in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, _, shown = entry.partition("\n")
        done = run("bash", "-c", PRELUDE + command, merged=True)
        assert_like(done.stdout, shown)


def check_json(block: Block, stage: Stage, run: Any) -> None:
    del stage, run
    names = re.findall(r"\$\{(\w+)\}", block.text)
    config = config_of(json.loads(block.text), dict.fromkeys(names, "0123456789"))
    assert config.servers
    assert (config.problems, config.warnings) == ((), ())


def check_toml(block: Block, stage: Stage, run: Any) -> None:
    (stage.folder / "agentkit.toml").write_text(block.text, encoding="utf-8")
    code = (
        "from agentkit import read_settings; print(read_settings() != read_settings(trace=False))"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "# agentkit.toml" in block.text


def prepare(block: Block, folder: Path) -> None:
    """Lay out what a command of the block looks for in its folder."""
    if "agentkit mcp" in block.text:
        servers = (ROOT / "mcp_servers.json").read_text(encoding="utf-8")
        (folder / "mcp_servers.json").write_text(servers, encoding="utf-8")
    (folder / "notes.txt").write_text("Three apples, no pears.\n", encoding="utf-8")


def check_said(words: list[str], stage: Stage) -> None:
    """Look at a command that was not run: would it do what the page says?"""
    match words:
        case ["make", target, *variables]:
            assert re.search(rf"\bmake {target}$", ci(), re.M), f"CI does not run make {target}"
            plan = ["make", "-n", "-C", str(ROOT), target, *variables]
            done = subprocess.run(plan, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert all(value.partition("=")[2] in done.stdout for value in variables)
        case ["pip", "install", *requirements]:
            check_requirements(requirements)
        case ["sglang", "serve", model, *flags]:
            with urlopen(f"{stage.server.url}/model_info") as answer:
                info = json.load(answer)
            given = dict(pairwise(flags))
            assert "Qwen3" in model
            assert given["--tool-call-parser"] == info["tool_call_parser"] == "qwen"
            assert given["--reasoning-parser"] == info["reasoning_parser"] == "qwen3"
            assert f"http://{given['--host']}:{given['--port']}/v1" == SERVER_URL
        case ["agentkit", "server", "install"]:
            assert find_sglang(None, stage.folder) is None  # whoever has a GPU has to call it
        case ["agentkit", "server", "start", profile] | ["agentkit", "run", "--engine", profile, _]:
            assert fit(find_server_profile(profile), gpus_of(24)).is_roomy
        case _:
            pytest.fail(f"nobody knows how to look at {words}")


def check_requirements(requirements: Sequence[str]) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in requirements:
        name, _, extras = requirement.rstrip("]").partition("[")
        assert name in {".", "qwen-agentkit"}
        for extra in filter(None, extras.split(",")):
            assert re.search(rf"^{extra} = \[", project, re.M), f"there is no extra {extra!r}"


def check_progress(shown: str) -> None:
    """Hold the output of a run with the real model to the lines that a run can write."""
    forms = (
        r"✓ (download|verify|load|ready): .+",
        r"◆ plan",
        r"  \d\. .+  \w+",
        r"▸ \w+\(.*\) \d+\.\d s ✓.*",
        r"    .+",  # a result that does not fit beside its call
        r"[A-Z].*|",  # the answer
        r"\d+ steps · \d+ calls · [\d,]+ tokens in.*, [\d,]+ out · \d+\.\d s",
        r"agentkit trace view [0-9a-f]{8}",
    )
    lines = shown.splitlines()
    assert [line for line in lines if not any(re.fullmatch(form, line) for form in forms)] == []
    assert lines[-1].startswith("agentkit trace view ")


def assert_like(output: str, shown: str) -> None:
    """Hold an output to what a page shows; … stands for anything."""
    pattern = ".*?".join(map(re.escape, tidy(shown).split("…")))
    assert re.fullmatch(pattern, tidy(output), re.DOTALL), f"shown:\n{shown}\nreal:\n{output}"


def tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def ci() -> str:
    return (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def table(heading: str, page: str = README) -> list[list[str]]:
    """Return the rows of the first table below a heading, without its head."""
    part = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_first_blocks_are_the_two_commands() -> None:
    first, second = (block for block in BLOCKS[:3] if "make" in block.text)
    assert first.text.splitlines()[0] == "make agent"
    assert second.text.splitlines() == ["make test"]


def test_the_table_of_limits_has_every_knob_with_its_default() -> None:
    written = {row[0].strip("`"): row[1] for row in table("Limits, timeouts and retries")}
    real: dict[str, str] = {}
    policies = {
        "timeouts": Timeouts(),
        "limits": Limits(),
        "retry": Retry(),
        "tool_retry": Policy().tool_retry,
        "traffic": Traffic(),
    }
    for name, policy in policies.items():
        for knob, value in dataclasses.asdict(policy).items():
            real[f"{name}.{knob}"] = "none" if value is None else f"{value:,g}"
    assert written == real


def test_the_table_of_exit_codes_is_complete() -> None:
    codes = [code for row in table("Command line and exit codes") for code in row[0].split(", ")]
    assert codes == [str(code.value) for code in Exit]


def test_the_table_of_settings_is_complete() -> None:
    named = [row[0].strip("`") for row in table("Settings")]
    assert sorted(named) == sorted(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        row = next(row for row in table("Settings") if row[0] == f"`{name}`")
        assert f"AGENTKIT_{name.upper()}" in row[1]
        assert field is not None


def test_messages_of_the_troubleshooting_table_are_real() -> None:
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("agentkit", "tools/agentkit_tools", "Makefile")
        for path in ([ROOT / folder] if folder == "Makefile" else (ROOT / folder).rglob("*.py"))
    )
    for message, *_ in table("Troubleshooting"):
        for part in filter(None, (part.strip() for part in message.strip("`").split("…"))):
            assert part in sources, f"nothing says {part!r}"


def test_profiles_that_are_named_exist() -> None:
    for name in re.findall(r"(?:models pull|AGENTKIT_WEIGHTS=)\s*([\w.-]+)", README):
        assert find_profile(name).name == name


@pytest.mark.parametrize("page", [*PAGES, "AGENTS.md", "launch/README.md", "docs/architecture.md"])
def test_links_lead_somewhere(page: str) -> None:
    file = ROOT / page
    text = re.sub(r"^```.*?^```$", "", file.read_text(encoding="utf-8"), flags=re.M | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), f"{page} links to {link}"
        if anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


def test_a_setting_of_the_page_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    real = {f"AGENTKIT_{name.upper()}" for name in Settings.model_fields}
    other = {
        "AGENTKIT_CODE_INPUTS",
        "AGENTKIT_CODE_ISOLATION",
        "AGENTKIT_CODE_MINIMUM",
        "AGENTKIT_CODE_TOOLS",
        "AGENTKIT_FETCH_ALLOW",
        "AGENTKIT_TEST_WEIGHTS",
    }
    for name in set(re.findall(r"\bAGENTKIT_[A-Z_]+[A-Z]", README)):
        assert name in other or name.partition("__")[0] in real
    monkeypatch.setenv("AGENTKIT_TIMEOUTS__RUN", "600")
    assert read_settings().timeouts.run == 600
