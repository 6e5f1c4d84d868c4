"""Which snapshots stay: some of every part of a stream, few in all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventstore.limits import (
    SNAPSHOTS_NEWEST,
    SNAPSHOTS_OLDER_BYTES_MAX,
    SNAPSHOTS_OLDER_BYTES_MIN,
)
from eventstore.thinning import older_bytes_max, too_close


def kept_of(versions: list[int], size: int = 100) -> list[int]:
    """What is left where a snapshot was kept at each of the versions, one after the other."""
    kept: dict[int, int] = {}
    for version in versions:
        kept[version] = size
        for dropped in too_close(kept.items()):
            del kept[dropped]
    return sorted(kept)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=100))
def test_a_stream_grows_then_no_moment_is_far_behind_a_snapshot(steps: list[int]) -> None:
    """From any version it is less than a sixteenth of the stream, and less than half the way to
    its end, back to a snapshot, or one was kept no closer."""
    versions, at = [], 0
    for step in steps:
        at += step
        versions.append(at)
    kept = kept_of(versions)
    assert kept[-SNAPSHOTS_NEWEST:] == versions[-SNAPSHOTS_NEWEST:]
    for before, after in zip([0, *kept], kept, strict=False):
        between = [each for each in versions if before < each < after]
        assert not between or max(between) - before < max(at / 16, 1)
        assert not between or max(between) - before <= max((at - before) / 2, 1)


def test_a_stream_is_long_then_few_snapshots_stay() -> None:
    """Their number grows as the logarithm of the stream's length."""
    assert len(kept_of(list(range(500, 10_001, 500)))) == 20
    assert len(kept_of(list(range(500, 100_001, 500)))) <= 40
    assert len(kept_of(list(range(500, 1_000_001, 500)))) <= 50
    assert kept_of([1, 2, 3, 4, 5, 6]) == [1, 2, 3, 4, 5, 6]


@given(
    st.dictionaries(st.integers(1, 10_000), st.integers(0, SNAPSHOTS_OLDER_BYTES_MIN), max_size=40)
)
def test_states_are_large_then_older_ones_lie_further_apart(sizes: dict[int, int]) -> None:
    """Older snapshots are no more bytes than the bound, whatever their sizes; none is dropped that
    is among the newest, and to ask twice drops no more."""
    dropped = too_close(sizes.items())
    kept = {version: size for version, size in sizes.items() if version not in dropped}
    assert len(dropped) + len(kept) == len(sizes)
    assert sorted(kept)[-SNAPSHOTS_NEWEST:] == sorted(sizes)[-SNAPSHOTS_NEWEST:]
    older = sorted(kept)[:-SNAPSHOTS_NEWEST]
    assert sum(kept[version] for version in older) <= older_bytes_max(max(sizes, default=0))
    assert too_close(kept.items()) == []
    if len(sizes) > SNAPSHOTS_NEWEST:
        assert older[0] == min(sizes)


def test_states_grow_with_the_stream_then_older_ones_take_what_the_events_do() -> None:
    """A conversation of 400 bytes a message: its older states are no more than its messages and
    a little, however long it is, and never more than the limit."""
    for messages in (2_000, 10_000, 50_000):
        kept: dict[int, int] = {}
        for version in range(500, messages + 1, 500):
            kept[version] = version * 400
            for dropped in too_close(kept.items()):
                del kept[dropped]
        older = sum(kept[version] for version in sorted(kept)[:-SNAPSHOTS_NEWEST])
        assert older <= messages * 400 + SNAPSHOTS_OLDER_BYTES_MIN
        assert older <= SNAPSHOTS_OLDER_BYTES_MAX
