"""``eventstore import``: recorded sessions of agents become streams."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from eventstore import EventStore
from reducers.agent import vocabulary

from ..exits import LINE_CHARACTERS_MAX, ExitCode, check_argument, wrong_usage
from ..importers import (
    ImportReport,
    Options,
    SessionReport,
    SeveralSessions,
    claude_code_folder,
    follow_paths,
    import_paths,
)
from ..importers.importing import Run, find_files
from ..options import (
    DEFAULT_URL,
    STORE_VARIABLE,
    JsonOption,
    StoreOption,
    TenantOption,
    is_postgres,
    open_store,
    shown_store,
    store_exists,
)
from ..program import program_call
from ..rendering.progress import Advance, progress, status
from ..rendering.safe import one_line
from ..rendering.screen import Screen
from ..rendering.values import count

ROWS_SHOWN = 20
"""Sessions in the table: what fits a screen. --json has all of them."""

PROBLEMS_SHOWN = 20
"""Problems told one by one on stderr; --json has all of them."""

TITLE_WIDTH = 44

LAST_EVENTS_MAX = 10
"""Events at a session's end that a suggested diff spans: what it prints can still be read."""

Where = tuple[str, str | None]


def import_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE|DIR...",
            help="Files of sessions, or folders that hold some; told apart by their content.",
            show_default=False,
        ),
    ] = None,
    claude_code: Annotated[
        bool,
        typer.Option(
            "--claude-code",
            help="Also the sessions that Claude Code keeps ($CLAUDE_CONFIG_DIR or ~/.claude).",
        ),
    ] = False,
    session_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="The session's id, where there is only one."),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Stay, and import what is added, until Ctrl-C."),
    ] = False,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> int:
    """Import recorded agent sessions: one stream for each, session/ID.

    Knows OpenAI chat messages, tau-bench and tau2-bench results, Claude Code sessions with their
    subagents, ADK sessions, and MemoryBank's memories by user and day. What was imported before is
    left alone, so importing again adds only what is new. Exit code 3: something was broken, or has
    changed since; the rest is in.

    \b
    Examples:
      $ eventstore import chat.json results/
      $ eventstore import --claude-code --follow
      $ eventstore import chat.jsonl --id support-42 --json
    """
    paths = [*(files or ()), *([claude_code_folder()] if claude_code else ())]
    if not paths:
        raise wrong_usage("nothing to import", "name files or folders, or --claude-code")
    for path in paths:
        if not path.exists():
            raise wrong_usage(f"{str(path)!r} is not there", "check the path")
    check_argument("--id", session_id, "session id")
    options = Options(session_id=session_id)
    try:
        report, points = asyncio.run(_import((store, tenant), paths, options, follow, as_json))
    except SeveralSessions as exc:
        raise wrong_usage(f"--id: {exc}", "leave --id out, or name one file") from None
    screen = Screen()
    if as_json:
        _show_json(screen, report)
    else:
        _show(screen, report, (store, tenant), points)
    screen.flush()
    for line in _problem_lines(report):
        print(f"eventstore: {line}", file=sys.stderr)
    return ExitCode.REJECTED if report.rejected else ExitCode.DONE


async def _import(
    where: Where, paths: list[Path], options: Options, follow: bool, as_json: bool
) -> tuple[ImportReport, str]:
    """The report, and the arguments of a diff that shows something, if there is a session."""
    if not follow and not store_exists(where[0]) and not await _holds_sessions(paths, options):
        # Imported to nowhere: the same report, and no empty store that looks like a real one.
        where = ("memory://", None)
    async with open_store(*where, create=True) as store:
        if follow:
            report = await _follow(store, paths, options, quiet=as_json)
        else:
            with progress("importing") as advance:
                report = await import_paths(store, paths, options, _by_percent(advance))
        return report, "" if as_json else await _worth_a_diff(store, report.ranked())


async def _holds_sessions(paths: list[Path], options: Options) -> bool:
    """Whether anything in the files is recognised. Raises as `import_paths`, and writes nothing."""
    async with EventStore.open("memory://") as nowhere:
        return bool(await Run(nowhere, options).open_feeds(find_files(paths)))


