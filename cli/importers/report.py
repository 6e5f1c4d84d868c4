"""What an import did: per session, per problem, and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import fsum
from typing import Any

import msgspec

from eventstore import NewEvent
from reducers.agent import vocabulary

CHANGED_SHOWN = 20
"""Numbers of changed records that are listed for a session; more are only counted."""

_TITLE_CHARACTERS = 80


class Problem(msgspec.Struct, frozen=True):
    """Something that was not imported, or does not fit what stands: where and why.

    `line` counts in the file; `record` in the session. Neither holds any content.
    """

    file: str
    reason: str
    line: int | None = None
    stream: str | None = None
    record: int | str | None = None


class Skipped(msgspec.Struct):
    """A file that is no session of a known source."""

    file: str
    reason: str


class SessionReport(msgspec.Struct):
    """One session as its source has it (the counts), and what was new in the store.

    Messages are all messages of the source, whatever their role; `turns` those of the user;
    errors are failed tool calls and errors beside them; `raw` the records kept as bytes.
    """

    stream: str
    kind: str
    file: str
    title: str = ""
    records: int = 0
    messages: int = 0
    turns: int = 0
    tool_calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cost: float = 0.0
    reward: float | None = None
    raw: int = 0
    unmapped: dict[str, int] = {}
    new_records: int = 0
    new_events: int = 0
    changed: list[int | str] = []
    changed_count: int = 0

    @property
    def tokens(self) -> int:
        """Tokens in and out, without those that only passed a cache."""
        return self.input_tokens + self.output_tokens


class ImportReport(msgspec.Struct):
    """The whole run. `rejected` says whether anything in it was not imported as it should be."""

    sessions: list[SessionReport] = []
    problems: list[Problem] = []
    known_problems: set[Problem] = set()
    skipped: list[Skipped] = []
    files: int = 0
    source_bytes: int = 0
    seconds: float = 0.0

    def add_problem(self, problem: Problem) -> None:
        """Notes a problem, once: a file that is followed shows it again at every look."""
        if problem not in self.known_problems:
            self.known_problems.add(problem)
            self.problems.append(problem)

    @property
    def rejected(self) -> bool:
        """Whether something was broken or changed: the command ends with 3 then."""
        return bool(self.problems)

    def ranked(self) -> list[SessionReport]:
        """The sessions, those that used the most tokens first, then the most calls and turns."""
        return sorted(
            self.sessions,
            key=lambda one: (-one.tokens, -one.tool_calls, -one.turns, one.stream),
        )

    def totals(self) -> dict[str, Any]:
        """Sums over all sessions, and what was left out."""
        names = (
            "records",
            "messages",
            "turns",
            "tool_calls",
            "errors",
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "raw",
            "new_records",
            "new_events",
            "changed_count",
        )
        rewards = [one.reward for one in self.sessions if one.reward is not None]
        unmapped: Counter[str] = Counter()
        for one in self.sessions:
            unmapped.update({f"{one.kind}: {kind}": n for kind, n in one.unmapped.items()})
        return {
            "files": self.files,
            "sessions": len(self.sessions),
            **{name: sum(getattr(one, name) for one in self.sessions) for name in names},
            "cost": sum(one.cost for one in self.sessions),
            "reward": sum(rewards) if rewards else None,
            "unmapped": dict(unmapped.most_common()),
            "problems": len(self.problems),
            "skipped": len(self.skipped),
            "source_bytes": self.source_bytes,
            "seconds": self.seconds,
        }


class Counting:
    """Counts one session's events into its report, by the rules that its state counts by."""

    def __init__(self, report: SessionReport) -> None:
        self.report = report
        self._responses: dict[str, dict[str, int]] = {}
        self._response_costs: dict[str, float] = {}
        self._other_costs: list[float] = []

    def count(self, events: Sequence[NewEvent]) -> None:
        """Adds the events of one record."""
        report = self.report
        report.records += 1
        for event in events:
            kind, data = event.type, event.data
            if kind == vocabulary.MESSAGE_ADDED:
                report.messages += 1
                if data["role"] == "user":
                    report.turns += 1
                    if not report.title:
                        report.title = _title(data.get("parts"))
                for part in data.get("parts", ()):
                    kind_of_part = str(part.get("type"))
                    if kind_of_part not in _KNOWN_PARTS:
                        self._unmapped(f"part/{kind_of_part[:40]}")
            elif kind == vocabulary.TOOL_REQUESTED:
                report.tool_calls += 1
            elif kind in (vocabulary.TOOL_FAILED, vocabulary.ERROR_RAISED):
                report.errors += 1
            elif kind == vocabulary.MODEL_CALLED:
                self._model(data)
            elif kind == vocabulary.SOURCE_RECORDED:
                self._unmapped(str(data.get("kind"))[:60])

    def count_raw(self) -> None:
        """Adds a record that is kept as its bytes."""
        self.report.records += 1
        self.report.raw += 1

    def count_fields(self, events: Sequence[NewEvent]) -> None:
        """Takes title and reward from the session's own fields."""
        for event in events:
            title = event.data.get("title")
            if isinstance(title, str) and title:
                self.report.title = title[:_TITLE_CHARACTERS]
            reward = (event.data.get("outcome") or {}).get("reward")
            if isinstance(reward, (int, float)) and not isinstance(reward, bool):
                self.report.reward = reward

    def _unmapped(self, kind: str) -> None:
        self.report.unmapped[kind] = self.report.unmapped.get(kind, 0) + 1

    def _model(self, data: dict[str, Any]) -> None:
        """Each response counts once, with the figures seen last; without an id each event does."""
        usage, cost = data.get("usage") or {}, data.get("cost")
        response = data.get("response_id")
        if response is not None:
            former = self._responses.get(response)
            self._responses[response] = {**(former or {}), **usage}
            self._add(
                {name: usage[name] - former.get(name, 0) for name in usage} if former else usage
            )
        else:
            self._add(usage)
        if cost is not None:
            if response is not None:
                self._response_costs[response] = cost
            else:
                self._other_costs.append(cost)
            # Rounded once, as the state does it: see reducers.agent.usage.
            self.report.cost = fsum((*self._response_costs.values(), *self._other_costs))

    def _add(self, usage: dict[str, int]) -> None:
        report = self.report
        for name, tokens in usage.items():
            setattr(report, name, getattr(report, name) + tokens)


_KNOWN_PARTS = frozenset(
    {"text", "reasoning", "tool_call", "tool_call_response", "blob", "uri", "file"}
)


def _title(parts: Any) -> str:
    for part in parts or ():
        text = part.get("content")
        if part.get("type") == "text" and isinstance(text, str) and text.strip():
            return " ".join(text[: 4 * _TITLE_CHARACTERS].split())[:_TITLE_CHARACTERS]
    return ""
