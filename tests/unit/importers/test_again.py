"""Importing again: the same, renamed, grown, changed, cut short, and two importers at once."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli.importers import (
    ImportReport,
    Options,
    SeveralSessions,
    export_document,
    export_source,
    import_paths,
)
from cli.importers import writing as importer_writing
from cli.importers.writing import Importer, OpenSession
from eventstore import EventStore, NewEvent

Message = dict[str, Any]


def messages(count: int, first: int = 1) -> list[Message]:
    """A conversation of `count` messages."""
    roles = ("user", "assistant")
    return [
        {"role": roles[number % 2 == 0], "content": f"message {number}"}
        for number in range(first, first + count)
    ]


def write_lines(path: Path, records: list[Message]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write_tau(path: Path, *runs: tuple[int, int, list[Message]]) -> Path:
    document = [
        {"task_id": task, "trial": trial, "reward": 1.0, "info": {}, "traj": records}
        for task, trial, records in runs
    ]
    path.write_text(json.dumps(document))
    return path


async def exported(store: EventStore, report: ImportReport) -> list[Message]:
    (session,) = report.sessions
    return [json.loads(raw) async for raw in export_source(store, session.stream)]


async def test_file_moved_and_renamed_then_nothing_new(store: EventStore, tmp_path: Path) -> None:
    """A session's id comes from its content."""
    path = write_lines(tmp_path / "a.jsonl", messages(4))
    first = await import_paths(store, [path])
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(path, tmp_path / "elsewhere" / "b.txt")
    again = await import_paths(store, [moved])
    assert again.sessions[0].stream == first.sessions[0].stream
    assert (again.sessions[0].new_events, again.rejected) == (0, False)


async def test_a_fork_is_exported_then_what_it_inherits_is_in_and_imports_anywhere(
    store: EventStore, tmp_path: Path
) -> None:
    """A fork's document holds all its records; where it is imported it is no fork any more. In a
    fork the rest of the source goes on behind the event that it begins with."""
    path = write_lines(tmp_path / "a.jsonl", messages(5))
    await import_paths(store, [path], Options(session_id="a"))
    await store.fork("session/a", "session/b", 3)
    document = tmp_path / "b.json"
    document.write_bytes(await export_document(store, "session/b"))
    assert json.loads(document.read_bytes()) == messages(2)
    async with EventStore.open("memory://") as other:
        report = await import_paths(other, [document], Options(session_id="b"))
        assert await exported(other, report) == messages(2)
        types = [event.type for event in await other.read("session/b").list()]
        assert types == ["session.started", "message.added", "message.added"]
    rest = await import_paths(store, [path], Options(session_id="b"))
    assert (rest.sessions[0].new_events, rest.rejected) == (3, False)
    assert await exported(store, rest) == messages(5)
    assert [e.type for e in await store.read("session/b").list()][3] == "$stream.forked"


async def test_same_start_in_other_trials_then_sessions_of_their_own(
    store: EventStore, tmp_path: Path
) -> None:
    """Task and trial belong to the id: runs of one task begin alike."""
    path = write_tau(tmp_path / "t.json", (1, 0, messages(2)), (1, 1, messages(3)), (2, 0, []))
    report = await import_paths(store, [path])
    assert len({one.stream for one in report.sessions}) == 3


async def test_lines_and_array_of_one_chat_then_one_session(
    store: EventStore, tmp_path: Path
) -> None:
    """How the file is laid out does not matter either."""
    report = await import_paths(store, [write_lines(tmp_path / "a", messages(3))])
    (tmp_path / "b").write_text(json.dumps(messages(5), indent=3))
    again = await import_paths(store, [tmp_path / "b"])
    assert again.sessions[0].stream == report.sessions[0].stream
    assert again.sessions[0].new_records == 2