async def _follow(
    store: EventStore, paths: list[Path], options: Options, *, quiet: bool
) -> ImportReport:
    """Imports what is there and what is added, until Ctrl-C, with a status for who looks on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    with status(quiet=quiet) as say:
        # Asked for before anything is imported: what comes after it is new.
        telling = asyncio.create_task(_tell(store, say, await store.head()))
        try:
            return await follow_paths(store, paths, stop, options)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)


async def _tell(store: EventStore, say: Callable[[str], None] | None, after: int) -> None:
    """Keeps the status in step with the log behind `after`: what is new, where, and how much."""
    if say is None:
        return
    new = 0
    say("following, nothing new yet; Ctrl-C ends it")
    async for event in store.subscribe(after=after):
        new += 1
        say(f"following, {count(new, 'new event')}, last {event.stream} v{event.version}")


def _by_percent(advance: Advance) -> Advance:
    """Tells the bar only when it would move: a record takes less time than drawing it."""
    shown = -1

    def told(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // max(total, 1)
        if percent != shown:
            shown = percent
            advance(done, total)

    return told


def _show(screen: Screen, report: ImportReport, where: Where, points: str) -> None:
    ranked = report.ranked()
    rows = [_row(session) for session in ranked[:ROWS_SHOWN]]
    columns = ("title", "turns", "calls", "errors", "tokens", "stream")
    if rows:
        screen.table(columns, rows, right="turns calls errors tokens", below="stream")
    if len(ranked) > ROWS_SHOWN:
        screen.line(f"and {len(ranked) - ROWS_SHOWN} more; see --json or eventstore streams")
    totals = report.totals()
    screen.text(
        f"{count(totals['sessions'], 'session')}, {count(totals['records'], 'record')},"
        f" {count(totals['messages'], 'message')}, {count(totals['tool_calls'], 'tool call')},"
        f" {count(totals['errors'], 'error')};"
        f" new: {count(totals['new_records'], 'record')}, {count(totals['new_events'], 'event')}"
    )
    if totals["raw"]:
        screen.line(f"{count(totals['raw'], 'record')} kept as bytes (import.raw)")
    for kind, number in totals["unmapped"].items():
        screen.line(f"without a meaning for the state: {number:,} {kind}")
    for skipped in report.skipped:
        screen.text(f"skipped {skipped.file}: {skipped.reason}")
    for command in _commands(ranked, where, points):
        screen.whole("  ", command)


def _row(session: SessionReport) -> tuple[str, ...]:
    return (
        one_line(session.title or "-", TITLE_WIDTH),
        f"{session.turns:,}",
        f"{session.tool_calls:,}",
        f"{session.errors:,}",
        f"{session.tokens:,}",
        session.stream,
    )


def _commands(ranked: list[SessionReport], where: Where, points: str) -> list[str]:
    """Three commands that go on from here, with the names of streams that are there."""
    if not ranked:
        return []
    url, tenant = where
    store = "" if _is_default(url) else f" --store {shlex.quote(shown_store(url))}"
    if tenant is not None:
        store += f" --tenant {shlex.quote(tenant)}"
    first, call = shlex.quote(ranked[0].stream), program_call()
    return [
        f"{call} state {first}{store}",
        f"{call} diff {points}{store}",
        f"{call} export {first} --as source{store}",
    ]


async def _worth_a_diff(store: EventStore, ranked: list[SessionReport]) -> str:
    """What to compare: two runs of one task where there are some, else two versions of a session
    between which something happens."""
    by_task: dict[str, str] = {}
    for session in ranked:
        task = session.title.partition(" trial ")[0]
        if task != session.title and task in by_task:
            return f"{shlex.quote(by_task[task])} {shlex.quote(session.stream)}"
        by_task[task] = session.stream
    if not ranked:
        return ""
    chosen = next((session for session in ranked if session.errors), ranked[0])
    first, last = await _turning_point(store, chosen)
    return f"{shlex.quote(chosen.stream)} {first} {last}"


async def _turning_point(store: EventStore, session: SessionReport) -> tuple[int, int]:
    """The versions around a session's first error; without one around its first tool call; without
    that its last events, at most half of them."""
    asked, ended = 0, 0
    async for event in store.read(session.stream):
        if event.type in (vocabulary.TOOL_FAILED, vocabulary.ERROR_RAISED):
            return event.version - 1, event.version
        if event.type == vocabulary.TOOL_REQUESTED:
            asked = asked or event.version
        elif event.type == vocabulary.TOOL_COMPLETED and asked:
            ended = ended or event.version
        if ended and not session.errors:
            break
    if ended:
        return asked - 1, ended
    last = await store.version(session.stream)
    return max(last // 2, last - LAST_EVENTS_MAX, 1), last


def _is_default(url: str) -> bool:
    """Whether a command that is pasted finds the store without being told. What the variable says
    is not repeated where it may hold a password."""
    named = os.environ.get(STORE_VARIABLE)
    return url == DEFAULT_URL or (is_postgres(url) and url == named)


def _show_json(screen: Screen, report: ImportReport) -> None:
    for session in report.ranked():
        screen.json({"report": "session", **_plain(session)})
    for problem in report.problems:
        screen.json({"report": "problem", **_plain(problem)})
    for skipped in report.skipped:
        screen.json({"report": "skipped", **_plain(skipped)})
    screen.json({"report": "total", **report.totals()})


def _plain(value: object) -> dict[str, object]:
    import msgspec

    plain: dict[str, object] = msgspec.to_builtins(value)
    return plain


def _problem_lines(report: ImportReport) -> list[str]:
    """The problems, one a line, each with its file and line (or record)."""
    told = []
    for problem in report.problems[:PROBLEMS_SHOWN]:
        place = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
        if problem.record is not None and problem.line is None:
            place = f"{place} record {problem.record} of {problem.stream}"
        told.append(one_line(f"{place}: {problem.reason}", LINE_CHARACTERS_MAX))
    more = len(report.problems) - len(told)
    if more:
        told.append(f"and {count(more, 'problem')} more; see --json")
    return told
