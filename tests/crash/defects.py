"""Defects that are seeded into an engine, so that the oracles of this suite are seen to turn red.

Each is a mistake that a store of this kind is known to make. They are put in from outside, into
the one process that is to be wrong; the engine has no switch for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from eventstore import judge as judging
from eventstore.engines.sqlite.ledger import SqliteLedger
from eventstore.engines.sqlite.writer import Writer

_LEAD_SECONDS = 0.02
"""How far an answer that comes too early is ahead of its commit."""

_defects: dict[tuple[str, str], Callable[[], None]] = {}


def seed_defect(engine: str, name: str) -> None:
    """Makes this process wrong in that way."""
    _defects[engine, name]()


def defect(engine: str, name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Registers a defect of an engine."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        _defects[engine, name] = function
        return function

    return register


@defect("sqlite", "acknowledges before it commits")
def _sqlite_acknowledges_early() -> None:
    commit, answer = Writer._commit, Writer._answer

    def not_yet(self: Writer) -> None:
        return None

    def answer_first(self: Writer, answers: Any, committed: bool = False) -> None:
        answer(self, answers, committed)
        time.sleep(_LEAD_SECONDS)
        if self._connection.in_transaction:
            commit(self)

    Writer._commit = not_yet  # type: ignore[method-assign]
    Writer._answer = answer_first  # type: ignore[method-assign]


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
    SqliteLedger.find_key = lambda *_: None  # type: ignore[method-assign, assignment]
    SqliteLedger._write_key = lambda *_: None  # type: ignore[method-assign, assignment]


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
