"""What commands share: their options, and opening the store, or a stream of it, that these name.

A command that only reads opens with `open_store(url, tenant)`, which refuses a file that is not
there; one that writes says ``create=True``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import typer

from eventstore import EventStore, InvalidEvent
from eventstore.engines.sqlite.migrating import stored_revision
from eventstore.opening import sqlite_path

from .exits import Stop, check_argument, wrong_usage
from .moments import Point, check_point, parse_point
from .naming import complete_names, find_stream

DEFAULT_URL = "sqlite:///eventstore.db"
STORE_VARIABLE = "EVENTSTORE_URL"
SQLITE_HEADER = b"SQLite format 3\x00"
"""The first 16 bytes of every SQLite database (sqlite.org/fileformat2.html, 1.3)."""

Where = tuple[str, str | None]
"""What --store and --tenant say."""

StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        envvar=STORE_VARIABLE,
        show_envvar=True,
        help="The store: a URL, or the path of a SQLite file.",
    ),
]
TenantOption = Annotated[
    str | None,
    typer.Option("--tenant", metavar="NAME", help="Work in this tenant's log."),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print JSON for machines; lists as JSON Lines."),
]


def complete_stream(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Stream names that begin as typed, for the shell's completion."""
    yield from complete_names(context.params.get("store"), context.params.get("tenant"), incomplete)


StreamArgument = Annotated[
    str,
    typer.Argument(
        metavar="STREAM",
        help="The stream's name, or a part of its beginning that no other stream shares.",
        show_default=False,
        autocompletion=complete_stream,
    ),
]


ReducerOption = Annotated[
    str,
    typer.Option(
        "--reducer",
        metavar="NAME",
        help="A stock reducer, or your own: path/to/file.py:name or package.module:name.",
    ),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="POINT",
        help="At this version (12), @position, or ISO time, which is inclusive.",
        show_default="now",
    ),
]
ByOption = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="recorded|occurred",
        help="Whose time a TIME is: the store's, or the source's own.",
    ),
]


def is_by_occurred(by: str) -> bool:
    """Whether --by asks for source time. Raises `Stop` (exit code 2) for another word."""
    if by not in ("recorded", "occurred"):
        raise wrong_usage(f"--by: {by!r} is no kind of time", "use recorded or occurred")
    return by == "occurred"


def point_at(at: str | None, by: str) -> Point | None:
    """The point of --at and --by; None is now. Raises `Stop` (exit code 2) for what is none."""
    occurred = is_by_occurred(by)
    return None if at is None else parse_point(at, occurred=occurred)


def store_url(text: str) -> str:
    """The URL that --store means: anything without a scheme is the path of a SQLite file."""
    text = text or DEFAULT_URL
    if text.startswith(("memory:", "sqlite:")) or "://" in text:
        return text
    return f"sqlite:///{quote(text)}"


def store_exists(url: str) -> bool:
    """Whether opening the store would not make it. Another machine's always exists."""
    url = store_url(url)
    return not url.startswith("sqlite:") or _path_of(url).exists()


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL store."""
    return url.startswith(("postgresql:", "postgres:"))


def without_password(url: str) -> str:
    """A PostgreSQL URL as it may be shown, with its other options; the driver then takes the
    password from PGPASSWORD or its password file."""
    parts = urlsplit(url)
    login, _, place = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    kept = [pair for pair in parse_qsl(parts.query) if "password" not in pair[0]]
    netloc = f"{user}@{place}" if user else place
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(kept)))


def shown_store(url: str) -> str:
    """How the store is named on the screen and in a command to paste: a file by its path."""
    url = store_url(url)
    if is_postgres(url):
        return without_password(url)
    return sqlite_path(url) if url.startswith("sqlite:") else url


async def stored_schema(url: str) -> str | None:
    """The schema revision that a store has before it is opened, where opening can change it; None
    where it cannot. Raises as `open_store`."""
    url = store_url(url)
    if is_postgres(url):
        return await _check_database(url)
    if not url.startswith("sqlite:"):
        return None
    path = _path_of(url)
    _check_file(path, create=False)
    return stored_revision(str(path))


@asynccontextmanager
async def open_store(
    url: str,
    tenant: str | None = None,
    *,
    create: bool = False,
    migrate: bool = False,
    ids: Callable[[], str] | None = None,
) -> AsyncIterator[EventStore]:
    """The store of --store and --tenant, open inside the block. `migrate` brings an older schema
    in PostgreSQL up to date; a SQLite file's always is.

    Raises `Stop` for a URL that names no engine, or a tenant that is no name (exit code 2), and,
    unless `create`, for a file that is not there or is no database, and for a PostgreSQL database
    that holds no store (1). If cancelled, nothing stays open.
    """
    check_argument("--tenant", tenant, "tenant")
    url = store_url(url)
    if url.startswith("sqlite:"):
        _check_file(_path_of(url), create)
    elif is_postgres(url):
        if not create:
            await _check_database(url)
        if migrate:
            url += "&migrate=on" if "?" in url else "?migrate=on"
    async with await _open(url, ids) as store:
        yield store if tenant is None else store.tenant(tenant)


@asynccontextmanager
async def open_stream(
    where: Where, typed: str, point: Point | None = None
) -> AsyncIterator[tuple[EventStore, str]]:
    """The store, open inside the block, and the name of the stream that was typed, in which there
    is such a point. Raises and is cancelled as `open_store`, `find_stream` and `check_point`."""
    async with open_store(*where) as store:
        name = await find_stream(store, typed)
        await check_point(store, name, point)
        yield store, name


async def _open(url: str, ids: Callable[[], str] | None) -> EventStore:
    """Which schemes there are is the log's to know; one that it does not is wrong usage."""
    try:
        return await EventStore.open(url, ids=ids)
    except InvalidEvent as exc:
        if not str(exc).startswith("store URL"):
            raise
        raise _wrong_url(exc) from None


def _wrong_url(exc: InvalidEvent) -> Stop:
    return wrong_usage(str(exc), "use postgresql://..., sqlite:///PATH, or just the path")


async def _check_database(url: str) -> str:
    """The revision of the store in a PostgreSQL database. Raises `Stop` where it holds none."""
    from eventstore.engines.postgres import migrating  # only who has such a store needs a driver

    try:
        found = await migrating.stored_revision(url)
    except InvalidEvent as exc:
        raise _wrong_url(exc) from None
    if found is None:
        raise Stop(
            f"{without_password(url)!r} holds no store",
            next_step="name another one with --store, or make one with eventstore import or append",
        )
    return found


def _path_of(url: str) -> Path:
    try:
        return Path(sqlite_path(url))
    except InvalidEvent as exc:
        raise wrong_usage(str(exc), "for example sqlite:///agent.db") from None


def _check_file(path: Path, create: bool) -> None:
    if not path.exists():
        if create:
            return
        raise Stop(
            f"no store at {str(path)!r}",
            next_step="name one with --store, or make one with eventstore import or append",
        )
    if not path.is_file():
        raise Stop(f"{str(path)!r} is not a file", next_step="name the store's file with --store")
    with path.open("rb") as file:
        header = file.read(len(SQLITE_HEADER))
    if header != SQLITE_HEADER and not (create and header == b""):
        raise Stop(
            f"{str(path)!r} is no store: it is not a SQLite database",
            next_step="name another file with --store",
        )
    if not create and stored_revision(str(path)) is None:
        raise Stop(
            f"{str(path)!r} is a SQLite database, but holds no store",
            next_step="name another file with --store",
        )
