"""What a view is made of, as pure code: which events change which rows, and how.

A projection knows events and rows, and nothing of sinks, checkpoints or time. So a view can be
built again, compared and explained.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, TypeAlias, TypeGuard, TypeVar

import msgspec

from eventstore.calls import FORKED
from eventstore.events import RecordedEvent
from eventstore.query import Query
from eventstore.registry import registry
from reducers import Reducer, to_json
from reducers.fingerprints import functions_fingerprint
from reducers.reducer import Handler

from .errors import ProjectionError

Key: TypeAlias = str | int | tuple[str | int, ...]
"""A row's key: what its primary key is in a table; a text in a cache."""

NAME_LENGTH_MAX = 40
"""Characters of a view's name: with generation and prefix it stays within PostgreSQL's 63 bytes
for a table's name."""

KEY_NAME_BYTES_MAX = 1_000
"""Of a key's name: PostgreSQL's index entries end at about 2,700, and the view's name is in it."""

_CHARACTER_BYTES_MAX = 4
"""UTF-8 bytes of one character."""

H = TypeVar("H", bound=Callable[..., Any])

_NAMING = "keys-2:"
"""Which way of naming keys this is. It goes up with any change of `key_name`."""

_MISTAKABLE = re.compile(r"0|-?[1-9][0-9]*|\[.*\]|\".*\"", re.DOTALL)
_MISTAKABLE_FIRST = frozenset('-0123456789["')
"""Texts that could be what is written for an int, for a tuple, or for such a text in quotes."""

_SHORTENED = re.compile(r".*\.\.\.[0-9a-f]{64}", re.DOTALL)
"""What the names of long keys look like."""

_encode = msgspec.json.Encoder().encode


class Upsert(msgspec.Struct, frozen=True, gc=False):
    """The row of `key` is `value` from now on, whatever it was."""

    key: Key
    value: Any


class Delete(msgspec.Struct, frozen=True, gc=False):
    """There is no row of `key` from now on."""

    key: Key


Effect: TypeAlias = Upsert | Delete


