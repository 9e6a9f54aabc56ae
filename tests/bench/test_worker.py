import asyncio

import pytest

from bench.worker import echoes


async def test_calls_are_made_side_by_side_and_never_more_than_wanted() -> None:
    under_way: set[int] = set()
    most = 0

    async def call(number: int) -> str:
        nonlocal most
        under_way.add(number)
        most = max(most, len(under_way))
        await asyncio.sleep(0)
        under_way.remove(number)
        return f"echo {number}"

    await echoes(call, 500, 50)
    assert most == 50


async def test_an_answer_that_belongs_to_another_call_is_no_answer() -> None:
    async def swapped(number: int) -> str:
        return f"echo {number ^ 1}"

    with pytest.raises(AssertionError, match="wrong echo of 0: 'echo 1'"):
        await echoes(swapped, 2, 2)
