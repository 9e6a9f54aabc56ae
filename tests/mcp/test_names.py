"""What tools are called when servers, or we ourselves, want the same name."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentkit.mcp import ServerConfig
from agentkit.mcp._names import choose_names


@given(
    st.lists(st.lists(st.text(min_size=1), unique=True, max_size=5), max_size=4),
    st.lists(st.text(alphabet="ab_-", min_size=1, max_size=3)),
)
def test_names_are_fit_and_unique_whatever_servers_offer(
    offers: list[list[str]], taken: list[str]
) -> None:
    servers = [(ServerConfig(name=f"s{n}"), tools) for n, tools in enumerate(offers)]
    chosen = choose_names(servers, taken)
    names = [name for one in chosen for name in one.values()]
    assert len(names) == len(set(names)) == sum(len(tools) for tools in offers)
    assert not set(names) & set(taken)
    assert all(0 < len(name) <= 64 and name.isascii() for name in names)


async def test_no_tool_shadows_another_and_the_order_is_fixed(
    opened: Callable[..., AbstractAsyncContextManager[Any]], hostile: Callable[..., ServerConfig]
) -> None:
    one = hostile(name="one", include=("echo", "lie"))
    two = hostile(name="two", include=("echo", "crlf"), exclude=("crlf",))
    three = hostile(name="three", include=("utf8", "gone"), prefix=True)
    async with opened(one, two, three, taken_names=("lie",)) as session:
        names = ["one__echo", "one__lie", "two__echo", "three__utf8"]
        assert list(session.tools) == names
        assert session.states["one"].tools == ("one__echo", "one__lie")
        assert session.states["three"].notes == ("there is no tool 'gone' to include",)
        assert await session.call("two__echo", text="2") == "2"
