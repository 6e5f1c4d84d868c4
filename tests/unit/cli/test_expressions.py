"""Expressions over a state: what they find, what they refuse, and that they end."""

from __future__ import annotations

from typing import Any

import pytest
from immutables import Map
from msgspec import Struct

from cli.exits import ExitCode, Stop
from cli.expressions import CHARACTERS_MAX, Expression
from reducers import PersistentList


class Card(Struct, frozen=True):
    """A card."""

    title: str
    cost: float | None = None


class Board(Struct, frozen=True):
    """A state of all kinds of containers."""

    cards: Map[str, Card] = Map(a=Card("Book", 0.5), b=Card("Order", 0.25))
    log: PersistentList[str] = PersistentList(["x", "y"])
    seen: tuple[int, ...] = (1, 2, 3)
    notes: Map[str, Any] = Map({"a b": {"deep": [10, {"end": None}]}})
    spent: float = 0.75


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("spent > 0.5", True),
        ("spent", 0.75),
        ("cards.a.title == 'Book'", True),
        ("cards['b'].cost * 4", 1.0),
        ("log[-1] + log[0]", "yx"),
        ("seen[1]", 2),
        ("notes['a b'].deep[0] - 3", 7),
        ("notes['a b'].deep[1].end is None", True),
        ("state.spent == state['spent']", True),
        ("len(cards) == 2 and len(log) == 2 and len(log[0]) == 1", True),
        ("'a' in cards and 'z' not in cards", True),
        ("2 in seen and 9 not in seen and 'oo' in cards.a.title", True),
        ("sum(card.cost for card in values(cards))", 0.75),
        ("[n * m for n in seen if n > 1 for m in seen if m < 2]", [2, 3]),
        ("any(card.title == 'Order' for card in values(cards))", True),
        ("seen == [1, 2, 3]", True),
        ("max(seen) - min(seen)", 2),
        ("1 < spent * 2 < 2", True),
        ("'high' if spent > 0.5 else 'low'", "high"),
        ("round(spent, 1)", 0.8),
        ("-seen[0] % 4", 3),
        ("startswith(lower(cards.a.title), 'bo')", True),
    ],
)
def test_expression_is_asked_of_a_state_then_names_lead_to_its_members(
    text: str, value: Any
) -> None:
    """Members by attribute or key, items by index, values as JSON has them."""
    assert Expression(text).value(Board()) == value


@pytest.mark.parametrize(
    "text",
    [
        "cards.z.title == 'Book'",
        "cards.z.cost > 0",
        "cards.z.cost < 0",
        "cards.z.cost + 1 > 0",
        "log[7] == 'x'",
        "len(notes.nothing.at.all) > 0",
        "any(card for card in notes.nothing)",
        "-notes.nothing > 0",
    ],
)
def test_member_may_come_later_then_nothing_holds_for_it(text: str) -> None:
    """A breakpoint may name a card that does not stand yet."""
    assert Expression(text)(Board()) is False


def test_member_was_never_there_then_it_is_told() -> None:
    """So that a typing error in the name of a map's entry can be seen."""
    expression = Expression("cards.c.cost > 1 and cards.d.cost > 1")
    expression(Board())
    assert expression.never_found == ["cards.c", "cards.c.cost"]
    expression(Board(cards=Map(c=Card("New", 2.0))))
    assert expression.never_found == ["cards.d", "cards.d.cost"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("total > 1", "no 'total' in the state"),
        ("cards.a.total > 1", "no 'cards.a.total' in the state"),
        ("spent.total > 1", "asked of what has no members"),
        ("spent > 'a'", "do not go together"),
        ("cards.a.title * 3", "do not go together"),
        ("'%1000000000d' % 1", "do not go together"),
        ("len(spent)", "do not go together"),
        ("round(1, -1000000000)", "do not go together"),
        ("1 / 0", "divides by zero"),
        ("len(1, 2, 3)", "do not go together"),
    ],
)
def test_expression_cannot_be_answered_then_the_reason_is_told(text: str, said: str) -> None:
    """Wrong usage, in one line that holds no value of the state."""
    with pytest.raises(Stop) as caught:
        Expression(text).value(Board())
    assert said in caught.value.message
    assert caught.value.code is ExitCode.USAGE
    assert "Book" not in caught.value.message + caught.value.next_step


