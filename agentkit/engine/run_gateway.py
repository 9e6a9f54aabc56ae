"""Some SGLang servers and the model gateway (smg) before them, as one program.

Run by path, so that nothing but the standard library is imported: `run_gateway.py OPTIONS PORT`,
where OPTIONS is a JSON object of python, replicas, gpus (of each server), device and words (a
server's options). The gateway starts when every server is ready. Whichever of them ends, all end.

`smg serve`, which promises the same, does not work with SGLang 0.5.23: both have an option
`--data-parallel-size`, and smg 1.13.0 loses its own (tried).
"""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from typing import Any

_POLL_SECONDS = 0.25
_STOP_SECONDS = 20.0

Process = subprocess.Popen[bytes]


def main() -> None:
    """Run the servers and the gateway until one of them, or everything, is to end."""
    options, port = json.loads(sys.argv[1]), int(sys.argv[2])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    running: list[Process] = []
    try:
        ports = _free_ports(options["replicas"])
        for index, own in enumerate(ports):
            running.append(_start_server(options, index, own))
        _wait_until_ready(running, ports)
        running.insert(0, _start_gateway(options, port, ports))
        while True:
            _check(running)
            time.sleep(_POLL_SECONDS)
    finally:
        _stop(running)


def _leave(_number: int, _frame: object) -> None:
    sys.exit(0)


def _start_server(options: dict[str, Any], index: int, port: int) -> Process:
    first = ["--base-gpu-id", str(index * options["gpus"])] if options["device"] == "cuda" else []
    words = [*options["words"], *first, "--host", "127.0.0.1", "--port", str(port)]
    return subprocess.Popen([options["python"], "-m", "sglang.launch_server", *words])  # noqa: S603 - what the profile says


def _start_gateway(options: dict[str, Any], port: int, ports: list[int]) -> Process:
    urls = [f"http://127.0.0.1:{own}" for own in ports]
    [metrics] = _free_ports(1)  # its default is the same for every gateway of a machine
    words = ["launch", "--worker-urls", *urls, "--policy", "cache_aware", "--host", "127.0.0.1"]
    words += ["--port", str(port), "--prometheus-port", str(metrics)]
    return subprocess.Popen([options["python"], "-m", "smg.cli", *words])  # noqa: S603 - what the profile says


def _wait_until_ready(servers: list[Process], ports: list[int]) -> None:
    """Wait, without a limit of its own: whoever runs this has one."""
    left = list(ports)
    while left:
        _check(servers)
        left = [port for port in left if not _is_ready(port)]
        time.sleep(_POLL_SECONDS)


def _check(running: list[Process]) -> None:
    """Leave if one of them has ended."""
    for process in running:
        if process.poll() is not None:
            sys.stderr.write(f"agentkit: {process.args} ended with {process.returncode}\n")
            sys.exit(1)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _stop(running: list[Process]) -> None:
    """Ask each to leave, the gateway first; whoever runs this kills what does not."""
    for process in running:
        process.terminate()
    until = time.monotonic() + _STOP_SECONDS
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))


if __name__ == "__main__":
    main()
