"""Tools for tests: clocks and ids that can be foretold, a checker of histories, and the contract.

`EngineContract` is the suite that every engine passes; a new engine proves itself with a subclass
(see `eventstore.testing.contract`). Only asking for it imports pytest, pytest-asyncio and
hypothesis; everything else here needs nothing beyond the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..registry import isolated_registry
from .clocks import FixedClock, SteppingClock
from .history import History, HistoryBroken
from .ids import SequentialIds

if TYPE_CHECKING:
    from .contract import EngineContract

__all__ = [
    "EngineContract",
    "FixedClock",
    "History",
    "HistoryBroken",
    "SequentialIds",
    "SteppingClock",
    "isolated_registry",
]


def __getattr__(name: str) -> Any:
    if name != "EngineContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    # So that a failing assertion of the contract shows its values, as those of test modules do.
    pytest.register_assert_rewrite(f"{__name__}.contract")
    from .contract import EngineContract

    return EngineContract
