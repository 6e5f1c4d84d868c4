"""A vector view's rows in SQLite: the table, its words, and the vectors' index in memory.

A row keeps its label for ever. One that was deleted stays as a tombstone, with neither text nor
vector, until there are too many of them, so that an index can follow by asking for what changed
since it last looked. Words are in a full-text table that triggers keep, in the same transaction.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from eventstore.outbox import Statement

from ..sinks import Build
from .following import Followers, Place
from .found import Filters
from .rows import Memory
from .statements import PLACES, place_of, table_of

_log = logging.getLogger("eventstore")

TOMBSTONES_MAX = 10_000
"""Tombstones that a tenant's build keeps, about 1 MB. An index that is further behind than the
oldest of them is built again."""

_PURGED_MAX = 2_000
"""Tombstones that one page takes away: about 5 ms."""

POSTINGS_MAX = 1_000
"""Rows that the words of a search may lead to, about 1 ms; the rarest words go first. A word that
is in more rows than this says little about any of them, and to rank 80,000 took over a second."""

_COMPARED_HERE_MAX = 10_000
"""Rows that are compared without a thread: 0.4 ms, where the hop to a thread and back costs 0.15,
and on a busy machine many times that. What a graph finds takes about as long."""

_LISTED_MAX = 4_096
"""Labels that are looked up one by one, in half a millisecond; more are looked for in all."""

_WORDS_MAX = 12
"""Distinct words of a question that are looked for; of more, the longest, which are the rarer ones.
Counting in how many rows a common one stands takes about 0.3 ms, once."""

_COUNTS_MAX, _SCOPES_MAX = 10_000, 1_000
"""Words whose counts are remembered, of so many tenants and users."""

_COUNTED_SHARE = 0.1
"""Once this share of the rows has come, gone or changed, words are counted again."""

_WORD = re.compile(r"\w+")

_FTS5 = "SELECT 1 FROM pragma_compile_options WHERE compile_options = 'ENABLE_FTS5'"


class _Sql(msgspec.Struct, frozen=True):
    """What only SQLite is told."""

    create: tuple[str, ...]
    create_words: tuple[str, ...]
    has_words: str
    step: str
    upsert: str
    delete: str
    note_purged: str
    purge: str
    drop: tuple[str, ...]
    labels: str
    matching: str
    ranked: str
    joined: str


class _Counts(msgspec.Struct):
    """In how many rows words stand, and how many rows had been taken when they were counted."""

    taken: int
    of: dict[str, int]


class Embedded:
    """What a `VectorSink` does in SQLite. `followers` have the indexes."""

    def __init__(self, view: str, followers: Followers) -> None:
        self.view = view
        self.followers = followers
        self._has_words: dict[str, bool] = {}
        self._counts: dict[tuple[str, str], _Counts] = {}
        self._told = False

    async def create(self, build: Build) -> list[str]:
        """The statements that make the table. Where this SQLite has no FTS5, it is told, and
        words are not looked for."""
        sql = _sql(table_of(build))
        if await build.outbox.query(_FTS5):
            return [*sql.create, *sql.create_words]
        if not self._told:
            self._told = True
            _log.warning(
                "view %s: this SQLite was built without FTS5: searches go by vectors alone",
                self.view,
            )
        return list(sql.create)

    def write(
        self,
        build: Build,
        embedder: str,
        memories: Sequence[tuple[Memory, bytes, bytes, int]],
        gone: Sequence[tuple[str, int]],
    ) -> list[Statement]:
        """The statements for a page: rows with their content hash, vector and position, and keys
        that are gone with theirs."""
        sql, place, tenant = _sql(table_of(build)), place_of(build), build.tenant_id
        # Not run where the build is of another embedder: vectors of two are never mixed.
        made = [Statement(sql.step, ((build.outbox.now(), *place, embedder),), 1)]
        if gone:
            made.append(
                Statement(sql.delete, [(position, *place, tenant, key) for key, position in gone])
            )
        if memories:
            rows = [
                (
                    *(tenant, row.key, row.is_json, row.text, row.user, row.type, row.time_us),
                    *(row.metadata, hash_, vector, position, *place),
                )
                for row, hash_, vector, position in memories
            ]
            made.append(Statement(sql.upsert, rows))
        if gone:
            old = (tenant, _PURGED_MAX, TOMBSTONES_MAX)
            made.append(Statement(sql.note_purged, ((*old, *place),)))
            made.append(Statement(sql.purge, (old,)))
        return made

    def drop(self, build: Build) -> Sequence[str]:
        """The statements that take the table away."""
        return _sql(table_of(build)).drop

    async def near(
        self, build: Build, place: Place, vector: Any, count: int, wanted: Filters
    ) -> tuple[list[tuple[int, float]], int]:
        """(label, cosine) of the nearest rows, and the change that this is good for."""
        following = await self.followers.index(build, place)
        allowed = None
        if not wanted.is_any:
            allowed = await self._labels(build, following, wanted)
            if not len(allowed):
                return [], following.change
        change, index = following.change, following.index
        if allowed is not None and len(allowed) <= _LISTED_MAX:
            allowed = allowed.tolist()
        compared = len(index) if allowed is None else len(allowed)
        if compared <= _COMPARED_HERE_MAX or (allowed is None and not index.exact):
            hits = index.search(vector, count, allowed)
        else:
            hits = await asyncio.to_thread(index.search, vector, count, allowed)
        return [(hit.label, hit.score) for hit in hits], change

    async def words(
        self, build: Build, place: Place, text: str, count: int, wanted: Filters
    ) -> list[int]:
        """Labels of rows that share words with the text, those that share the rarest ones first.

        Each row counts the logarithm of how rare each shared word is: BM25 without its length and
        frequency, which say little of texts this short and cost fifteen times as much. Words that
        stand in half of the rows say nothing."""
        terms = sorted({word.lower() for word in _WORD.findall(text)}, key=_longest)[:_WORDS_MAX]
        sql = _sql(table_of(build))
        if not terms or not await self._has_words_table(build):
            return []
        # Rows of a tenant that comes this moment would be left out when they are read.
        scope = _scope(build.tenant_id, wanted.user)
        is_all = wanted.user is None and not place.is_shared
        match = {term: _match(scope, term, is_all) for term in ("", *terms)}
        counts = await self._counted(build, sql, scope, match)
        if wanted.user is None:
            counts[""] = max(counts[""], self.followers.rows(build))
        weights, postings, rows = [], 0, counts[""]
        for term in sorted(terms, key=lambda each: counts[each]):
            postings += counts[term]
            if postings > POSTINGS_MAX:
                break
            if 0 < counts[term] < rows / 2:
                rarity = math.log((rows - counts[term] + 0.5) / (counts[term] + 0.5))
                weights.append((rarity, match[term]))
        if not weights:
            return []
        joined, args = msgspec.structs.replace(wanted, user=None).conditions()
        if joined:  # of tenant and user the words themselves know
            joined, args = sql.joined + joined, [build.tenant_id, *args]
        union = " UNION ALL ".join([sql.matching] * len(weights))
        question = sql.ranked.format(union=union, joined=joined)
        flat = [value for pair in weights for value in pair]
        found = await build.outbox.query(question, (*flat, *args, count))
        return [row[0] for row in found]

    async def _labels(self, build: Build, following: Any, wanted: Filters) -> Any:
        """The labels that filters allow. What was found for a state of the index is kept with
        it, because the same user asks again."""
        import numpy as np

        change = following.change
        known = following.allowed.get(wanted)
        if known is not None and known[0] == change:
            return known[1]
        conditions, args = wanted.conditions()
        question = _sql(table_of(build)).labels + conditions
        rows = await build.outbox.query(question, (build.tenant_id, *args))
        labels = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
        following.remember(wanted, change, labels)
        return labels

    async def _counted(
        self, build: Build, sql: _Sql, scope: str, match: dict[str, str]
    ) -> dict[str, int]:
        """In how many rows each word stands ("": how many rows there are), counted up to one more
        than is followed; `match` finds each. Counts only weigh words against each other, so they
        are remembered until a share of the rows has changed; but for words that are nowhere, which
        may come."""
        taken, place = self.followers.taken(build), (build.incarnation, scope)
        known = self._counts.pop(place, None)
        if known is None or abs(known.taken - taken) > _COUNTED_SHARE * self.followers.rows(build):
            known = _Counts(taken, {})
        self._counts[place] = known
        missing = [term for term in match if not known.of.get(term)]
        if missing:
            one = f"(SELECT count(*) FROM ({sql.matching} LIMIT {POSTINGS_MAX + 1}))"
            question = "SELECT " + ", ".join([one] * len(missing))
            args = [value for term in missing for value in (1.0, match[term])]
            found = (await build.outbox.query(question, args))[0]
            known.of.update(zip(missing, found, strict=True))
        while len(self._counts) > _SCOPES_MAX:
            del self._counts[next(iter(self._counts))]
        counts = {term: known.of[term] for term in match}
        if len(known.of) > _COUNTS_MAX:
            known.of.clear()
        return counts

    async def _has_words_table(self, build: Build) -> bool:
        if build.incarnation not in self._has_words:
            if len(self._has_words) > _SCOPES_MAX:
                self._has_words.clear()
            sql = _sql(table_of(build)).has_words
            self._has_words[build.incarnation] = bool(await build.outbox.query(sql))
        return self._has_words[build.incarnation]


def _longest(word: str) -> tuple[int, str]:
    return -len(word), word


def _scope(tenant: int, user: str | None) -> str:
    """A word that stands in every row of a tenant, or of one of its users."""
    return f"t{tenant}" if user is None else f"u{tenant}x{user.encode().hex()}"


def _match(scope: str, term: str, is_all: bool) -> str:
    """What finds a word in the rows of a scope. Where that is all rows there are, it is not asked
    for: to go through the rows of 100,000 takes four times as long as the words themselves."""
    if not term:
        return f'scope : "{scope}"'
    return f'text : "{term}"' if is_all else f'scope : "{scope}" AND text : "{term}"'


@cache
def _sql(table: str) -> _Sql:
    words = f"{table}_words"
    change = f"(SELECT change FROM {PLACES} WHERE tenant_id = ? AND name = ? AND generation = ?)"
    tombstones = (
        f"SELECT {{}} FROM {table} WHERE tenant_id = ? AND text IS NULL"
        " ORDER BY change DESC, label DESC LIMIT ? OFFSET ?"
    )
    given = (
        'is_json, text, "user", "type", "time", metadata, content_hash, vector, position, change'
    )
    taken = ", ".join([f"{name} = excluded.{name}" for name in given.split(", ")])
    return _Sql(
        create=_create(table),
        create_words=_create_words(table, words),
        has_words=f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{words}'",
        # Numbers go with the clock: those of a file that was restored are beyond those that an
        # index was kept with.
        step=f"UPDATE {PLACES} SET change = max(change + 1, ?)"
        " WHERE tenant_id = ? AND name = ? AND generation = ? AND embedder = ?",
        upsert=f"INSERT INTO {table} (tenant_id, key, {given})"
        f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {change})"
        f" ON CONFLICT (tenant_id, key) DO UPDATE SET {taken}",
        delete=f'UPDATE {table} SET text = NULL, "user" = NULL, "type" = NULL, "time" = NULL,'
        " metadata = NULL, content_hash = NULL, vector = NULL, position = ?,"
        f" change = {change} WHERE tenant_id = ? AND key = ? AND text IS NOT NULL",
        note_purged=f"UPDATE {PLACES} SET purged = max(purged, coalesce("
        f"(SELECT max(change) FROM ({tombstones.format('change')})), 0))"
        " WHERE tenant_id = ? AND name = ? AND generation = ?",
        purge=f"DELETE FROM {table} WHERE label IN ({tombstones.format('label')})",
        drop=(f"DROP TABLE {table}", f"DROP TABLE IF EXISTS {words}"),
        labels=f"SELECT r.label FROM {table} r WHERE r.tenant_id = ? AND r.text IS NOT NULL",
        matching=f"SELECT rowid AS label, ? AS weight FROM {words} WHERE {words} MATCH ?",
        ranked="SELECT f.label FROM (SELECT label, sum(weight) AS weight FROM ({union})"
        " GROUP BY label) f {joined} ORDER BY f.weight DESC, f.label DESC LIMIT ?",
        # A tenant's index would go through all of its rows: the words said which ones.
        joined=f"JOIN {table} r ON r.label = f.label AND +r.tenant_id = ?",
    )


def _create(table: str) -> tuple[str, ...]:
    made = "CREATE {}INDEX IF NOT EXISTS " + table
    living = "WHERE text IS NOT NULL"
    return (
        f"CREATE TABLE IF NOT EXISTS {PLACES} (tenant_id INTEGER NOT NULL, name TEXT NOT NULL,"
        " generation INTEGER NOT NULL, embedder TEXT NOT NULL, change INTEGER NOT NULL,"
        " purged INTEGER NOT NULL, PRIMARY KEY (tenant_id, name, generation)) WITHOUT ROWID",
        f"CREATE TABLE IF NOT EXISTS {table} (label INTEGER PRIMARY KEY AUTOINCREMENT,"
        " tenant_id INTEGER NOT NULL, key TEXT NOT NULL, is_json INTEGER NOT NULL,"
        ' change INTEGER NOT NULL, position INTEGER NOT NULL, "user" TEXT, "type" TEXT,'
        ' "time" INTEGER, content_hash BLOB, text TEXT, metadata TEXT, vector BLOB)',
        f"{made.format('UNIQUE ')}_keys ON {table} (tenant_id, key)",
        f"{made.format('')}_changes ON {table} (tenant_id, change)",
        f'{made.format("")}_users ON {table} (tenant_id, "user", "type", "time") {living}',
        f'{made.format("")}_types ON {table} (tenant_id, "type", "time") {living}',
        f"{made.format('')}_contents ON {table} (tenant_id, content_hash) {living}",
        f"{made.format('')}_tombstones ON {table} (tenant_id, change) WHERE text IS NULL",
    )


def _create_words(table: str, words: str) -> tuple[str, ...]:
    """The full-text table holds no text of its own. A row's scope is words as well: so that those
    of a tenant and of a user are found without going through everybody's."""
    scope = (
        "'t' || {0}.tenant_id || coalesce(' u' || {0}.tenant_id || 'x' || lower(hex({0}.\"user\")),"
        " '')"
    )
    put = (
        f"INSERT INTO {words} (rowid, text, scope) SELECT new.label, new.text,"
        f" {scope.format('new')} WHERE new.text IS NOT NULL;"
    )
    take = (
        f"INSERT INTO {words} ({words}, rowid, text, scope) SELECT 'delete', old.label, old.text,"
        f" {scope.format('old')} WHERE old.text IS NOT NULL;"
    )
    trigger = f"CREATE TRIGGER IF NOT EXISTS {words}"
    return (
        f"CREATE VIRTUAL TABLE IF NOT EXISTS {words} USING fts5(text, scope, content = '',"
        " tokenize = 'porter unicode61 remove_diacritics 2')",
        f"{trigger}_put AFTER INSERT ON {table} BEGIN {put} END",
        f"{trigger}_change AFTER UPDATE ON {table} BEGIN {take} {put} END",
        f"{trigger}_take AFTER DELETE ON {table} BEGIN {take} END",
    )
