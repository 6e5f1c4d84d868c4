"""A kept vector index: whole, own and current, or not served."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from projections.vectors import (
    Batch,
    Hit,
    IndexRefused,
    Kept,
    VectorIndex,
    load,
    open_index,
    opening,
    save,
)

from .test_vector_index import topics, with_graph

MARKER = "store-1/memory_index/3/hashing/1-32"
ROWS = topics(1_500)


def _kept(folder: Path, index: VectorIndex | None = None, position: int = 70) -> VectorIndex:
    """An index with a graph, saved."""
    index = with_graph(ROWS) if index is None else index
    save(index, folder, marker=MARKER, position=position)
    return index


def _load(folder: Path, **other: Any) -> VectorIndex:
    given: dict[str, Any] = {"marker": MARKER, "position": 70, "dimensions": 32, **other}
    return load(folder, **given).index


def _answers(index: VectorIndex) -> list[list[Hit]]:
    return [index.search(row, 10) for row in ROWS[:50]]


@pytest.mark.parametrize("graph", [True, False])
def test_an_index_is_kept_then_what_is_read_answers_as_it_did(tmp_path: Path, graph: bool) -> None:
    """Rows, graph, the dead and those not yet folded in, with and without a graph."""
    index = with_graph(ROWS) if graph else VectorIndex(32)
    index.put(range(1_500), ROWS)
    index.put([3, 9_000], -ROWS[:2])
    index.remove([5, 6])
    _kept(tmp_path, index)
    again = _load(tmp_path)
    assert _answers(again) == _answers(index)
    assert len(again) == len(index) == 1_499
    assert (again.exact, 5 in again, 9_000 in again) == (not graph, False, True)


def test_an_empty_index_is_kept_then_an_empty_one_is_read(tmp_path: Path) -> None:
    """A view that has nothing yet has an index all the same."""
    _kept(tmp_path, VectorIndex(32))
    assert len(_load(tmp_path)) == 0


def test_a_read_index_is_changed_then_it_does_what_another_would(tmp_path: Path) -> None:
    """Files are only looked at; the first write takes a copy, folding as well."""
    _kept(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    index = _load(tmp_path)
    index.put([9_000, 3], -ROWS[:2])
    index.remove([7])
    assert index.fold()
    assert index.search(-ROWS[0], 1)[0].label == 9_000
    assert 7 not in [hit.label for hit in index.search(ROWS[7], 50)]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_index_is_kept_again_then_the_folder_holds_the_new_one_alone(tmp_path: Path) -> None:
    """Also when the one that is kept was read from that folder; leftovers go."""
    _kept(tmp_path)
    (tmp_path / "vectors-of-a-crash").write_bytes(b"half")
    index = _load(tmp_path)
    index.remove([1])
    save(index, tmp_path, marker=MARKER, position=71)
    assert load(tmp_path, marker=MARKER, position=71, dimensions=32).position == 71
    assert len(_load(tmp_path, position=71)) == 1_499
    assert len(list(tmp_path.iterdir())) == 5
    assert index.search(ROWS[9], 1)[0].label == 9


PARTS = ["alive", "graph", "index.json", "labels", "vectors"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "gone", "empty"])
def test_a_file_is_damaged_then_it_is_refused(tmp_path: Path, part: str, damage: str) -> None:
    """One bit of any file, wherever it is, and nothing of the index is used."""
    _kept(tmp_path)
    path = next(path for path in tmp_path.iterdir() if path.name.startswith(part))
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    worse = {"flipped": flipped, "cut": content[:-1], "longer": content + b"\0", "empty": b""}
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(worse[damage])
    with pytest.raises(IndexRefused) as refused:
        _load(tmp_path)
    expected = "missing" if (part, damage) == ("index.json", "gone") else "damaged"
    # A bit of the manifest may as well turn its marker into another's.
    assert refused.value.reason == expected


def test_the_manifest_is_told_another_position_then_its_checksum_tells(tmp_path: Path) -> None:
    """An index cannot be made newer than it is by a slip in a file of text."""
    _kept(tmp_path)
    manifest = tmp_path / "index.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"position":70', b'"position":71'))
    with pytest.raises(IndexRefused, match="another checksum"):
        _load(tmp_path, position=71)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"marker": "store-2/memory_index/3/hashing/1-32"}, "foreign"),
        ({"marker": "store-1/memory_index/4/hashing/1-32"}, "foreign"),
        ({"dimensions": 64}, "foreign"),
        ({"position": 69}, "ahead"),
    ],
)
def test_an_index_is_another_s_or_ahead_then_it_is_refused(
    tmp_path: Path, asked: dict[str, Any], reason: str
) -> None:
    """Another store, generation, model or length, or a log that was restored."""
    _kept(tmp_path)
    with pytest.raises(IndexRefused) as refused:
        _load(tmp_path, **asked)
    assert refused.value.reason == reason


def test_another_version_built_it_then_it_is_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A format or a graph of other parameters is not tried out."""
    _kept(tmp_path)
    for name, other in (("FORMAT", 2), ("PARAMETERS", "usearch-3")):
        with monkeypatch.context() as patch:
            patch.setattr(f"projections.vectors.files.{name}", other)
            with pytest.raises(IndexRefused, match="foreign"):
                _load(tmp_path)
    assert len(_load(tmp_path)) == 1_500


