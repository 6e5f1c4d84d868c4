"""From paths to sessions in the store: which files, in which order, and each one fed in.

`import_paths` takes every source as it is now. A feed can be read on when its file has grown;
`following` does that.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

import msgspec
from msgspec.structs import replace

from eventstore import EventStore, InvalidEvent
from eventstore.names import check_name
from reducers.agent.vocabulary import session_stream

from . import claude_code
from .claude_code import ClaudeCode
from .mapping import KeptWhole, Mapper
from .openai import OpenAi
from .pacing import at_import_pace
from .parsing import Json
from .recognising import BOM, NotRecognised, Recognised, recognise
from .report import ImportReport, Problem, SessionReport, Skipped
from .sources import Rejected, Session, Shared, derived_id, sessions_of, stream_of
from .splitting import Unreadable, line_of
from .subagents import files_of_subagents, find_start, link_subagents
from .writing import Importer, OpenSession

_SESSIONS_AT_ONCE = 100
"""Sessions whose versions are asked for together: one thread's hop for many."""

Progress = Callable[[int, int], None]
"""Told (source bytes taken, in all) as the work goes on."""


class Options(msgspec.Struct, frozen=True):
    """What a run was asked for. `session_id` is the id of its only session."""

    session_id: str | None = None


class SeveralSessions(Exception):
    """An id was given for one session, and the files hold several (or none)."""


class SourceFile(msgspec.Struct, frozen=True):
    """A file that may be fed; `named`: by the user, not found in a folder."""

    path: Path
    named: bool