def test_field_is_missing_then_those_that_are_there_are_named() -> None:
    """A typing error is mended without looking anywhere."""
    with pytest.raises(Stop) as caught:
        Expression("spend").value(Board())
    assert caught.value.next_step == "there are cards, log, seen, notes, spent"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spent >",
        "a; b",
        "a = 1",
        "import os",
        "open('/etc/passwd')",
        "__import__('os')",
        "(lambda: 1)()",
        "cards.items()",
        "f'{spent}'",
        "2 ** 99999999",
        "1 << 99999999",
        "b'x'",
        "seen[0:1]",
        "{1: 2}",
        "(x := 1)",
        "len(value=seen)",
        "[a for a, b in seen]",
        "-" * (CHARACTERS_MAX - 1) + "1",
        "(" * 500,
        "1" + "+1" * CHARACTERS_MAX,
    ],
)
def test_expression_is_more_than_one_then_it_is_refused(text: str) -> None:
    """No statements, no calls but of the few functions, nothing that does not end."""
    with pytest.raises(Stop) as caught:
        Expression(text).value(Board())
    assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize("text", ["cards.get", "cards.z.__dict__", "cards.__init__", "log.pop"])
def test_attribute_of_an_open_container_is_asked_for_then_it_is_none(text: str) -> None:
    """Names lead to data, never to what Python keeps with it."""
    assert Expression(text).value(Board()) is None


@pytest.mark.parametrize("text", ["spent.__class__", "state.__init__", "cards.a.__dict__"])
def test_attribute_of_the_object_is_asked_for_then_there_is_none(text: str) -> None:
    """The same, where it could never come."""
    with pytest.raises(Stop, match="in the state"):
        Expression(text).value(Board())


def test_loops_are_nested_then_they_end_before_they_take_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The items that one evaluation may look at are bounded."""
    monkeypatch.setattr("cli.expressions.ITEMS_MAX", 5_000)
    state = {"n": list(range(1_000))}
    with pytest.raises(Stop, match="too many items"):
        Expression("len([1 for a in n for b in n for c in n])").value(state)


@pytest.mark.parametrize(
    "text",
    [
        "len([lower(text) for n in numbers])",
        "[text == lower(text) for n in numbers]",
        "['nowhere' in text for n in numbers]",
        "[startswith(text, text) for n in numbers]",
        "[numbers == others for n in numbers]",
    ],
)
def test_long_texts_and_lists_are_looked_at_again_and_again_then_bounded(text: str) -> None:
    """A text counts by its length, and a comparison by what it compares: neither time nor memory
    of an evaluation grows with the loops around it."""
    state = {"text": "a" * 2_000_000, "numbers": list(range(1_000)), "others": list(range(1_000))}
    with pytest.raises(Stop, match="too many items"):
        Expression(text).value(state)


@pytest.mark.parametrize(
    "text",
    [
        "[rows == others for n in numbers]",
        "[rows in [others] for n in numbers]",
        "[max(rows) for n in numbers]",
        "[text < text for n in numbers]",
        "[text in [text] for n in numbers]",
    ],
)
def test_what_is_compared_is_large_within_then_bounded(text: str) -> None:
    """Two rows of a hundred thousand items each are no two items."""
    state = {
        "text": "a" * 2_000_000,
        "numbers": list(range(1_000)),
        "rows": [list(range(10_000))] * 2,
        "others": [list(range(10_000))] * 2,
    }
    with pytest.raises(Stop, match="too many items"):
        Expression(text).value(state)


def test_integers_are_multiplied_again_and_again_then_bounded() -> None:
    """Each loop within a loop doubles the digits: twenty of them would take minutes."""
    text = "9"
    for _ in range(20):
        text = f"[a * a for a in [{text}]][0]"
    with pytest.raises(Stop, match="too many items"):
        Expression(text).value({})


@pytest.mark.parametrize("text", ["lower(cards)", "lower(spent)", "seen < [1]", "log > log"])
def test_what_is_no_text_and_no_number_is_ordered_then_refused(text: str) -> None:
    """No text is made of a container, and containers have no order."""
    with pytest.raises(Stop, match="do not go together"):
        Expression(text).value(Board())


def test_expression_is_long_then_the_message_is_not() -> None:
    """What is wrong with it and what to do stands behind it, and is not cut off."""
    with pytest.raises(Stop, match="kinds of values") as caught:
        Expression("spent > 'a' or " * 60 + "spent").value(Board())
    assert len(caught.value.message) < 300
