"""Reducers that a second process can import: a sound one, and one that hangs on the hash seed."""

from __future__ import annotations

from typing import Any

from reducers import Reducer, unchecked

sound: Reducer[Any] = Reducer("sound", initial={"names": [], "count": 0})
seeded: Reducer[Any] = Reducer("seeded", initial={"names": []})


@sound.on("named")
def named(state: Any, event: Any) -> Any:
    """Names without doubles, in order."""
    names = sorted({*state["names"], *event["names"]})
    return {"names": names, "count": state["count"] + 1}


@seeded.on("named")
@unchecked(reason="the check is to find what the reading of the source would")
def named_in_any_order(state: Any, event: Any) -> Any:
    """Names without doubles, in the order of their hashes."""
    return {"names": list({*state["names"], *event["names"]})}
