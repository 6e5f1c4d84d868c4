"""The door: what a caller hands in becomes a checked `Call`, or is refused with `InvalidEvent`.

Everything that can be known before the commit is done here, on the caller's side: names, limits,
canonical bytes, the content hash of a key, the part of the envelope that does not depend on the
position. Engines take calls, and answer each with an outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from . import canonical
from .envelope import envelope_tail, plain_tail
from .errors import InvalidEvent
from .events import Append, NewEvent, as_events
from .ids import UuidSevens
from .limits import (
    APPEND_BYTES_MAX,
    APPEND_EVENTS_MAX,
    APPEND_STREAMS_MAX,
    CAUSES_MAX,
    CONTEXT_BYTES_MAX,
    TAGS_MAX,
)
from .names import check_name
from .points import Expected, check_expected, to_microseconds
from .query import AppendCondition, Query, as_queries
from .registry import registry

_encode = msgspec.json.Encoder().encode
FORKED = "$stream.forked"
"""The type of the event that a fork begins its own part with."""

CALL_SCOPE = ""
"""Where the key of an `append_many` belongs: to the call, not to one of its streams."""


class Prepared(msgspec.Struct, gc=False):
    """One event, checked and encoded."""

    id: str
    type: str
    schema_version: int
    occurred_us: int | None = None
    actor: str | None = None
    causation_id: str | None = None
    correlation_id: str | None = None
    derived_json: str | None = None
    tags_json: str | None = None
    context_json: str | None = None
    payload: bytes = b""
    tail: bytes = b""
    tags: tuple[str, ...] = ()
    derived_from: tuple[str, ...] = ()


class Fork(msgspec.Struct, frozen=True, gc=False):
    """Where a fork leaves its parent, which is the stream that itself holds that version."""

    parent: str
    version: int


class StreamAppend(msgspec.Struct, gc=False):
    """The part of a call that one stream gets. With `fork` the stream begins there."""

    stream: str
    expected: Expected | int
    events: list[Prepared]
    queries: tuple[Query, ...]
    after: int
    condition: AppendCondition | None
    fork: Fork | None = None


class Call(msgspec.Struct, gc=False):
    """An `append` or `append_many`: all of it is written, or nothing."""

    tenant: str
    appends: list[StreamAppend]
    key: str | None
    key_scope: str
    content_hash: bytes | None
    given_ids: tuple[str, ...]
    event_count: int
    payload_bytes: int


class Written(msgspec.Struct, gc=False):
    """A call that stands in the log, one row for each of its appends in order.

    `rows`: (first version, first position, number of events); for an append without events the
    version and the head position that were checked, and 0. `duplicate`: it stood before.
    `was_sent_before`: a sending of this very call, whose answer was lost, may have written it.
    """

    rows: list[tuple[int, int, int]]
    recorded_us: int
    duplicate: bool = False
    was_sent_before: bool = False


class Refused(msgspec.Struct, gc=False):
    """A call that was judged and not written.

    `reason` is conflict, condition, mismatch, id or fork; `index` the append at fault; `actual` the
    version found; `first` what the key's first use wrote (for mismatch); `detail` the id.
    """

    reason: str
    index: int = 0
    actual: int = 0
    first: Written | None = None
    first_streams: tuple[str, ...] = ()
    detail: str = ""


Outcome = Written | Refused


class Defaults(msgspec.Struct, frozen=True):
    """What `bind` gives to every append of a store."""

    actor: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    context: dict[str, Any] | None = None


NO_DEFAULTS = Defaults()


def prepare_one(
    tenant: str, append: Append, key: str | None, defaults: Defaults, ids: Callable[[], str]
) -> Call:
    """The call of an `append`; its key belongs to the stream."""
    part, given = _prepare_stream(append, defaults, ids)
    return _call(tenant, [part], given, key, part.stream)


def prepare_own(
    tenant: str, stream: str, type: str, data: dict[str, Any], ids: Callable[[], str]
) -> Call:
    """The call that appends one event of the store's own, whose names begin with ``$``."""
    event_id, payload = ids(), canonical.encode(data, "$")
    event = Prepared(event_id, type, 1, payload=payload, tail=plain_tail(event_id, stream, type, 1))
    part = StreamAppend(stream, Expected.ANY, [event], (), 0, None)
    return _call(tenant, [part], [], None, stream)


def prepare_fork(
    tenant: str,
    append: Append,
    fork: Fork,
    key: str | None,
    defaults: Defaults,
    ids: Callable[[], str],
) -> Call:
    """The call that begins a stream as another one stands at a version. `append` says its name,
    who and why; its causation id is the event at that version. The key belongs to the stream."""
    stream = check_name("stream", append.stream)
    shared = _share(append, defaults)
    event_id = check_name("event id", ids())
    payload = canonical.encode({"stream": fork.parent, "version": fork.version}, "$")
    said = (
        *(None, shared.actor, shared.causation_id, shared.correlation_id),
        *(None, None, shared.context_json),
    )
    tail = envelope_tail(event_id, stream, FORKED, 1, *said)
    event = Prepared(event_id, FORKED, 1, *said, payload, tail)
    part = StreamAppend(stream, Expected.NO_STREAM, [event], (), 0, None, fork)
    return _call(tenant, [part], [], key, stream)


