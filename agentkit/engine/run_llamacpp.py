"""The process that holds the model: llama.cpp behind its HTTP server, until standard input ends.

Run by path, so that nothing but the standard library and xllamacpp is imported. Options arrive as
one line of JSON on standard input; `{"url": …}` goes out on standard output when requests are
served. Its parent is `serve_embedded.py`.
"""

import json
import os
import signal
import sys
from importlib import import_module
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Serve until standard input ends."""
    _die_with_parent()
    options = json.loads(sys.stdin.readline())
    try:
        server = _open_server(options)
    except (RuntimeError, ImportError) as error:  # llama.cpp has written why to standard error
        print(f"agentkit: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the engine's log
        os._exit(3)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    # No destructor: it waits for answers that nobody reads any more.
    os._exit(0)


def _die_with_parent() -> None:
    """Ask Linux to kill this process with its parent.

    Standard input says the same, but llama.cpp holds the interpreter's lock while it loads, so no
    thread of ours could hear it for the seconds that takes.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ.get("AGENTKIT_ENGINE_PARENT", os.getppid())):
        os._exit(0)  # the parent died before the line above


def _open_server(options: dict[str, Any]) -> Any:
    xllamacpp: Any = import_module("xllamacpp")  # it ships no types

    params = xllamacpp.CommonParams()
    params.model.path = options["weights"]
    params.model_alias = {options["model"]}
    params.port = options["port"]
    params.api_keys = [options["api_key"]]  # other users of the machine, and pages in a browser
    params.n_parallel = options["slots"]
    params.n_ctx = options["context_tokens"] * options["slots"]
    params.cpuparams.n_threads = options["threads"]
    params.use_jinja = True
    params.ui = False
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
