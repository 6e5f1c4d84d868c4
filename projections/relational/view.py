"""The relational view: a declared table, filled from the log, to be queried as SQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from ..asking import serving
from ..dialects import compile, from_driver
from ..errors import ProjectionError
from ..projection import Projection
from ..view import View
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

    async def query(self, statement: Any, *others: RelationalView) -> list[dict[str, Any]]:
        """The rows of a SELECT over `table` (and the tables of `others`, for joins), of this
        tenant's serving generations: a dict of columns each.

        Raises `ViewNotBuilt` when one of them has no generation, `ProjectionError` for what is no
        SELECT. If cancelled, nothing is left open.
        """
        if not isinstance(statement, sa.sql.expression.SelectBase):
            raise ProjectionError(f"view {self.name!r}: query takes a SELECT")
        places: dict[Any, Any] = {}
        for view in (self, *others):
            bound = view if view.is_bound else view.bind(self.store)
            build, _ = await serving(bound)
            stored = bound._tables.table(build)
            places[view.table] = (
                sa.select(*[stored.c[name] for name in bound._tables.columns])
                .where(stored.c[TENANT] == build.tenant_id)
                .alias(view.table.name)
            )

        def replace(element: Any, **_: Any) -> Any:
            if element in places:
                return places[element]
            if isinstance(element, sa.Column) and element.table in places:
                return places[element.table].c[element.name]
            return None

        outbox = self.store.outbox
        asked = visitors.replacement_traverse(statement, {}, replace)
        made = compile(asked, outbox.dialect)
        columns = list(statement.selected_columns)
        back = [from_driver(column, outbox.dialect) for column in columns]
        return [
            {
                column.name: value if process is None else process(value)
                for column, process, value in zip(columns, back, row, strict=True)
            }
            for row in await outbox.query(made.sql, made.args({}))
        ]