class Projection:
    """Events to rows, in one of two ways.

    *Map*: handlers registered with `on`, or one function `map` for all `types`, give for an event
    an `Upsert`, a `Delete`, a list of them, or None. *Fold*: `fold` is a reducer; the row of a key
    is the fold of the key's events, made a value by `row` (default: its JSON form), and None
    deletes it.

    `key(event)` says what belongs together: events of one key are applied in order, by one
    partition, and wait for each other when one fails. The default is the stream. In a fold it is
    the row's key (a tuple where the table's primary key has several columns), and None leaves the
    event out. A row belongs to one key. A fold's `row` is asked once for a page of events, after
    the last one of its key. `version` is raised
    when the code changes: a new generation is built then. All of it is pure: no clock, no
    randomness, no input or output. Raises `ProjectionError` for a bad declaration.
    """

    def __init__(
        self,
        name: str,
        *,
        version: int = 1,
        key: Callable[[RecordedEvent], Key | None] | None = None,
        map: Callable[[RecordedEvent], Any] | None = None,
        types: Sequence[str] = (),
        fold: Reducer[Any] | None = None,
        row: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        self.name = check_view_name(name)
        if type(version) is not int or version < 1:
            raise ProjectionError(f"projection {name!r}: version is an int from 1 on")
        if fold is not None and (map is not None or types):
            raise ProjectionError(f"projection {name!r}: a map or a fold, not both")
        if row is not None and fold is None:
            raise ProjectionError(f"projection {name!r}: row is for a fold")
        self.version = version
        self.reducer = fold
        self.handlers: dict[str, Handler] = {}
        self._key = key
        self._row = row
        self._map = map
        self._types = tuple(types)
        self._steps: dict[str, Callable[[Any], Any]] = {}
        self._compiled_for: tuple[int, int] = (0, 0)

    def on(self, event: str | type) -> Callable[[H], H]:
        """Registers the decorated ``handler(event) -> Upsert | Delete | list | None`` of a map.

        With a name, `event.data` is a dict; with a class registered by `@event_type`, its
        instance. Raises `ProjectionError` for a type registered before.
        """
        name, cls = self._name_and_class(event)

        def decorate(function: H) -> H:
            if self.reducer is not None or self._map is not None:
                raise ProjectionError(f"projection {self.name!r}: on() is for a map by handlers")
            if name in self.handlers:
                raise ProjectionError(f"projection {self.name!r}: {name!r} has a handler already")
            if inspect.iscoroutinefunction(function):
                raise ProjectionError(f"projection {self.name!r}: a handler is pure and not async")
            self.handlers[name] = Handler(function, cls)
            return function

        return decorate

    @property
    def is_fold(self) -> bool:
        """Whether rows are folds of their key's events."""
        return self.reducer is not None

    @property
    def is_by_stream(self) -> bool:
        """Whether a row is made of the events of the stream that is its key, and of no others."""
        return self.is_fold and self._key is None

    def queries(self) -> list[Query]:
        """What of the log it wants to see, and what tells it of forks; none is everything."""
        types = self._wanted_types()
        if types and FORKED not in types:
            types = (*types, FORKED)
        return [Query(types=types[n : n + 100]) for n in range(0, len(types), 100)]

    def wants(self, event: RecordedEvent) -> bool:
        """Whether events of this type are its own: a fork's are often not, but tell it of those
        that the fork inherits."""
        types = self._wanted_types()
        return not types or event.type in types

    def _wanted_types(self) -> tuple[str, ...]:
        if self.reducer is not None:
            return tuple(self.reducer.steps())
        return tuple(self.handlers) or self._types

    def key(self, event: RecordedEvent) -> Key | None:
        """What the event belongs to; None: to nothing. Raises what the key function raises."""
        if self._key is None:
            return event.stream
        found = self._key(event)
        if found is None or isinstance(found, (str, int)) or is_key(found):
            return found
        raise ProjectionError(
            f"projection {self.name!r}: a key is a str, an int, a tuple of them or None,"
            f" not {type(found).__name__}"
        )

    def effects(self, event: RecordedEvent) -> Sequence[Effect]:
        """What a map makes of an event, in order. Raises what its handler raises."""
        steps = self._handlers()
        step = steps.get(event.type) if steps else self._map
        if step is None:
            return ()
        made = step(event)
        if made is None:
            return ()
        if isinstance(made, (Upsert, Delete)):
            return (made,)
        if isinstance(made, Iterable):
            effects = tuple(made)
            if all(isinstance(each, (Upsert, Delete)) for each in effects):
                return effects
        raise ProjectionError(
            f"projection {self.name!r}: an Upsert, a Delete, a list of them or None,"
            f" not {type(made).__name__}"
        )

    def row(self, key: Key, state: Any) -> Any:
        """A fold's value for a key, None where there is no row."""
        if self._row is not None:
            return self._row(key, state)
        return None if state is None else to_json(state)

    def fingerprint(self) -> str:
        """What the code is, as far as it can be seen: see `reducers.fingerprints`; and how keys
        are named, because states and dead letters of other names would not be found."""
        functions = {"key": self._key, "row": self._row, "map": self._map}
        named = {name: each for name, each in functions.items() if each is not None}
        mine = functions_fingerprint(self.version, named, self.handlers)
        if self.reducer is not None:
            mine = f"{mine[:16]}{self.reducer.fingerprint()[:16]}"
        return f"{_NAMING}{mine}"

    def _handlers(self) -> dict[str, Callable[[Any], Any]]:
        wanted = (len(registry.by_name), len(self.handlers))
        if self._compiled_for != wanted:
            self._steps = {
                name: _taking(handler, name in registry.by_name)
                for name, handler in self.handlers.items()
            }
            self._compiled_for = wanted
        return self._steps

    def _name_and_class(self, event: object) -> tuple[str, type | None]:
        if isinstance(event, str):
            return event, None
        entry = registry.by_class.get(event) if isinstance(event, type) else None
        if entry is None:
            raise ProjectionError(
                f"projection {self.name!r}: on() takes an event's name or registered class"
            )
        return entry.name, entry.cls

    def __repr__(self) -> str:
        kind = "fold" if self.is_fold else "map"
        return f"<Projection {self.name!r} version {self.version}: {kind}>"


def _taking(handler: Handler, is_registered: bool) -> Callable[[Any], Any]:
    """The handler's function; one by name is given the event as a dict, whatever is registered."""
    function = handler.function
    if handler.cls is None and is_registered:
        return lambda event: function(event.untyped())
    return function


def check_view_name(name: object) -> str:
    """A view's name: small letters, digits and _, because tables are named after it. Raises
    `ProjectionError`."""
    if (
        isinstance(name, str)
        and 0 < len(name) <= NAME_LENGTH_MAX
        and name.isascii()
        and name[0].isalpha()
        and name == name.lower()
        and name.replace("_", "").isalnum()
    ):
        return name
    raise ProjectionError(
        f"view: a name has 1 to {NAME_LENGTH_MAX} small letters, digits and _, and begins with"
        " a letter"
    )


def key_text(key: Key) -> str:
    """A key as the text that names it in messages and caches: no other key has it. A text stays as
    it is, unless it looks like an int's, a tuple's or a quoted text's: then it is quoted."""
    if not isinstance(key, str):
        return _encode(_numbered(key)).decode()
    if key[:1] in _MISTAKABLE_FIRST and _MISTAKABLE.fullmatch(key):
        return _encode(key).decode()
    return key


def key_of_text(text: str) -> Key:
    """The key that `key_text` names so; a tuple may be typed with spaces. A text that it gives to
    no key is taken as it is."""
    if text[:1] not in _MISTAKABLE_FIRST or not _MISTAKABLE.fullmatch(text):
        return text
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    is_list = isinstance(found, list)
    key = tuple(found) if is_list else found
    written = _encode(found).decode() if is_list else text
    return key if is_key(key) and key_text(key) == written else text


def key_name(key: Key) -> str:
    """The text under which the state, the dead letters and the partition of a key are kept: its
    text, but for one that a database cannot index. A key that cannot be parked would stop its
    view: so a long one ends in its hash, and one with a NUL, or that looks like a long one's name,
    is quoted. No other key has the name."""
    text = key_text(key)
    if "\0" in text or (text[-67:-64] == "..." and _SHORTENED.fullmatch(text)):
        text = _encode(text).decode()
    if len(text) <= KEY_NAME_BYTES_MAX // _CHARACTER_BYTES_MAX:
        return text
    encoded = text.encode()
    if len(encoded) <= KEY_NAME_BYTES_MAX:
        return text
    beginning = encoded[: KEY_NAME_BYTES_MAX // 2].decode(errors="ignore")
    return f"{beginning}...{sha256(encoded).hexdigest()}"


def is_key(found: object) -> TypeGuard[Key]:
    """Whether it may be a row's key."""
    if isinstance(found, tuple):
        return all(isinstance(part, (str, int)) for part in found)
    return isinstance(found, (str, int))


def _numbered(key: int | tuple[str | int, ...]) -> Any:
    """The key with numbers for truth values: True is the key 1, as it is in Python and SQL."""
    if isinstance(key, tuple):
        return [int(part) if isinstance(part, bool) else part for part in key]
    return int(key) if isinstance(key, bool) else key
