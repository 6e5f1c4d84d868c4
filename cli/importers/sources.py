"""From a recognised file to its sessions: their ids, their records' bytes, the fields beside them.

A document is read whole and cut into records (memory: about twice its size); a file of lines is
read line by line by whoever imports it, so its size does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

import msgspec

from eventstore import InvalidEvent
from eventstore.names import check_name
from reducers.agent.vocabulary import session_stream

from . import adk, memorybank, openai, tau2_bench
from .mapping import Mapper, object_of, text_of
from .parsing import Json, Parsed, encode_sorted, parse_record
from .splitting import Member, elements, first_byte, joined, members

SHARED_PREFIX: Final = "import/"
"""Streams that hold what all sessions of one file have in common."""

_ID_CHARACTERS = 16
"""Hexadecimal digits of a derived id: 64 bits tell any number of sessions apart that a person
will ever import (a clash among a million has a chance of 3 in 100 million)."""


class Session(msgspec.Struct):
    """One session of a document. `head` and `tail` are the bytes of an object each: its fields
    beside the records, as they stood before the first and after the last one. `tail_may_change`:
    a longer version of the session has another tail. `id_derived`: its id is made of its first
    record, and another session may begin alike."""

    kind: str
    stream: str
    mapper: Mapper
    records: list[bytes]
    head: bytes | None = None
    tail: bytes | None = None
    tail_may_change: bool = False
    id_derived: bool = False


class Shared(msgspec.Struct):
    """What the sessions of a document have in common, with the stream that it is kept in."""

    kind: str
    stream: str
    records: list[bytes]


class Rejected(msgspec.Struct):
    """A part of a document, at `offset`, that is no session and no part of one."""

    reason: str
    offset: int


def sessions_of(kind: str, document: bytes) -> Iterator[Session | Shared | Rejected]:
    """The sessions of a document of a known kind, in its order; before them what they share.

    Raises `Unreadable` where its structure is broken, after the sessions before that place.
    """
    if kind == tau2_bench.KIND:
        yield from _tau2(document)
    elif kind == openai.TAU_BENCH:
        whole = elements(document) if first_byte(document) == b"[" else [document]
        for element in whole:
            yield _tau(element)
    elif kind == adk.KIND:
        yield _adk(document)
    elif kind == memorybank.KIND:
        yield from _bank(document)
    else:
        yield _openai(document)


def stream_of(session_id: str, agent_id: str | None = None) -> str:
    """The stream of a session; ids that make no name for a stream are replaced by their hash."""
    try:
        return check_name("stream", session_stream(session_id, agent_id))
    except InvalidEvent:
        agent = None if agent_id is None else _digest(agent_id.encode(errors="replace"))
        return session_stream(_digest(session_id.encode(errors="replace")), agent)


def derived_id(first: bytes, task: Json = None, trial: Json = None) -> str:
    """An id for a session whose source has none: from the content of its first record, with task
    and trial. The file's name has no part in it."""
    parsed = parse_record(first)
    content = parsed.canonical if isinstance(parsed, Parsed) else first
    digest = _digest(encode_sorted([_plain(task), _plain(trial)]) + b"\n" + content)
    if task is None:
        return f"chat-{digest}"
    label = f"task-{task}-trial-{trial}"
    return f"{label}-{digest}" if label.isascii() and len(label) <= 64 else f"task-{digest}"


def _tau2(document: bytes) -> Iterator[Session | Shared]:
    fields = members(document)
    by_key = {pair.key: pair.raw for pair in fields}
    beside = joined([pair for pair in fields if pair.key not in ("tasks", "simulations")])
    info = object_of(_value(by_key.get("info")))
    models = {
        role: text_of(object_of(info.get(f"{who}_info")).get("llm"))
        for role, who in (("assistant", "agent"), ("user", "user"))
    }
    stream = SHARED_PREFIX + derived_id(beside).removeprefix("chat-")
    simulations = [members(raw) for raw in elements(by_key.get("simulations", b"[]"))]
    tasks = {_id_of(raw): raw for raw in _list(by_key.get("tasks"))}
    used = {_plain(_value(_find(simulation, "task_id"))) for simulation in simulations}
    spare = [raw for task, raw in tasks.items() if task not in used]
    yield Shared(f"{tau2_bench.KIND}/file", stream, [beside, *spare])
    for simulation in simulations:
        records = elements(_find(simulation, "messages") or b"[]")
        head, tail = _cut(simulation, "messages", tau2_bench.TAIL_FIELDS)
        task = tasks.get(_plain(_value(_find(simulation, "task_id"))))
        head = b'{"simulation": ' + head + (b"" if task is None else b', "task": ' + task) + b"}"
        session_id = text_of(_value(_find(simulation, "id")))
        if session_id is None:
            session_id = derived_id(
                records[0] if records else b"",
                _value(_find(simulation, "task_id")),
                _value(_find(simulation, "trial")),
            )
        yield Session(
            tau2_bench.KIND,
            stream_of(session_id),
            tau2_bench.Tau2Bench(stream, models),
            records,
            head,
            tail,
        )


