"""The SQLite engine: one file, one writing thread a process, readers beside it."""

from .opening import open_sqlite

__all__ = ["open_sqlite"]
