"""What the bytes of a record are taken for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.importers.parsing import Broken, Parsed, Refused, parse_record
from eventstore import InvalidEvent, canonical

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats()
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(JSON, st.sampled_from([None, 2]), st.booleans())
def test_any_json_written_by_python_then_parsed_equal_or_refused(
    value: object, indent: int | None, escaped: bool
) -> None:
    """JSON is either read as it is, or refused; it is refused when the store's door refuses it."""
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return
    try:
        canonical.encode(value, "$")
        storable = True
    except InvalidEvent:
        storable = False
    parsed = parse_record(raw)
    assert not isinstance(parsed, Broken)
    if storable:
        assert isinstance(parsed, Parsed)
        assert parsed.canonical == canonical.encode(value, "$")
    elif isinstance(parsed, Parsed):
        assert parsed.doubtful, "what the door refuses must be asked for there"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"a": "\\u0022\\u0022", "b": 1, "b": 2}',
        b'[{"": 0, "": 0}]',
    ],
)
def test_key_twice_then_refused(raw: bytes) -> None:
    """A parser keeps one of the two; the record's bytes keep both."""
    assert parse_record(raw) == Refused("an object has a key twice")


@pytest.mark.parametrize("raw", [b'{"a": "\\"b\\":1", "c": "\\u0022"}', b'{"\\"a\\"": "\\\\"}'])
def test_quotes_inside_texts_then_not_taken_for_keys(raw: bytes) -> None:
    """Escaped quotes, however they are written, do not make a record look doubled."""
    assert isinstance(parse_record(raw), Parsed)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nul",
        b"{'a': 1}",
        b'{"a": 1} x',
        b'"\xff"',
        b"\xed\xa0\x80",
        b'{"a": 1,}',
        b'{"n": NaN, "x":',
        b"[" * 5000,
    ],
)
def test_no_json_then_broken(raw: bytes) -> None:
    """What is no JSON is told from what is JSON and cannot be stored."""
    assert isinstance(parse_record(raw), Broken)


def test_number_of_more_digits_than_python_reads_then_refused() -> None:
    """Python stops at 4,300 digits; the record is JSON all the same."""
    assert isinstance(parse_record(b'{"n": ' + b"9" * 5000 + b"}"), Refused)


def test_content_in_a_bad_record_then_not_in_the_reason() -> None:
    """Reasons are shown and kept; what a record holds may be secret."""
    for raw in (b'{"password": "hunter2" "x"}', b'{"hunter2": 1, "hunter2": 2}'):
        parsed = parse_record(raw)
        assert not isinstance(parsed, Parsed)
        assert "hunter2" not in parsed.reason
