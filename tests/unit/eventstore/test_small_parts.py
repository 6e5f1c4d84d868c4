"""Names, points, clocks, queries and ids: the small parts that everything else relies on."""

from __future__ import annotations

import enum
import os
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from eventstore import (
    AppendCondition,
    Expected,
    InvalidEvent,
    Occurred,
    Position,
    Query,
    Version,
)
from eventstore.clock import as_microseconds, system_clock
from eventstore.ids import UuidSevens
from eventstore.names import check_name
from eventstore.points import check_expected, from_microseconds, to_microseconds
from eventstore.query import as_queries
from eventstore.testing import FixedClock, SequentialIds, SteppingClock


class _Kind(str, enum.Enum):  # noqa: UP042 - StrEnum is another class, with another str()
    PLAIN = "plain"
    ODD = "é"


@pytest.mark.parametrize("value", ["a", "x" * 200, "é" * 100, "a b", "😀", "a$", "\u00a0"])
def test_a_name_keeps_the_rule_then_it_is_given_back(value: str) -> None:
    """The same text, as an exact str."""
    assert check_name("stream", value) == value


@pytest.mark.parametrize("member", list(_Kind))
def test_a_name_is_a_text_enum_then_its_value_is_the_name(member: _Kind) -> None:
    """Whatever its str() gives."""
    found = check_name("type", member)
    assert (type(found), found) == (str, member.value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "0 bytes"),
        ("é" * 101, "202 bytes, a name has 1 to 200"),
        ("a\tb", r"U\+0009 at 1"),
        ("$x", "leading"),
        ("e\u0301", "normal form C"),
        ("\udfff", "surrogate at character 0"),
        (b"x", "not bytes"),
        (None, "not NoneType"),
    ],
)
def test_a_name_breaks_the_rule_then_the_error_says_which_and_not_the_name(
    value: Any, says: str
) -> None:
    """The kind of name, the rule and the limit."""
    with pytest.raises(InvalidEvent, match=f"^tag: .*{says}"):
        check_name("tag", value)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=timezone(timedelta(hours=-8))),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_a_moment_becomes_microseconds_then_it_comes_back(moment: datetime) -> None:
    """Exactly, in UTC."""
    back = from_microseconds(to_microseconds(moment, "x"))
    assert (back, back.tzinfo) == (moment, UTC)


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        (datetime(2026, 1, 1), "naive"),
        ("2026-01-01", "not str"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "years 1 to 9999"),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))), "years 1 to 9999"),
    ],
)
def test_a_moment_could_not_come_back_then_it_is_refused(moment: Any, says: str) -> None:
    """No zone, no datetime, or beyond the calendar once it is in UTC."""
    with pytest.raises(InvalidEvent, match=says):
        to_microseconds(moment, "occurred_at")
    with pytest.raises(InvalidEvent, match=says):
        Occurred(moment)


def test_points_are_compared_then_they_are_what_they_count() -> None:
    """A version and a position are ints; a moment that occurred is its own kind."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert (Version(3), Position(4)) == (3, 4)
    assert (repr(Version(3)), repr(Position(4))) == ("Version(3)", "Position(4)")
    assert Occurred(moment) == Occurred(moment)
    assert Occurred(moment) != moment
    assert len({Occurred(moment), Occurred(moment)}) == 1


@pytest.mark.parametrize("value", [0, 5, Version(5), *Expected])
def test_an_expectation_is_one_then_it_is_taken(value: Any) -> None:
    """An `Expected`, or a version from 0 on."""
    assert check_expected(value, "s") == value


@pytest.mark.parametrize("value", [-1, True, 1.0, "1", None])
def test_an_expectation_is_none_then_it_is_refused(value: Any) -> None:
    """Closed sets are types: no -1, no None, no magic word."""
    with pytest.raises(InvalidEvent):
        check_expected(value, "s")


def test_clocks_are_read_then_they_give_microseconds() -> None:
    """Of a datetime or of an int; anything else is refused."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert as_microseconds(lambda: moment)() == to_microseconds(moment, "x")
    assert as_microseconds(lambda: 5)() == 5
    assert as_microseconds(system_clock) is system_clock
    assert abs(system_clock() - to_microseconds(datetime.now(UTC), "x")) < 60_000_000
    for broken in (lambda: 1.5, lambda: datetime(2026, 1, 1)):
        with pytest.raises(InvalidEvent, match="clock"):
            as_microseconds(broken)()  # type: ignore[arg-type]  # wrong on purpose


