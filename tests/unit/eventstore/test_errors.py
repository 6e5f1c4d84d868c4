"""The tree of errors: complete, told in one place, and empty of content."""

from __future__ import annotations

import inspect
import pickle

import pytest

import eventstore
from eventstore import (
    ConditionFailed,
    Conflict,
    Corrupt,
    EventStoreError,
    Expected,
    IdempotencyMismatch,
    InvalidEvent,
    Misuse,
    Query,
    errors,
)
from eventstore.events import AppendResult

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, EventStoreError)
]


@pytest.mark.parametrize("error", CLASSES)
def test_a_class_is_an_error_then_the_tree_and_the_facade_name_it(
    error: type[EventStoreError],
) -> None:
    """Whose fault, whether it was written and what to do next, in the drawing and in the class."""
    assert errors.__doc__ is not None
    assert getattr(eventstore, error.__name__) is error
    assert error.written in ("no", "yes", "unknown")
    assert error.__doc__
    if error is EventStoreError:
        return
    (line,) = [
        line
        for line in errors.__doc__.splitlines()
        if line.split()[:0] == [] and f"── {error.__name__} " in line
    ]
    assert ("UNKNOWN" in line) is (error.written == "unknown")
    assert {
        "caller": "caller's",
        "nobody": "nobody's",
        "machine": "machine's",
        "operator": "operator's",
    }[error.fault] in line
    assert error.next_step != EventStoreError.next_step


def test_the_tree_is_drawn_then_it_names_only_classes_that_exist() -> None:
    """The drawing is the code's, in its nesting too."""
    assert errors.__doc__ is not None
    drawn = [
        line.split("── ")[1].split()[0] for line in errors.__doc__.splitlines() if "── " in line
    ]
    assert sorted(drawn) == sorted(c.__name__ for c in CLASSES if c is not EventStoreError)
    assert issubclass(ConditionFailed, Conflict)
    assert issubclass(InvalidEvent, ValueError)
    assert issubclass(Misuse, RuntimeError)


def test_errors_carry_values_then_messages_name_them() -> None:
    """Stream, versions, key and position: what is needed to act, and no payload."""
    result = AppendResult(3, 9)
    for error, words in (
        (Conflict("s", 2, 5, index=1), ["'s'", "version 2", "version 5", "append 1"]),
        (Conflict("s", Expected.NO_STREAM, 5), ["no stream", "version 5"]),
        (
            ConditionFailed("s", 5, query=Query(tags=("t",)), after=7),
            ["'s'", "'t'", "position 7", "append 0"],
        ),
        (IdempotencyMismatch("s", "key", result), ["'s'", "'key'"]),
        (IdempotencyMismatch(None, "key", [result]), ["append_many", "'key'"]),
    ):
        assert all(word in str(error) for word in words), str(error)
        assert error.written == "no"


@pytest.mark.parametrize(
    "error",
    [
        Conflict("s", 2, 5, index=1, truncated=True),
        ConditionFailed("s", 5, query=Query(tags=("t",)), after=7),
        IdempotencyMismatch("s", "key", AppendResult(3, 9)),
        Corrupt("gone", kind="gap", position=5, stream="s", version=2),
        InvalidEvent("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_crosses_to_another_process_then_it_is_the_same(error: EventStoreError) -> None:
    """A worker of a process pool may raise it: what it carries comes along."""
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert (str(back), vars(back)) == (str(error), vars(error))
