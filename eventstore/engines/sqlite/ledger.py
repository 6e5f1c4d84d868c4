"""The log as the owner of the write connection sees it: judged against, then written in bulk.

It runs in the owner's thread, inside a transaction that holds the write lock. Accepted calls are
buffered as rows and written with a few statements a table; whatever has to ask the database
first writes what is buffered. What it remembers between batches (heads, stream versions, ids of
names) is dropped when another connection has written to a log, or when a batch is rolled back; what
is asked for anew is compared with the events it speaks of, because nothing goes on from damage.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ...calls import CALL_SCOPE, Call, Fork, Prepared, StreamAppend, Written
from ...envelope import GENESIS, chain
from ...errors import Corrupt
from ...judge import StoredEvent, StoredKey
from ...query import Query
from ..rows import CONTENT_HASH_BYTES, envelope_of, stored_key
from . import statements as sql
from .rows import prefetch_names

_encode = msgspec.json.Encoder().encode

_REMEMBERED_MAX = 100_000
"""Streams and tags remembered between batches: about 20 MB; beyond it all are forgotten at once."""

_CHECKED_TENANTS_MAX = 16
"""Heads that are looked at to see whether logs have grown; of more tenants all is forgotten."""

_NOTHING = (None,) * 7
_PLAIN = (False,) * 7
"""The optional columns of an event that has none of them, and the shape of its row."""


class _Tenant(msgspec.Struct, gc=False):
    id: int
    position: int
    hash: bytes
    recorded_us: int


class _Stream(msgspec.Struct, gc=False):
    id: int
    version: int
    stored: bool
    first_us: int = 0
    last_us: int = 0
    parent: tuple[int, int] | None = None  # of one that is not stored yet


class SqliteLedger:
    """See the module; `Ledger` says what each question means."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], int]) -> None:
        self._run = connection.execute
        self._run_many = connection.executemany
        self._clock = clock
        self._data_version = -1
        self._last_stream_id: int = -1
        self.written_elsewhere = False
        self._known_keys: set[tuple[int, int, str]] = set()
        self._new_keys: set[tuple[int, int, str]] = set()
        self._forget()
        self._clear_buffers()

    def begin(self) -> None:
        """Called first in every transaction: drops what another connection has made stale."""
        self._known_keys.clear()
        self._new_keys.clear()
        (version,) = self._run(sql.DATA_VERSION).fetchone()
        if version != self._data_version:
            self.written_elsewhere = self._data_version != -1
            self._data_version = version
            if self._are_heads_as_known():
                # These are of all tenants, also of those that we do not know.
                self._last_stream_id = -1
                self._types.clear()
            else:
                self._forget()
        if len(self._streams) + len(self._tags) > _REMEMBERED_MAX:
            self._forget()

    def _are_heads_as_known(self) -> bool:
        """Whether no log that we know has grown. Most of what others write beside us are views,
        many times a second, and to ask for every stream anew after each would slow appends by a
        tenth. A head's hash stands for all that is before it, its tenant's names included."""
        known = self._tenants.values()
        if not 0 < len(known) <= _CHECKED_TENANTS_MAX:
            return False
        for each in known:
            head = (each.position, each.hash, each.recorded_us)
            if self._run(sql.FIND_HEAD, (each.id,)).fetchone() != head:
                return False
            if self._run(sql.LAST_EVENT, (each.id,)).fetchone() != head[:2]:
                return False
        return True

    def look_up_keys(self, calls: Sequence[Call]) -> None:
        """Finds out in one statement which keys of a batch stand already, so that the others need
        not be asked for one by one."""
        wanted = []
        for call in calls:
            if call.key is not None and (tenant := self._tenant(call.tenant)) is not None:
                stream_id = 0
                if call.key_scope != CALL_SCOPE:
                    stream = self._stream(tenant.id, call.key_scope)
                    if stream is None:
                        continue
                    stream_id = stream.id
                wanted.append((tenant.id, stream_id, call.key))
        self._known_keys = (
            set(self._run(sql.KNOWN_KEYS, (_encode(wanted).decode(),))) if wanted else set()
        )

    def flush(self) -> None:
        """Writes what is buffered. The transaction stays open."""
        if not self._events and not self._keys:
            return
        created: list[Any] = []
        forked: list[Any] = []
        moved: list[tuple[int, int, int]] = []
        for tenant_id, name, stream in self._touched.values():
            if stream.stored:
                moved.append((stream.id, stream.version, stream.last_us))
            else:
                row = (stream.id, tenant_id, name, stream.version, stream.first_us, stream.last_us)
                if stream.parent is None:
                    created += row
                else:
                    forked += (*row, *stream.parent)
                stream.stored = True
        sql.INSERT_STREAMS.run(self._run, created)
        sql.INSERT_STREAMS.run(self._run, forked, (True, True))
        if moved:
            found = self._run(sql.UPDATE_STREAMS, (_encode(moved).decode(),)).rowcount
            if found != len(moved):
                raise Corrupt("a stream that was appended to is missing", kind="head")
        for shape, values in self._events.items():
            sql.INSERT_EVENTS.run(self._run, values, shape)
        sql.INSERT_EVENT_TAGS.run(self._run, self._event_tags)
        sql.INSERT_EVENT_CAUSES.run(self._run, self._event_causes)
        for shape, values in self._keys.items():
            sql.INSERT_KEYS.run(self._run, values, shape)
        heads = [(t.id, t.position, t.hash, t.recorded_us) for t in self._moved_tenants.values()]
        self._run_many(sql.UPSERT_HEAD, heads)
        self._clear_buffers()

    def rolled_back(self) -> None:
        """Called after a rollback: nothing that was accepted or remembered holds."""
        self._forget()
        self._clear_buffers()

    def version(self, tenant: str, stream: str) -> int:
        """See `Ledger`."""
        found = self._tenant(tenant)
        if found is None:
            return 0
        known = self._stream(found.id, stream)
        return 0 if known is None else known.version

    def head_position(self, tenant: str) -> int:
        """See `Ledger`."""
        found = self._tenant(tenant)
        return 0 if found is None else found.position

    def find_key(self, tenant: str, scope: str, key: str) -> StoredKey | None:
        """See `Ledger`."""
        found = self._tenant(tenant)
        if found is None:
            return None
        stream_id = 0
        if scope != CALL_SCOPE:
            stream = self._stream(found.id, scope)
            if stream is None:
                return None
            stream_id = stream.id
        place = (found.id, stream_id, key)
        if place in self._new_keys:
            self.flush()
        elif place not in self._known_keys:
            return None
        return find_key(self._run, found.id, stream_id, scope, key)

    def find_events(self, tenant: str, ids: Sequence[str]) -> dict[str, StoredEvent]:
        """See `Ledger`."""
        self.flush()
        owner = self._tenant(tenant)
        found: dict[str, StoredEvent] = {}
        if owner is None:
            return found
        streams: dict[int, str] = {}
        types: dict[int, str] = {}
        for event_id in ids:
            row = self._run(sql.FIND_EVENT_BY_ID, (owner.id, event_id)).fetchone()
            if row is not None:
                prefetch_names(
                    lambda query, args: self._run(query, args).fetchall(), [row], streams, types
                )
                stream = streams[row[1]]
                tail = envelope_of(row, stream, types[row[4]])
                found[event_id] = StoredEvent(stream, row[2], row[0], row[6], tail, row[16])
        return found

    def any_after(self, tenant: str, queries: Sequence[Query], after: int) -> bool:
        """See `Ledger`."""
        self.flush()
        owner = self._tenant(tenant)
        if owner is None or owner.position <= after:
            return False
        return any(self._matches_after(owner, query, after) for query in queries)

    def write(self, call: Call) -> Written:
        """See `Ledger`."""
        tenant = self._tenant(call.tenant) or self._add_tenant(call.tenant)
        recorded_us = max(tenant.recorded_us, self._clock())
        rows, checked = [], tenant.position
        for part in call.appends:
            if part.events:
                rows.append(self._write_part(tenant, part, recorded_us))
            else:
                rows.append((self.version(call.tenant, part.stream), checked, 0))
        tenant.recorded_us = recorded_us
        self._moved_tenants[tenant.id] = tenant
        written = Written(rows, recorded_us)
        if call.key is not None:
            self._write_key(tenant.id, call, written)
        return written

    def keep_key(self, call: Call, written: Written) -> None:
        """See `Ledger`."""
        tenant = self._tenant(call.tenant)
        assert tenant is not None
        self._write_key(tenant.id, call, written)

    def _write_part(
        self, tenant: _Tenant, part: StreamAppend, recorded_us: int
    ) -> tuple[int, int, int]:
        stream = self._stream(tenant.id, part.stream) or self._add_stream(tenant.id, part.stream)
        self._touched[stream.id] = (tenant.id, part.stream, stream)
        stream.last_us = recorded_us
        if part.fork is not None:
            self._begin_as(tenant.id, stream, part.fork)
        elif stream.version == 0:
            stream.first_us = recorded_us
        position, version, previous = tenant.position, stream.version, tenant.hash
        first = (version + 1, position + 1, len(part.events))
        tenant_id, stream_id = tenant.id, stream.id
        types, rows = self._types, self._events
        for event in part.events:
            position += 1
            version += 1
            previous = chain(previous, position, version, recorded_us, event.tail, event.payload)
            type_id = types.get(event.type) or self._type_id(event.type)
            _add_row(
                rows,
                event,
                (
                    tenant_id,
                    position,
                    stream_id,
                    version,
                    event.id,
                    type_id,
                    event.schema_version,
                    recorded_us,
                    bytearray(event.payload),
                    bytearray(previous),
                ),
            )
            if event.tags:
                for tag in event.tags:
                    self._event_tags += (self._tag_id(tenant_id, tag), position)
            if event.causation_id is not None or event.derived_from:
                self._write_causes(tenant_id, event, position)
        tenant.position, tenant.hash, stream.version = position, previous, version
        return first

    def _begin_as(self, tenant_id: int, stream: _Stream, fork: Fork) -> None:
        """Lets a new stream begin behind the version of its parent, which was judged to be."""
        parent = self._stream(tenant_id, fork.parent)
        assert parent is not None
        stream.parent, stream.version = (parent.id, fork.version), fork.version
        stream.first_us = parent.first_us
        if parent.stored and not parent.first_us:  # which nothing else asks for
            (stream.first_us,) = self._run(sql.FIRST_RECORDED, (parent.id,)).fetchone()

    def _write_causes(self, tenant_id: int, event: Prepared, position: int) -> None:
        causes = set(event.derived_from)
        if event.causation_id is not None:
            causes.add(event.causation_id)
        for cause in sorted(causes):
            self._event_causes += (tenant_id, cause, position)

    def _write_key(self, tenant_id: int, call: Call, written: Written) -> None:
        assert call.key is not None
        assert call.content_hash is not None
        stream_id, detail = 0, None
        if call.key_scope == CALL_SCOPE:
            streams = [part.stream for part in call.appends]
            detail = _encode((streams, written.rows)).decode()
        else:
            stream = self._stream(tenant_id, call.key_scope)
            assert stream is not None
            stream_id = stream.id
        first = next(row[1] for row in written.rows if row[2])
        self._new_keys.add((tenant_id, stream_id, call.key))
        content = bytearray(call.content_hash[:CONTENT_HASH_BYTES])
        values = self._keys[(detail is not None,)]
        values += (tenant_id, stream_id, call.key, content, first, call.event_count)
        if detail is not None:
            values.append(detail)

    def _matches_after(self, tenant: _Tenant, query: Query, after: int) -> bool:
        tags = [self._known_tag(tenant.id, tag) for tag in query.tags]
        types = [self._known_type(name) for name in query.types]
        if None in tags or (types and not any(types)):
            return False
        # One type at a time: each is a single seek in its index.
        for chosen in [[type_id] for type_id in types if type_id is not None] or [[]]:
            statement = sql.positions_of(len(tags), len(chosen))
            args = sql.numbered((*tags, *chosen, tenant.id, after, tenant.position, 1))
            if self._run(statement, args).fetchone() is not None:
                return True
        return False

    def _tenant(self, name: str) -> _Tenant | None:
        found = self._tenants.get(name)
        if found is None:
            row = self._run(sql.FIND_TENANT, (name,)).fetchone()
            if row is None:
                return None
            head = self._run(sql.FIND_HEAD, row).fetchone() or (0, GENESIS, 0)
            if (self._run(sql.LAST_EVENT, row).fetchone() or (0, GENESIS)) != head[:2]:
                raise Corrupt(
                    f"the head says position {head[0]}, and the log's last event is another one",
                    kind="head",
                    position=head[0],
                )
            found = self._tenants[name] = _Tenant(row[0], *head)
        return found

    def _add_tenant(self, name: str) -> _Tenant:
        tenant_id = self._run(sql.INSERT_TENANT, (name,)).lastrowid
        assert tenant_id is not None
        found = self._tenants[name] = _Tenant(tenant_id, 0, GENESIS, 0)
        return found

    def _stream(self, tenant_id: int, name: str) -> _Stream | None:
        found = self._streams.get((tenant_id, name))
        if found is None:
            row = self._run(sql.FIND_STREAM_AND_LAST, (tenant_id, name)).fetchone()
            if row is None:
                return None
            if row[1] != row[2]:
                raise Corrupt(
                    f"stream {name!r}: its head says version {row[1]}, its events {row[2]}",
                    kind="head",
                    stream=name,
                    version=row[1],
                )
            found = self._streams[tenant_id, name] = _Stream(row[0], row[1], True)
        return found

    def _add_stream(self, tenant_id: int, name: str) -> _Stream:
        if self._last_stream_id < 0:
            known, named = self._run(sql.LAST_STREAM_ID).fetchone()
            if named > known:
                raise Corrupt("a stream has events, but no head", kind="head")
            self._last_stream_id = known
        self._last_stream_id += 1
        found = self._streams[tenant_id, name] = _Stream(self._last_stream_id, 0, False)
        return found

    def _known_type(self, name: str) -> int | None:
        type_id = self._types.get(name)
        if type_id is None:
            row = self._run(sql.FIND_TYPE, (name,)).fetchone()
            if row is not None:
                type_id = self._types[name] = row[0]
        return type_id

    def _type_id(self, name: str) -> int:
        type_id = self._known_type(name)
        if type_id is None:
            type_id = self._types[name] = _row_id(self._run(sql.INSERT_TYPE, (name,)))
        return type_id

    def _known_tag(self, tenant_id: int, name: str) -> int | None:
        tag_id = self._tags.get((tenant_id, name))
        if tag_id is None:
            row = self._run(sql.FIND_TAG, (tenant_id, name)).fetchone()
            if row is not None:
                tag_id = self._tags[tenant_id, name] = row[0]
        return tag_id

    def _tag_id(self, tenant_id: int, name: str) -> int:
        tag_id = self._known_tag(tenant_id, name)
        if tag_id is None:
            tag_id = _row_id(self._run(sql.INSERT_TAG, (tenant_id, name)))
            self._tags[tenant_id, name] = tag_id
        return tag_id

    def _forget(self) -> None:
        self._tenants: dict[str, _Tenant] = {}
        self._streams: dict[tuple[int, str], _Stream] = {}
        self._types: dict[str, int] = {}
        self._tags: dict[tuple[int, str], int] = {}
        self._last_stream_id = -1

    def _clear_buffers(self) -> None:
        # The values of all rows one after the other, for each shape that `Insert` knows.
        self._events: defaultdict[tuple[bool, ...], list[Any]] = defaultdict(list)
        self._event_tags: list[Any] = []
        self._event_causes: list[Any] = []
        self._keys: defaultdict[tuple[bool, ...], list[Any]] = defaultdict(list)
        self._touched: dict[int, tuple[int, str, _Stream]] = {}
        self._moved_tenants: dict[int, _Tenant] = {}


def _add_row(
    rows: dict[tuple[bool, ...], list[Any]], event: Prepared, always: tuple[Any, ...]
) -> None:
    """Adds an event's values to those of its shape."""
    optional = (
        event.occurred_us,
        event.actor,
        event.causation_id,
        event.correlation_id,
        event.derived_json,
        event.tags_json,
        event.context_json,
    )
    if optional == _NOTHING:
        rows[_PLAIN] += always
    else:
        values = rows[tuple([value is not None for value in optional])]
        values += always
        values += [value for value in optional if value is not None]


def find_key(
    run: Callable[..., sqlite3.Cursor], tenant_id: int, stream_id: int, scope: str, key: str
) -> StoredKey | None:
    """A key's first use, read with `run`, which executes a statement."""
    row = run(sql.FIND_KEY, (tenant_id, stream_id, key)).fetchone()
    if row is None:
        return None
    event = run(sql.FIND_FIRST_OF_KEY, (tenant_id, row[1])).fetchone()
    return stored_key(scope, row, event)


def _row_id(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None
    return cursor.lastrowid
