"""The state as rows: what is open, what is marked, what a long container shows."""

from __future__ import annotations

from typing import Any

import pytest
from immutables import Map
from msgspec import Struct

from cli.stepper.tree import OPENED_DEPTH, ROWS_MAX, SHOWN_FIRST, SHOWN_LAST, Row, StateTree, told
from reducers import PersistentList, diff
from reducers.json_form import MISSING


class Inner(Struct, frozen=True):
    """A part."""

    a: int = 1
    b: str = "x"


class Outer(Struct, frozen=True):
    """A state."""

    inner: Inner = Inner()
    entries: Map[str, Any] = Map()
    log: PersistentList[int] = PersistentList()


def _tree(before: Any, after: Any) -> StateTree:
    tree = StateTree()
    tree.show(after, diff(before, after))
    return tree


def _rows(tree: StateTree) -> list[str]:
    return [f"{row.mark or ' '}{row.path or row.name}" for row in tree.rows]


def _at(tree: StateTree, path: str) -> Row:
    return next(row for row in tree.rows if row.path == path)


def test_member_is_replaced_then_it_is_marked_and_what_holds_it_is_open() -> None:
    """The change can be seen without opening anything."""
    tree = _tree(Outer(), Outer(inner=Inner(a=2)))
    assert _rows(tree) == ["*/inner", "~/inner/a", " /inner/b", " /entries", " /log"]
    assert _at(tree, "/inner/a").before == 1
    assert tree.selected == _at(tree, "/inner/a")


def test_members_are_added_and_removed_then_both_stand_there() -> None:
    """What is gone is shown once more, with the value it had."""
    before = Outer(entries=Map({"a/b": 1, "c": Inner()}))
    after = Outer(entries=Map({"c": Inner(), "d": {"x": 1}}))
    tree = _tree(before, after)
    assert _rows(tree)[3:8] == [
        "+/entries/d",
        " /entries/d/x",
        "-/entries/a~1b",
        " /log",
    ]
    assert (_at(tree, "/entries/a~1b").name, _at(tree, "/entries/a~1b").value) == ("a/b", 1)


def test_row_is_opened_and_closed_then_it_stays_so_over_steps() -> None:
    """As the user left it, also where a step would open it by itself."""
    tree = _tree(Outer(), Outer())
    tree.cursor = 0
    tree.open()
    assert _rows(tree)[:3] == [" /inner", " /inner/a", " /inner/b"]
    tree.cursor = 2
    tree.close()
    assert _rows(tree) == [" /inner", " /entries", " /log"]
    assert tree.cursor == 0
    tree.show(Outer(inner=Inner(a=5)), diff(Outer(), Outer(inner=Inner(a=5))))
    assert _rows(tree) == ["*/inner", " /entries", " /log"]


def test_list_is_long_then_its_beginning_its_end_and_the_change_are_shown() -> None:
    """And "... more" for what lies between, which unfolds a part at a time."""
    before = Outer(log=PersistentList(range(5_000)))
    after = Outer(log=before.log.set(2_500, -1))
    tree = _tree(before, after)
    items = [row for row in tree.rows if row.depth == 1 and not row.hidden]
    assert [row.name for row in items[SHOWN_FIRST:]] == ["2500", "4997", "4998", "4999"]
    assert _at(tree, "/log/2500").mark == "~"
    assert len(items) == SHOWN_FIRST + 1 + SHOWN_LAST
    hidden = [row.hidden for row in tree.rows if row.hidden]
    assert hidden == [2_500 - SHOWN_FIRST, 4_997 - 2_501]
    tree.cursor = next(index for index, row in enumerate(tree.rows) if row.hidden)
    tree.open()
    assert [row.hidden for row in tree.rows if row.hidden] == [2_380, 2_496]


def test_everything_is_opened_then_the_rows_are_bounded() -> None:
    """Nobody scrolls through more, and a step has to stay quick."""
    state = {f"{n:03}": {f"{m:03}": {"x": 1} for m in range(200)} for n in range(200)}
    tree = _tree(state, state)
    index = 0
    while index < len(tree.rows):
        tree.cursor = index
        if tree.rows[index].hidden or tree.rows[index].is_open is False:
            tree.open()
        if len(tree.rows) == ROWS_MAX:
            break
        index += 1
    assert len(tree.rows) == ROWS_MAX


def test_map_is_large_then_what_changed_in_it_is_shown() -> None:
    """Whatever else of it is."""
    entries: Map[str, Any] = Map({f"n{n:05}": n for n in range(5_000)})
    tree = _tree(Outer(entries=entries), Outer(entries=entries.set("n04000", "x")))
    assert _at(tree, "/entries/n04000").mark == "~"
    assert (
        sum(row.hidden for row in tree.rows)
        + sum(1 for row in tree.rows if row.path.startswith("/entries/"))
        == 5_000
    )


def test_cursor_goes_through_changes_then_it_comes_round() -> None:
    """The key for it finds each of them."""
    tree = _tree(Outer(), Outer(inner=Inner(a=2, b="y"), log=PersistentList([1])))
    seen = []
    for _ in range(4):
        assert tree.selected is not None
        seen.append(tree.selected.path)
        tree.next_change()
    assert seen == ["/inner/a", "/inner/b", "/log/0", "/inner/a"]


def test_state_is_a_plain_value_then_it_is_one_row() -> None:
    """A reducer may just count."""
    tree = _tree(1, 2)
    assert [(row.name, row.before, row.value, row.mark) for row in tree.rows] == [
        ("(state)", 1, 2, "~")
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MISSING, "(nothing)"),
        (Map(a=1, b=2), "{2}"),
        (PersistentList(range(1_204)), "[1,204]"),
        ("x" * 50, '"' + "x" * 18 + "…"),
        ("\x1b[31m\n", '"\\u001b[31m\\n"'),
        (None, "null"),
    ],
)
def test_value_is_told_then_it_is_short_and_safe(value: Any, text: str) -> None:
    """Containers by their size, because they may be as large as they like."""
    assert told(value, 20) == text


def test_message_is_added_then_its_text_is_seen_without_opening_anything() -> None:
    """A few levels of what is new stand open; a deep one does not fill the screen."""
    text = {"parts": [{"text": "Hello"}]}
    tree = _tree(Outer(), Outer(entries=Map({"m1": text})))
    assert _at(tree, "/entries/m1/parts/0/text").value == "Hello"
    deep: Any = 1
    for _ in range(20):
        deep = {"in": deep}
    tree = _tree(Outer(), Outer(entries=Map({"d": deep})))
    assert max(row.depth for row in tree.rows) == 1 + OPENED_DEPTH


def test_cursor_was_left_alone_then_it_follows_the_changes_until_it_is_moved() -> None:
    """A change far down a list is on the screen; a place that the user chose is kept."""
    one = Outer(log=PersistentList([1]))
    two = Outer(log=PersistentList([1, 2]))
    three = Outer(log=PersistentList([1, 2, 3]))
    tree = _tree(Outer(), one)
    tree.show(two, diff(one, two))
    assert tree.selected == _at(tree, "/log/1")
    tree.move(-1)
    tree.show(three, diff(two, three))
    assert tree.selected == _at(tree, "/log/0")
    tree.next_change()
    tree.show(two, diff(three, two))
    assert tree.selected == _at(tree, "/log/2")
