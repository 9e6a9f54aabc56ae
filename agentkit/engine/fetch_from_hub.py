"""The process that fetches one file from a model hub; stopping it stops the download.

Run by path with one argument, a JSON object of repo, file, revision and folder. It writes
`{"size": …, "sha256": …}` when the hub has answered and `{"path": …}` when the file is there, or
`{"error": …}`. What is in the folder already is not fetched again.
"""

import json
import re
import sys
from importlib import import_module
from types import TracebackType
from typing import Any

_REACH_SECONDS = 5.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


def main() -> None:
    """Fetch the file that the first argument describes."""
    sys.excepthook = _say_what_was_not_foreseen
    order = json.loads(sys.argv[1])
    try:
        hub: Any = import_module("huggingface_hub")  # 0.3 s: not in the caller's process
        constants: Any = import_module("huggingface_hub.constants")
        errors: Any = import_module("huggingface_hub.errors")
    except ImportError:
        _say(error="huggingface_hub is not installed.")
        return
    if constants.HF_HUB_OFFLINE:
        _say(error="HF_HUB_OFFLINE forbids to ask it.")
        return
    try:
        _fetch(hub, order)
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, ValueError) as error:
        _say(error=_first_line(error))
    except (errors.HTTPError, OSError) as error:  # whichever HTTP library the hub's client uses
        _say(error=f"{constants.ENDPOINT} cannot be reached: {_first_line(error)}")


def _fetch(hub: Any, order: dict[str, str]) -> None:
    repo, file, revision = order["repo"], order["file"], order["revision"]
    url = hub.hf_hub_url(repo, file, revision=revision)
    known = hub.get_hf_file_metadata(url, timeout=_REACH_SECONDS)
    etag = known.etag or ""
    _say(size=known.size, sha256=etag if _SHA256.fullmatch(etag) else None)
    path = hub.hf_hub_download(
        repo,
        file,
        revision=known.commit_hash or revision,
        local_dir=order["folder"],
        etag_timeout=_REACH_SECONDS,
    )
    _say(path=str(path))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _say_what_was_not_foreseen(
    kind: type[BaseException], error: BaseException, _traceback: TracebackType | None
) -> None:
    _say(error=f"{kind.__name__}: {_first_line(error)}")


def _say(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
