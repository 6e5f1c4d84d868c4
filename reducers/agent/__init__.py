"""What agents do, as events and as state: the stock vocabulary and its reducers.

`vocabulary` has the type names and a builder for each event; every reducer here folds one aspect
of a session's stream, `agent` all of them at once:

    loaded = await agent.load(store, session_stream("42"))
    loaded.state.tool_calls.pending_ids

The reducers are total: whatever JSON the log holds under these type names, they give a state and
never raise. Their modules say what odd, doubled, late and lonely events mean.
"""

from . import vocabulary
from .approvals import Approval, Approvals, approvals
from .combined import AgentState, agent
from .conversation import Conversation, Message, conversation
from .errors import Errors, RaisedError, errors
from .memory import Forgotten, Memory, MemoryEntry, memory
from .session import Session, session
from .summary import Summary, shorten, summary, title
from .tasks import Task, Tasks, tasks
from .tool_calls import ToolCall, ToolCalls, ToolError, tool_calls
from .usage import Response, Totals, Usage, usage
from .vocabulary import session_stream

__all__ = [
    "agent",
    "session",
    "conversation",
    "tool_calls",
    "memory",
    "usage",
    "tasks",
    "approvals",
    "errors",
    "AgentState",
    "Session",
    "Conversation",
    "Message",
    "ToolCalls",
    "ToolCall",
    "ToolError",
    "Memory",
    "MemoryEntry",
    "Forgotten",
    "Usage",
    "Totals",
    "Response",
    "Tasks",
    "Task",
    "Approvals",
    "Approval",
    "Errors",
    "RaisedError",
    "Summary",
    "summary",
    "title",
    "shorten",
    "vocabulary",
    "session_stream",
]
