"""``eventstore verify``: the whole log read against what is promised of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import to_builtins

from eventstore import EventStore, KnownHead, VerifyReport
from eventstore.snapshots import SnapshotInfo
from eventstore.store import DEFAULT_TENANT
from reducers import Reducer, verify_snapshots, verify_states

from ..exits import ExitCode, Stop, check_argument, wrong_usage
from ..heads import NO_HEADS, Heads, read_heads, write_heads
from ..loading import STOCK, find_reducer
from ..options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store
from ..rendering.progress import progress
from ..rendering.screen import Screen
from ..rendering.values import count

_Check = Callable[[EventStore, dict[str, Reducer[Any]], dict[str, Any]], Awaitable[None]]


def verify_command(
    head: Annotated[
        Path | None,
        typer.Option(
            "--head",
            metavar="FILE",
            help="A head kept elsewhere: with it a lost tail is seen too.",
            show_default=False,
            dir_okay=False,
        ),
    ] = None,
    write_head: Annotated[
        Path | None,
        typer.Option(
            "--write-head",
            metavar="FILE",
            help="Keep the head in this file, if the log is sound.",
            show_default=False,
            dir_okay=False,
        ),
    ] = None,
    snapshots: Annotated[
        bool,
        typer.Option("--snapshots", help="Also compare stored snapshots with full replays."),
    ] = False,
    state: Annotated[
        bool,
        typer.Option(
            "--state",
            help="Also compute the state hashes of snapshots anew, those of other code included.",
        ),
    ] = False,
    reducer: Annotated[
        list[str] | None,
        typer.Option(
            "--reducer",
            metavar="NAME",
            help="With --snapshots or --state: your own reducers beside the stock ones.",
        ),
    ] = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every hash, position, version, head and index. Exit code 4 means damage.

    Without --tenant all tenants are checked. Loss of the log's end can only be seen against a
    head that was kept elsewhere (--write-head now, --head later).

    \b
    Examples:
      $ eventstore verify --write-head head.json
      $ eventstore verify --head head.json --snapshots
      $ eventstore verify --state --reducer board.py:board
    """
    check_argument("--tenant", tenant, "tenant")
    known = NO_HEADS if head is None else read_heads(head)
    reducers = _reducers(reducer or []) if snapshots or state else {}
    checks: list[_Check] = [_verify_snapshots] if snapshots else []
    checks += [_verify_states] if state else []
    store_id, reports = asyncio.run(_verify((store, tenant), known, reducers, checks))
    _show(Screen(), reports, as_json)
    if any(report["damages"] for report in reports):
        raise typer.Exit(ExitCode.CORRUPT)
    if write_head is not None:
        heads = {report["tenant"]: report["head"] for report in reports}
        write_heads(write_head, store_id, heads)


def _reducers(own: list[str]) -> dict[str, Reducer[Any]]:
    """The reducers whose snapshots can be proved, by name."""
    found = [find_reducer(name) for name in (*STOCK, *own)]
    return {reducer.name: reducer for reducer in found}


async def _verify(
    where: tuple[str, str | None],
    known: Heads,
    reducers: dict[str, Reducer[Any]],
    checks: list[_Check],
) -> tuple[str | None, list[dict[str, Any]]]:
    url, tenant = where
    async with open_store(url) as store:
        store_id = store.describe().get("store_id")
        known.check_store(store_id)
        heads, present = known.by_tenant, await store.tenants()
        names = [tenant] if tenant is not None else sorted({*present, *heads}) or [DEFAULT_TENANT]
        if tenant is not None and heads and tenant not in heads:
            raise wrong_usage(
                f"the head file knows no tenant {tenant!r}", f"it knows {', '.join(heads)}"
            )
        if tenant is not None and tenant not in {*present, *heads, DEFAULT_TENANT}:
            raise Stop(f"no tenant {tenant!r} has events here", next_step="see eventstore doctor")
        return store_id, [
            await _verify_tenant(store.tenant(name), heads.get(name), reducers, checks)
            for name in names
        ]


async def _verify_tenant(
    store: EventStore,
    known: KnownHead | None,
    reducers: dict[str, Reducer[Any]],
    checks: list[_Check],
) -> dict[str, Any]:
    with progress(f"verifying {store.tenant_name}") as advance:
        report = await store.verify(head=known, progress=advance)
    found = _report(store.tenant_name, report)
    if not report.damages:
        for check in checks:
            await check(store, reducers, found)
    return found


def _report(tenant: str, report: VerifyReport) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "events": report.events,
        "streams": report.streams,
        "head": {"position": report.head.position, "hash": report.head.hash.hex()},
        "damages": [
            {
                "kind": damage.kind,
                "stream": damage.stream,
                "version": damage.version,
                "position": damage.position,
                "message": damage.message,
            }
            for damage in report.damages
        ],
    }


async def _verify_snapshots(
    store: EventStore, reducers: dict[str, Reducer[Any]], found: dict[str, Any]
) -> None:
    """Proves each snapshot of a known reducer; others can only be counted, without their code."""
    found["snapshots"] = found["snapshots_unchecked"] = 0
    async for info in store.streams():
        # A fork's loads begin with its parents' as well.
        kept = await store.snapshots.list(info.name, inherited=True)
        known = [each for each in kept if _is_of(reducers, each)]
        for name in sorted({each.reducer for each in known}):
            report = await verify_snapshots(reducers[name], store, info.name)
            found["damages"] += [
                _wrong_snapshot(info.name, each)
                for each in known
                if each.reducer == name and each.version in report.wrong
            ]
        own = [each for each in kept if each.stream == info.name]
        checked = sum(each in own for each in known)
        found["snapshots"] += checked
        found["snapshots_unchecked"] += len(own) - checked