@pytest.mark.parametrize("shape", ["lines", "document"])
async def test_file_grown_then_only_the_new_records(
    shape: str, store: EventStore, tmp_path: Path
) -> None:
    """What stands is left alone, what is new comes behind it."""
    path = tmp_path / "chat"

    def write(records: list[Message]) -> None:
        if shape == "lines":
            write_lines(path, records)
        else:
            path.write_text(json.dumps({"model": "m", "messages": records}))

    write(messages(3))
    await import_paths(store, [path])
    write(messages(5))
    report = await import_paths(store, [path])
    assert report.sessions[0].new_records == 2
    assert not report.rejected
    assert await exported(store, report) == messages(5)


async def test_adk_session_grown_then_its_new_state_behind_the_new_events(
    store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """How a session stands changes with it; that is no change of an earlier record."""
    document = json.loads((fixtures / "adk_actions.json").read_text())
    path = tmp_path / "s.json"
    path.write_text(json.dumps({**document, "events": document["events"][:2]}))
    await import_paths(store, [path])
    document["last_update_time"] += 1
    path.write_text(json.dumps(document))
    report = await import_paths(store, [path])
    assert not report.rejected
    assert report.sessions[0].new_records == 3
    again = await import_paths(store, [path])
    assert again.sessions[0].new_events == 0


async def test_record_changed_then_reported_and_what_stands_untouched(
    store: EventStore, tmp_path: Path
) -> None:
    """A changed record is named by its number; new ones behind it are still taken."""
    path = write_lines(tmp_path / "a", messages(4))
    await import_paths(store, [path])
    changed = messages(5)
    changed[1]["content"] = "something else"
    report = await import_paths(store, [write_lines(path, changed)])
    assert report.sessions[0].changed == [2]
    assert [(one.record, "changed" in one.reason) for one in report.problems] == [(2, True)]
    assert report.rejected
    assert await exported(store, report) == messages(5)


async def test_record_inserted_then_nothing_is_appended_behind(
    store: EventStore, tmp_path: Path
) -> None:
    """Where all that follows has shifted, the last record is not new, and is not appended."""
    path = write_lines(tmp_path / "a", messages(4))
    await import_paths(store, [path])
    shifted = messages(4)
    shifted.insert(1, {"role": "user", "content": "squeezed in"})
    report = await import_paths(store, [write_lines(path, shifted)])
    assert report.sessions[0].changed == [2, 3, 4]
    assert report.sessions[0].new_events == 0
    assert await exported(store, report) == messages(4)


async def test_number_changed_to_an_equal_one_of_another_kind_then_reported(
    store: EventStore, tmp_path: Path
) -> None:
    """1, 1.0 and true are three different JSON values."""
    path = write_lines(tmp_path / "a", [{"role": "user", "content": "x", "n": 1}])
    await import_paths(store, [path])
    for other in (1.0, True):
        write_lines(path, [{"role": "user", "content": "x", "n": other}])
        stream = (await import_paths(store, [path], Options("given"))).sessions[0].stream
        assert stream == "session/given"
    report = await import_paths(store, [path], Options("given"))
    assert report.sessions[0].changed == [1]


async def test_changed_end_of_a_finished_run_then_reported(
    store: EventStore, tmp_path: Path
) -> None:
    """A reward that is another one later is a changed record."""
    path = write_tau(tmp_path / "t", (1, 0, messages(2)))
    await import_paths(store, [path])
    path.write_text(path.read_text().replace('"reward": 1.0', '"reward": 0.5'))
    report = await import_paths(store, [path])
    assert [one.record for one in report.problems] == ["tail"]


async def test_file_cut_short_then_reported(store: EventStore, tmp_path: Path) -> None:
    """A source that has lost its end is told of; nothing is taken back."""
    path = write_lines(tmp_path / "a", messages(4))
    await import_paths(store, [path])
    report = await import_paths(store, [write_lines(path, messages(2))])
    assert [(one.record, "cut short" in one.reason) for one in report.problems] == [(3, True)]
    assert await exported(store, report) == messages(4)


async def test_broken_line_mended_later_then_reported_not_squeezed_in(
    store: EventStore, tmp_path: Path
) -> None:
    """Order is the source's order: what could not be read then cannot go behind the others now."""
    path = write_lines(tmp_path / "a", messages(3))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-3], lines[2]]) + "\n")
    broken = await import_paths(store, [path])
    assert [(one.line, one.record) for one in broken.problems] == [(2, 2)]
    report = await import_paths(store, [write_lines(path, messages(3))])
    assert [one.record for one in report.problems] == [2]
    assert await exported(store, report) == [messages(3)[0], messages(3)[2]]