def test_clocks_for_tests_then_they_move_only_when_told() -> None:
    """One stands still, the other moves a step after each reading."""
    fixed, stepping = FixedClock(), SteppingClock(step_seconds=2)
    assert fixed() == fixed()
    assert fixed.advance(60) - FixedClock()() == timedelta(minutes=1)
    assert stepping() == FixedClock()()
    assert stepping() - FixedClock()() == timedelta(seconds=2)
    assert SequentialIds("x")() == "x-000001"


def test_a_query_matches_then_types_are_any_of_and_tags_all_of() -> None:
    """Said once, for the engines that ask it in Python."""
    query = Query(types=["a", "b"], tags=["x", "y", "x"])  # type: ignore[arg-type]  # lists do
    assert (query.types, query.tags) == (("a", "b"), ("x", "y"))
    assert query.matches("a", ["y", "z", "x"])
    assert not query.matches("c", ["x", "y"])
    assert not query.matches("a", ["x"])
    assert Query().matches("anything", ())
    assert Query(types=("$own",)).types == ("$own",)


def test_queries_are_listed_then_one_and_many_are_the_same_kind() -> None:
    """None asks for all; an empty list, a word and too many are mistakes."""
    one = Query(types=("a",))
    assert as_queries(None) == ()
    assert as_queries(one) == as_queries([one]) == (one,)
    for wrong in ([], "a", 5, [one, "a"], [one] * 51):
        with pytest.raises(InvalidEvent, match="query"):
            as_queries(wrong)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InvalidEvent, match="position"):
        AppendCondition(one, after=-1)


def test_ids_are_made_then_they_are_uuids_of_version_seven_that_ascend() -> None:
    """RFC 9562: version and variant in their places, the millisecond in front."""
    now = 1_700_000_000_123_456_789
    ids = UuidSevens(lambda: now)
    made = [ids() for _ in range(10_000)]
    parsed = [uuid.UUID(text) for text in made]
    assert made == sorted(set(made))
    assert [str(one) for one in parsed] == made
    assert {(one.version, one.variant) for one in parsed} == {(7, uuid.RFC_4122)}
    assert {one.int >> 80 for one in parsed} == {now // 1_000_000}


def test_the_clock_of_ids_goes_back_then_ids_still_ascend() -> None:
    """Ids of one process ascend whatever the clock does."""
    moments = iter([5_000_000, 9_000_000, 3_000_000, 3_000_000, 9_000_000, 10_000_000])
    ids = UuidSevens(lambda: next(moments))
    made = [ids() for _ in range(6)]
    assert made == sorted(set(made))


def test_a_millisecond_is_full_then_the_next_one_is_begun() -> None:
    """The counter never runs over into another id's place."""
    ids = UuidSevens(lambda: 1_000_000)
    first = ids()
    ids._counter = (1 << 26) - 2
    last, beyond = ids(), ids()
    assert first < last < beyond
    assert uuid.UUID(beyond).int >> 80 == 2
    assert len(beyond) == 36


def test_two_factories_make_ids_then_they_differ() -> None:
    """Stores that open in the same millisecond do not collide."""
    one, two = (UuidSevens(lambda: 1_000_000) for _ in range(2))
    assert not {one() for _ in range(500)} & {two() for _ in range(500)}


def test_a_process_forks_then_parent_and_child_make_other_ids() -> None:
    """Also within the millisecond of the fork."""
    ids = UuidSevens(lambda: 1_000_000)
    ids()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, "".join(ids() for _ in range(20)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    theirs = {text[at : at + 36] for at in range(0, len(text), 36)}
    assert not theirs & {ids() for _ in range(20)}
