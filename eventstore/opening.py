"""From a URL to an open engine. Engines are imported only when a URL asks for one."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import msgspec

from .clock import Clock, as_microseconds
from .engines.port import Engine
from .errors import InvalidEvent
from .ids import UuidSevens
from .registry import registry


class Options(msgspec.Struct, frozen=True):
    """What `EventStore.open` was given."""

    url: str
    clock: Clock
    ids: Callable[[], str] | None
    synchronous: str
    busy_timeout_seconds: float
    queue_appends_max: int
    queue_bytes_max: int


async def open_engine(
    options: Options,
) -> tuple[Engine, Callable[[], int], Callable[[], str]]:
    """The engine of the URL, with the clock in microseconds and the id factory."""
    registry.check()
    _check_options(options)
    clock = as_microseconds(options.clock)
    ids = options.ids or UuidSevens()
    scheme = options.url.split(":", 1)[0]
    if scheme == "memory":
        from .engines.memory import MemoryEngine

        return MemoryEngine(clock), clock, ids
    if scheme == "sqlite":
        from .engines.sqlite import open_sqlite

        path = sqlite_path(options.url)
        return await open_sqlite(path, options, clock), clock, ids
    if scheme in ("postgresql", "postgres"):
        from .engines.postgres import open_postgres

        return await open_postgres(options.url, options, clock), clock, ids
    raise InvalidEvent(f"store URL: {scheme!r} is not memory, sqlite or postgresql")


def _check_options(options: Options) -> None:
    """Refuses options that no engine could keep to, naming the option and its bound."""
    if not isinstance(options.url, str):
        raise InvalidEvent(f"store URL: a str, not {type(options.url).__name__}")
    if not isinstance(options.synchronous, str):
        raise InvalidEvent("synchronous: NORMAL, FULL or EXTRA")
    seconds: object = options.busy_timeout_seconds
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise InvalidEvent("busy_timeout_seconds: a number of seconds from 0 on")
    for name in ("queue_appends_max", "queue_bytes_max"):
        count = getattr(options, name)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InvalidEvent(f"{name}: an int from 1 on")


def sqlite_path(url: str) -> str:
    """The file of ``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if not url.startswith("sqlite:///") or len(path) < 2 or parts.query or parts.fragment:
        raise InvalidEvent("store URL: sqlite:///PATH, with nothing after the path")
    if path == "/:memory:":
        raise InvalidEvent("store URL: use memory:// for a store that is not kept")
    return path[1:]
