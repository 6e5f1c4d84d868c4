"""Lines of the stepper: what does not fit says so, and what is deep can still be read."""

from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len

from cli.stepper.drawing import (
    TEXT_CHARACTERS_SHOWN,
    event_lines,
    shown_path,
    tree_line,
    value_lines,
)
from cli.stepper.tree import Row
from eventstore import EventStore, NewEvent, RecordedEvent
from reducers import PersistentList

WIDTH = 24


async def _recorded(store: EventStore, data: Any) -> RecordedEvent:
    return (await store.append("drawn", [NewEvent("n", data)], actor="a" * 60)).events[0]


async def test_field_is_longer_than_the_panel_then_it_goes_on_in_the_next_lines(
    store: EventStore,
) -> None:
    """An id is there to be copied, and a long actor is one too."""
    lines = [line.plain for line in event_lines(await _recorded(store, {}), WIDTH)]
    assert "".join(line[8:] for line in lines if set(line[8:]) == {"a"}) == "a" * 60
    assert all(cell_len(line) <= WIDTH for line in lines)


async def test_text_is_too_long_for_the_panel_then_it_says_how_much_is_left_out(
    store: EventStore,
) -> None:
    """Nobody takes the beginning for the whole."""
    text = "x" * (TEXT_CHARACTERS_SHOWN + 1_234)
    lines = [line.plain for line in event_lines(await _recorded(store, {"text": text}), 80)]
    assert lines[-1].strip() == "... 1,234 more characters"


async def test_payload_is_deep_then_its_innermost_value_is_within_the_panel(
    store: EventStore,
) -> None:
    """However deep it stands."""
    deep: dict[str, Any] = {"found": "it"}
    for _ in range(50):
        deep = {"in": deep}
    lines = [line.plain.strip() for line in event_lines(await _recorded(store, deep), WIDTH)]
    assert lines[-1] == "found  it"
    row = tree_line(Row("/a", 50, "found", "it"), WIDTH, False)
    assert row.plain.endswith('found  "it"')


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (60, '~   status  "pending" -> "in_progress"'),
        (36, '~   status  "pendi… -> "in_progress"'),
        (30, '~   status  -> "in_progress"'),
    ],
)
def test_value_was_replaced_then_what_it_is_now_is_seen_first(width: int, shown: str) -> None:
    """Where both do not fit, what was before gives way."""
    row = Row("/status", 0, "status", "in_progress", "~", None, "pending")
    assert tree_line(row, width, False).plain == shown


def test_value_is_viewed_whole_then_before_and_after_stand_below_each_other() -> None:
    """Texts with their lines, containers with their members."""
    row = Row("/x", 0, "x", PersistentList(["one\ntwo", {"k": [1]}]), "~", None, "old")
    assert [line.plain for line in value_lines(row, 40)] == [
        *("before", "old", "", "after"),
        *("0", "  one", "  two", '1  {"k":[1]}'),
    ]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a/b", "/a/b"),
        ("/messages/17/content", "…sages/17/content"),
        ("/完完完完完完完完/x", "…完完完完完完完/x"),
    ],
)
def test_path_is_long_then_its_end_is_shown(path: str, shown: str) -> None:
    """It tells more than where it begins."""
    assert shown_path(path, 17) == shown
