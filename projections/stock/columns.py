"""What the columns of the stock views hold: times, JSON and texts, the same in every database.

A row must come back as it was made, to the microsecond and to the last digit. So times are
timestamps with a zone in PostgreSQL and sortable texts in SQLite, which has no times; JSON is
kept as text (in PostgreSQL as `json`: `jsonb` knows neither 1e300 nor -0.0 nor \\u0000), and can be
asked with SQLAlchemy's operators in both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator, TypeEngine

from eventstore.points import from_microseconds

from ..errors import ProjectionError

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode

compact: Callable[[Any], str] = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":")
).encode
"""Any JSON value as a text to be read: no spaces, keys in order, characters as they are."""


class Moment(TypeDecorator[datetime]):
    """A time in UTC, to the microsecond. In SQLite it is a text such as
    ``2026-05-06T09:00:00.000000Z``, which sorts as times do and which SQLite's own date functions
    read. A time without a zone is refused with a `ProjectionError`, also in a WHERE."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        """What the column is."""
        return sa.Text() if dialect.name == "sqlite" else sa.DateTime(timezone=True)

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any]:
        """What makes a time one for the driver."""
        return _moment_text if dialect.name == "sqlite" else _moment

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """The way back: an aware time, in UTC."""
        return _moment_of if dialect.name == "sqlite" else None


class Json(TypeDecorator[Any]):
    """Any JSON value; NULL is JSON's null. ``column["user"].as_string()`` and the like ask it."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        """What the column is. SQLite's JSON would be a number where the text looks like one."""
        return sa.Text() if dialect.name == "sqlite" else dialect.type_descriptor(sa.JSON())

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """A path is no JSON value."""
        return self.impl_instance.coerce_compared_value(op, value)

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any]:
        """What makes a value one for the driver."""
        return _json_text

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any]:
        """The way back."""
        return _json_of


class Words(TypeDecorator[str]):
    """A text that may be any. PostgreSQL holds no NUL: there it is U+FFFD, as where a text could
    not be read, so that one odd byte of a tool's output does not park a session."""

    impl = sa.Text
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any] | None:
        """What makes a text one for the driver."""
        return None if dialect.name == "sqlite" else _without_nul


def column(name: str, type_: Any, *, key: bool = False, required: bool = False) -> sa.Column[Any]:
    """A column of a stock view: part of the row's key, never NULL, or NULL where nothing is
    known."""
    return sa.Column(name, type_, primary_key=key, nullable=not (key or required))


def time_of(microseconds: int | None) -> datetime | None:
    """A time from microseconds since 1970."""
    return None if microseconds is None else from_microseconds(microseconds)


def _moment(value: datetime | None) -> datetime | None:
    if value is not None and value.tzinfo is None:
        raise ProjectionError("a time has a zone: give an aware datetime, such as one in UTC")
    return value


def _moment_text(value: datetime | None) -> str | None:
    if value is None:
        return None
    _moment(value)
    return value.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _moment_of(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _json_text(value: Any) -> str | None:
    return None if value is None else _encode(value).decode()


def _json_of(value: Any) -> Any:
    return None if value is None else _decode(value)


def _without_nul(value: str | None) -> str | None:
    return value.replace("\0", "\ufffd") if value is not None and "\0" in value else value
