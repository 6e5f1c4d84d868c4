"""The view `audit`: a row for each event of the log, the store's own ones too, without payloads."""

from __future__ import annotations

import sqlalchemy as sa

from eventstore import RecordedEvent

from ..projection import Projection, Upsert
from ..relational import RelationalView
from .columns import Moment, column

table = sa.Table(
    "audit",
    sa.MetaData(),
    column("position", sa.BigInteger, key=True),
    column("id", sa.Text, required=True),
    column("stream", sa.Text, required=True),
    column("version", sa.BigInteger, required=True),
    column("type", sa.Text, required=True),
    column("actor", sa.Text),
    column("correlation_id", sa.Text),
    column("causation_id", sa.Text),
    column("occurred_at", Moment),
    column("recorded_at", Moment, required=True),
    sa.Index("audit_of_a_stream", "stream", "version"),
    sa.Index("audit_by_type", "type", "position"),
    sa.Index("audit_by_actor", "actor", "position"),
    sa.Index("audit_by_time", "recorded_at"),
)


def entry(event: RecordedEvent) -> Upsert:
    """Who did what, when, and because of what."""
    return Upsert(
        event.position,
        {
            "id": event.id,
            "stream": event.stream,
            "version": event.version,
            "type": event.type,
            "actor": event.actor,
            "correlation_id": event.correlation_id,
            "causation_id": event.causation_id,
            "occurred_at": event.occurred_at,
            "recorded_at": event.recorded_at,
        },
    )


projection = Projection("audit", map=entry)
audit = RelationalView(projection, table)
