"""Commits that several workers share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from eventstore import Lease
from eventstore.outbox import Advance, Outbox, Statement
from projections.relay.commits import Commits


class Listing:
    """An outbox that writes down what it is to change."""

    tenant = "default"

    def __init__(self) -> None:
        self.changes: list[list[str]] = []
        self.places: list[list[tuple[str, int, int]]] = []

    async def change(self, statements: Sequence[Statement], advances: Sequence[Advance]) -> bool:
        self.changes.append([each.sql for each in statements])
        leases = [advance.lease for advance in advances]
        self.places.append([(lease.name, lease.generation, lease.partition) for lease in leases])
        return True


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
async def test_pages_are_ready_in_any_order_then_their_rows_are_locked_in_one(
    order: tuple[int, ...],
) -> None:
    """Two that lock the same rows in another order would wait for each other."""
    places = [("view/a", 1, 0), ("view/a", 1, 1), ("view/a", 2, 0), ("view/b", 1, 0)]
    outbox, commits = Listing(), Commits()

    async def commit(number: int) -> bool:
        name, generation, partition = places[number]
        lease = Lease(name, generation, partition, "ann", 1, datetime.now(UTC), 0, "default")
        part = [Statement(str(number), ((),))], [Advance(lease, 0, 1)]
        return await commits.change(cast(Outbox, outbox), *cast(Any, part))

    assert all(await asyncio.gather(*[commit(number) for number in order]))
    await commits.close()
    assert outbox.places == [places]
    assert outbox.changes == [["0", "1", "2", "3"]]
