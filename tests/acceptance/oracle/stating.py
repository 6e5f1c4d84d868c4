"""What a session's state must be at a point: plain values, and how they are compared.

Owns the words of the oracle. Neither here nor in the modules that read the sources is anything of
the product imported: `test_oracle_is_independent.py` holds that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple


class Said(NamedTuple):
    """A message. `asks` and `answers` are calls by their number, from 1."""

    role: str
    text: str
    reasoning: str = ""
    name: str | None = None
    id: str | None = None
    asks: tuple[int, ...] = ()
    answers: tuple[int, ...] = ()


class Called(NamedTuple):
    """A tool call. Values are exact JSON texts; `id` is None where the source gives none, or one
    that an earlier call of the session has already."""

    id: str | None
    name: str
    arguments: str
    requestor: str
    status: str = "pending"
    outcome: str | None = None
    error: str | None = None
    """What a failed call says went wrong: a text."""


class Remembered(NamedTuple):
    """A memory: its words, and the user whom it is of."""

    id: str
    words: str
    user: str | None


class Spent(NamedTuple):
    """Tokens and US dollars, over all answers of models so far."""

    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_creation: int = 0
    cost: float = 0.0


class Stated(NamedTuple):
    """The state at a point, as far as the sources speak of it."""

    messages: tuple[Said, ...] = ()
    calls: tuple[Called, ...] = ()
    spent: Spent = Spent()
    memories: tuple[Remembered, ...] = ()
    shared: str = "{}"
    raised: tuple[str, ...] = ()
    ended: bool = False
    end_reason: str | None = None
    reward: str = "null"
    contradictions: tuple[str, ...] = ()
    """Figures of a state that do not fit its own lists; a source has none."""

    @property
    def pending(self) -> tuple[int, ...]:
        """The numbers of the calls that nobody has answered."""
        return tuple(n for n, call in enumerate(self.calls, 1) if call.status == "pending")

    @property
    def failed(self) -> int:
        """How many calls came back with an error."""
        return sum(call.status == "failed" for call in self.calls)

    @property
    def turns(self) -> int:
        """How often the user spoke."""
        return sum(said.role == "user" for said in self.messages)


FIELDS = tuple(name for name in Stated._fields if name not in ("messages", "calls"))
"""What is compared as a whole."""


class Course(NamedTuple):
    """A session: its state before the first record, after each record, and after its end."""

    kind: str
    key: tuple[object, ...]
    """What the source calls it: an id, a session and an agent, or task and trial."""

    head: Stated
    records: tuple[Stated, ...]
    tail: Stated

    @property
    def name(self) -> str:
        """For messages of tests."""
        return f"{self.kind}-{'-'.join(map(str, self.key))}"


def exact(value: Any) -> str:
    """JSON in one form: 1, 1.0 and true are three values, the order of keys means nothing."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def differences(wanted: Stated, seen: Stated) -> list[str]:
    """What is not as it must be, a line each; empty when all is."""
    found = _lists("message", wanted.messages, seen.messages)
    found += _lists("call", wanted.calls, unnamed_as(wanted.calls, seen.calls))
    for field in FIELDS:
        want, have = getattr(wanted, field), getattr(seen, field)
        if want != have:
            found.append(f"{field}: wanted {want!r}, seen {have!r}")
    return found


def unnamed_as(wanted: Sequence[Called], seen: Sequence[Called]) -> tuple[Called, ...]:
    """The calls seen, without the ids that the source does not give."""
    return tuple(
        call._replace(id=None) if n < len(wanted) and wanted[n].id is None else call
        for n, call in enumerate(seen)
    )


def _lists(what: str, wanted: Sequence[Any], seen: Sequence[Any]) -> list[str]:
    if wanted == seen:
        return []
    found = [
        f"{what} {n}: wanted {_short(want)}, seen {_short(have)}"
        for n, (want, have) in enumerate(zip(wanted, seen, strict=False), 1)
        if want != have
    ]
    if len(wanted) != len(seen):
        found.append(f"{what}s: wanted {len(wanted)}, seen {len(seen)}")
    return found


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 400 else f"{text[:300]}...{text[-100:]}"
