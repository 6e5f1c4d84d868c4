"""Event ids for tests: the same ones in every run."""

from __future__ import annotations


class SequentialIds:
    """Gives ``event-000001``, ``event-000002``, ...: ``EventStore.open(url, ids=ids)``.

    Give each store that shares a log a `prefix` of its own: an id belongs to one event for ever.
    """

    def __init__(self, prefix: str = "event") -> None:
        self.prefix = prefix
        self.given = 0

    def __call__(self) -> str:
        self.given += 1
        return f"{self.prefix}-{self.given:06d}"
