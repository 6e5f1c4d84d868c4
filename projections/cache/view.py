"""The view that a user declares: a projection whose rows are values under a key, for a while."""

from __future__ import annotations

from typing import Any

from ..errors import ProjectionError
from ..projection import Projection
from ..view import View
from .redis import RedisSink
from .table import CacheTableSink


class CacheView(View):
    """A view of values under keys.

    Without `url` they are in a table of the store's own database and are written in one transaction
    with the checkpoint. With a `url` (``redis://``, ``rediss://`` or ``unix://``) they are in Redis
    or Valkey, which the extra ``[redis]`` brings the client for; `prefix` begins the name of every
    key there.

    A row is served for `expire_seconds` after its event was recorded (None: for ever), so that a
    rebuilt view expires as the live one does. A value is any JSON value. `options` are those of
    `View`. Raises `ProjectionError` for a bad declaration.
    """

    def __init__(
        self,
        projection: Projection,
        url: str | None = None,
        *,
        expire_seconds: float | None = None,
        prefix: str = "eventstore",
        **options: Any,
    ) -> None:
        name = getattr(projection, "name", "?")
        if expire_seconds is not None and not expire_seconds > 0:
            raise ProjectionError(f"view {name!r}: expire_seconds are more than 0, or None")
        expire_us = None if expire_seconds is None else round(expire_seconds * 1_000_000)
        sink: RedisSink | CacheTableSink
        if url is None:
            sink = CacheTableSink(name, expire_us)
        else:
            sink = RedisSink(name, url, expire_us, prefix)
        super().__init__(projection, sink, **options)
        self.expire_seconds = expire_seconds
