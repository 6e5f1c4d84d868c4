"""Documents cut into parts with their exact bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.importers.splitting import Unreadable, elements, line_of, members

VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@given(st.lists(VALUES), st.sampled_from([None, 1]))
def test_array_then_its_elements_bytes(values: list[object], indent: int | None) -> None:
    """Each element is cut out as it stands, also when some are no JSON to a strict parser."""
    raw = json.dumps(values, indent=indent).encode(errors="surrogatepass")
    found = elements(raw)
    assert [repr(json.loads(one)) for one in found] == [repr(value) for value in values]
    assert all(one in raw for one in found)


@given(st.lists(st.tuples(st.text(), VALUES)), st.sampled_from([", ", " ,\n"]))
def test_object_then_its_members_bytes(pairs: list[tuple[str, object]], comma: str) -> None:
    """Every member is found, a key that stands twice also twice."""
    inside = comma.join(f"{json.dumps(key)} : {json.dumps(value)}" for key, value in pairs)
    found = members(("{" + inside + "}").encode())
    assert [json.loads(one.key_raw) for one in found] == [key for key, _ in pairs]
    assert [repr(json.loads(one.raw)) for one in found] == [repr(value) for _, value in pairs]


def test_one_bad_element_then_the_others_unharmed() -> None:
    """A record that no strict parser reads does not take its neighbours with it."""
    raw = b'[{"a": 1}, {"b": NaN, "c": "]}\\ud800"}, {"d": [[]]}]'
    assert elements(raw) == [b'{"a": 1}', b'{"b": NaN, "c": "]}\\ud800"}', b'{"d": [[]]}']


def test_depth_beyond_recursion_then_cut_all_the_same() -> None:
    """Depth is the records' own matter."""
    deep = b"[" * 50_000 + b"]" * 50_000
    assert elements(b"[1, " + deep + b"]") == [b"1", deep]


@pytest.mark.parametrize(
    "raw", [b"[1", b"[1 2]", b"[,]", b"{}", b"", b"[1] 2", b'["a]', b"[1,", b'[{"a": 1]']
)
def test_broken_array_then_unreadable(raw: bytes) -> None:
    """A broken structure is told with its place."""
    with pytest.raises(Unreadable):
        elements(raw)


@pytest.mark.parametrize(
    "raw", [b'{"a" 1}', b"{1: 2}", b'{"a": }', b"[]", b'{"a": 1', b'{"a": 1} {']
)
def test_broken_object_then_unreadable(raw: bytes) -> None:
    """As with arrays."""
    with pytest.raises(Unreadable):
        members(raw)


def test_offset_then_its_line() -> None:
    """Lines count from 1, as editors count them."""
    assert [line_of(b"a\nb\nc", offset) for offset in (0, 1, 2, 4)] == [1, 1, 2, 3]
