"""The whole log against a plain model, in random order of random calls, reopened and cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ...errors import ConditionFailed, Conflict, IdempotencyMismatch, InvalidEvent
from ...events import Append, AppendResult, NewEvent, RecordedEvent
from ...points import Expected
from ...query import AppendCondition, Query
from ...snapshots import Snapshot
from ...store import EventStore
from ...thinning import too_close
from ..history import check_dense
from .harness import Harness
from .plain import Model, Places

T = TypeVar("T")

STREAMS = st.sampled_from(["a", "a/b", "b_", "b%", "é"])
SNAPSHOT_VERSIONS = st.integers(1, 9) | st.integers(64, 96)
"""Some that lie close, far behind others: those are the ones that do not stay."""
KEYS = st.sampled_from(["k1", "k2", "k3"])
TAGS = ["x", "y", "z"]
TYPES = ["t", "u", "v"]
EVENTS = st.builds(
    NewEvent,
    st.sampled_from(TYPES),
    st.sampled_from([None, 1, {"n": 1}, {"n": 2}]),
    id=st.one_of(st.none(), st.none(), st.none(), st.sampled_from(["i1", "i2", "i3", "i4"])),
    tags=st.lists(st.sampled_from(TAGS), max_size=2, unique=True),
)
EXPECTED = st.one_of(
    st.just(Expected.ANY),
    st.sampled_from(list(Expected)),
    st.integers(0, 4),
    st.just("head"),
)
QUERIES = st.builds(
    Query,
    st.lists(st.sampled_from(TYPES), max_size=2, unique=True),
    st.lists(st.sampled_from(TAGS), max_size=2, unique=True),
)
CONDITIONS = st.builds(
    AppendCondition,
    st.one_of(QUERIES, st.lists(QUERIES, min_size=1, max_size=2)),
    st.integers(0, 12),
)


class LogMachine(RuleBasedStateMachine):
    """Calls the store and the model alike. Each run has a store of its own."""

    def __init__(self, suite: Harness, folder: Path) -> None:
        super().__init__()
        self.suite = suite
        self.url = suite.new_url(folder)
        self.model = Model()
        self.runner = asyncio.Runner()
        self.store = self.run(suite.open_store(self.url))
        self.ids: list[str] = []
        self.cancelled = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the machine's own loop."""
        return self.runner.run(work)

    def ask(self, question: Callable[[EventStore], Awaitable[T]]) -> T:
        """Puts a question to the store, from within its loop."""

        async def ask() -> T:
            return await question(self.store)

        return self.run(ask())

    @rule(
        stream=STREAMS,
        events=st.lists(EVENTS, max_size=3),
        expected=EXPECTED,
        key=st.one_of(st.none(), KEYS),
        condition=st.one_of(st.none(), st.none(), CONDITIONS),
    )
    def append(
        self,
        stream: str,
        events: list[NewEvent],
        expected: Any,
        key: str | None,
        condition: AppendCondition | None,
    ) -> None:
        """One stream."""
        append = Append(stream, events, self._expected(stream, expected), condition)
        self._call([append], stream, key)

    @rule(
        parts=st.dictionaries(
            STREAMS,
            st.tuples(st.lists(EVENTS, max_size=2), EXPECTED, st.one_of(st.none(), CONDITIONS)),
            min_size=1,
            max_size=3,
        ),
        key=st.one_of(st.none(), KEYS),
    )
    def append_many(self, parts: dict[str, tuple[Any, Any, Any]], key: str | None) -> None:
        """Several streams."""
        appends = [
            Append(stream, events, self._expected(stream, expected), condition)
            for stream, (events, expected, condition) in parts.items()
        ]
        self._call(appends, "", key)

    @rule(stream=STREAMS, events=st.lists(EVENTS, min_size=1, max_size=2), turns=st.integers(0, 4))
    def cancel_and_retry(self, stream: str, events: list[NewEvent], turns: int) -> None:
        """A caller gives up, then sends the same again: it is written once."""
        self.cancelled += 1
        key = f"cancelled-{self.cancelled}"
        events = [NewEvent(event.type, event.data, tags=event.tags) for event in events]

        async def give_up() -> None:
            task = asyncio.create_task(self.store.append(stream, events, idempotency_key=key))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self.run(give_up())
        word, places = self.model.predict([Append(stream, events)], stream, key)
        result = self.run(self.store.append(stream, events, idempotency_key=key))
        assert word == "written"
        self._note(places, [result])

    @rule(
        stream=STREAMS,
        after=st.integers(0, 6),
        limit=st.one_of(st.none(), st.integers(0, 4)),
        backwards=st.booleans(),
    )
    def read(self, stream: str, after: int, limit: int | None, backwards: bool) -> None:
        """A stream, in either direction."""
        events = self.ask(
            lambda store: store.read(stream, after=after, limit=limit, backwards=backwards).list()
        )
        at = self.model.of_stream(stream)
        if backwards:
            expected = (at[: after - 1] if after else at)[::-1]
        else:
            expected = at[after:]
        self._compare(events, expected if limit is None else expected[:limit])

    @rule(
        queries=st.lists(QUERIES, max_size=2),
        after=st.integers(0, 8),
        limit=st.one_of(st.none(), st.integers(0, 4)),
    )
    def read_all(self, queries: list[Query], after: int, limit: int | None) -> None:
        """The log, filtered."""
        after = min(after, len(self.model.log))
        events = self.ask(
            lambda store: store.read_all(after=after, query=queries or None, limit=limit).list()
        )
        expected = self.model.matching(queries or [Query()], after)
        self._compare(events, expected if limit is None else expected[:limit])

    @rule(prefix=st.sampled_from(["", "a", "a/", "b", "b_", "b%", "%", "é"]))
    def list_streams(self, prefix: str) -> None:
        """Streams by prefix, in the order of bytes."""

        async def listing() -> list[tuple[str, int]]:
            return [(info.name, info.version) async for info in self.store.streams(prefix)]

        names = sorted({row.stream for row in self.model.log}, key=str.encode)
        assert self.run(listing()) == [
            (name, len(self.model.of_stream(name))) for name in names if name.startswith(prefix)
        ]

    @rule(stream=STREAMS, key=KEYS)
    def look_up(self, stream: str, key: str) -> None:
        """What a key wrote."""
        found = self.run(self.store.lookup(stream, key))
        stands = self.model.keys.get((stream, key))
        assert (found is None) is (stands is None)
        if found is not None and stands is not None:
            self._compare(list(found.events), stands[1][0])

    @rule(stream=STREAMS, mark=st.sampled_from(["f", "g"]), version=SNAPSHOT_VERSIONS)
    def save_snapshot(self, stream: str, mark: str, version: int) -> None:
        """A state is kept, and those that lie too close are not."""
        state = b"%d" % len(self.model.log)
        snapshot = Snapshot(version, version, state, b"h")
        taken = self.ask(lambda store: store.snapshots.save(stream, "r", mark, snapshot))
        assert taken is bool(self.model.of_stream(stream))
        if not taken:
            return
        kept = self.model.snapshots.setdefault((stream, mark), {})
        kept[version] = state
        for old in too_close((each, len(one)) for each, one in kept.items()):
            del kept[old]

    @rule(stream=STREAMS, mark=st.sampled_from(["f", "g"]), until=st.integers(0, 99))
    def find_snapshot(self, stream: str, mark: str, until: int) -> None:
        """The newest state that is not too new."""
        found = self.ask(lambda store: store.snapshots.find(stream, "r", mark, until=until))
        kept = self.model.snapshots.get((stream, mark), {})
        version = max((v for v in kept if v <= until), default=None)
        expected = None if version is None else (version, kept[version])
        assert (None if found is None else (found.version, found.state)) == expected

    @precondition(lambda self: self.suite.keeps)
    @rule()
    def reopen(self) -> None:
        """Closing and opening again changes nothing."""
        self.run(self.store.close())
        self.store = self.run(self.suite.open_store(self.url))
        self._whole()

    @invariant()
    def heads_agree(self) -> None:
        """The head is the number of events."""
        assert self.run(self.store.head()) == len(self.model.log)

    def teardown(self) -> None:
        """The whole log, at last, and its own checker."""
        try:
            self._whole()
            assert self.run(self.store.verify()).damages == ()
        finally:
            self.run(self.store.close())
            self.runner.close()
            self.suite.release_url(self.url)

    def _expected(self, stream: str, expected: Any) -> Expected | int:
        return len(self.model.of_stream(stream)) if expected == "head" else expected

    def _call(self, appends: list[Append], scope: str, key: str | None) -> None:
        word, told = self.model.predict(appends, scope, key)
        try:
            results = self.run(self._send(appends, scope, key))
        except IdempotencyMismatch as mismatch:
            assert word == "mismatch"
            first = mismatch.result
            self._compare_all(first if isinstance(first, list) else [first], told)
        except Conflict as conflict:
            self._check_conflict(conflict, word, told)
        except InvalidEvent:
            assert word == "invalid"
        else:
            events = any(append.events for append in appends)
            assert word in ("written", "first")
            assert {r.duplicate for r in results} == {word == "first"}
            if word == "written" and events:
                self._note(told, results)
            else:
                self._compare_all(results, told)

    def _check_conflict(self, conflict: Conflict, word: str, told: Any) -> None:
        kind = "condition" if isinstance(conflict, ConditionFailed) else "conflict"
        assert word == kind
        assert told[:2] == (conflict.index, conflict.actual)
        self._compare(list(conflict.events), told[2])

    async def _send(self, appends: list[Append], scope: str, key: str | None) -> Any:
        if scope == "":
            return await self.store.append_many(appends, idempotency_key=key)
        (one,) = appends
        result = await self.store.append(
            one.stream,
            one.events,
            expected=one.expected,
            condition=one.condition,
            idempotency_key=key,
        )
        return [result]

    def _note(self, places: Places, results: list[AppendResult]) -> None:
        """Learns the ids of what was written, and compares."""
        self.ids.extend(event.id for result in results for event in result.events)
        self._compare_all(results, places)

    def _compare_all(self, results: list[AppendResult], places: Places) -> None:
        for result, at in zip(results, places, strict=True):
            self._compare(list(result.events), at)
            if at:
                assert result.position == at[-1]
                assert result.version == result.events[-1].version

    def _compare(self, events: list[RecordedEvent], at: list[int]) -> None:
        assert [event.position for event in events] == at
        for event in events:
            row = self.model.log[event.position - 1]
            assert event.id == self.ids[event.position - 1]
            assert (event.stream, event.type, event.tags) == (row.stream, row.type, row.tags)
            assert event.data == json.loads(row.data)
            assert event.version == self.model.of_stream(row.stream).index(event.position) + 1

    def _whole(self) -> None:
        log = self.ask(lambda store: store.read_all().list())
        check_dense(log)
        self._compare(log, list(range(1, len(self.model.log) + 1)))


class ModelContract(Harness):
    """Any calls in any order leave the log as the model says."""

    model_phases: Sequence[Phase] = tuple(Phase)
    """What Hypothesis does; without `Phase.shrink` a failure comes sooner, and is larger."""

    async def test_any_calls_in_any_order_then_the_log_is_as_a_plain_model_says(
        self, tmp_path: Path
    ) -> None:
        """append, append_many, conditions, keys, known ids, reads, snapshots, reopen, cancel."""
        await asyncio.to_thread(
            run_state_machine_as_test,
            lambda: LogMachine(self, tmp_path),  # type: ignore[arg-type]  # a factory serves
            settings=settings(
                max_examples=60,
                phases=self.model_phases,
                stateful_step_count=40,
                deadline=None,
                database=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
