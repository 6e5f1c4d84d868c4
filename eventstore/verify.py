"""Reading the whole log against everything that is promised about it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .calls import FORKED, Fork
from .engines.forked import fork_said
from .engines.port import Damage, Engine, Head, StreamRow
from .envelope import GENESIS
from .errors import Corrupt
from .events import RecordedEvent
from .limits import PAGE_ROWS_MAX


class KnownHead(msgspec.Struct, frozen=True):
    """A head that was kept elsewhere; only against it can the loss of the log's tail be seen."""

    position: int
    hash: bytes


class VerifyReport(msgspec.Struct, frozen=True):
    """What `verify` read: so many events, from the first on, are as they were written.

    The log is sound when `damages` is empty.
    """

    events: int
    streams: int
    head: KnownHead
    damages: tuple[Damage, ...]


async def verify_log(
    engine: Engine,
    tenant: str,
    known: KnownHead | None,
    progress: Callable[[int, int], None] | None,
) -> VerifyReport:
    """Checks hashes, dense positions and versions, heads, indexes and the engine's own checker.

    `progress` is told (events done, events in all). It stops at the first event that is damaged,
    because nothing behind a broken hash can be trusted. If cancelled, nothing is left open.
    """
    damages = await engine.check_integrity(tenant)
    try:
        head = await engine.head(tenant)
    except Corrupt as exc:
        damages.append(Damage(exc.kind, str(exc), exc.position, exc.stream, exc.version))
        return VerifyReport(0, 0, KnownHead(0, GENESIS), tuple(damages))
    versions: dict[str, int] = {}
    forks: dict[str, Fork] = {}
    at, rows = 0, PAGE_ROWS_MAX
    digest: bytes | None = GENESIS
    try:
        while at < head.position:
            try:
                page = await engine.log_page(tenant, at, head.position, (), rows, digest)
            except Corrupt:
                if rows == 1:
                    raise
                rows //= 2  # a page is given whole or not at all; smaller ones end closer to it
                continue
            for event in page.events:
                if event.type == FORKED:
                    await _begin_fork(engine, tenant, event, versions, forks)
                version = versions.get(event.stream, 0) + 1
                if event.version != version:
                    raise Corrupt(
                        f"stream {event.stream!r}: version {event.version} where {version} is due",
                        kind="gap",
                        position=event.position,
                        stream=event.stream,
                        version=event.version,
                    )
                versions[event.stream] = version
                at += 1
            digest = page.hash
            if progress is not None:
                progress(at, head.position)
        await _check_end(engine, tenant, head, known)
        await _check_streams(engine, tenant, dict(versions), forks)
    except Corrupt as exc:
        damages.append(await _damage(engine, tenant, exc, at + 1, versions))
    return VerifyReport(at, len(versions), KnownHead(head.position, head.hash), tuple(damages))


async def _begin_fork(
    engine: Engine,
    tenant: str,
    event: RecordedEvent,
    versions: dict[str, int],
    forks: dict[str, Fork],
) -> None:
    """A fork's own events begin behind the version that it inherits, which its parent must have,
    and have of its own, and which must be the event that caused it."""
    if event.stream in versions:
        raise _wrong_fork(event, "it says that the stream begins as another one, and it has begun")
    fork = fork_said(event)
    if fork is None:
        raise _wrong_fork(event, "it does not say which stream and version the fork begins as")
    low = forks[fork.parent].version if fork.parent in forks else 0
    begins = f"it begins as {fork.parent!r} at version {fork.version},"
    if not low < fork.version <= versions.get(fork.parent, 0):
        raise _wrong_fork(event, f"{begins} which that stream did not hold")
    left = await engine.stream_page(tenant, fork.parent, fork.version - 1, 1, False)
    if [event.causation_id] != [each.id for each in left]:
        raise _wrong_fork(event, f"{begins} which is not the event that it names as its cause")
    forks[event.stream] = fork
    versions[event.stream] = fork.version


def _wrong_fork(event: RecordedEvent, why: str) -> Corrupt:
    return Corrupt(
        f"stream {event.stream!r}: {why}",
        kind="fork",
        position=event.position,
        stream=event.stream,
        version=event.version,
    )


