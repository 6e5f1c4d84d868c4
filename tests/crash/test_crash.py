"""Each fault of `make crash`, with few trials: that it runs, and that its promise holds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.defects import OURS, _defects
from tests.crash.faults import Fault
from tests.crash.grounds import Ground, PostgresGround, SqliteGround
from tests.crash.running import FAULTS, Plan, run_fault
from tests.servers.postgres import PostgresServer

SEED = 20261121
SCALE = 0.05


@pytest.fixture
def sqlite() -> Iterator[Ground]:
    """A folder that any process may reach."""
    with tempfile.TemporaryDirectory(prefix="eventstore-crash-") as folder:
        yield SqliteGround(Path(folder))


@pytest.fixture(scope="session")
def killed_server() -> Iterator[PostgresServer]:
    """A server of this suite's own, because it is killed."""
    with PostgresServer() as server:
        yield server


async def _holds(fault: Fault, ground: Ground) -> None:
    plan = Plan(SEED, [fault], [ground.engine], SCALE, prove=False)
    line = await run_fault(fault, ground, plan, None)
    assert line.outcome.violations == [], f"seed {SEED}: {fault.promise}"


@pytest.mark.parametrize(
    "fault", [one for one in FAULTS if "sqlite" in one.defects], ids=lambda fault: fault.name
)
async def test_a_fault_strikes_sqlite_then_its_promise_holds(fault: Fault, sqlite: Ground) -> None:
    """The promise of a line of `make crash`, on SQLite."""
    await _holds(fault, sqlite)


@pytest.mark.parametrize(
    "fault", [one for one in FAULTS if "postgres" in one.defects], ids=lambda fault: fault.name
)
async def test_a_fault_strikes_postgres_then_its_promise_holds(
    fault: Fault, killed_server: PostgresServer
) -> None:
    """The promise of a line of `make crash`, on PostgreSQL."""
    await _holds(fault, PostgresGround(killed_server))


@pytest.mark.parametrize("name", ["kill", "syncs", "lost_update", "readers"])
async def test_a_defect_is_seeded_then_the_fault_that_is_for_it_turns_red(
    name: str, sqlite: Ground
) -> None:
    """The oracles can fail. (All of them, with every defect: `make crash-prove`.)"""
    (fault,) = [one for one in FAULTS if one.name == name]
    plan = Plan(SEED, [fault], ["sqlite"], SCALE, prove=True)
    line = await run_fault(fault, sqlite, plan, fault.defects["sqlite"][0])
    assert line.red


def test_the_faults_are_looked_at_then_each_has_defects_that_are_known() -> None:
    """No fault is without a defect that must turn it red, on each engine that it is tried on."""
    for fault in FAULTS:
        assert fault.defects
        for engine, names in fault.defects.items():
            assert names, f"{fault.name} on {engine}"
            for name in names:
                assert name in OURS or (engine, name) in _defects, f"{fault.name}: {name}"
