"""Sources whose records have any shape at all: nothing is lost, nothing stops the import."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.importers import export_source, import_paths
from eventstore import EventStore

FIXTURES = Path(__file__).parents[2] / "fixtures" / "importers"
SESSION = "3f0c2a4e-0000-4000-8000-000000000001"

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["text", "tool_use", "tool_result", "tool", "x" * 80]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "id", "name", "text", "content", "role", "parts", "a/~"]),
            children,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    found: list[tuple[Any, Any]] = []
    items: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        found.append((value, key))
        if isinstance(item, (dict, list)):
            found += places(item)
    return found


def mutated(records: list[Any], data: st.DataObject) -> list[Any]:
    """The records with some values replaced by anything."""
    records = copy.deepcopy(records)
    for _ in range(data.draw(st.integers(1, 4))):
        container, key = data.draw(st.sampled_from(places(records)))
        container[key] = data.draw(ODD)
        if not places(records):
            break
    return records


def exactly(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def read_lines(name: str) -> list[Any]:
    return [json.loads(line) for line in (FIXTURES / name).read_text().splitlines()]


def read_document(name: str, *path: Any) -> list[Any]:
    value = json.loads((FIXTURES / name).read_text())
    for key in path:
        value = value[key]
    assert isinstance(value, list)
    return value


@pytest.mark.parametrize("kind", ["claude", "openai", "adk", "tau2", "memorybank"])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_odd_records_then_all_back_again_and_nothing_new_twice(
    kind: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever stands where a known field is expected, each record comes back as it was."""
    path = tmp_path_factory.mktemp("odd") / "source"
    if kind == "claude":
        records = mutated(read_lines(f"claude/{SESSION}.jsonl"), data)
        records.append(read_lines(f"claude/{SESSION}.jsonl")[1])
        path.write_text("".join(json.dumps(one) + "\n" for one in records))
    elif kind == "openai":
        records = [
            {"role": "user", "content": "a"},
            *mutated(read_document("openai_array.json"), data),
        ]
        path.write_text(json.dumps(records))
    elif kind == "adk":
        records = mutated(read_document("adk_actions.json", "events"), data)
        path.write_text(json.dumps({"id": "s", "events": records, "state": data.draw(ODD)}))
    elif kind == "memorybank":
        turns = read_document("memory_bank.json", " Ann ", "history", "2026-01-02")
        records = mutated(turns, data)
        profile = {"name": data.draw(ODD), "history": {"2026-01-02": records}}
        path.write_text(json.dumps({"Ann": profile}))
    else:
        records = mutated(read_document("tau2_bench.json", "simulations", 0, "messages"), data)
        head = {"id": "s", "task_id": data.draw(ODD), "trial": 0, "reward_info": data.draw(ODD)}
        document = {"info": data.draw(ODD), "simulations": [{**head, "messages": records}]}
        path.write_text(json.dumps(document))
    async with EventStore.open("memory://") as store:
        report = await import_paths(store, [path])
        assert report.problems == []
        (session,) = report.sessions
        exported = [json.loads(raw) async for raw in export_source(store, session.stream)]
        assert [exactly(one) for one in exported] == [exactly(one) for one in records]
        again = await import_paths(store, [path])
        assert (again.problems, again.sessions[0].new_events) == ([], 0)
        assert again.sessions[0].records == session.records == len(records)
