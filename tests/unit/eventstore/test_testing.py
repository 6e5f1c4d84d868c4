"""The tools for tests: they see what they are there to see, and need no more than they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import Phase

from eventstore import AppendResult, EventStore, NewEvent, RecordedEvent
from eventstore.engines.memory.ledger import MemoryLedger
from eventstore.testing import EngineContract, History, HistoryBroken
from eventstore.testing.contract.documents import identical, storable


async def _log() -> list[RecordedEvent]:
    async with EventStore.open("memory://") as store:
        for stream in ("a", "b", "a", "b"):
            await store.append(stream, NewEvent("t", {}))
        return await store.read_all().list()


def _change(index: int, **changes: object) -> Callable[[list[RecordedEvent]], list[RecordedEvent]]:
    def change(log: list[RecordedEvent]) -> list[RecordedEvent]:
        log[index] = msgspec.structs.replace(log[index], **changes)
        return log

    return change


@pytest.mark.parametrize(
    ("defect", "says"),
    [
        (lambda log: log[:2] + log[3:], "position 4 stands where 3"),
        (lambda log: [*log, log[-1]], "position 4 stands where 5"),
        (lambda log: [log[1], log[0], *log[2:]], "position 2 stands where 1"),
        (_change(2, version=3), "version 3 stands where 2"),
        (_change(2, stream="b"), "version 2 stands where 2|version 2 stands where 3"),
        (_change(3, recorded_us=0), "recorded before"),
        (_change(3, id="other"), "not in the log as told"),
        (_change(3, payload=b"1"), "not in the log as told"),
        (lambda log: log[:3], "not in the log as told"),
    ],
)
async def test_a_history_has_a_defect_then_the_checker_names_it(
    defect: Callable[[list[RecordedEvent]], list[RecordedEvent]], says: str
) -> None:
    """Each promise that the checker is there for has turned it red once."""
    log = await _log()
    history = History()
    for event in log:
        history.acknowledged(AppendResult(event.version, event.position, (event,)))
    history.check_log(log)
    history.check_reader(log)
    with pytest.raises(HistoryBroken, match=says):
        history.check_log(defect(list(log)))


async def test_a_reader_skips_or_repeats_then_the_checker_names_it() -> None:
    """In order, once, from behind its start."""
    log = await _log()
    history = History()
    history.check_reader(log[2:], after=2)
    for wrong in (log[1:], [log[0], log[0]], log[::-1], [log[0], log[2]]):
        with pytest.raises(HistoryBroken):
            history.check_reader(wrong)


async def test_one_event_is_answered_for_two_places_then_the_checker_names_it() -> None:
    """A retry must be told what the first call was told."""
    first, second, *_ = await _log()
    history = History()
    history.acknowledged(AppendResult(1, 1, (first,)))
    history.acknowledged(AppendResult(1, 1, (first,)))
    with pytest.raises(HistoryBroken, match="two places"):
        history.acknowledged(AppendResult(1, 2, (msgspec.structs.replace(second, id=first.id),)))


async def test_an_event_is_compared_then_equal_and_unequal_agree() -> None:
    """Two readings of one event are equal, and not unequal."""
    async with EventStore.open("memory://") as store:
        await store.append("s", [NewEvent("t", 1), NewEvent("t", 1)])
        one, other = [await store.read("s").list() for _ in range(2)]
    assert one == other
    assert not one[0] != other[0]  # noqa: SIM202 - the other operator is what is tested
    assert one[0] != one[1]
    assert one[0] != "text"


def test_the_tools_are_imported_then_no_test_runner_is() -> None:
    """Only asking for the contract imports pytest and hypothesis."""
    program = (
        "import sys, eventstore.testing as t; t.FixedClock, t.History, t.isolated_registry;"
        "assert not {'pytest', 'hypothesis'} & set(sys.modules);"
        "t.EngineContract; assert 'pytest' in sys.modules;"
        "print(sorted(t.__all__) == sorted(set(t.__all__) & set(dir(t)) | {'EngineContract'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), (0.0, -0.0), ([1], [1, 2]), ({"a": 1}, {"b": 1})]
)
def test_two_values_look_equal_then_the_oracle_of_documents_tells_them_apart(
    one: object, other: object
) -> None:
    """The oracle is stricter than ==."""
    assert not identical(one, other)
    assert identical(one, one)


def test_a_document_is_storable_then_the_oracle_says_so_by_itself() -> None:
    """The rule, a second time, independent of the door."""
    assert all(map(storable, [None, "é", 1.5, -(2**63), {"a": [1]}]))
    assert not any(map(storable, [float("nan"), "\ud800", 2**63, {"\udfff": 1}, [[2**64]]]))


class _Suite(EngineContract):
    """The contract on memory, without being collected."""

    keeps = shares = False
    model_phases = (Phase.generate,)
    __test__ = False

    def new_url(self, folder: Path) -> str:
        return "memory://"


@pytest.mark.parametrize(
    ("method", "answer"),
    [("find_key", None), ("any_after", False), ("version", 0), ("find_events", {})],
)
async def test_the_judge_is_told_something_wrong_then_the_model_sees_it(
    method: str, answer: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For each question of the judge a wrong answer is seeded: the stateful test turns red."""
    monkeypatch.setattr(MemoryLedger, method, lambda self, *args: answer)
    with pytest.raises((AssertionError, ExceptionGroup)):
        await _Suite().test_any_calls_in_any_order_then_the_log_is_as_a_plain_model_says(tmp_path)
