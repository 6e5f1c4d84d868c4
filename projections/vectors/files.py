"""A vector index in a folder: written beside the old one, switched by a rename, checked when read.

The folder holds a manifest and the files it names. New files get new names; the manifest is renamed
last, so whoever reads finds the old index or the new one, whole, also after a crash. What the
manifest does not name is left over and deleted. Reading checks every byte before any is used,
because a damaged graph would not only find wrong rows but may crash the process.
"""

from __future__ import annotations

import mmap
import os
import sys
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from ..errors import IndexRefused
from .graph import PARAMETERS, Graph, library
from .index import VectorIndex
from .limits import EXACT_ROWS_MAX
from .rows import Rows

FORMAT = 1
"""Counted up when a file's meaning changes; a folder of another format is built again."""

_MANIFEST = "index.json"


class _File(msgspec.Struct):
    name: str
    size: int
    crc32: int


class _Manifest(msgspec.Struct):
    format: int
    marker: str
    position: int
    dimensions: int
    slots: int
    graph_slots: int
    graph_expansion: int | None
    graph_parameters: str
    byteorder: str
    files: dict[str, _File]
    note: str = ""
    crc32: int = 0

    def checksum(self) -> int:
        """Over everything but itself."""
        return zlib.crc32(msgspec.json.encode(msgspec.structs.replace(self, crc32=0)))


@dataclass(frozen=True, slots=True)
class Kept:
    """An index that was read, the position that it is good for, and what its keeper noted."""

    index: VectorIndex
    position: int
    note: str = ""


def save(index: VectorIndex, folder: Path, *, marker: str, position: int, note: str = "") -> None:
    """Keeps the index as it is now, as good for `position`; the index may change meanwhile.

    `marker` names whose it is: say store, view, generation and the embedder's name and version in
    it. All changes up to `position` are in the index; later ones may be. `note` is given back by
    `load`. Blocks until all is on the disk: run it in a thread. One saver at a time for a folder. A
    failure raises OSError and leaves what was kept before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seen, graph = index.snapshot()
    run = uuid.uuid4().hex[:12]
    files: dict[str, _File] = {}
    arrays = {
        "vectors": seen.matrix[: seen.count],
        "labels": seen.labels[: seen.count],
        "alive": seen.alive,
    }
    for part, array in arrays.items():
        path = folder / f"{part}-{run}"
        with path.open("xb") as file:
            file.write(np.ascontiguousarray(array).data)
        files[part] = _kept_file(path)
    if graph is not None:
        path = folder / f"graph-{run}"
        graph.save(path)
        files["graph"] = _kept_file(path)
    manifest = _Manifest(
        format=FORMAT,
        marker=marker,
        position=position,
        dimensions=index.dimensions,
        slots=seen.count,
        graph_slots=0 if graph is None else graph.count,
        graph_expansion=None if graph is None else graph.expansion,
        graph_parameters=PARAMETERS,
        byteorder=sys.byteorder,
        files=files,
        note=note,
    )
    manifest.crc32 = manifest.checksum()
    beside = folder / f"{_MANIFEST}-{run}"
    beside.write_bytes(msgspec.json.encode(manifest))
    _flush(beside)
    _flush(folder)  # the files' names, before the manifest that names them
    beside.replace(folder / _MANIFEST)
    _flush(folder)
    named = {_MANIFEST, *(file.name for file in files.values())}
    for path in folder.iterdir():
        if path.name not in named:
            path.unlink(missing_ok=True)


def load(
    folder: Path,
    *,
    marker: str,
    position: int,
    dimensions: int,
    exact_rows_max: int = EXACT_ROWS_MAX,
) -> Kept:
    """The index that was kept for this marker, at `position` or before.

    An older one lacks what came since: do that to it before you serve it. Its vectors are read from
    the files as they are needed, and copied into memory when the first is put. Raises
    `IndexRefused` when what is there cannot be trusted. Blocks; run it in a thread.
    """
    manifest = _manifest(folder)
    expected = (FORMAT, marker, dimensions, PARAMETERS, sys.byteorder)
    found = (
        manifest.format,
        manifest.marker,
        manifest.dimensions,
        manifest.graph_parameters,
        manifest.byteorder,
    )
    if found != expected:
        raise IndexRefused("foreign", f"it is of {found}, asked for {expected}")
    if manifest.position > position:
        raise IndexRefused("ahead", f"position {manifest.position}, the view is at {position}")
    # Reading holds up no interpreter, so the cores share it, and the library is imported meanwhile:
    # a process that was just started is to answer within half a second.
    with ThreadPoolExecutor(len(manifest.files)) as pool:
        checking = pool.map(partial(_checked, folder), manifest.files.values())
        if "graph" in manifest.files:
            library()
        parts = dict(zip(manifest.files, checking, strict=True))
    slots = manifest.slots
    sizes = {"vectors": slots * dimensions * 4, "labels": slots * 8, "alive": slots}
    if any(manifest.files[part].size != size for part, size in sizes.items()):
        raise IndexRefused("damaged", "its files do not hold as many rows as it says")
    rows = Rows.of(
        np.frombuffer(parts["vectors"], dtype=np.float32).reshape(slots, dimensions),
        np.frombuffer(parts["labels"], dtype=np.int64),
        np.frombuffer(parts["alive"], dtype=np.bool_).copy(),
    )
    graph = None
    if "graph" in manifest.files:
        path = folder / manifest.files["graph"].name
        try:
            graph = Graph.view(path, dimensions, manifest.graph_slots, manifest.graph_expansion)
        except RuntimeError as unread:  # the library's only kind of error
            raise IndexRefused("damaged", f"{path.name} cannot be opened") from unread
    index = VectorIndex.restored(rows, graph, dimensions, exact_rows_max=exact_rows_max)
    return Kept(index, manifest.position, manifest.note)


def _manifest(folder: Path) -> _Manifest:
    try:
        manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=_Manifest)
    except OSError as exc:  # not there, most of all; whatever it is, the rows are elsewhere
        said = f"no {_MANIFEST} in {folder.name} ({type(exc).__name__})"
        raise IndexRefused("missing", said) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as unreadable:
        raise IndexRefused("damaged", f"{_MANIFEST} cannot be read") from unreadable
    if manifest.crc32 != manifest.checksum():
        raise IndexRefused("damaged", f"{_MANIFEST} has another checksum")
    if not {"vectors", "labels", "alive"} <= set(manifest.files):
        raise IndexRefused("damaged", f"{_MANIFEST} names too few files")
    return manifest


def _checked(folder: Path, file: _File) -> mmap.mmap | bytes:
    """A file's bytes, mapped; refused when they are not those that were written."""
    try:
        with (folder / file.name).open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            # An empty file cannot be mapped.
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as exc:
        raise IndexRefused("damaged", f"{file.name} is gone ({type(exc).__name__})") from None
    if size != file.size or zlib.crc32(mapped) != file.crc32:
        raise IndexRefused("damaged", f"{file.name} is not what was written")
    return mapped


def _kept_file(path: Path) -> _File:
    """A file that was just written, on the disk from here on, with the checksum of its bytes."""
    _flush(path)
    size = path.stat().st_size
    if not size:
        return _File(path.name, 0, 0)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return _File(path.name, size, zlib.crc32(mapped))


def _flush(path: Path) -> None:
    """Makes a file, or the names in a folder, outlive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
