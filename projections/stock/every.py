"""A reducer that takes every event, whatever its type is: for rows that say how far a stream is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from reducers import Reducer
from reducers.reducer import Handler

S = TypeVar("S")
Step = Callable[[Any, Any], Any]

_EVERY = "every event"
"""What stands for the type in messages and in the fingerprint."""


class _Steps(dict[str, Step]):
    """Names no type, so that a relay asks the log for all of them, and has a step for each."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self._step = step

    def get(self, key: str, default: Any = None) -> Any:
        return self._step


class EveryEvent(Reducer[S]):
    """A fold with one handler, `handler(state, event) -> state`, for all events; `event.data` is
    what the payload says, whatever class is registered for its type. Raises as `Reducer`."""

    def __init__(self, name: str, initial: S, handler: Callable[[S, Any], S]) -> None:
        super().__init__(name, initial)
        self.handlers[_EVERY] = Handler(handler, None)
        self._every = _Steps(lambda state, event: handler(state, event.untyped()))

    def steps(self) -> dict[str, Step]:
        """See `Reducer.steps`."""
        return self._every

    def handler_name(self, event_type: str) -> str:
        """See `Reducer.handler_name`."""
        return super().handler_name(_EVERY)
