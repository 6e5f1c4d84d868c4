"""MemoryBank: turns of a user's days become messages and dated memories of that user."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.importers import export_document, export_source, import_paths
from cli.importers.recognising import Recognised, recognise
from eventstore import EventStore
from reducers.agent import memory


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def write(path: Path, bank: Any, indent: int | None = None) -> Path:
    path.write_text(json.dumps(bank, indent=indent))
    return path


async def test_bank_is_imported_then_each_turn_is_said_and_remembered_on_its_day(
    store: EventStore, fixtures: Path
) -> None:
    """A day is a session; a turn gives a message of each side and one memory of the user, with the
    day as the source's time and the user as a tag."""
    report = await import_paths(store, [fixtures / "memory_bank.json"])
    assert report.problems == []
    assert [(one.stream, one.records, one.turns) for one in report.sessions] == [
        ("session/Ann/2026-01-02", 2, 2),
        ("session/Ann/2026-01-03", 0, 0),
        ("session/Ben/2026-01-02", 3, 1),
        ("session/Ben/some day", 1, 1),
    ]
    events = await store.read("session/Ann/2026-01-02").list()
    assert [event.type for event in events] == [
        "session.started",
        *("message.added", "message.added", "memory.remembered") * 2,
    ]
    assert {event.occurred_at for event in events} == {datetime(2026, 1, 2, tzinfo=UTC)}
    started, asked, answered, remembered, *_ = (event.data for event in events)
    assert started["title"] == "Ann 2026-01-02"
    assert started["attributes"] == {"user": " Ann ", "day": "2026-01-02"}
    assert (asked["role"], answered["role"]) == ("user", "assistant")
    question = "I have adopted a dog, a small brown one that was left behind at the station."
    assert asked["parts"] == [{"type": "text", "content": question}]
    assert remembered == {
        "memory_id": "Ann/2026-01-02/1",
        "content": f"Ann: {question}\nAI: How kind of you! What is its name?",
        "attributes": {"user": "Ann", "type": "episodic"},
    }
    assert [event.tags for event in events if event.type == "memory.remembered"] == [
        ("user:Ann",),
        ("user:Ann",),
    ]


async def test_turns_of_odd_shape_then_kept_whole_and_what_is_said_of_them_is(
    store: EventStore, fixtures: Path
) -> None:
    """A turn with one side has one message; what is no turn is kept and told; a day that is no
    date gives no time."""
    report = await import_paths(store, [fixtures / "memory_bank.json"])
    ben = report.sessions[2]
    assert ben.unmapped == {"other": 2}
    events = await store.read("session/Ben/2026-01-02").list()
    assert [event.type for event in events] == [
        "session.started",
        "message.added",
        "memory.remembered",
        "source.recorded",
        "source.recorded",
    ]
    assert events[2].data["content"] == "Ben: Which book did you recommend?"
    undated = await store.read("session/Ben/some day").list()
    assert {event.occurred_at for event in undated} == {None}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("lines", [False, True])
def test_bank_in_any_layout_then_recognised(
    indent: int | None, lines: bool, fixtures: Path, tmp_path: Path
) -> None:
    """On one line, on many, or with a bank on each line."""
    bank = read(fixtures / "memory_bank.json")
    path = write(tmp_path / "x", bank, None if lines else indent)
    if lines:
        path.write_text(path.read_text() + "\n" + json.dumps({"Eve": {"history": {}}}) + "\n")
    found = recognise(path)
    assert isinstance(found, Recognised)
    assert (found.kind, found.lines, found.documents) == ("memorybank", lines, True)


async def test_user_or_day_of_another_shape_then_rejected_with_its_line_and_the_rest_is_in(
    store: EventStore, tmp_path: Path
) -> None:
    """What is no user and no day is told with file and line; it takes nobody along."""
    path = tmp_path / "bank.json"
    path.write_text(
        '{"Ann": {"history": {"2026-01-02": [{"query": "a", "response": "b"}],\n'
        '  "2026-01-03":\n  "2026-01-03"}},\n'
        ' "Ben":\n [1],\n "Eve": {"name": "Eve"},\n'
        ' "Mia": {"history": {"2026-01-02": [{"query": "c", "response": "d"}]}}}'
    )
    for attempt in (1, 2):
        report = await import_paths(store, [path])
        assert [(one.file, one.line) for one in report.problems] == [
            (str(path), 3),
            (str(path), 5),
            (str(path), 6),
        ]
        assert report.rejected
        assert [one.stream for one in report.sessions] == [
            "session/Ann/2026-01-02",
            "session/Mia/2026-01-02",
        ]
        assert report.totals()["new_records"] == (2 if attempt == 1 else 0)


