"""The door's quick look finds the same as its careful one."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventstore import InvalidEvent
from eventstore.canonical import FrozenDict, FrozenList, _check, _walk_plain
from eventstore.limits import INTEGER_MAX, INTEGER_MIN, PAYLOAD_BYTES_MAX

EDGES = [INTEGER_MAX, INTEGER_MAX + 1, INTEGER_MIN, INTEGER_MIN - 1, math.nan, math.inf, -math.inf]
ODD = [b"bytes", (1,), {1}, date(2026, 1, 1), object, FrozenDict({"a": 1}), FrozenList([1])]
LEAVES = st.none() | st.booleans() | st.text(max_size=3) | st.floats() | st.integers()
KEYS = st.text(max_size=3) | st.sampled_from([1, None, b"k", ("t",)])


@given(
    st.recursive(
        LEAVES | st.sampled_from(EDGES) | st.sampled_from(ODD),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=12,
    ),
    st.integers(0, 110),
)
def test_a_value_looks_plain_then_the_careful_look_takes_it(value: Any, depth: int) -> None:
    """Only what would be taken without a second thought is spared the careful look."""
    for _ in range(depth):
        value = [value]
    if _walk_plain(value, 0, PAYLOAD_BYTES_MAX) < 0:
        return
    try:
        odd = _check(value, 0, "$")
    except InvalidEvent as refused:
        raise AssertionError("the quick look let through what is refused") from refused
    assert not odd
