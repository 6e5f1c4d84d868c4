"""Points of a history on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.exits import ExitCode, Stop
from cli.moments import check_point, is_point, parse_point
from eventstore import EventStore, NewEvent, Occurred, Position, Version

MOMENT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def test_number_then_version() -> None:
    """A bare number is a version."""
    point = parse_point("12")
    assert point == 12
    assert type(point) is Version


def test_at_sign_then_position() -> None:
    """@ marks a position of the log."""
    point = parse_point("@900")
    assert point == 900
    assert type(point) is Position


def test_time_then_time_of_recording() -> None:
    """An ISO time is the store's unless asked otherwise."""
    assert parse_point("2026-03-01T10:00:00Z") == MOMENT


def test_time_by_occurred_then_source_time() -> None:
    """--by occurred turns a time into the source's own."""
    assert parse_point("2026-03-01T11:00:00+01:00", occurred=True) == Occurred(MOMENT)


@pytest.mark.parametrize(
    "text", ["x", "", "@", "-1", "1.5", "2026-13-01", "2026-03-01", "2026-03-01T10:00:00"]
)
def test_anything_else_then_usage_error(text: str) -> None:
    """What is no point is refused as wrong usage; a time without a zone too."""
    with pytest.raises(Stop) as stopped:
        parse_point(text)
    assert stopped.value.code == ExitCode.USAGE


@pytest.mark.parametrize("text", ["2026-03-01", "2026-03-01T10:00", "2026-03-01 10:00:00"])
def test_time_without_a_zone_then_the_example_is_a_time(text: str) -> None:
    """What is proposed can be typed as it stands."""
    with pytest.raises(Stop) as stopped:
        parse_point(text)
    proposed = stopped.value.next_step.removeprefix("add one, for example ")
    assert isinstance(parse_point(proposed), datetime)


@pytest.mark.parametrize("name", ["session/12", "abc", "2026-notes", "12a"])
def test_stream_name_then_no_point(name: str) -> None:
    """A stream's name is not taken for a point."""
    assert not is_point(name)


async def test_point_beyond_the_end_then_refused_with_the_end() -> None:
    """A version or position that does not exist is an error, never the latest state."""
    async with EventStore.open("memory://") as store:
        await store.append("s", [NewEvent("t", {})])
        await check_point(store, "s", Version(1))
        await check_point(store, "s", None)
        with pytest.raises(Stop, match="ends at version 1"):
            await check_point(store, "s", Version(2))
        with pytest.raises(Stop, match="ends at position 1"):
            await check_point(store, "s", Position(2))
