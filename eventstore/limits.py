"""Every bound of the log, in one place, each with its reason. Errors name the bound they hit."""

from typing import Final

NAME_BYTES_MAX: Final = 200
"""UTF-8 bytes of a stream, type, tag, key, actor or id: an index entry must fit a B-tree page
several times over (SQLite splits entries above about a quarter of its 4 KiB page)."""

PAYLOAD_BYTES_MAX: Final = 8 * 1024 * 1024
"""One event's canonical payload: larger things are files, and belong in an object store."""

PAYLOAD_DEPTH_MAX: Final = 100
"""Nesting of a payload: decoders recurse, and PostgreSQL's and Python's own limits lie above."""

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1
"""What SQLite, PostgreSQL and most JSON readers hold in an integer without losing digits."""

APPEND_EVENTS_MAX: Final = 10_000
"""Events of one append (or of one append_many): one transaction must stay short for neighbours."""

APPEND_BYTES_MAX: Final = 64 * 1024 * 1024
"""Payload bytes of one append: the size of the write-ahead log that we promise to keep."""

APPEND_STREAMS_MAX: Final = 1_000
"""Streams in one append_many."""

SCHEMA_VERSION_MAX: Final = 2**31 - 1
"""Schema version of an event type: what PostgreSQL's integer holds."""

TAGS_MAX: Final = 100
"""Tags on one event: each is an index row."""

QUERIES_MAX: Final = 50
"""Queries or-ed in one list: with 100 types and 100 tags each they stay under SQLite's 32,766
bound values and its depth of 1,000 for one expression."""

CAUSES_MAX: Final = 1_000
"""Events that one event may be derived from: each is an index row."""

CONTEXT_BYTES_MAX: Final = 64 * 1024
"""An event's context is metadata; what is larger is payload."""

QUEUE_APPENDS_MAX: Final = 10_000
"""Appends waiting for the writer: at 20 k appends/s half a second of work. Callers beyond wait.
Checkpoints, leases and snapshots count among them, because the same owner writes them."""

QUEUE_BYTES_MAX: Final = 128 * 1024 * 1024
"""Bytes waiting for the writer: two of the largest appends."""

BATCH_EVENTS_MAX: Final = 10_000
"""Events in one group commit, so that no caller waits for more than about 0.3 s of others' work."""

BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""Payload bytes in one group commit (a single larger append is a batch of its own)."""

PAGE_ROWS_MAX: Final = 1_000
"""Rows scanned for one page of a read: about 3 ms, and one short read transaction."""

PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Payload bytes of one page: an iterator holds at most this, plus one event."""

CONFLICT_EVENTS_MAX: Final = 1_000
"""Missed events that a Conflict carries; beyond it is `truncated`."""

BUSY_TIMEOUT_SECONDS: Final = 30.0
"""How long a writer waits for another process's write lock before `Busy`."""

WAL_BYTES_MAX: Final = 64 * 1024 * 1024
"""Size of SQLite's write-ahead log that a checkpoint keeps to when no foreign reader holds it."""

CHECKPOINT_WAL_PAGES: Final = 4_096
"""Pages in the write-ahead log (16 MiB) after which the owner checkpoints between two batches."""

NAMES_CHECKED_MAX: Final = 10_000
"""Rows of a table of names (streams, tags, ...) that is looked through for damage when a SQLite
file is opened: 10,000 streams with their index and 10,000 tags took 12 ms; larger tables are left
to `verify`."""

POLL_SECONDS: Final = 0.05
"""How often another process's appends are looked for: half of the promised 100 ms."""

SNAPSHOT_BYTES_MAX: Final = 64 * 1024 * 1024
"""One snapshot: a state beyond it is refused a snapshot, never refused a load."""

SNAPSHOTS_NEWEST: Final = 4
"""Snapshots of one (stream, reducer, fingerprint) that are kept however close they lie: a damaged
newest one must not cost a fold of the whole stream."""

SNAPSHOT_STEPS: Final = 16
"""Older snapshots of small states lie at most about so many-th of a stream apart, and closer near
its end: about 40 of them, however long the stream is."""

SNAPSHOTS_OLDER_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of the snapshots of one (stream, reducer, fingerprint) behind the newest few: as much as
one large one. Where they would be more, they lie further apart."""

SNAPSHOTS_OLDER_BYTES_EVENT: Final = 400
"""The same for each event of the stream, beyond the first `SNAPSHOTS_OLDER_BYTES_MIN`: a session
whose state holds all its messages does not fill the disk many times over with copies of them."""

SNAPSHOTS_OLDER_BYTES_MIN: Final = 1024 * 1024
"""What the older snapshots of a short stream may take."""

LEASE_SECONDS_MAX: Final = 3_600.0
"""A lease that outlives an hour is a lock, and its holder's death would go unseen."""
