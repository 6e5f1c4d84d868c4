"""What a list of sessions shows of each: one line's worth of a session's state."""

from __future__ import annotations

from msgspec import Struct

from .combined import AgentState

TITLE_CHARACTERS_MAX = 60
"""A title leaves room for the other columns of a table on a terminal of 100 columns."""

UNTITLED = "(untitled)"


class Summary(Struct, frozen=True):
    """A session at a glance.

    `turns` is the number of user messages; `tool_calls` counts calls that were asked for,
    `errors` failed tool calls and raised errors together; `tokens` is input and output together
    as the sources state them, `cost` in US dollars.
    """

    title: str
    turns: int
    messages: int
    tool_calls: int
    pending: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost: float
    ended: bool

    @property
    def tokens(self) -> int:
        """Input and output tokens."""
        return self.input_tokens + self.output_tokens


def summary(state: AgentState) -> Summary:
    """The summary of a session's state. Walks its messages and calls once."""
    usage = state.usage
    return Summary(
        title=title(state),
        turns=state.conversation.turns,
        messages=len(state.conversation.messages),
        tool_calls=state.tool_calls.requested,
        pending=len(state.tool_calls.pending),
        errors=state.tool_calls.failures + len(state.errors.errors),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost=usage.cost,
        ended=state.session.ended,
    )


def title(state: AgentState) -> str:
    """What to call a session: its title, or else the user's first words, or else its
    conversation id; one line of at most 60 characters without control characters."""
    return (
        shorten(state.session.title or "")
        or next(
            (
                words
                for message in state.conversation.messages
                if message.role == "user" and (words := shorten(message.text))
            ),
            "",
        )
        or shorten(state.session.conversation_id or "")
        or UNTITLED
    )


def shorten(text: str, characters_max: int = TITLE_CHARACTERS_MAX) -> str:
    """`text` on one line of at most `characters_max` characters: runs of white space become one
    space, what a terminal would obey or not show is left out, and a cut is marked by an ellipsis.
    """
    # Twenty times the room is enough to fill it, and a pasted file is not walked for a title.
    head = text[: characters_max * 20]
    line = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    if len(line) <= characters_max and len(head) == len(text):
        return line
    return line[: characters_max - 1].rstrip() + "…"
