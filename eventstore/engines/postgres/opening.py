"""Opening a store in PostgreSQL: the server's settings and the schema first, then the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import StorageFailed
from ...schema.postgres import ISOLATED
from ..port import EngineOptions
from . import statements as sql
from .address import parse_address
from .connections import Connections
from .engine import PostgresEngine
from .lookups import check_names
from .migrating import prepare_schema

_log = logging.getLogger("eventstore")

_BOUNDS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
"""What a session of ours asks for, and a pooler's does not: 0 is no bound at all."""

WRITING_MAX = 4
"""Connections that append: batches of as many tenants are in flight at once. One tenant uses one;
more of them than the server has processors gain nothing."""

READING_MAX = 4
"""Connections that read: one for each long scan, and some for short questions beside them."""


async def open_postgres(
    url: str, options: EngineOptions, clock: Callable[[], int]
) -> PostgresEngine:
    """Opens the database; its schema is made where it is absent. If cancelled, nothing stays
    open."""
    address = parse_address(url, options.synchronous)
    patience = float(options.busy_timeout_seconds)
    reading = Connections(address, READING_MAX, patience)
    try:
        await prepare_schema(reading)
        if address.isolated:
            rows = await reading.run(
                lambda asked: asked.fetch(sql.NOT_ISOLATED, address.schema, ISOLATED)
            )
            if rows:
                raise StorageFailed(
                    f"{address.shown}: tenant_isolation=on, and row-level security by the store's"
                    f" own policy alone is not in force for this role on {rows[0][0]!r} (its"
                    " owner and a superuser pass it by)"
                )
        await reading.run(
            lambda asked: check_names(asked, address.schema, address.shown), is_long=True
        )
        if address.pooled:
            _tell_of_no_bounds(address.shown, reading.settings)
        writing = Connections(address, WRITING_MAX, patience)
        writing.store_id = await reading.learn_store()
    except BaseException:
        await reading.abort()  # it may wait for another process that makes the schema
        raise
    return PostgresEngine(
        writing,
        reading,
        clock,
        options.queue_appends_max,
        options.queue_bytes_max,
        patience,
    )


def _tell_of_no_bounds(where: str, settings: Mapping[str, Any]) -> None:
    missing = [name for name in _BOUNDS if settings[name] == "0"]
    if missing:
        _log.warning(
            "%s: sessions behind the pooler have no bound for %s; set them for the role:"
            " ALTER ROLE ... SET %s = '90s'",
            where,
            ", ".join(missing),
            missing[0],
        )
