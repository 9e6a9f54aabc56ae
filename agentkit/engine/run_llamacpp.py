"""The process that holds the model: llama.cpp behind its HTTP server, until standard input ends.

Run by path, so that nothing but the standard library and xllamacpp is imported. Options arrive as
one line of JSON on standard input; `{"url": …}` goes out on standard output when requests are
served. Its parent is `guard_engine.py`.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any

from process_tree import die_with_parent

_PROMPT_CACHE_MIB = (
    512  # prompts of conversations that left their slot; llama.cpp takes up to 8 GiB
)
_WARNINGS = 2  # llama.cpp's verbosity: six lines a request, at 3, would fill the disk of a server


def main() -> None:
    """Serve until standard input ends."""
    # Standard input says the same, but llama.cpp holds the interpreter's lock while it loads, so no
    # thread of ours could hear it for the seconds that takes.
    die_with_parent(int(os.environ.pop("AGENTKIT_ENGINE_PARENT", os.getppid())))
    options = json.loads(sys.stdin.readline())
    try:
        server = _open_server(options)
    except (RuntimeError, ImportError) as error:  # llama.cpp says why in the log, at its leisure:
        sys.stderr.write(f"agentkit: {error}\n")
        sys.exit(3)  # no os._exit, which would lose those lines
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    # No destructor: it waits for answers that nobody reads any more.
    os._exit(0)


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
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    params.fit_params = False  # a dry run that loads the file twice and fits nothing on a processor
    params.ui = False
    params.verbosity = _WARNINGS
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
