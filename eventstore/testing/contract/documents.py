"""Arbitrary JSON documents: stored as they are, or refused, and never a third outcome."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ... import canonical
from ...errors import InvalidEvent
from ...events import NewEvent, RecordedEvent
from ...store import EventStore
from .harness import Harness

DOCUMENTS_TRIED = 10_000
_BATCH = 25

NASTY_TEXTS = [
    "",
    "\x00",
    "\ud800",
    "a\udfffb",
    "\ud83d\ude00",
    "\U0001f600",
    "\uffff",
    "\u2028\u2029",
    "\x7f\x85\ufeff",
    "e\u0301",
    "\u00e9",
    "</script>",
    "\\u0000",
    '"',
    "\\",
    "null",
    "NaN",
    "__proto__",
    "x" * 3_000,
]
NASTY_NUMBERS = [
    0,
    -0.0,
    0.0,
    1.0,
    -1,
    2**31,
    2**53,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**64,
    10**400,
    1e308,
    -1e308,
    1.7976931348623157e308,
    5e-324,
    2.2250738585072014e-308,
    1e16,
    1e17,
    123456789012345680.0,
    1e22,
    1e23,
    9007199254740993.0,
    0.1,
    1 / 3,
    float("nan"),
    float("inf"),
    float("-inf"),
]

_TEXTS = st.one_of(
    st.text(max_size=8),
    st.text(st.characters(exclude_categories=()), max_size=4),
    st.sampled_from(NASTY_TEXTS),
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(NASTY_NUMBERS),
    _TEXTS,
)
_SMALL = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(_TEXTS, inner, max_size=4)
    ),
    max_leaves=4,
)


def _wrap(document: Any, levels: int) -> Any:
    for level in range(levels):
        document = [document] if level % 2 else {"k": document}
    return document


DOCUMENTS = st.one_of(
    _SMALL,
    st.dictionaries(_TEXTS, _SMALL, max_size=3),
    st.builds(_wrap, _SCALARS, st.sampled_from([97, 98, 99, 100, 101, 130])),
)


def storable(value: Any, depth: int = 0) -> bool:
    """Whether a JSON value must be taken: said here a second time, independently of the door."""
    if isinstance(value, str):
        return not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, dict):
        return depth < 100 and all(
            storable(key) and storable(item, depth + 1) for key, item in value.items()
        )
    if isinstance(value, list):
        return depth < 100 and all(storable(item, depth + 1) for item in value)
    return value is None


def identical(one: Any, other: Any) -> bool:
    """Equal in kind and in every bit: 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(identical(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(identical, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one.hex() == other.hex()
    return type(one) is type(other) and bool(one == other)


_found: list[list[Any]] = []
"""The documents that one engine took or refused as it should, for the next engines of this process:
making them takes three times as long as trying them."""


class DocumentContract(Harness):
    """The round trip, tried on 10,000 documents in total."""

    async def test_any_document_is_appended_then_it_comes_back_identical_or_is_refused(
        self, tmp_path: Path
    ) -> None:
        """Identical in value and bytes, or `InvalidEvent`: never a third outcome."""
        await asyncio.to_thread(self._try_documents, tmp_path)

    def _try_documents(self, folder: Path) -> None:
        tried = taken = 0
        with asyncio.Runner() as runner:
            store = runner.run(self.open_store(self.new_url(folder)))

            def check(documents: list[Any]) -> None:
                nonlocal tried, taken
                tried += len(documents)
                taken += runner.run(_round_trip(store, documents, f"s/{tried}"))

            try:
                if _found:
                    for documents in _found:
                        check(documents)
                else:
                    _found.extend(_search(check))
            finally:
                runner.run(store.close())
        assert tried >= DOCUMENTS_TRIED
        assert tried // 10 < taken < tried, "both outcomes must have been tried"


def _search(check: Callable[[list[Any]], None]) -> list[list[Any]]:
    """Has Hypothesis look for documents that `check` raises for; returns those it looked at."""
    looked_at: list[list[Any]] = []

    @settings(
        max_examples=DOCUMENTS_TRIED // _BATCH,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(DOCUMENTS, min_size=_BATCH, max_size=_BATCH))
    def search(documents: list[Any]) -> None:
        check(documents)
        looked_at.append(documents)

    search()
    return looked_at


async def _round_trip(store: EventStore, documents: list[Any], stream: str) -> int:
    """Appends the documents and holds what comes back against them; how many were taken."""

    async def send(document: Any) -> RecordedEvent | None:
        try:
            return (await store.append(stream, NewEvent("t", document))).events[0]
        except InvalidEvent:
            return None

    answers = await asyncio.gather(*map(send, documents))
    stored = {event.id: event for event in await store.read(stream).list()}
    for document, answer in zip(documents, answers, strict=True):
        assert (answer is not None) is storable(document)
        if answer is None:
            continue
        event = stored.pop(answer.id)
        assert event.payload == answer.payload
        assert identical(document, event.data)
        assert identical(document, json.loads(event.payload))
        assert canonical.encode(json.loads(event.payload), "$") == event.payload
    assert stored == {}
    return sum(answer is not None for answer in answers)
