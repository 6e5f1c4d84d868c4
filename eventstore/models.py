"""Whether a class is a pydantic model, asked without importing pydantic: importing it takes a third
of the time that a command takes to start, and who has made a model has imported it."""

from __future__ import annotations

import sys
from typing import Any


def is_model(cls: Any) -> bool:
    """Whether `cls` is a class, and a pydantic model."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)
