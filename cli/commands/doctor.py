"""``eventstore doctor``: what runs here, whether it runs as it must, and what to do about it."""

from __future__ import annotations

import asyncio
import platform
from typing import Annotated, Any

import typer
from msgspec import to_builtins

from eventstore import EventStore
from eventstore.schema import NEWEST
from reducers.linting import unchecked_in

from ..loading import find_reducer
from ..options import (
    DEFAULT_URL,
    JsonOption,
    StoreOption,
    TenantOption,
    open_store,
    stored_schema,
)
from ..program import program_version
from ..rendering.screen import Screen
from ..rendering.values import count

WAL_RESET_DEFECT = ((3, 7, 0), (3, 51, 2))
"""Versions of SQLite, first and last, that can lose committed pages when several processes write
and one of them checkpoints at the wrong instant (https://sqlite.org/wal.html#walresetbug)."""

SYNCHRONOUS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
"""What the numbers of SQLite's PRAGMA synchronous mean."""

TENANTS_SHOWN = 20
"""Tenants listed one by one; a store may have any number."""


def doctor_command(
    migrate: Annotated[
        bool,
        typer.Option("--migrate", help="Bring an older store to this program's schema."),
    ] = False,
    reducer: Annotated[
        list[str] | None,
        typer.Option(
            "--reducer",
            metavar="NAME",
            help="List what of these reducers is marked @unchecked, with its reason: file.py:name.",
        ),
    ] = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show versions, the settings in force, the schema, tenants and counts, with advice.

    Opening a SQLite file of an older schema migrates it; --migrate says so in a script. A store in
    PostgreSQL is migrated only by --migrate, because other machines may run the older program.

    \b
    Examples:
      $ eventstore doctor
      $ eventstore doctor --migrate --json
      $ eventstore doctor --reducer board.py:board
    """
    marked = [each for name in reducer or [] for each in unchecked_in(find_reducer(name))]
    found = asyncio.run(_examine((store, tenant), migrate))
    if reducer is not None:
        found["unchecked"] = [to_builtins(each) for each in marked]
    screen = Screen()
    if as_json:
        screen.json(found)
        return
    _show(screen, found)
    if migrate:
        screen.line(_migrated(found["former_schema"], found["schema"]))


def _migrated(former: str, schema: str) -> str:
    if former == schema:
        return f"the schema was at {schema} already, the newest that this program knows"
    return f"the schema was at {former}, and is at {schema} now, the newest that this program knows"


async def _examine(where: tuple[str, str | None], migrate: bool) -> dict[str, Any]:
    url, tenant = where
    former = await stored_schema(url)
    async with open_store(url, migrate=migrate) as store:
        settings = store.describe()
        names = await store.tenants() if tenant is None else [tenant]
        tenants = [await _count(store.tenant(name)) for name in names[:TENANTS_SHOWN]]
        found: dict[str, Any] = {
            "program": program_version(),
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "store": store.url,
            "schema": NEWEST,
            "settings": settings,
            "tenants": len(names),
            "counts": tenants,
        }
    found["advice"] = advice_on(settings)
    if migrate:
        found["former_schema"] = former or found["schema"]
    return found


async def _count(store: EventStore) -> dict[str, Any]:
    streams = 0
    async for _ in store.streams():
        streams += 1
    return {"tenant": store.tenant_name, "events": await store.head(), "streams": streams}


def advice_on(settings: dict[str, Any]) -> list[str]:
    """What to do, one sentence each; empty when all is as it should be."""
    advice = []
    sqlite = settings.get("sqlite_version")
    if sqlite is not None:
        first, last = WAL_RESET_DEFECT
        if first <= tuple(int(part) for part in str(sqlite).split(".")) <= last:
            advice.append(
                f"SQLite {sqlite} has the WAL-reset defect (3.7.0 to 3.51.2): stores of this"
                " library take turns, so let no other program write to the file, or run a Python"
                " with SQLite 3.51.3 or newer"
            )
        if SYNCHRONOUS.get(settings.get("synchronous", 2)) == "NORMAL":
            advice.append(
                "synchronous is NORMAL: a power failure may undo the last commits;"
                " FULL is the default"
            )
    if settings.get("read_only"):
        advice.append(
            "the file or its folder may not be written here: what is in it can be read, appends are"
            " refused"
            + (
                ""
                if not settings.get("immutable")
                else ", and what others append while it is open is not seen"
            )
        )
    advice += [
        f"the server runs with {name}=off, which was allowed in the URL: a crash of the server may"
        " undo appends that were answered"
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if settings.get(name) == "off"
    ]
    if not settings.get("durable", True):
        advice.append("this engine keeps nothing: use sqlite:///PATH for what shall stay")
    return advice


def _setting(name: str, value: Any) -> str:
    """A setting's value; for `synchronous`, whose numbers nobody knows, also its name."""
    if name == "synchronous":
        return f"{value} ({SYNCHRONOUS.get(value, 'unknown')})"
    return str(value)


def _show(screen: Screen, found: dict[str, Any]) -> None:
    rows = [
        ("program", f"agent-eventstore {found['program']}"),
        ("python", f"{found['python']} on {found['platform']}"),
        ("store", found["store"]),
        ("schema", found["schema"]),
        *((name, _setting(name, value)) for name, value in found["settings"].items()),
        ("tenants", str(found["tenants"])),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        screen.line((f"{name:<{width}}", "bold"), f"  {value}")
    for counts in found["counts"]:
        screen.line(
            f"{'':<{width}}  {counts['tenant']}: {count(counts['events'], 'event')}"
            f" in {count(counts['streams'], 'stream')}"
        )
    for each in found.get("unchecked", ()):
        place = "" if each["file"] is None else f" ({each['file']}, line {each['line']})"
        screen.text(
            ("unchecked", "yellow"),
            f"  reducer {each['reducer']!r}: {each['function']}{place}: {each['reason']}",
        )
    for sentence in found["advice"]:
        screen.text(("advice", "yellow"), f"  {sentence}")
    if not found["advice"]:
        screen.line(("well", "green"), "  nothing to do")
