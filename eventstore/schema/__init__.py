"""The schema of every engine's database: one Alembic history, in `versions/`."""

from .migrate import NEWEST, TABLES, current_revision, known_revisions, upgrade

__all__ = ["NEWEST", "TABLES", "current_revision", "known_revisions", "upgrade"]
