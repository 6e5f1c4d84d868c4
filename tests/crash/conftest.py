"""What faults change in the process that runs them is put back for the tests behind them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """A fault may quiet the store's log, or listen to everything."""
    loggers = [logging.getLogger(), logging.getLogger("eventstore")]
    levels = [each.level for each in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
