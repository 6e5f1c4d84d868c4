"""PersistentList against a plain list."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reducers import PersistentList

numbers = st.lists(st.integers(), max_size=100)


@given(numbers, st.lists(st.one_of(st.integers(), numbers), max_size=10))
def test_items_are_appended_and_extended_then_it_reads_like_a_list(start, steps) -> None:
    """Any mix of append and extend gives what a list gives, at every length."""
    plain, lists = list(start), PersistentList(start)
    for step in steps:
        if isinstance(step, list):
            plain, lists = plain + step, lists.extend(step)
        else:
            plain, lists = [*plain, step], lists.append(step)
        assert list(lists) == plain
        assert len(lists) == len(plain)
        assert lists == PersistentList(plain)
        assert hash(lists) == hash(PersistentList(plain))


@given(st.lists(st.integers(), min_size=1, max_size=100), st.data())
def test_item_is_set_then_only_the_new_list_has_it(start, data) -> None:
    """`set` replaces one item, by any index a list knows, and leaves the old list as it is."""
    index = data.draw(st.integers(-len(start), len(start) - 1))
    before = PersistentList(start)
    after = before.set(index, "new")
    plain = list(start)
    plain[index] = "new"
    assert list(after) == plain
    assert list(before) == start


@given(numbers, st.slices(100))
def test_slice_is_taken_then_it_is_a_tuple_of_the_same_items(start, part) -> None:
    """Slices and single items are those of a list."""
    lists = PersistentList(start)
    assert lists[part] == tuple(start[part])
    assert [lists[index] for index in range(-len(start), len(start))] == start + start


@pytest.mark.parametrize("length", [0, 31, 32, 33, 64])
def test_index_is_beyond_the_ends_then_index_error(length: int) -> None:
    """Reading and setting beyond either end is refused, also at the border of a chunk."""
    lists = PersistentList(range(length))
    for index in (length, -length - 1):
        with pytest.raises(IndexError, match=f"of {length} items"):
            lists[index]
        with pytest.raises(IndexError):
            lists.set(index, 0)


def test_lists_share_a_front_then_shared_prefix_counts_full_chunks() -> None:
    """A descendant shares its chunks; a list made anew shares none, though it is equal."""
    before = PersistentList(range(100))
    assert before.shared_prefix(before.append(1)) == 96
    assert before.shared_prefix(before.set(40, 0)) == 32
    assert before.shared_prefix(PersistentList(range(100))) == 0


def test_list_is_copied_then_the_copy_is_equal() -> None:
    """Pickle and deepcopy give an equal list; a tuple of the same items is not equal to it."""
    lists = PersistentList(range(70))
    assert pickle.loads(pickle.dumps(lists)) == lists
    assert copy.deepcopy(lists) == lists
    assert lists != tuple(range(70))
    assert lists != lists.append(70)
    assert repr(PersistentList([1])) == "PersistentList([1])"