@pytest.mark.parametrize("later", ["removed", "mended", "mended into two", "an empty line more"])
async def test_broken_line_gone_or_mended_then_the_others_stand(
    later: str, store: EventStore, tmp_path: Path
) -> None:
    """What becomes of a line that never was a record changes no other record; the file goes on
    growing, and an unchanged one appends nothing."""
    lines = [json.dumps(one) for one in messages(7)]
    path = tmp_path / "a"
    path.write_text("\n".join([lines[0], lines[1] + lines[2][:9], *lines[3:6]]) + "\n")
    assert len((await import_paths(store, [path])).problems) == 1
    between = {
        "removed": [],
        "mended": [lines[1]],
        "mended into two": [lines[1], lines[2]],
        "an empty line more": ["", lines[1][:-2]],
    }[later]
    path.write_text("\n".join([lines[0], *between, *lines[3:]]) + "\n")
    report = await import_paths(store, [path])
    (session,) = report.sessions
    assert (session.changed, session.new_records) == ([], 1)
    assert len(report.problems) == len([line for line in between if line])
    there = [messages(7)[0], *messages(7)[3:]]
    assert await exported(store, report) == there
    head = await store.head()
    assert (await import_paths(store, [path])).sessions[0].changed == []
    assert await store.head() == head


@pytest.mark.parametrize("shape", ["lines", "document"])
async def test_another_chat_with_the_same_beginning_then_told_of_the_id(
    shape: str, store: EventStore, tmp_path: Path
) -> None:
    """Chats without an id are known by their first record. Where two are alike in it, nothing is
    overwritten or mixed up, and what to do is said once; a chat with an id is not told so."""
    first, second = messages(3), [messages(1)[0], *messages(3, first=20)]
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, records in zip(paths, (first, second), strict=True):
        if shape == "lines":
            write_lines(path, records)
        else:
            path.write_text(json.dumps(records))
    report = await import_paths(store, paths)
    one, other = report.sessions
    assert one.stream == other.stream
    assert (other.changed, other.new_events, report.rejected) == ([2, 3], 0, True)
    assert [("--id" in told.reason, told.file) for told in report.problems] == [
        (True, str(paths[1])),
        (False, str(paths[1])),
        (False, str(paths[1])),
    ]
    stands = [json.loads(raw) async for raw in export_source(store, one.stream)]
    assert stands == first
    apart = await import_paths(store, [paths[1]], Options("other"))
    assert not apart.rejected
    assert await exported(store, apart) == second
    changed = await import_paths(store, [paths[0]], Options("other"))
    assert not any("--id" in told.reason for told in changed.problems)


async def test_somebody_writes_to_the_session_then_import_goes_on_behind(
    store: EventStore, tmp_path: Path
) -> None:
    """A program may go on with an imported session; its events, also odd ones, are left alone."""
    path = write_lines(tmp_path / "a", messages(2))
    report = await import_paths(store, [path])
    stream = report.sessions[0].stream
    await store.append(
        stream,
        [
            NewEvent("message.added", {"role": "user", "content": "live"}),
            NewEvent("note", {"source_record": {"at": 2, "moved": {"/x": "9/y"}}}),
            NewEvent("note", {"source_record": "mine"}),
            NewEvent("import.raw", {"source_record": {"at": 1, "raw": 1}, "content": "%"}),
            NewEvent("note", [1]),
        ],
    )
    again = await import_paths(store, [write_lines(path, messages(4))])
    assert not again.rejected
    assert again.sessions[0].new_records == 2
    assert await exported(store, again) == messages(4)


