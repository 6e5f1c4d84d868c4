"""Tokens and cost, in all and by model, each model response counted once.

`model.called` events that bear one `response_id` describe one response: some sources split a
response over rows and repeat or complete its figures. The state keeps each response's own figures
and counts the last value of each, so a later event replaces a former one's contribution. A figure
that an event does not state, states as null, or states as something that is no figure leaves the
former one. An event without a usable `response_id` is a response of its own.

Token counts are the sum of what the sources state. The conventions want cached tokens to be part
of `input_tokens`; not every provider counts so, and nothing is added or taken off here.

Cost is exact: it is kept as floats that do not overlap, the rounded sum first and what the
rounding lost after it, so that replacing a contribution leaves no dust, the order of events does
not matter, and `cost` is always the float nearest to the true sum of the costs that were stated
(the representation is that of J. R. Shewchuk, Adaptive Precision Floating-Point Arithmetic, 1997;
`math.fsum` rounds correctly). A naive sum of the same n costs differs from it by n rounding errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum
from typing import Any, TypeVar

from immutables import Map
from msgspec import Struct
from msgspec.structs import replace

from eventstore import RecordedEvent

from .. import Reducer
from . import vocabulary
from .fields import count, dollars, fields, identifier, mapping, text

UNKNOWN_MODEL = "unknown"
"""Where `by_model` counts a response whose events name no model."""


class Response(Struct, frozen=True, gc=False):
    """The figures of one model response as seen last; None: never stated."""

    model: str = UNKNOWN_MODEL
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cost: float | None = None


class Totals(Struct, frozen=True):
    """Sums over responses. `calls` is how many; `cost` is in US dollars, `cost_rest` what its
    rounding lost."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cost: float = 0.0
    cost_rest: tuple[float, ...] = ()


class Usage(Totals, frozen=True):
    """The sums of a session, the same by model, and the responses that have an id."""

    by_model: Map[str, Totals] = Map()
    responses: Map[str, Response] = Map()


usage: Reducer[Usage] = Reducer("usage", initial=Usage(), version=1)

_NOTHING = Response()
_NO_TOTALS = Totals()
_TOKEN_FIELDS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
T = TypeVar("T", bound=Totals)


@usage.on(vocabulary.MODEL_CALLED)
def model_called(state: Usage, event: RecordedEvent) -> Usage:
    """Counts a response, or replaces what one has contributed so far."""
    data = fields(event)
    response_id = identifier(data.get("response_id"))
    known = None if response_id is None else state.responses.get(response_id)
    former = known or _NOTHING
    response = _response(data, former)
    by_model, responses = state.by_model, state.responses
    if known is not None and known.model != response.model:
        left = _add(by_model[known.model], -1, _NOTHING, known)
        by_model = by_model.set(known.model, left) if left.calls else by_model.delete(known.model)
        in_model = None
    else:
        in_model = known
    totals = by_model.get(response.model, _NO_TOTALS)
    totals = _add(totals, in_model is None, response, in_model or _NOTHING)
    if response_id is not None:
        responses = responses.set(response_id, response)
    return replace(
        _add(state, known is None, response, former),
        by_model=by_model.set(response.model, totals),
        responses=responses,
    )


def _response(data: Mapping[str, Any], former: Response) -> Response:
    """`former` with every figure and model that the event states."""
    tokens = mapping(data.get("usage"))
    stated: dict[str, Any] = {}
    if tokens:
        for name in _TOKEN_FIELDS:
            figure = count(tokens.get(name))
            if figure is not None:
                stated[name] = figure
    cost = dollars(data.get("cost"))
    if cost is not None:
        stated["cost"] = cost
    model = text(data.get("response_model")) or text(data.get("request_model"))
    if model:
        stated["model"] = model
    return replace(former, **stated)


def _add(totals: T, calls: int, new: Response, old: Response) -> T:
    """The totals with `new` counted, `old` no longer counted, and `calls` more calls."""
    cost, cost_rest = totals.cost, totals.cost_rest
    gained, lost = new.cost or 0.0, old.cost or 0.0
    if gained != lost:
        cost, cost_rest = _exact_sum((cost, *cost_rest, gained, -lost))
    return replace(
        totals,
        calls=totals.calls + calls,
        input_tokens=totals.input_tokens + (new.input_tokens or 0) - (old.input_tokens or 0),
        output_tokens=totals.output_tokens + (new.output_tokens or 0) - (old.output_tokens or 0),
        cache_read_input_tokens=totals.cache_read_input_tokens
        + (new.cache_read_input_tokens or 0)
        - (old.cache_read_input_tokens or 0),
        cache_creation_input_tokens=totals.cache_creation_input_tokens
        + (new.cache_creation_input_tokens or 0)
        - (old.cache_creation_input_tokens or 0),
        cost=cost,
        cost_rest=cost_rest,
    )


def _exact_sum(numbers: tuple[float, ...]) -> tuple[float, tuple[float, ...]]:
    """The float nearest to the sum of `numbers`, and the floats that make up the rest of it.

    Each float in the result is what is left of the sum, rounded once; that is a function of the
    sum alone, so equal sums have equal states however they came about.
    """
    left = list(numbers)
    parts = []
    while part := fsum(left):
        parts.append(part)
        left.append(-part)
    return (parts[0], tuple(parts[1:])) if parts else (0.0, ())
