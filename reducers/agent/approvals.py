"""Who has to agree to what, and what was decided.

- `approval.requested` without a usable id takes its event's id. A request always waits for a
  decision, also when its id was decided before: an old yes is no yes to a new question.
- `approval.granted` and `approval.denied` decide; a later decision replaces an earlier one. For an
  id that nobody requested the decision is kept, without a subject.
"""

from __future__ import annotations

from typing import Any, Literal

from immutables import Map
from msgspec import Struct
from msgspec.structs import replace

from eventstore import RecordedEvent

from .. import Reducer
from . import vocabulary
from .fields import fields, identifier, text

Decision = Literal["pending", "granted", "denied"]


class Approval(Struct, frozen=True, gc=False):
    """One question. `number` counts from 1 in the order in which they were first heard of;
    `requested_by` and `decided_by` are the actors of the events."""

    number: int
    status: Decision = "pending"
    subject: Any = None
    tool_call_id: str | None = None
    requested_by: str | None = None
    decided_by: str | None = None
    reason: str | None = None


class Approvals(Struct, frozen=True):
    """Approvals by their id, and the ids that wait for a decision, each with its number."""

    approvals: Map[str, Approval] = Map()
    pending: Map[str, int] = Map()

    @property
    def in_order(self) -> list[tuple[str, Approval]]:
        """(id, approval) in the order in which they were first heard of. Walks all of them."""
        return sorted(self.approvals.items(), key=lambda item: item[1].number)

    @property
    def pending_ids(self) -> list[str]:
        """The ids that wait for a decision, in order. Walks the pending ones only."""
        return sorted(self.pending, key=self.pending.__getitem__)


approvals: Reducer[Approvals] = Reducer("approvals", initial=Approvals(), version=1)


@approvals.on(vocabulary.APPROVAL_REQUESTED)
def approval_requested(state: Approvals, event: RecordedEvent) -> Approvals:
    """Asks, or asks again."""
    data = fields(event)
    approval_id = identifier(data.get("approval_id")) or event.id
    known = state.approvals.get(approval_id)
    approval = Approval(
        number=len(state.approvals) + 1 if known is None else known.number,
        subject=data.get("subject"),
        tool_call_id=identifier(data.get("tool_call_id")),
        requested_by=event.actor,
    )
    return Approvals(
        state.approvals.set(approval_id, approval),
        state.pending.set(approval_id, approval.number),
    )


@approvals.on(vocabulary.APPROVAL_GRANTED)
def approval_granted(state: Approvals, event: RecordedEvent) -> Approvals:
    """Decides for it."""
    return _decide(state, event, "granted")


@approvals.on(vocabulary.APPROVAL_DENIED)
def approval_denied(state: Approvals, event: RecordedEvent) -> Approvals:
    """Decides against it."""
    return _decide(state, event, "denied")


def _decide(state: Approvals, event: RecordedEvent, status: Decision) -> Approvals:
    data = fields(event)
    approval_id = identifier(data.get("approval_id"))
    if approval_id is None:
        return state
    known = state.approvals.get(approval_id) or Approval(number=len(state.approvals) + 1)
    approval = replace(
        known, status=status, decided_by=event.actor, reason=text(data.get("reason"))
    )
    pending = state.pending
    if approval_id in pending:
        pending = pending.delete(approval_id)
    return Approvals(state.approvals.set(approval_id, approval), pending)
