"""Loads what an extra brings, when it is first needed, and says which extra when it is missing."""

from __future__ import annotations

import importlib
import logging
from types import ModuleType

from ..errors import ExtraMissing


def load(package: str, *, extra: str) -> ModuleType:
    """The package, imported.

    Raises `ExtraMissing` when the package is not there; any other failure of its import comes
    through as it is, since installing again would not mend it.
    """
    # Some model libraries call `logging.basicConfig` when they are imported, which does nothing
    # while the root logger has a handler. An application's logging is its own.
    quiet = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(quiet)
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as missing:
        if missing.name != package.partition(".")[0]:
            raise
        raise missing_extra(package, extra) from missing
    finally:
        root.removeHandler(quiet)


def missing_extra(package: str, extra: str) -> ExtraMissing:
    """The error that says that a package is not there, and what brings it."""
    return ExtraMissing(
        f"{package} is not installed; it comes with: pip install 'agent-eventstore[{extra}]'",
        name=package,
    )
