"""A script that a cron line can call: no terminal, a time limit, an exit code that tells the truth.

0 7 * * * /path/to/python /path/to/cron_job.py >> digest.txt 2>> digest.log
"""

import sys

from agentkit import AgentkitError, Limits, Policy, Runtime, Timeouts
from agentkit.errors import ConfigurationError

POLICY = Policy(limits=Limits(steps=12), timeouts=Timeouts(run=600))
TASK = "What time is it in Tokyo?"


def main() -> int:
    try:
        with Runtime.open_sync(with_mcp=False) as runtime:
            result = runtime.agent(policy=POLICY).run_sync(TASK)
    except AgentkitError as error:  # wrong settings, no model server
        print(f"not started: {error} {error.hint}", file=sys.stderr)
        return 3 if isinstance(error, ConfigurationError) else 4
    if result.stop != "done":
        print(f"{result.stop}: {result.reason} (trace {result.run_id})", file=sys.stderr)
        return 4 if result.stop == "failed" else 6
    print(result.text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
