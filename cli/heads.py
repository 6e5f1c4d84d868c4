"""Heads kept in a file: the end of each tenant's log, against which a lost tail is seen.

The file is JSON: ``{"heads": {"default": {"position": 42, "hash": "<64 hex digits>"}}}``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from eventstore import KnownHead

from .exits import Stop, wrong_usage


def read_heads(path: Path) -> dict[str, KnownHead]:
    """The heads in a file, by tenant. Raises `Stop` (exit code 2) for a file that is none."""
    try:
        heads = json.loads(path.read_bytes())["heads"]
        return {
            str(tenant): KnownHead(int(head["position"]), bytes.fromhex(head["hash"]))
            for tenant, head in heads.items()
        }
    except FileNotFoundError:
        raise wrong_usage(
            f"no head file {str(path)!r}", "write one with eventstore verify --write-head"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise wrong_usage(
            f"{str(path)!r} holds no heads", "write it with eventstore verify --write-head"
        ) from None


def write_heads(path: Path, heads: dict[str, Any]) -> None:
    """Keeps the heads in a file, whole or not at all: a broken one would raise a false alarm."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(json.dumps({"heads": heads}, indent=2) + "\n")
        os.replace(part, path)
    except OSError as error:
        raise Stop(
            f"cannot write {str(path)!r}: {error.strerror}", next_step="choose another place"
        ) from None