def prepare_many(
    tenant: str,
    appends: Sequence[Append],
    key: str | None,
    defaults: Defaults,
    ids: Callable[[], str],
) -> Call:
    """The call of an `append_many`; its key belongs to the call."""
    if not appends:
        raise InvalidEvent("append_many: needs at least one Append")
    if len(appends) > APPEND_STREAMS_MAX:
        raise InvalidEvent(f"append_many: {len(appends)} appends, at most {APPEND_STREAMS_MAX}")
    parts: list[StreamAppend] = []
    given: list[str] = []
    streams: set[str] = set()
    for append in appends:
        if not isinstance(append, Append):
            raise InvalidEvent(f"append_many: an Append, not {type(append).__name__}")
        part, ids_given = _prepare_stream(append, defaults, ids)
        if part.stream in streams:
            raise InvalidEvent(f"append_many: stream {part.stream!r} twice in one call")
        streams.add(part.stream)
        parts.append(part)
        given.extend(ids_given)
    return _call(tenant, parts, given, key, CALL_SCOPE)


def _call(
    tenant: str, parts: list[StreamAppend], given: list[str], key: str | None, scope: str
) -> Call:
    count = size = 0
    for part in parts:
        events = part.events
        count += len(events)
        for event in events:
            size += len(event.payload)
    if count > APPEND_EVENTS_MAX:
        raise InvalidEvent(f"append: {count} events, at most {APPEND_EVENTS_MAX}")
    if size > APPEND_BYTES_MAX:
        raise InvalidEvent(f"append: {size} bytes of payload, at most {APPEND_BYTES_MAX}")
    if len(given) > 1 and len(set(given)) < len(given):
        raise InvalidEvent("append: one event id given twice")
    content = None
    if key is not None:
        check_name("idempotency key", key)
        content = _content_hash(parts, given)
    return Call(tenant, parts, key, scope, content, tuple(given), count, size)


def _prepare_stream(
    append: Append, defaults: Defaults, ids: Callable[[], str]
) -> tuple[StreamAppend, list[str]]:
    stream = check_name("stream", append.stream)
    expected = append.expected
    if expected is not Expected.ANY:
        expected = check_expected(expected, f"stream {stream!r}")
    condition = append.condition
    queries: tuple[Query, ...] = ()
    after = 0
    if condition is not None:
        if not isinstance(condition, AppendCondition):
            raise InvalidEvent(f"condition: an AppendCondition, not {type(condition).__name__}")
        queries, after = as_queries(condition.query), condition.after
    shared = _share(append, defaults)
    given: list[str] = []
    events: list[Prepared] = []
    for event in as_events(append.events):
        events.append(_prepare_event(event, len(events), stream, shared, ids, given))
    return StreamAppend(stream, expected, events, queries, after, condition), given


def _share(append: Append, defaults: Defaults) -> _Shared:
    """What the caller says of all events of one stream; its own word goes before the default.

    An empty name is a mistake to be told, not an absent one: hence the comparisons with None.
    """
    actor, causation = append.actor, append.causation_id
    correlation, context = append.correlation_id, append.context
    if defaults is not NO_DEFAULTS:
        actor = defaults.actor if actor is None else actor
        causation = defaults.causation_id if causation is None else causation
        correlation = defaults.correlation_id if correlation is None else correlation
        context = defaults.context if context is None else context
    if actor is not None:
        check_name("actor", actor)
    if causation is not None:
        check_name("causation id", causation)
    if correlation is not None:
        check_name("correlation id", correlation)
    if actor is None and causation is None and correlation is None and context is None:
        return _NOTHING_SHARED
    context_json = None if context is None else _context(context)
    return _Shared(actor, correlation, causation, context_json)


class _Shared(msgspec.Struct, gc=False):
    """What all events of one stream's part have in common."""

    actor: str | None
    correlation_id: str | None
    causation_id: str | None
    context_json: str | None


_NOTHING_SHARED = _Shared(None, None, None, None)


