"""Remembers a value per object, for exactly as long as the object lives."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from weakref import ref

K = TypeVar("K")
V = TypeVar("V")


class IdentityMemo(Generic[K, V]):
    """Calls `make` once per object; neither hashes nor compares the object.

    A weak-key dictionary would hash the text of every message of the history at every turn.
    """

    def __init__(self, make: Callable[[K], V]) -> None:
        self._make = make
        self._values: dict[int, V] = {}
        self._alive: dict[int, ref[K]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def one(self, key: K) -> V:
        """Return the value of `key`."""
        value = self._values.get(id(key))
        return value if value is not None else self._remember(key)

    def many(self, keys: Sequence[K]) -> list[V]:
        """Return the values of `keys`, in order."""
        values = list(map(self._values.get, map(id, keys)))
        return [
            value if value is not None else self._remember(key)
            for key, value in zip(keys, values, strict=True)
        ]

    def _remember(self, key: K) -> V:
        number = id(key)
        value = self._make(key)
        if value is key:  # it would keep itself alive
            return value

        self._alive[number] = alive = _Numbered(key, self._forget)
        alive.number = number
        self._values[number] = value
        return value

    def _forget(self, gone: "ref[K]") -> None:
        """Runs before the number can belong to another object."""
        number = gone.number if isinstance(gone, _Numbered) else 0
        self._values.pop(number, None)
        self._alive.pop(number, None)


class _Numbered(ref[K]):
    """A weak reference that knows whose it was, without a function of its own."""

    __slots__ = ("number",)

    number: int
