"""Memory: every content has its event, corrections keep the former one's, forgetting is final."""

from __future__ import annotations

from typing import Any

from eventstore import NewEvent
from reducers.agent import Forgotten, MemoryEntry, memory
from reducers.agent import vocabulary as v

Folded = Any

TEA = v.memory_remembered(memory_id="drink", content="tea", attributes={"topic": "food"})
COFFEE = v.memory_corrected(memory_id="drink", content="coffee", reason="said so")
GONE = v.memory_forgotten(memory_id="drink", reason="asked to")


def test_something_is_remembered_then_it_names_its_source(folded: Folded) -> None:
    """For each memory it is known which event says so."""
    state = folded(memory, TEA)
    assert dict(state.entries) == {"drink": MemoryEntry("tea", "e1", {"topic": "food"})}


def test_a_memory_is_corrected_then_both_events_are_known(folded: Folded) -> None:
    """The content is the correction's; the event of the former content stays at hand."""
    entry = folded(memory, TEA, COFFEE).entries["drink"]
    assert (entry.content, entry.source_event_id, entry.former_event_id) == ("coffee", "e2", "e1")
    assert (entry.corrections, entry.reason) == (1, "said so")
    assert entry.attributes == {"topic": "food"}


def test_a_memory_is_corrected_twice_then_the_former_event_is_the_first_correction(
    folded: Folded,
) -> None:
    """One step back at a time; the steps before it are in the log."""
    water = v.memory_corrected(memory_id="drink", content="water")
    entry = folded(memory, TEA, COFFEE, water).entries["drink"]
    assert (entry.source_event_id, entry.former_event_id, entry.corrections) == ("e3", "e2", 2)


def test_a_memory_is_forgotten_then_only_that_is_left(folded: Folded) -> None:
    """A forgotten memory is not live, its content is nowhere in the state, the mark is."""
    state = folded(memory, TEA, COFFEE, GONE)
    assert len(state.entries) == 0
    assert dict(state.forgotten) == {"drink": Forgotten("e3", "asked to")}
    assert "tea" not in repr(state)
    assert "coffee" not in repr(state)


def test_a_correction_comes_after_forgetting_then_the_memory_stays_forgotten(
    folded: Folded,
) -> None:
    """A correction that was under way does not bring back what somebody wanted gone."""
    state = folded(memory, TEA, GONE, COFFEE)
    assert len(state.entries) == 0
    assert state.forgotten["drink"].event_id == "e2"


def test_a_forgotten_memory_is_remembered_again_then_it_is_live(folded: Folded) -> None:
    """Somebody who says it anew is believed."""
    state = folded(memory, TEA, GONE, TEA)
    assert state.entries["drink"].source_event_id == "e3"
    assert len(state.forgotten) == 0


def test_an_unknown_memory_is_corrected_then_it_is_remembered(folded: Folded) -> None:
    """The correction's content is what is known; nothing came before it."""
    entry = folded(memory, COFFEE).entries["drink"]
    assert (entry.content, entry.source_event_id, entry.former_event_id) == ("coffee", "e1", None)
    assert entry.corrections == 0


def test_an_unknown_memory_is_forgotten_then_later_corrections_do_not_count(
    folded: Folded,
) -> None:
    """Forgetting holds for an id whose content comes only afterwards by a correction."""
    state = folded(memory, GONE, COFFEE, GONE)
    assert (len(state.entries), dict(state.forgotten)) == (
        0,
        {"drink": Forgotten("e1", "asked to")},
    )


def test_a_live_memory_is_remembered_again_then_the_former_event_is_known(folded: Folded) -> None:
    """Remembering again gives new content and attributes; it is no correction."""
    entry = folded(memory, TEA, v.memory_remembered(memory_id="drink", content="milk")).entries[
        "drink"
    ]
    assert entry == MemoryEntry("milk", "e2", {}, former_event_id="e1")


def test_ids_cannot_be_read_then_only_remembering_has_an_effect(folded: Folded) -> None:
    """A new memory without an id has its event's; a change without one changes nothing."""
    state = folded(
        memory,
        NewEvent("memory.remembered", {"content": "x"}),
        NewEvent("memory.corrected", {"content": "y", "memory_id": None}),
        NewEvent("memory.forgotten", {"memory_id": []}),
        NewEvent("memory.remembered", "not an object"),
    )
    assert {key: entry.content for key, entry in state.entries.items()} == {"e1": "x", "e4": None}
    assert len(state.forgotten) == 0
