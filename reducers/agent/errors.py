"""Errors that are no tool's: every `error.raised`, in the order of the events."""

from __future__ import annotations

from msgspec import Struct

from eventstore import RecordedEvent

from .. import PersistentList, Reducer
from . import vocabulary
from .fields import fields, text


class RaisedError(Struct, frozen=True, gc=False):
    """One error, and the event that tells of it. Type and message are None when not stated."""

    event_id: str
    type: str | None = None
    message: str | None = None


class Errors(Struct, frozen=True):
    """The errors, first one first."""

    errors: PersistentList[RaisedError] = PersistentList()


errors: Reducer[Errors] = Reducer("errors", initial=Errors(), version=1)


@errors.on(vocabulary.ERROR_RAISED)
def error_raised(state: Errors, event: RecordedEvent) -> Errors:
    """Adds an error."""
    data = fields(event)
    error = RaisedError(event.id, text(data.get("error_type")), text(data.get("message")))
    return Errors(state.errors.append(error))
