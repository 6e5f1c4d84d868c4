"""The report: what was measured as Markdown and on the terminal. Verdicts are computed here."""

from __future__ import annotations

from collections.abc import Sequence

from .machine import Machine
from .measuring import Bar, Line, Section, Series
from .sizes import Sizes

_HEAD = "| work | raw limit | ours | ours against it | asked | |\n|---|---|---|---|---|---|"

_NOT_DONE = [
    "No other machine, disk or file system than the one above, and none whose cores and clock were"
    " set apart: the spread (smallest to largest sample) stands beside every median.",
    "No power was cut: that an acknowledged event survives is the business of the crash tests and"
    " of the disk that keeps its word at fsync.",
    "No network but loopback, no free-threaded Python and no other event loop than asyncio's own.",
    "Nothing was read from a cold disk: every file was in the operating system's cache.",
    "Several processes that append to one file are tested for correctness, not measured here; a"
    " relay that feeds views of the file is.",
    "Snapshots and replays of much larger states, and payloads much larger or smaller than 400"
    " bytes, were not measured.",
    "The neighbours ran with their defaults (but for eventsourcing's waiting times); nothing"
    " of theirs was tuned.",
]


def render(
    sections: Sequence[Section],
    machine: Machine,
    sizes: Sizes,
    minutes: float,
    only: Sequence[str] = (),
) -> str:
    """The report of all rows, or of `only` some, which it says."""
    parts = [
        "# Benchmarks: some rows" if only else "# Benchmarks",
        _opening(sizes, only),
        "## The machine",
        _machine(machine, minutes),
        "## Figures",
        _HEAD + "\n" + "\n".join(_row(line) for part in sections for line in part.lines),
        _summary(sections),
        "## How each was measured",
        *(_section(part) for part in sections),
        "## What was not done",
        "\n".join(f"- {text}" for text in _NOT_DONE),
    ]
    return "\n\n".join(parts) + "\n"


def terminal(section: Section) -> str:
    """A section as plain lines, for who watches the run."""
    if section.not_run:
        return f"{section.name}: not measured: {section.not_run}"
    rows = []
    for line in section.lines:
        raw = "" if line.raw is None else f"  |  {line.raw_name} {_figure(line.raw, line.unit)}"
        judged = "" if line.judged is None else f"  |  {_figure(line.judged, line.judged_unit)}"
        bar = "" if line.bar is None else f"  |  {_bar(line.bar)}: {line.verdict}"
        rows.append(f"  {line.work}: {_figure(line.ours, line.unit)}{raw}{judged}{bar}")
    return "\n".join([section.name, *rows])


def _opening(sizes: Sizes, only: Sequence[str]) -> str:
    if sizes.quick:
        return (
            "**A smoke run with tiny sizes: it shows that every row runs; no figure in it means"
            " anything.**"
        )
    named = " ".join([f"--only {name}" for name in only])
    command = f"`python -m tests.benchmarks {named}`" if only else "`make bench`"
    return (
        f"Written by {command}; not edited by hand. Each figure stands beside the raw limit that"
        " was measured in the same run, in turns with it, on the same disk: raw, ours, raw, ours,"
        f" {sizes.rounds} times. Figures are medians of {sizes.rounds}, with the smallest and the"
        " largest sample behind them; a ratio is that of each pair, and its median is what the bar"
        ' speaks of. "reached" and "missed" are computed from it. Payloads have 400 bytes;'
        " `synchronous=FULL`; one file."
    )


def _machine(machine: Machine, minutes: float) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    return "\n".join(
        [
            f"- {machine.cores} cores, {machine.processor}; {machine.kernel}",
            f"- Python {machine.python}, SQLite {machine.sqlite}",
            f"- {versions}",
            f"- Files on {machine.file_system}, in a folder under the system's place for temporary"
            " files, removed afterwards",
            f"- Appends of 4 KiB with fdatasync: {_figure(machine.fsyncs, '/s')}",
            f"- Load average when the run began: {machine.load_before:.2f};"
            f" the run took {minutes:.1f} minutes",
        ]
    )


def _summary(sections: Sequence[Section]) -> str:
    lines = [line for part in sections for line in part.lines if line.verdict]
    missed = [line for line in lines if line.verdict == "missed"]
    text = f"{len(lines) - len(missed)} of {len(lines)} bars reached."
    if missed:
        text += " Missed: " + "; ".join(
            f"{line.work} ({_number(line.judged.median)} {line.judged_unit},"
            f" asked {_bar(line.bar)})"
            for line in missed
            if line.judged is not None and line.bar is not None
        )
        text += "."
    return text


def _section(section: Section) -> str:
    notes = section.notes
    if section.not_run:
        notes = [f"Not measured: {section.not_run}."]
    return f"### {section.name}\n\n" + "\n".join(f"- {note}" for note in notes)


def _row(line: Line) -> str:
    raw = "" if line.raw is None else f"{_figure(line.raw, line.unit)}<br>{line.raw_name}"
    judged = "" if line.judged is None else _figure(line.judged, line.judged_unit)
    bar = "" if line.bar is None else _bar(line.bar)
    ours = _figure(line.ours, line.unit)
    return f"| {line.work} | {raw} | {ours} | {judged} | {bar} | {line.verdict} |"


def _bar(bar: Bar) -> str:
    sign = "<=" if bar.at_most else ">="
    return f"{sign} {_number(bar.limit)}{_unit(bar.unit)}"


def _figure(series: Series, unit: str) -> str:
    text = f"{_number(series.median)}{_unit(unit)}"
    low, high = min(series.values), max(series.values)
    if len(series.values) == 1:
        return text
    return f"{text} ({_number(low)} to {_number(high)})"


def _unit(unit: str) -> str:
    return unit if unit.startswith("/") else f" {unit}"


def _number(value: float) -> str:
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
