"""What the rows of the stock views must be, computed from exported events alone.

Owns the views that look at events one by one, `messages` and `audit`, the words for reading an
event's fields, and how rows are compared; `gathering.py` has the views that gather events. Events
are dicts as `eventstore export --as events` prints them. What the log holds may have any shape: a
field of another kind than the vocabulary's counts as absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

Event = Mapping[str, Any]
Row = dict[str, Any]
Rows = dict[tuple[Any, ...], Row]

JSON_COLUMNS = frozenset({"arguments", "result", "content", "attributes", "by_model"})
"""Columns that hold any JSON value."""

_ENVELOPE = (
    "position",
    "stream",
    "version",
    "id",
    "type",
    "actor",
    "causation_id",
    "correlation_id",
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def plain(event: Any) -> Event:
    """A recorded event of the store, as export prints it: by its attributes, its data from the
    stored bytes."""
    times = ("occurred_at", "recorded_at")
    kept = {name: getattr(event, name) for name in (*_ENVELOPE, *times)}
    return {**kept, "tags": list(event.tags), "data": json.loads(event.payload)}


def messages(events: Iterable[Event]) -> Rows:
    """A row for each message, by its stream and its event's id."""
    rows: Rows = {}
    for event in events:
        if event["type"] == "message.added":
            data = data_of(event)
            name = text(data.get("name"))
            rows[(event["stream"], event["id"])] = {
                "id": event["id"],
                "stream": event["stream"],
                "version": event["version"],
                "position": event["position"],
                "role": text(data.get("role")) or "",
                "text": "".join(_strings(data, "text")),
                "reasoning": "".join(_strings(data, "reasoning")),
                "author": event["actor"] if name is None else name,
                "message_id": identifier(data.get("message_id")),
                "occurred_at": moment(event["occurred_at"]),
                "recorded_at": moment(event["recorded_at"]),
            }
    return rows


def audit(events: Iterable[Event]) -> Rows:
    """A row for each event, whatever it is, by its position."""
    return {
        (event["position"],): {
            **{name: event[name] for name in _ENVELOPE},
            "occurred_at": moment(event["occurred_at"]),
            "recorded_at": moment(event["recorded_at"]),
        }
        for event in events
    }


def _strings(data: Mapping[str, Any], kind: str) -> Iterator[str]:
    """The strings of a message's parts of a kind."""
    parts = data.get("parts")
    if not isinstance(parts, list):
        parts = data.get("content")
    for part in [parts] if isinstance(parts, str) else parts if isinstance(parts, list) else []:
        if isinstance(part, str):
            if kind == "text":
                yield part
        elif isinstance(part, dict) and part.get("type") == kind:
            said = [part.get(key) for key in ("content", "text")]
            yield next((one for one in said if isinstance(one, str)), "")


# --- reading fields


def data_of(event: Event) -> Mapping[str, Any]:
    """An event's data; empty where it is no object."""
    return object_of(event["data"])


def object_of(value: Any) -> Mapping[str, Any]:
    """A JSON object; an empty one where there is none."""
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str | None:
    """A text, also an empty one."""
    return value if isinstance(value, str) else None


def identifier(value: Any) -> str | None:
    """A text that is not empty, or an integer's digits."""
    if type(value) is int:
        return str(value)
    return value if isinstance(value, str) and value else None


def moment(value: Any) -> datetime | None:
    """A time in UTC: from a datetime (naive: in UTC), an ISO text, or microseconds since 1970."""
    if value is None:
        return None
    if isinstance(value, int):
        return _EPOCH + timedelta(microseconds=value)
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    assert isinstance(found, datetime), f"{value!r} is no time"
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def at(event: Event) -> datetime | None:
    """When an event happened: by its source, or else by the store."""
    return moment(event["occurred_at"] or event["recorded_at"])


def compact(value: Any) -> str:
    """JSON without spaces, its keys in order."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


# --- comparing


def row_differences(
    keys: Sequence[str], wanted: Rows, seen: Iterable[Mapping[str, Any]], *, decoded: bool = False
) -> list[str]:
    """What is not as it must be in a view's rows, a line each; empty when all is. `keys` are the
    columns of the key. `seen` may have further columns, and comes in any order; its JSON columns
    are texts, or (`decoded`) values."""
    left = dict(wanted)
    found: list[str] = []
    for row in seen:
        key = tuple(row[name] for name in keys)
        want = left.pop(key, None)
        if want is None:
            found.append(f"{key}: a row {'twice' if key in wanted else 'too many'}")
        else:
            found += [f"{key} {one}" for one in _columns(want, row, decoded)]
    return found + [f"{key}: no row" for key in left]


def _columns(want: Row, row: Mapping[str, Any], decoded: bool) -> Iterator[str]:
    for name, value in want.items():
        if name not in row:
            yield f"{name}: no column"
            continue
        have = row[name]
        if name.endswith("_at"):
            have = moment(have)
        elif name in JSON_COLUMNS:
            value = compact(value)
            have = compact(have if decoded or have is None else json.loads(have))
        if have != value or type(have) is not type(value):
            yield f"{name}: wanted {value!r}, seen {have!r}"
