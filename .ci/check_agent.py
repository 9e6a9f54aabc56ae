"""Run the main job as a newcomer does, and hold it to its word: a right answer from two real tool calls.

A model of 1.5 billion parameters may stumble once; twice is a fault.
"""

import json
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

POWER = str(2**100)
AGENTKIT = Path(sys.executable).with_name("agentkit")


def main() -> int:
    for _ in range(2):
        began = datetime.now(ZoneInfo("Asia/Tokyo"))
        made = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=False)
        print(made.stdout, end="", flush=True)
        problems = [*of_answer(made.stdout, began), *of_trace()] if made.returncode == 0 else []
        if made.returncode == 0 and not problems:
            return 0
        print(
            f"{' '.join(sys.argv[1:])}: exit {made.returncode}. {' '.join(problems)}",
            file=sys.stderr,
        )
    return 1


def of_answer(text: str, began: datetime) -> list[str]:
    """Return what an answer lacks."""
    minutes = int((datetime.now(began.tzinfo) - began) / timedelta(minutes=1)) + 1
    moments = [began + timedelta(minutes=n) for n in range(minutes + 1)]
    said = {(int(h), int(m)) for h, m in re.findall(r"\b(\d{1,2}):(\d{2})\b", text)}
    right = {(hour, one.minute) for one in moments for hour in (one.hour, (one.hour - 1) % 12 + 1)}
    problems = [] if said & right else [f"It is {began:%H:%M} in Tokyo, which the answer lacks."]
    return problems if POWER in re.sub(r"[,_ ]", "", text) else [*problems, f"It lacks {POWER}."]


def of_trace() -> list[str]:
    """Return what the last run did not do."""
    shown = subprocess.run(
        [AGENTKIT, "trace", "view", "last", "--json"], capture_output=True, text=True, check=True
    )
    events = [json.loads(line) for line in shown.stdout.splitlines()]
    worked = {event["name"] for event in events if event["event"] == "result" and event["ok"]}
    return [] if len(worked) >= 2 else [f"Tools that worked: {', '.join(worked) or 'none'}."]


if __name__ == "__main__":
    sys.exit(main())