def _tau(element: bytes) -> Session:
    fields = members(element)
    records = elements(_find(fields, "traj") or b"[]")
    head, tail = _cut(fields, "traj", frozenset({"reward", "info"}))
    task, trial = _value(_find(fields, "task_id")), _value(_find(fields, "trial"))
    session_id = derived_id(records[0] if records else b"", task, trial)
    stream = stream_of(session_id)
    return Session(openai.TAU_BENCH, stream, openai.TauBench(), records, head, tail)


def _adk(document: bytes) -> Session:
    fields = members(document)
    records = elements(_find(fields, "events") or b"[]")
    others = frozenset(pair.key for pair in fields if pair.key not in adk.HEAD_FIELDS)
    head, tail = _cut(fields, "events", others)
    session_id = text_of(_value(_find(fields, "id")))
    if session_id is None:
        session_id = derived_id(records[0] if records else b"")
    stream = stream_of(session_id)
    mapper = adk.Adk(adk.logged_answers(_value(_find(fields, "event_logs"))))
    return Session(adk.KIND, stream, mapper, records, head, tail, tail_may_change=True)


def _bank(document: bytes) -> Iterator[Session | Shared | Rejected]:
    at = 0
    for user in members(document):
        # Members come in the document's order, so each is the first of its bytes behind the last.
        at = document.index(user.raw, document.index(user.key_raw, at) + len(user.key_raw))
        fields = members(user.raw) if first_byte(user.raw) == b"{" else []
        history = _find(fields, "history")
        if history is None or first_byte(history) != b"{":
            yield Rejected("a user without a history by days", at)
        else:
            profile = joined([pair for pair in fields if pair.key != "history"])
            record = b'{"user": ' + user.key_raw + b', "profile": ' + profile + b"}"
            stream = SHARED_PREFIX + _digest(memorybank.KIND.encode() + b"\n" + user.key_raw)
            yield Shared(f"{memorybank.KIND}/user", stream, [record])
            yield from _days(user, history, document.index(history, at), stream)
        at += len(user.raw)


def _days(
    user: Member, history: bytes, offset: int, shared: str
) -> Iterator[Session | Shared | Rejected]:
    at = 0
    for day in members(history):
        at = history.index(day.raw, history.index(day.key_raw, at) + len(day.key_raw))
        if first_byte(day.raw) == b"[":
            head = b'{"user": ' + user.key_raw + b', "day": ' + day.key_raw + b"}"
            yield Session(
                memorybank.KIND,
                stream_of(f"{memorybank.name_of(user.key)}/{day.key}"),
                memorybank.MemoryBank(user.key, day.key, shared),
                elements(day.raw),
                head,
            )
        else:
            yield Rejected("a day without a list of turns", offset + at)
        at += len(day.raw)


def _openai(document: bytes) -> Session:
    if first_byte(document) == b"[":
        fields: list[Member] = []
        records = elements(document)
        head = None
    else:
        fields = members(document)
        records = elements(_find(fields, "messages") or b"[]")
        head, _ = _cut(fields, "messages", frozenset())
    given = text_of(_value(_find(fields, "id")))
    stream = stream_of(given or derived_id(records[0] if records else b""))
    return Session(openai.KIND, stream, openai.OpenAi(), records, head, id_derived=given is None)


def _cut(fields: list[Member], records: str, last: frozenset[str]) -> tuple[bytes, bytes]:
    head = [pair for pair in fields if pair.key not in last and pair.key != records]
    tail = [pair for pair in fields if pair.key in last and pair.key != records]
    return joined(head), joined(tail)


def _find(fields: list[Member], key: str) -> bytes | None:
    return next((pair.raw for pair in reversed(fields) if pair.key == key), None)


def _list(raw: bytes | None) -> list[bytes]:
    return elements(raw) if raw is not None and first_byte(raw) == b"[" else []


def _value(raw: bytes | None) -> Json:
    if raw is None:
        return None
    parsed = parse_record(raw)
    return parsed.value if isinstance(parsed, Parsed) else None


def _id_of(raw: bytes) -> str | int:
    return _plain(object_of(_value(raw)).get("id"))


def _plain(value: Json) -> str | int:
    """An id as a key: a text or a number as it is, anything else by its JSON."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return value
    return encode_sorted(value).decode()


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:_ID_CHARACTERS]
