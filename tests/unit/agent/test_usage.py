"""Usage: each response once with its last figures, and sums that are exact."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import NewEvent
from reducers.agent import Totals, usage
from reducers.agent import vocabulary as v

Folded = Any


def test_models_are_called_then_tokens_and_cost_are_summed_by_model(folded: Folded) -> None:
    """The sums of a session are there in all and for each model."""
    state = folded(
        usage,
        v.model_called(
            response_model="big",
            usage={
                "input_tokens": 10,
                "output_tokens": 2,
                "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": 3,
            },
            cost=0.5,
        ),
        v.model_called(request_model="big", usage={"input_tokens": 1}, cost=0.25),
        v.model_called(usage={"output_tokens": 7}),
    )
    assert (state.calls, state.input_tokens, state.output_tokens) == (3, 11, 9)
    assert (state.cache_read_input_tokens, state.cache_creation_input_tokens) == (4, 3)
    assert state.cost == 0.75
    assert dict(state.by_model) == {
        "big": Totals(2, 11, 2, 4, 3, 0.75),
        "unknown": Totals(1, 0, 7),
    }


def test_a_response_is_told_of_twice_then_it_counts_once_with_the_last_figures(
    folded: Folded,
) -> None:
    """Sources that split a response over rows repeat its usage; it is not spent twice."""
    state = folded(
        usage,
        v.model_called(response_id="r1", usage={"input_tokens": 9, "output_tokens": 1}, cost=0.1),
        v.model_called(response_id="r2", usage={"input_tokens": 5, "output_tokens": 5}, cost=0.2),
        v.model_called(response_id="r1", usage={"input_tokens": 9, "output_tokens": 4}, cost=0.3),
    )
    assert (state.calls, state.input_tokens, state.output_tokens) == (2, 14, 9)
    assert state.cost == 0.5
    assert state.by_model["unknown"].calls == 2


def test_a_later_row_leaves_a_figure_out_then_the_former_one_stays(folded: Folded) -> None:
    """Absent and null say nothing, and so take nothing back."""
    state = folded(
        usage,
        v.model_called(response_id="r1", response_model="m", usage={"input_tokens": 9}, cost=0.1),
        v.model_called(response_id="r1"),
        NewEvent(
            "model.called", {"response_id": "r1", "usage": {"input_tokens": None}, "cost": None}
        ),
    )
    assert (state.calls, state.input_tokens, state.cost) == (1, 9, 0.1)
    assert list(state.by_model) == ["m"]


def test_a_response_turns_out_to_be_another_models_then_it_counts_there(folded: Folded) -> None:
    """The model that is named last has the response, and no empty entry is left behind."""
    state = folded(
        usage,
        v.model_called(response_id="r1", request_model="a", usage={"input_tokens": 3}, cost=0.1),
        v.model_called(response_id="r1", response_model="b", usage={"input_tokens": 4}),
    )
    assert dict(state.by_model) == {"b": Totals(1, 4, cost=0.1)}
    assert (state.calls, state.input_tokens, state.cost) == (1, 4, 0.1)


def test_calls_have_no_response_id_then_each_counts(folded: Folded) -> None:
    """Without an id nothing says that two events are one response."""
    call = v.model_called(usage={"input_tokens": 3}, cost=0.1)
    state = folded(usage, *[call] * 10)
    assert (state.calls, state.input_tokens) == (10, 30)
    assert state.cost == 1.0
    assert len(state.responses) == 0


def test_a_cost_is_replaced_then_no_dust_is_left(folded: Folded) -> None:
    """Taking a contribution back restores the sum that was there without it, to the last bit."""
    small, large = v.model_called(cost=0.1), v.model_called(response_id="r1", cost=1e9)
    gone = v.model_called(response_id="r1", cost=0.0)
    state = folded(usage, small, large, small, gone)
    assert state.cost == 0.2
    assert 0.1 + 1e9 + 0.1 - 1e9 != 0.2


@given(st.data())
def test_costs_in_any_order_then_the_sum_is_the_float_nearest_to_the_true_one(
    folded: Folded, data: st.DataObject
) -> None:
    """The cost depends on the contributions alone, and is their sum, rounded once."""
    costs = data.draw(
        st.dictionaries(
            st.text(min_size=1), st.floats(-1e12, 1e12, allow_subnormal=True), max_size=8
        )
    )
    first = data.draw(st.lists(st.sampled_from(sorted(costs)), max_size=8)) if costs else []
    order = data.draw(st.permutations(sorted(costs)))
    state = folded(
        usage,
        *[v.model_called(response_id=key, cost=costs[key] / 3 + 0.1) for key in first],
        *[v.model_called(response_id=key, cost=costs[key]) for key in order],
    )
    straight = folded(usage, *[v.model_called(response_id=key, cost=costs[key]) for key in costs])
    assert state == straight
    assert state.cost == float(sum((Fraction(cost) for cost in costs.values()), Fraction(0)))


@pytest.mark.parametrize(
    "odd",
    [
        {"usage": None},
        {"usage": [1]},
        {"usage": "many"},
        {"usage": {"input_tokens": -1}},
        {"usage": {"input_tokens": "12"}},
        {"usage": {"input_tokens": True}},
        {"usage": {"input_tokens": 1.5}},
        {"usage": {"input_tokens": 2**63 - 1}},
        {"usage": {"input_tokens": 1e300}},
        {"cost": "0.1"},
        {"cost": True},
        {"cost": 1.7e308},
        {"cost": [0.1]},
        {"response_id": {}, "response_model": 4},
        [],
        None,
    ],
)
def test_figures_that_are_none_then_the_call_counts_without_them(folded: Folded, odd: Any) -> None:
    """What cannot be a count or a cost is left out of the sums; the call itself is not."""
    state = folded(usage, v.model_called(usage={"input_tokens": 1}), NewEvent("model.called", odd))
    assert (state.calls, state.input_tokens, state.cost) == (2, 1, 0.0)


def test_a_count_is_written_as_a_float_then_it_is_that_count(folded: Folded) -> None:
    """Sources that pass through floats lose nothing."""
    state = folded(usage, NewEvent("model.called", {"usage": {"input_tokens": 12.0}}))
    assert repr(state.input_tokens) == "12"
