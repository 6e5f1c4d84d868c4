"""Appending: what an answer says, what an event carries, and the bytes that are stored."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from ...errors import Conflict
from ...events import Append, NewEvent, RecordedEvent
from ...points import Expected
from ...store import EventStore
from ..clocks import FixedClock
from ..history import History
from ..ids import SequentialIds
from .harness import Harness, note, notes, numbers, positions, whole

GOLDEN = [
    # name,            data,                                    stored bytes
    ("keys are sorted", {"b": 1, "a": {"d": 2, "c": 3}}, b'{"a":{"c":3,"d":2},"b":1}'),
    ("minus zero", {"x": -0.0}, b'{"x":-0.0}'),
    ("zero", {"x": 0.0}, b'{"x":0.0}'),
    ("a whole float", {"x": 1.0}, b'{"x":1.0}'),
    ("largest power", {"x": 1e308}, b'{"x":1e308}'),
    ("smallest float", {"x": 5e-324}, b'{"x":5e-324}'),
    ("a third", {"x": 0.1 + 0.2}, b'{"x":0.30000000000000004}'),
    ("least integer", {"x": -(2**63)}, b'{"x":-9223372036854775808}'),
    ("largest integer", {"x": 2**63 - 1}, b'{"x":9223372036854775807}'),
    ("nul", {"x": "\x00"}, b'{"x":"\\u0000"}'),
    ("escapes", {"x": '"\\/\b\f\n\r\t'}, b'{"x":"\\"\\\\/\\b\\f\\n\\r\\t"}'),
    ("unicode", {"é": "日本\u2028"}, b'{"\xc3\xa9":"\xe6\x97\xa5\xe6\x9c\xac\xe2\x80\xa8"}'),
    ("beyond the first plane", {"x": "\U0001f600"}, b'{"x":"\xf0\x9f\x98\x80"}'),
    (
        "keys by code point, not by UTF-16",
        {"\U0001f600": 1, "\uffff": 2},
        b'{"\xef\xbf\xbf":2,"\xf0\x9f\x98\x80":1}',
    ),
    ("not normalised", {"x": "e\u0301"}, b'{"x":"e\xcc\x81"}'),
    ("empty things", {"x": [{}, [], "", None]}, b'{"x":[{},[],"",null]}'),
    ("a value that is no object", [True, False, None, 1, "a"], b'[true,false,null,1,"a"]'),
    ("a single string", "text", b'"text"'),
    ("nothing", None, b"null"),
]
"""Canonical bytes. They are what hashes cover: a change here breaks every stored log."""


class AppendContract(Harness):
    """Answers, metadata, canonical bytes, hashes, and the clock."""

    async def test_events_are_appended_then_the_answer_names_the_last_one(
        self, store: EventStore
    ) -> None:
        """`version` and `position` are those of the last event, `events` are all of them."""
        await store.append("other", note())
        result = await store.append("s", notes(3))
        assert (result.version, result.position, result.duplicate) == (3, 4, False)
        assert [(e.stream, e.version, e.position) for e in result.events] == [
            ("s", 1, 2),
            ("s", 2, 3),
            ("s", 3, 4),
        ]
        assert list(result.events) == await store.read("s").list()
        assert (await store.version("s"), await store.head()) == (3, 4)

    async def test_metadata_is_given_then_the_event_carries_it(self, store: EventStore) -> None:
        """Every field that an append and an event can bear comes back as it was given."""
        zone = timezone(timedelta(hours=5, minutes=30))
        cause = (await store.append("s", note(id="cause-1"))).events[0]
        await store.append(
            "s",
            [
                NewEvent(
                    "task.done",
                    {"title": "écrire"},
                    id="given-1",
                    tags=["b", "a", "b"],
                    occurred_at=datetime(2020, 5, 1, 12, tzinfo=zone),
                    derived_from=[cause.id],
                ),
                NewEvent("task.done", {}, causation_id="own", context={"own": True}),
            ],
            actor="ann",
            causation_id="cause-1",
            correlation_id="run-9",
            context={"host": "h", "deep": [1]},
        )
        first, second = await store.read("s", after=1).list()
        assert (first.id, first.type, first.schema_version) == ("given-1", "task.done", 1)
        assert first.data == {"title": "écrire"}
        assert first.payload == '{"title":"écrire"}'.encode()
        assert first.tags == ("b", "a")
        assert first.occurred_at == datetime(2020, 5, 1, 6, 30, tzinfo=UTC)
        assert first.derived_from == ("cause-1",)
        assert (first.actor, first.causation_id) == ("ann", "cause-1")
        assert (first.correlation_id, first.context) == ("run-9", {"host": "h", "deep": [1]})
        assert (second.actor, second.causation_id) == ("ann", "own")
        assert second.context == {"own": True}
        assert second.occurred_at is None
        assert second.recorded_at.tzinfo is UTC

    async def test_nothing_optional_is_given_then_the_event_has_none_of_it(
        self, store: EventStore
    ) -> None:
        """What was not given is None or empty, and the id is made by the store."""
        await store.append("s", note())
        (event,) = await store.read("s").list()
        assert event.id == "event-000001"
        assert event.tags == event.derived_from == ()
        optional = (event.actor, event.causation_id, event.correlation_id, event.context)
        assert optional == (None, None, None, None)
        assert event.occurred_at is None

    async def test_an_event_is_found_by_its_id_and_by_its_cause(self, store: EventStore) -> None:
        """`event` finds one by id, `caused_by` those that name it in either way, by position."""
        await store.append("a", [note(id="root")])
        await store.append("b", [note(causation_id="root"), note()])
        await store.append("c", [note(derived_from=["x", "root"]), note(causation_id="x")])
        await store.append("d", [note(causation_id="root", derived_from=["root"])])
        found = await store.event("root")
        assert found is not None
        assert (found.stream, found.position) == ("a", 1)
        assert await store.event("none") is None
        assert positions([e async for e in store.caused_by("root")]) == [2, 4, 6]

    @pytest.mark.parametrize("stream", ["s", "päth/日本/😀", "a" * 200, "with space", "%_'\"\\;--"])
    async def test_a_stream_has_an_odd_name_then_it_works_as_any(
        self, store: EventStore, stream: str
    ) -> None:
        """Names are data: no character in them means anything to an engine."""
        await store.append(stream, notes(2), expected=Expected.NO_STREAM, idempotency_key=stream)
        assert numbers(await store.read(stream).list()) == [1, 2]
        assert [info.name async for info in store.streams(prefix=stream)] == [stream]
        assert await store.lookup(stream, stream) is not None

    @pytest.mark.parametrize(
        ("data", "stored"),
        [row[1:] for row in GOLDEN],
        ids=[row[0].replace(" ", "_") for row in GOLDEN],
    )
    async def test_data_is_stored_then_its_bytes_are_the_canonical_ones(
        self, store: EventStore, data: object, stored: bytes
    ) -> None:
        """The same bytes on every engine, and data that compares and prints the same."""
        await store.append("s", NewEvent("t", data))
        (event,) = await store.read("s").list()
        assert event.payload == stored
        assert event.data == data
        assert repr(event.data) == repr(event.untyped().data)

    async def test_a_golden_log_is_written_then_its_hashes_are_the_pinned_ones(
        self, tmp_path: Path
    ) -> None:
        """The hash chain is the same on every engine and in every version of this code."""
        store = await self.open_store(
            self.new_url(tmp_path),
            clock=FixedClock(datetime(2026, 1, 1, tzinfo=UTC)),
            ids=SequentialIds("golden"),
        )
        async with store:
            await store.append("s", NewEvent("t", {"x": -0.0, "a": "\x00é"}))
            await store.append(
                "päth",
                [
                    NewEvent(
                        "u",
                        [1e308, None],
                        tags=["b", "a"],
                        occurred_at=datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
                        derived_from=["golden-000001"],
                        context={"k": 1},
                    )
                ],
                actor="ann",
                causation_id="golden-000001",
                correlation_id="run",
            )
            hashes = [
                (await store.checkpoints.save("reader", position)).hash.hex() for position in (1, 2)
            ]
        assert hashes == [
            "b6046a035bbb2192e5699ae711cbcd5d90a8bd7ab179616cb326b7f06935e9b3",
            "ab4f21d8fa0842e4e1d431e69c3bfaea88a511742ddafdab3360137804a99805",
        ]

    async def test_the_clock_goes_back_then_recorded_at_stays(
        self, store: EventStore, clock: FixedClock
    ) -> None:
        """`recorded_at` is the later of the clock and the last event, and orders nothing."""
        start = clock.now
        await store.append("s", notes(1, start=1))
        clock.now = start + timedelta(days=365)
        await store.append("s", notes(1, start=2))
        clock.now = start - timedelta(days=3)
        await store.append("t", notes(1, start=3))
        clock.now = start + timedelta(days=365)
        await store.append("s", notes(1, start=4))
        log = await store.read_all().list()
        ahead = start + timedelta(days=365)
        assert [event.recorded_at for event in log] == [start, ahead, ahead, ahead]
        assert numbers(log) == [1, 2, 3, 4]
        info = [info async for info in store.streams()]
        assert [(i.first_recorded_at, i.last_recorded_at) for i in info] == [
            (start, ahead),
            (ahead, ahead),
        ]

    async def test_the_clock_gives_microseconds_then_they_are_kept(self, tmp_path: Path) -> None:
        """A clock may give whole microseconds since 1970; none of them is lost."""
        url = self.new_url(tmp_path)
        async with await self.open_store(url, clock=lambda: 1_700_000_000_123_457) as store:
            (event,) = (await store.append("s", note())).events
        assert event.recorded_at == datetime(2023, 11, 14, 22, 13, 20, 123457, tzinfo=UTC)

    async def test_events_of_one_append_then_they_share_recorded_at(
        self, store: EventStore
    ) -> None:
        """An append is one moment."""
        result = await store.append("s", notes(5))
        assert len({event.recorded_at for event in result.events}) == 1

    @pytest.mark.parametrize("year", [1, 1969, 9999])
    async def test_occurred_at_is_far_away_then_it_comes_back(
        self, store: EventStore, year: int
    ) -> None:
        """Imported history may be older than 1970; microseconds are kept."""
        moment = datetime(year, 6, 1, 1, 2, 3, 999999, tzinfo=UTC)
        await store.append("s", note(occurred_at=moment))
        assert (await store.read("s").list())[0].occurred_at == moment

    async def test_many_append_at_once_then_everything_answered_stands_once(
        self, store: EventStore
    ) -> None:
        """Acknowledged means written, exactly once, dense in the log and in each stream."""
        history = History()

        async def write(task: int) -> None:
            for turn in range(10):
                result = await store.append(f"s/{(task + turn) % 5}", notes(1 + turn % 3))
                history.acknowledged(result)

        await asyncio.gather(*(write(task) for task in range(20)))
        history.check_log(await store.read_all().list())
        assert await store.head() == 20 * sum(1 + turn % 3 for turn in range(10))

    async def test_many_expect_one_version_at_once_then_one_of_them_wins(
        self, store: EventStore
    ) -> None:
        """One winner per version; each loser is told what the winner wrote."""
        await store.append("s", note())

        async def attempt(name: str) -> RecordedEvent | Conflict:
            try:
                return (await store.append("s", note(name), expected=1)).events[0]
            except Conflict as conflict:
                return conflict

        answers = await asyncio.gather(*(attempt(f"n{i}") for i in range(30)))
        won = [answer for answer in answers if isinstance(answer, RecordedEvent)]
        lost = [answer for answer in answers if isinstance(answer, Conflict)]
        assert (len(won), len(lost)) == (1, 29)
        assert {(c.expected, c.actual, c.events) for c in lost} == {(1, 2, (won[0],))}
        assert await store.version("s") == 2

    async def test_no_events_are_given_then_it_is_a_check_that_writes_nothing(
        self, store: EventStore
    ) -> None:
        """An append without events answers the version and the head it was checked against."""
        await store.append("a", notes(2))
        await store.append("s", notes(3))
        before = await whole(store)
        for expected in (3, Expected.ANY, Expected.STREAM_EXISTS):
            result = await store.append("s", [], expected=expected, idempotency_key="k")
            assert (result.version, result.position, result.events) == (3, 5, ())
            assert result.duplicate is False
        nothing = await store.append("new", [], expected=Expected.NO_STREAM)
        assert (nothing.version, nothing.position) == (0, 5)
        with pytest.raises(Conflict):
            await store.append("s", [], expected=2)
        assert await store.lookup("s", "k") is None
        assert await whole(store) == before

    async def test_one_event_is_given_without_a_list_then_it_is_appended(
        self, store: EventStore
    ) -> None:
        """One event, a tuple and a generator are as good as a list."""
        await store.append("s", notes(1)[0])
        await store.append("s", tuple(notes(2, start=2)))
        await store.append("s", (event for event in notes(2, start=4)))
        await store.append_many([Append("s", notes(1, start=6)[0])])
        assert numbers(await store.read("s").list()) == [1, 2, 3, 4, 5, 6]

    async def test_ten_thousand_events_are_appended_at_once_then_all_stand(
        self, store: EventStore
    ) -> None:
        """The largest append there may be is one transaction."""
        result = await store.append("s", notes(10_000))
        assert (result.version, result.position, len(result.events)) == (10_000, 10_000, 10_000)
        assert numbers(await store.read("s").list()) == list(range(1, 10_001))

    async def test_a_payload_of_eight_mebibytes_is_appended_then_it_comes_back(
        self, store: EventStore
    ) -> None:
        """The largest payload there may be: exactly 8 MiB of canonical bytes."""
        text = "x" * (8 * 1024 * 1024 - len('{"t":""}'))
        await store.append("s", [NewEvent("t", {"t": text}), note()])
        first, second = await store.read("s").list()
        assert len(first.payload) == 8 * 1024 * 1024
        assert first.data["t"] == text
        assert second.data == {"text": "hello"}
