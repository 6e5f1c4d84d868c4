"""The states of a fold that a relay has at hand, and their bytes."""

from __future__ import annotations

import pytest

from eventstore import EventStore, NewEvent
from projections import Projection, folding
from projections.folding import Folder
from reducers import PersistentList, Reducer
from reducers.codecs import StateCodec

_TEXT = "x" * 99


async def test_states_grow_page_by_page_then_their_bytes_are_those_of_the_state_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a folder knows of the page before changes no byte, and it knows of a few keys only."""
    monkeypatch.setattr(folding, "KNOWN_MAX", 2)
    notes: Reducer[PersistentList[object]] = Reducer("notes", initial=PersistentList())
    notes.on("note.added")(lambda state, event: state.append(event.data))
    folder = Folder(Projection("notes", fold=notes))
    keys = ["a", "b", "c"]
    async with EventStore.open("memory://") as store:
        for number in range(40):
            for key in keys:
                await store.append(key, [NewEvent("note.added", {"n": number, "text": _TEXT})])
        events = await store.read_all().list()
    folder.take({}, keys)
    remembered = set()
    for first in range(0, len(events), 3):
        for event in events[first : first + 3]:
            folder.apply(event.stream, event)
        for key, position, encoded in folder.encoded(keys):
            state = notes.codec().decode(encoded)
            assert folder.peek(key) == (position, state)
            assert encoded == StateCodec(PersistentList).encode(state)
        remembered.add(len(folder._known))
    assert min(remembered) == 0  # they are small at first
    assert max(remembered) == 2
