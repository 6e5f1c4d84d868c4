"""What keeps an import going at its speed."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from pathlib import Path

import pytest

from cli.importers import import_paths
from cli.importers.openai import OpenAi
from cli.importers.pacing import ALLOCATIONS, SWITCH_SECONDS, at_import_pace
from cli.importers.report import ImportReport
from cli.importers.writing import Importer
from eventstore import EventStore
from eventstore.engines.sqlite.ledger import SqliteLedger


async def test_batch_sent_then_the_store_works_while_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's thread begins without the event loop having to turn again."""
    begun = threading.Event()
    begin = SqliteLedger.begin

    def told(ledger: SqliteLedger) -> None:
        begin(ledger)
        begun.set()

    async with EventStore.open(f"sqlite:///{tmp_path / 'a.db'}") as store:
        importer = Importer(store, ImportReport())
        session = await importer.open("openai", "session/a", OpenAi(), "a")
        session.start(None)
        monkeypatch.setattr(SqliteLedger, "begin", told)
        await importer.send()
        # This blocks the loop, as making a batch does.
        assert begun.wait(10)
        await importer.flush()
        assert await store.version("session/a") == 1


async def test_run_ends_then_the_interpreter_is_as_it_was(
    store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """Also of runs at once, and of one that fails, the last one restores it."""
    before, seconds = gc.get_threshold(), sys.getswitchinterval()
    runs = [import_paths(store, [fixtures]) for _ in range(2)]
    missing = import_paths(store, [tmp_path / "none"])
    results = await asyncio.gather(*runs, missing, return_exceptions=True)
    assert isinstance(results[-1], OSError)
    assert (gc.get_threshold(), sys.getswitchinterval()) == (before, seconds)
    with at_import_pace():
        with at_import_pace():
            pass
        assert gc.get_threshold() == (ALLOCATIONS, *before[1:])
        assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    assert (gc.get_threshold(), sys.getswitchinterval()) == (before, seconds)


def test_collector_is_off_then_it_stays_off() -> None:
    """Who has turned it off by its threshold wants it so."""
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        with at_import_pace():
            assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)
