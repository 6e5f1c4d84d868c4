"""``eventstore projections run``: a relay that feeds views, until it is told to end or, with
--once, until they have everything."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from eventstore import EventStore

from ...exits import ExitCode, Stop
from ...options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store
from ...relaying import Extent, extent, saying_warnings
from ...rendering.progress import progress, status
from ...rendering.screen import Screen
from ...rendering.values import count
from ...views import Known, RedisOption, ViewsOption

if TYPE_CHECKING:
    from projections import Relay
    from projections.view import View

LOOK_SECONDS = 0.25
"""Between two looks at how far the views are: as often as a person can follow numbers."""

VECTORS = "memory_index"
"""The stock view that a PostgreSQL database has to have an extension for."""

LETTERS = "eventstore projections dead-letters"


def run_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Which views; without names those of --views, and without any the stock ones.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when the views have what is in the log.")
    ] = False,
    views: ViewsOption = None,
    all_tenants: Annotated[
        bool, typer.Option("--all-tenants", help="Feed the views of every tenant.")
    ] = False,
    redis: RedisOption = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Feed views from the log. Any number of these may run, on any machine: they share the work.

    \b
    Examples:
      $ eventstore projections run --once
      $ eventstore projections run --once sessions memories --json
      $ eventstore projections run --once --views views.py
    """
    chosen = Known(views, redis).chosen(names)
    where, named = (store, tenant), bool(names or views)
    code = asyncio.run(_run(where, chosen, named, once, all_tenants, as_json))
    if code:
        raise typer.Exit(code)


async def _run(
    where: tuple[str, str | None],
    views: list[View],
    named: bool,
    once: bool,
    all_tenants: bool,
    as_json: bool,
) -> int:
    from projections import Relay
    from projections.relay.delivering import Stopped

    screen = Screen()
    async with open_store(*where) as store:
        if not named:
            views = await _possible(store, views)
        relay = Relay(store, views, all_tenants=all_tenants)
        told = _Told(screen, store, relay, all_tenants, as_json)
        told.begin(once)
        with saying_warnings():
            try:
                if not once:
                    return await _stay(relay, told)
                async with told.catching_up():
                    await relay.run_once()
            except Stopped as exc:
                raise Stop(str(exc), next_step="mend its code, then run it again") from exc
            await told.up_to_date()
            return ExitCode.DONE


async def _possible(store: EventStore, views: list[View]) -> list[View]:
    """The stock views that the store can have; nobody asked for the others by name."""
    outbox = store.outbox
    if outbox.dialect != "postgresql" or await outbox.query(
        "SELECT 1 FROM pg_extension WHERE extname = 'vector'"
    ):
        return views
    print(
        f"eventstore: {VECTORS} is left out: this database has no extension vector (pgvector)",
        file=sys.stderr,
    )
    return [view for view in views if view.name != VECTORS]


async def _stay(relay: Relay, told: _Told) -> int:
    """Feeds until SIGTERM or Ctrl-C, or until nothing is fed any more."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    feeding = asyncio.create_task(relay.run())
    telling = asyncio.create_task(told.as_it_goes())
    stopping = asyncio.create_task(ended.wait())
    tasks = (feeding, telling, stopping)
    try:
        await asyncio.wait((feeding, stopping), return_when=asyncio.FIRST_COMPLETED)
        if feeding.done():
            await feeding  # raises why nothing is fed any more
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return ExitCode.REFUSED if relay.failed else ExitCode.DONE


class _Told:
    """What a relay's user is told, on the screen or as JSON Lines."""

    def __init__(
        self, screen: Screen, store: EventStore, relay: Relay, all_tenants: bool, as_json: bool
    ) -> None:
        self._screen, self._store, self._relay = screen, store, relay
        self._all_tenants, self._as_json = all_tenants, as_json

    def begin(self, once: bool) -> None:
        """Which views are fed."""
        names = list(self._relay.views)
        tenant = None if self._all_tenants else self._store.tenant_name
        if self._as_json:
            self._screen.json({"report": "feeding", "views": names, "tenant": tenant})
        else:
            whose = "every tenant" if tenant is None else f"tenant {tenant}"
            end = "" if once else "; Ctrl-C ends it"
            self._screen.text(f"feeding {', '.join(names)} of {whose}{end}")
        self._screen.flush()

    @contextlib.asynccontextmanager
    async def catching_up(self) -> AsyncIterator[None]:
        """Shows a bar inside the block, for a person at a terminal."""
        with progress("feeding", rate="events") as advance:
            drawing = asyncio.create_task(self._draw(advance))
            try:
                yield
            finally:
                drawing.cancel()
                await asyncio.gather(drawing, return_exceptions=True)

    async def up_to_date(self) -> None:
        """How far the views are."""
        now = await self._extent()
        if self._as_json:
            for place in now.places:
                self._screen.json({"report": "view", **place})
        else:
            parked = f"; {count(now.parked, 'key')} parked, see {LETTERS}" if now.parked else ""
            fed = count(len({place["view"] for place in now.places}), "view")
            self._screen.line(f"{fed} up to date at {_positions(now)}{parked}")
        self._screen.flush()

    async def as_it_goes(self) -> None:
        """A bar until the views have caught up, then where they are, then what comes."""
        async with self.catching_up():
            await self._caught_up()
        await self.up_to_date()
        with status(quiet=self._as_json) as say:
            if say is None:
                return
            while True:
                now = await self._extent()
                parked = f", {count(now.parked, 'key')} parked" if now.parked else ""
                behind = f", {now.behind:,} behind" if now.behind else ""
                say(f"at {_positions(now)}{behind}{parked}; Ctrl-C ends it")
                await asyncio.sleep(LOOK_SECONDS)

    async def _caught_up(self) -> None:
        """Waits until each view that can be fed has what stood in the log at the first look, in
        any of its generations: another one may belong to other code."""
        heads: dict[str, int] = {}
        while True:
            now = await self._extent()
            for place in now.places:
                heads.setdefault(place["tenant"], place["head"])
            reached = {
                (place["view"], place["tenant"])
                for place in now.places
                if place["position"] >= heads[place["tenant"]]
            }
            views = set(self._relay.views) - set(self._relay.failed)
            if {(view, tenant) for view in views for tenant in heads or [""]} <= reached:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _draw(self, advance: Callable[[int, int], None]) -> None:
        if not sys.stderr.isatty():
            return
        while True:
            now = await self._extent()
            advance(now.done, now.total)
            await asyncio.sleep(LOOK_SECONDS)

    async def _extent(self) -> Extent:
        return await extent(self._store, list(self._relay.views), self._all_tenants)


def _positions(now: Extent) -> str:
    """``position 42``; of several tenants from which to which."""
    found = sorted({place["position"] for place in now.places})
    if len(found) > 1:
        return f"positions {found[0]:,} to {found[-1]:,}"
    return f"position {found[0]:,}" if found else "position 0"
