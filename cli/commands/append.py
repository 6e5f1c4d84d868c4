"""``eventstore append``: one event from the command line, or many from standard input."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from eventstore import AppendResult, Expected, NewEvent

from ..exits import check_argument, wrong_usage
from ..moments import parse_time
from ..options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store
from ..payloads import parse_event, parse_json
from ..rendering.events import Listing
from ..rendering.screen import Screen

STDIN = "-"
_EXPECTED = {
    "any": Expected.ANY,
    "none": Expected.NO_STREAM,
    "exists": Expected.STREAM_EXISTS,
}


def append_command(
    stream: Annotated[
        str, typer.Argument(metavar="STREAM", help="The stream's whole name.", show_default=False)
    ],
    type_name: Annotated[
        str,
        typer.Argument(metavar="TYPE", help="The event's type; - reads whole events from stdin."),
    ] = STDIN,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="Its data as JSON; - reads one per line.", show_default="{}"
        ),
    ] = None,
    expected: Annotated[
        str,
        typer.Option(
            "--expected",
            metavar="any|none|exists|N",
            help="The version the stream must be at: any, no stream, some, or exactly N.",
        ),
    ] = "any",
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="K", help="Idempotency key: a retry is written once."),
    ] = None,
    actor: Annotated[str | None, typer.Option("--actor", metavar="A", help="Who does it.")] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="T", help="A tag for each event; may be repeated."),
    ] = None,
    causation: Annotated[
        str | None,
        typer.Option("--causation", metavar="ID", help="The event that caused this."),
    ] = None,
    correlation: Annotated[
        str | None,
        typer.Option("--correlation", metavar="ID", help="The run or request it belongs to."),
    ] = None,
    occurred: Annotated[
        str | None,
        typer.Option("--occurred", metavar="TIME", help="When it happened, an ISO time."),
    ] = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Append events to a stream: all of them, durably, or none.

    With - for TYPE, standard input holds one event a line, {"type": ..., "data": ...}, also with
    "tags", "id", "occurred_at", "causation_id", "derived_from" and "context". With - for DATA it
    holds the data of one TYPE a line. However many, they are one append, of at most 10,000.

    \b
    Examples:
      $ eventstore append board/7 task.added '{"task_id": "1", "title": "Book a room"}'
      $ eventstore append board/7 task.changed '{"task_id": "1"}' --expected exists --key done-1
      $ echo '{"type": "task.removed", "data": {"task_id": "1"}}' | eventstore append board/7 -
    """
    where, who = (store, tenant), (actor, causation, correlation)
    _check_names(stream, type_name, key, tag or (), who)
    events = _events(type_name, data, tuple(tag or ()), occurred)
    result = asyncio.run(_append(where, stream, events, _expected(expected), key, who))
    _show(Screen(), stream, result, as_json)


def _check_names(
    stream: str,
    type_name: str,
    key: str | None,
    tags: Sequence[str],
    who: tuple[str | None, str | None, str | None],
) -> None:
    """Refuses arguments that can be no name, before anything is opened."""
    actor, causation, correlation = who
    for name, value, kind in (
        ("STREAM", stream, "stream"),
        ("TYPE", None if type_name == STDIN else type_name, "type"),
        ("--key", key, "idempotency key"),
        ("--actor", actor, "actor"),
        ("--causation", causation, "causation id"),
        ("--correlation", correlation, "correlation id"),
        *(("--tag", tag, "tag") for tag in tags),
    ):
        check_argument(name, value, kind)


async def _append(
    where: tuple[str, str | None],
    stream: str,
    events: list[NewEvent],
    expected: Expected | int,
    key: str | None,
    who: tuple[str | None, str | None, str | None],
) -> AppendResult:
    actor, causation, correlation = who
    async with open_store(*where, create=True) as store:
        return await store.append(
            stream,
            events,
            expected=expected,
            idempotency_key=key,
            actor=actor,
            causation_id=causation,
            correlation_id=correlation,
        )


def _events(
    type_name: str, data: str | None, tags: tuple[str, ...], occurred: str | None
) -> list[NewEvent]:
    """The events that the arguments and standard input make, each with the tags of --tag."""
    occurred_at = None if occurred is None else parse_time(occurred)
    if type_name != STDIN and data != STDIN:
        value = {} if data is None else parse_json(data, "DATA")
        return [NewEvent(type_name, value, tags=tags, occurred_at=occurred_at)]
    if type_name == STDIN and sys.stdin.isatty():
        raise wrong_usage("no TYPE, and nothing is piped in", "see eventstore append --help")
    if type_name == STDIN and data not in (None, STDIN):
        raise wrong_usage("DATA has no place beside - for TYPE", "leave it out")
    events = []
    for number, line in enumerate(sys.stdin, start=1):
        if line.strip():
            where = f"stdin line {number}"
            events.append(_event_of(type_name, line.strip(), where))
    if not events:
        raise wrong_usage("standard input holds no event", "pipe JSON Lines in")
    return [_with_options(event, tags, occurred_at) for event in events]


def _event_of(type_name: str, line: str, where: str) -> NewEvent:
    if type_name == STDIN:
        return parse_event(line, where)
    return NewEvent(type_name, parse_json(line, where))


def _with_options(event: NewEvent, tags: tuple[str, ...], occurred_at: object) -> NewEvent:
    changes: dict[str, object] = {"tags": (*event.tags, *tags)}
    if event.occurred_at is None:
        changes["occurred_at"] = occurred_at
    return msgspec.structs.replace(event, **changes)


def _expected(text: str) -> Expected | int:
    if text in _EXPECTED:
        return _EXPECTED[text]
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    raise wrong_usage(
        f"--expected: {text!r} is no expectation", "use any, none, exists or a version"
    )


def _show(screen: Screen, stream: str, result: AppendResult, as_json: bool) -> None:
    if as_json:
        screen.json(
            {
                "stream": stream,
                "version": result.version,
                "position": result.position,
                "duplicate": result.duplicate,
                "events": [event.id for event in result.events],
            }
        )
        return
    if result.duplicate:
        screen.line("written before under this key; this is what was written then:")
    listing = Listing(screen, names_streams=False)
    for event in result.events:
        listing.show(event)
