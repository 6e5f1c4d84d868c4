"""Reading: one stream by version, the log by position, streams by name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ...errors import InvalidEvent, LogDiverged
from ...events import NewEvent
from ...query import Query
from ...store import EventStore
from ..clocks import FixedClock
from .harness import Harness, note, notes, numbers, positions

SLICES: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [1, 2, 3, 4, 5]),
    ({"after": 2}, [3, 4, 5]),
    ({"after": 5}, []),
    ({"after": 99}, []),
    ({"limit": 2}, [1, 2]),
    ({"limit": 0}, []),
    ({"limit": 99}, [1, 2, 3, 4, 5]),
    ({"after": 1, "limit": 3}, [2, 3, 4]),
    ({"backwards": True}, [5, 4, 3, 2, 1]),
    ({"backwards": True, "limit": 2}, [5, 4]),
    ({"backwards": True, "after": 4}, [3, 2, 1]),
    ({"backwards": True, "after": 4, "limit": 2}, [3, 2]),
    ({"backwards": True, "after": 1}, []),
    ({"backwards": True, "after": 99}, [5, 4, 3, 2, 1]),
    ({"backwards": True, "limit": 0}, []),
]

FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    # arguments of read_all                                       positions it gives
    ({}, [1, 2, 3, 4, 5, 6]),
    ({"types": ["a"]}, [1, 4]),
    ({"types": ["a", "b"]}, [1, 2, 4, 5]),
    ({"types": ["none"]}, []),
    ({"tags": ["x"]}, [1, 2, 3]),
    ({"tags": ["x", "y"]}, [2, 3]),
    ({"tags": ["y", "x"]}, [2, 3]),
    ({"tags": ["x", "none"]}, []),
    ({"types": ["a", "b"], "tags": ["x"]}, [1, 2]),
    ({"types": ["c"], "tags": ["z"]}, [6]),
    ({"query": Query(types=("b",))}, [2, 5]),
    ({"query": Query(types=("a", "c"), tags=("y",))}, [3]),
    ({"query": Query()}, [1, 2, 3, 4, 5, 6]),
    ({"query": [Query(types=("a",)), Query(tags=("y",))]}, [1, 2, 3, 4]),
    ({"query": [Query(types=("a",)), Query(types=("a",))]}, [1, 4]),
    ({"query": [Query(types=("b",), tags=("y",)), Query(tags=("z",))]}, [2, 6]),
    ({"types": ["a", "b"], "limit": 3}, [1, 2, 4]),
    ({"types": ["a", "b"], "after": 2}, [4, 5]),
    ({"tags": ["x"], "after": 1, "limit": 1}, [2]),
    ({"after": 6}, []),
    ({"limit": 0}, []),
    ({"after": 4, "limit": 1}, [5]),
]


async def _mixed(store: EventStore) -> None:
    await store.append("s", [NewEvent("a", 1, tags=["x"]), NewEvent("b", 2, tags=["x", "y"])])
    await store.append("t", [NewEvent("c", 3, tags=["y", "x"]), NewEvent("a", 4)])
    await store.append("s", [NewEvent("b", 5, tags=["w"]), NewEvent("c", 6, tags=["z"])])


class ReadingContract(Harness):
    """What a read gives, in which order, and up to where."""

    @pytest.mark.parametrize(("arguments", "expected"), SLICES)
    async def test_a_part_of_a_stream_is_read_then_its_versions_are_these(
        self, store: EventStore, arguments: dict[str, Any], expected: list[int]
    ) -> None:
        """`after` excludes the version it names, forwards and backwards."""
        await store.append("other", notes(2))
        await store.append("s", notes(5))
        await store.append("other", notes(2))
        events = await store.read("s", **arguments).list()
        assert [event.version for event in events] == expected
        assert numbers(events) == expected

    @pytest.mark.parametrize(("arguments", "expected"), FILTERS)
    async def test_the_log_is_filtered_then_these_positions_come(
        self, store: EventStore, arguments: dict[str, Any], expected: list[int]
    ) -> None:
        """Types any-of, tags all-of, a list or-ed; each event once, by position."""
        await _mixed(store)
        assert positions(await store.read_all(**arguments).list()) == expected

    @pytest.mark.parametrize("length", [99, 100, 101, 999, 1_000, 1_001, 1_100, 2_100])
    async def test_a_stream_ends_near_the_end_of_a_page_then_it_is_read_whole(
        self, store: EventStore, length: int
    ) -> None:
        """Pages are not to be seen in what is read."""
        await store.append("s", notes(length))
        expected = list(range(1, length + 1))
        assert numbers(await store.read("s").list()) == expected
        assert numbers(await store.read("s", backwards=True).list()) == expected[::-1]
        assert numbers(await store.read("s", limit=length - 1).list()) == expected[:-1]
        assert numbers(await store.read_all().list()) == expected
        assert numbers(await store.read_all(limit=length - 1).list()) == expected[:-1]
        pages = [page async for page in store.read_all().pages()]
        assert [n for page in pages for n in numbers(page)] == expected
        assert all(0 < len(page) <= 1_000 for page in pages)

    async def test_queries_are_or_ed_then_a_page_keeps_to_its_limit(
        self, store: EventStore
    ) -> None:
        """Each query alone may fill a page; together they give no larger one, and miss nothing."""
        kinds = ("even", "odd", "other")
        await store.append("s", [NewEvent(kinds[n % 3], {"n": n}) for n in range(6_600)])
        pages = [
            page
            async for page in store.read_all(
                query=[Query(types=("even",)), Query(types=("odd",))]
            ).pages()
        ]
        assert [n for page in pages for n in numbers(page)] == [
            n for n in range(6_600) if n % 3 < 2
        ]
        assert all(0 < len(page) <= 1_000 for page in pages)

    async def test_payloads_are_larger_than_a_page_then_they_are_read_whole(
        self, store: EventStore
    ) -> None:
        """A page may end early for its bytes; the read goes on."""
        for n in range(8):
            await store.append("s", NewEvent("t", {"n": n, "text": "x" * 2_000_000}))
        await store.append("s", NewEvent("t", {"n": 8}))
        expected = list(range(9))
        assert numbers(await store.read("s").list()) == expected
        assert numbers(await store.read("s", backwards=True).list()) == expected[::-1]
        assert numbers(await store.read_all().list()) == expected
        assert numbers(await store.read("s", limit=5).list()) == expected[:5]

    async def test_matching_events_are_far_apart_then_all_are_found(
        self, store: EventStore
    ) -> None:
        """A filtered read goes on over any number of rows that do not match."""
        await store.append("s", [NewEvent("rare", 1, tags=["r"]), *notes(2_500)])
        await store.append("s", [NewEvent("rare", 2, tags=["r"]), *notes(1_200)])
        for events in (store.read_all(types=["rare"]), store.read_all(tags=["r"])):
            assert positions(await events.list()) == [1, 2_502]
        assert positions(await store.read_all(types=["rare"], limit=1).list()) == [1]

    async def test_nothing_is_there_then_reads_are_empty(self, store: EventStore) -> None:
        """A stream that does not exist is empty; so is a new log."""
        assert await store.read("none").list() == []
        assert await store.read("none", backwards=True).list() == []
        assert await store.read_all().list() == []
        assert await store.version("none") == 0
        assert await store.head() == 0
        assert [info async for info in store.streams()] == []
        assert await store.tenants() == []

    async def test_events_come_while_the_log_is_read_then_it_ends_at_the_head_seen_first(
        self, store: EventStore
    ) -> None:
        """`read_all` ends, however fast writers are."""
        await store.append("s", notes(1_500))
        seen = []
        async for event in store.read_all():
            seen.append(event.position)
            if len(seen) in (1, 1_200):
                await store.append("s", notes(2))
        assert seen == list(range(1, 1_501))
        assert await store.head() == 1_504

    async def test_a_read_is_iterated_twice_then_each_time_starts_anew(
        self, store: EventStore
    ) -> None:
        """A read is a description; iterating it looks at the log as it is then."""
        await store.append("s", notes(2))
        stream, log = store.read("s"), store.read_all()
        assert numbers([event async for event in stream]) == [1, 2]
        assert numbers([event async for event in log]) == [1, 2]
        await store.append("s", notes(1, start=3))
        assert numbers([event async for event in stream]) == [1, 2, 3]
        assert numbers([event async for event in log]) == [1, 2, 3]

    async def test_a_read_is_given_up_then_the_store_goes_on(self, store: EventStore) -> None:
        """An abandoned iterator holds nothing: writers and readers go on."""
        await store.append("s", notes(1_200))
        abandoned = []
        for _ in range(30):
            iterator = aiter(store.read_all())
            abandoned.append((iterator, await anext(iterator)))
        result = await store.append("s", notes(1, start=1_201))
        assert result.position == 1_201
        assert len(await store.read_all().list()) == 1_201

    async def test_a_reader_lies_beyond_the_log_then_it_is_told(self, store: EventStore) -> None:
        """A position that is not in this log means that it is another log."""
        await store.append("s", notes(3))
        assert await store.read_all(after=3).list() == []
        with pytest.raises(LogDiverged, match="4"):
            await store.read_all(after=4).list()

    async def test_a_checkpoint_is_given_as_position_then_its_hash_is_checked(
        self, store: EventStore
    ) -> None:
        """A checkpoint of another log is refused even where its position exists here."""
        await store.append("s", notes(4))
        other = store.tenant("other")
        await other.append("s", notes(4, start=50))
        mine = await store.checkpoints.save("reader", 2)
        foreign = await other.checkpoints.save("reader", 2)
        assert positions(await store.read_all(after=mine).list()) == [3, 4]
        with pytest.raises(LogDiverged, match="another event"):
            await store.read_all(after=foreign).list()

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [
            ("", ["%", "%a", "A", "_", "_b", "a", "a/1", "a/2", "ab", "b", "é", "日", "😀"]),
            ("a", ["a", "a/1", "a/2", "ab"]),
            ("a/", ["a/1", "a/2"]),
            ("A", ["A"]),
            ("%", ["%", "%a"]),
            ("_", ["_", "_b"]),
            ("a%", []),
            ("a_", []),
            ("é", ["é"]),
            ("日", ["日"]),
            ("😀", ["😀"]),
            ("\U0010ffff", []),
            ("zz", []),
            ("a/1x", []),
            ("*", []),
            ("[a]", []),
            ("'", []),
        ],
    )
    async def test_streams_are_listed_by_prefix_then_they_come_in_the_order_of_bytes(
        self, store: EventStore, prefix: str, expected: list[str]
    ) -> None:
        """A prefix is plain text: no character in it is a pattern, and case counts."""
        names = ["b", "a/2", "é", "a", "😀", "%a", "_", "日", "A", "ab", "%", "a/1", "_b"]
        for name in names:
            await store.append(name, notes(1))
        found = [info.name async for info in store.streams(prefix=prefix)]
        assert found == expected
        assert found == sorted(found, key=str.encode)

    async def test_streams_are_listed_then_each_says_its_version_and_times(
        self, store: EventStore, clock: FixedClock
    ) -> None:
        """Version and the moments of the first and last event."""
        start = clock.now
        await store.append("a", notes(2))
        await store.append("b", notes(1))
        await store.append("a", notes(1))
        a, b = [info async for info in store.streams()]
        events = await store.read("a").list()
        assert (a.name, a.version, b.name, b.version) == ("a", 3, "b", 1)
        assert a.first_recorded_at == start == events[0].recorded_at
        assert a.last_recorded_at == events[-1].recorded_at > b.last_recorded_at

    async def test_more_streams_than_a_page_then_all_are_listed_once(
        self, store: EventStore
    ) -> None:
        """A listing goes on over pages, and streams made meanwhile do not disturb it."""
        for start in range(0, 2_100, 700):
            await asyncio.gather(
                *(store.append(f"s/{n:05d}", note()) for n in range(start, start + 700))
            )
        found = []
        async for info in store.streams(prefix="s/"):
            found.append(info.name)
            if len(found) == 10:
                await store.append("s/0", note())
        assert found == [f"s/{n:05d}" for n in range(2_100)]

    @pytest.mark.parametrize(
        "arguments",
        [
            {"after": -1},
            {"after": True},
            {"after": "1"},
            {"after": None},
            {"after": 1.0},
            {"limit": -1},
            {"limit": True},
            {"limit": "1"},
            {"types": "note.added"},
            {"tags": "t"},
            {"types": [""]},
            {"types": 5},
            {"types": ["a"], "query": Query()},
            {"query": []},
            {"query": "a"},
            {"query": 5},
            {"query": [Query(), "a"]},
        ],
    )
    async def test_a_read_is_asked_for_wrongly_then_it_is_refused_at_once(
        self, store: EventStore, arguments: dict[str, Any]
    ) -> None:
        """A bad argument is told where it is given, not at the first event."""
        with pytest.raises(InvalidEvent):
            store.read_all(**arguments)
        if set(arguments) <= {"after", "query"}:
            with pytest.raises(InvalidEvent):
                store.subscribe(**arguments)
        if set(arguments) <= {"after", "limit"}:
            with pytest.raises(InvalidEvent):
                store.read("s", **arguments)

    @pytest.mark.parametrize("stream", ["", None, 5, "a\n", "e\u0301", "x" * 201, "\ud800"])
    async def test_a_stream_name_is_no_name_then_reads_refuse_it(
        self, store: EventStore, stream: Any
    ) -> None:
        """The same rule for names at every door."""
        with pytest.raises(InvalidEvent, match="stream"):
            store.read(stream)
        with pytest.raises(InvalidEvent, match="stream"):
            await store.version(stream)
        with pytest.raises(InvalidEvent, match="stream"):
            await store.lookup(stream, "k")

    @pytest.mark.parametrize("prefix", [None, 5, b"a", "\ud800"])
    async def test_a_prefix_is_no_text_then_it_is_refused(
        self, store: EventStore, prefix: Any
    ) -> None:
        """A prefix may be empty and may end anywhere, but it is text."""
        with pytest.raises(InvalidEvent, match="prefix"):
            [info async for info in store.streams(prefix)]
