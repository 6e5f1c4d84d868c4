"""What all mappers share: their shape, source times, ids of tool calls, message parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from eventstore import NewEvent
from reducers.agent import vocabulary

from .parsing import Json

TITLE_CHARACTERS_MAX = 200
"""A title is read on one line; what is longer was not meant as one."""


class Mapper(Protocol):
    """Turns one session's records into events, in their order; it remembers what it has seen.

    A mapper trusts no record: what has not the shape it knows becomes `source.recorded`. An
    exception of the kinds in `UNEXPECTED` is taken as "not the shape I know".
    """

    def start(self, head: Json) -> NewEvent:
        """`session.started`. `head` are the session's own fields beside its records, or None."""

    def record(self, record: Json) -> list[NewEvent]:
        """The events of the next record, at least one."""

    def end(self, tail: Json) -> list[NewEvent]:
        """The events of the fields that say how the session ended or stands, at least one."""


class KeptWhole:
    """The mapper of records that have no meaning for the state of any session."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def start(self, head: Json) -> NewEvent:
        """Not called: no session starts here."""
        return vocabulary.session_started(source={"kind": self._kind})

    def record(self, record: Json) -> list[NewEvent]:
        """The record, whole."""
        return kept_whole(self._kind, record)

    def end(self, tail: Json) -> list[NewEvent]:
        """The same."""
        return kept_whole(self._kind, tail)


UNEXPECTED = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What a mapper runs into when a record has not the shape it knows."""


def kept_whole(kind: str, record: Json, occurred_at: datetime | None = None) -> list[NewEvent]:
    """The one event of a record that has no meaning of its own for the state."""
    return [vocabulary.source_recorded(kind=kind, record=record, occurred_at=occurred_at)]


def time_of(value: Json) -> datetime | None:
    """A source's time as an aware datetime in UTC; None where there is none to be read.

    ISO 8601 text, or seconds since 1970. A time without a zone is taken as UTC, because nothing
    in these files says which one it was.
    """
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def text_of(value: Json) -> str | None:
    """A text that is not empty, or None."""
    return value if isinstance(value, str) and value else None


def title_of(value: Json) -> str | None:
    """A text that can serve as a title, cut to what a line holds; None where there is none."""
    found = text_of(value)
    return None if found is None else found[:TITLE_CHARACTERS_MAX]


def object_of(value: Json) -> dict[str, Json]:
    """A JSON object; an empty one where there is none."""
    return value if isinstance(value, dict) else {}


def list_of(value: Json) -> list[Json]:
    """A JSON array; an empty one where there is none."""
    return value if isinstance(value, list) else []


def count_of(value: Json) -> int | None:
    """A number of tokens, or None."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


def cost_of(value: Json) -> float | None:
    """An amount in US dollars, or None."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def usage_of(usage: dict[str, Json], names: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The vocabulary's token counts; `names` has the source's names for each of them."""
    found: dict[str, int] = {}
    for ours, theirs in names.items():
        for name in theirs:
            tokens = count_of(usage.get(name))
            if tokens is not None:
                found[ours] = tokens
                break
    return found


def call_part(call_id: str, name: str | None) -> dict[str, Json]:
    """A message part that says where in the message a tool call stands; its arguments are in
    `tool.requested`."""
    part = {"type": "tool_call", "id": call_id}
    return part if name is None else {**part, "name": name}


def response_part(call_id: str) -> dict[str, Json]:
    """A message part for a tool's answer; the answer is in `tool.completed` or `tool.failed`."""
    return {"type": "tool_call_response", "id": call_id}


class ToolCalls:
    """A session's tool calls, with ids that are unique where sources repeat them or have none.

    The first call keeps the source's id, the next one with the same gets ``<id>#2``. A call
    without one is ``call-<n>``, n counting such calls. A result belongs to the oldest call that
    is pending under its id, or else (sources without ids) under its tool's name.
    """

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._last: dict[str, str] = {}
        self._pending: dict[str, deque[str]] = {}
        self._nameless = 0

    def requested(
        self,
        source_id: Any,
        name: str | None,
        arguments: Json,
        requestor: str,
        when: datetime | None,
        message_id: str | None = None,
    ) -> tuple[dict[str, Json], NewEvent]:
        """A call that is asked for now: its part in the message, and its event."""
        call_id = self._request(source_id, name)
        event = vocabulary.tool_requested(
            tool_call_id=call_id,
            tool_name=name,
            tool_call_arguments=arguments,
            requestor=requestor,
            message_id=message_id,
            occurred_at=when,
        )
        return call_part(call_id, name), event

    def answered(
        self,
        source_id: Any,
        name: str | None,
        result: Json,
        when: datetime | None,
        *,
        failed: bool = False,
    ) -> tuple[dict[str, Json], NewEvent]:
        """A call that is answered now: the answer's part in the message, and its event."""
        call_id = self._answer(source_id, name)
        build = vocabulary.tool_failed if failed else vocabulary.tool_completed
        event = build(
            tool_call_id=call_id, tool_name=name, tool_call_result=result, occurred_at=when
        )
        return response_part(call_id), event

    def _request(self, source_id: Any, name: str | None) -> str:
        """The id of a call that is asked for now."""
        given = text_of(source_id)
        if given is None:
            self._nameless += 1
            unique = self._unused(f"call-{self._nameless}")
            self._pending.setdefault(f"name {name}", deque()).append(unique)
            return unique
        unique = self._unused(given)
        self._last[given] = unique
        self._pending.setdefault(given, deque()).append(unique)
        return unique

    def _answer(self, source_id: Any, name: str | None) -> str:
        """The id of the call that is answered now."""
        given = text_of(source_id)
        waiting = self._pending.get(f"name {name}" if given is None else given)
        if waiting:
            return waiting.popleft()
        if given is not None:
            return self._last.get(given, given)
        self._nameless += 1
        return self._unused(f"call-{self._nameless}")

    def _unused(self, wanted: str) -> str:
        times = self._times.get(wanted, 0) + 1
        self._times[wanted] = times
        if times == 1:
            return wanted
        return self._unused(f"{wanted}#{times}")
