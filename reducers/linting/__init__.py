"""Reducers' handlers are read before they run: what is certainly not pure is refused.

`lint` reads a handler's source and that of the functions of the same package that it names. Which
names are bad is in `rules`, what a name means in `resolving`, the walk in `walking`.
"""

from __future__ import annotations

from .linter import ImpurityWarning, Lint, lint, refuse
from .unchecked import Unchecked, unchecked, unchecked_in
from .walking import Finding

__all__ = [
    "Finding",
    "ImpurityWarning",
    "Lint",
    "Unchecked",
    "lint",
    "refuse",
    "unchecked",
    "unchecked_in",
]
