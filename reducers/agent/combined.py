"""The stock reducers as one: `agent`, the state of a session with all its parts."""

from __future__ import annotations

from typing import Protocol

from .. import combine
from .approvals import Approvals, approvals
from .conversation import Conversation, conversation
from .errors import Errors, errors
from .memory import Memory, memory
from .session import Session, session
from .tasks import Tasks, tasks
from .tool_calls import ToolCalls, tool_calls
from .usage import Usage, usage


class AgentState(Protocol):
    """What `agent` computes: each part's state under the part's name."""

    @property
    def session(self) -> Session: ...
    @property
    def conversation(self) -> Conversation: ...
    @property
    def tool_calls(self) -> ToolCalls: ...
    @property
    def memory(self) -> Memory: ...
    @property
    def usage(self) -> Usage: ...
    @property
    def tasks(self) -> Tasks: ...
    @property
    def approvals(self) -> Approvals: ...
    @property
    def errors(self) -> Errors: ...


agent = combine(
    "agent",
    session=session,
    conversation=conversation,
    tool_calls=tool_calls,
    memory=memory,
    usage=usage,
    tasks=tasks,
    approvals=approvals,
    errors=errors,
)
