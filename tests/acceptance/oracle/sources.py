"""Where the recorded sessions lie, and the courses of all of them."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from . import adk, claude_code, memorybank, tau2_bench, tau_bench
from .stating import Course

RECORDED = Path(os.environ.get("EVENTSTORE_DATA", Path(__file__).parents[4] / "shared" / "data"))

WITH_CALLS = (
    "tau2-bench-retail",
    "tau2-bench-telecom",
    "tau-bench",
    "claude-code",
    "adk",
)
"""Kinds whose agents call tools."""

KINDS = (*WITH_CALLS, "memorybank")


@cache
def courses(kind: str) -> tuple[Course, ...]:
    """Every session of a kind, in the order of its files."""
    if kind.startswith("tau2-bench-"):
        name = f"gpt-4.1_{kind.removeprefix('tau2-bench-')}_default_1trial.json"
        return tuple(tau2_bench.courses(RECORDED / "tau2-bench" / name))
    if kind == "tau-bench":
        return tuple(tau_bench.courses(RECORDED / "tau-bench" / "gpt-4o-airline.json"))
    if kind == "claude-code":
        paths = sorted((RECORDED / "claude-code").rglob("*.jsonl"))
        return tuple(claude_code.course(path) for path in paths)
    if kind == "memorybank":
        return tuple(memorybank.courses(RECORDED / "memorybank" / "memory_bank_en.json"))
    return tuple(adk.course(path) for path in sorted((RECORDED / "adk").glob("*.json")))


def folder(kind: str) -> str:
    """The folder that holds a kind."""
    return kind.removesuffix("-retail").removesuffix("-telecom")
