"""The conversation: every message in the order of its events.

One `message.added` is one message, also where a source splits a message over several events that
bear the same `message_id`: its parts become visible one by one, as they did for the user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from eventstore import RecordedEvent
from eventstore.canonical import FrozenDict

from .. import PersistentList, Reducer
from . import vocabulary
from .fields import fields, identifier, text


class Message(Struct, frozen=True, gc=False):
    """One message. `parts` are the vocabulary's message parts, as they were recorded; `role` is
    empty when the event states none."""

    role: str
    parts: tuple[dict[str, Any], ...] = ()
    message_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """Its text parts, joined without anything in between; never reasoning."""
        return "".join(_contents(self.parts, "text"))

    @property
    def reasoning(self) -> str:
        """Its reasoning parts, joined without anything in between."""
        return "".join(_contents(self.parts, "reasoning"))


class Conversation(Struct, frozen=True):
    """The messages, first one first."""

    messages: PersistentList[Message] = PersistentList()

    @property
    def turns(self) -> int:
        """How many messages the user gave. Walks all messages."""
        return sum(message.role == "user" for message in self.messages)


conversation: Reducer[Conversation] = Reducer("conversation", initial=Conversation(), version=1)


@conversation.on(vocabulary.MESSAGE_ADDED)
def message_added(state: Conversation, event: RecordedEvent) -> Conversation:
    """Adds a message, whatever the event holds: what cannot be read is left out."""
    data = fields(event)
    message = Message(
        role=text(data.get("role")) or "",
        parts=_parts(data),
        message_id=identifier(data.get("message_id")),
        name=text(data.get("name")),
    )
    return Conversation(state.messages.append(message))


def _parts(data: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The message's parts, from `parts` or else from `content`.

    A string is one text part, alone as well as in a list; what is neither object nor string is
    no part.
    """
    given = data.get("parts")
    if not isinstance(given, list):
        given = data.get("content")
    if isinstance(given, str):
        given = [given]
    elif not isinstance(given, list):
        return ()
    return tuple(
        # Frozen as the others are: a replay would look at one that is not after every event.
        FrozenDict(vocabulary.text_part(part)) if isinstance(part, str) else part
        for part in given
        if isinstance(part, (dict, str))
    )


def _contents(parts: tuple[dict[str, Any], ...], kind: str) -> Iterator[str]:
    """The strings in the parts of one type: `content`, or the `text` that some providers say."""
    for part in parts:
        if part.get("type") == kind:
            for key in ("content", "text"):
                if isinstance(part.get(key), str):
                    yield part[key]
                    break
