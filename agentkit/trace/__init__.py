"""Traces of runs: one JSONL file each, written without slowing the run, and read back."""

from agentkit.trace._files import (
    Outcome,
    Record,
    TraceSummary,
    find_trace,
    list_traces,
    outcome_of,
    read_trace,
)
from agentkit.trace._redact import MASK, Redactor, secrets_in
from agentkit.trace._writer import TraceWriter, open_trace

__all__ = [
    "MASK",
    "Outcome",
    "Record",
    "Redactor",
    "TraceSummary",
    "TraceWriter",
    "find_trace",
    "list_traces",
    "open_trace",
    "outcome_of",
    "read_trace",
    "secrets_in",
]
