"""Where the check of handlers' source sees a set's order come into a state, and where not."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reducers.linting import lint

HEAD = """
import functools, itertools, operator

def handler(state, event):
    tags = set(event["tags"])
"""

Read = Callable[[str], list[bool]]


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    """Writes a handler with these lines, and gives for each finding in it whether it is certain."""

    def written(body: str) -> list[bool]:
        path = tmp_path / "ordered.py"
        path.write_text(HEAD + "".join(f"    {line}\n" for line in body.split("\n")))
        spec = importlib.util.spec_from_file_location("ordered_module", path)
        assert spec is not None
        assert spec.loader is not None
        module: Any = importlib.util.module_from_spec(spec)
        sys.modules["ordered_module"] = module
        spec.loader.exec_module(module)
        found = lint(module.handler)
        assert found.source
        return [each.certain for each in found.findings]

    yield written
    sys.modules.pop("ordered_module", None)


LIKELY = {
    "sorted by a key": "return sorted(tags, key=len)",
    "sorted by a part": "return sorted(tags, key=lambda tag: tag[0])",
    "sorted in place by a key": "found = list(tags)\nfound.sort(key=len)\nreturn found",
    "smallest by a key": "return min(tags, key=len)",
    "extended": "found = []\nfound.extend(tags)\nreturn found",
    "added to a list": "found = []\nfound += tags\nreturn found",
    "put into a list": "found = []\nfound[:] = tags\nreturn found",
    "unpacked into names": "a, b = {'a', 'b'}\nreturn a",
    "unpacked into a rest": "(*found,) = tags\nreturn found",
    "formatted by percent": "return '%s' % ({'a', 'b'},)",
    "formatted": "return '{}'.format(tags)",
    "formatted by name": "return '{tags}'.format(tags=tags)",
    "reduced": "return functools.reduce(lambda a, b: a + b, tags)",
    "added lists": "return sum([[tag] for tag in tags], [])",
    "added lists by name": "return sum(([tag] for tag in tags), start=[])",
    "handed on one by one": "return handler(*tags)",
}

CERTAIN = {
    "chained": "return list(itertools.chain(tags, 'a'))",
    "chained of several": "return list(itertools.chain.from_iterable([tag] for tag in tags))",
    "in a tuple in a text": "return str((tags, 1))",
}

PURE = {
    "sorted by the item at last": "return sorted(tags, key=lambda tag: (len(tag), tag))",
    "sorted by its text": "return sorted(tags, key=str)",
    "sorted by no key": "return sorted(tags, key=None, reverse=True)",
    "extended, then sorted": "found = []\nfound.extend(tags)\nfound.sort()\nreturn found",
    "added, then sorted": "found = []\nfound += tags\nreturn sorted(found)",
    "only item": "(only,) = tags\nreturn only",
    "formatted when sorted": "return '%s' % (sorted(tags),), '{}'.format(len(tags))",
    "formatted in an error": "raise ValueError('%s' % (tags,))",
    "reduced to one set": "return len(functools.reduce(operator.or_, tags))",
    "added numbers": "return sum((len(tag) for tag in tags), 1)",
    "joined sets": "return frozenset().union(*tags)",
    "largest one by one": "return max(*tags)",
    "chained into a set": "return set(itertools.chain(tags, 'a'))",
    "set in a set": "tags |= {'a'}\nboth = tags\nreturn both",
}


@pytest.mark.parametrize("body", LIKELY.values(), ids=LIKELY)
def test_a_sets_order_may_come_into_the_state_then_it_is_a_warning(read: Read, body: str) -> None:
    """What depends on the order only at times, or may be put in order later, is no refusal."""
    assert read(body) == [False]


@pytest.mark.parametrize("body", CERTAIN.values(), ids=CERTAIN)
def test_a_sets_order_is_handed_on_then_it_is_certain(read: Read, body: str) -> None:
    """Through iterators, and in what is shown as a text."""
    assert True in read(body)


@pytest.mark.parametrize("body", PURE.values(), ids=PURE)
def test_a_sets_order_makes_no_difference_then_nothing_is_said(read: Read, body: str) -> None:
    """What is put in order again, merged or only counted passes."""
    assert read(body) == []
