"""Several reducers as one: a state of named parts, computed in one pass over the events."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import replace

from .errors import ReducerError
from .reducer import SNAPSHOT_EVERY, Reducer, Step, refuse_none


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

    def _handler_count(self) -> int:
        return sum(part._handler_count() for part in self.parts.values())

    def _compile(self) -> dict[str, Step]:
        takers: dict[str, list[tuple[str, Reducer[Any], Step]]] = {}
        for field, part in self.parts.items():
            for event_type, step in part.steps().items():
                takers.setdefault(event_type, []).append((field, part, step))
        return {
            event_type: _one_part(event_type, *found[0])
            if len(found) == 1
            else _many_parts([_one_part(event_type, *each) for each in found])
            for event_type, found in takers.items()
        }


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


def _one_part(event_type: str, field: str, part: Reducer[Any], step: Step) -> Step:
    read = attrgetter(field)
    none_allowed = part.none_allowed

    def apply(state: Any, event: Any) -> Any:
        before = read(state)
        after = step(before, event)
        if after is before:
            return state
        if after is None and not none_allowed:
            refuse_none(part, event_type)
        return replace(state, **{field: after})

    return apply


def _many_parts(steps: list[Step]) -> Step:
    def apply(state: Any, event: Any) -> Any:
        for step in steps:
            state = step(state, event)
        return state

    return apply
