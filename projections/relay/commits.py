"""One transaction for what the workers of a relay have ready at the same time.

A commit costs a sync of the disk and a turn at the write lock, which appends wait for. Six views
that follow one log would take six turns for each page; together they take one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

import msgspec

from eventstore.outbox import Advance, Outbox, Statement

GATHER_SECONDS_MAX = 0.01
"""How long a page that is ready waits for others that are being made: a tenth of the promised
lag."""

STATEMENT_VALUES_MAX = 40_000
"""Values of one shared transaction, such as 5,000 rows of eight: about 20 ms in which nobody else
may write to the file."""


class _Part(msgspec.Struct):
    """What one worker wants to commit."""

    outbox: Outbox
    statements: Sequence[Statement]
    advances: Sequence[Advance]
    future: asyncio.Future[bool]

    @property
    def values(self) -> int:
        return sum([sum(map(len, each.rows)) for each in self.statements])


class Commits:
    """The commits of one relay. A part that cannot be committed with the others is committed
    alone, so that it harms no other."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._working = 0
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While a worker makes a page: those that have one ready wait for it, a little."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self._changed.set()

    async def change(
        self, outbox: Outbox, statements: Sequence[Statement], advances: Sequence[Advance]
    ) -> bool:
        """As `Outbox.change`. If cancelled, it may be written all the same."""
        loop = asyncio.get_running_loop()
        part = _Part(outbox, statements, advances, loop.create_future())
        self._parts.append(part)
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._commit())
        return await part.future

    async def close(self) -> None:
        """Ends what is under way: whoever waits for it was cancelled before."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _commit(self) -> None:
        while self._parts:
            await self._gather()
            taken = self._take()
            try:
                if taken:
                    await _together(taken)
            finally:
                for part in taken:  # cancelled: nobody is left waiting
                    if not part.future.done():
                        part.future.cancel()

    async def _gather(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_SECONDS_MAX):
                while len(self._parts) < self._working:
                    self._changed.clear()
                    await self._changed.wait()

    def _take(self) -> list[_Part]:
        """Parts of the first one's tenant, within the bound, in their order. Nobody wants those
        any more whose worker was cancelled."""
        wanted = [part for part in self._parts if not part.future.done()]
        taken: list[_Part] = []
        left: list[_Part] = []
        first, values = (wanted[0] if wanted else None), 0
        for part in wanted:
            values += part.values
            fits = part is first or values <= STATEMENT_VALUES_MAX
            if first is not None and part.outbox.tenant == first.outbox.tenant and fits:
                taken.append(part)
            else:
                left.append(part)
        self._parts = left
        return taken


async def _together(parts: list[_Part]) -> None:
    """Commits the parts, and each alone where they do not go together.

    Rows are locked in one order, whichever part was ready first: PostgreSQL would else see a
    deadlock with who locks all partitions of a view, to let another generation serve.
    """
    parts = sorted(parts, key=_place)
    try:
        done = await parts[0].outbox.change(
            [statement for part in parts for statement in part.statements],
            [advance for part in parts for advance in part.advances],
        )
    except Exception as exc:
        if len(parts) == 1:
            _fail(parts[0], exc)
            return
    else:
        if done or len(parts) == 1:
            for part in parts:
                if not part.future.done():
                    part.future.set_result(done)
            return
    for part in parts:
        await _together([part])


def _place(part: _Part) -> list[tuple[str, int, int]]:
    leases = [advance.lease for advance in part.advances]
    return [(lease.name, lease.generation, lease.partition) for lease in leases]


def _fail(part: _Part, error: Exception) -> None:
    if not part.future.done():
        part.future.set_exception(error)
