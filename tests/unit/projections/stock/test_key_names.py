"""The name of a key: what its state and its dead letters are kept under."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from projections.projection import KEY_NAME_BYTES_MAX, key_name, key_text

parts = st.text(max_size=20) | st.integers(-(2**63), 2**63 - 1)
keys = parts | st.tuples(parts, parts)


@given(key=keys)
def test_key_is_short_then_its_name_is_its_text(key: str | int | tuple[str | int, ...]) -> None:
    """Who lists dead letters reads the keys as they are; a NUL alone is written as JSON does."""
    name = key_name(key)
    if isinstance(key, str) and "\0" in key:
        assert name == key_text((key,))[1:-1]
    else:
        assert name == key_text(key)
    assert "\0" not in name


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
