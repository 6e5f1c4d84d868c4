"""Reading the fields of events that may hold anything.

The log takes any JSON under any type name, so the reducers never trust a payload. Each function
here gives the value where it is what the vocabulary says, and None where it is not: a field that
cannot be read counts as absent. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from eventstore import RecordedEvent

COUNT_MAX = 10**12
"""Token counts above this are no counts. No model reads a millionth of it in one call; nine
million events of this size still sum to less than the 64 bits that stored integers have."""

DOLLARS_MAX = 1e12
"""Costs beyond this are no costs; sums stay far from the largest float."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def fields(event: RecordedEvent) -> Mapping[str, Any]:
    """The event's data; empty when it is not a JSON object."""
    data = event.data
    return data if isinstance(data, dict) else _NOTHING


def text(value: object) -> str | None:
    """A string, also an empty one."""
    return value if isinstance(value, str) else None


def identifier(value: object) -> str | None:
    """An id: a string that is not empty, or an integer as its decimal digits."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def mapping(value: object) -> dict[str, Any] | None:
    """A JSON object."""
    return value if isinstance(value, dict) else None


def count(value: object) -> int | None:
    """A count from 0 to `COUNT_MAX`; a float without a fraction is one too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= COUNT_MAX:
        return value
    return None


def dollars(value: object) -> float | None:
    """An amount of at most `DOLLARS_MAX` either way; below zero it is a credit."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if -DOLLARS_MAX <= value <= DOLLARS_MAX else None
    return None
