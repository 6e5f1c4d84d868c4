"""Following sources that grow, in this process; `tests/acceptance` has the real command."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cli.importers import ImportReport, export_source, follow_paths
from cli.importers.importing import LineFeed
from eventstore import EventStore

SESSION = "3f0c2a4e-0000-4000-8000-000000000001"
WAIT_SECONDS = 30
"""Far more than a look takes; only a failing test waits for it."""


class Following:
    """A run that follows, and the store that it writes to."""

    def __init__(self, store: EventStore, paths: list[Path]) -> None:
        self.store = store
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(follow_paths(store, paths, self._stop))

    async def until_records(self, stream: str, count: int) -> list[Any]:
        """Waits until the stream holds so many source records, and gives them."""
        async with asyncio.timeout(WAIT_SECONDS):
            async for _ in self.store.subscribe():
                records = [json.loads(raw) async for raw in export_source(self.store, stream)]
                if len(records) >= count:
                    return records
        raise AssertionError("unreachable: a subscription does not end")

    async def stop(self) -> ImportReport:
        """Stops it and gives its report."""
        self._stop.set()
        return await self._task


@pytest.fixture
async def follow(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Following]]:
    """Starts following; what is not stopped is stopped after the test."""
    monkeypatch.setattr("cli.importers.following.LOOK_SECONDS", 0.01)
    started: list[Following] = []

    def start(*paths: Path) -> Following:
        started.append(Following(store, list(paths)))
        return started[-1]

    yield start
    for one in started:
        await one.stop()


def line(number: int) -> str:
    return json.dumps({"role": "user", "content": f"message {number}"}) + "\n"


async def test_lines_added_then_imported_and_a_half_line_waits(
    follow: Callable[..., Following], tmp_path: Path
) -> None:
    """A line that is being written is no broken line."""
    path = tmp_path / "chat.jsonl"
    path.write_text(line(1))
    running = follow(path)
    stream = await only_stream(running)
    await running.until_records(stream, 1)
    with path.open("a") as file:
        file.write(line(2) + line(3)[:10])
    await running.until_records(stream, 2)
    with path.open("a") as file:
        file.write(line(3)[10:] + line(4).rstrip())
    records = await running.until_records(stream, 3)
    assert len(records) == 3
    report = await running.stop()
    assert report.problems == []
    assert (report.sessions[0].records, report.sessions[0].new_records) == (4, 4)


async def only_stream(running: Following) -> str:
    async with asyncio.timeout(WAIT_SECONDS):
        async for event in running.store.subscribe():
            return event.stream
    raise AssertionError("unreachable: a subscription does not end")


async def test_file_cut_short_then_reported_and_followed_on(
    follow: Callable[..., Following], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was cut short is compared from its beginning; then it goes on."""
    noticed = asyncio.Event()
    restart = LineFeed.restart

    def seen(feed: LineFeed) -> None:
        restart(feed)
        noticed.set()

    monkeypatch.setattr(LineFeed, "restart", seen)
    path = tmp_path / "chat.jsonl"
    path.write_text(line(1) + line(2))
    running = follow(path)
    stream = await only_stream(running)
    await running.until_records(stream, 2)
    replacement = tmp_path / "new"
    replacement.write_text(line(1))
    os.replace(replacement, path)
    await noticed.wait()
    with path.open("a") as file:
        file.write(line(2) + line(3))
    await running.until_records(stream, 3)
    report = await running.stop()
    assert ["cut short or replaced" in one.reason for one in report.problems] == [True]
    assert report.sessions[0].records == 3


async def test_session_and_subagent_that_appear_then_taken_up_and_linked(
    follow: Callable[..., Following], fixtures: Path, tmp_path: Path
) -> None:
    """A folder is followed as it fills; a file without its session's name yet waits for it."""
    source = (fixtures / "claude" / f"{SESSION}.jsonl").read_text().splitlines(keepends=True)
    path = tmp_path / "s.jsonl"
    path.write_text(source[0])
    running = follow(tmp_path)
    with path.open("a") as file:
        file.writelines(source[1:])
    await running.until_records(f"session/{SESSION}", len(source))
    agent = tmp_path / "agent-a1.jsonl"
    agent.write_bytes((fixtures / "claude" / SESSION / "subagents" / "agent-a1.jsonl").read_bytes())
    await running.until_records(f"session/{SESSION}/agent/a1", 2)
    (started,) = await running.store.read(f"session/{SESSION}/agent/a1", limit=1).list()
    assert started.causation_id is not None


async def test_document_written_anew_then_what_is_new(
    follow: Callable[..., Following], fixtures: Path, tmp_path: Path
) -> None:
    """Results that are written as one document grow too; a half-written one is waited for."""
    document = json.loads((fixtures / "tau_bench.json").read_text())
    path = tmp_path / "results.json"
    path.write_text(json.dumps(document[:1]))
    running = follow(path)
    first = await only_stream(running)
    await running.until_records(first, 5)
    whole = json.dumps(document)
    path.write_text(whole[:-40])
    path.write_text(whole)
    async with asyncio.timeout(WAIT_SECONDS):
        async for event in running.store.subscribe():
            if event.stream != first and event.type == "session.ended":
                break
    report = await running.stop()
    assert report.problems == []
    assert len(report.sessions) == 2


async def test_bank_grows_then_its_new_day_is_imported(
    follow: Callable[..., Following], fixtures: Path, tmp_path: Path
) -> None:
    """A memory bank is written anew with each day; a half-written one is waited for, no user of it
    is taken for odd."""
    bank = json.loads((fixtures / "memory_bank.json").read_text())
    path = tmp_path / "bank.json"
    path.write_text(json.dumps(bank))
    running = follow(path)
    await running.until_records("session/Ann/2026-01-02", 2)
    bank[" Ann "]["history"]["2026-01-04"] = [{"query": "Toffee sleeps.", "response": "Good."}]
    whole = json.dumps(bank)
    path.write_text(whole[:-40])
    path.write_text(whole)
    records = await running.until_records("session/Ann/2026-01-04", 1)
    assert records == bank[" Ann "]["history"]["2026-01-04"]
    report = await running.stop()
    assert report.problems == []
    assert len(report.sessions) == 5
