"""Long reads of a stream with a progress bar, for a person who waits at a terminal."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

from eventstore import EventStore
from eventstore.reading import Events, Page

from .rendering.progress import Advance, progress

LONG_EVENTS = 10_000
"""Reads of fewer events show no bar: they take a tenth of a second, about as long as it takes to
draw one."""


@contextmanager
def watched(
    store: EventStore, label: str, *, quiet: bool, prints: bool = False
) -> Iterator[EventStore]:
    """The same store inside the block, whose long reads of a stream show a bar under `label`.

    It is the plain one where nobody looks: `quiet`, or stderr is no terminal; and for work that
    `prints` while it reads also where that shows how far it is, or a pager draws on the terminal:
    there a bar is shown only while the output goes to a file.
    """
    if quiet or not sys.stderr.isatty() or (prints and not _is_file(sys.stdout)):
        yield store
        return
    with ExitStack() as bars:
        yield cast("EventStore", _Watched(store, label, bars))


class _Watched:
    """Everything of a store but its reads is the store's own."""

    def __init__(self, store: EventStore, label: str, bars: ExitStack) -> None:
        self._store = store
        self._label = label
        self._bars = bars
        self._advance: Advance | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(
        self, stream: str, *, after: int = 0, limit: int | None = None, backwards: bool = False
    ) -> Events:
        """See `EventStore.read`. If cancelled, nothing is left open."""
        plain = self._store.read(stream, after=after, limit=limit, backwards=backwards)
        if backwards or (limit is not None and limit < LONG_EVENTS):
            return plain
        return Events(lambda: None, lambda: self._pages(plain, stream, after, limit))

    async def _pages(
        self, plain: Events, stream: str, after: int, limit: int | None
    ) -> AsyncIterator[Page]:
        total = await self._store.version(stream) - after
        if limit is not None:
            total = min(total, limit)
        async for page in plain.pages():
            if total >= LONG_EVENTS:
                if self._advance is None:
                    # Not ended with the pages: whoever reads may leave them before their end.
                    self._advance = self._bars.enter_context(progress(self._label))
                self._advance(page[0].version - 1 - after, total)
            yield page


def _is_file(stream: Any) -> bool:
    """Whether what is written there goes to a file, as ``> file`` does."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False
