"""The name of a key: what its state and its dead letters are kept under."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from projections.projection import KEY_NAME_BYTES_MAX, Key, key_name, key_of_text, key_text
from projections.recall.rows import key_of, memory_of
from projections.sinks import Change

LONG = "a" * (KEY_NAME_BYTES_MAX + 1)

ints = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
plain = st.text(max_size=20)
tuples = st.lists(plain | ints, max_size=3).map(tuple)
written = (ints | tuples | plain.map(lambda text: (text,))).map(key_text)
texts = (
    plain
    | written
    | written.map(lambda text: text[1:-1])
    | (plain | written).map(lambda text: key_text((text,))[1:-1])  # as JSON writes a text
    | st.sampled_from([LONG, f"[{LONG}]", key_name(LONG), key_name((LONG,)), key_name(LONG)[-67:]])
)
keys = texts | ints | tuples


@given(one=keys, other=keys)
@example(one=5, other="5")
@example(one="5", other='"5"')
@example(one=("a", 1), other='["a",1]')
@example(one='["a",1]', other='"[\\"a\\",1]"')
@example(one="\0", other='"\\u0000"')
@example(one=LONG, other=key_name(LONG))
@example(one=(LONG,), other=key_name((LONG,)))
def test_keys_differ_then_their_names_and_texts_do(one: Key, other: Key) -> None:
    """No two keys share a state, dead letters or a row of a cache, whatever they look like."""
    assert (key_name(one) == key_name(other)) == (one == other)
    assert (key_text(one) == key_text(other)) == (one == other)


@given(key=keys)
def test_text_of_a_key_is_read_then_it_is_the_key(key: Key) -> None:
    """Who lists the rows of a cache gets the keys that the projection gave, in their kind."""
    found = key_of_text(key_text(key))
    assert (found, type(found)) == (key, type(key))


@given(key=plain.filter(lambda text: text[:1] not in {*'-0123456789["'}))
def test_text_looks_like_no_other_kind_then_its_name_is_itself(key: str) -> None:
    """Who lists dead letters reads the keys as they are; a NUL alone is written as JSON does."""
    assert key_text(key) == key
    assert key_name(key) == (key if "\0" not in key else key_text((key,))[1:-1])


@given(key=keys)
def test_key_is_named_then_a_database_takes_the_name(key: Key) -> None:
    """It holds no NUL, and is no longer than an index takes."""
    assert "\0" not in key_name(key)
    assert len(key_name(key).encode()) <= KEY_NAME_BYTES_MAX


def test_texts_only_begin_like_another_kind_then_they_stay_as_they_are() -> None:
    """Ids of the usual kinds are read as they are: only what an int or a tuple is written as is
    quoted."""
    for key in ("007", "5 apples", "-", "[draft] note", '"quoted" and more', "2026-07-01", ""):
        assert key_name(key) == key_text(key) == key
    assert [key_name(key) for key in (7, "7", "-7", "[]")] == ["7", '"7"', '"-7"', '"[]"']


def test_truth_value_is_a_key_then_it_is_the_number() -> None:
    """As it is for Python and for a database: two names would be two states of one row."""
    assert key_name(True) == key_name(1)
    assert key_name(("a", False)) == key_name(("a", 0))


def test_text_is_written_for_no_key_then_it_is_read_as_it_is() -> None:
    """What somebody typed is a key in any case."""
    deep = "[" * 2_000 + "]" * 2_000
    for text in ("[", "[1.5]", "[a]", '[["a"]]', '"a', '"a"b"', "-0", "007", "[true]", '"a"', deep):
        assert key_of_text(text) == text
    assert key_of_text('[ "a", 1 ]') == ("a", 1)


def test_keys_are_longer_than_an_index_takes_then_their_names_are_bounded_and_differ() -> None:
    """Two long keys that differ in their last letter are two keys, in any script."""
    for letter in ("a", "é", "一", "𝄞"):
        long = letter * KEY_NAME_BYTES_MAX
        names = {key_name(long), key_name(long + "x"), key_name(("s", long)), key_name(long + "y")}
        assert len(names) == 4
        assert all(len(name.encode()) <= KEY_NAME_BYTES_MAX for name in names)
        assert key_name(long).startswith(letter * 100)


def test_key_is_just_as_long_as_a_name_may_be_then_it_is_its_name() -> None:
    """The bound is one of bytes, not of characters."""
    assert key_name("é" * (KEY_NAME_BYTES_MAX // 2)) == "é" * (KEY_NAME_BYTES_MAX // 2)
    longer = "é" * (KEY_NAME_BYTES_MAX // 2) + "a"
    assert key_name(longer) != longer


@given(key=keys.filter(lambda key: 0 < len(key_text(key)) < 1_000 and "\0" not in key_text(key)))
def test_memory_is_kept_under_a_key_then_it_is_found_under_the_same(key: Key) -> None:
    """A vector view's rows come back with the keys that were given, in their kind."""
    memory = memory_of("m", Change(key, {"text": "a"}, 1, 0))
    found = key_of(memory.key, memory.is_json)
    assert (found, type(found)) == (key, type(key))
