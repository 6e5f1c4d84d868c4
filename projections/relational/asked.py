"""A SELECT over declared tables as one over this tenant's serving generations of them.

The names of declared tables are database views that show the rows of all tenants. So whatever the
SELECT reads has to be a table of a view that was handed along; all else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import operators, visitors

from ..errors import ProjectionError

_HARMLESS_TEXT = re.compile(r"\*|\d+", re.ASCII)
"""What `count(*)` and EXISTS hold as SQL text by themselves."""

_TEXT_ATTRIBUTES = ("_prefixes", "_suffixes", "_hints", "_statement_hints")
"""Where a SELECT holds SQL text that is no element of it."""


def narrowed(statement: Any, places: Mapping[str, sa.FromClause], view: str) -> Any:
    """The SELECT with each declared table, by its name, in the form of `places`.

    Raises `ProjectionError`, naming it, for a table or a column that none of them has, and for
    what cannot be looked through: text of SQL, and statements that write.
    """

    def place_of(table: Any) -> sa.FromClause | None:
        if not isinstance(table, sa.TableClause) or getattr(table, "schema", None) is not None:
            return None
        return places.get(table.name)

    def replace(element: Any, **_: Any) -> Any:
        place = place_of(element)
        if place is not None:
            return place
        table: Any = getattr(element, "table", None)
        place = place_of(table)
        if place is None or not isinstance(element, sa.ColumnClause):
            return None
        if element.name not in place.c:
            raise ProjectionError(
                f"view {view!r}: table {table.name!r} has no column {element.name!r}"
            )
        return place.c[element.name]

    asked = visitors.replacement_traverse(statement, {}, replace)
    own = {id(table) for place in places.values() for table in _tables_of(place)}
    for element in visitors.iterate(asked):
        _check_no_text(element, view)
        for table in (element, getattr(element, "table", None)):
            if isinstance(table, sa.TableClause) and id(table) not in own:
                raise ProjectionError(
                    f"view {view!r}: the SELECT reads {table.name!r}, which is no table of this"
                    " view or of one that was handed along: its rows are everybody's. Hand its"
                    " view along"
                )
    return asked


def _tables_of(place: sa.FromClause) -> Iterator[Any]:
    return (each for each in visitors.iterate(place) if isinstance(each, sa.TableClause))


def _check_no_text(element: Any, view: str) -> None:
    """Raises `ProjectionError` for text of SQL, which may name any table, and for a write."""
    if isinstance(element, sa.sql.dml.UpdateBase):
        raise ProjectionError(f"view {view!r}: query takes a SELECT, and nothing in it that writes")
    operator = getattr(element, "operator", None)
    is_text = (
        isinstance(element, sa.TextClause)
        or any(getattr(element, name, None) for name in _TEXT_ATTRIBUTES)
        or (isinstance(operator, operators.custom_op) and "(" in operator.opstring)
        or (
            isinstance(element, sa.ColumnClause)
            and element.is_literal
            and not _HARMLESS_TEXT.fullmatch(element.name)
        )
    )
    if is_text:
        raise ProjectionError(
            f"view {view!r}: text of SQL in the SELECT may name any table, with the rows of all"
            " tenants: say it with columns and functions"
        )
