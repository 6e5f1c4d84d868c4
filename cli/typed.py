"""What a person typed, taken as it is where nothing is to be converted.

typer hands every option, given or not, to pydantic, and importing that takes longer than most
commands run. Texts, plain numbers, files that are there and what was not given need none of it; all
else, and whatever is to be refused, is still typer's.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

_NUMBER = re.compile(r"[0-9]{1,18}")


class Command(TyperCommand):
    """A command that asks typer to convert only what is no text and no plain number."""

    def get_params(self, ctx: Any) -> list[Any]:
        """As typer does, --help among them."""
        return taken_as_typed(super().get_params(ctx))


def taken_as_typed(parameters: list[Any]) -> list[Any]:
    """The same parameters, which are taken as typed where that is all there is to do."""
    for each in parameters:
        # Older releases of typer convert without pydantic, and have no such step.
        own = getattr(each, "get_runtime_param", None)
        if own is not None and "get_runtime_param" not in vars(each):
            each.get_runtime_param = lambda own=own: _AsTyped(own)
    return parameters


class _AsTyped:
    """Stands before typer's own conversion."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value that the command is given. Raises as typer does."""
        wanted = param.type_descriptor.annotation
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if type(value) is wanted:
            return value
        if wanted == list[str] and isinstance(value, (list, tuple)):
            return list(value)
        if wanted == list[Path] and _are_readable(value, param.type_descriptor.parameter_info):
            return [Path(each) for each in value]
        if wanted is int and _is_plain(value, param.type_descriptor.parameter_info):
            return int(value)
        return self._own().coerce(value, param=param, ctx=ctx)


def _is_plain(value: Any, info: Any) -> bool:
    """Whether a text is a number that lies within what the option allows."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value) is None:
        return False
    return (info.min is None or int(value) >= info.min) and (
        info.max is None or int(value) <= info.max
    )


def _are_readable(value: Any, info: Any) -> bool:
    """Whether these are paths of files or folders to read, of which no more is asked."""
    asked = info.exists or info.writable or info.resolve_path or info.path_type
    if asked or not (info.file_okay and info.dir_okay):
        return False
    return all(isinstance(each, str) and os.access(each, os.R_OK) for each in value)
