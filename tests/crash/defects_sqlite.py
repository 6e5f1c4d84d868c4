"""What can be wrong with the SQLite engine (see `defects.py`)."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

from eventstore import judge as judging
from eventstore.engines.port import LogPage
from eventstore.engines.sqlite.engine import SqliteEngine
from eventstore.engines.sqlite.ledger import SqliteLedger
from eventstore.engines.sqlite.reader import Reader
from eventstore.engines.sqlite.writer import Writer

from .defects import LEAD_SECONDS, defect


@defect("sqlite", "acknowledges before it commits")
def _sqlite_acknowledges_early() -> None:
    commit, answer = Writer._commit, Writer._answer

    def not_yet(self: Writer) -> None:
        return None

    def answer_first(self: Writer, answers: Any, committed: bool = False) -> None:
        answer(self, answers, committed)
        time.sleep(LEAD_SECONDS)
        if self._connection.in_transaction:
            commit(self)

    Writer._commit = not_yet  # type: ignore[method-assign]
    Writer._answer = answer_first  # type: ignore[method-assign]


@defect("sqlite", "stays at NORMAL behind a view")
def _sqlite_stays_at_normal() -> None:
    set_synchronous = Writer._set_synchronous

    def only_down(self: Writer, wanted: int) -> None:
        set_synchronous(self, min(wanted, self._synchronous_now))

    Writer._set_synchronous = only_down  # type: ignore[method-assign]


@defect("sqlite", "commits in pieces")
def _sqlite_commits_in_pieces() -> None:
    write_part = SqliteLedger._write_part

    def in_pieces(self: SqliteLedger, tenant: Any, part: Any, recorded_us: int) -> Any:
        first = None
        events = part.events
        for event in events:
            part.events = [event]
            place = write_part(self, tenant, part, recorded_us)
            first = first or place
            self._moved_tenants[tenant.id] = tenant
            self.flush()
            self._run("COMMIT")
            self._run("BEGIN IMMEDIATE")
        part.events = events
        assert first is not None
        return first[0], first[1], len(events)

    SqliteLedger._write_part = in_pieces  # type: ignore[method-assign]


@defect("sqlite", "drops the key check")
def _sqlite_drops_the_key_check() -> None:
    SqliteLedger.find_key = lambda *_: None  # type: ignore[method-assign]
    SqliteLedger._write_key = lambda *_: None  # type: ignore[method-assign]


@defect("sqlite", "skips the expected version")
def _sqlite_skips_the_expected_version() -> None:
    judging._holds = lambda expected, actual: True


@defect("sqlite", "stamps with the bare clock")
def _sqlite_stamps_with_the_bare_clock() -> None:
    write = SqliteLedger.write

    def stamped(self: SqliteLedger, call: Any) -> Any:
        tenant = self._tenant(call.tenant)
        if tenant is not None:
            tenant.recorded_us = 0
        return write(self, call)

    SqliteLedger.write = stamped  # type: ignore[method-assign]


@defect("sqlite", "loses the first event of a page")
def _sqlite_loses_the_first_of_a_page() -> None:
    log_page = SqliteEngine.log_page

    async def shorter(self: SqliteEngine, *args: Any) -> LogPage:
        page = await log_page(self, *args)
        return LogPage(page.events[1:], page.scanned_to) if len(page.events) > 1 else page

    SqliteEngine.log_page = shorter  # type: ignore[method-assign]


@defect("sqlite", "forgets the tenant")
def _sqlite_forgets_the_tenant() -> None:
    async def any_tenant(self: Reader, tenant: str) -> int | None:
        rows = await self.fetch("SELECT max(tenant_id) FROM tenants", ())
        return rows[0][0] if rows else None

    Reader.find_tenant = any_tenant  # type: ignore[method-assign]


@defect("sqlite", "drops the batch of a cancelled caller")
def _sqlite_drops_the_batch_of_a_cancelled_caller() -> None:
    transact, commit = Writer._transact, Writer._commit
    batch: list[Any] = []

    def watched(self: Writer, calls: Any) -> Any:
        batch[:] = calls
        return transact(self, calls)

    def unless_cancelled(self: Writer) -> None:
        if not any(item.future.cancelled() for item in batch):
            commit(self)

    Writer._transact = watched  # type: ignore[method-assign]
    Writer._commit = unless_cancelled  # type: ignore[method-assign]


@defect("sqlite", "leaks a cancelled reader's connection")
def _sqlite_leaks_a_cancelled_readers_connection() -> None:
    @contextlib.asynccontextmanager
    async def borrow(self: Reader) -> AsyncIterator[Any]:
        connection = await self._free.get()
        yield connection
        self._free.put_nowait(connection)

    Reader._borrow = borrow  # type: ignore[method-assign]


@defect("sqlite", "says written when the disk is full")
def _sqlite_says_written_when_the_disk_is_full() -> None:
    commit = Writer._commit

    def careless(self: Writer) -> None:
        try:
            commit(self)
        except sqlite3.OperationalError:
            self._roll_back()

    Writer._commit = careless  # type: ignore[method-assign]
