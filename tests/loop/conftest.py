"""Agents on a scripted model."""

from collections.abc import Callable
from typing import Any

import pytest

from agentkit import Agent, Policy
from agentkit.toolkit import Registry


@pytest.fixture
def make_agent() -> Callable[..., Agent]:
    """Return a maker of agents: model, tools, and any field of `Agent`."""

    def make(model: Any, *tools: Any, **fields: Any) -> Agent:
        fields = {"name": "test", "policy": Policy(), "plan": False} | fields
        return Agent(model=model, registry=Registry(tools), **fields)

    return make
