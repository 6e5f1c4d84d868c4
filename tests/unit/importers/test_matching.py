"""Records of a source matched with those that stand, when lines have come, gone or changed."""

from __future__ import annotations

import pytest

from cli.importers.matching import Matching
from cli.importers.moving import At


def matched(standing: str, source: str) -> tuple[list[str], int | None]:
    """A letter is a record, at the number of its place; "-" is a line that cannot be read, " " an
    empty one. Gives what became of the records, in the order in which it is told."""
    stands: dict[At, bytes] = {
        at: letter.encode() for at, letter in enumerate(standing, 1) if letter not in "- "
    }
    matching = Matching(stands)
    told = []
    for number, letter in enumerate(source, 1):
        if letter == "-":
            matching.skip()
        elif letter != " ":
            told += matching.take(number, letter.encode())
    told += matching.end()
    return [f"{match.what} {match.number}" for match in told], matching.missing


@pytest.mark.parametrize(
    ("standing", "source", "told", "missing"),
    [
        pytest.param("abc", "abcd", "stands 1, stands 2, stands 3, new 4", None, id="grown"),
        pytest.param("a-bc", "abcd", "stands 1, stands 3, stands 4, new 5", None, id="removed"),
        pytest.param("--bc", "bcd", "stands 3, stands 4, new 5", None, id="removed at the start"),
        pytest.param("a-bc", "axbc", "stands 1, late 2, stands 3, stands 4", None, id="mended"),
        pytest.param(
            "a-bc",
            "axybcd",
            "stands 1, late 2, late 3, stands 3, stands 4, new 5",
            None,
            id="mended into two lines",
        ),
        pytest.param("a-bc", "axb", "stands 1, late 2, stands 3", 4, id="mended and cut short"),
        pytest.param("abc", "a bcd", "stands 1, stands 2, stands 3, new 4", None, id="empty line"),
        pytest.param("abc", "a-bcd", "stands 1, stands 2, stands 3, new 4", None, id="junk line"),
        pytest.param("abc", "a-cd", "stands 1, stands 3, new 4", None, id="broken since"),
        pytest.param("abc", "ab-", "stands 1, stands 2", None, id="the last one broken since"),
        pytest.param("abc", "ab", "stands 1, stands 2", 3, id="cut short"),
        pytest.param("abc", "axc", "stands 1, changed 2, stands 3", None, id="changed"),
        pytest.param("a-bc", "a-xc", "stands 1, changed 3, stands 4", None, id="behind a gap"),
        pytest.param("a-b", "a-x", "stands 1, changed 3", None, id="last, behind a gap"),
        pytest.param("a-b", "a-xy", "stands 1, changed 3, new 4", None, id="and more behind it"),
        pytest.param(
            "a-xb", "axxbc", "stands 1, stands 3, late 2, stands 4, new 5", None, id="twin"
        ),
        pytest.param("a-x", "axx", "stands 1, stands 3, late 2", None, id="twin at the end"),
        pytest.param("a-xx", "axx", "stands 1, stands 3, stands 4", None, id="twins that stand"),
        pytest.param("abc", "axbc", "stands 1, changed 2, changed 3, new 4", None, id="inserted"),
    ],
)
def test_source_differs_then_each_record_is_told_apart(
    standing: str, source: str, told: str, missing: int | None
) -> None:
    """What a record holds says which one it is; its number only tells changed from mended."""
    found, left = matched(standing, source)
    assert (", ".join(found), left) == (told, missing)
