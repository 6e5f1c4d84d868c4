"""What two maps that came from each other do not share, without looking at what they do.

`immutables.Map` is a hash trie whose nodes are shared by the maps that were made of each other,
but it offers no way to see that. The garbage collector's view of an object shows the nodes; those
that both maps hold are left out with all below them, so that of a hundred thousand entries some
dozens are looked at. Where the nodes are not what this expects, it says so by None, and the caller
compares all entries.
"""

from __future__ import annotations

import gc
from typing import Any

from immutables import Map

_NODES = ("map_bitmap_node", "map_array_node", "map_collision_node")
"""The types of nodes in the C form of immutables, which it does not export."""

_NO_KEYS = (list, dict, tuple, set, frozenset, Map)
"""Values that are no keys of an object in JSON, and dear to hash."""


def differing_names(before: Map[Any, Any], after: Map[Any, Any]) -> list[str] | None:
    """The names under which the two maps do not hold the same object, in no order. None where
    that cannot be told from their nodes, or a key is no string."""
    roots = root(before), root(after)
    if None in roots:
        return None
    old, new = [roots[0]], [roots[1]]
    found: set[str] = set()
    while old or new:
        both = {id(each) for each in old} & {id(each) for each in new}
        levels: list[list[Any]] = [[], []]
        for level, nodes in zip(levels, (old, new), strict=True):
            for node in nodes:
                if id(node) in both:
                    continue
                for each in gc.get_referents(node):
                    if is_node(type(each)):
                        level.append(each)
                    elif isinstance(each, str):
                        found.add(each)  # a key, or a value, which is no key of either map
                    elif _is_key(each, before) or _is_key(each, after):
                        return None
        old, new = levels
    return [name for name in found if before.get(name, _NONE) is not after.get(name, _NONE)]


def root(entries: Map[Any, Any]) -> Any:
    """The node that holds all others of a map; None where its nodes cannot be seen."""
    held = gc.get_referents(entries)
    return held[0] if len(held) == 1 and is_node(type(held[0])) else None


def is_node(kind: type) -> bool:
    """Whether a class is one of the nodes that maps are made of."""
    return kind.__name__ in _NODES and kind.__module__ == "builtins"


def _is_key(value: Any, entries: Map[Any, Any]) -> bool:
    if isinstance(value, _NO_KEYS) or hasattr(value, "__struct_fields__"):
        return False
    try:
        return value in entries
    except TypeError:
        return False


_NONE = object()
"""What stands under a name that is not there."""
