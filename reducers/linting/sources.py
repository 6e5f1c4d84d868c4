"""The syntax tree of a function, from the file that it was loaded from."""

from __future__ import annotations

import ast
import functools
import linecache
from types import CodeType, FunctionType

from .resolving import Function, arguments

FILES_KEPT = 4
"""Parsed files that are kept: a module registers its handlers one after the other, and names
helpers of a few more."""


def tree_of(function: FunctionType) -> Function | None:
    """The function's node; None without source, or where the file was edited since it was loaded
    so that another function stands there now."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        return None
    found = [
        node for node in _by_line("".join(lines)).get(code.co_firstlineno, ()) if _is(node, code)
    ]
    if len(found) > 1:
        found = [node for node in found if _holds(node, code)]
    return found[0] if len(found) == 1 else None


@functools.lru_cache(maxsize=FILES_KEPT)
def _by_line(source: str) -> dict[int, list[Function]]:
    """All functions of a file by the line that their code object names: that of the first
    decorator."""
    found: dict[int, list[Function]] = {}
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return found
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            found.setdefault(first, []).append(node)
        elif isinstance(node, ast.Lambda):
            found.setdefault(node.lineno, []).append(node)
    return found


def _is(node: Function, code: CodeType) -> bool:
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    named = [each.arg for each in arguments(node)]
    return name == code.co_name and named == list(code.co_varnames[: len(named)])


def _holds(node: Function, code: CodeType) -> bool:
    """Whether the code's instructions lie within the node: several lambdas may share a line."""
    begin = node.lineno, node.col_offset
    end = node.end_lineno or 0, node.end_col_offset or 0
    for line, last, column, last_column in code.co_positions():
        if line is None or last is None or column is None or last_column is None:
            continue
        # The instruction that opens a function has a place of no width.
        empty = line == last and column == last_column
        if not empty and not (begin <= (line, column) and (last, last_column) <= end):
            return False
    return True
