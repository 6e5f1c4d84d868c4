"""check_reducer lets sound reducers pass, and names the promise that another one breaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from eventstore import NewEvent
from reducers import Reducer, ReducerError, check_reducer, checking, fold, unchecked

from .check_samples import seeded, sound

LETTERS = st.lists(st.sampled_from("abcdefgh"), max_size=4, unique=True)
NAMED = st.lists(st.builds(lambda names: NewEvent("named", {"names": names}), LETTERS), max_size=6)


def test_a_reducer_is_sound_then_nothing_is_said() -> None:
    """In this process and in another one."""
    check_reducer(sound, NAMED, max_examples=20)


def test_it_hangs_on_the_hash_seed_then_the_other_process_tells() -> None:
    """The smallest events found are one, with the two names that a set needs to have an order."""
    with pytest.raises(
        AssertionError,
        match=r"'seeded' breaks 'the same state in another process'.*: "
        r"\[named {\"names\":\[\"[a-h]\",\"[a-h]\"\]}\]",
    ):
        check_reducer(seeded, NAMED, max_examples=40)


def broken_by_mutation() -> Reducer[Any]:
    reducer: Reducer[Any] = Reducer("broken", {"names": []})

    @reducer.on("named")
    def add(state: Any, event: Any) -> Any:
        state["names"].append(1)
        return state

    return reducer


def broken_by_memory() -> Reducer[Any]:
    reducer: Reducer[Any] = Reducer("broken", 0)
    seen: list[int] = []

    @reducer.on("named")
    @unchecked(reason="the test needs one that remembers")
    def add(state: Any, event: Any) -> Any:
        seen.append(1)
        return len(seen)

    return reducer


def broken_by_kind() -> Reducer[Any]:
    reducer: Reducer[Any] = Reducer("broken", {"last": None})

    @reducer.on("named")
    def add(state: Any, event: Any) -> Any:
        return {"last": Unkept()}

    return reducer


def broken_by_error() -> Reducer[Any]:
    reducer: Reducer[Any] = Reducer("broken", 0)

    @reducer.on("named")
    def add(state: Any, event: Any) -> Any:
        return event["names"][4]

    return reducer


def broken_by_changed_event() -> Reducer[Any]:
    reducer: Reducer[Any] = Reducer("broken", 0)

    @reducer.on("named")
    def add(state: Any, event: Any) -> Any:
        event.data["names"].append("x")
        return state

    return reducer


def broken_by_order() -> Reducer[Any]:
    reducer: Reducer[Any] = Reducer("broken", 0)
    last = [0]

    @reducer.on("named")
    @unchecked(reason="the test needs one that knows the event before")
    def add(state: Any, event: Any) -> Any:
        before, last[0] = (0 if event.version == 1 else last[0]), event.version
        return state + event.version - before

    return reducer


class Unkept(int):
    """A number of its own kind, which no snapshot keeps."""


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (broken_by_error, "the events can be folded': IndexError: list index out of range"),
        (broken_by_changed_event, "the events can be folded': TypeError: event data is read-only"),
        (broken_by_mutation, "the input stays as it is"),
        (broken_by_memory, "the same state twice"),
        (broken_by_kind, "the same state through a snapshot"),
    ],
)
def test_a_promise_is_broken_then_it_is_named_with_the_smallest_events(
    make: Any, name: str
) -> None:
    """One event without names is enough for each of them, and hypothesis finds it."""
    smallest = r"the smallest events found: \[named {\"names\":\[\]}\]"
    with pytest.raises(AssertionError, match=f"'broken' breaks '{name}.*{smallest}"):
        check_reducer(make(), NAMED, max_examples=30, other_process=False)


def test_it_remembers_the_event_before_then_the_split_tells() -> None:
    """Folded from the first event on it is the same each time, and not where it is gone on with."""
    with pytest.raises(AssertionError, match=r"'the same state from any split': split behind ev"):
        check_reducer(broken_by_order(), NAMED, max_examples=30, other_process=False)


def test_it_is_another_only_at_times_then_that_is_said() -> None:
    """What breaks a promise once and not again is no failure of hypothesis."""
    tried = iter(range(1_000_000))
    reducer: Reducer[Any] = Reducer("rare", 0)

    @reducer.on("named")
    @unchecked(reason="the test needs one that is wrong for a while")
    def add(state: Any, event: Any) -> Any:
        number = next(tried)
        return number if 40 <= number < 80 else 0

    with pytest.raises(AssertionError, match=r"'rare' breaks '.*does not do the same each time"):
        check_reducer(reducer, NAMED, max_examples=30, other_process=False)


def test_the_strategy_is_another_each_time_then_hypothesis_says_so() -> None:
    """The reducer broke nothing: what is wrong is passed on as it was said."""
    made = iter(range(1_000_000))

    @st.composite
    def moody(draw: Any) -> list[NewEvent]:
        return draw(NAMED) if next(made) % 2 else [NewEvent("named", {"names": draw(LETTERS)})]

    with pytest.raises(Flaky):
        check_reducer(sound, moody(), max_examples=30, other_process=False)


def test_an_event_of_unknown_type_changes_the_state_then_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fold that counts events which nobody handles is found, where no reducer could do so."""

    def careless(events: Any, reducer: Any, *state: Any) -> Any:
        made = fold(events, reducer, *state)
        strangers = sum(event.type == checking.UNKNOWN_TYPE for event in events)
        return {**made, "count": made["count"] + strangers}

    monkeypatch.setattr(checking, "fold", careless)
    with pytest.raises(AssertionError, match="'sound' breaks 'unknown events are ignored'"):
        check_reducer(sound, NAMED, max_examples=5, other_process=False)


PROGRAM = """
from hypothesis import strategies as st
from eventstore import NewEvent
from reducers import Reducer, check_reducer

mine = Reducer("mine", 0)
mine.on("a")(lambda state, event: state + 1)
with open(__file__ + ".runs", "a") as runs:
    runs.write("run ")
with open(__file__ + ".runs") as runs:
    if runs.read().count("run") > 3:
        raise SystemExit("it runs itself again and again")
check_reducer(mine, st.lists(st.just(NewEvent("a", {}))), max_examples=3)
"""


def test_a_program_checks_its_own_reducer_then_one_process_more_is_started(tmp_path: Path) -> None:
    """A check at the top of a file, unguarded: the other process imports it, and starts none."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    subprocess.run([sys.executable, program], check=True, timeout=60)
    assert Path(f"{program}.runs").read_text() == "run run "


def test_the_reducer_has_no_name_then_what_to_do_is_said() -> None:
    """Another process imports a module, and cannot be given a closure."""
    with pytest.raises(ReducerError, match="other_process=False"):
        check_reducer(broken_by_memory(), NAMED)


def test_hypothesis_is_missing_then_what_to_install_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is needed by whoever checks, and by nobody else."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ReducerError, match="pip install hypothesis"):
        check_reducer(sound, NAMED)
