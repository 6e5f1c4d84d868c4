"""What a fingerprint takes of constants."""

from __future__ import annotations

import sys
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from reducers import Reducer
from reducers.errors import ReducerError
from reducers.json_form import bounded_hash
from reducers.schemas import constant_text


def handler() -> None:
    """Stands for a function that code names."""


@pytest.mark.parametrize(
    "value",
    [
        *(msgspec.NODEFAULT, MappingProxyType({"a": 1}), Reducer("r", initial=0)),
        *(sys, len, handler, {}.get),
    ],
    ids=lambda value: type(value).__name__,
)
def test_constant_of_a_kind_without_json_form_then_named_by_its_kind(value: Any) -> None:
    """What is not even asked for its JSON form has none, so that no fingerprint changes by it."""
    with pytest.raises(ReducerError):
        bounded_hash(value)
    assert constant_text(value) == type(value).__qualname__
