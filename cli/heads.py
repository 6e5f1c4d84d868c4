"""Heads kept in a file: the end of each tenant's log, against which a lost tail is seen.

The file is JSON: ``{"store": "<id>", "heads": {"default": {"position": 42, "hash": "<64 hex
digits>"}}}``. The store's id is not there where its engine has none.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from eventstore import KnownHead

from .exits import Stop, wrong_usage


class Heads(msgspec.Struct, frozen=True):
    """What a file of heads holds: whose they are, and each tenant's."""

    place: str
    store_id: str | None
    by_tenant: dict[str, KnownHead]

    def check_store(self, store_id: str | None) -> None:
        """Refuses heads of another store: compared with them any log would look damaged. A copy
        or a backup of a store has its id. Raises `Stop` (exit code 2)."""
        if None not in (self.store_id, store_id) and self.store_id != store_id:
            raise wrong_usage(
                f"{self.place!r} belongs to another store: its id is {self.store_id},"
                f" the id of this one is {store_id}",
                "name this store's own head file, or the store that the heads are of",
            )


NO_HEADS = Heads("", None, {})


def read_heads(path: Path) -> Heads:
    """The heads in a file. Raises `Stop` (exit code 2) for a file that is none."""
    try:
        found = json.loads(path.read_bytes())
        store_id = found.get("store")
        heads = {
            str(tenant): KnownHead(int(head["position"]), bytes.fromhex(head["hash"]))
            for tenant, head in found["heads"].items()
        }
    except FileNotFoundError:
        raise wrong_usage(
            f"no head file {str(path)!r}", "write one with eventstore verify --write-head"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise wrong_usage(
            f"{str(path)!r} holds no heads", "write it with eventstore verify --write-head"
        ) from None
    return Heads(str(path), store_id if isinstance(store_id, str) else None, heads)


def write_heads(path: Path, store_id: str | None, heads: dict[str, Any]) -> None:
    """Keeps the heads in a file, whole or not at all: a broken one would raise a false alarm."""
    part = path.with_name(f"{path.name}.part")
    whose = {} if store_id is None else {"store": store_id}
    try:
        part.write_text(json.dumps({**whose, "heads": heads}, indent=2) + "\n")
        os.replace(part, path)
    except OSError as error:
        raise Stop(
            f"cannot write {str(path)!r}: {error.strerror}", next_step="choose another place"
        ) from None
