"""What reducers refuse. One class is enough: the fault is in code, and nothing was written."""

from __future__ import annotations

from eventstore import EventStoreError


class ReducerError(EventStoreError):
    """A reducer, handler or decide function that is not what it must be. Nothing was written.

    Raised when it is registered (a type twice, a class without a name, an async handler), when it
    runs (a handler that returns nothing or changes its input), and for a state that has no JSON
    form. The message names the reducer, the handler and the event, never a payload.
    """

    next_step = "mend the reducer's code"