async def test_two_importers_at_once_then_each_record_once(
    store: EventStore, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They meet at every batch; together they write what one alone would."""
    monkeypatch.setattr(importer_writing, "BATCH_EVENTS", 50)
    met: list[str] = []
    read_again = OpenSession.read_again

    async def counted(session: OpenSession, *args: Any) -> Any:
        met.append(session.report.stream)
        return await read_again(session, *args)

    monkeypatch.setattr(OpenSession, "read_again", counted)
    paths = [recorded / "adk", recorded / "claude-code" / "tool_heavy.jsonl"]
    async with EventStore.open("memory://") as alone:
        report = await import_paths(alone, paths)
        expected = await everything(alone, report)
    reports = await asyncio.gather(*(import_paths(store, paths) for _ in range(3)))
    assert not any(one.rejected for one in reports)
    assert await everything(store, reports[0]) == expected
    assert sum(one.totals()["new_records"] for one in reports) == report.totals()["records"]
    assert len(met) > 10


@pytest.mark.parametrize("moment", [1, 2, 5])
async def test_another_importer_overtakes_then_each_record_once(
    moment: int, store: EventStore, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a batch that was made before the other one's records were seen is not written."""
    path = recorded / "claude-code" / "tool_heavy.jsonl"
    monkeypatch.setattr(importer_writing, "BATCH_EVENTS", 10)
    sends = 0
    send = Importer.send

    async def overtaken(importer: Importer) -> None:
        nonlocal sends
        sends += 1
        if sends == moment:
            await import_paths(store, [path])
        await send(importer)

    monkeypatch.setattr(Importer, "send", overtaken)
    report = await import_paths(store, [path])
    assert sends > moment
    assert not report.rejected
    assert await exported(store, report) == [
        json.loads(line) for line in read_text(path).splitlines()
    ]


def read_text(path: Path) -> str:
    return path.read_text()


async def everything(store: EventStore, report: ImportReport) -> dict[str, list[tuple[str, bytes]]]:
    return {
        one.stream: [(event.type, event.payload) for event in await store.read(one.stream).list()]
        for one in report.sessions
    }


async def test_id_for_one_session_then_its_stream(
    store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """--id names the only session, and its subagents below it; several are refused unwritten."""
    session = "3f0c2a4e-0000-4000-8000-000000000001"
    report = await import_paths(store, [fixtures / "claude" / f"{session}.jsonl"], Options("mine"))
    assert [one.stream for one in report.sessions] == [
        "session/mine",
        "session/mine/agent/a1",
        "session/mine/agent/acompact-b",
    ]
    head = await store.head()
    for path in (fixtures / "tau_bench.json", fixtures, fixtures / "not_a_session.json"):
        with pytest.raises(SeveralSessions):
            await import_paths(store, [path], Options("x"))
    with pytest.raises(SeveralSessions):
        await import_paths(store, [fixtures / "adk_camel.json"], Options("a\nb"))
    assert await store.head() == head


async def test_folder_then_hidden_files_and_others_skipped(
    store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """A folder may hold anything; what is no session is told, and no reason to fail."""
    shutil.copy(fixtures / "not_a_session.json", tmp_path / "world.json")
    shutil.copy(fixtures / "adk_camel.json", tmp_path / "a.json")
    (tmp_path / ".git").mkdir()
    shutil.copy(fixtures / "adk_context.json", tmp_path / ".git" / "b.json")
    report = await import_paths(store, [tmp_path])
    assert [one.stream for one in report.sessions] == ["session/adk-3"]
    assert [Path(one.file).name for one in report.skipped] == ["world.json"]
    assert not report.rejected
    named = await import_paths(store, [tmp_path / "world.json"])
    assert named.rejected
    assert len(named.problems) == 1
