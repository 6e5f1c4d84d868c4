"""``eventstore import``: recorded sessions of agents become streams."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from eventstore.opening import sqlite_path

from ..exits import LINE_CHARACTERS_MAX, ExitCode, wrong_usage
from ..importers import (
    ImportReport,
    Options,
    SessionReport,
    SeveralSessions,
    claude_code_folder,
    follow_paths,
    import_paths,
)
from ..options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store, store_url
from ..rendering.progress import Advance, progress
from ..rendering.safe import one_line
from ..rendering.screen import Screen
from ..rendering.values import count

ROWS_SHOWN = 20
"""Sessions in the table: what fits a screen. --json has all of them."""

PROBLEMS_SHOWN = 20
"""Problems told one by one on stderr; --json has all of them."""

TITLE_WIDTH = 44

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
    subagents, and ADK sessions. What was imported before is left alone, so importing again adds
    only what is new. Exit code 3: something was broken, or has changed since; the rest is in.

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
    options = Options(session_id=session_id)
    try:
        report = asyncio.run(_import((store, tenant), paths, options, follow))
    except SeveralSessions as exc:
        raise wrong_usage(f"--id: {exc}", "leave --id out, or name one file") from None
    screen = Screen()
    if as_json:
        _show_json(screen, report)
    else:
        _show(screen, report, (store, tenant))
    screen.flush()
    for line in _problem_lines(report):
        print(f"eventstore: {line}", file=sys.stderr)
    return ExitCode.REJECTED if report.rejected else ExitCode.DONE


async def _import(where: Where, paths: list[Path], options: Options, follow: bool) -> ImportReport:
    async with open_store(*where, create=True) as store:
        with progress("importing") as advance:
            told = _by_percent(advance)
            if not follow:
                return await import_paths(store, paths, options, told)
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            for name in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(name, stop.set)
            if sys.stderr.isatty():
                print("following; Ctrl-C ends it", file=sys.stderr)
            return await follow_paths(store, paths, stop, options, told)


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


def _show(screen: Screen, report: ImportReport, where: Where) -> None:
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
    for command in _commands(ranked, where):
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


def _commands(ranked: list[SessionReport], where: Where) -> list[str]:
    """Three commands that go on from here, with the names of streams that are there."""
    if not ranked:
        return []
    url, tenant = where
    store = "" if url == DEFAULT_URL else f" --store {shlex.quote(_place(url))}"
    if tenant is not None:
        store += f" --tenant {shlex.quote(tenant)}"
    first = shlex.quote(ranked[0].stream)
    return [
        f"{call} state {first}{store}",
        f"{call} diff {_pair(ranked)}{store}",
        f"{call} export {first} --as source{store}",
    ]


def _pair(ranked: list[SessionReport]) -> str:
    """Two runs of one task where there are some, else the first session from its beginning."""
    by_task: dict[str, str] = {}
    for session in ranked:
        task = session.title.partition(" trial ")[0]
        if task != session.title and task in by_task:
            return f"{shlex.quote(by_task[task])} {shlex.quote(session.stream)}"
        by_task[task] = session.stream
    # Every session that has a record has a second event.
    return f"{shlex.quote(ranked[0].stream)} 1 2"


def _place(url: str) -> str:
    url = store_url(url)
    return sqlite_path(url) if url.startswith("sqlite:") else url


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