def test_there_is_no_folder_then_the_index_is_missing(tmp_path: Path) -> None:
    """The first start is no damage."""
    with pytest.raises(IndexRefused) as refused:
        _load(tmp_path / "none")
    assert refused.value.reason == "missing"


@pytest.mark.parametrize("step", range(1, 12))
def test_saving_dies_at_any_step_then_the_index_before_it_is_read(
    tmp_path: Path, step: int
) -> None:
    """A process that is gone in the middle leaves the old index, or the new one, whole."""
    _kept(tmp_path)
    code = f"""
        import os, sys
        from pathlib import Path
        from projections.vectors import files
        calls = 0
        def counted(function):
            def call(*args, **kwargs):
                global calls
                calls += 1
                if calls == {step}:
                    os._exit(9)
                return function(*args, **kwargs)
            return call
        files.os.fsync = counted(os.fsync)
        Path.replace = counted(Path.replace)
        Path.unlink = counted(Path.unlink)
        folder = Path(sys.argv[1])
        index = files.load(folder, marker={MARKER!r}, position=70, dimensions=32).index
        index.remove([0])
        files.save(index, folder, marker={MARKER!r}, position=71)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    kept = load(tmp_path, marker=MARKER, position=71, dimensions=32)
    assert (kept.position, len(kept.index)) in ((70, 1_500), (71, 1_499))
    # Six files or folders are flushed and one is renamed before the new one counts.
    assert kept.position == (70 if step <= 7 else 71)


def test_an_index_is_saved_while_it_changes_then_what_is_kept_is_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is put or removed after saving began is not in the files, and does not harm them."""
    index = with_graph(ROWS)
    flush = os.fsync

    def changing(handle: int) -> None:
        index.put([7, 9_000], -ROWS[:2])
        index.remove([8])
        index.fold(purge=True)
        flush(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", changing)
        _kept(tmp_path, index)
    again = _load(tmp_path)
    assert len(again) == 1_500
    assert [again.search(ROWS[label], 1)[0].label for label in (7, 8)] == [7, 8]
    assert 9_000 not in again


class Source:
    """Rows and changes as a view's store would give them, and from where each was asked."""

    def __init__(self, told_from: int = 0) -> None:
        self.asked: list[int] = []
        self._told_from = told_from

    async def changes(self, after: int) -> AsyncIterator[Batch]:
        """Every row as of position 80, or what positions 71 to 80 did."""
        self.asked.append(after)
        if 0 < after < self._told_from:
            raise IndexRefused("foreign", "removals of before are not known any more")
        if not after:
            yield Batch(list(range(1, 1_000)), ROWS[1:1_000])
            yield Batch(list(range(1_000, 1_500)), ROWS[1_000:])
        yield Batch([9_000], -ROWS[:1], removed=(0,))
        await asyncio.sleep(0)
        yield Batch([], ROWS[:0])


async def _is_first(note: str) -> bool:
    return note == "first"


def _opened(folder: Path | None, source: Source, position: int, **other: Any) -> Any:
    return open_index(
        folder,
        marker=MARKER,
        position=position,
        dimensions=32,
        changes=source.changes,
        exact_rows_max=100,
        **other,
    )


async def test_the_kept_index_is_current_then_no_row_is_read(tmp_path: Path) -> None:
    """The quick start."""
    _kept(tmp_path)
    source = Source()
    opened = await _opened(tmp_path, source, 70)
    assert (opened.origin, source.asked, len(opened.index)) == ("kept", [], 1_500)


@pytest.mark.parametrize("told_from", [0, 75])
async def test_the_kept_index_is_older_then_it_catches_up_or_is_built_again(
    tmp_path: Path, told_from: int
) -> None:
    """Never served as it is: what was forgotten since is gone, what is new is there."""
    _kept(tmp_path)
    source = Source(told_from)
    opened = await _opened(tmp_path, source, 80)
    assert opened.origin == ("rebuilt" if told_from else "caught up")
    assert source.asked == ([70, 0] if told_from else [70])
    assert 0 not in [hit.label for hit in opened.index.search(ROWS[0], 100)]
    assert opened.index.search(-ROWS[0], 1)[0].label == 9_000


@pytest.mark.parametrize("wrong", ["damaged", "missing", "ahead", "foreign"])
async def test_the_kept_index_cannot_be_trusted_then_it_is_built_from_rows(
    tmp_path: Path, wrong: str
) -> None:
    """With the reason told; whoever opened it decides when its graph is built."""
    if wrong != "missing":
        index = with_graph(ROWS)
        marker = "another" if wrong == "foreign" else MARKER
        save(index, tmp_path, marker=marker, position=99 if wrong == "ahead" else 80)
    if wrong == "damaged":
        next(tmp_path.glob("labels-*")).write_bytes(b"")
    source = Source()
    opened = await _opened(tmp_path, source, 80)
    assert (opened.origin, source.asked) == ("rebuilt", [0])
    assert f"is {wrong}" in opened.reason
    assert len(opened.index) == 1_500
    assert opened.index.exact
    assert opened.index.fold_due


@pytest.mark.parametrize(("note", "origin"), [("first", "kept"), ("second", "rebuilt")])
async def test_an_index_has_a_note_then_its_keeper_judges_by_it(
    tmp_path: Path, note: str, origin: str
) -> None:
    """Such as: of which log it was made."""
    save(with_graph(ROWS), tmp_path, marker=MARKER, position=80, note=note)
    opened = await _opened(tmp_path, Source(), 80, is_ours=_is_first)
    assert opened.origin == origin


async def test_an_index_is_kept_nowhere_then_it_is_built_from_rows() -> None:
    """A store in memory has no folder."""
    opened = await _opened(None, Source(), 80)
    assert (opened.origin, len(opened.index)) == ("rebuilt", 1_500)


async def test_the_files_change_while_they_are_read_then_the_newer_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process keeps an index and takes the older files away."""
    _kept(tmp_path)
    tried: list[Path] = []
    load_it = opening.load

    def loading(folder: Path, **given: Any) -> Kept:
        tried.append(folder)
        if len(tried) == 1:
            raise IndexRefused("damaged", "labels-1 is gone")
        return load_it(folder, **given)

    monkeypatch.setattr(opening, "load", loading)
    opened = await _opened(tmp_path, Source(), 70)
    assert (opened.origin, len(tried)) == ("kept", 2)