def _is_of(reducers: dict[str, Reducer[Any]], kept: SnapshotInfo) -> bool:
    """Whether a snapshot is one of these reducers, as their code is now."""
    reducer = reducers.get(kept.reducer)
    return reducer is not None and reducer.fingerprint() == kept.fingerprint


def _wrong_snapshot(stream: str, kept: SnapshotInfo) -> dict[str, Any]:
    return {
        "kind": "snapshot",
        "stream": stream,
        "version": kept.version,
        "position": None,
        "message": f"the snapshot of reducer {kept.reducer!r} is not what the events give;"
        f" eventstore snapshot {kept.stream} --drop removes it, and loses nothing",
    }


async def _verify_states(
    store: EventStore, reducers: dict[str, Reducer[Any]], found: dict[str, Any]
) -> None:
    """Where kept states part from the events, and why; other code is told, and is no damage."""
    found["states"], found["partings"] = 0, []
    async for info in store.streams():
        kept = {each.reducer for each in await store.snapshots.list(info.name)}
        for name in sorted(kept & set(reducers)):
            report = await verify_states(reducers[name], store, info.name)
            found["states"] += len(report.checked)
            for parting in report.partings:
                told = {"stream": info.name, "reducer": name, **to_builtins(parting)}
                found["partings"].append(told)
                if parting.is_damage:
                    found["damages"].append(
                        {
                            "kind": "state",
                            "stream": info.name,
                            "version": parting.event,
                            "position": None,
                            "message": _parting(told),
                        }
                    )


PATHS_SHOWN = 3
"""Paths in one line about states that part; `--json` has all of them."""

_WHY = {
    "version": "version {kept_version} of the reducer kept it",
    "code": "the reducer was edited since, and its version is the same",
    "data": "the snapshot is damaged, or is of another log;"
    " eventstore snapshot {stream} --drop removes it, and loses nothing",
    "unseen": "the code is the same by its fingerprint, so it is not deterministic, or hangs on"
    " code of other packages",
}


def _parting(told: dict[str, Any]) -> str:
    """Snapshots say between which versions states part; which event it was is exact only where one
    lies between them."""
    after, at, event = told["after"], told["at"], told["event"]
    text = f"the state of reducer {told['reducer']!r} kept at version {at}"
    why = _WHY[told["cause"]].format_map(told)
    if told["cause"] == "data":
        return f"{text} is not what was kept: {why}"
    text += f" is not what the events give now; they part at version {event}"
    paths = ", ".join(told["paths"][:PATHS_SHOWN])
    if len(told["paths"]) > PATHS_SHOWN:
        paths += f" and {len(told['paths']) - PATHS_SHOWN:,} more"
    if after + 1 < at and event < at:
        text += f", the first behind version {after} that changes {paths} now"
    else:
        text += f" or before, behind version {after}" if after + 1 < at else ""
        text += f", in {paths}" if paths else ""
    return f"{text}: {why}"


def _show(screen: Screen, reports: list[dict[str, Any]], as_json: bool) -> None:
    damaged = any(report["damages"] for report in reports)
    if as_json:
        screen.json({"sound": not damaged, "tenants": reports})
        return
    for report in reports:
        head = report["head"]
        screen.line(
            ("damaged" if report["damages"] else "sound", "red" if report["damages"] else "green"),
            f"  tenant {report['tenant']}: {_extent(report)},"
            f" head {head['position']} {head['hash'][:12]}",
        )
        if "snapshots" in report:
            unchecked = report["snapshots_unchecked"]
            screen.line(
                f"       {count(report['snapshots'], 'snapshot')} compared with a full replay"
                + (f", {unchecked:,} of other code not" if unchecked else "")
            )
        if "states" in report:
            screen.line(f"       {count(report['states'], 'kept state')} computed anew")
            for told in report["partings"]:
                if told["cause"] in ("version", "code"):
                    screen.text(
                        ("other code", "yellow"), f"  stream {told['stream']!r}: {_parting(told)}"
                    )
        for damage in report["damages"]:
            screen.text(("damage", "bold red"), f"  {_place(damage)}{damage['message']}")
    kinds = {damage["kind"] for report in reports for damage in report["damages"]}
    if kinds - {"snapshot", "state"}:
        screen.text("stop writing to this store, keep it as it is, and restore from a backup")


def _extent(report: dict[str, Any]) -> str:
    """What was read; where the log is damaged, how far it is sound from its beginning."""
    read = f"{count(report['events'], 'event')} in {count(report['streams'], 'stream')}"
    if report["events"] < report["head"]["position"]:
        return f"sound up to position {report['events']} ({read})"
    return read


def _place(damage: dict[str, Any]) -> str:
    """``stream 'a' version 3, position 9, kind hash: `` as far as it is known."""
    parts = []
    if damage["stream"] is not None:
        version = "" if damage["version"] is None else f" version {damage['version']}"
        parts.append(f"stream {damage['stream']!r}{version}")
    if damage["position"] is not None:
        parts.append(f"position {damage['position']}")
    parts.append(f"kind {damage['kind']}")
    return ", ".join(parts) + ": "
