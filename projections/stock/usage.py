"""The view `usage`: tokens and cost of each stream, in all and by model, as the reducer `usage`
counts them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from reducers.agent import Totals, Usage
from reducers.agent import usage as reducer

from ..projection import Projection
from ..relational import RelationalView
from .columns import Json, column

FIGURES = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)

table = sa.Table(
    "usage",
    sa.MetaData(),
    column("stream", sa.Text, key=True),
    *[column(name, sa.BigInteger, required=True) for name in FIGURES],
    column("cost", sa.Double, required=True),
    column("by_model", Json, required=True),
)


def row(stream: str, state: Usage) -> dict[str, Any] | None:
    """The sums of a stream; none where no model was called."""
    if not state.calls:
        return None
    by_model = {model: _sums(totals) for model, totals in sorted(state.by_model.items())}
    return {**_sums(state), "by_model": by_model}


def _sums(totals: Totals) -> dict[str, Any]:
    return {**{name: getattr(totals, name) for name in FIGURES}, "cost": totals.cost}


projection = Projection("usage", fold=reducer, row=row)
usage = RelationalView(projection, table)
