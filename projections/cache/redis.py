"""The cache in Redis or Valkey.

A row is a text under a key of its own: 19 digits of the position of its event, 19 digits of the
time until when it is served (microseconds since 1970; zeros: for ever), and the value's JSON. A
deleted row leaves a tombstone, which has no JSON, so that a write that comes late finds the newer
position. Beside the rows stands the generation's marker: a hash of its incarnation and of how many
writes each partition has sent.

The store's own database counts the writes that Redis acknowledged, in the transaction that moves
the checkpoint. Redis that has counted fewer has lost some: it was restored from an older file,
failed over to a replica that lagged, or crashed before its file was on the disk.
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from operator import methodcaller
from typing import Any, TypeAlias
from urllib.parse import quote

from eventstore.canonical import decode_mutable
from eventstore.outbox import Statement

from ..errors import ProjectionError, SinkEmptied
from ..projection import Key, key_of_text
from ..sinks import Build, Change, Row, Written
from .rows import askable_keys, encode_value, expires_us, stored_key
from .scripts import (
    BEHIND,
    MARKER_INCARNATION,
    MARKER_WRITES,
    MISSING,
    POSITION_DIGITS,
    WRITE,
)
from .server import Server
from .statements import made, place_of, writes_sql

TOMBSTONE_SECONDS = 86_400
"""How long a deleted row's position is kept. Late writes come from a worker that was stalled beyond
its lease, which is an hour at most; a day leaves room for a machine that was put to sleep."""

_SLACK_MS = 60_000
"""An expired row is not served; Redis forgets it this much later, so that a server whose clock runs
ahead takes nothing away that is still good."""

_HEADER = 2 * POSITION_DIGITS

_WRITTEN_ROWS, _WRITTEN_BYTES = 1_000, 4 * 1024 * 1024
"""One run of the script: the server answers nobody else meanwhile, for about 5 ms."""

_ASKED_KEYS = 500
"""Rows of one question, also when a view is compared."""

_DROPPED_KEYS = 1_000
"""Keys of one UNLINK, and about as many are looked at by one SCAN: under a millisecond each."""

_REMEMBERED = 10_000
"""Builds that are remembered; beyond it all are forgotten, which costs a question each."""


_DIGEST_LETTERS = 10
"""Letters of an incarnation's digest, of 5 bits each: it tells apart the few stores that share a
server and have a tenant and a view of the same name. The marker holds all of it."""

_PREFIX = re.compile(r"[A-Za-z0-9._:-]{1,100}")

_Stored: TypeAlias = tuple[str, bytes, int]
"""A row's name, its body, and how many milliseconds it is kept."""