async def test_bank_has_grown_then_new_turns_days_and_profiles_are_added(
    store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """What stands is left alone; memories keep their ids; a document has the newest profile."""
    bank = read(fixtures / "memory_bank.json")
    path = write(tmp_path / "bank.json", bank)
    await import_paths(store, [path])
    ann = bank[" Ann "]
    ann["summary"] = {"2026-01-02": "Ann has a dog."}
    ann["history"]["2026-01-02"].append({"query": "He sleeps.", "response": "Good."})
    ann["history"]["2026-01-04"] = [{"query": "He is awake.", "response": "Good morning."}]
    write(path, bank)
    report = await import_paths(store, [path])
    assert report.problems == []
    assert report.totals()["new_records"] == 2
    entries = (await memory.load(store, "session/Ann/2026-01-02")).state.entries
    assert sorted(entries) == [f"Ann/2026-01-02/{number}" for number in (1, 2, 3)]
    document = json.loads(await export_document(store, "session/Ann/2026-01-04"))
    assert document == {" Ann ": {**ann, "history": {"2026-01-04": ann["history"]["2026-01-04"]}}}
    head = await store.head()
    again = await import_paths(store, [path])
    assert (again.totals()["new_events"], await store.head()) == (0, head)


async def test_document_of_a_day_is_imported_elsewhere_then_the_same_stream(
    store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """The file that a day would be alone in gives that day again, event by event."""
    await import_paths(store, [fixtures / "memory_bank.json"])
    document = tmp_path / "day.json"
    document.write_bytes(await export_document(store, "session/Ben/2026-01-02"))
    async with EventStore.open("memory://") as other:
        report = await import_paths(other, [document])
        assert (report.problems, len(report.sessions)) == ([], 1)
        one = await store.read("session/Ben/2026-01-02").list()
        two = await other.read("session/Ben/2026-01-02").list()
        assert [(a.type, a.payload, a.tags) for a in one] == [
            (b.type, b.payload, b.tags) for b in two
        ]


async def test_names_that_make_no_tag_then_memories_without_one(
    store: EventStore, tmp_path: Path
) -> None:
    """A name that the store refuses stops nothing: the memory has the user in its data."""
    turns = {"2026-01-02": [{"query": "a", "response": "b"}]}
    names = ["x" * 300, "new\nline", "Zoe\u0308", "$"]
    path = write(tmp_path / "bank.json", {name: {"history": turns} for name in names})
    report = await import_paths(store, [path])
    assert report.problems == []
    memories = await store.read_all(types=["memory.remembered"]).list()
    found = {one.data["attributes"]["user"]: one.tags for one in memories}
    assert found == {"x" * 300: (), "new\nline": (), "Zoe\u0308": (), "$": ("user:$",)}


async def test_recorded_bank_then_566_dated_memories_of_15_users(
    store: EventStore, recorded: Path
) -> None:
    """15 users, 150 dated sessions and 566 turns, as its README says; each memory is of its user
    and its day, and holds what was said."""
    path = recorded / "memorybank" / "memory_bank_en.json"
    report = await import_paths(store, [path])
    totals = report.totals()
    assert (totals["sessions"], totals["turns"], totals["messages"]) == (150, 566, 1132)
    expected = Counter(
        (key.strip(), datetime.fromisoformat(day).replace(tzinfo=UTC))
        for key, user in read(path).items()
        for day, turns in user["history"].items()
        for _ in turns
    )
    memories = await store.read_all(types=["memory.remembered"]).list()
    assert (
        Counter((one.data["attributes"]["user"], one.occurred_at) for one in memories) == expected
    )
    assert len(memories) == len({one.data["memory_id"] for one in memories}) == 566
    assert len({user for user, _ in expected}) == 15
    said = [
        f"{key.strip()}: {turn['query']}\nAI: {turn['response']}"
        for key, user in read(path).items()
        for turns in user["history"].values()
        for turn in turns
    ]
    assert [one.data["content"] for one in memories] == said
    for user in ("Emily", "John Zhang"):
        tagged = await store.read_all(types=["memory.remembered"], tags=[f"user:{user}"]).list()
        assert [one.data["attributes"]["user"] for one in tagged] == [user] * (
            {"Emily": 49, "John Zhang": 17}[user]
        )


async def test_recorded_bank_is_exported_then_every_turn_and_every_profile_again(
    store: EventStore, recorded: Path
) -> None:
    """Turns come back in order and equal; all documents together are the bank."""
    path = recorded / "memorybank" / "memory_bank_en.json"
    bank = read(path)
    report = await import_paths(store, [path])
    days = [turns for user in bank.values() for turns in user["history"].values()]
    exported = [
        [json.loads(raw) async for raw in export_source(store, one.stream)]
        for one in report.sessions
    ]
    assert exported == days
    joined: dict[str, Any] = {}
    for one in report.sessions:
        ((name, user),) = json.loads(await export_document(store, one.stream)).items()
        history = joined.setdefault(name, {**user, "history": {}})["history"]
        history.update(user["history"])
    assert json.dumps(joined, sort_keys=True) == json.dumps(bank, sort_keys=True)
