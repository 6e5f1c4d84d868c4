"""Where Claude Code keeps its files, and which event of a session started a subagent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from eventstore import EventStore, IdempotencyMismatch
from reducers.agent import vocabulary

from .mapping import list_of, object_of, text_of
from .moving import SOURCE_RECORD
from .parsing import Json, encode_sorted
from .standing import RecordReader

_decode = msgspec.json.Decoder().decode

CONFIG_VARIABLE = "CLAUDE_CONFIG_DIR"

LINK_KEY: Final = "import: link to the session"
"""The idempotency key of the event that links a subagent late: it is written once."""

ROWS_LOOKED_AT: Final = 200
"""First rows of a subagent in which its prompt and its parents are looked for."""


def claude_code_folder() -> Path:
    """The folder that Claude Code keeps its sessions in, a folder for each project in it."""
    configured = os.environ.get(CONFIG_VARIABLE)
    return (Path(configured) if configured else Path.home() / ".claude") / "projects"


def files_of_subagents(session_file: Path, session_id: str | None) -> list[Path]:
    """The subagents' files that lie beside a session's file, in the order of their names."""
    names = dict.fromkeys(name for name in (session_file.stem, session_id) if name)
    return [
        path
        for name in names
        if "/" not in name and name not in (".", "..")
        for path in sorted((session_file.parent / name / "subagents").glob("agent-*.jsonl"))
    ]


async def find_start(
    store: EventStore, parent: str, agent_id: str, rows: Sequence[Json]
) -> str | None:
    """The id of the event in the parent's stream that started a subagent, or None.

    It is the call whose progress or result names the agent; or else the call with the prompt that
    the subagent's first message is; or else the latest event that the subagent's first `rows`
    name as their parent (so with the agents that compact a conversation). If cancelled, nothing
    is left open.
    """
    prompt = _first_text(rows)
    name = encode_sorted(agent_id)[1:-1]
    calls: dict[str, str] = {}
    by_prompt = None
    async for page in store.read(parent).pages():
        for event in page:
            if event.type == vocabulary.TOOL_REQUESTED:
                data = object_of(_decode(event.payload))
                calls[str(data.get("tool_call_id"))] = event.id
                arguments = object_of(data.get("tool_call_arguments"))
                if prompt is not None and arguments.get("prompt") == prompt:
                    by_prompt = event.id
            elif name in event.payload:
                call = _call_naming(object_of(_decode(event.payload)), agent_id)
                if call in calls:
                    return calls[call]
    return by_prompt or await _latest_parent(store, parent, rows)


async def link_subagents(store: EventStore, parent: str) -> list[str]:
    """Links the subagents of a session that were imported before the event that started them.

    What stands is never changed. So a second `session.started`, which states nothing but its
    cause, is appended to each of their streams, once. Returns these streams. If cancelled, some
    may be linked; the next call links the others.
    """
    linked: list[str] = []
    async for info in store.streams(f"{parent}/agent/"):
        cause = await _unlinked_start(store, parent, info.name)
        if cause is None:
            continue
        link = vocabulary.session_started(causation_id=cause)
        try:
            result = await store.append(info.name, [link], idempotency_key=LINK_KEY)
        except IdempotencyMismatch:
            continue  # another importer was faster, and knew more or less of the session
        if not result.duplicate:
            linked.append(info.name)
    return linked


async def _unlinked_start(store: EventStore, parent: str, stream: str) -> str | None:
    """The event that started a subagent whose stream does not name it; None where it does, or
    where the session's stream does not have it yet."""
    (first,) = await store.read(stream, limit=1).list()
    if first.type != vocabulary.SESSION_STARTED or first.causation_id is not None:
        return None
    agent_id = text_of(object_of(_decode(first.payload)).get("agent_name"))
    if agent_id is None or await store.lookup(stream, LINK_KEY) is not None:
        return None
    rows: list[Json] = []
    async for _, record in RecordReader(store, stream).records():
        if record is not None:
            rows.append(record.value)
        if len(rows) == ROWS_LOOKED_AT:
            break
    return await find_start(store, parent, agent_id, rows)


async def _latest_parent(store: EventStore, parent: str, rows: Sequence[Json]) -> str | None:
    parents = {text_of(object_of(row).get("parentUuid")) for row in rows} - {None}
    if parents:
        async for page in store.read(parent, backwards=True).pages():
            for event in page:
                if _uuid(object_of(_decode(event.payload))) in parents:
                    return event.id
    return None


def _call_naming(data: dict[str, Any], agent_id: str) -> str | None:
    """The call that an event tells to be the agent's."""
    record = object_of(data.get("record"))
    if object_of(record.get("data")).get("agentId") == agent_id:
        return text_of(record.get("parentToolUseID"))
    rest = object_of(object_of(data.get(SOURCE_RECORD)).get("rest"))
    if object_of(rest.get("toolUseResult")).get("agentId") == agent_id:
        for part in map(object_of, list_of(data.get("parts"))):
            if part.get("type") == "tool_call_response":
                return text_of(part.get("id"))
    return None


def _uuid(data: dict[str, Any]) -> str | None:
    rest = object_of(object_of(data.get(SOURCE_RECORD)).get("rest"))
    return text_of(rest.get("uuid")) or text_of(object_of(data.get("record")).get("uuid"))


def _first_text(rows: Sequence[Json]) -> str | None:
    for row in map(object_of, rows):
        content = object_of(row.get("message")).get("content")
        if row.get("type") == "user" and isinstance(content, str):
            return content
    return None
