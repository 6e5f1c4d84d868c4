"""Writes the page of ``replay --html``: the steps as data, and the script that shows them.

The page holds no states but the first one: each step carries its changes as a patch, and the page
applies them. What came from events is JSON in which ``<``, ``>`` and ``&`` are written out, so that
no payload can end the element that it stands in, and the script shows it as text only. A content
security policy allows this script and this style by their hashes, and no network at all.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import IO, Any

import msgspec

from eventstore import RecordedEvent
from reducers import Reducer, Step, changes_to_patch, to_json

from ..rendering.events import iso_time
from ..rendering.safe import visible
from ..rendering.summaries import summary

PAGE_BYTES_MAX = 64 * 1024 * 1024
"""A page that a browser opens in some seconds and that goes through most mail and chat systems'
uploads; a session of 10,000 events takes about a tenth of it."""

SUMMARY_WIDTH = 160
"""Characters of an event in the timeline: what its column can show on a wide screen."""

EXACT_MAX = 2**53 - 1
"""The largest integer that JavaScript holds exactly (Number.MAX_SAFE_INTEGER)."""

_NUMBER = "\0number"
_TEXTS_OF_HTML = ((b"&", b"\\u0026"), (b"<", b"\\u003c"), (b">", b"\\u003e"))


class PageTooLarge(Exception):
    """The steps take more than `PAGE_BYTES_MAX`; `version` is the first that does not go in."""

    def __init__(self, version: int) -> None:
        self.version = version
        super().__init__(f"version {version} does not go into a page of {PAGE_BYTES_MAX} bytes")


class ReplayPage:
    """A page while it is written: begun with the state before its first step, then a step at a
    time, then ended. It writes to `file`, which its caller opens and closes."""

    def __init__(
        self, file: IO[bytes], stream: str, reducer: Reducer[Any], start: int, state: Any
    ) -> None:
        self._file = file
        self._written = 0
        self._version = start
        facts = {
            "stream": stream,
            "reducer": reducer.name,
            "start": start,
            "state": exact(to_json(state)),
        }
        before, self._end = _frame(stream, in_html(facts))
        self._write(before)

    def add(self, step: Step[Any]) -> None:
        """Writes one step. Raises `PageTooLarge`: then the page is of no use."""
        event = step.event
        self._version = event.version
        row = [
            event.version,
            event.position,
            event.type,
            event.actor,
            iso_time(event.recorded_at),
            summary(event, SUMMARY_WIDTH),
            len(step.changes),
            iso_time(event.occurred_at),
        ]
        rest = _told(event) | {"changes": _patch(step)}
        # JSON writes tabs and line ends inside of texts out, so these two stand between.
        self._write(in_html(row) + b"\t" + in_html(rest) + b"\n")

    def end(self) -> int:
        """Writes what follows the steps; the bytes of the whole page."""
        self._file.write(self._end)
        return self._written + len(self._end)

    def _write(self, content: bytes) -> None:
        self._written += len(content)
        if self._written + len(self._end) > PAGE_BYTES_MAX:
            raise PageTooLarge(self._version)
        self._file.write(content)


def exact(value: Any) -> Any:
    """A JSON value as the page reads it back without loss. JavaScript has one kind of number: 1.0
    and integers beyond 2^53 go as their text, under a name that nothing else begins with."""
    if isinstance(value, dict):
        return {
            f"\0{name}" if name.startswith("\0") else name: exact(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return {_NUMBER: repr(value)}
    if isinstance(value, int) and abs(value) > EXACT_MAX:
        return {_NUMBER: str(value)}
    return value


def in_html(value: Any) -> bytes:
    """A JSON value that may stand in an element of a page, whatever its texts hold."""
    encoded = msgspec.json.encode(value)
    for sign, written in _TEXTS_OF_HTML:
        encoded = encoded.replace(sign, written)
    return encoded


def _told(event: RecordedEvent) -> dict[str, Any]:
    """What the page tells of an event beside its line in the timeline; no empty fields."""
    found = {
        "id": event.id,
        "schema_version": event.schema_version,
        "data": exact(event.untyped().data),
        "causation_id": event.causation_id,
        "correlation_id": event.correlation_id,
        "derived_from": event.derived_from,
        "tags": event.tags,
        "context": exact(event.context),
    }
    return {name: value for name, value in found.items() if value not in (None, (), [], {})}


def _patch(step: Step[Any]) -> list[dict[str, Any]]:
    return [
        change | {"value": exact(change["value"])} if "value" in change else change
        for change in changes_to_patch(step.changes)
    ]


def _frame(title: str, facts: bytes) -> tuple[bytes, bytes]:
    """The page before its steps, and behind them."""
    folder = files(__package__)
    style, script = (folder / name for name in ("replay.css", "replay.js"))
    texts = {
        "policy": _policy(style.read_bytes(), script.read_bytes()).encode(),
        "title": escape(visible(f"{title} - replay")).encode(),
        "style": style.read_bytes(),
        "script": script.read_bytes(),
        "facts": facts,
    }
    before, behind = (folder / "replay.html").read_bytes().split(b"{{steps}}")
    return _filled(before, texts), _filled(behind, texts)


def _filled(template: bytes, texts: dict[str, bytes]) -> bytes:
    """The template with its places filled, each once: what is filled in is not looked at again."""
    pieces = template.split(b"{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition(b"}}")
        filled += [texts[name.decode()], rest]
    return b"".join(filled)


def _policy(style: bytes, script: bytes) -> str:
    """Nothing is loaded, nothing is sent, and only what this project wrote runs."""
    hashes = [b64encode(sha256(each).digest()).decode() for each in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}';"
        " base-uri 'none'; form-action 'none'"
    )
