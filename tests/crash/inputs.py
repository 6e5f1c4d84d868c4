"""Malformed and merely unusual inputs, made from a seed: names, values, numbers, queries."""

from __future__ import annotations

import datetime
import math
import random
from typing import Any

NAMES: tuple[Any, ...] = (
    "", " ", "\0", "a\0b", "\ud800", "x\udfffy", "e\u0301", "\u00e9", "'; DROP TABLE events; --",
    '"; DELETE FROM streams', "%", "_", "a%b_c", "../../etc/passwd", "C:\\nul", "$own", "a$b",
    "\n", "a\tb", "\u2028", "\u202e", "\ufeff", "\ufffe", "x" * 200, "x" * 201, "\u00e9" * 100,
    "\u00e9" * 101, "\U0001f600" * 50, "y" * 1_000_000, "--", "/*", "\\", "{}", "NULL", "0", "1e3",
    None, 0, 1.5, True, b"bytes", ("a",), ["a"], {"a": 1}, object(), "\u1e9b\u0323", "A\u030a",
    "\uac00", "\u1100\u1161", "\r\n", "\x7f", "\x9f", "tab\x0b", "'", "''", "`", "$1", ":name", "?",
)  # fmt: skip

NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**400, 0.0, -0.0,
    0.1, 1e308, -1e308, 5e-324, 1e16, 123456789.123456789, math.nan, math.inf, -math.inf, True,
    2**1024,
)  # fmt: skip

COUNTS: tuple[Any, ...] = (
    0, 1, 2, -1, 2**31, 2**63 - 1, 2**63, 10**30, None, "1", 1.0, True, math.nan, b"1",
)  # fmt: skip

_TEXTS = (
    "", "plain", "\0", "nul\0inside", "\ud83d", "\ude00", "a\ud800b", "\U0001f600", "e\u0301",
    "\u2028\u2029", '"\\/\b\f\n\r\t', "\x7f\x80", "'; DROP TABLE events; --", "{}", "null",
    "\ufdd0\uffff", "z" * 10_000,
)  # fmt: skip


class _Opaque:
    """Something that is no JSON."""


def name(chance: random.Random) -> Any:
    """A name, mostly one that is not one."""
    if chance.random() < 0.2:
        return "".join(chr(chance.randrange(0x250)) for _ in range(chance.randrange(1, 30)))
    return chance.choice(NAMES)


def value(chance: random.Random, canary: str, depth: int = 0) -> Any:
    """A value with the canary somewhere in it, now and then one that JSON cannot hold."""
    kind = chance.randrange(12 if depth < 4 else 5)
    if kind < 2:
        return chance.choice(NUMBERS)
    if kind < 4:
        return chance.choice(_TEXTS)
    if kind == 4:
        return f"{chance.choice(_TEXTS)}{canary}"
    if kind < 8:
        keys = [chance.choice((*_TEXTS, "a", "b", "c")) for _ in range(chance.randrange(5))]
        made = {key: value(chance, canary, depth + 1) for key in keys}
        if chance.random() < 0.05:
            made[chance.choice((1, None, 1.5, True, b"k", ("t",)))] = canary  # type: ignore[index]
        return made
    if kind < 11:
        return [value(chance, canary, depth + 1) for _ in range(chance.randrange(4))]
    return _odd(chance, canary)


def _odd(chance: random.Random, canary: str) -> Any:
    kind = chance.randrange(9)
    if kind < 4:
        deep: Any = canary
        for level in range(chance.choice((98, 99, 100, 101, 150, 2_000))):
            deep = [deep] if level % 2 else {"d": deep}
        return deep
    odd: tuple[Any, ...] = (
        (canary,),
        {canary},
        canary.encode(),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        _Opaque(),
    )
    return chance.choice(odd)


def moment(chance: random.Random) -> Any:
    """A time of the source's, or what is none."""
    return chance.choice(
        (
            None,
            datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
            datetime.datetime(1, 1, 1, tzinfo=datetime.UTC),
            datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=datetime.UTC),
            datetime.datetime(2026, 1, 1),
            datetime.date(2026, 1, 1),
            1_700_000_000,
            "2026-01-01",
        )
    )


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same, to the kind and the sign of each number."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    return bool(one == other)