class RedisSink:
    """The sink of a `CacheView` with a URL."""

    def __init__(self, view: str, url: str, expire_us: int | None, prefix: str) -> None:
        self.view = view
        self.prefix = _check_prefix(view, prefix)
        self._server = Server(view, url)
        self._expire_us = expire_us
        # Writes that the server acknowledged, by incarnation and partition.
        self._acknowledged: dict[tuple[str, int], int] = {}
        # Of each incarnation that was compared: the number of connections there were then.
        self._compared: dict[str, int] = {}

    async def create(self, build: Build) -> Sequence[Statement]:
        """See `Sink`. Raises `ProjectionError` for a server that is set to evict rows by itself,
        and `SinkUnavailable`. If cancelled, call it again."""
        await self._refuse_eviction()
        mark = methodcaller("hsetnx", self.marker(build), MARKER_INCARNATION, build.incarnation)
        is_new = await self._server.ask(mark)
        sql = writes_sql(build)
        statements = made(sql.create)
        if is_new:
            # What was counted of an incarnation whose marker was not there is gone.
            self._forget(build)
            statements.append(Statement(sql.forget, ((*place_of(build), build.incarnation),)))
        return statements

    async def write(self, build: Build, changes: Sequence[Change]) -> Written:
        """See `Sink`: written and acknowledged; the statement counts it. Raises `ProjectionError`
        for a key or a value that is not one. If cancelled, it may be written all the same."""
        if not changes:
            return Written()
        now = build.outbox.now()
        start = self.row_name(build, "")
        rows = [self._row(start, change, now) for change in changes]
        partitions = sorted({change.partition for change in changes})
        counts = await self._acknowledged_of(build, partitions)
        for part in _parts(rows):
            counts = await self._send(build, partitions, counts, part)
        kept = [
            (*place_of(build), partition, build.incarnation, count)
            for partition, count in zip(partitions, counts, strict=True)
        ]
        size = sum([len(body) for _, body, _ in rows])
        return Written([Statement(writes_sql(build).keep, kept)], len(rows), size)

    async def find(self, build: Build, keys: Sequence[Key]) -> list[Row]:
        """See `Sink`. If cancelled, nothing is left open."""
        asked = askable_keys(keys)
        texts = list(asked)
        found = []
        for start in range(0, len(texts), _ASKED_KEYS):
            part = texts[start : start + _ASKED_KEYS]
            rows = await self._find(build, part)
            found += [Row(asked[text], value, position) for text, value, position in rows]
        return found

    async def scan(self, build: Build) -> AsyncIterator[list[Row]]:
        """See `Sink`. All keys are held in memory, about 100 bytes each, because Redis keeps no
        order; values are not. If cancelled, nothing is left open."""
        start, texts = self.row_name(build, "").encode(), set()
        async for names in self._names(build):
            texts.update([name[len(start) :] for name in names if name.startswith(start)])
        # The order of UTF-8's bytes is that of the code points.
        ordered = [text.decode() for text in sorted(texts)]
        if not ordered:
            await self._compare(build, is_read=True)  # nothing there, or nothing left
        for at in range(0, len(ordered), _ASKED_KEYS):
            page = await self._find(build, ordered[at : at + _ASKED_KEYS])
            if page:
                yield [Row(key_of_text(text), *found) for text, *found in page]

    async def drop(self, build: Build) -> Sequence[Statement]:
        """See `Sink`: the marker goes first, so that nobody takes the rest for the whole. If
        cancelled, call it again."""
        await self._clear(build)
        sql = writes_sql(build)
        return [*made(sql.create), Statement(sql.forget_all, (place_of(build),))]

    async def check(self, build: Build) -> None:
        """Raises `SinkEmptied` where Redis has lost its marker or writes that it acknowledged, and
        `SinkUnavailable`. If cancelled, call it again."""
        try:
            await self._compare(build, is_read=False)
        except SinkEmptied:
            await self._clear(build)
            raise

    async def close(self) -> None:
        """See `Sink`."""
        await self._server.close()

    # --- names

    def marker(self, build: Build) -> str:
        """The key of a generation's marker."""
        return f"{self._start(build)}marker"

    def row_name(self, build: Build, text: str) -> str:
        """The key of a row."""
        return f"{self._start(build)}row:{text}"

    def _start(self, build: Build) -> str:
        """What all keys of a build begin with. The incarnation is in it, because two stores may
        share a server; the braces put all of them on one node of a cluster."""
        tenant = build.outbox.tenant
        return _start(self.prefix, tenant, build.view, build.generation, build.incarnation)

    async def _names(self, build: Build) -> AsyncIterator[list[bytes]]:
        """The names of all that a build has, some of them twice."""
        # No character of it means something in a pattern: see `_check_prefix`.
        match, cursor = f"{self._start(build)}*", 0
        while True:
            look = methodcaller("scan", cursor, match, _DROPPED_KEYS)
            cursor, names = await self._server.ask(look)
            if names:
                yield names
            if not int(cursor):
                return

    # --- rows

    def _row(self, start: str, change: Change, now: int) -> _Stored:
        """The name, the body and how many milliseconds it is kept (0: for ever)."""
        name = start + stored_key(self.view, change.key)
        position = f"{change.position:0{POSITION_DIGITS}d}"
        until = expires_us(change, self._expire_us) or 0
        if change.value is None or 0 < until <= now:
            body = f"{position}{0:0{POSITION_DIGITS}d}".encode()
            return name, body, TOMBSTONE_SECONDS * 1_000
        body = f"{position}{until:0{POSITION_DIGITS}d}".encode() + encode_value(self.view, change)
        kept = (until - now) // 1_000 + _SLACK_MS if until else 0
        return name, body, kept

    async def _send(
        self, build: Build, partitions: list[int], known: list[int], rows: Sequence[_Stored]
    ) -> list[int]:
        args: list[Any] = [build.incarnation, len(partitions)]
        for pair in zip(partitions, known, strict=True):
            args += pair
        for _, body, kept_ms in rows:
            args += (body, kept_ms)
        keys = [self.marker(build), *[name for name, _, _ in rows]]
        counts: list[int] = await self._server.run(WRITE, keys, args)
        if counts[0] in (MISSING, BEHIND):
            await self._clear(build)
            what = "its marker" if counts[0] == MISSING else "writes that it acknowledged"
            raise self._emptied(f"has lost {what}")
        if len(self._acknowledged) >= _REMEMBERED:
            self._acknowledged.clear()
        for partition, count in zip(partitions, counts, strict=True):
            self._acknowledged[build.incarnation, partition] = count
        return counts

    async def _find(self, build: Build, texts: Sequence[str]) -> list[tuple[str, Any, int]]:
        """(key, value, position) of the rows that are served."""
        start = self.row_name(build, "")
        names = [start + text for text in texts]

        async def question(client: Any) -> Any:
            async with client.pipeline(transaction=True) as both:
                both.hget(self.marker(build), MARKER_INCARNATION)
                both.mget(names)
                return await both.execute()

        incarnation, bodies = await self._server.ask(question)
        self._check_incarnation(build, incarnation)
        if self._compared.get(build.incarnation) != self._server.connections:
            # What answered may have been started again since it was last compared.
            await self._compare(build, is_read=True)
        now, found = build.outbox.now(), []
        for text, body in zip(texts, bodies, strict=True):
            if body is None or len(body) == _HEADER:
                continue
            until = int(body[POSITION_DIGITS:_HEADER])
            if not until or until > now:
                value = decode_mutable(body[_HEADER:])
                found.append((text, value, int(body[:POSITION_DIGITS])))
        return found

    # --- what was lost

    async def _acknowledged_of(self, build: Build, partitions: list[int]) -> list[int]:
        known = [self._acknowledged.get((build.incarnation, each)) for each in partitions]
        if None in known:
            counted = await self._counted(build)
            return [counted.get(each, 0) for each in partitions]
        return [each for each in known if each is not None]

    async def _counted(self, build: Build) -> dict[int, int]:
        """The writes that the store's database says were acknowledged, by partition."""
        args = (*place_of(build), build.incarnation)
        rows: Any = await build.outbox.query(writes_sql(build).find, args)
        return dict(rows)

    async def _compare(self, build: Build, *, is_read: bool) -> None:
        """Raises `SinkEmptied` where Redis has counted fewer writes than it acknowledged; for a
        reader also while a partition has not begun to fill it again."""
        # Where the marker is missing, the database may count nothing yet: rows were in its table.
        mark = methodcaller("hget", self.marker(build), MARKER_INCARNATION)
        self._check_incarnation(build, await self._server.ask(mark))
        connections = self._server.connections
        # The database first: a write is counted in Redis before it is counted there.
        counted = await self._counted(build)
        found: Any = await self._server.ask(methodcaller("hgetall", self.marker(build)))
        self._check_incarnation(build, found.get(MARKER_INCARNATION.encode()))
        for partition, writes in counted.items():
            if int(found.get(f"{MARKER_WRITES}{partition}".encode(), 0)) < writes:
                raise self._emptied("has lost writes that it acknowledged")
        if not is_read:
            return
        args = (*place_of(build), build.incarnation)
        if await build.outbox.query(writes_sql(build).elsewhere, args):
            raise self._emptied("is being filled again")
        if len(self._compared) >= _REMEMBERED:
            self._compared.clear()
        self._compared[build.incarnation] = connections

    def _check_incarnation(self, build: Build, found: bytes | None) -> None:
        if found is None or found.decode() != build.incarnation:
            raise self._emptied("has lost its marker")

    def _emptied(self, what: str) -> SinkEmptied:
        return SinkEmptied(f"view {self.view!r}: Redis at {self._server.place} {what}")

    async def _clear(self, build: Build) -> None:
        """Takes away what a build has. The marker goes first, so that nobody takes the rest for
        the whole, and workers of other partitions notice too."""
        await self._server.ask(methodcaller("unlink", self.marker(build)))
        async for names in self._names(build):
            await self._server.ask(methodcaller("unlink", *names))
        self._forget(build)

    def _forget(self, build: Build) -> None:
        self._compared.pop(build.incarnation, None)
        mine = [each for each in self._acknowledged if each[0] == build.incarnation]
        for each in mine:
            del self._acknowledged[each]

    async def _refuse_eviction(self) -> None:
        """Raises `ProjectionError` where the server takes rows away when its memory is full: a row
        that is gone would be told as one that never was."""
        memory = await self._server.memory()
        policy = str(memory.get("maxmemory_policy", ""))
        takes = policy.startswith("allkeys-") or (
            policy.startswith("volatile-") and self._expire_us is not None
        )
        if takes and int(memory.get("maxmemory", 0)) > 0:
            raise ProjectionError(
                f"view {self.view!r}: Redis at {self._server.place} has maxmemory-policy {policy},"
                " which would take rows away unseen; set it to noeviction"
            )


@lru_cache(_REMEMBERED)
def _start(prefix: str, tenant: str, view: str, generation: int, incarnation: str) -> str:
    digest = b32encode(sha256(incarnation.encode()).digest()).decode()[:_DIGEST_LETTERS].lower()
    return f"{prefix}:{{{quote(tenant, safe='')}:{view}:{generation}:{digest}}}:"


def _parts(rows: Sequence[_Stored]) -> Iterator[Sequence[_Stored]]:
    """The rows in runs of a bounded number and size; one that is larger is a run of its own."""
    start, size = 0, 0
    for index, (_, body, _) in enumerate(rows):
        full = index - start == _WRITTEN_ROWS or size + len(body) > _WRITTEN_BYTES
        if full and index > start:
            yield rows[start:index]
            start, size = index, 0
        size += len(body)
    yield rows[start:]


def _check_prefix(view: str, prefix: object) -> str:
    if isinstance(prefix, str) and _PREFIX.fullmatch(prefix):
        return prefix
    raise ProjectionError(
        f"view {view!r}: a prefix has 1 to 100 letters, digits and the characters . _ : -"
    )
