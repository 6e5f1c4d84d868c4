"""MemoryBank: what a companion has talked about with its users, turn by turn, under each day.

``{user: {"name": ..., "history": {"2023-04-27": [{"query": ..., "response": ...}]}}}``. A day of a
user is a session; each turn is said, and is remembered beyond it.
"""

from __future__ import annotations

from typing import Final

from eventstore import InvalidEvent, NewEvent
from eventstore.names import check_name
from reducers.agent import vocabulary

from .mapping import kept_whole, object_of, text_of, time_of, title_of
from .parsing import Json

KIND: Final = "memorybank"

USER_TAG: Final = "user:"
"""What stands before the user's name in a memory's tag."""

MEMORY_TYPE: Final = "episodic"
"""Memories of what was said when, as they are commonly called; not facts drawn from it."""


def is_bank(value: Json) -> bool:
    """Whether a document's value (or its sketch) is one: by its first user."""
    if not isinstance(value, dict):
        return False
    first = next(iter(value.values()), None)
    history = first.get("history") if isinstance(first, dict) else None
    if not isinstance(history, dict):
        return False
    return not history or any(isinstance(turns, list) for turns in history.values())


def name_of(user: str) -> str:
    """The name that a user goes by: the source's key without the space around it."""
    return user.strip()


class MemoryBank:
    """The mapper of one day of one user. `shared` is the stream that holds the user's profile."""

    def __init__(self, user: str, day: str, shared: str | None = None) -> None:
        self._user = name_of(user)
        self._day = day
        self._shared = shared
        self._when = time_of(day)
        self._tags = tags_of(self._user)
        self._turns = 0

    def start(self, head: Json) -> NewEvent:
        """`head` holds the user, as the source writes the name, and the day."""
        source = {"kind": KIND}
        if self._shared is not None:
            source["shared"] = self._shared
        return vocabulary.session_started(
            title=title_of(f"{self._user} {self._day}"),
            source=source,
            attributes=object_of(head),
            tags=self._tags,
            occurred_at=self._when,
        )

    def record(self, record: Json) -> list[NewEvent]:
        """A turn: what the user said, what was answered, and the memory of both."""
        self._turns += 1
        turn = object_of(record)
        said = [
            (role, told, text)
            for role, told, text in (
                ("user", self._user, text_of(turn.get("query"))),
                ("assistant", "AI", text_of(turn.get("response"))),
            )
            if text is not None
        ]
        if not said:
            return kept_whole("other", record, self._when)
        messages = [
            vocabulary.message_added(
                role=role, parts=[vocabulary.text_part(text)], occurred_at=self._when
            )
            for role, _, text in said
        ]
        remembered = vocabulary.memory_remembered(
            memory_id=f"{self._user}/{self._day}/{self._turns}",
            content="\n".join(f"{told}: {text}" for _, told, text in said),
            attributes={"user": self._user, "type": MEMORY_TYPE},
            tags=self._tags,
            occurred_at=self._when,
        )
        return [*messages, remembered]

    def end(self, tail: Json) -> list[NewEvent]:
        """Days have no end of their own."""
        return kept_whole("session", tail)


def tags_of(user: str) -> list[str]:
    """The tag that a user's memories are found by; none where the name makes no tag."""
    try:
        return [check_name("tag", USER_TAG + user)] if user else []
    except InvalidEvent:
        return []
