"""Rows in the store's own database, as statements that run with the checkpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from eventstore.outbox import Statement

from ..catalog import ask, insert_or_replace
from ..dialects import Compiled, compile, create_table, from_driver, tenant_policy, to_driver
from ..errors import ProjectionError
from ..projection import Key, key_text
from ..sinks import Build, Change, Row, Written
from .tables import (
    PARTITION,
    POSITION,
    TENANT,
    shape_of,
    show,
    stored_tables,
    table_name,
    table_of,
    taken_by,
)

_SCANNED_ROWS = 1_000
"""Rows of a page when a view is compared: about 3 ms."""

_ASKED_ROWS = 200
"""Rows in one question by key: SQLite's depth of an expression is 1,000."""


_TOGETHER_ROWS, _TOGETHER_VALUES = 50, 16_000
"""Rows that one INSERT of SQLite's holds, and values: it takes 32,766. `executemany` lets go of the
interpreter and takes it back for each row, which costs more than the row where others want it."""


class _Form(msgspec.Struct, frozen=True):
    """How rows of one generation are written in one dialect. `together` rows go into one
    `upsert_many`, where it is more than one. A row is made of tenant, key, values, position and
    partition; `order` is what its columns' order makes of that, and `binds` what the driver wants
    in a place of it."""

    table: sa.Table
    upsert: str
    upsert_many: str
    together: int
    delete: str
    bind: tuple[Callable[[Any], Any] | None, ...]
    binds: tuple[tuple[int, Callable[[Any], Any]], ...]
    order: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None


