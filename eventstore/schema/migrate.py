"""Running the migrations on a connection that an engine hands in.

Alembic is imported only when there is something to migrate: opening a current file costs nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy

NEWEST = "0002"
"""The revision that this code reads and writes."""

TABLES = (
    "checkpoints",
    "dead_letters",
    "embeddings",
    "event_causes",
    "event_tags",
    "event_types",
    "events",
    "events_json",
    "heads",
    "idempotency_keys",
    "snapshots",
    "store_info",
    "streams",
    "tags",
    "tenants",
    "view_folds",
    "view_progress",
    "views",
)
"""Tables and views of the schema: a database that has one of them but no revision of ours is
another program's."""

_HERE = Path(__file__).parent


def known_revisions() -> list[str]:
    """Every revision that this code can migrate from, oldest first."""
    return sorted(path.name[:4] for path in (_HERE / "versions").glob("[0-9]*.py"))


def current_revision(connection: sqlalchemy.Connection) -> str | None:
    """The revision of the connected database; None for one without our tables."""
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: sqlalchemy.Connection) -> None:
    """Brings the connected database to `NEWEST` in the transaction that is open on it.

    The caller has checked that its revision is a known one, and commits.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, NEWEST)
