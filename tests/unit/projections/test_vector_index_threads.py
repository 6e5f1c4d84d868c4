"""A vector index that is searched while it changes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from projections.vectors import VectorIndex
from projections.vectors.graph import Graph
from projections.vectors.rows import Seen

from .test_vector_index import topics, with_graph


def _together(*works: Callable[[], None]) -> None:
    """Runs them at the same time; the first failure is raised."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:  # told in the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_searches_run_while_rows_come_go_and_are_folded_then_each_answer_holds() -> None:
    """Stable rows are always found, removed ones never again, and no label twice.

    The searcher looks up, before it searches, how far the writer had come: what was put by then is
    there, what was removed by then is not.
    """
    rows = topics(6_000)
    index = with_graph(rows[:2_000])
    removed_below, put_below, done = 0, 2_000, threading.Event()

    def write() -> None:
        nonlocal removed_below, put_below
        try:
            for step in range(40):
                start = 2_000 + 100 * step
                index.put(range(start, start + 100), rows[start : start + 100])
                put_below = start + 100
                index.put(range(1_500, 1_520), rows[1_500:1_520])  # the same vectors, other slots
                index.remove(range(20 * step, 20 * step + 20))
                removed_below = 20 * step + 20
                if step % 8 == 7:
                    index.fold(purge=step % 16 == 15)
        finally:
            done.set()

    def search() -> None:
        chance = np.random.default_rng(threading.get_ident() % 2**32)
        looks = 0
        while not done.is_set() or looks < 20:
            looks += 1
            gone, there = removed_below, put_below
            newest = int(chance.integers(there - 100, there))
            # Few that are allowed are compared, so that what is missed is not the graph's doing.
            assert index.search(rows[newest], 1, [newest])[0].label == newest
            hits = [hit.label for hit in index.search(rows[int(chance.integers(0, 800))], 20)]
            assert len(hits) == len(set(hits)) == 20
            assert min(hits) >= gone
            stable = np.arange(1_500, 1_520)
            for allow in (set(stable.tolist()), stable, lambda label: 1_500 <= label < 1_520):
                assert {hit.label for hit in index.search(rows[1_510], 30, allow)} == set(stable)

    _together(write, search, search, search)
    assert len(index) == 2_000 + 4_000 - 800


def test_a_fold_takes_long_then_writing_and_searching_do_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What happens during a fold is there during it, and still there afterwards."""
    rows = topics(3_000)
    index = with_graph(rows[:1_000])
    index.put(range(1_000, 2_000), rows[1_000:2_000])
    inside, release = threading.Event(), threading.Event()
    extended = Graph.extended

    def slow(self: Graph, seen: Seen, **options: bool) -> Graph:
        inside.set()
        assert release.wait(60)
        return extended(self, seen, **options)

    def meanwhile() -> None:
        try:
            assert inside.wait(60)
            index.put(range(2_000, 3_000), rows[2_000:])
            index.put([7], -rows[7:8])
            index.remove([8, 1_500])
            _stands(index)
        finally:
            release.set()

    def _stands(index: VectorIndex) -> None:
        assert index.search(rows[2_500], 1)[0].label == 2_500
        assert index.search(-rows[7], 1)[0].label == 7
        for label in (8, 1_500):
            assert label not in [hit.label for hit in index.search(rows[label], 50)]

    for purge in (False, True):
        inside.clear()
        release.clear()
        if purge:
            index.put([8], rows[8:9])
        monkeypatch.setattr(Graph, "extended", slow)
        _together(lambda purge=purge: index.fold(purge=purge), meanwhile)
        monkeypatch.undo()
        _stands(index)
    assert len(index) == 2_998
