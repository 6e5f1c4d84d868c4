"""The relational view: a declared table, filled from the log, to be queried as SQL."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from ..dialects import compile, from_driver
from ..errors import ProjectionError
from ..freshness import Rows, stand
from ..projection import Projection
from ..view import View
from .asked import narrowed
from .sink import TableSink
from .tables import TENANT, check_table


class RelationalView(View):
    """Rows in a table of the store's own database (SQLite or PostgreSQL).

    `table` is a SQLAlchemy Core table; its primary key is the row's key, and a projection gives
    its other columns as a dict. Rows and checkpoint move in one transaction, so that each event
    counts exactly once. For SQL users a database view of the table's name shows all tenants'
    rows, with a column `tenant`. `options` are those of `View`.
    """

    def __init__(self, projection: Projection, table: sa.Table, **options: Any) -> None:
        name = getattr(projection, "name", "")
        sink = TableSink(name, check_table(name, table), options.get("partitions", 1))
        super().__init__(projection, sink, **options)
        self.table = table
        self._tables = sink

    async def query(
        self,
        statement: Any,
        *others: RelationalView,
        at_least: int | None = None,
        timeout_seconds: float = 5.0,
    ) -> Rows:
        """The rows of a SELECT over `table` (and the tables of `others`, for joins), of this
        tenant's serving generations: a list of dicts of columns, with the position and the time
        that all of these views have reached.

        Tables count by their names. `at_least` is a position, such as `AppendResult.position`,
        that all of them are waited for, `timeout_seconds` each at most. Raises `ProjectionError`
        for what is no SELECT, for a table of no view that was given, and for text of SQL in it,
        which cannot be looked through; `ViewNotBuilt` when one of the views has no generation,
        `ViewStale`, and `KeyParked` where the event at `at_least` itself waits in the dead letters.
        While any key of these views waits there, the rows are `stale` and good for what comes
        before its first event. If cancelled, nothing is left open.
        """
        if not isinstance(statement, sa.sql.expression.SelectBase):
            raise ProjectionError(f"view {self.name!r}: query takes a SELECT")
        places: dict[str, sa.FromClause] = {}
        standings = []
        for view in (self, *others):
            bound = view if view.is_bound else view.bind(self.store)
            standing = await stand(bound, at_least, timeout_seconds)
            standings.append(standing)
            stored = bound._tables.table(standing.build)
            places[view.table.name] = (
                sa.select(*[stored.c[name] for name in bound._tables.columns])
                .where(stored.c[TENANT] == standing.build.tenant_id)
                .alias(view.table.name)
            )
        outbox = self.store.outbox
        made = compile(narrowed(statement, places, self.name), outbox.dialect)
        columns = list(statement.selected_columns)
        back = [from_driver(column, outbox.dialect) for column in columns]
        rows = [
            {
                column.name: value if process is None else process(value)
                for column, process, value in zip(columns, back, row, strict=True)
            }
            for row in await outbox.query(made.sql, made.args({}))
        ]
        last = min(standings, key=lambda each: each.position)
        stale = any(each.stale for each in standings)
        return Rows(rows, msgspec.structs.replace(last, stale=stale))
