"""Views that the tests of relays use, a sink of their own, and words for what they wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import sqlalchemy as sa

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import Delete, Projection, RelationalView, SinkEmptied, SinkUnavailable, Upsert
from projections.asking import reached, serving
from projections.catalog import Generation, generations
from projections.projection import Key, key_text
from projections.relay import Relay, letters
from projections.sinks import Build, Change, Row, Written
from projections.view import View
from reducers import Reducer, unchecked


class Boom(Exception):
    """What handlers of these tests fail with."""


class Faults:
    """Which events fail: by their text, so many times (None: always). `tried` counts."""

    def __init__(self) -> None:
        self.left: dict[str, int | None] = {}
        self.tried: dict[str, int] = {}

    def check(self, text: str) -> None:
        """Raises `Boom` where it is due."""
        self.tried[text] = self.tried.get(text, 0) + 1
        left = self.left.get(text, 0)
        if left is None:
            raise Boom(text)
        if left:
            self.left[text] = left - 1
            raise Boom(text)


def notes_table(name: str = "notes") -> sa.Table:
    """A row for each note."""
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("n", sa.Integer),
    )


def notes_projection(
    name: str = "notes", *, version: int = 1, faults: Faults | None = None, prefix: str = ""
) -> Projection:
    """A map: a note is added under its id, and goes; keys are streams."""
    made = Projection(name, version=version)

    @made.on("note.added")
    def added(event: RecordedEvent) -> Any:
        if faults is not None:
            faults.check(event.data["text"])
        return Upsert(event.data["id"], {"text": prefix + event.data["text"], "n": event.version})

    @made.on("note.gone")
    def gone(event: RecordedEvent) -> Any:
        return Delete(event.data["id"])

    return made


def notes_view(name: str = "notes", faults: Faults | None = None, **options: Any) -> RelationalView:
    """The notes in a table."""
    return RelationalView(notes_projection(name, faults=faults), notes_table(name), **options)


def counts_projection(
    name: str = "counts", *, version: int = 1, faults: Faults | None = None
) -> Projection:
    """A fold: how many notes a stream has, and the sum of their lengths."""
    count = Reducer(name, initial={"n": 0, "sum": 0}, version=version)

    @count.on("note.added")
    @unchecked(reason="faults are injected, and counted")
    def added(state: Any, event: RecordedEvent) -> Any:
        if faults is not None:
            faults.check(event.data["text"])
        return {"n": state["n"] + 1, "sum": state["sum"] + len(event.data["text"])}

    return Projection(name, version=version, fold=count)


def counts_table(name: str = "counts") -> sa.Table:
    """A row for each stream."""
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("n", sa.Integer),
        sa.Column("sum", sa.Integer),
    )


def counts_view(
    name: str = "counts", faults: Faults | None = None, **options: Any
) -> RelationalView:
    """The counts in a table."""
    return RelationalView(counts_projection(name, faults=faults), counts_table(name), **options)


class Outside:
    """A sink that is not in the store: a dict. `down` makes it not answer, `emptied` forgets all;
    `gate` is waited for in the middle of a write."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], dict[Key, Row]] = {}
        self.markers: dict[tuple[int, int], str] = {}
        self.down = False
        self.refuses: Callable[[Change], bool] = lambda change: False
        self.gate: asyncio.Event | None = None
        self.writes = 0
        self.entered = asyncio.Event()

    async def create(self, build: Build) -> Sequence[Any]:
        self._answer()
        self.rows.setdefault((build.tenant_id, build.generation), {})
        self.markers[build.tenant_id, build.generation] = build.incarnation
        return []

    async def write(self, build: Build, changes: Sequence[Change]) -> Written:
        self._answer()
        self._check_marker(build)
        self.writes += 1
        for change in changes:
            if self.refuses(change):
                raise ValueError("this sink does not take it")
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        rows = self.rows[build.tenant_id, build.generation]
        for change in changes:
            stands = rows.get(change.key)
            if stands is None or stands.position <= change.position:
                rows[change.key] = Row(change.key, change.value, change.position)
        return Written((), len(changes), 0)

    async def find(self, build: Build, keys: Sequence[Key]) -> list[Row]:
        self._answer()
        rows = self.rows.get((build.tenant_id, build.generation), {})
        return [rows[key] for key in keys if key in rows and rows[key].value is not None]

    async def scan(self, build: Build) -> AsyncIterator[list[Row]]:
        self._answer()
        rows = self.rows.get((build.tenant_id, build.generation), {})
        yield [rows[key] for key in sorted(rows, key=key_text) if rows[key].value is not None]

    async def drop(self, build: Build) -> Sequence[Any]:
        self.rows.pop((build.tenant_id, build.generation), None)
        return []

    async def close(self) -> None:
        pass

    def empty(self) -> None:
        """As a cache that is flushed."""
        for rows in self.rows.values():
            rows.clear()
        self.markers.clear()

    def values(self) -> dict[Key, Any]:
        """The rows of the newest generation."""
        newest = max(self.rows)
        return {k: row.value for k, row in self.rows[newest].items() if row.value is not None}

    def _answer(self) -> None:
        if self.down:
            raise SinkUnavailable("the sink is down")

    def _check_marker(self, build: Build) -> None:
        if self.markers.get((build.tenant_id, build.generation)) != build.incarnation:
            raise SinkEmptied(f"view {build.view!r}: its marker is missing")


async def add(store: EventStore, stream: str, key: str, text: str) -> int:
    """Appends a note; its position."""
    result = await store.append(stream, NewEvent("note.added", {"id": key, "text": text}))
    return result.position


async def rows_of(view: View) -> dict[Key, Any]:
    """All rows of the generation that serves."""
    build, _ = await serving(view)
    return {row.key: row.value async for page in view.sink.scan(build) for row in page}


async def texts_of(view: View) -> dict[Key, str]:
    """The texts of the notes that are in the view."""
    return {key: value["text"] for key, value in (await rows_of(view)).items()}


async def letters_of(view: View) -> list[tuple[str, int, bool]]:
    """(key, position, whether it is the one that failed) of what waits."""
    build, _ = await serving(view)
    return [
        (each.key, each.position, each.error is not None)
        for each in await letters.load(build)
        if each.dropped_reason is None
    ]


async def generations_of(view: View) -> list[Generation]:
    """All of the view's generations on its store."""
    outbox = view.store.outbox
    return await generations(outbox, await outbox.tenant_id(), view.name)


async def place_of(view: View) -> int:
    """How far the generation that serves is."""
    build, _ = await serving(view)
    return (await reached(build))[0]


async def notes_in(store: EventStore) -> dict[str, str]:
    """The notes by code of its own: what a view of them has to be."""
    found: dict[str, str] = {}
    async for event in store.read_all():
        if event.type == "note.added":
            found[event.data["id"]] = event.data["text"]
        elif event.type == "note.gone":
            found.pop(event.data["id"], None)
    return found


async def counts_in(store: EventStore) -> dict[str, tuple[int, int]]:
    """The counts by code of its own."""
    found: dict[str, tuple[int, int]] = {}
    async for event in store.read_all():
        if event.type == "note.added":
            n, total = found.get(event.stream, (0, 0))
            found[event.stream] = n + 1, total + len(event.data["text"])
    return found


async def counted(view: View) -> dict[Key, tuple[int, int]]:
    """The rows of a view of counts."""
    return {key: (row["n"], row["sum"]) for key, row in (await rows_of(view)).items()}


def feed(store: EventStore, *views: View, **options: Any) -> Relay:
    """A relay on the store, not started."""
    return Relay(store, views, **options)
