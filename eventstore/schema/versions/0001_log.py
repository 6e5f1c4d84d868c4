"""The log, its indexes, and what refuses to change it.

Later revisions only add nullable columns to `events`; there is no way down, because a log is
never made older.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from eventstore.schema import postgres

revision = "0001"
down_revision = None

# SQLite gives a table its own key only for exactly INTEGER; PostgreSQL wants 64 bits.
big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
blob = sa.LargeBinary()


def _column(name: str, kind: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, **options)


def upgrade() -> None:
    """Makes every table of the first schema, in the transaction that is open."""
    _create_names()
    _create_events()
    _create_indexes_of_events()
    _create_readers()
    if op.get_bind().dialect.name == "sqlite":
        _refuse_changes_sqlite()
        _create_view_sqlite()
    else:
        postgres.complete(op.get_bind())


def _create_names() -> None:
    op.create_table(
        "store_info",
        _column("only", sa.Integer, primary_key=True),
        _column("store_id", text),
        # Grows when a file is restored from a backup, so that readers can tell.
        _column("epoch", big, server_default="1"),
    )
    op.create_table(
        "tenants",
        _column("tenant_id", big, primary_key=True),
        _column("name", text, unique=True),
    )
    op.create_table(
        "heads",
        _column("tenant_id", big, primary_key=True, autoincrement=False),
        _column("position", big),
        _column("hash", blob),
        _column("recorded_at", big),
        _column("first_position", big, server_default="1"),
    )
    op.create_table(
        "streams",
        _column("stream_id", big, primary_key=True),
        _column("tenant_id", big),
        _column("name", text),
        _column("version", big),
        _column("first_recorded_at", big),
        _column("recorded_at", big),
        sa.Column("parent_stream_id", big),
        sa.Column("parent_version", big),
        _column("closed", sa.Integer, server_default="0"),
        sa.UniqueConstraint("tenant_id", "name", name="streams_by_name"),
    )
    op.create_table(
        "event_types",
        _column("type_id", big, primary_key=True),
        _column("name", text, unique=True),
    )
    op.create_table(
        "tags",
        _column("tag_id", big, primary_key=True),
        _column("tenant_id", big),
        _column("name", text),
        sa.UniqueConstraint("tenant_id", "name", name="tags_by_name"),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        _column("tenant_id", big),
        _column("position", big),
        _column("stream_id", big),
        _column("version", big),
        _column("event_id", text),
        _column("type_id", big),
        _column("schema_version", sa.Integer),
        _column("recorded_at", big),
        sa.Column("occurred_at", big),
        sa.Column("actor", text),
        sa.Column("causation_id", text),
        sa.Column("correlation_id", text),
        sa.Column("derived_from", text),
        sa.Column("tags", text),
        sa.Column("context", text),
        _column("payload", blob),
        _column("payload_format", sa.Integer, server_default="0"),
        sa.Column("subject_key_id", big),
        _column("hash", blob),
        sa.PrimaryKeyConstraint("tenant_id", "position", name="events_by_position"),
    )
    op.create_index("events_by_stream", "events", ["stream_id", "version"], unique=True)
    op.create_index("events_by_id", "events", ["tenant_id", "event_id"], unique=True)
    op.create_index("events_by_type", "events", ["tenant_id", "type_id", "position"])


def _create_indexes_of_events() -> None:
    op.create_table(
        "event_tags",
        _column("tag_id", big),
        _column("position", big),
        sa.PrimaryKeyConstraint("tag_id", "position", name="event_tags_by_tag"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event_causes",
        _column("tenant_id", big),
        _column("cause_id", text),
        _column("position", big),
        sa.PrimaryKeyConstraint("tenant_id", "cause_id", "position", name="event_causes_by_cause"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency_keys",
        _column("tenant_id", big),
        # 0 for the key of an append_many, which belongs to the call.
        _column("stream_id", big),
        _column("key", text),
        _column("content_hash", blob),
        _column("first_position", big),
        _column("event_count", sa.Integer),
        # JSON of an append_many's streams and rows; a single append's are in the log.
        sa.Column("call", text),
        sa.PrimaryKeyConstraint("tenant_id", "stream_id", "key", name="keys_by_stream"),
        sqlite_with_rowid=False,
    )


def _create_readers() -> None:
    op.create_table(
        "checkpoints",
        _column("tenant_id", big),
        _column("name", text),
        _column("generation", big),
        _column("partition", big),
        _column("position", big),
        _column("hash", blob),
        sa.Column("holder", text),
        _column("fencing_token", big, server_default="0"),
        _column("lease_until", big, server_default="0"),
        sa.PrimaryKeyConstraint(
            "tenant_id", "name", "generation", "partition", name="checkpoints_by_name"
        ),
    )
    op.create_table(
        "snapshots",
        _column("stream_id", big),
        _column("reducer", text),
        _column("fingerprint", text),
        _column("version", big),
        _column("position", big),
        _column("state", blob),
        _column("state_hash", blob),
        sa.PrimaryKeyConstraint(
            "stream_id", "reducer", "fingerprint", "version", name="snapshots_by_stream"
        ),
    )


def _refuse_changes_sqlite() -> None:
    for table in ("events", "event_tags", "event_causes", "idempotency_keys"):
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table}: append-only, {verb} is refused'); END"
            )
    # INSERT OR REPLACE deletes the row in its way without firing the trigger above.
    op.execute(
        "CREATE TRIGGER events_no_replace BEFORE INSERT ON events"
        " WHEN EXISTS (SELECT 1 FROM events WHERE tenant_id = NEW.tenant_id"
        "  AND position = NEW.position)"
        " OR EXISTS (SELECT 1 FROM events WHERE stream_id = NEW.stream_id"
        "  AND version = NEW.version)"
        " OR EXISTS (SELECT 1 FROM events WHERE tenant_id = NEW.tenant_id"
        "  AND event_id = NEW.event_id)"
        # A taken place is damage and is told first; an id may be the id factory's mistake.
        " BEGIN SELECT CASE WHEN EXISTS (SELECT 1 FROM events WHERE tenant_id = NEW.tenant_id"
        "  AND position = NEW.position)"
        " OR EXISTS (SELECT 1 FROM events WHERE stream_id = NEW.stream_id"
        "  AND version = NEW.version)"
        " THEN RAISE(ABORT, 'events: append-only, the place is taken')"
        " ELSE RAISE(ABORT, 'events: append-only, the id is taken') END; END"
    )
    # The other two tables are all key: what replaces a row there is the same row.
    op.execute(
        "CREATE TRIGGER idempotency_keys_no_replace BEFORE INSERT ON idempotency_keys"
        " WHEN EXISTS (SELECT 1 FROM idempotency_keys WHERE tenant_id = NEW.tenant_id"
        "  AND stream_id = NEW.stream_id AND key = NEW.key)"
        " BEGIN SELECT RAISE(ABORT, 'idempotency_keys: append-only, the key is taken'); END"
    )


def _create_view_sqlite() -> None:
    op.execute(
        "CREATE VIEW events_json AS SELECT t.name AS tenant, e.position, s.name AS stream,"
        " e.version, e.event_id AS id, y.name AS type, e.schema_version,"
        " CAST(e.payload AS TEXT) AS data, e.actor, e.causation_id, e.derived_from,"
        " e.correlation_id, e.tags, e.context, e.occurred_at, e.recorded_at"
        " FROM events e JOIN tenants t USING (tenant_id) JOIN streams s USING (stream_id)"
        " JOIN event_types y USING (type_id)"
    )
