"""Several reducers as one: a state of named parts, computed in one pass over the events."""

from __future__ import annotations

from hashlib import sha256
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import force_setattr

from .codecs import PartsCodec
from .errors import ReducerError
from .folding import refuse_none
from .reducer import SNAPSHOT_EVERY, Apply, Reducer


class Combined(Reducer[Any]):
    """A reducer whose state is a frozen Struct with one field for each of its `parts`."""

    def __init__(
        self,
        name: str,
        parts: dict[str, Reducer[Any]],
        version: int,
        snapshot_every: int | None,
    ) -> None:
        if not parts:
            raise ReducerError(f"combine {name!r}: at least one reducer")
        for field, part in parts.items():
            if not isinstance(part, Reducer):
                raise ReducerError(
                    f"combine {name!r}: {field} is a Reducer, not {type(part).__name__}"
                )
        title = "".join(word.capitalize() for word in name.replace("-", "_").split("_"))
        self.parts = dict(parts)
        self.state_class = msgspec.defstruct(
            title if title.isidentifier() else "Parts",
            [(field, Any) for field in parts],
            frozen=True,
            module=__name__,
        )
        super().__init__(
            name,
            self.state_class(**{field: part.initial for field, part in parts.items()}),
            version=version,
            snapshot_every=snapshot_every,
        )

    @property
    def initial(self) -> Any:
        """The parts' initial states."""
        return self.state_class(**{field: part.initial for field, part in self.parts.items()})

    def on(self, event: Any) -> Any:
        """Refused: handlers belong to the parts. Raises `ReducerError`."""
        raise ReducerError(f"reducer {self.name!r}: it is combined; register on one of its parts")

    def handler_name(self, event_type: str) -> str:
        """The names of the functions that handle a type, for messages."""
        return ", ".join(
            f"{field}: {part.handler_name(event_type)}"
            for field, part in self.parts.items()
            if event_type in part.steps()
        )

    def _make_codec(self) -> PartsCodec:
        return PartsCodec(
            self.state_class, {field: part.codec() for field, part in self.parts.items()}
        )

    def _make_fingerprint(self) -> str:
        digest = sha256(f"version {self.version}\n".encode())
        for field, part in self.parts.items():
            digest.update(f"{field} {part.fingerprint()}\n".encode())
        return digest.hexdigest()[:32]

    def _may_see_streams(self) -> bool:
        return any(part.sees_streams() for part in self.parts.values())

    def _handler_count(self) -> int:
        return sum(part._handler_count() for part in self.parts.values())

    def _compile(self) -> dict[str, Apply]:
        takers: dict[str, list[tuple[str, Reducer[Any], Apply]]] = {}
        for field, part in self.parts.items():
            for event_type, step in part.steps().items():
                takers.setdefault(event_type, []).append((field, part, step))
        return {event_type: _apply(event_type, found) for event_type, found in takers.items()}


def combine(
    name: str,
    *,
    version: int = 1,
    snapshot_every: int | None = SNAPSHOT_EVERY,
    **parts: Reducer[Any],
) -> Combined:
    """One reducer made of several: ``combine("agent", session=session, usage=usage)``.

    Its state is a frozen Struct with a field for each part, in the order given; an event goes to
    every part that has a handler for it, found in one look-up. Parts that do not change stay the
    same objects. Raises `ReducerError` for what is not a reducer.
    """
    return Combined(name, parts, version, snapshot_every)


def _apply(event_type: str, takers: list[tuple[str, Reducer[Any], Apply]]) -> Apply:
    """The step of an event type that these parts handle: one copy, and none if nothing changes."""
    entries = [
        (field, attrgetter(field), step, part.none_allowed, part) for field, part, step in takers
    ]

    def apply(state: Any, event: Any) -> Any:
        made = state
        for field, read, step, none_allowed, part in entries:
            before = read(state)
            after = step(before, event)
            if after is before:
                continue
            if after is None and not none_allowed:
                refuse_none(part, event_type)
            if made is state:
                # Half the price of structs.replace; the copy is nobody else's yet.
                made = state.__copy__()
            force_setattr(made, field, after)
        return made

    return apply
