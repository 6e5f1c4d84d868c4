"""PostgreSQL: the log for many machines."""

from .opening import open_postgres

__all__ = ["open_postgres"]
