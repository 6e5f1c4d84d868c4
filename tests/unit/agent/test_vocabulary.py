"""The names and fields of the stock events, and what the builders leave out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from eventstore import EventStore, NewEvent, event_type
from eventstore.registry import isolated_registry
from reducers.agent import session_stream, vocabulary
from reducers.agent import vocabulary as v

FULL = {
    "session.started": v.session_started(
        conversation_id="c1",
        title="Refund",
        agent_name="support",
        provider_name="openai",
        system_instructions=[{"type": "text", "content": "Be kind."}],
        source={"kind": "tau-bench"},
        attributes={"trial": 0},
    ),
    "session.ended": v.session_ended(
        reason="user_stop", outcome={"reward": 1.0}, attributes={"seconds": 3}
    ),
    "message.added": v.message_added(
        role="user",
        parts=[v.text_part("hi"), v.reasoning_part("hm")],
        content="hi",
        message_id="m1",
        name="ann",
    ),
    "model.called": v.model_called(
        provider_name="anthropic",
        request_model="a",
        response_model="b",
        response_id="r1",
        finish_reasons=("stop",),
        usage={"input_tokens": 1},
        cost=0.5,
        attributes={"temperature": 0},
    ),
    "tool.requested": v.tool_requested(
        tool_call_id="t1",
        tool_name="search",
        tool_call_arguments={"q": "x"},
        requestor="assistant",
        message_id="m1",
    ),
    "tool.completed": v.tool_completed(tool_call_id="t1", tool_name="search", tool_call_result=[1]),
    "tool.failed": v.tool_failed(
        tool_call_id="t1",
        tool_name="search",
        error_type="timeout",
        message="too slow",
        tool_call_result="partial",
    ),
    "memory.remembered": v.memory_remembered(
        memory_id="k1", content="likes tea", attributes={"topic": "drinks"}
    ),
    "memory.corrected": v.memory_corrected(memory_id="k1", content="likes coffee", reason="said"),
    "memory.forgotten": v.memory_forgotten(memory_id="k1", reason="asked"),
    "task.added": v.task_added(
        task_id="1", title="Call", status="pending", attributes={"owner": "ann"}
    ),
    "task.changed": v.task_changed(
        task_id="1", title="Call back", status="completed", attributes={"owner": "bo"}
    ),
    "task.removed": v.task_removed(task_id="1"),
    "approval.requested": v.approval_requested(
        approval_id="a1", subject={"refund": 20}, tool_call_id="t1"
    ),
    "approval.granted": v.approval_granted(approval_id="a1", reason="small"),
    "approval.denied": v.approval_denied(approval_id="a1", reason="large"),
    "error.raised": v.error_raised(error_type="timeout", message="no answer"),
    "context.changed": v.context_changed(delta={"city": "Oslo"}),
    "source.recorded": v.source_recorded(kind="progress", record={"step": 1}),
    "import.raw": v.import_raw(record=b"\xff", reason="not UTF-8"),
}

FIELDS = {
    "session.started": "agent_name attributes conversation_id provider_name source"
    " system_instructions title",
    "session.ended": "attributes outcome reason",
    "message.added": "content message_id name parts role",
    "model.called": "attributes cost finish_reasons provider_name request_model response_id"
    " response_model usage",
    "tool.requested": "message_id requestor tool_call_arguments tool_call_id tool_name",
    "tool.completed": "tool_call_id tool_call_result tool_name",
    "tool.failed": "error_type message tool_call_id tool_call_result tool_name",
    "memory.remembered": "attributes content memory_id",
    "memory.corrected": "content memory_id reason",
    "memory.forgotten": "memory_id reason",
    "task.added": "attributes status task_id title",
    "task.changed": "attributes status task_id title",
    "task.removed": "task_id",
    "approval.requested": "approval_id subject tool_call_id",
    "approval.granted": "approval_id reason",
    "approval.denied": "approval_id reason",
    "error.raised": "error_type message",
    "context.changed": "delta",
    "source.recorded": "kind record",
    "import.raw": "content reason",
}


def test_every_type_has_a_builder_that_writes_its_fields_and_no_others() -> None:
    """Type and field names are pinned, because stored sessions bear them for ever."""
    assert {name: " ".join(sorted(event.data)) for name, event in FULL.items()} == FIELDS
    assert {name: event.type for name, event in FULL.items()} == {name: name for name in FIELDS}
    assert tuple(FIELDS) == vocabulary.TYPES


async def test_events_of_every_type_are_appended_then_read_back_equal() -> None:
    """The store takes each stock event, and the data come back as they were built."""
    async with EventStore.open("memory://") as store:
        await store.append("session/1", list(FULL.values()))
        stored = await store.read("session/1").list()
    assert [(e.type, e.data) for e in stored] == [(e.type, e.data) for e in FULL.values()]


def test_fields_that_are_not_given_then_absent_from_the_data() -> None:
    """A payload holds what somebody stated, and nothing else."""
    assert v.session_started().data == {}
    assert v.message_added(role="user", content="").data == {"role": "user", "content": ""}
    assert v.model_called(cost=0.0, usage={}).data == {"cost": 0.0, "usage": {}}
    assert v.tool_requested(tool_call_id="t1").data == {"tool_call_id": "t1"}


def test_null_for_a_json_field_then_null_is_recorded() -> None:
    """JSON null is a result like any other; not giving one is something else."""
    given = v.tool_completed(tool_call_id="t1", tool_call_result=None)
    assert given.data == {"tool_call_id": "t1", "tool_call_result": None}
    assert v.tool_completed(tool_call_id="t1").data == {"tool_call_id": "t1"}


def test_metadata_is_given_then_it_is_the_new_events() -> None:
    """Builders pass on all that `NewEvent` takes."""
    at = datetime(2026, 1, 2, tzinfo=UTC)
    event = v.error_raised(
        message="x",
        id="i1",
        tags=["user:ann"],
        occurred_at=at,
        causation_id="c1",
        derived_from=["d1"],
        context={"host": "h"},
    )
    assert event == NewEvent(
        "error.raised",
        {"message": "x"},
        id="i1",
        tags=["user:ann"],
        occurred_at=at,
        causation_id="c1",
        derived_from=["d1"],
        context={"host": "h"},
    )


def test_extra_fields_are_given_then_kept_beside_the_vocabularys_own() -> None:
    """A source's further fields stay with the event, and cannot take a stock field's name."""
    event = v.message_added(role="user", content="hi", extra={"uuid": "u1", "role": "robot"})
    assert event.data == {"uuid": "u1", "role": "user", "content": "hi"}


def test_the_callers_dicts_change_later_then_the_event_does_not() -> None:
    """What is handed in is copied at its first level."""
    usage = {"input_tokens": 1}
    event = v.model_called(usage=usage)
    usage["input_tokens"] = 2
    assert event.data == {"usage": {"input_tokens": 1}}


def test_a_raw_record_is_kept_then_its_exact_bytes_come_back() -> None:
    """Bytes that no JSON can hold survive as base64."""
    import base64

    event = v.import_raw(record=bytes(range(256)))
    assert base64.b64decode(event.data["content"]) == bytes(range(256))


@pytest.mark.parametrize(
    ("agent_id", "stream"), [(None, "session/s1"), ("a7", "session/s1/agent/a7")]
)
def test_a_session_or_a_subagent_is_named_then_each_has_its_stream(
    agent_id: str | None, stream: str
) -> None:
    """A subagent's events stand in a stream of their own below the session's."""
    assert session_stream("s1", agent_id) == stream


def test_the_vocabulary_is_imported_then_its_names_are_still_free() -> None:
    """A program may register its own class for a stock name."""
    import msgspec

    with isolated_registry():

        @event_type("message.added")
        class Mine(msgspec.Struct, frozen=True):
            role: str

        assert Mine(role="user").role == "user"
    from eventstore.registry import registry

    assert not set(vocabulary.TYPES) & set(registry.by_name)
