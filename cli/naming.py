"""Finding a stream by what a person types: its name, or a beginning that no other stream shares."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from eventstore import EventStore
from eventstore.limits import NAME_BYTES_MAX

from .exits import Stop, check_argument, wrong_usage
from .moments import Point, is_point, parse_point

SESSION_PREFIX = "session/"
"""Sessions are found by their id alone: what importers and agents write stands under this."""

CANDIDATES_SHOWN = 8
"""Names listed for an ambiguous beginning: as many as one line holds."""

COMPLETIONS_MAX = 100
"""Names offered to the shell: more cannot be read."""


async def find_stream(store: EventStore, typed: str) -> str:
    """The name of the one stream that `typed` means.

    An exact name goes first, then one that begins with it, then ``session/`` + it. A session that
    has subagent streams below it is meant itself. Raises `Stop`: exit code 2 for an ambiguous
    beginning, with the candidates, and for what can be no name; 1 when there is none. If cancelled,
    nothing is left open.
    """
    check_argument("STREAM", typed.removeprefix("$"), "stream")
    meant = [typed, SESSION_PREFIX + typed]
    if len(meant[1].encode()) > NAME_BYTES_MAX:
        meant.pop()
    for name in meant:
        if await store.version(name):
            return name
    candidates: list[str] = []
    for prefix in meant:
        candidates += await _names(store, prefix)
        if candidates:
            break
    if not candidates:
        raise Stop(f"no stream begins with {typed!r}", next_step="see eventstore streams")
    parent = candidates[0]
    if all(name.startswith(f"{parent}/") for name in candidates[1:]):
        return parent
    shown = ", ".join(candidates[:CANDIDATES_SHOWN])
    more = ", ..." if len(candidates) > CANDIDATES_SHOWN else ""
    raise wrong_usage(f"{typed!r} is ambiguous: {shown}{more}", "type more of the name")


async def find_stream_at(
    store: EventStore, typed: str, *, occurred: bool
) -> tuple[str, Point | None]:
    """As `find_stream`, for what may have a point behind its name (``board/7@12``,
    ``board/7@@900``, ``board/7@2026-03-01T10:00:00Z``), and that point; None is the end.

    A stream of that whole name goes first. Raises and is cancelled as `find_stream`.
    """
    for name in (typed, SESSION_PREFIX + typed):
        if len(name.encode()) <= NAME_BYTES_MAX and await store.version(name):
            return name, None
    for index, character in enumerate(typed):
        if index and character == "@" and is_point(typed[index + 1 :]):
            point = parse_point(typed[index + 1 :], occurred=occurred)
            return await find_stream(store, typed[:index]), point
    return await find_stream(store, typed), None


async def _names(store: EventStore, prefix: str) -> list[str]:
    """Names below a prefix, as many as it takes to know whether one stands above the others."""
    names: list[str] = []
    async for info in store.streams(prefix):
        names.append(info.name)
        related = info.name == names[0] or info.name.startswith(f"{names[0]}/")
        if not related and len(names) > CANDIDATES_SHOWN:
            break
    return names


def complete_names(url: str | None, tenant: str | None, typed: str) -> Iterator[str]:
    """Stream names for the shell's completion. Whatever goes wrong, it offers nothing: a shell
    that completes is no place for errors."""
    try:
        yield from asyncio.run(_completions(url, tenant, typed))
    except Exception:
        return


async def _completions(url: str | None, tenant: str | None, typed: str) -> list[str]:
    import os

    from .options import DEFAULT_URL, STORE_VARIABLE, open_store

    found: list[str] = []
    async with open_store(url or os.environ.get(STORE_VARIABLE) or DEFAULT_URL, tenant) as store:
        async for info in store.streams(typed):
            found.append(info.name)
            if len(found) == COMPLETIONS_MAX:
                break
    return found
