"""A list that shares its structure with the lists it came from, for large states.

Appending to a tuple of n items copies n; this copies at most 32 and one path of a hash trie, so a
conversation of 100,000 messages costs as much to append to as one of 10. For large mappings there
is `immutables.Map`, of which this is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar, overload

from immutables import Map

T = TypeVar("T")

CHUNK_ITEMS = 32
"""Items in one chunk: the branching of the hash trie itself; 16 and 64 measured no better."""

_NO_CHUNKS: Map[int, tuple[Any, ...]] = Map()


class PersistentList(Sequence[T]):
    """An immutable list: `append`, `extend` and `set` give a new one and leave this as it is.

    Full chunks of 32 items stand in a map by their number; the rest is the tail. It compares
    equal only to a PersistentList of equal items. Taking a slice gives a tuple.
    """

    __slots__ = ("_chunks", "_length", "_tail")

    _chunks: Map[int, tuple[T, ...]]
    _tail: tuple[T, ...]
    _length: int

    def __init__(self, items: Iterable[T] = ()) -> None:
        every = tuple(items)
        full = len(every) // CHUNK_ITEMS
        self._chunks = _NO_CHUNKS
        if full:
            self._chunks = Map(
                {n: every[n * CHUNK_ITEMS : (n + 1) * CHUNK_ITEMS] for n in range(full)}
            )
        self._tail = every[full * CHUNK_ITEMS :]
        self._length = len(every)

    def append(self, item: T) -> PersistentList[T]:
        """A list with `item` at its end. Costs the same at every length."""
        tail = (*self._tail, item)
        if len(tail) < CHUNK_ITEMS:
            return _make(self._chunks, tail, self._length + 1)
        chunks = self._chunks.set(self._length // CHUNK_ITEMS, tail)
        return _make(chunks, (), self._length + 1)

    def extend(self, items: Iterable[T]) -> PersistentList[T]:
        """A list with all of `items` at its end, in order."""
        tail = (*self._tail, *items)
        added = len(tail) - len(self._tail)
        if not added:
            return self
        number = self._length // CHUNK_ITEMS
        full = len(tail) // CHUNK_ITEMS
        chunks = self._chunks
        if full:
            with chunks.mutate() as changing:
                for n in range(full):
                    changing[number + n] = tail[n * CHUNK_ITEMS : (n + 1) * CHUNK_ITEMS]
                chunks = changing.finish()
        return _make(chunks, tail[full * CHUNK_ITEMS :], self._length + added)

    def set(self, index: int, item: T) -> PersistentList[T]:
        """A list with `item` in place of the one at `index`. Raises IndexError beyond the ends."""
        number, place = divmod(self._place(index), CHUNK_ITEMS)
        if number == self._length // CHUNK_ITEMS:
            tail = (*self._tail[:place], item, *self._tail[place + 1 :])
            return _make(self._chunks, tail, self._length)
        chunk = self._chunks[number]
        chunk = (*chunk[:place], item, *chunk[place + 1 :])
        return _make(self._chunks.set(number, chunk), self._tail, self._length)

    def shared_prefix(self, other: PersistentList[T]) -> int:
        """How many items at the front are known to be the same because the chunks are shared."""
        full = min(self._length, other._length) // CHUNK_ITEMS
        for number in range(full):
            if self._chunks.get(number) is not other._chunks.get(number):
                return number * CHUNK_ITEMS
        return full * CHUNK_ITEMS

    def parts(self, first: int = 0) -> Iterator[tuple[T, ...]]:
        """The items in order, in tuples that lists which came from each other share; from the
        item `first` on, which begins one, as what `shared_prefix` gives does."""
        for number in range(first // CHUNK_ITEMS, self._length // CHUNK_ITEMS):
            yield self._chunks[number]
        yield self._tail

    def shared_parts(self) -> tuple[Map[int, tuple[T, ...]], tuple[T, ...]]:
        """What it is made of: the full chunks, of which lists that came from each other share
        most, and the tail."""
        return self._chunks, self._tail

    def _place(self, index: int) -> int:
        place = index + self._length if index < 0 else index
        if not 0 <= place < self._length:
            raise IndexError(f"index {index} of {self._length} items")
        return place

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(self._length)))
        number, place = divmod(self._place(index), CHUNK_ITEMS)
        if number == self._length // CHUNK_ITEMS:
            return self._tail[place]
        return self._chunks[number][place]

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self.parts())

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PersistentList):
            return NotImplemented
        return self is other or (
            self._length == other._length
            and self._tail == other._tail
            and self._chunks == other._chunks
        )

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"PersistentList({list(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return PersistentList, (tuple(self),)


def _make(chunks: Map[int, tuple[T, ...]], tail: tuple[T, ...], length: int) -> PersistentList[T]:
    made: PersistentList[T] = PersistentList.__new__(PersistentList)
    made._chunks, made._tail, made._length = chunks, tail, length
    return made
