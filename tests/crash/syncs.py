"""The sync before the acknowledgement: seen in the system calls, because a kill cannot tell."""

from __future__ import annotations

import asyncio

from tests.servers.postgres import PostgresServer

from .faults import Fault, Outcome, Run
from .grounds import PostgresGround
from .processes import Worker
from .tracing import CannotTrace, SystemCall, Tracer

APPENDS = 300
WEAKER = "syncs less than FULL"
STAYS = "stays at NORMAL behind a view"


class _Watch:
    """At every answer, whether all of the write-ahead log had been synced by then."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._dirty = self._written = False

    def see(self, call: SystemCall) -> None:
        """Takes in a call, in the order of the kernel."""
        if call.name in ("write", "pwrite") and self.is_log(call.file):
            self._dirty = self._written = True
        elif call.name == "sync" and call.done and self.is_log(call.file):
            self._dirty = False
        elif call.name == "send" and not call.done and self.is_answer(call.data):
            what = "is on no disk yet" if self._written else "wrote nothing that was seen"
            self._outcome.held(
                self._written and not self._dirty,
                f"acknowledgement {self._outcome.trials}: what it speaks of {what}",
            )
            self._written = False

    def is_log(self, file: str) -> bool:
        """Whether a file is the write-ahead log."""
        return file.endswith("-wal")

    def is_answer(self, data: bytes) -> bool:
        """Whether what is sent tells that an append is done."""
        return data.startswith(b'["ended"')


class _WatchBackend(_Watch):
    """In PostgreSQL the session that committed answers the store: it syncs before it sends."""

    def is_log(self, file: str) -> bool:
        """See `_Watch`."""
        return "/pg_wal/" in file

    def is_answer(self, data: bytes) -> bool:
        """Sessions answer questions, too; only what comes after a commit speaks of one."""
        return self._written


async def watch_syncs(run: Run) -> Outcome:
    """One caller, so that each acknowledgement is of the commit before it."""
    if isinstance(run.ground, PostgresGround):
        return await _watch_server(run)
    outcome, url = Outcome(), run.ground.new_url()
    options = {"synchronous": "NORMAL"} if run.defect == WEAKER else {}
    async with Worker(run, url) as worker:
        await worker.ask("open_store", **options)
        try:
            tracer = Tracer(worker.pid, _Watch(outcome).see)
            await asyncio.to_thread(tracer.start)
        except CannotTrace as exc:
            return Outcome(0, [f"cannot be seen on this machine: {exc}"], broke=True)
        appends = run.times(APPENDS)
        beside = appends // 2  # each of these behind a commit of a view, which is not synced
        await worker.ask("write", name="w", callers=1, appends=appends - beside, seed=run.seed)
        await worker.ask("write_beside_a_view", name="v", appends=beside)
        await worker.kill()
        await asyncio.to_thread(tracer.join)
    if outcome.trials != appends:
        outcome.violations.append(f"{outcome.trials} acknowledgements were seen of {appends}")
    run.ground.drop(url)
    return outcome


async def _watch_server(run: Run) -> Outcome:
    """On a server of its own, where nobody else writes the log on behalf of a commit."""
    outcome = Outcome()
    options = {"synchronous": "NORMAL"} if run.defect == WEAKER else {}
    server = await asyncio.to_thread(PostgresServer, None, {"wal_writer_delay": "10s"})
    try:
        await asyncio.to_thread(server.start)
        url = server.new_url()
        async with Worker(run, f"{url}?notify=off") as worker:
            await worker.ask("open_store", **options)
            await worker.ask("write", name="first", callers=1, appends=1, seed=run.seed)
            sessions = server.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
                " AND pid <> pg_backend_pid()"
            )
            try:
                tracers = [Tracer(pid, _WatchBackend(outcome).see) for (pid,) in sessions]
                for tracer in tracers:
                    await asyncio.to_thread(tracer.start)
            except CannotTrace as exc:
                return Outcome(0, [f"cannot be seen on this machine: {exc}"], broke=True)
            appends = run.times(APPENDS)
            await worker.ask("write", name="w", callers=1, appends=appends, seed=run.seed)
        server.drop(url)  # which ends the sessions
        for tracer in tracers:
            await asyncio.to_thread(tracer.join)
    finally:
        await asyncio.to_thread(server.stop)
    if outcome.trials != appends:
        outcome.violations.append(
            f"{outcome.trials} answers were seen to follow a synced commit, of {appends}"
        )
    return outcome


FAULT = Fault(
    "syncs",
    "FULL: the log is synced to the disk before each acknowledgement (seen in system calls)",
    watch_syncs,
    {"sqlite": (WEAKER, "acknowledges before it commits", STAYS), "postgres": (WEAKER,)},
)
