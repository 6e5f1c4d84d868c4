"""JSON that a person or a pipe hands in: parsed strictly, so that nothing is lost on the way.

The parser refuses what two readers could read differently (a key twice, NaN); the store's own
limits are the door's business.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

from eventstore import NewEvent

from .exits import Stop, wrong_usage
from .moments import parse_time

EVENT_FIELDS = (
    "type",
    "data",
    "tags",
    "id",
    "occurred_at",
    "causation_id",
    "derived_from",
    "context",
)
"""What a line of ``append STREAM -`` may hold; `type` it must."""


class _Refused(Exception):
    """Why a text is no JSON for us; never its content."""


def parse_json(text: str, where: str) -> Any:
    """The JSON value of `text`. Raises `Stop` (exit code 2) that names `where`, and line and
    column, never the content."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        line = "" if exc.lineno == 1 else f"line {exc.lineno}, "
        place = f"{line}column {exc.colno}"
        reason = f"no JSON: {exc.msg} at {place}"
    except _Refused as exc:
        reason = str(exc)
    except RecursionError:
        reason = "nested too deeply"
    except ValueError:
        reason = "a number with too many digits"
    raise wrong_usage(f"{where}: {reason}", "mend the JSON; nothing was written")


def parse_event(text: str, where: str) -> NewEvent:
    """The event of one line ``{"type": ..., "data": ..., "tags": [...]}`` (`EVENT_FIELDS`).

    Raises `Stop` (exit code 2) for what is no such object.
    """
    record = parse_json(text, where)
    if not isinstance(record, dict) or not isinstance(record.get("type"), str):
        raise _no_event(where, 'it is no object with a "type"')
    unknown = [name for name in record if name not in EVENT_FIELDS]
    if unknown:
        raise _no_event(where, f"{len(unknown)} unknown fields (known: {', '.join(EVENT_FIELDS)})")
    for name in ("tags", "derived_from"):
        if not isinstance(record.get(name, []), list):
            raise _no_event(where, f"{name} is no list")
    return NewEvent(
        record["type"],
        record.get("data", {}),
        id=record.get("id"),
        tags=record.get("tags", ()),
        occurred_at=_time(record.get("occurred_at"), where),
        causation_id=record.get("causation_id"),
        derived_from=record.get("derived_from", ()),
        context=record.get("context"),
    )


def _time(value: object, where: str) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _no_event(where, "occurred_at is no ISO time")
    return parse_time(value)


def _no_event(where: str, reason: str) -> Stop:
    return wrong_usage(
        f"{where}: {reason}", 'write {"type": ..., "data": ...}; nothing was written'
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Refused("an object has the same key twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is no JSON number")
