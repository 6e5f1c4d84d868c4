"""Attempts with back-off: how often, how long, and that nobody else is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from eventstore import EventStore, NewEvent
from projections import CacheView, Projection, Relay, SinkUnavailable, Upsert
from projections.retrying import attempts
from projections.sinks import Build, Change, Written


class Down(Exception):
    """What is tried again here."""


async def _fail(count: int, **options: float) -> int:
    """How often a block runs that fails so often."""
    runs = 0
    given: dict[str, Any] = {"wait_initial": 0.0, "wait_jitter": 0.0, **options}
    async for attempt in attempts(Down, **given):
        with attempt:
            runs += 1
            if runs <= count:
                raise Down
    return runs


async def _fail_otherwise() -> None:
    async for attempt in attempts((Down, ValueError)):
        with attempt:
            raise KeyError


async def test_a_block_fails_then_it_runs_again_as_often_as_is_allowed() -> None:
    """The last failure comes through as it was; another one at once."""
    assert await _fail(3) == 4
    assert await _fail(2, attempts_max=3) == 3
    with pytest.raises(Down):
        await _fail(3, attempts_max=3)
    with pytest.raises(Down):
        await _fail(1, timeout_seconds=0.0)
    assert await _fail(1, attempts_max=2) == 2
    with pytest.raises(KeyError):
        await _fail_otherwise()


async def test_a_failure_says_a_wait_then_it_is_kept_to() -> None:
    """Where it says none, the back-off is."""
    waits = attempts(lambda failure: True, wait_initial=2.0, wait_jitter=0.0, wait_max=5.0)
    asked = attempts(lambda failure: True, wait_asked=lambda failure: 7.0)
    states = []
    for retrying in (waits, asked):
        async for attempt in retrying:
            state = attempt.retry_state
            with attempt:
                break
        state.set_exception((Down, Down(), None))
        states.append(state)
    found = []
    for number in (1, 2, 3):
        states[0].attempt_number = number
        found.append(waits.wait(states[0]))
    assert found == [2.0, 4.0, 5.0]
    assert asked.wait(states[1]) == 7.0


async def test_a_sink_is_down_then_the_relay_alone_tells_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other logger speaks of each attempt."""
    kept = Projection("kept", map=lambda event: Upsert(event.stream, event.data), types=["told"])
    view = CacheView(kept)
    write, left = view.sink.write, [3]

    async def down(build: Build, changes: Sequence[Change]) -> Written:
        if left[0]:
            left[0] -= 1
            raise SinkUnavailable("the sink is down")
        return await write(build, changes)

    monkeypatch.setattr(view.sink, "write", down)
    monkeypatch.setattr("projections.relay.delivering._BACK_OFF_SECONDS_MAX", 0.0)
    caplog.set_level(logging.INFO)
    async with asyncio.timeout(30), EventStore.open("memory://") as store:
        await store.append("s", NewEvent("told", 1))
        await Relay(store, [view]).run_once()
        assert (await view.bind(store).get("s")).value == 1
    told = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert [(each.name, each.getMessage()) for each in told] == [
        ("eventstore", "view kept: the sink is down")
    ]
