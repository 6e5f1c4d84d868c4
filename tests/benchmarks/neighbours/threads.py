"""Callers as threads, for libraries whose calls block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..measuring import Timing, timing


def run_threads(works: Sequence[Callable[[], None]]) -> Timing:
    """Starts a thread for each work, lets all go at once, and times them to the last one's end.
    Raises the first error of any."""
    ready = threading.Barrier(len(works) + 1)
    errors: list[Exception] = []

    def run(work: Callable[[], None]) -> None:
        ready.wait()
        try:
            work()
        except Exception as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    with timing() as time:
        ready.wait()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return time
