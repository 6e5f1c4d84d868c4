"""One contract, every engine: a new engine is one more class here."""

from __future__ import annotations

import itertools
from pathlib import Path

from eventstore.testing import EngineContract

_names = itertools.count()


class TestMemory(EngineContract):
    """The engine for tests."""

    keeps = False
    shares = False

    def new_url(self, folder: Path) -> str:
        """Memory has no name to share."""
        return "memory://"


class TestSqlite(EngineContract):
    """The embedded engine, on a file."""

    def new_url(self, folder: Path) -> str:
        """A file of its own in the test's folder."""
        return f"sqlite:///{folder}/{next(_names)}.db"