async def import_paths(
    store: EventStore,
    paths: Iterable[Path | str],
    options: Options | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports files, and folders with all that is in them; what stands already is left alone.

    Returns what every session holds and what was new. Raises `OSError` for a path that cannot be
    read, `SeveralSessions` (nothing is written then), and what `EventStore.append` raises. If
    cancelled, a part is imported; importing again imports the rest.
    """
    started = time.monotonic()
    run = Run(store, options or Options(), progress)
    with at_import_pace():
        try:
            for feed in await run.open_feeds(find_files(paths)):
                await feed.read(complete=True)
            await run.finish_round()
        finally:
            await run.importer.abandon()
    run.report.seconds = time.monotonic() - started
    return run.report


def find_files(paths: Iterable[Path | str]) -> list[SourceFile]:
    """The files of `paths`, each once: folders give what is in them, in the order of the names,
    without what is hidden. Raises `OSError` for a path that is not there."""
    found: dict[Path, SourceFile] = {}
    for path in map(Path, paths):
        path.stat()
        if path.is_dir():
            inside = (
                item
                for item in sorted(path.rglob("*"))
                if item.is_file()
                and not any(part.startswith(".") for part in item.relative_to(path).parts)
            )
            for item in inside:
                found.setdefault(item.resolve(), SourceFile(item, named=False))
        else:
            found[path.resolve()] = SourceFile(path, named=True)
    return list(found.values())


class Run:
    """One run of the importer: its options, its report, the files it knows."""

    def __init__(
        self, store: EventStore, options: Options, progress: Progress | None = None
    ) -> None:
        self.options = options
        self.report = ImportReport()
        self.importer = Importer(store, self.report)
        self.to_link: set[str] = set()
        self._progress = progress
        self._known: set[Path] = set()
        self._bytes_done = self._bytes_all = 0
        self._sessions_taken = 0  # counted only where an id was given for the one there may be

    async def open_feeds(
        self, files: Sequence[SourceFile], *, quiet: bool = False
    ) -> list[LineFeed | DocumentFeed]:
        """Feeds for the files that are sessions, sessions before subagents; the others are
        reported (unless `quiet`: they may still become one)."""
        sessions: list[tuple[SourceFile, Recognised]] = []
        agents: list[tuple[SourceFile, Recognised]] = []
        waiting = list(files)
        while waiting:
            file = waiting.pop(0)
            if file.path.resolve() in self._known:
                continue
            try:
                kind = recognise(file.path)
            except OSError as exc:
                if file.named:
                    raise
                kind = NotRecognised(exc.strerror or type(exc).__name__)
            if quiet and isinstance(kind, Recognised) and kind.is_nameless:
                continue
            if isinstance(kind, NotRecognised):
                if not quiet:
                    self._known.add(file.path.resolve())
                    self._not_recognised(file, kind)
                continue
            self._known.add(file.path.resolve())
            (agents if kind.agent_id else sessions).append((file, kind))
            if kind.kind == claude_code.KIND and not kind.agent_id:
                beside = files_of_subagents(file.path, kind.session_id)
                waiting += [SourceFile(path, named=False) for path in beside]
        if self.options.session_id is not None:
            self._check_single(sessions, may_come=quiet)
        ordered = sessions + agents
        self.report.files += len(ordered)
        self._bytes_all += sum(file.path.stat().st_size for file, _ in ordered)
        return [
            DocumentFeed(self, file.path, kind)
            if kind.documents
            else LineFeed(self, file.path, kind)
            for file, kind in ordered
        ]

    async def finish_round(self) -> None:
        """Writes all that was read, durably, and links the subagents that were imported before
        their sessions. If cancelled, a part is done; importing again does the rest."""
        await self.importer.flush()
        to_link, self.to_link = self.to_link, set()
        for parent in sorted(to_link):
            linked = await link_subagents(self.importer.store, parent)
            for session in self.report.sessions:
                session.new_events += session.stream in linked

    def took(self, size: int) -> None:
        """Source bytes were read."""
        self._bytes_done += size
        self.report.source_bytes += size
        if self._progress is not None:
            self._progress(self._bytes_done, max(self._bytes_all, self._bytes_done))

    def problem(self, path: Path, reason: str, line: int | None = None) -> None:
        """Something in a file that belongs to no session."""
        self.report.add_problem(Problem(str(path), reason, line))

    def _not_recognised(self, file: SourceFile, why: NotRecognised) -> None:
        if file.named or why.line is not None:
            self.problem(file.path, f"not imported: {why.reason}", why.line)
        else:
            self.report.skipped.append(Skipped(str(file.path), why.reason))

    def _check_single(
        self, sessions: list[tuple[SourceFile, Recognised]], *, may_come: bool
    ) -> None:
        """Raises `SeveralSessions` unless all rounds together hold one session; who follows files
        may wait for it."""
        count = self._sessions_taken
        for file, kind in sessions:
            if not kind.documents:
                count += 1
                continue
            for _, document in documents_in(file.path.read_bytes().removeprefix(BOM), kind):
                try:
                    found = list(sessions_of(kind.kind, document))
                    count += sum(isinstance(one, Session) for one in found)
                except Unreadable:
                    count += 1
        self._sessions_taken = count
        if count > 1 or (count == 0 and not may_come):
            raise SeveralSessions(f"an id is for one session, these files hold {count}")
        try:
            check_name("stream", session_stream(self.options.session_id or ""))
        except InvalidEvent as exc:
            raise SeveralSessions(str(exc)) from None


class LineFeed:
    """A file with one record a line, read on as it grows."""

    def __init__(self, run: Run, path: Path, kind: Recognised) -> None:
        self.path = path
        self._run = run
        self._kind = kind
        self._session: OpenSession | None = None
        self._parent = ""
        self._offset = 0
        self._line = 0

    async def read(self, *, complete: bool) -> None:
        """Imports what is there and was not read before. `complete`: nothing follows, so a last
        line without its end is a line. If cancelled, a part may be imported."""
        importer = self._run.importer
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for raw in file:
                if not raw.endswith(b"\n") and not complete:
                    break
                self._offset += len(raw)
                self._line += 1
                if self._line == 1:
                    raw = raw.removeprefix(BOM)
                self._run.took(len(raw))
                record = raw.rstrip(b"\r\n")
                if not record.strip():
                    continue
                if self._session is None:
                    self._session = await self._open(record)
                if importer.is_full(len(record)):
                    await importer.send()
                self._session.add(self._line, record, self._line)
        if self._session is not None:
            if self._kind.kind == claude_code.KIND:
                self._run.to_link.add(self._parent)
            if complete:
                self._session.check_length()

    def restart(self) -> None:
        """The file was cut short or replaced: it is read from its beginning again."""
        self._offset = self._line = 0
        if self._session is not None:
            self._run.report.sessions.remove(self._session.report)
            self._session = None
        kind = recognise(self.path)
        if isinstance(kind, Recognised):
            self._kind = kind

    @property
    def offset(self) -> int:
        """Bytes of the file that were read."""
        return self._offset

    async def _open(self, first: bytes) -> OpenSession:
        kind, options, importer = self._kind, self._run.options, self._run.importer
        session_id = options.session_id or kind.session_id or derived_id(first)
        self._parent = stream_of(session_id)
        stream = stream_of(session_id, kind.agent_id)
        mapper: Mapper = ClaudeCode() if kind.kind == claude_code.KIND else OpenAi()
        session = await importer.open(
            kind.kind,
            stream,
            mapper,
            str(self.path),
            id_derived=options.session_id is None and kind.session_id is None,
        )
        head: Json = claude_code.first_named(kind.rows) or None
        started = mapper.start(head)
        if kind.agent_id is not None:
            await importer.flush()
            cause = await find_start(importer.store, self._parent, kind.agent_id, kind.rows)
            started = replace(started, causation_id=cause)
        session.start(None, started)
        return session


class DocumentFeed:
    """A file that is one JSON document (or one a line), taken whole each time."""

    def __init__(self, run: Run, path: Path, kind: Recognised) -> None:
        self.path = path
        self._run = run
        self._kind = kind
        self._reports: list[SessionReport] = []
        self._some: list[Session | Shared] = []
        self.unfinished = False

    async def read(self, *, complete: bool) -> None:
        """Imports what the document holds. `complete`: nobody is writing it, so a structure that
        is broken is reported; else it may be `unfinished`. If cancelled, a part may be imported."""
        for report in self._reports:
            self._run.report.sessions.remove(report)
        self._reports = []
        self.unfinished = False
        content = self.path.read_bytes().removeprefix(BOM)
        for line, document in documents_in(content, self._kind):
            try:
                for source in sessions_of(self._kind.kind, document):
                    if isinstance(source, Rejected):
                        where = line if self._kind.lines else line_of(content, source.offset)
                        self._run.problem(self.path, f"not imported: {source.reason}", where)
                    else:
                        await self._take(source)
            except Unreadable as exc:
                self.unfinished = not complete
                if complete:
                    line = line if self._kind.lines else line_where_broken(content, exc)
                    self._run.problem(self.path, f"no JSON: {exc}", line)
            await self._take(None)
        self._run.took(len(content))

    async def _take(self, source: Session | Shared | None) -> None:
        """Imports sessions some at a time, and at None those that are left."""
        if source is not None:
            self._some.append(source)
            if len(self._some) < _SESSIONS_AT_ONCE:
                return
        some, self._some = self._some, []
        versions = await asyncio.gather(*map(self._version, some))
        for one, version in zip(some, versions, strict=True):
            if isinstance(one, Shared):
                await self._shared(one)
            else:
                await self._import(one, version)

    def _stream(self, source: Session | Shared) -> str:
        if isinstance(source, Session) and self._run.options.session_id is not None:
            return session_stream(self._run.options.session_id)
        return source.stream

    async def _version(self, source: Session | Shared) -> int:
        return await self._run.importer.store.version(self._stream(source))

    async def _import(self, source: Session, version: int) -> None:
        importer = self._run.importer
        session = await importer.open(
            source.kind,
            self._stream(source),
            source.mapper,
            str(self.path),
            version=version,
            id_derived=source.id_derived and self._run.options.session_id is None,
        )
        self._reports.append(session.report)
        session.start(source.head)
        for number, raw in enumerate(source.records, 1):
            if importer.is_full(len(raw)):
                await importer.send()
            session.add(number, raw)
        session.end(source.tail, may_change=source.tail_may_change)
        session.check_length()

    async def _shared(self, source: Shared) -> None:
        importer = self._run.importer
        mapper = KeptWhole(source.kind)
        session = await importer.open(
            source.kind, source.stream, mapper, str(self.path), by_content=True
        )
        for number, raw in enumerate(source.records, session.standing.last + 1):
            if importer.is_full(len(raw)):
                await importer.send()
            session.add(number, raw)


def documents_in(content: bytes, kind: Recognised) -> Iterator[tuple[int, bytes]]:
    """The documents in a file, each with its first line: the file itself, or one a line."""
    if not kind.lines:
        yield 1, content
        return
    for line, document in enumerate(BytesIO(content), 1):
        if document.strip():
            yield line, document


def line_where_broken(content: bytes, error: Unreadable) -> int:
    """The line in which a document is broken. The place in `error` may count from a part of it."""
    try:
        json.loads(content)
    except json.JSONDecodeError as exc:
        return exc.lineno
    except (ValueError, RecursionError):
        pass
    return line_of(content, error.offset)
