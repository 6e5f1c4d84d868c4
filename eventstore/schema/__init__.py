"""The schema of every engine's database: one Alembic history, in `versions/`."""

from .migrate import NEWEST, current_revision, known_revisions, upgrade

__all__ = ["NEWEST", "current_revision", "known_revisions", "upgrade"]
