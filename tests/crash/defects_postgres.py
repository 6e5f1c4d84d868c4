"""What can be wrong with the PostgreSQL engine, here and in the functions of its database (see
`defects.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec

from eventstore import InvalidEvent, calls
from eventstore.calls import Written
from eventstore.engines.port import LogPage
from eventstore.engines.postgres import opening
from eventstore.engines.postgres import writer as writing
from eventstore.engines.postgres.connections import Connections
from eventstore.engines.postgres.engine import PostgresEngine
from eventstore.engines.postgres.statements import Statements
from eventstore.engines.postgres.writer import Writer
from eventstore.schema import postgres as functions

from .defects import LEAD_SECONDS, defect


def _change(*changes: tuple[str, str]) -> None:
    """Changes the text of the functions that a new database is given. Each must be there."""
    text_of = functions.function_text
    missing = {old for old, _ in changes}

    def changed(name: str, schema: str) -> str:
        text = text_of(name, schema)
        for old, new in changes:
            if old in text:
                missing.discard(old)
                text = text.replace(old, new)
        if name == functions.FUNCTIONS[-1] and missing:
            raise LookupError(f"the functions have changed: {missing}")
        return text

    functions.function_text = changed


class _Lent:
    """In the place of a writer's connections: the one that we have begun a transaction on."""

    def __init__(self, link: Any, address: Any) -> None:
        self._link = link
        self.address = address

    def borrow(self, deadline: float) -> contextlib.nullcontext[Any]:
        """The connection; what becomes of it is not the writer's to say."""
        del deadline
        return contextlib.nullcontext(self._link)


async def _within(writer: Writer, args: Any, end: Callable[[Any], Awaitable[None]]) -> Any:
    """Sends a batch within a transaction that `end` ends, and answers it before that has ended."""
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    connections = writer._connections

    async def send() -> None:
        patience = asyncio.get_running_loop().time() + 30
        async with connections.borrow(patience) as link:
            transaction = link.transaction()
            await transaction.start()
            writer._connections = _Lent(link, connections.address)  # type: ignore[assignment]
            try:
                row = await _transact(writer, *args)
            finally:
                writer._connections = connections
            answered.set_result(row)
            await end(transaction)

    task = asyncio.ensure_future(send())
    await asyncio.wait([task, answered], return_when=asyncio.FIRST_COMPLETED)
    if not answered.done():
        await task  # raises
    _going_on.add(task)
    task.add_done_callback(_going_on.discard)
    return await answered


_transact = Writer._transact
_going_on: set[asyncio.Task[None]] = set()


@defect("postgres", "acknowledges before it commits")
def _acknowledges_early() -> None:
    async def later(transaction: Any) -> None:
        await asyncio.sleep(LEAD_SECONDS)
        await transaction.commit()

    async def early(self: Writer, *args: Any) -> Any:
        return await _within(self, args, later)

    Writer._transact = early  # type: ignore[method-assign]


@defect("postgres", "commits in pieces")
def _commits_in_pieces() -> None:
    async def in_pieces(self: Writer, batch: Sequence[Any], lost: list[str]) -> None:
        for item in batch:
            (part,) = item.call.appends
            outcomes = []
            for event in part.events:
                piece = msgspec.structs.replace(part, events=[event])
                one = msgspec.structs.replace(item.call, appends=[piece], event_count=1, key=None)
                sent = type(item)(one, item.future)
                row = await self._transact([sent], self._next_attempt(), lost, None)
                outcomes += writing.outcomes_of([one], row)
            version, position, _ = outcomes[0].rows[0]
            whole = msgspec.structs.replace(
                outcomes[0], rows=[(version, position, len(part.events))]
            )
            self._deliver([item], [whole], was_sent_before=False)

    Writer._commit = in_pieces  # type: ignore[method-assign]


@defect("postgres", "drops the key check")
def _drops_the_key_check() -> None:
    _change(
        ("IF p_call_keys[c] IS NOT NULL AND (has_known_keys", "IF false AND (has_known_keys"),
        ("WHERE p_call_keys[k] IS NOT NULL AND call_first", "WHERE false AND call_first"),
    )


@defect("postgres", "skips the expected version")
def _skips_the_expected_version() -> None:
    _change(("IF wanted <> -1 THEN", "IF false THEN"))


@defect("postgres", "skips the lock")
def _skips_the_lock() -> None:
    """With it go the keys that would refuse two events at one place: they hold the line where the
    lock does not, and would hide that it is gone."""
    _change(("FOR NO KEY UPDATE OF h", ""))
    complete = functions.complete

    def without_keys(connection: Any) -> None:
        complete(connection)
        connection.exec_driver_sql("ALTER TABLE events DROP CONSTRAINT events_by_position")
        connection.exec_driver_sql("DROP INDEX events_by_stream")

    functions.complete = without_keys