class TableSink:
    """The sink of a `RelationalView`."""

    def __init__(self, view: str, table: sa.Table, partitions: int) -> None:
        self.view = view
        self.declared = table
        self.keys = tuple(column.name for column in table.primary_key.columns)
        self.columns = tuple(column.name for column in table.columns)
        self._values = tuple(name for name in self.columns if name not in self.keys)
        self._known = frozenset(self.columns)
        self._pick = _picker(self._values)
        self._partitions = partitions
        self._shape: str | None = None
        self._forms: dict[tuple[str | None, str, int], _Form] = {}

    def table(self, build: Build) -> sa.Table:
        """The generation's own table."""
        return self._form(build).table

    def shape(self) -> str:
        """See `Sink`: the declared columns, types and keys."""
        if self._shape is None:
            self._shape = shape_of(self.declared)
        return self._shape

    async def create(self, build: Build) -> Sequence[Statement]:
        """See `Sink`. Raises `ProjectionError` where the table's name is somebody else's."""
        outbox = build.outbox
        taken = await taken_by(outbox, self.view, self.declared.name)
        if taken is not None:
            raise ProjectionError(
                f"view {self.view!r}: the database has {taken} of the name"
                f" {self.declared.name!r}; give the view's table another one"
            )
        stored = await stored_tables(outbox, self.view)
        table = self.table(build)
        made = create_table(table, outbox.dialect)
        if outbox.schema is not None:
            made.append(tenant_policy(outbox.schema, table.name, TENANT))
        stored[build.generation] = [*self.columns]
        made += show(self.view, self.declared, stored, outbox.dialect, outbox.schema)
        return [Statement(sql) for sql in made]

    async def write(self, build: Build, changes: Sequence[Change]) -> Written:
        """See `Sink`: nothing is written yet, the statements do it."""
        form = self._form(build)
        if self._partitions > 1:
            await self._check_owners(build, changes)
        tenant, order, binds = build.tenant_id, form.order, form.binds
        rows: list[tuple[Any, ...]] = []
        gone = []
        for change in changes:
            key = self.key_columns(change.key)
            if change.value is None:
                gone.append((tenant, *key))
                continue
            row = (tenant, *key, *self._row(change, key), change.position, change.partition)
            if order is not None:
                row = order(row)
            if binds:
                bound = list(row)
                for place, bind in binds:
                    bound[place] = bind(bound[place])
                row = tuple(bound)
            rows.append(row)
        statements = [Statement(form.delete, gone)] if gone else []
        return Written([*statements, *_inserts(form, rows)], len(rows) + len(gone), _size(rows))

    async def find(self, build: Build, keys: Sequence[Key]) -> list[Row]:
        """See `Sink`."""
        table = self.table(build)
        found = []
        for start in range(0, len(keys), _ASKED_ROWS):
            part = [self.key_columns(key) for key in keys[start : start + _ASKED_ROWS]]
            columns = [table.c[name] for name in self.keys]
            if len(columns) == 1:
                which: Any = columns[0].in_([key[0] for key in part])
            else:
                which = sa.or_(
                    *[
                        sa.and_(*[c == value for c, value in zip(columns, key, strict=True)])
                        for key in part
                    ]
                )
            found += await self._select(build, which, None)
        return found

    def shown(self, build: Build, key: Key, value: Any) -> dict[str, Any]:
        """A projection's value as `find` will give it once it is written: with the key's columns,
        and each value as the database gives it back."""
        form, dialect = self._form(build), build.outbox.dialect
        named = dict(value, **dict(zip(self.keys, self.key_columns(key), strict=True)))
        row = {}
        for name, bind in zip(self.columns, form.bind, strict=True):
            given = named.get(name)
            back = from_driver(form.table.c[name], dialect)
            given = given if bind is None else bind(given)
            row[name] = given if back is None else back(given)
        return {name: row[name] for name in (*self.keys, *self._values)}

    async def scan(self, build: Build) -> AsyncIterator[list[Row]]:
        """See `Sink`; ordered by the primary key."""
        table = self.table(build)
        columns = [table.c[name] for name in self.keys]
        after: tuple[Any, ...] | None = None
        while True:
            which = sa.true() if after is None else sa.tuple_(*columns) > sa.tuple_(*after)
            page = await self._select(build, which, _SCANNED_ROWS)
            if page:
                yield page
            if len(page) < _SCANNED_ROWS:
                return
            after = self.key_columns(page[-1].key)

    async def drop(self, build: Build) -> Sequence[Statement]:
        """See `Sink`. The table goes with its last tenant."""
        outbox, table = build.outbox, self.table(build)
        stored = await stored_tables(outbox, self.view)
        if build.generation not in stored:
            return []
        others = (
            sa.select(sa.literal(1)).select_from(table).where(table.c[TENANT] != build.tenant_id)
        )
        if await ask(outbox, others.limit(1)):
            made = compile(
                sa.delete(table).where(table.c[TENANT] == build.tenant_id), outbox.dialect
            )
            return [Statement(made.sql, (made.args({}),))]
        del stored[build.generation]
        prefix = f"{outbox.schema}." if outbox.schema else ""
        gone = f"DROP TABLE {prefix}{table_name(self.view, build.generation)}"
        shown = show(self.view, self.declared, stored, outbox.dialect, outbox.schema)
        return [Statement(sql) for sql in (*shown, gone)]

    async def close(self) -> None:
        """See `Sink`: it has no connections of its own."""

    def key_columns(self, key: Key) -> tuple[Any, ...]:
        """The values of the primary key's columns. Raises `ProjectionError` for another shape."""
        values = key if isinstance(key, tuple) else (key,)
        if len(values) != len(self.keys):
            raise ProjectionError(
                f"view {self.view!r}: a key has {len(self.keys)} parts ({', '.join(self.keys)}),"
                f" not {len(values)}"
            )
        return values

    def _row(self, change: Change, key: tuple[Any, ...]) -> tuple[Any, ...]:
        """The values of the columns that are not the key's, in their order."""
        value = change.value
        if not isinstance(value, dict):
            raise ProjectionError(
                f"view {self.view!r}, key {key_text(change.key)!r}: a row is a dict of columns,"
                f" not {type(value).__name__}"
            )
        if len(value) == len(self._values):
            try:
                return self._pick(value)  # every column and nothing else: the usual row
            except KeyError:
                pass
        if not value.keys() <= self._known:
            odd = sorted(str(name) for name in value.keys() - self._known)[0]
            raise ProjectionError(f"view {self.view!r}: the table has no column {odd!r}")
        for name, said in zip(self.keys, key, strict=True):
            if value.get(name, said) != said:
                raise ProjectionError(f"view {self.view!r}: column {name!r} is the row's key")
        return tuple([value.get(name) for name in self._values])

    def _form(self, build: Build) -> _Form:
        outbox = build.outbox
        place = (outbox.schema, outbox.dialect, build.generation)
        form = self._forms.get(place)
        if form is None:
            form = self._forms[place] = self._make_form(*place)
        return form

    def _make_form(self, schema: str | None, dialect: str, generation: int) -> _Form:
        table = table_of(self.view, self.declared, generation, schema)
        upsert = compile(insert_or_replace(table, (TENANT, *self.keys), dialect), dialect)
        _check_order(upsert, (TENANT, *self.columns, POSITION, PARTITION))
        own = [table.c[name] == sa.bindparam(name) for name in (TENANT, *self.keys)]
        delete = compile(sa.delete(table).where(*own), dialect)
        _check_order(delete, (TENANT, *self.keys))
        bind = tuple(to_driver(table.c[name], dialect) for name in self.columns)
        together = min(_TOGETHER_ROWS, _TOGETHER_VALUES // len(upsert.names))
        if dialect != "sqlite":
            together = 1  # asyncpg's executemany is one round trip already
        many = _repeated(upsert.sql, len(upsert.names), together)
        made = (TENANT, *self.keys, *self._values, POSITION, PARTITION)
        order = None if made == upsert.names else itemgetter(*map(made.index, upsert.names))
        binds = tuple((n, each) for n, each in enumerate(bind, 1) if each is not None)
        return _Form(table, upsert.sql, many, together, delete.sql, bind, binds, order)

    async def _select(self, build: Build, which: Any, limit: int | None) -> list[Row]:
        table, dialect = self.table(build), build.outbox.dialect
        names = (*self.keys, *self._values)
        question = (
            sa.select(*[table.c[name] for name in names], table.c[POSITION])
            .where(table.c[TENANT] == build.tenant_id, which)
            .order_by(*[table.c[name] for name in self.keys])
            .limit(limit)
        )
        back = [from_driver(table.c[name], dialect) for name in names]
        rows = []
        for found in await self._ask(build, question):
            values = [
                value if process is None else process(value)
                for value, process in zip(found, back, strict=False)
            ]
            key = tuple(values[: len(self.keys)])
            row = dict(zip(names, values, strict=False))
            rows.append(Row(key[0] if len(key) == 1 else key, row, found[-1]))
        return rows

    async def _ask(self, build: Build, question: Any) -> list[tuple[Any, ...]]:
        """The rows of a question. What the database has not is no damage of the store where the
        code asks for more than the generation was made with."""
        try:
            return await ask(build.outbox, question)
        except Exception as exc:  # what each engine says of a column that is missing
            stored = (await stored_tables(build.outbox, self.view)).get(build.generation)
            if stored is None or set(self.columns) <= set(stored):
                raise
            odd = next(name for name in self.columns if name not in stored)
            raise ProjectionError(
                f"view {self.view!r}: its code changed without a new version: generation"
                f" {build.generation} has no column {odd!r}; raise version, or rebuild the view"
            ) from exc

    async def _check_owners(self, build: Build, changes: Sequence[Change]) -> None:
        """Raises `ProjectionError` for a row that a key of another partition has written: two
        workers would overwrite each other."""
        table = self.table(build)
        for start in range(0, len(changes), _ASKED_ROWS):
            part = changes[start : start + _ASKED_ROWS]
            keys = [self.key_columns(change.key) for change in part]
            which = sa.or_(
                *[
                    sa.and_(*[table.c[n] == v for n, v in zip(self.keys, key, strict=True)])
                    for key in keys
                ]
            )
            question = sa.select(sa.literal(1)).where(
                table.c[TENANT] == build.tenant_id,
                table.c[PARTITION] != part[0].partition,
                which,
            )
            if await ask(build.outbox, question.limit(1)):
                raise ProjectionError(
                    f"view {self.view!r}: a row is written by events of two keys in two"
                    " partitions; let key() give one key for all events of a row"
                )


def _picker(names: tuple[str, ...]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """What gives the values of these names. It raises KeyError where one is missing."""
    if len(names) > 1:
        return itemgetter(*names)  # in C: a row of seven columns in 0.2 us
    return lambda value: tuple([value[name] for name in names])


def _repeated(sql: str, values: int, rows: int) -> str:
    """An INSERT of one row as one of many."""
    one = f"({', '.join('?' * values)})"
    before, found, after = sql.partition(f"VALUES {one}")
    if rows > 1 and not found:
        raise AssertionError(f"an INSERT without VALUES {one}")
    return f"{before}VALUES {', '.join([one] * rows)}{after}"


def _inserts(form: _Form, rows: list[tuple[Any, ...]]) -> list[Statement]:
    """The rows as statements, of many rows each as far as they go."""
    statements, size, whole = [], form.together, 0
    if size > 1 and len(rows) >= size:
        whole = len(rows) - len(rows) % size
        many = [
            tuple(chain.from_iterable(rows[start : start + size]))
            for start in range(0, whole, size)
        ]
        statements.append(Statement(form.upsert_many, many))
    if whole < len(rows):
        statements.append(Statement(form.upsert, rows[whole:]))
    return statements


def _size(rows: list[tuple[Any, ...]]) -> int:
    """About how many bytes the rows are: texts by their characters, all else 8."""
    return sum(
        [
            len(each) if type(each) is str or type(each) is bytes else 8
            for row in rows
            for each in row
        ]
    )


def _check_order(made: Compiled, wanted: tuple[str, ...]) -> None:
    if made.names != wanted:
        raise AssertionError(f"a statement takes {made.names}, not {wanted}")
