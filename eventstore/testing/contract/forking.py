"""Forking: a stream that begins as another one at a version, and goes its own way from there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ...errors import ConditionFailed, Conflict, IdempotencyMismatch, InvalidEvent
from ...events import Append, NewEvent, RecordedEvent
from ...points import Expected
from ...query import AppendCondition, Query
from ...store import EventStore
from .harness import Harness, note, notes, numbers, take

FORKED = "$stream.forked"

STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "fork"]), st.integers(0, 5), st.integers(1, 9)),
    min_size=2,
    max_size=8,
)
"""What is done to which of the streams that stand, and with how many events or at which version."""


def _seen(events: list[RecordedEvent]) -> list[tuple[Any, ...]]:
    return [(e.version, e.position, e.stream, e.id, e.type, e.payload) for e in events]


class ForkingContract(Harness):
    """What a fork is: the same events up to a version, and none of them twice."""

    async def test_a_stream_is_forked_then_it_begins_with_the_same_events(
        self, store: EventStore
    ) -> None:
        """Inherited events keep id, position and version, and bear the fork's name."""
        await store.append("s", notes(5))
        parent = await store.read("s").list()
        result = await store.fork("s", "f", 3, actor="ann")
        (made,) = result.events
        assert (result.version, result.position, made.stream) == (4, 6, "f")
        assert (made.type, made.data["stream"], made.data["version"]) == (FORKED, "s", 3)
        assert (made.causation_id, made.actor) == (parent[2].id, "ann")
        found = await store.read("f").list()
        wanted = [(*row[:2], "f", *row[3:]) for row in _seen(parent[:3])]
        assert _seen(found) == [*wanted, *_seen([made])]

    async def test_both_go_on_then_neither_sees_what_the_other_gets(
        self, store: EventStore
    ) -> None:
        """A fork and its parent diverge from the moment on."""
        await store.append("s", notes(3))
        await store.fork("s", "f", 2)
        await store.append("s", notes(1, start=10), expected=3)
        await store.append("f", notes(1, start=20), expected=3)
        mine = [event for event in await store.read("f").list() if event.type != FORKED]
        assert numbers(await store.read("s").list()) == [1, 2, 3, 10]
        assert numbers(mine) == [1, 2, 20]
        assert (await store.version("s"), await store.version("f")) == (4, 4)

    async def test_a_part_is_read_across_the_seam_then_it_is_that_part(
        self, store: EventStore
    ) -> None:
        """`after`, `limit` and backwards go over a fork as over any stream; also over its forks."""
        await _make_family(store)
        for name in ("s", "f", "early", "late"):
            events = await store.read(name).list()
            assert [event.version for event in events] == list(range(1, len(events) + 1))
            for after in range(len(events) + 2):
                for limit in (1, 2, 4, 99):
                    page = await store.read(name, after=after, limit=limit).list()
                    assert page == events[after : after + limit]
                    back = [e for e in reversed(events) if not after or e.version < after]
                    page = await store.read(name, after=after, limit=limit, backwards=True).list()
                    assert page == back[:limit]

    async def test_a_fork_is_forked_then_the_parent_is_who_holds_the_version(
        self, store: EventStore
    ) -> None:
        """At an inherited version a fork's fork is one of the stream that itself holds it."""
        await _make_family(store)
        early = (await store.read("early", after=2, limit=1).list())[0]
        late = (await store.read("late", after=5, limit=1).list())[0]
        assert (early.data["stream"], early.data["version"]) == ("s", 2)
        assert (late.data["stream"], late.data["version"]) == ("f", 5)

    async def test_many_forks_of_forks_then_each_begins_where_it_was_made(
        self, store: EventStore
    ) -> None:
        """A chain of forks is read through to its first stream."""
        await store.append("s0", notes(1))
        for n in range(1, 13):
            await store.fork(f"s{n - 1}", f"s{n}", n)
        found = await store.read("s12").list()
        assert [event.type for event in found] == ["note.added", *[FORKED] * 12]
        assert [event.version for event in found] == list(range(1, 14))
        assert await store.read("s12", backwards=True).list() == found[::-1]
        assert not (await store.verify()).damages

    async def test_the_log_is_read_then_each_event_comes_once(self, store: EventStore) -> None:
        """Positions, tags, causes and conditions know an event under its own stream alone."""
        first = (await store.append("s", [note(tags=["x"]), note(tags=["x"])])).events[0]
        await store.append("other", note(causation_id=first.id))
        await store.fork("s", "f", 2)
        await store.append("f", note(tags=["x"]))
        told = [(e.position, e.stream) for e in await store.read_all().list()]
        assert told == [(1, "s"), (2, "s"), (3, "other"), (4, "f"), (5, "f")]
        tagged = await store.read_all(tags=["x"]).list()
        assert [(e.position, e.stream) for e in tagged] == [(1, "s"), (2, "s"), (5, "f")]
        assert [e.stream async for e in store.caused_by(first.id)] == ["other"]
        second = (await store.read("s").list())[1]
        assert [e.type async for e in store.caused_by(second.id)] == [FORKED]
        inherited = await store.event(first.id)
        assert inherited is not None
        assert inherited.stream == "s"
        with pytest.raises(ConditionFailed) as failed:
            await store.append("f", note(), condition=AppendCondition(Query(tags=("x",)), after=4))
        assert [event.position for event in failed.value.events] == [5]

    async def test_the_stream_exists_then_it_is_refused(self, store: EventStore) -> None:
        """A fork is a new stream, or a `Conflict`, and nothing is written."""
        await store.append("s", notes(2))
        await store.append("f", notes(1))
        for into in ("f", "s"):
            with pytest.raises(Conflict) as conflict:
                await store.fork("s", into, 1)
            assert conflict.value.expected is Expected.NO_STREAM
        assert await store.head() == 3
        assert numbers(await store.read("f").list()) == [1]

    @pytest.mark.parametrize("at", [0, -1, 3, 2**62, True, "1", None])
    async def test_there_is_no_such_version_then_it_is_refused(
        self, store: EventStore, at: Any
    ) -> None:
        """A fork begins at a version that stands: not before the first, nor behind the last."""
        await store.append("s", notes(2))
        with pytest.raises(InvalidEvent):
            await store.fork("s", "f", at)
        with pytest.raises(InvalidEvent):
            await store.fork("none", "f", 1)
        assert (await store.head(), await store.version("f")) == (2, 0)

    async def test_other_tenants_have_the_name_then_they_do_not_meet(
        self, store: EventStore
    ) -> None:
        """A fork has its parent in its own tenant."""
        await store.append("s", notes(2))
        acme = store.tenant("acme")
        with pytest.raises(InvalidEvent):
            await acme.fork("s", "f", 1)
        await acme.append("s", notes(1, start=7))
        await acme.fork("s", "f", 1)
        assert numbers((await acme.read("f").list())[:1]) == [7]
        assert await store.version("f") == 0

    async def test_it_is_sent_again_with_its_key_then_it_is_made_once(
        self, store: EventStore
    ) -> None:
        """An idempotency key gives the first answer again; at another version it is a mismatch."""
        await store.append("s", notes(3))
        first = await store.fork("s", "f", 2, idempotency_key="k")
        again = await store.fork("s", "f", 2, idempotency_key="k")
        assert (again.duplicate, again.events) == (True, first.events)
        with pytest.raises(IdempotencyMismatch):
            await store.fork("s", "f", 1, idempotency_key="k")
        found = await store.lookup("f", "k")
        assert found is not None
        assert found.events == first.events
        assert await store.head() == 4

    async def test_forks_are_listed_then_they_are_as_old_as_what_they_inherit(
        self, store: EventStore
    ) -> None:
        """A listing has a fork's version, and the time of its first event, inherited or not."""
        await _make_family(store)
        listed = {info.name: info async for info in store.streams()}
        for name, info in listed.items():
            events = await store.read(name).list()
            assert info.version == len(events) == await store.version(name)
            assert info.first_recorded_at == events[0].recorded_at
            assert info.last_recorded_at == events[-1].recorded_at

    async def test_a_fork_is_subscribed_to_then_all_of_it_comes(self, store: EventStore) -> None:
        """A subscription to a fork, also one that waited for it, begins with what it inherits and
        goes on with its own."""
        await store.append("s", notes(2))
        waiting = asyncio.create_task(take(store.subscribe(stream="f"), 4))
        await asyncio.sleep(0)
        await store.fork("s", "f", 2)
        reading = asyncio.create_task(take(store.subscribe(stream="f"), 4))
        await asyncio.sleep(0)
        await store.append("s", notes(1, start=10))
        await store.append("f", notes(1, start=20))
        assert [(e.version, e.stream) for e in await reading] == [(n, "f") for n in range(1, 5)]
        assert await waiting == await reading
        behind = await take(store.subscribe(stream="f", after=1), 3)
        assert [event.version for event in behind] == [2, 3, 4]

    async def test_both_are_appended_to_meanwhile_then_the_fork_holds_what_stood(
        self, store: EventStore
    ) -> None:
        """Forks and appends at once: one fork of a name wins, and versions have no holes."""
        await store.append("s", notes(2))
        calls = [
            *[store.append("s", notes(1, start=10 + n)) for n in range(5)],
            *[store.fork("s", "f", 2) for _ in range(3)],
            *[store.append("s", notes(1, start=20 + n)) for n in range(5)],
            *[store.fork("s", f"f{n}", 1) for n in range(3)],
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(each, Conflict) for each in results) == 2
        assert sum(isinstance(each, BaseException) for each in results) == 2
        await asyncio.gather(*[store.append("f", note()) for _ in range(4)])
        assert [e.version for e in await store.read("f").list()] == list(range(1, 8))
        assert await store.version("s") == 12
        assert not (await store.verify()).damages

    async def test_a_fork_is_appended_to_then_its_versions_are_expected_as_any(
        self, store: EventStore
    ) -> None:
        """A fork is a stream from its first event on, for appends to several streams too."""
        await store.append("s", notes(1))
        await store.fork("s", "f", 1)
        with pytest.raises(Conflict) as conflict:
            await store.append("f", notes(1), expected=0)
        assert [event.version for event in conflict.value.events] == [1, 2]
        await store.append("f", notes(1), expected=2)
        await store.append_many([Append("s", notes(1), 1), Append("f", notes(1), 3)])
        assert (await store.version("s"), await store.version("f")) == (2, 4)

    async def test_a_user_makes_such_an_event_then_it_is_refused(self, store: EventStore) -> None:
        """The store alone says that a stream is a fork."""
        with pytest.raises(InvalidEvent):
            await store.append("s", NewEvent(FORKED, {"stream": "t", "version": 1}))

    async def test_the_log_is_verified_then_forks_are_no_damage(self, store: EventStore) -> None:
        """A fork's own versions begin behind what it inherits, and `verify` knows it."""
        await _make_family(store)
        seen: list[int] = []
        report = await store.verify(progress=lambda done, total: seen.append(total - done))
        assert (report.damages, report.events, report.streams) == ((), await store.head(), 4)
        assert seen[-1] == 0

    @settings(
        max_examples=8,
        deadline=None,
        database=None,  # each engine runs it: what one finds is not played to another
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,  # each example has a tenant of its own
            HealthCheck.differing_executors,
            HealthCheck.too_slow,
        ],
    )
    @given(steps=STEPS)
    async def test_any_history_of_forks_then_each_reads_as_a_copy_would(
        self, store: EventStore, steps: list[tuple[str, int, int]]
    ) -> None:
        """Reading a fork gives what a copy of the events, made at that moment, would hold."""
        tenant = store.tenant(f"t{await _count(store)}")
        copies: dict[str, list[tuple[Any, ...]]] = {}
        for step, (what, which, count) in enumerate([("append", 0, 3), *steps]):
            names = list(copies)
            name = names[which % len(names)] if names else "s"
            if what == "append":
                found = await tenant.append(name, notes(count, start=10 * step))
            else:
                at = 1 + count % len(copies[name])
                copies[f"f{step}"] = copies[name][:at]
                name = f"f{step}"
                found = await tenant.fork(names[which % len(names)], name, at)
            own = copies.setdefault(name, [])
            own += [(e.version, e.position, e.id, e.payload) for e in found.events]
        for name, copy in copies.items():
            events = await tenant.read(name).list()
            assert [(e.version, e.position, e.id, e.payload) for e in events] == copy
            assert {event.stream for event in events} == {name}
            assert await tenant.read(name, backwards=True).list() == events[::-1]
        assert not (await tenant.verify()).damages


async def _make_family(store: EventStore) -> None:
    """A stream `s`, its fork `f`, and two forks of that: in what it inherits, and behind it."""
    await store.append("s", notes(5))
    await store.fork("s", "f", 3)
    await store.append("f", notes(2, start=20))
    await store.append("s", notes(1, start=6))
    await store.fork("f", "early", 2)
    await store.fork("f", "late", 5)
    await store.append("late", notes(2, start=30))


async def _count(store: EventStore) -> int:
    return len(await store.tenants())
