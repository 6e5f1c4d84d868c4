"""The PyPI package eventsourcing, on a SQLite file of its own and on PostgreSQL."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import msgspec
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import StoredEvent

from ..measuring import Timing, timing
from ..sizes import Sizes
from ..workload import MESSAGES, typed_events
from .threads import run_threads

_PAGE = 1_000
_PAYLOADS = [msgspec.json.encode(message) for message in MESSAGES]
_TEXTS = [message["content"] for message in MESSAGES]


class Session(Aggregate):
    """What our streams are: an aggregate that counts, with one event type."""

    def __init__(self) -> None:
        self.count = 0
        self.characters = 0
        self.last = ""

    @event("Noted")
    def note(self, topic: str, role: str, text: str) -> None:
        """Folds as `totals` does."""
        self.count += 1
        self.characters += len(text)
        self.last = topic


class Saving:
    """The library's own way to write: trigger an event on an aggregate and save it."""

    def __init__(self, env: dict[str, str], sizes: Sizes, callers: int) -> None:
        self._sizes = sizes
        self._app: Application[UUID] = Application(env=env)
        self._sessions = [self._new_session() for _ in range(callers)]

    def from_callers(self) -> Timing:
        """One thread for each caller, one event for each save."""
        appends = self._sizes.neighbour_appends_a_caller

        def work(session: Session) -> None:
            for number in range(appends):
                session.note("m", "user", _TEXTS[number % len(_TEXTS)])
                self._app.save(session)

        return run_threads([partial(work, session) for session in self._sessions])

    def one_by_one(self) -> Timing:
        """One caller."""
        session = self._new_session()
        with timing() as time:
            for number in range(self._sizes.single_appends // 4):
                session.note("m", "user", _TEXTS[number % len(_TEXTS)])
                self._app.save(session)
        return time

    def close(self) -> None:
        """Frees the file, or the connections."""
        self._app.close()

    def _new_session(self) -> Session:
        session = Session()
        self._app.save(session)
        return session


def on_postgres(url: str, sizes: Sizes, callers: int) -> Saving:
    """With the library's recorder for PostgreSQL, in an empty database, a connection a caller."""
    parts = urlsplit(url)
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path[1:],
        "POSTGRES_HOST": str(parts.hostname),
        "POSTGRES_PORT": str(parts.port),
        "POSTGRES_USER": str(parts.username),
        "POSTGRES_PASSWORD": unquote(parts.password or ""),
        "POSTGRES_POOL_SIZE": str(callers),
    }
    return Saving(env, sizes, callers)


class EventSourcing(Saving):
    """On SQLite, and what is read: an aggregate is got again, and the log is paged through."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        folder.mkdir()
        env = {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(folder / "events.db"),
            # 64 threads wait for the one writer; the default of 5 s is for fewer.
            "SQLITE_POOL_TIMEOUT": "60",
            "SQLITE_LOCK_TIMEOUT": "60",
        }
        super().__init__(env, sizes, sizes.callers)
        self._long = Session()
        for noted in typed_events(sizes.stream_events):
            self._long.note(noted.topic, noted.role, noted.text)
        self._app.save(self._long)
        self._fill(sizes.neighbour_events)

    def replay(self) -> Timing:
        """The aggregate rebuilt from all of its events."""
        with timing() as time:
            found: Session = self._app.repository.get(self._long.id)
        if found.count != self._sizes.stream_events:
            raise RuntimeError(f"eventsourcing replayed {found.count} events")
        return time

    def read_log(self) -> Timing:
        """As many events as the comparison reads, from the beginning of its notification log."""
        wanted, seen = self._sizes.neighbour_events, 0
        with timing() as time:
            while seen < wanted:
                page = self._app.recorder.select_notifications(
                    seen + 1, min(_PAGE, wanted - seen), inclusive_of_start=True
                )
                seen += len(page)
                if not page:
                    raise RuntimeError(f"eventsourcing gave {seen} of {wanted} events")
        return time

    def _fill(self, count: int) -> None:
        """Puts events into the log as the library's own recorder does, below its aggregates."""
        stream = uuid4()
        for start in range(0, count, _PAGE):
            self._app.recorder.insert_events(
                [
                    StoredEvent(stream, number + 1, "Noted", _PAYLOADS[number % len(_PAYLOADS)])
                    for number in range(start, min(count, start + _PAGE))
                ]
            )
