"""What each source's records become: the events of the made-up fixtures, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli.importers import import_paths
from eventstore import EventStore, RecordedEvent

SESSION = "3f0c2a4e-0000-4000-8000-000000000001"


async def told(store: EventStore, stream: str) -> list[tuple[str, Any]]:
    """(type, data without the source's leftovers) of a stream's events."""
    events = await store.read(stream).list()
    return [
        (event.type, {key: event.data[key] for key in event.data if key != "source_record"})
        for event in events
    ]


async def only_stream(store: EventStore, path: Path) -> str:
    """Imports one file and names its one session."""
    report = await import_paths(store, [path])
    assert report.problems == []
    (session,) = report.sessions
    return session.stream


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


def asked(call_id: str, name: str) -> dict[str, Any]:
    return {"type": "tool_call", "id": call_id, "name": name}


def answered(call_id: str) -> dict[str, Any]:
    return {"type": "tool_call_response", "id": call_id}


async def test_openai_messages_then_messages_calls_and_results(
    store: EventStore, fixtures: Path
) -> None:
    """Roles, parts, calls with repeated ids or none, arguments as JSON, results by their call."""
    stream = await only_stream(store, fixtures / "openai_array.json")
    events = await told(store, stream)
    assert events[0] == ("session.started", {"source": {"kind": "openai"}})
    result = '{"sky": "rain", "wind": "strong", "temperature": 9, "unit": "celsius"}'
    assert events[1:10] == [
        ("message.added", {"role": "system", "parts": [text("Answer briefly.")]}),
        ("message.added", {"role": "user", "parts": [text(WEATHER)]}),
        (
            "message.added",
            {
                "role": "assistant",
                "parts": [asked("call_1", "weather"), asked("call_1#2", "weather")],
            },
        ),
        ("tool.requested", requested("call_1", "weather", {"city": "Bremen", "days": 1})),
        ("tool.requested", requested("call_1#2", "weather", {"city": "Bremen", "days": 2})),
        ("message.added", {"role": "tool", "parts": [answered("call_1")], "name": "weather"}),
        (
            "tool.completed",
            {"tool_call_id": "call_1", "tool_name": "weather", "tool_call_result": result},
        ),
        ("message.added", {"role": "tool", "parts": [answered("call_1#2")]}),
        ("tool.completed", {"tool_call_id": "call_1#2", "tool_call_result": "still rain"}),
    ]
    assert events[10:] == [
        (
            "message.added",
            {
                "role": "assistant",
                "parts": [
                    text("Rain and wind; take a coat."),
                    {"type": "refusal", "refusal": "none"},
                ],
            },
        ),
        (
            "message.added",
            {
                "role": "user",
                "parts": [
                    text("And this?"),
                    {"type": "uri", "modality": "image", "uri": "https://example.org/coat.png"},
                ],
            },
        ),
        ("message.added", {"role": "assistant", "parts": [asked("call-1", "look")]}),
        ("tool.requested", requested("call-1", "look", "not json")),
        ("message.added", {"role": "tool", "parts": [answered("call-1")], "name": "look"}),
        (
            "tool.completed",
            {"tool_call_id": "call-1", "tool_name": "look", "tool_call_result": "a blue coat"},
        ),
    ]


WEATHER = (
    "What is the weather in Bremen, and what should I wear for a walk along the river this"
    " afternoon?"
)


def requested(call_id: str, name: str, arguments: Any, requestor: str = "assistant") -> Any:
    return {
        "tool_call_id": call_id,
        "tool_name": name,
        "tool_call_arguments": arguments,
        "requestor": requestor,
    }


async def test_openai_container_then_its_fields_in_the_session(
    store: EventStore, fixtures: Path
) -> None:
    """The fields beside the messages describe the session; its own id names the stream."""
    stream = await only_stream(store, fixtures / "openai_container.json")
    assert stream == "session/conv-7"
    (kind, data), *_ = await told(store, stream)
    assert kind == "session.started"
    assert (data["conversation_id"], data["title"]) == ("conv-7", "Weather")
    assert data["attributes"]["model"] == "some-model"


async def test_tau_bench_then_task_trial_and_reward(store: EventStore, fixtures: Path) -> None:
    """Task and trial are known at the start, reward and judgement at the end."""
    report = await import_paths(store, [fixtures / "tau_bench.json"])
    first, second = report.sessions
    assert first.stream.startswith("session/task-4-trial-0-")
    assert second.stream.startswith("session/task-4-trial-1-")
    assert (first.reward, second.reward) == (0.0, 1.0)
    events = await told(store, second.stream)
    assert events[0][1]["title"] == "task 4 trial 1"
    assert events[0][1]["attributes"] == {"task_id": 4, "trial": 1}
    assert events[-1][0] == "session.ended"
    assert events[-1][1]["outcome"] == {"reward": 1.0}
    assert events[-1][1]["attributes"]["info"]["task"]["user_id"] == "u_1"


async def test_tau2_bench_then_calls_of_both_sides_costs_and_errors(
    store: EventStore, fixtures: Path
) -> None:
    """User and assistant call models and tools; a tool message with an error is a failure."""
    stream = await only_stream(store, fixtures / "tau2_bench.json")
    events = await told(store, stream)
    assert [kind for kind, _ in events] == [
        "session.started",
        "message.added",
        "message.added",
        "model.called",
        "message.added",
        "model.called",
        "tool.requested",
        "tool.requested",
        "message.added",
        "tool.failed",
        "message.added",
        "tool.completed",
        "message.added",
        "model.called",
        "tool.requested",
        "session.ended",
    ]
    assert events[0][1]["title"] == "task t1 trial 0: exchange a toy"
    assert events[0][1]["attributes"]["task"]["id"] == "t1"
    assert events[3][1] == {
        "request_model": "user-model",
        "finish_reasons": ["stop"],
        "usage": {"input_tokens": 10, "output_tokens": 3},
        "cost": 0.25,
        "attributes": {"role": "user"},
    }
    assert events[9][1] == {"tool_call_id": "c1", "tool_call_result": "Error: no such order"}
    assert events[14][1] == requested("c3", "look_at_toy", {}, "user")
    assert events[15][1]["reason"] == "user_stop"
    assert events[15][1]["outcome"] == {"reward": 1.0}


async def test_tau2_bench_file_then_what_its_sessions_share_once(
    store: EventStore, fixtures: Path
) -> None:
    """Configuration and tasks that nobody ran stand in a stream of the file, which is no
    session."""
    stream = await only_stream(store, fixtures / "tau2_bench.json")
    shared = (await told(store, stream))[0][1]["source"]["shared"]
    assert shared.startswith("import/")
    events = await told(store, shared)
    assert [kind for kind, _ in events] == ["source.recorded"] * 2
    assert events[0][1]["record"]["info"]["git_commit"] == "abc"
    assert events[1][1]["record"]["id"] == "unused"


async def test_claude_code_rows_then_messages_usage_and_calls(
    store: EventStore, fixtures: Path
) -> None:
    """A message split over rows stays split; each row repeats its response's id."""
    await import_paths(store, [fixtures / "claude" / f"{SESSION}.jsonl"])
    events = await told(store, f"session/{SESSION}")
    assert [kind for kind, _ in events] == [
        "session.started",
        "source.recorded",
        "message.added",
        *("message.added", "model.called") * 2,
        *("message.added", "model.called", "tool.requested"),
        "source.recorded",
        *("message.added", "tool.failed"),
        *("message.added", "model.called", "tool.requested"),
        "source.recorded",
        *("message.added", "tool.completed"),
        "message.added",
        "source.recorded",
    ]
    assert events[0][1] == {
        "conversation_id": SESSION,
        "provider_name": "anthropic",
        "source": {"kind": "claude-code"},
        "attributes": {"cwd": "/home/ann/toys", "git_branch": "main", "version": "2.0.0"},
    }
    assert events[1][1]["kind"] == "file-history-snapshot"
    assert events[3][1]["parts"][0]["type"] == "reasoning"
    assert {events[index][1]["response_id"] for index in (4, 6, 8)} == {"msg_1"}
    assert events[8][1]["usage"] == {
        "input_tokens": 5,
        "output_tokens": 9,
        "cache_read_input_tokens": 50,
        "cache_creation_input_tokens": 100,
    }
    assert events[11][1] == {
        "role": "tool",
        "parts": [answered("toolu_1")],
        "message_id": "u5",
    }
    assert events[19][1]["parts"] == [
        text("Look at this."),
        {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "aGVsbG8="},
    ]


async def test_adk_events_then_messages_state_and_calls_without_ids(
    store: EventStore, fixtures: Path
) -> None:
    """Calls without ids are matched by their tool's name; changes of state are told; what the
    session's state holds beyond them comes last."""
    stream = await only_stream(store, fixtures / "adk_actions.json")
    events = await told(store, stream)
    assert events[1:3] == [
        ("context.changed", {"delta": {"step": 1}}),
        (
            "message.added",
            {"role": "user", "parts": [text("hi")], "message_id": "e1", "name": "user"},
        ),
    ]
    assert [part["type"] for part in events[3][1]["parts"]] == [
        "reasoning",
        "text",
        "tool_call",
        "tool_call",
    ]
    assert [data["tool_call_id"] for _, data in events[4:6]] == ["call-1", "af-2"]
    assert events[6][1]["role"] == "tool"
    assert [data["tool_call_id"] for _, data in events[7:9]] == ["call-1", "af-2"]
    assert events[9:] == [
        ("context.changed", {"delta": {"step": 2}}),
        ("source.recorded", {"kind": "event", "record": events[10][1]["record"]}),
        ("context.changed", {"delta": {"profile": {"name": "Ann"}}}),
    ]


async def test_adk_in_its_other_shapes_then_the_same_events(
    store: EventStore, fixtures: Path
) -> None:
    """The older shape and the camel case are read like today's."""
    older = await told(store, await only_stream(store, fixtures / "adk_context.json"))
    assert ("context.changed", {"delta": {"a": 1}}) in older
    assert [kind for kind, _ in older].count("tool.completed") == 1
    asked = next(n for n, (kind, _) in enumerate(older) if kind == "tool.requested")
    assert older[asked + 1] == (
        "model.called",
        {
            "response_model": "gemini-1.5-flash-001",
            "usage": {"input_tokens": 7, "output_tokens": 3},
        },
    ), "an answer of a model is told by the event that came out of it"
    newer = await told(store, await only_stream(store, fixtures / "adk_camel.json"))
    assert ("context.changed", {"delta": {"x": [1]}}) in newer
    assert ("error.raised", {"error_type": "429", "message": "slow down"}) in newer
    assert newer[0][1]["agent_name"] == "go"
    usage = [data["usage"] for kind, data in newer if kind == "model.called"]
    assert usage == [{"input_tokens": 11, "output_tokens": 2}]


async def test_source_times_then_occurred_at_in_utc_and_source_order(
    store: EventStore, fixtures: Path
) -> None:
    """Times with a zone, without one and in seconds are kept as UTC, backward ones where they
    stand; a record without a time has none."""
    await import_paths(store, [fixtures])

    async def times(stream: str) -> list[str | None]:
        events: list[RecordedEvent] = await store.read(stream).list()
        return [event.occurred_at.isoformat() if event.occurred_at else None for event in events]

    claude = await times(f"session/{SESSION}")
    assert claude[:3] == [
        "2026-01-02T03:04:10.500000+00:00",
        None,
        "2026-01-02T03:04:10.500000+00:00",
    ]
    tau2 = await times("session/sim-1")
    assert tau2[9:11] == ["2025-03-01T10:00:03.500000+00:00", "2025-03-01T10:00:02+00:00"]
    adk = await times("session/adk-1")
    assert adk[1] == "2025-02-19T21:20:00.250000+00:00"
    assert adk[9:11] == ["2025-02-19T21:20:01+00:00", None]


async def test_record_of_unknown_shape_then_kept_whole(store: EventStore, tmp_path: Path) -> None:
    """A message that is none, or whose calls are odd, loses nothing and stops nothing."""
    path = tmp_path / "chat.jsonl"
    path.write_text(
        '{"role": "user", "content": "hi"}\n'
        '[1, 2]\n"text"\n{"role": 5, "content": "x"}\n'
        '{"role": "assistant", "content": null, "tool_calls": {"id": 1}}\n'
        '{"role": "assistant", "content": {"a": 1}, "tool_calls": [7]}\n'
    )
    report = await import_paths(store, [path])
    assert report.problems == []
    assert report.sessions[0].records == 6
    assert report.sessions[0].unmapped == {"other": 3}
