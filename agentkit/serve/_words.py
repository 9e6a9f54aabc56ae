"""What a client is told of a run while it goes on: one short line for what takes time."""

from agentkit.events import (
    CallFinished,
    CallProgressed,
    CallStarted,
    Event,
    HandedOver,
    NestedEvent,
    PlanMade,
    RetryScheduled,
    StepStarted,
)
from agentkit.trace.words import plural, shortened

_LINE = 200  # characters


def told(event: Event) -> str:
    """Return the line of an event; empty where a client need not know.

    Arguments and results of tools stay here: they may hold what is none of the client's business.

    >>> told(StepStarted(step=2)), told(CallStarted(step=2, call_id="a", name="t", arguments={}))
    ('step 2', 't: started')
    """
    match event:
        case StepStarted():
            return f"step {event.step}"
        case PlanMade():
            return f"a plan of {plural(len(event.steps), 'step')}"
        case RetryScheduled():
            return f"the model is asked again in {event.delay_seconds:.1f} s"
        case HandedOver():
            return f"{event.after} goes on"
        case NestedEvent():
            inner = told(event.event)
            return inner and shortened(f"{event.agent} | {inner}", _LINE)
        case _:
            return _told_of_call(event)


def _told_of_call(event: Event) -> str:
    match event:
        case CallStarted():
            return f"{event.name}: started"
        case CallProgressed():
            return shortened(f"{event.name}: {_share(event)}", _LINE)
        case CallFinished():
            return f"{event.name}: {'done' if event.ok else 'failed'}"
        case _:
            return ""


def _share(event: CallProgressed) -> str:
    figures = f"{event.done:g}" if event.total is None else f"{event.done:g} of {event.total:g}"
    return f"{figures}: {event.text}" if event.text else figures
