"""Queries over the log and the conditions of appends: what matches, said once for all engines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from .errors import InvalidEvent
from .limits import QUERIES_MAX, TAGS_MAX
from .names import check_name


class Query(msgspec.Struct, frozen=True):
    """Events whose type is any of `types` and that bear all of `tags`; empty means no limit.

    A list of queries is or-ed.
    """

    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "types", _names("type", self.types))
        msgspec.structs.force_setattr(self, "tags", _names("tag", self.tags))

    def matches(self, type: str, tags: Iterable[str]) -> bool:
        """Whether an event of this type with these tags is one of the query's."""
        if self.types and type not in self.types:
            return False
        return not self.tags or set(self.tags) <= set(tags)


class AppendCondition(msgspec.Struct, frozen=True):
    """Refuses an append when an event that matches `query` stands after position `after`.

    It looks at the whole log of the tenant, also at streams that the append does not write.
    """

    query: Query | Sequence[Query]
    after: int = 0

    def __post_init__(self) -> None:
        if type(self.after) is not int or self.after < 0:
            raise InvalidEvent("condition: after is a position, an int from 0 on")
        if self.query is None:
            raise InvalidEvent("condition: a Query or a list of them; Query() matches every event")
        # Kept as it was judged to be: a generator gives its queries once, a list may be changed.
        queries = as_queries(self.query)
        if not isinstance(self.query, Query):
            msgspec.structs.force_setattr(self, "query", queries)


def as_queries(query: Query | Sequence[Query] | None) -> tuple[Query, ...]:
    """One query or a list of them as a tuple; None gives an empty tuple, which matches all."""
    if query is None:
        return ()
    if isinstance(query, Query):
        return (query,)
    if not isinstance(query, Iterable):
        raise InvalidEvent(f"query: a Query or a list of them, not {type(query).__name__}")
    queries = tuple(query)
    for item in queries:
        if not isinstance(item, Query):
            raise InvalidEvent(f"query: a Query or a list of them, not {type(item).__name__}")
    if len(queries) > QUERIES_MAX:
        raise InvalidEvent(f"query: {len(queries)} queries in one list, at most {QUERIES_MAX}")
    if not queries:
        raise InvalidEvent("query: an empty list matches nothing; leave it out to match all")
    return queries


def _names(kind: str, names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidEvent(f"query: {kind}s is a list of names, not {type(names).__name__}")
    found = tuple(dict.fromkeys(_one(kind, name) for name in names))
    if len(found) > TAGS_MAX:
        raise InvalidEvent(f"query: {len(found)} {kind}s, at most {TAGS_MAX}")
    return found


def _one(kind: str, name: object) -> str:
    # The store's own types ($...) cannot be written by callers, but may be read.
    if isinstance(name, str) and name.startswith("$"):
        check_name(kind, name[1:])
        return name
    return check_name(kind, name)
