"""A stream that begins as another one stood at a version, without a copy of its events.

What an engine keeps is where the fork leaves its parent. The parent is always the stream that
itself holds that version, so that a fork of a fork is no longer a way than it must be.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .answers import answer, written
from .calls import Defaults, Fork, prepare_fork
from .engines.port import Engine
from .errors import InvalidEvent
from .events import Append, AppendResult
from .limits import INTEGER_MAX


async def fork_stream(
    engine: Engine,
    tenant: str,
    stream: str,
    append: Append,
    at: int,
    key: str | None,
    defaults: Defaults,
    ids: Callable[[], str],
) -> AppendResult:
    """See `EventStore.fork`; `append` names the new stream, and says who makes it and why."""
    if not isinstance(at, int) or isinstance(at, bool) or not 0 < at <= INTEGER_MAX:
        raise InvalidEvent("fork: a version, an int from 1 on")
    page = await engine.stream_page(tenant, stream, at - 1, 1, False)
    if not page:
        raise InvalidEvent(f"fork: stream {stream!r} has no version {at}")
    parent = stream
    # A version that stands never changes, nor does where a fork leaves its parent: so this may be
    # found out before the commit.
    while (found := await engine.find_fork(tenant, parent)) is not None and found.version >= at:
        parent = found.parent
    append = msgspec.structs.replace(append, causation_id=page[0].id)
    call = prepare_fork(tenant, append, Fork(parent, at), key, defaults, ids)
    outcome = await engine.commit(call)
    return (written(call, outcome) or await answer(engine, call, outcome))[0]
