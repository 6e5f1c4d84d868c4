"""How a search goes: nearest vectors and shared words, one order of both, rows as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import ProjectionError, ViewNotBuilt
from ..sinks import Build
from .following import Place
from .found import Filters, Found
from .rows import key_of, value_of
from .statements import listed, sql_of

if TYPE_CHECKING:
    from .sink import VectorSink

RESULTS_MAX = 1_000
"""How many rows a search may ask for: as many as the index gives."""

_CANDIDATES_MIN = 50
"""Rows of each ranking that are brought together: the tenth by words may be the first of both."""

_RANK_CONSTANT = 60
"""Of reciprocal rank fusion: Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms
Condorcet and individual rank learning methods", SIGIR 2009, who found 60 to be good."""

_LOOKS = 4
"""How often a search looks again that met rows which changed while it ran."""


class Question(msgspec.Struct, frozen=True):
    """What is looked for: a vector, and words where the search is hybrid."""

    vector: Any
    words: str | None
    count: int
    wanted: Filters


class Serving(msgspec.Struct, frozen=True):
    """The serving build, where it is, and what it is good for."""

    build: Build
    place: Place
    position: int
    recorded_us: int


async def serving_of(sink: VectorSink, build: Build) -> Serving:
    """The build that serves now, for the tenant of `build`, in one question. Raises `ViewNotBuilt`
    where none does, or one of another embedder, whose vectors are not to be compared with ours."""
    rows = await build.outbox.query(sql_of(build).state, (build.tenant_id, build.view))
    if not rows:
        tenant = build.outbox.tenant
        raise ViewNotBuilt(f"view {build.view!r}: no generation serves tenant {tenant!r}")
    generation, incarnation, embedder, *place, recorded_us, is_shared = rows[0]
    if embedder != sink.identity:
        raise ViewNotBuilt(
            f"view {build.view!r}: generation {generation} has vectors of {embedder}, this process"
            f" asks with {sink.identity}: a relay with that embedder builds them anew"
        )
    found = msgspec.structs.replace(build, generation=generation, incarnation=incarnation)
    change, purged, first, last = place
    where = Place(change, purged, last or 0, bool(is_shared))
    return Serving(found, where, first or 0, recorded_us or 0)


async def look(sink: VectorSink, serving: Serving, question: Question) -> list[Found]:
    """The rows, the best first. What changes while it runs is looked at again, and no row is
    answered but as it stands."""
    left = _LOOKS
    while True:
        left -= 1
        ranked, as_of = await _ranked(sink, serving, question)
        rows = await _first_rows(serving.build, [label for label, _ in ranked], question)
        if not left or all(row[9] <= as_of or not as_of for row in rows.values()):
            break
        serving = await serving_of(sink, serving.build)
    found = []
    for label, score in ranked:
        row = rows.get(label)
        if row is not None:
            value = value_of(*row[3:8])
            found.append(Found(key_of(row[1], row[2]), score, row[3], value, row[8]))
    return found[: question.count]


async def _first_rows(
    build: Build, labels: Sequence[int], question: Question
) -> dict[int, tuple[Any, ...]]:
    """As many of the rows as are asked for; where some of the first are gone, the others too."""
    count = question.count
    rows = await _rows(build, labels[:count], question.wanted)
    if len(rows) < min(count, len(labels)):
        rows |= await _rows(build, labels[count:], question.wanted)
    return rows


async def _ranked(
    sink: VectorSink, serving: Serving, question: Question
) -> tuple[list[tuple[int, float]], int]:
    """Labels with their scores in order, and the change that they are good for."""
    build, place = serving.build, sink.place(serving.build)
    depth = min(RESULTS_MAX, max(_CANDIDATES_MIN, 2 * question.count))
    near, as_of = await place.near(build, serving.place, question.vector, depth, question.wanted)
    if question.words is None:
        return near, as_of
    shared = await place.words(build, serving.place, question.words, depth, question.wanted)
    return fused([[label for label, _ in near], shared]), as_of


def fused(rankings: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """Labels of several rankings in one order, each with a score of 1 where it is first in all."""
    scores: dict[int, float] = {}
    first = len(rankings) / (_RANK_CONSTANT + 1)
    for ranking in rankings:
        for rank, label in enumerate(ranking, 1):
            scores[label] = scores.get(label, 0.0) + 1 / (_RANK_CONSTANT + rank) / first
    return sorted(scores.items(), key=lambda pair: -pair[1])


async def _rows(build: Build, labels: Sequence[int], wanted: Filters) -> dict[int, tuple[Any, ...]]:
    """The rows of these labels that stand, and still pass the filters."""
    if not labels:
        return {}
    conditions, args = wanted.conditions()
    question = sql_of(build).among_labels + numbered(conditions, build, 2)
    found = await build.outbox.query(question, (listed(build, labels), build.tenant_id, *args))
    return {row[0]: row for row in found}


def numbered(conditions: str, build: Build, before: int) -> str:
    """Conditions that follow a statement of `before` arguments."""
    if build.outbox.dialect == "sqlite":
        return conditions
    first, *others = conditions.split("?")
    return first + "".join([f"${n}{part}" for n, part in enumerate(others, before + 1)])


def check_count(view: str, k: object) -> int:
    """How many rows are asked for. Raises `ProjectionError`."""
    if type(k) is not int or not 1 <= k <= RESULTS_MAX:
        raise ProjectionError(f"view {view!r}: k is an int from 1 to {RESULTS_MAX}")
    return k
