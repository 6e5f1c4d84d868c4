"""The recorded sessions: the counts that their README states, and every record back again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.importers import ImportReport, export_document, export_source, import_paths
from eventstore import EventStore


def sums(report: ImportReport, part: str) -> tuple[int, int, int, int]:
    """Sessions, messages, tool calls and errors of the sessions of a file."""
    chosen = [one for one in report.sessions if part in one.file]
    return (
        len(chosen),
        sum(one.messages for one in chosen),
        sum(one.tool_calls for one in chosen),
        sum(one.errors for one in chosen),
    )


async def test_tau2_bench_then_the_stated_counts(store: EventStore, recorded: Path) -> None:
    """Retail: 40 sessions, 1105 messages, 299 calls, 12 errors; telecom: 40, 2238, 689, 0. The
    world of the retail domain is no session and does no harm."""
    report = await import_paths(store, [recorded / "tau2-bench"])
    assert sums(report, "retail") == (40, 1105, 299, 12)
    assert sums(report, "telecom") == (40, 2238, 689, 0)
    assert not report.rejected
    assert any("domain_retail_db" in one.file for one in report.skipped)


async def test_tau_bench_then_the_stated_counts(store: EventStore, recorded: Path) -> None:
    """200 sessions of 50 tasks, 5308 messages, 1164 calls, rewards of 84 in all."""
    report = await import_paths(store, [recorded / "tau-bench"])
    assert sums(report, "") == (200, 5308, 1164, 0)
    assert report.totals()["reward"] == 84
    assert len({one.stream for one in report.sessions}) == 200


async def test_claude_code_then_the_stated_counts(store: EventStore, recorded: Path) -> None:
    """1863 rows with 186 calls and 7 errors, subagents of 10 and 4 rows, and two short ones."""
    report = await import_paths(store, [recorded / "claude-code"])
    by_file = {Path(one.file).stem: one for one in report.sessions}
    long = by_file["258c7280-ae70-4798-800f-63464d01a85d"]
    assert (long.records, long.tool_calls, long.errors) == (1863, 186, 7)
    assert by_file["agent-a881341"].records == 10
    assert by_file["agent-acompact-fffbd0"].records == 4
    assert by_file["short"].records == 15
    heavy = by_file["tool_heavy"]
    assert (heavy.records, heavy.tool_calls) == (39, 6)


async def test_adk_then_the_stated_counts(store: EventStore, recorded: Path) -> None:
    """34, 41, 50, 6 and 9 events, 9 and 10 of them with a change of state, in three shapes."""
    report = await import_paths(store, [recorded / "adk"])
    assert sorted(one.records for one in report.sessions) == [6, 9, 34, 41, 50]
    changes = {}
    for one in report.sessions:
        events = await store.read(one.stream).list()
        changes[one.records] = sum(event.type == "context.changed" for event in events)
    assert (changes[41], changes[50]) == (9, 10)


def source_records(path: Path) -> Iterator[list[Any]]:
    """The records of each session of a file, read here without the importer's help."""
    if path.suffix == ".jsonl":
        yield [json.loads(line) for line in path.read_text().splitlines()]
        return
    document = json.loads(path.read_text())
    if isinstance(document, list):
        yield from (one["traj"] for one in document)
    elif "simulations" in document:
        yield from (one["messages"] for one in document["simulations"])
    elif "events" in document:
        yield document["events"]
    else:
        yield from (turns for user in document.values() for turns in user["history"].values())


@pytest.mark.parametrize("folder", ["adk", "claude-code", "memorybank", "tau-bench", "tau2-bench"])
async def test_export_as_source_then_every_record_equal_and_in_order(
    folder: str, store: EventStore, recorded: Path
) -> None:
    """Each record comes back as the JSON it was: the same keys, texts, and kinds of numbers."""
    report = await import_paths(store, [recorded / folder])
    exported: dict[str, list[list[str]]] = {}
    for session in report.sessions:
        records = [exactly(json.loads(raw)) async for raw in export_source(store, session.stream)]
        exported.setdefault(session.file, []).append(records)
    files = {one.file for one in report.sessions}
    for file in files:
        expected = [[exactly(one) for one in part] for part in source_records(Path(file))]
        assert exported[file] == expected
    assert sum(len(part) for parts in exported.values() for part in parts) == sum(
        one.records for one in report.sessions
    )


def read_json(file: str) -> Any:
    return json.loads(Path(file).read_text())


def exactly(value: Any) -> str:
    """Text that is equal for equal JSON only: 1, 1.0 and true are three, key order is none."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("folder", ["adk", "tau-bench", "tau2-bench"])
async def test_export_as_document_then_all_fields_of_the_session(
    folder: str, store: EventStore, recorded: Path
) -> None:
    """What stands beside the records comes back too, in a file of the source's own shape."""
    report = await import_paths(store, [recorded / folder])
    for file in {one.file for one in report.sessions}:
        document = read_json(file)
        streams = [one.stream for one in report.sessions if one.file == file]
        again = [json.loads(await export_document(store, stream)) for stream in streams]
        if isinstance(document, list):
            assert [exactly(one) for (one,) in again] == [exactly(one) for one in document]
        elif "simulations" in document:
            tasks = {task["id"]: task for task in document["tasks"]}
            for one, simulation in zip(again, document["simulations"], strict=True):
                expected = {
                    **document,
                    "simulations": [simulation],
                    "tasks": [tasks[simulation["task_id"]]],
                }
                assert exactly(one) == exactly(expected)
        else:
            assert [exactly(one) for one in again] == [exactly(document)]


@pytest.mark.parametrize("folder", ["adk", "claude-code", "memorybank", "tau-bench", "tau2-bench"])
async def test_imported_twice_then_nothing_new_and_the_same_counts(
    folder: str, store: EventStore, recorded: Path
) -> None:
    """The second time appends nothing, and tells the sessions as the first time did."""
    first = await import_paths(store, [recorded / folder])
    head = await store.head()
    second = await import_paths(store, [recorded / folder])
    assert await store.head() == head
    assert not second.rejected
    ours = ("new_records", "new_events", "seconds")
    assert {key: value for key, value in first.totals().items() if key not in ours} == {
        key: value for key, value in second.totals().items() if key not in ours
    }
    assert second.totals()["new_events"] == 0
    assert first.totals()["new_events"] > 0
