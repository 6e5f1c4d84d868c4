"""The benchmarks themselves: every row runs, verdicts are computed, ratios are those of pairs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .machine import Machine
from .measuring import Bar, Line, Section, Series, Timing, in_turns, percentile
from .report import render, terminal
from .sizes import FULL

_ROOT = Path(__file__).resolve().parents[2]
_BARS = 44
"""Lines with a bar in a run with both neighbours and the recorded sessions at hand."""
_BARS_OF_THE_ABSENT = 9
"""Those of the neighbours, of the importer and of vectors, where these are not at hand."""


@pytest.mark.timeout(620)
def test_quick_run_then_every_row_is_in_the_report(tmp_path: Path) -> None:
    """A run with tiny sizes ends well, and its report holds every row with a verdict on each
    bar; only what is not at hand says that it was not measured."""
    report = tmp_path / "benchmarks.md"
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick", "--output", str(report)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    text = report.read_text(encoding="utf-8")
    rows = ["callers", "keys", "bulk", "single", "load", "snapshot", "bisect", "blame", "replay",
            "subscribe", "import", "neighbours", "read_all", "disk", "memory", "growth",
            "views_append", "views_lag", "views_remember", "views_rebuild", "views_fold", "vectors",
            "pg_callers", "pg_processes", "pg_bulk", "pg_single", "pg_read_all",
            "pg_neighbours"]  # fmt: skip
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == rows
    assert "the row failed" not in text
    assert "smoke run" in text
    verdicts = len(re.findall(r"\| (?:reached|missed) \|$", text, re.MULTILINE))
    assert _BARS - _BARS_OF_THE_ABSENT <= verdicts <= _BARS


def test_some_rows_are_run_then_the_report_says_which() -> None:
    """Nobody takes a part of a run for the whole."""
    machine = Machine("", 2, "", "", "", "", Series((1.0,)), 0.0, {})
    whole, part = (render([], machine, FULL, 1.0, only) for only in ((), ("bulk",)))
    assert whole.startswith("# Benchmarks\n")
    assert "`make bench`" in whole
    assert part.startswith("# Benchmarks: some rows\n")
    assert "--only bulk`" in part
    assert "make bench" not in part


def test_unknown_row_then_wrong_usage() -> None:
    """A row that does not exist is refused before anything is measured."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--only", "nonsense"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nonsense" in done.stderr


@pytest.mark.parametrize(
    ("bar", "values", "verdict"),
    [
        (Bar(0.4, "x"), (0.1, 0.4, 0.5), "reached"),
        (Bar(0.4, "x"), (0.1, 0.39, 0.9), "missed"),
        (Bar(1.5, "x", at_most=True), (1.0, 1.5, 9.0), "reached"),
        (Bar(1.5, "x", at_most=True), (1.0, 1.51, 1.6), "missed"),
    ],
)
def test_median_against_bar_then_verdict(bar: Bar, values: tuple[float, ...], verdict: str) -> None:
    """The verdict is that of the median, on the right side of the bar, and it is what is shown."""
    series = Series(values)
    line = Line("work", series, "x", judged=series, bar=bar)
    assert line.verdict == verdict
    assert terminal(Section("row", [line])).endswith(verdict)


def test_line_without_bar_then_no_verdict() -> None:
    """Where nothing is asked nothing is said to be reached."""
    assert Line("work", Series((1.0,)), "x").verdict == ""


def test_two_series_then_ratio_of_each_pair() -> None:
    """A ratio is taken pair by pair, and its median is not the ratio of the medians."""
    ours, raw = Series((10.0, 60.0, 9.0)), Series((1.0, 10.0, 3.0))
    assert ours.over(raw) == Series((10.0, 6.0, 3.0))
    assert ours.over(raw).median == 6.0
    with pytest.raises(ValueError, match="shorter"):
        ours.over(Series((1.0,)))


async def test_sides_then_sampled_in_turns() -> None:
    """Both sides are sampled one after the other, again and again: never all of one first."""
    order: list[str] = []

    async def raw() -> Timing:
        order.append("raw")
        return Timing(1.0, 0.5)

    async def ours() -> Timing:
        order.append("ours")
        return Timing(2.0, 0.5)

    taken = await in_turns(3, {"raw": raw, "ours": ours})
    assert order == ["raw", "ours"] * 3
    assert [one.seconds for one in taken["ours"]] == [2.0] * 3


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)]
)
def test_percentile_then_nearest_rank(share: float, expected: float) -> None:
    """The p99 of a hundred values is the ninety-ninth of them in order."""
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected
