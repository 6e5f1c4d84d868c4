"""shadow finds the sessions in which two reducers differ, whoever folds them."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from eventstore import EventStore, NewEvent
from reducers import Reducer, ReducerError, shadow, shadowing
from tests.waiting import until

SOURCE = """
from reducers import Reducer

tally = Reducer("tally", {"apples": 0, "pears": 0})

@tally.on("apple")
def apple(state, event):
    return {**state, "apples": state["apples"] + event["n"]}

@tally.on("pear")
def pear(state, event):
    return {**state, "pears": state["pears"] + 1}
"""
EDITED = SOURCE.replace('+ event["n"]', '+ min(event["n"], 5)')


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    """The old reducer and the new one, in two files of one name."""
    names = []
    for folder, source in (("old", SOURCE), ("new", EDITED)):
        path = tmp_path / folder / "tally.py"
        path.parent.mkdir()
        path.write_text(source)
        names.append(f"{path}:tally")
    return names[0], names[1]


@pytest.fixture
async def sessions(store: EventStore) -> EventStore:
    """Six sessions; the apples of two of them are too many for the new reducer."""
    for number in range(6):
        events = [NewEvent("apple", {"n": 9 if number in (2, 4) else 1}), NewEvent("pear", {})]
        await store.append(f"session/{number}", events)
    await store.append("other", NewEvent("apple", {"n": 9}))
    return store


async def test_reducers_differ_then_sessions_and_paths_are_told(
    sessions: EventStore, two: tuple[str, str]
) -> None:
    """In this process: what differs is named, and nothing else."""
    told: list[tuple[int, int]] = []
    report = await shadow(
        sessions, *two, prefix="session/", processes=0, progress=lambda *done: told.append(done)
    )
    assert (report.streams, report.events, report.ok) == (6, 12, False)
    assert [(each.stream, each.version, each.paths) for each in report.different] == [
        ("session/2", 2, ("/apples",)),
        ("session/4", 2, ("/apples",)),
    ]
    assert told == [(6, 12)]


async def test_processes_fold_then_the_report_is_the_same(
    sessions: EventStore, two: tuple[str, str]
) -> None:
    """Spawned processes import the files by themselves, and are given plain rows."""
    alone = await shadow(sessions, *two, processes=0)
    assert await shadow(sessions, *two, processes=1) == alone
    assert len(alone.different) == 3


async def test_a_stream_is_long_then_it_is_folded_page_by_page(
    sessions: EventStore, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too long to be handed on gives the same report."""
    expected = await shadow(sessions, *two, processes=0)
    monkeypatch.setattr(shadowing, "STREAM_EVENTS_MAX", 1)
    assert await shadow(sessions, *two, processes=0) == expected


async def test_nothing_differs_then_the_report_is_clean(
    sessions: EventStore, two: tuple[str, str]
) -> None:
    """A reducer agrees with itself, and streams may be chosen."""
    old, new = two
    assert (await shadow(sessions, old, old, processes=0)).ok
    chosen = await shadow(sessions, old, new, streams=["session/0", "none"], processes=0)
    assert (chosen.streams, chosen.events, chosen.ok) == (2, 2, True)


async def test_a_reducer_raises_then_its_session_is_reported(sessions: EventStore) -> None:
    """One session's error is told without its payload, and the others go on. Reducers that are
    objects are folded here."""

    def made(strict: bool) -> Reducer[Any]:
        reducer = Reducer("tally", 0)

        @reducer.on("apple")
        def apple(state: int, event: Any) -> int:
            if strict and event["n"] > 5:
                raise ValueError(f"too many: {event['n']}")
            return state + 1

        return reducer

    report = await shadow(sessions, made(False), made(True), prefix="session/")
    assert [each.stream for each in report.different] == ["session/2", "session/4"]
    (first, _) = report.different
    assert first.old_error is None
    assert str(first.new_error).startswith("ValueError (reducer 'tally', last event taken: 'apple'")
    assert "too many" not in str(first.new_error)


@pytest.mark.parametrize("name", ["tally", "no_such_module:tally", "no/such/file.py:tally", "os:x"])
async def test_a_name_leads_nowhere_then_it_is_refused(store: EventStore, name: str) -> None:
    """Before anything is read or started."""
    with pytest.raises(ReducerError, match="shadow: "):
        await shadow(store, name, name)


async def test_a_process_dies_then_it_is_said(
    sessions: EventStore,
    two: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Killed, or ended by the reducer's own module: no report is made of half the streams, and
    nothing more is said of what waited."""
    monkeypatch.setattr(shadowing, "BATCH_EVENTS_MAX", 1)
    old, new = two
    Path(new.partition(":")[0]).write_text(
        "import os\nfrom multiprocessing import parent_process\n"
        f"if parent_process() is not None:\n    os._exit(3)\n{EDITED}"
    )
    with pytest.raises(ReducerError, match="a process that folds ended by itself"):
        await shadow(sessions, old, new, processes=1)
    assert multiprocessing.active_children() == []
    gc.collect()
    assert caplog.records == []


STUCK = f"""
import os, time
from multiprocessing import parent_process
from pathlib import Path
if parent_process() is not None:
    Path(__file__).with_suffix(".pid").write_text(str(os.getpid()))
{SOURCE}
@tally.on("stuck")
@__import__("reducers").unchecked(reason="the test kills the process meanwhile")
def stuck(state, event):
    time.sleep(600)
"""


async def test_it_is_cancelled_then_the_loop_goes_on_and_no_process_is_left(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reducer that does not end holds nobody up: its process is killed after a while."""
    monkeypatch.setattr(shadowing, "END_SECONDS", 0.5)
    source, told = tmp_path / "stuck.py", tmp_path / "stuck.pid"
    source.write_text(STUCK.replace("600", "20"))
    await store.append("s", NewEvent("stuck", {}))
    name = f"{source}:tally"
    folding = asyncio.create_task(shadow(store, name, name, processes=1))
    await until(lambda: told.is_file() and told.read_text() != "")
    alive: list[bool] = []
    child = int(told.read_text())
    folding.cancel()
    asyncio.get_running_loop().call_later(0.05, lambda: alive.append(psutil.pid_exists(child)))
    with pytest.raises(asyncio.CancelledError):
        await folding
    assert alive == [True]
    assert not psutil.pid_exists(child)


PARENT = """
import asyncio, sys
from eventstore import EventStore, NewEvent
from reducers import shadow

async def main():
    async with EventStore.open("memory://") as store:
        await store.append("s", NewEvent("stuck", {}))
        await shadow(store, sys.argv[1], sys.argv[1], processes=1)

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_the_parent_is_killed_then_no_process_is_left(tmp_path: Path) -> None:
    """Nobody would end them: they see for themselves that nobody is there."""
    (tmp_path / "stuck.py").write_text(STUCK)
    (tmp_path / "parent.py").write_text(PARENT)
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, tmp_path / "parent.py", f"{tmp_path}/stuck.py:tally"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    told = tmp_path / "stuck.pid"
    try:
        await until(lambda: told.is_file() and told.read_text() != "")
    finally:
        parent.kill()
        await parent.wait()
    child = int(told.read_text())

    def gone() -> bool:
        try:
            return psutil.Process(child).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    await until(gone)
