"""The sync before the acknowledgement: seen in the system calls, because a kill cannot tell."""

from __future__ import annotations

import asyncio

from .faults import Fault, Outcome, Run
from .processes import Worker
from .tracing import CannotTrace, SystemCall, Tracer

APPENDS = 300
WEAKER = "syncs less than FULL"


class _Watch:
    """At every acknowledgement, whether all of the write-ahead log had been synced by then."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._dirty = self._written = False

    def see(self, call: SystemCall) -> None:
        """Takes in a call, in the order of the kernel."""
        if call.name in ("write", "pwrite") and call.file.endswith("-wal"):
            self._dirty = self._written = True
        elif call.name == "sync" and call.done and call.file.endswith("-wal"):
            self._dirty = False
        elif call.name == "send" and not call.done and call.data.startswith(b'["ended"'):
            what = "is on no disk yet" if self._written else "wrote nothing that was seen"
            self._outcome.held(
                self._written and not self._dirty,
                f"acknowledgement {self._outcome.trials}: what it speaks of {what}",
            )
            self._written = False


async def watch_syncs(run: Run) -> Outcome:
    """One caller, so that each acknowledgement is of the commit before it."""
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
        await worker.ask("write", name="w", callers=1, appends=appends, seed=run.seed)
        await worker.kill()
        await asyncio.to_thread(tracer.join)
    if outcome.trials != appends:
        outcome.violations.append(f"{outcome.trials} acknowledgements were seen of {appends}")
    run.ground.drop(url)
    return outcome


FAULT = Fault(
    "syncs",
    "FULL: the log is synced to the disk before each acknowledgement (seen in system calls)",
    watch_syncs,
    {"sqlite": (WEAKER, "acknowledges before it commits")},
)
