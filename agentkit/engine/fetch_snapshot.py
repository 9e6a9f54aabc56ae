"""The process that fetches a model's folder from a hub; stopping it stops the download.

Run by path with one argument, a JSON object of repo, hub, revision and folder. It writes
`{"files": [{"path", "size", "sha256"}, …]}`, waits for a line on standard input, fetches them and
writes `{"done": true}`; or `{"error": …, "hint": …}`. What an earlier process has fetched is not
fetched again.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import httpx2
from fetch_from_hub import fetch_file, first_line, say, say_what_was_not_foreseen

_REACH_SECONDS = 10.0
_MODELSCOPE = "https://www.modelscope.cn"
_UNWANTED = re.compile(
    r"\.(pth|pt|gguf|onnx|h5|msgpack|png|jpe?g|gif|mp4)$|(^|/)(original|assets|figures)/|^\.git"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")

File: TypeAlias = dict[str, Any]
Url: TypeAlias = Callable[[str], str]


class RefusedError(Exception):
    """The hub will not give it."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


def main() -> None:
    """Fetch the folder that the first argument describes."""
    sys.excepthook = say_what_was_not_foreseen
    order = json.loads(sys.argv[1])
    try:
        look = _look_at_modelscope if order["hub"] == "modelscope" else _look_at_hugging_face
        files, url, headers = look(order["repo"], order["revision"])
    except RefusedError as error:
        say(error=str(error), hint=error.hint)
        return
    files = wanted(files)
    say(files=files)
    if not sys.stdin.readline():
        return  # the caller thought better of it, or is gone
    folder = Path(order["folder"])
    try:
        for file in files:
            path = folder / file["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (path.is_file() and path.stat().st_size == file["size"]):
                _fetch(url(file["path"]), headers, path, file["size"])
    except (httpx2.HTTPError, OSError) as error:
        say(error=f"the download broke off, the next one goes on from there: {first_line(error)}")
    else:
        say(done=True)


def wanted(files: list[File]) -> list[File]:
    """Return the files that a server needs, none of which leaves the folder."""
    has_safetensors = any(file["path"].endswith(".safetensors") for file in files)
    found: list[File] = []
    for file in files:
        path = PurePosixPath(file["path"])
        if path.is_absolute() or ".." in path.parts or _UNWANTED.search(file["path"]):
            continue
        if has_safetensors and path.suffix == ".bin":
            continue
        found.append(file)
    return found


def _fetch(url: str, headers: dict[str, str], path: Path, size: int) -> None:
    part = path.with_name(f"{path.name}.part")
    fetch_file(url, headers, part, size)
    part.replace(path)


def _look_at_hugging_face(repo: str, revision: str) -> tuple[list[File], Url, dict[str, str]]:
    try:
        hub: Any = import_module("huggingface_hub")
        constants: Any = import_module("huggingface_hub.constants")
        errors: Any = import_module("huggingface_hub.errors")
    except ImportError:
        raise RefusedError(
            "huggingface_hub is not installed.", "pip install 'qwen-agentkit[local]'"
        ) from None
    if constants.HF_HUB_OFFLINE:
        raise RefusedError("HF_HUB_OFFLINE forbids to ask it.")
    page = f"{constants.ENDPOINT}/{repo}"
    try:
        info = hub.HfApi().model_info(
            repo, revision=revision, files_metadata=True, timeout=_REACH_SECONDS
        )
    except errors.GatedRepoError:
        raise RefusedError(
            "it is gated.", f"Accept its licence at {page}, and set HF_TOKEN."
        ) from None
    except errors.RepositoryNotFoundError:
        raise RefusedError(
            "there is no such repository, or it is private.",
            f"Look at {page}; HF_TOKEN says who you are.",
        ) from None
    except (errors.HfHubHTTPError, ValueError) as error:
        raise RefusedError(first_line(error)) from None
    except (errors.HTTPError, OSError) as error:  # whichever HTTP library the hub's client uses
        raise RefusedError(f"{constants.ENDPOINT} cannot be reached: {first_line(error)}") from None
    files = [
        {
            "path": one.rfilename,
            "size": one.size or 0,
            "sha256": getattr(one.lfs, "sha256", None) if one.lfs else None,
        }
        for one in info.siblings
    ]
    commit = info.sha or revision  # every file of one state of the repository
    headers: dict[str, str] = hub.utils.build_hf_headers()
    return files, lambda path: str(hub.hf_hub_url(repo, path, revision=commit)), headers


def _look_at_modelscope(repo: str, revision: str) -> tuple[list[File], Url, dict[str, str]]:
    base = os.environ.get("MODELSCOPE_ENDPOINT", _MODELSCOPE).rstrip("/")
    revision = "master" if revision == "main" else revision
    url = f"{base}/api/v1/models/{repo}/repo/files"
    try:
        answer = httpx2.get(
            url,
            params={"Revision": revision, "Recursive": "true"},
            timeout=_REACH_SECONDS,
            follow_redirects=True,
        )
    except httpx2.HTTPError as error:
        raise RefusedError(f"{base} cannot be reached: {first_line(error)}") from None
    if answer.status_code == 404:
        raise RefusedError("there is no such repository.", f"Look at {base}/models/{repo}.")
    if answer.is_error:
        raise RefusedError(f"{base} answered {answer.status_code}.")
    files = [
        {"path": one["Path"], "size": int(one["Size"]), "sha256": _hash(one.get("Sha256"))}
        for one in answer.json()["Data"]["Files"]
        if one.get("Type") != "tree"
    ]
    return files, lambda path: f"{base}/models/{repo}/resolve/{revision}/{path}", {}


def _hash(given: object) -> str | None:
    return given if isinstance(given, str) and _SHA256.fullmatch(given) else None


if __name__ == "__main__":
    main()