async def _damage(
    engine: Engine, tenant: str, exc: Corrupt, position: int, versions: dict[str, int]
) -> Damage:
    """The damage with its stream and version, where the row at `position` is missing or no longer
    says them.

    All before it is as it was written. So it was the next event of some stream, and that stream
    lacks it now; where one stream alone lacks its next event, it is this one.
    """
    stream, version = exc.stream, exc.version
    if exc.position != position or exc.kind not in ("hash", "gap"):
        return Damage(exc.kind, str(exc), exc.position, stream, version)
    try:
        if not await _is_due(engine, tenant, stream, version, versions):
            lacking = await _lacking(engine, tenant, exc, versions)
            stream, version = lacking[0] if len(lacking) == 1 else (None, None)
    except Corrupt:
        stream = version = None
    if (stream, version) == (exc.stream, exc.version):
        return Damage(exc.kind, str(exc), position, stream, version)
    found = "" if stream is None else f"; stream {stream!r} lacks version {version}: it is that one"
    return Damage(exc.kind, f"{exc}{found}", position, stream, version)


async def _is_due(
    engine: Engine,
    tenant: str,
    stream: str | None,
    version: int | None,
    versions: dict[str, int],
) -> bool:
    """Whether a row may be what it says: the next event of a stream that has come so far. Of one
    that has no head the name is damaged, and nothing better is known."""
    if stream is None or version is None:
        return False
    seen = versions.get(stream)
    if seen is None:
        fork = await engine.find_fork(tenant, stream)
        seen = 0 if fork is None else fork.version
    if version != seen + 1:
        return False
    head = await engine.stream_version(tenant, stream)
    return head == 0 or version <= head


async def _lacking(
    engine: Engine, tenant: str, damage: Corrupt, versions: dict[str, int]
) -> list[tuple[str, int]]:
    """Streams, with their next version, that lack it or have it at another position than they
    must; two at most, because no more are of use."""
    assert damage.position is not None
    # The row of a damaged event claims a place that is not its own, and the event behind it has no
    # hash to follow: what is wrong with those is not what their streams lack.
    not_it = {damage.position + 1}
    if damage.kind == "hash":
        not_it.add(damage.position)
    lacking: list[tuple[str, int]] = []
    after = ""
    while len(lacking) < 2 and (
        rows := await engine.streams_page(tenant, "", after, PAGE_ROWS_MAX)
    ):
        after = rows[-1].name
        for row in rows:
            seen = versions.get(row.name, row.fork_version or 0)
            if row.version <= seen:
                continue
            try:
                (event,) = await engine.stream_page(tenant, row.name, seen, 1, False)
                is_it = event.position == damage.position
            except Corrupt as exc:
                is_next = (exc.stream, exc.version) == (row.name, seen + 1)
                is_it = is_next and exc.position not in not_it
            if is_it:
                lacking.append((row.name, seen + 1))
    return lacking[:2]


async def _check_end(engine: Engine, tenant: str, head: Head, known: KnownHead | None) -> None:
    last = GENESIS if head.position == 0 else await engine.hash_at(tenant, head.position)
    if last != head.hash:
        raise Corrupt(
            "the head's hash is not the last event's", kind="head", position=head.position
        )
    if known is None or known.position == 0:
        return
    if known.position > head.position:
        raise Corrupt(
            f"the log ends at position {head.position}, the known head is {known.position}:"
            " its tail is lost",
            kind="tail",
            position=head.position,
        )
    if await engine.hash_at(tenant, known.position) != known.hash:
        raise Corrupt(
            f"position {known.position} holds another event than the known head",
            kind="head",
            position=known.position,
        )


async def _check_streams(
    engine: Engine, tenant: str, versions: dict[str, int], forks: dict[str, Fork]
) -> None:
    after = ""
    while rows := await engine.streams_page(tenant, "", after, PAGE_ROWS_MAX):
        after = rows[-1].name
        for row in rows:
            seen = versions.pop(row.name, 0)
            if seen:
                _check_parent(row, forks.get(row.name))
            if row.version < seen:
                raise Corrupt(
                    f"stream {row.name!r}: its head says version {row.version}, its events more",
                    kind="head",
                    stream=row.name,
                    version=row.version,
                )
            if row.version > seen:
                # An append that came after the head was read has moved it on, or nothing did:
                # the event is there then, or this raises.
                # It says of a fork too whether its row is right.
                await engine.stream_page(tenant, row.name, row.version - 1, 1, False)
    for name in versions:
        raise Corrupt(f"stream {name!r}: has events, but no head", kind="head", stream=name)


def _check_parent(row: StreamRow, fork: Fork | None) -> None:
    """Raises `Corrupt` where a stream's row says another parent than its events."""
    said = (None, None) if fork is None else (fork.parent, fork.version)
    if (row.parent, row.fork_version) != said:
        raise Corrupt(
            f"stream {row.name!r}: by its row it begins as {row.parent!r} at version"
            f" {row.fork_version}, by its events as {said[0]!r} at {said[1]}",
            kind="fork",
            stream=row.name,
            version=row.fork_version,
        )