@defect("postgres", "stamps with the bare clock")
def _stamps_with_the_bare_clock() -> None:
    _change(("greatest(h.recorded_at, p_now)", "p_now"))


@defect("postgres", "loses the first event of a page")
def _loses_the_first_of_a_page() -> None:
    log_page = PostgresEngine.log_page

    async def shorter(self: PostgresEngine, *args: Any) -> LogPage:
        page = await log_page(self, *args)
        return LogPage(page.events[1:], page.scanned_to) if len(page.events) > 1 else page

    PostgresEngine.log_page = shorter  # type: ignore[method-assign]


@defect("postgres", "takes a lost page for an empty one")
def _takes_a_lost_page_for_an_empty_one() -> None:
    log_page = PostgresEngine.log_page

    async def hasty(self: PostgresEngine, tenant: str, after: int, until: int, *rest: Any) -> Any:
        task = asyncio.ensure_future(log_page(self, tenant, after, until, *rest))
        links = [one for one in self._reading._free if not one.is_closed()]
        await asyncio.wait([task])
        if any(one.is_closed() for one in links):
            return LogPage([], until)
        return await task

    PostgresEngine.log_page = hasty  # type: ignore[method-assign]


@defect("postgres", "forgets the tenant")
def _forgets_the_tenant() -> None:
    make = Statements.__init__

    def forgetful(self: Statements, schema: str) -> None:
        make(self, schema)
        own = self._own
        anybodys = f"(SELECT max(t.tenant_id) FROM {schema}.tenants t WHERE $1::text IS NOT NULL)"
        for name, statement in vars(self).items():
            setattr(self, name, statement.replace(own, anybodys))

    Statements.__init__ = forgetful  # type: ignore[method-assign]


@defect("postgres", "drops the batch of a cancelled caller")
def _drops_the_batch_of_a_cancelled_caller() -> None:
    async def unless_cancelled(self: Writer, batch: Sequence[Any], *rest: Any) -> Any:
        async def end(transaction: Any) -> None:
            if any(item.future.cancelled() for item in batch):
                await transaction.rollback()
            else:
                await transaction.commit()

        return await _within(self, (batch, *rest), end)

    Writer._transact = unless_cancelled  # type: ignore[method-assign]


@defect("postgres", "leaks a cancelled reader's connection")
def _leaks_a_cancelled_readers_connection() -> None:
    async def run(self: Connections, work: Any, **_: Any) -> Any:
        async with self.borrow(asyncio.get_running_loop().time() + 30) as connection:
            return await work(connection)

    @contextlib.asynccontextmanager
    async def borrow(self: Connections, deadline: float) -> AsyncIterator[Any]:
        await self._slots.acquire()
        connection = await self._take(deadline)
        yield connection
        self._free.append(connection)
        self._slots.release()

    Connections.run = run  # type: ignore[method-assign]
    Connections.borrow = borrow  # type: ignore[method-assign]


@defect("postgres", "forgets that it has sent a batch before")
def _forgets_that_it_has_sent_a_batch() -> None:
    writing._take_as_given = lambda batch: None


@defect("postgres", "does not strike out what it has sent before")
def _does_not_strike_out_what_it_has_sent() -> None:
    arguments_of = writing.arguments_of

    def silent(calls: Any, attempt: str, lost: Any, *rest: Any) -> list[Any]:
        return arguments_of(calls, attempt, (), *rest)

    writing.arguments_of = silent


@defect("postgres", "says written when the disk is full")
def _says_written_when_the_disk_is_full() -> None:
    def careless(self: Writer, batch: Sequence[Any], error: Exception, lost: Any) -> None:
        del error, lost
        for item in batch:
            self._answer(item, Written([(1, 1, item.call.event_count)], 1))

    Writer._refuse = careless  # type: ignore[method-assign]


@defect("postgres", "shows the password in a log line")
def _logs_the_password() -> None:
    parse_address = opening.parse_address

    def talkative(url: str, synchronous: str) -> Any:
        logging.getLogger("eventstore").debug("opens %s", url)
        return parse_address(url, synchronous)

    opening.parse_address = talkative


@defect("postgres", "shows the password in an error")
def _tells_the_password() -> None:
    parse_address, encode = opening.parse_address, calls._encode_data
    opened = ""

    def noting(url: str, synchronous: str) -> Any:
        nonlocal opened
        opened = url
        return parse_address(url, synchronous)

    def talkative(name: str, data: object, index: int) -> object:
        try:
            return encode(name, data, index)
        except InvalidEvent as exc:
            raise InvalidEvent(f"{opened}: {exc}") from exc

    opening.parse_address = noting
    calls._encode_data = talkative  # type: ignore[assignment]
