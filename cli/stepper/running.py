"""Runs the stepper until its user leaves it or a signal ends it; the terminal is given back."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from eventstore import EventStore
from reducers import Reducer

from .app import Stepper
from .session import Session

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


async def step_through(store: EventStore, stream: str, reducer: Reducer[Any], version: int) -> None:
    """Shows a stream from a version on until its user leaves. A signal that ends it is raised
    again once the terminal is as it was. Raises what ended it otherwise. If cancelled, the terminal
    is as it was."""
    app = Stepper(await Session.open(store, stream, reducer, version))
    ended_by: list[int] = []

    def end(number: int) -> None:
        ended_by.append(number)
        app.exit()

    # Left to themselves these end the process at once, and the terminal stays as it was drawn on.
    loop = asyncio.get_running_loop()
    for number in ENDING_SIGNALS:
        loop.add_signal_handler(number, end, number)
    try:
        await app.run_async()
    finally:
        for number in ENDING_SIGNALS:
            loop.remove_signal_handler(number)
    for each in ended_by:
        signal.raise_signal(each)
    if app.failure is not None:
        raise app.failure
