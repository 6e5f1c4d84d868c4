"""What a writer remembers of streams, so that its batches need not ask for it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_STREAMS_MAX = 100_000
"""Some 20 MB of names; beyond it all are forgotten at once."""


class KnownStreams:
    """Ids of streams that were compared with their events; 0 where a stream's id is not known."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], int] = {}

    def look(self, tenant: str, streams: Mapping[str, int]) -> tuple[bool, list[int] | None]:
        """Whether one of them is new to this process: then heads are held against events, because
        nothing goes on from damage. With it their ids, if all are known."""
        ids = [self._ids.get((tenant, stream)) for stream in streams]
        known = [number for number in ids if number]
        return None in ids, known if len(known) == len(ids) else None

    def learn(self, tenant: str, streams: Mapping[str, int], ids: Sequence[int] | None) -> None:
        """They were compared; `ids` is what the server said. `streams` counts their events: one
        that got none may have no row, and what was said of it then is nothing's id."""
        if len(self._ids) > _STREAMS_MAX:
            self._ids.clear()
        for (stream, count), number in zip(streams.items(), ids or [0] * len(streams), strict=True):
            place = tenant, stream
            self._ids[place] = (number if count else 0) or self._ids.get(place, 0)

    def forget(self) -> None:
        """Something went wrong: all is asked for again."""
        self._ids.clear()
