"""Reads the product's state into the oracle's words, by the fields that agent-events.md names.

Messages and calls are immutable and stay the same objects from version to version, so each is
translated once: a session of 2,500 versions is read in a second, not in a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .stating import Called, Remembered, Said, Spent, Stated, exact


class Seeing:
    """Translates the states of one session, in the order of their versions.

    A call's number is looked up until it has one. That it keeps it is seen in the calls themselves,
    which are compared in their order at every version.
    """

    def __init__(self) -> None:
        self._messages: dict[int, tuple[Any, Said, list[str], list[str]]] = {}
        self._calls: dict[int, tuple[Any, Called]] = {}

    def stated(self, state: Any) -> Stated:
        """A combined `agent` state in the oracle's words."""
        ordered = list(state.tool_calls.in_order)
        numbers = {id: number for number, (id, _) in enumerate(ordered, 1)}
        usage = state.usage
        seen = Stated(
            messages=tuple(self._said(one, numbers) for one in state.conversation.messages),
            calls=tuple(self._called(id, one) for id, one in ordered),
            spent=Spent(
                usage.calls,
                usage.input_tokens,
                usage.output_tokens,
                usage.cache_read_input_tokens,
                usage.cache_creation_input_tokens,
                usage.cost,
            ),
            memories=_memories(state.memory.entries),
            shared=exact(plain(state.session.shared)),
            raised=tuple(f"{one.type}: {one.message}" for one in state.errors.errors),
            ended=state.session.ended,
            end_reason=state.session.end_reason,
            reward=exact((state.session.outcome or {}).get("reward")),
        )
        figures = {
            "pending_ids": (
                state.tool_calls.pending_ids,
                [ordered[n - 1][0] for n in seen.pending],
            ),
            "requested": (state.tool_calls.requested, len(seen.calls)),
            "failures": (state.tool_calls.failures, seen.failed),
            "turns": (state.conversation.turns, seen.turns),
        }
        wrong = [f"{name}: {a} and {b}" for name, (a, b) in figures.items() if a != b]
        return seen._replace(contradictions=tuple(wrong)) if wrong else seen

    def _said(self, message: Any, numbers: dict[str, int]) -> Said:
        known = self._messages.get(id(message))
        if known is None:
            known = (message, *_translated(message))
            self._messages[id(message)] = known
        _, said, asks, answers = known
        if not asks and not answers:
            return said
        said = said._replace(
            asks=tuple(numbers.get(id, 0) for id in asks),
            answers=tuple(numbers.get(id, 0) for id in answers),
        )
        if all(said.asks + said.answers):
            self._messages[id(message)] = (message, said, [], [])
        return said

    def _called(self, name: str, call: Any) -> Called:
        known = self._calls.get(id(call))
        if known is None:
            outcome = exact(plain(call.result))
            known = (
                call,
                Called(
                    name,
                    call.name,
                    exact(plain(call.arguments)),
                    call.requestor,
                    call.status,
                    None if call.status == "pending" else outcome,
                    None if call.error is None else call.error.message,
                ),
            )
            self._calls[id(call)] = known
        return known[1]


def _memories(entries: Mapping[str, Any]) -> tuple[Remembered, ...]:
    """The live memories, by the number at the end of their ids."""
    ordered = sorted(entries, key=lambda id: int(id.rpartition("/")[2]))
    return tuple(
        Remembered(id, entries[id].content, entries[id].attributes.get("user")) for id in ordered
    )


def _translated(message: Any) -> tuple[Said, list[str], list[str]]:
    parts = [plain(part) for part in message.parts]
    thought = [part["content"] for part in parts if part["type"] == "reasoning"]
    said = Said(message.role, message.text, "".join(thought), message.name, message.message_id)
    asks = [part["id"] for part in parts if part["type"] == "tool_call"]
    answers = [part["id"] for part in parts if part["type"] == "tool_call_response"]
    return said, asks, answers


def plain(value: Any) -> Any:
    """A value of the state as plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in value}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value
