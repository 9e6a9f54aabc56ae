"""The process that fetches one file from a model hub; stopping it stops the download.

Run by path with one argument, a JSON object of repo, file, revision and folder. It writes
`{"size": …, "sha256": …}` when the hub has answered and `{"path": …}` when the file is there, or
`{"error": …}`. What an earlier process has fetched is not fetched again: huggingface_hub, which
finds the file and signs the requests, begins a broken download anew since its version 2.
"""

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2

_REACH_SECONDS = 5.0
_READ_SECONDS = 30.0
_ATTEMPTS = 5  # in a row without a byte
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes (\d+)-")


def main() -> None:
    """Fetch the file that the first argument describes."""
    sys.excepthook = say_what_was_not_foreseen
    order = json.loads(sys.argv[1])
    try:
        hub: Any = import_module("huggingface_hub")  # 0.3 s: not in the caller's process
        constants: Any = import_module("huggingface_hub.constants")
        errors: Any = import_module("huggingface_hub.errors")
    except ImportError:
        say(error="huggingface_hub is not installed.")
        return
    if constants.HF_HUB_OFFLINE:
        say(error="HF_HUB_OFFLINE forbids to ask it.")
        return
    url = hub.hf_hub_url(order["repo"], order["file"], revision=order["revision"])
    try:
        known = hub.get_hf_file_metadata(url, timeout=_REACH_SECONDS)
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, ValueError) as error:
        say(error=first_line(error))
        return
    except (errors.HTTPError, OSError) as error:  # whichever HTTP library the hub's client uses
        say(error=f"{constants.ENDPOINT} cannot be reached: {first_line(error)}")
        return
    etag = known.etag or ""
    say(size=known.size, sha256=etag if _SHA256.fullmatch(etag) else None)
    folder = Path(order["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    # Another version of the file has another name, so that two are never joined.
    path = folder / (re.sub(r"\W", "", etag or known.commit_hash or "") + ".part")
    try:
        fetch_file(url, hub.utils.build_hf_headers(), path, known.size)
    except (httpx2.HTTPError, OSError) as error:
        say(error=f"the download broke off, the next one goes on from there: {first_line(error)}")
    else:
        say(path=str(path))


def fetch_file(url: str, headers: dict[str, str], path: Path, size: int | None) -> None:
    """Fetch what `path` lacks; try again as long as something comes.

    Raises:
        httpx2.HTTPError: nothing came any more.
        OSError: the file cannot be written.
    """
    timeout = httpx2.Timeout(_READ_SECONDS, connect=_REACH_SECONDS)
    with httpx2.Client(follow_redirects=True, timeout=timeout) as client:
        fruitless = 0
        while True:
            before = path.stat().st_size if path.exists() else 0
            if size is not None and before >= size:
                return
            try:
                _fetch_once(client, url, headers, path, before)
            except httpx2.TransportError:
                fruitless = 0 if path.exists() and path.stat().st_size > before else fruitless + 1
                if fruitless >= _ATTEMPTS:
                    raise
            else:
                return


def _fetch_once(
    client: httpx2.Client, url: str, headers: dict[str, str], path: Path, start: int
) -> None:
    more = {"Range": f"bytes={start}-"} if start else {}
    asked = {**headers, "Accept-Encoding": "identity", **more}
    with client.stream("GET", url, headers=asked) as response:
        response.raise_for_status()
        found = _RANGE.match(response.headers.get("Content-Range", ""))
        goes_on = response.status_code == 206 and found is not None and int(found[1]) == start
        with path.open("ab" if goes_on else "wb") as file:
            for chunk in response.iter_raw():
                file.write(chunk)


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def say_what_was_not_foreseen(
    kind: type[BaseException], error: BaseException, _traceback: TracebackType | None
) -> None:
    """Tell an error that nobody caught, as an excepthook."""
    say(error=f"{kind.__name__}: {first_line(error)}")


def say(**values: object) -> None:
    """Write a line of JSON for the caller."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
