"""What projections and views refuse or fail at.

::

    EventStoreError
    └── ProjectionError          the view's code or its declaration is not what it must be
        ├── KeyParked            the key waits in the dead letters
        ├── ViewStale            the view is further behind than its budget, or was not in time
        ├── ViewNotBuilt         no generation of the view serves yet
        ├── SinkUnavailable      the sink does not answer; the relay tries again by itself
        ├── SinkEmptied          the sink lost its marker: it was flushed, and is filled anew
        ├── EmbeddingFailed      a model gave no vectors for texts
        ├── ExtraMissing         a package that an extra brings is not installed (also an
        │                        ImportError)
        └── IndexRefused         a kept vector index is not served, and is built again
"""

from __future__ import annotations

from typing import Literal

from eventstore import EventStoreError


class ProjectionError(EventStoreError):
    """A projection, view or relay that is not what it must be. Nothing was written.

    The message names the view, the key or the event, never a payload.
    """

    next_step = "mend the projection's code or the view's declaration"


class KeyParked(ProjectionError):
    """An event of this key could not be applied: it and all later ones of the key wait in the dead
    letters. `view`, `key`, and `position` of the first of them."""

    fault = "machine"
    next_step = "mend what failed, then retry the key, or drop the event with a reason"

    def __init__(self, message: str, *, view: str, key: str, position: int) -> None:
        self.view, self.key, self.position = view, key, position
        super().__init__(message)


class ViewStale(ProjectionError):
    """The view did not reach the position in time, or is further behind than its freshness budget.
    `view`, `position` (how far it is) and `wanted`."""

    fault = "nobody"
    next_step = "try again, give it more time, or see 'eventstore projections status'"

    def __init__(self, message: str, *, view: str, position: int, wanted: int) -> None:
        self.view, self.position, self.wanted = view, position, wanted
        super().__init__(message)


class ViewNotBuilt(ProjectionError):
    """No generation of the view serves this tenant: no relay has built it yet."""

    fault = "operator"
    next_step = "run a relay: 'eventstore projections run'"


class SinkUnavailable(ProjectionError):
    """The sink does not answer. Nothing is parked for it: the relay waits and tries again."""

    fault = "machine"
    next_step = "start the sink again; the relay catches up by itself"


class SinkEmptied(ProjectionError):
    """The sink's incarnation marker is missing: it was flushed or replaced, and must be filled
    again from the start of the log."""

    fault = "machine"
    next_step = "nothing: the relay fills it again"


class EmbeddingFailed(ProjectionError):
    """Texts could not be turned into vectors; nothing was kept.

    `retryable` says whether the same call may succeed later, `wait_seconds` when, where a server
    said so. The message has the model and what went wrong, never a text, a key or an answer's body.
    """

    fault = "machine"
    next_step = "look at the model, its endpoint or its key; the relay tries again by itself"

    def __init__(self, message: str, *, retryable: bool, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retryable, self.wait_seconds = retryable, wait_seconds


class ExtraMissing(ProjectionError, ImportError):
    """A package that an extra of this distribution brings is not installed: `name`.

    The message has the command that installs it.
    """

    fault = "operator"
    next_step = "install the extra that the message names"


class IndexRefused(ProjectionError):
    """A kept index that is not served: it is built again from its rows.

    `reason`: `missing`; `damaged` (bytes are not what was written); `foreign` (another view,
    generation, embedder, format or machine wrote it); `ahead` (it knows positions that the view has
    not reached, as after a restore).
    """

    fault = "machine"
    next_step = "nothing: it is built again"

    def __init__(
        self, reason: Literal["missing", "damaged", "foreign", "ahead"], detail: str
    ) -> None:
        super().__init__(f"the kept vector index is {reason}: {detail}; it is built again")
        self.reason = reason
