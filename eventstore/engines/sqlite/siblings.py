"""The stores of this process that have one file open: a commit in one wakes the others at once.

Without it a store would learn of its sibling's commits as it learns of another process's, by
looking every 50 ms. A file is known by device and inode, so that two names of it are one.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress


class Sibling:
    """One open store in the list of its file. Join with `join`; call `leave` when it closes."""

    def __init__(self, family: _Family, wake: Callable[[], None]) -> None:
        self._family = family
        self._loop = asyncio.get_running_loop()
        self._wake = weakref.WeakMethod(wake)
        self._is_called = False

    def wake_others(self) -> None:
        """Lets each other store on the file wake its waiters, in its own loop."""
        if len(self._family.members) > 1:
            with _lock:
                others = [each for each in self._family.members if each is not self]
            for other in others:
                other._call()

    def leave(self) -> None:
        """Wakes and is woken no more."""
        with _lock:
            self._family.members.discard(self)

    def _call(self) -> None:
        # Once for all commits until it wakes: a loop that stands still is not filled with calls.
        if not self._is_called:
            self._is_called = True
            with suppress(RuntimeError):  # its loop is gone, and its waiters with it
                self._loop.call_soon_threadsafe(self._wake_own)

    def _wake_own(self) -> None:
        self._is_called = False  # before it wakes: what is committed from here on calls again
        wake = self._wake()
        if wake is not None:
            wake()


class _Family:
    """The open stores of one file."""

    def __init__(self) -> None:
        self.members: weakref.WeakSet[Sibling] = weakref.WeakSet()


def join(path: str, wake: Callable[[], None]) -> Sibling:
    """Enters a store on the file at `path`, which exists; `wake`, a method, is called in the
    running loop when another store of this process has committed. Neither is kept alive by it."""
    family = _Family()
    with _lock:
        with suppress(OSError):  # the file was taken away: nobody else will find it either
            status = os.stat(path)
            family = _families.setdefault((status.st_dev, status.st_ino), family)
        sibling = Sibling(family, wake)
        family.members.add(sibling)
    return sibling


_families: weakref.WeakValueDictionary[tuple[int, int], _Family] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def _forget_in_child() -> None:
    """A forked child has none of its parent's stores: to wake their loops would wake the parent,
    because a loop's wake-up socket is shared. Nor may it inherit a lock that is held."""
    global _lock
    _lock = threading.Lock()
    _families.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
