"""The names that SQLite's rows refer to by number; what rows mean is in `engines/rows.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ..rows import Row
from . import statements as sql

_encode = msgspec.json.Encoder().encode


def prefetch_names(
    fetch: Callable[[str, tuple[str]], list[Row]],
    rows: Sequence[Row],
    streams: dict[int, str],
    types: dict[int, str],
) -> None:
    """Puts the names of the rows' streams and types, where they are missing, into the dicts."""
    for query, ids, known in (
        (sql.NAMES_OF_STREAMS, {row[1] for row in rows}, streams),
        (sql.NAMES_OF_TYPES, {row[4] for row in rows}, types),
    ):
        missing = [i for i in ids if i not in known]
        if missing:
            known.update(fetch(query, (_encode(missing).decode(),)))
