"""The errors of the store: whose fault, whether it was written, and what to do next.

::

    EventStoreError
    ├── Conflict               caller's    not written   load again, decide again
    │   └── ConditionFailed    caller's    not written   read the matching events, decide again
    ├── IdempotencyMismatch    caller's    not written   use a new key, or send what was sent first
    ├── InvalidEvent           caller's    not written   mend the input (also a ValueError)
    ├── Misuse                 caller's    not written   one loop and one process for each store
    ├── Busy                   nobody's    not written   try again
    ├── StoreClosed            caller's    not written   open the store again
    ├── StorageFailed          machine's   not written   make room or mend the disk, then retry
    ├── OutcomeUnknown         machine's   UNKNOWN       send it again with the same key or ids
    ├── LeaseLost              nobody's    not written   stop working; someone else holds it
    ├── RowRefused             caller's    not written   mend the view's declaration or the value
    ├── SchemaTooNew           operator's  not written   upgrade this program
    ├── LogDiverged            operator's  not written   the log was restored: rebuild the reader
    └── Corrupt                machine's   not written   stop; restore from a backup

Messages carry values (stream, versions, limits, JSON paths), never a payload or a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .events import AppendResult, RecordedEvent
    from .query import Query

Written = Literal["no", "yes", "unknown"]


class EventStoreError(Exception):
    """Anything that the store refuses or fails at.

    `written` says whether the append took effect; `fault` whose it was; `next_step` what to do.
    """

    written: ClassVar[Written] = "no"
    fault: ClassVar[str] = "caller"
    next_step: str = "read the message"

    def __reduce__(self) -> tuple[Any, ...]:
        # So that an error crosses to another process: the arguments of subclasses are not `args`.
        return _restore, (type(self), self.args, self.__dict__)


class Conflict(EventStoreError):
    """The stream is not at the version that was expected. Nothing was written.

    `stream`, `expected` (an int or `Expected`), `actual` (the version found), `index` (which
    append of `append_many`, else 0), `events` (the first 1,000 that were missed, oldest first),
    `truncated` (there are more).
    """

    next_step = "load again and decide again"

    def __init__(
        self,
        stream: str,
        expected: object,
        actual: int,
        *,
        index: int = 0,
        events: Sequence[RecordedEvent] = (),
        truncated: bool = False,
        message: str | None = None,
    ) -> None:
        self.stream = stream
        self.expected = expected
        self.actual = actual
        self.index = index
        self.events = tuple(events)
        self.truncated = truncated
        super().__init__(
            message
            or f"stream {stream!r}: expected {_show(expected)}, found version {actual}"
            f" (append {index}); load again and decide again"
        )


class ConditionFailed(Conflict):
    """An event that the append's condition forbids stands in the log. Nothing was written.

    `query` and `after` are the condition's; `events` are the first 1,000 that match it.
    """

    def __init__(
        self,
        stream: str,
        actual: int,
        *,
        query: Query | Sequence[Query],
        after: int,
        index: int = 0,
        events: Sequence[RecordedEvent] = (),
        truncated: bool = False,
        expected: object = None,
    ) -> None:
        self.query = query
        self.after = after
        super().__init__(
            stream,
            expected,
            actual,
            index=index,
            events=events,
            truncated=truncated,
            message=f"stream {stream!r}: an event that matches {query!r} stands after position"
            f" {after} (append {index}); read it and decide again",
        )


class IdempotencyMismatch(EventStoreError):
    """The key was used before with other content. Nothing was written now.

    `stream` (None for `append_many`), `key`, and `result`, the first call's answer (a list of
    answers for `append_many`).
    """

    next_step = "use a new key, or send exactly what was sent first"

    def __init__(
        self, stream: str | None, key: str, result: AppendResult | list[AppendResult]
    ) -> None:
        self.stream = stream
        self.key = key
        self.result = result
        where = "append_many" if stream is None else f"stream {stream!r}"
        super().__init__(
            f"{where}: idempotency key {key!r} was used before with other content;"
            " use a new key, or send exactly what was sent first"
        )


class InvalidEvent(EventStoreError, ValueError):
    """A name, tag, key, payload or registration that the store refuses. Nothing was written.

    The message names what, where (a JSON path for payloads) and the limit, never the content.
    """

    next_step = "mend the input"


class Misuse(EventStoreError, RuntimeError):
    """The store was used from another event loop or from a forked process. Nothing was written."""

    next_step = "open a store in each event loop and in each process"


class Busy(EventStoreError):
    """Another process held the write lock for too long. Nothing was written."""

    fault = "nobody"
    next_step = "try again"


class StoreClosed(EventStoreError):
    """The store is closed or closing. Nothing was written."""

    next_step = "open the store again"


class StorageFailed(EventStoreError):
    """The database failed (disk full, I/O error, read-only file). Nothing was written.

    `next_step` says what this failure asks for, where that is known.
    """

    fault = "machine"
    next_step = "make room or mend the disk, then try again"

    def __init__(self, message: str = "", *, next_step: str | None = None) -> None:
        super().__init__(message)
        if next_step is not None:
            self.next_step = next_step


class OutcomeUnknown(EventStoreError):
    """The disk failed while the commit was made durable, and again when it was tried anew.

    It may or may not be written: send it again with the same idempotency key or event ids.
    """

    written = "unknown"
    fault = "machine"
    next_step = "send it again with the same key or ids"


class LeaseLost(EventStoreError):
    """The lease ran out or was taken over: the fencing token is no longer the newest.

    Nothing was written.
    """

    fault = "nobody"
    next_step = "stop working on this partition; acquire the lease again"


class RowRefused(EventStoreError):
    """The database refused a row of a view: a constraint, a type or a size. Nothing was written.

    `statement` is the index of the statement at fault.
    """

    next_step = "mend the view's declaration, or what the projection makes of this event"

    def __init__(self, message: str, *, statement: int) -> None:
        self.statement = statement
        super().__init__(message)


class SchemaTooNew(EventStoreError):
    """The store or an event was written by a newer version of this code. Nothing was touched."""

    fault = "operator"
    next_step = "upgrade this program"


class LogDiverged(EventStoreError):
    """A reader's checkpoint does not lie in this log: the log was restored or replaced.

    Nothing was read past it; rebuild the reader from the start.
    """

    fault = "operator"
    next_step = "rebuild this reader from the start of the log"


class Corrupt(EventStoreError):
    """What is stored is not what was written. Nothing goes on from here.

    `kind` (hash, gap, index, head, tail, page), `position` and `stream`/`version` where known.
    """

    fault = "machine"
    next_step = "stop, keep the file, restore from a backup"

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        position: int | None = None,
        stream: str | None = None,
        version: int | None = None,
    ) -> None:
        self.kind = kind
        self.position = position
        self.stream = stream
        self.version = version
        super().__init__(message)


def _show(expected: object) -> str:
    return f"version {expected}" if isinstance(expected, int) else str(expected)


def _restore(kind: type[EventStoreError], args: tuple[Any, ...], values: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(values)
    return error
