"""Errors that leave a task group as themselves."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import cast


@contextmanager
def bare() -> Generator[None]:
    """Let an error out of the task groups in this block: a group of one says no more than it.

    Raises:
        BaseException: the one that the groups hold, or the group where they hold several.
    """
    try:
        yield
    except BaseExceptionGroup as problems:
        only = _member(problems)
        raise only from only.__cause__


def _member(problem: BaseException) -> BaseException:
    if not isinstance(problem, BaseExceptionGroup):
        return problem
    group = cast("BaseExceptionGroup[BaseException]", problem)
    return _member(group.exceptions[0]) if len(group.exceptions) == 1 else group
