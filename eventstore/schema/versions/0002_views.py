"""Bookkeeping of views that are fed from the log: generations, progress, folds, dead letters,
embeddings. Rows of the views themselves are in tables that are made with each generation.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from eventstore.schema import postgres

revision = "0002"
down_revision = "0001"

big = sa.BigInteger()
text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
blob = sa.LargeBinary()

TABLES = ("views", "view_progress", "view_folds", "dead_letters", "embeddings")


def _column(name: str, kind: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, **options)


def upgrade() -> None:
    """Makes the tables, in the transaction that is open."""
    op.create_table(
        "views",
        _column("tenant_id", big),
        _column("name", text),
        _column("generation", big),
        # building, serving or retired.
        _column("state", text),
        _column("version", big),
        _column("fingerprint", text),
        _column("partitions", big),
        # Stands in the sink too: a sink that was emptied has lost it.
        _column("incarnation", text),
        _column("created_at", big),
        sa.Column("switched_at", big),
        sa.PrimaryKeyConstraint("tenant_id", "name", "generation", name="views_by_name"),
    )
    # One generation serves: the database itself refuses a second one.
    op.create_index(
        "views_serving",
        "views",
        ["tenant_id", "name"],
        unique=True,
        sqlite_where=sa.text("state = 'serving'"),
        postgresql_where=sa.text("state = 'serving'"),
    )
    _create_progress()
    _create_rows()
    if op.get_bind().dialect.name == "postgresql":
        postgres.isolate(op.get_bind(), TABLES)


def _create_progress() -> None:
    op.create_table(
        "view_progress",
        _column("tenant_id", big),
        _column("name", text),
        _column("generation", big),
        _column("partition", big),
        # As the checkpoint, moved with it: to be asked together with what follows.
        _column("position", big, server_default="0"),
        # That of the sink as it was when it was written to.
        sa.Column("incarnation", text),
        # The time that the rows are good for: of the last event that was looked at.
        _column("recorded_at", big, server_default="0"),
        _column("updated_at", big, server_default="0"),
        # running, waiting (for the sink) or stopped.
        _column("state", text, server_default="running"),
        sa.Column("last_error", text),
        _column("events", big, server_default="0"),
        _column("changes", big, server_default="0"),
        _column("writes", big, server_default="0"),
        _column("bytes", big, server_default="0"),
        _column("embedded", big, server_default="0"),
        _column("embeddings_saved", big, server_default="0"),
        sa.PrimaryKeyConstraint(
            "tenant_id", "name", "generation", "partition", name="view_progress_by_name"
        ),
    )


def _create_rows() -> None:
    op.create_table(
        "view_folds",
        _column("tenant_id", big),
        _column("name", text),
        _column("generation", big),
        _column("key", text),
        _column("position", big),
        _column("state", blob),
        sa.PrimaryKeyConstraint("tenant_id", "name", "generation", "key", name="folds_by_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dead_letters",
        _column("tenant_id", big),
        _column("name", text),
        _column("generation", big),
        _column("key", text),
        _column("position", big),
        _column("partition", big),
        _column("parked_at", big),
        _column("attempts", big, server_default="0"),
        # Of the event that failed; those that wait behind it have none.
        sa.Column("error", text),
        # Why somebody dropped it: the row stays, so that a rebuild drops it too.
        sa.Column("dropped_reason", text),
        # When somebody asked that the key be tried again; null where nobody did.
        sa.Column("retry_asked", big),
        sa.PrimaryKeyConstraint(
            "tenant_id", "name", "generation", "key", "position", name="dead_letters_by_key"
        ),
    )
    # Looked at all the time, and all but empty.
    op.create_index(
        "dead_letters_asked",
        "dead_letters",
        ["tenant_id", "name"],
        sqlite_where=sa.text("retry_asked IS NOT NULL"),
        postgresql_where=sa.text("retry_asked IS NOT NULL"),
    )
    op.create_table(
        "embeddings",
        _column("tenant_id", big),
        _column("embedder", text),
        _column("content_hash", blob),
        _column("vector", blob),
        sa.PrimaryKeyConstraint(
            "tenant_id", "embedder", "content_hash", name="embeddings_by_content"
        ),
        sqlite_with_rowid=False,
    )
