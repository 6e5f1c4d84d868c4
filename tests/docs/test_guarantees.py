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
    "view = fold of the log",
    "nothing parked is lost",
)
"""What the log, its reducers and its views promise, in the words of the design."""


def _functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def _flaw(row: list[str]) -> str:
    """What is wrong with a row of the table; nothing where it is as it must be."""
    promise, not_promised, proofs = row
    named = _TEST.findall(proofs)
    if not promise or not not_promised:
        return "a promise without limits"
    if not named or _TEST.sub("", proofs).strip():
        return "its proofs are not all tests"
    missing = [
        f"{file}::{function}"
        for file, function in named
        if not (ROOT / file).exists() or function not in _functions(ROOT / file)
    ]
    return f"no such test: {', '.join(missing)}" if missing else ""


def test_promise_is_made_then_it_has_a_row() -> None:
    """Every promise of the design stands in the table."""
    firsts = " ".join(row[0] for row in ROWS)
    assert [promise for promise in PROMISED if promise not in firsts] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_row_is_read_then_it_says_what_is_not_promised_and_names_tests_that_exist(
    row: list[str],
) -> None:
    """A promise without limits, or whose proof is gone, is none."""
    assert _flaw(row) == ""


@pytest.mark.parametrize(
    ("row", "flaw"),
    [
        (
            [
                "**p**",
                "",
                "`tests/docs/test_guarantees.py::test_promise_is_made_then_it_has_a_row`",
            ],
            "without limits",
        ),
        (["**p**", "n", "trust us"], "not all tests"),
        (["**p**", "n", "`tests/docs/test_guarantees.py::test_that_is_gone`"], "no such test"),
        (["**p**", "n", "`tests/docs/test_gone.py::test_that_is_gone`"], "no such test"),
    ],
    ids=["limits", "words", "function", "file"],
)
def test_row_is_wrong_then_it_is_told(row: list[str], flaw: str) -> None:
    """The check of rows can fail, in each way that it promises to."""
    assert flaw in _flaw(row)
