"""Each promise names tests, and those tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from .pages import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| promise")
]
_TEST = re.compile(r"`([\w/.]+\.py)::(test_\w+)`")

PROMISED = (
    "acknowledged = durable",
    "versions 1..n",
    "positions dense",
    "no committed event skipped",
    "all-or-nothing",
    "one winner per version",
    "written once",
    "reducers deterministic",
    "damage is seen",
)
"""What the log and its reducers promise, in the words of the design."""


def _functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_promise_is_made_then_it_has_a_row() -> None:
    """Every promise of the design stands in the table."""
    firsts = " ".join(row[0] for row in ROWS)
    assert not [promise for promise in PROMISED if promise not in firsts]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_row_is_read_then_it_says_what_is_not_promised_and_names_tests_that_exist(
    row: list[str],
) -> None:
    """A promise without limits, or whose proof is gone, is none."""
    promise, not_promised, proofs = row
    assert promise
    assert not_promised
    named = _TEST.findall(proofs)
    assert named
    for file, function in named:
        assert function in _functions(ROOT / file), f"{file}::{function}"
