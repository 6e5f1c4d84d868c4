"""Records that the store refuses as JSON, and lines that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.importers import export_document, export_source, import_paths
from eventstore import EventStore

REASONS = {
    "lone_surrogate": "lone surrogate",
    "integer_beyond_64_bits": "integer beyond signed 64 bits",
    "integer_far_beyond": "integer beyond signed 64 bits",
    "not_a_number": "NaN is no JSON number",
    "infinity": "-Infinity is no JSON number",
    "float_too_large": "NaN or infinity",
    "key_twice": "an object has a key twice",
    "too_deep": "deeper than 100 levels",
    "much_too_deep": "deeper than 100 levels",
}


@pytest.mark.parametrize("name", REASONS)
async def test_refused_record_then_kept_as_bytes_and_exported_the_same(
    name: str, store: EventStore, fixtures: Path
) -> None:
    """Its bytes stand in the log, counted, with the reason; its neighbours are as ever."""
    path = fixtures / "refused" / f"{name}.jsonl"
    report = await import_paths(store, [path])
    (session,) = report.sessions
    assert (session.records, session.raw, session.messages) == (3, 1, 2)
    assert not report.rejected
    events = await store.read(session.stream).list()
    (raw,) = [event for event in events if event.type == "import.raw"]
    assert raw["reason"] == REASONS[name]
    exported = [one async for one in export_source(store, session.stream)]
    lines = path.read_bytes().splitlines()
    assert exported[1] == lines[1]
    assert [json.loads(exported[0]), json.loads(exported[2])] == [
        json.loads(lines[0]),
        json.loads(lines[2]),
    ]
    again = await import_paths(store, [path])
    assert (again.sessions[0].new_events, again.rejected) == (0, False)


def test_every_refusal_then_a_fixture(fixtures: Path) -> None:
    """No fixture is left out above."""
    assert {path.stem for path in (fixtures / "refused").iterdir()} == set(REASONS)


async def test_record_too_large_then_kept_in_several_events(
    store: EventStore, tmp_path: Path
) -> None:
    """A payload has 8 MiB; the bytes of a larger record are divided, and come back whole."""
    path = tmp_path / "large.jsonl"
    large = json.dumps({"role": "user", "content": "x" * (9 * 1024 * 1024)})
    path.write_text(f'{{"role": "user", "content": "a"}}\n{large}\n')
    report = await import_paths(store, [path])
    (session,) = report.sessions
    events = await store.read(session.stream).list()
    assert [event.type for event in events] == [
        "session.started",
        "message.added",
        *["import.raw"] * 3,
    ]
    exported = [one async for one in export_source(store, session.stream)]
    assert exported[1] == large.encode()
    assert (await import_paths(store, [path])).sessions[0].new_events == 0


async def test_large_record_that_fits_then_a_message(store: EventStore, tmp_path: Path) -> None:
    """What the store takes is not refused for its size."""
    path = tmp_path / "large.jsonl"
    path.write_text(json.dumps({"role": "user", "content": "x" * (7 * 1024 * 1024)}))
    report = await import_paths(store, [path])
    assert (report.sessions[0].raw, report.sessions[0].messages) == (0, 1)


async def test_record_beyond_one_append_then_reported(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record is never divided between two appends; one too large for that is told."""
    monkeypatch.setattr("cli.importers.writing.RECORD_BYTES_MAX", 100)
    path = tmp_path / "large.jsonl"
    path.write_text('{"role": "user", "content": "a"}\n' + json.dumps({"role": "x" * 100}) + "\n")
    report = await import_paths(store, [path])
    assert [one.line for one in report.problems] == [2]
    assert report.sessions[0].records == 1


@pytest.mark.parametrize(
    ("field", "raw"),
    [("head", b'{"trial": 0, "task_id": NaN}'), ("tail", b'{"reward": 1, "reward": 2}')],
)
async def test_refused_fields_of_a_session_then_kept_as_bytes(
    field: str, raw: bytes, store: EventStore, tmp_path: Path
) -> None:
    """What stands beside the records may be refused too; the records are imported all the same."""
    path = tmp_path / "t.json"
    head = b'"task_id": NaN, "trial": 0' if field == "head" else b'"task_id": 1, "trial": 0'
    tail = b'"reward": 1, "reward": 2' if field == "tail" else b'"reward": 1'
    path.write_bytes(
        b'[{"traj": [{"role": "user", "content": "a"}], ' + head + b", " + tail + b"}]"
    )
    report = await import_paths(store, [path])
    (session,) = report.sessions
    assert (session.messages, report.problems) == (1, [])
    events = await store.read(session.stream).list()
    (kept,) = [event for event in events if event.type == "import.raw"]
    assert kept["source_record"]["at"] == field
    document = await export_document(store, session.stream)
    assert head in document
    assert tail in document
    assert (await import_paths(store, [path])).sessions[0].new_events == 0


async def test_refused_record_in_a_document_then_its_neighbours_unharmed(
    store: EventStore, tmp_path: Path
) -> None:
    """One bad message among many sessions costs nobody else anything."""
    good = '{"role": "user", "content": "a"}'
    bad = '{"role": "user", "content": "\\ud800", "n": NaN}'
    path = tmp_path / "t.json"
    path.write_text(
        f'[{{"task_id": 1, "trial": 0, "traj": [{good}, {bad}, {good}]}},\n'
        f' {{"task_id": 1, "trial": 1, "traj": [{good}]}}]'
    )
    report = await import_paths(store, [path])
    assert [(one.records, one.raw) for one in report.sessions] == [(3, 1), (1, 0)]
    first = report.sessions[0].stream
    assert bad.encode() in [one async for one in export_source(store, first)]


async def test_broken_line_then_file_line_and_the_rest(store: EventStore, fixtures: Path) -> None:
    """A line that is no JSON is told with its place; what surrounds it is imported."""
    path = fixtures / "broken.jsonl"
    report = await import_paths(store, [path])
    (problem,) = report.problems
    assert (problem.file, problem.line) == (str(path), 2)
    assert "no JSON" in problem.reason
    assert report.rejected
    assert report.sessions[0].messages == 2


async def test_broken_document_beside_a_good_one_then_its_line_and_the_rest(
    store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """A document that is cut off is told with the line; other files are imported."""
    whole = (fixtures / "tau_bench.json").read_text()
    (tmp_path / "cut.json").write_text(whole[: len(whole) // 2])
    (tmp_path / "good.json").write_text(whole)
    report = await import_paths(store, [tmp_path])
    (problem,) = report.problems
    assert problem.file.endswith("cut.json")
    assert problem.line is not None
    assert len(report.sessions) == 2


async def test_broken_line_among_documents_then_the_others(
    store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """Where each line is a session, a broken one costs only itself."""
    lines = (fixtures / "openai_containers.jsonl").read_text().splitlines()
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join([lines[0], lines[1][:-9], "", "gibberish", lines[2]]) + "\n")
    report = await import_paths(store, [path])
    assert [one.line for one in report.problems] == [2, 4]
    assert len(report.sessions) == 2


async def test_session_broken_inside_a_document_then_its_line_and_those_before(
    store: EventStore, tmp_path: Path
) -> None:
    """The line is the file's, not the session's; what stands before it is imported."""
    good = '{"task_id": 1, "trial": 0, "traj": [\n{"role": "user", "content": "a"}\n]}'
    path = tmp_path / "t.json"
    path.write_text(f'[{good},\n{{"task_id": 2,\n"trial" 0, "traj": []}}]')
    report = await import_paths(store, [path])
    assert [one.line for one in report.problems] == [5]
    assert len(report.sessions) == 1