def _prepare_event(
    event: Any, index: int, stream: str, shared: _Shared, ids: Callable[[], str], given: list[str]
) -> Prepared:
    if not isinstance(event, NewEvent):
        event = NewEvent("", event)
    name, version, payload, type_tags = _encode_data(event.type, event.data, index)
    event_id = event.id
    if event_id is None:
        event_id = ids()
        if type(ids) is not UuidSevens:  # what ours makes is a name
            event_id = check_name("event id", event_id)
    else:
        given.append(check_name("event id", event_id))
    if shared is _NOTHING_SHARED and not type_tags and _is_bare(event):
        tail = plain_tail(event_id, stream, name, version)
        return Prepared(event_id, name, version, payload=payload, tail=tail)
    causation = shared.causation_id
    if event.causation_id is not None:
        causation = check_name("causation id", event.causation_id)
    context = shared.context_json if event.context is None else _context(event.context)
    occurred = event.occurred_at
    occurred_us = None if occurred is None else to_microseconds(occurred, "occurred_at")
    tags = event.tags
    tags_json = derived_json = None
    if tags or type_tags:
        if type_tags:
            tags = (*_iterable("tag", tags), *_iterable("tag", type_tags))
        tags = _name_list("tag", tags, TAGS_MAX)
        tags_json = _encode(tags).decode()
    else:
        tags = _no_names("tag", tags)
    derived = event.derived_from
    if derived:
        derived = _name_list("derived_from", derived, CAUSES_MAX)
        derived_json = _encode(derived).decode()
    else:
        derived = _no_names("derived_from", derived)
    said = (
        occurred_us,
        shared.actor,
        causation,
        shared.correlation_id,
        derived_json,
        tags_json,
        context,
    )
    tail = envelope_tail(event_id, stream, name, version, *said)
    return Prepared(event_id, name, version, *said, payload, tail, tags, derived)


def _is_bare(event: NewEvent) -> bool:
    """Whether an event says nothing of itself but its type, its data and perhaps its id."""
    return (
        event.tags == ()
        and event.derived_from == ()
        and event.occurred_at is None
        and event.causation_id is None
        and event.context is None
    )


def _encode_data(name: str, data: Any, index: int) -> tuple[str, int, bytes, Iterable[str]]:
    """(type name, schema version, canonical payload, tags of the registered class)."""
    entry = registry.by_class.get(type(data))
    if entry is not None:
        where = f"event {index} ({entry.name})"
        if name and name != entry.name:
            raise InvalidEvent(f"{where}: NewEvent says {name!r}")
        payload = entry.to_payload(data, where)
        return entry.name, entry.version, payload, entry.tags(data) if entry.tags else ()
    if not name:
        raise InvalidEvent(
            f"event {index}: a NewEvent or an instance of a registered class,"
            f" not {type(data).__name__}"
        )
    check_name("type", name)
    try:
        payload = canonical.encode(data, "$")
    except InvalidEvent as exc:
        raise InvalidEvent(f"event {index} ({name}) {exc}") from None
    entry = registry.by_name.get(name)
    if entry is None:
        return name, registry.current_version(name) if registry.upcasters else 1, payload, ()
    instance = entry.from_payload(payload, f"event {index} ({name})")
    return name, entry.version, payload, entry.tags(instance) if entry.tags else ()


def _context(context: object) -> str:
    if not isinstance(context, dict):
        raise InvalidEvent(f"context: a dict, not {type(context).__name__}")
    return canonical.encode(context, "context $", CONTEXT_BYTES_MAX).decode()


def _name_list(kind: str, names: object, count_max: int) -> tuple[str, ...]:
    """The names, each checked and each once, in the order in which they were given."""
    found = tuple(_iterable(kind, names))
    if len(found) == 1:
        return (check_name(kind, found[0]),)
    checked = tuple(dict.fromkeys([check_name(kind, name) for name in found]))
    if len(checked) > count_max:
        raise InvalidEvent(f"{kind}: {len(checked)} of them on one event, at most {count_max}")
    return checked


def _no_names(kind: str, names: object) -> tuple[str, ...]:
    """An empty list of names. What is falsy and no list (None, 0, "") is refused all the same."""
    if names != ():
        _iterable(kind, names)
    return ()


def _iterable(kind: str, names: object) -> Iterable[object]:
    if type(names) in (list, tuple):
        return names  # type: ignore[return-value]  # narrowed by the exact type
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise InvalidEvent(f"{kind}: a list of names, not {type(names).__name__}")
    return names


def _content_hash(parts: list[StreamAppend], given: Sequence[str]) -> bytes:
    """What "same content" means for a key: everything the caller gave but the expectations.

    Ids that the store made are left out, because a retry is given new ones: they stand first in
    an envelope's tail, and are cut off there.
    """
    kept = frozenset(given)
    said: list[bytes] = []
    for part in parts:
        said.append(_encode((part.stream, len(part.events))))
        for event in part.events:
            tail, payload = event.tail, event.payload
            if not kept or event.id not in kept:
                tail = tail[len(_encode(event.id)) :]
            said.append(b"%d,%d:%b%b" % (len(tail), len(payload), tail, payload))
    return sha256(b"".join(said)).digest()
