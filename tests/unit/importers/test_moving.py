"""Records taken apart into events and put together again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.importers.moving import NotOurs, events_spanned, put_together, take_apart
from cli.importers.parsing import encode_sorted

LONG = "a text that is long enough to be worth a pointer, which is said of few others"

TEXTS = st.text(max_size=5) | st.sampled_from([LONG, LONG + "2", '{"a":1,"b":"' + LONG + '"}'])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXTS,
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(TEXTS | st.sampled_from(["a/b", "~", "~1", ""]), children, max_size=4)
    ),
    max_leaves=15,
)


def stored(datas: list[dict[str, Any]]) -> list[Any]:
    """What the store gives back of these."""
    return [msgspec.json.decode(encode_sorted(data)) for data in datas]


@given(JSON, st.data())
def test_any_record_and_any_events_of_it_then_the_same_again(record: Any, data: Any) -> None:
    """Whatever parts of a record its events hold, the record comes back."""
    parts = [record]
    for part in parts:
        children = part.values() if isinstance(part, dict) else part
        if isinstance(part, (dict, list)):
            parts.extend(children)
    chosen = data.draw(st.lists(st.sampled_from(parts), max_size=4))
    datas: list[dict[str, Any]] = [
        {"parts": [{"type": "x", "content": part}], "tool_call_arguments": part, "k/~": part}
        for part in chosen
    ] or [{}]
    datas[0]["source_record"] = take_apart(1, record, datas)
    again = stored(datas)
    assert encode_sorted(put_together(again[0]["source_record"], again)) == encode_sorted(record)
    assert events_spanned(again[0]["source_record"]) <= len(again)


def test_text_that_an_event_holds_then_stored_once() -> None:
    """The record keeps a pointer where the event has the text."""
    record = {"role": "user", "content": LONG, "raw": {"again": LONG}}
    data: dict[str, Any] = {"parts": [{"type": "text", "content": LONG}]}
    data["source_record"] = take_apart(7, record, [data])
    assert encode_sorted(data).count(LONG.encode()) == 1
    assert data["source_record"] == {
        "at": 7,
        "rest": {"role": "user", "raw": {}},
        "moved": {"/content": "0/parts/0/content", "/raw/again": "0/parts/0/content"},
    }


def test_arguments_as_json_text_then_the_same_text_again() -> None:
    """A text that is JSON comes back as the text, not as JSON that means the same."""
    compact = {"arguments": '{"city":"Bremen","country":"Germany"}'}
    spaced = {"arguments": '{"country": "Germany", "city": "Bremen"}'}
    for record, moved in ((compact, True), (spaced, False)):
        value = {"city": "Bremen", "country": "Germany"}
        data: dict[str, Any] = {"tool_call_arguments": value}
        data["source_record"] = take_apart(1, record, [data])
        assert ("moved" in data["source_record"]) is moved
        assert put_together(data["source_record"], stored([data])) == record


def test_keys_too_long_to_point_at_then_kept_where_they_are() -> None:
    """Pointers repeat keys; a record with huge keys must not grow by them."""
    record = {"k" * 100_000: {"a": LONG, "b": LONG}}
    data: dict[str, Any] = {"parts": [{"type": "text", "content": LONG}]}
    data["source_record"] = take_apart(1, record, [data])
    assert len(encode_sorted(data)) < 101_000
    assert put_together(data["source_record"], stored([data])) == record


@pytest.mark.parametrize(
    "kept",
    [
        {"at": 1, "moved": {"/a": "5/x"}},
        {"at": 1, "moved": {"/a": "0/none"}},
        {"at": 1, "moved": {"/a": "x"}},
        {"at": 1, "moved": {"/a/b": "0/x"}, "rest": "text"},
        {"at": 1, "moved": ["/a"]},
    ],
)
def test_somebody_elses_field_then_not_ours(kept: dict[str, Any]) -> None:
    """What others write under the same key is recognised as not an importer's."""
    with pytest.raises(NotOurs):
        put_together(kept, [{"x": 1}])
