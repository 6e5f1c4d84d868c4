"""The store for synchronous code: one generic proxy over the asynchronous one.

::

    from eventstore import NewEvent, blocking

    with blocking.open("sqlite:///agent.db") as store:
        store.append("session/42", NewEvent("message.added", {"role": "user", "content": "hi"}))
        for event in store.read("session/42"):
            print(event.version, event.data)

Everything that `EventStore` offers is here under the same name with the same arguments: what is
awaited there returns here, what is iterated there with ``async for`` is iterated here with
``for``. There is no list of methods to keep in step.

The store lives in an event loop of its own, in one background thread. Any number of threads may
use it, and callers that wait at the same time are committed together. Ctrl-C in a call gives the
caller up, as cancelling does; a commit that was handed over goes on, so send it again with the
same key. It belongs to its process: after a fork the child opens a store of its own. Do not call
it in a coroutine (it blocks that loop) or from a callback that the store itself calls.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any

from .errors import Misuse, StoreClosed
from .store import EventStore


def open(url: str, **options: Any) -> BlockingStore:
    """Opens a store for synchronous code; `url` and `options` are those of `EventStore.open`.

    Use it as ``with open(url) as store``, or close it. Raises as `EventStore.open` does. If
    interrupted (KeyboardInterrupt), nothing stays open.
    """
    background = _Background(url)
    try:
        store = background.run(_open_store, url, options)
    except BaseException:
        background.stop()
        raise
    return BlockingStore(store, background)


class Blocking:
    """Something of the store's, for synchronous code; `EventStore` and its parts document it."""

    def __init__(self, target: Any, background: _Background) -> None:
        self._target = target
        self._background = background

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        target, background = self._target, self._background
        found = inspect.getattr_static(type(target), name, None)
        if not callable(found) and not isinstance(found, (staticmethod, classmethod)):
            # A property looks at the store when it is read: that belongs into its loop.
            return background.wrap(background.run(_get, target, name))
        method = getattr(target, name)

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            return background.wrap(background.run(_call, method, args, kwargs))

        return call

    def __iter__(self) -> Iterator[Any]:
        """The items of what is iterated with ``async for`` in asynchronous code."""
        if not hasattr(type(self._target), "__aiter__"):
            raise TypeError(f"{type(self._target).__name__} cannot be iterated")
        return _iterate(self._target, self._background)

    def __dir__(self) -> list[str]:
        return sorted(name for name in dir(self._target) if not name.startswith("_"))

    def __repr__(self) -> str:
        return f"<blocking {type(self._target).__name__} of {self._background.url}>"


class BlockingStore(Blocking):
    """An open store, or a view of one, for synchronous code. Closing any of them closes all."""

    def close(self) -> None:
        """Refuses new work, finishes the appends that wait, and ends the background thread.

        Closing twice is allowed. If interrupted, close it again.
        """
        if not self._background.is_over():
            self._background.run(self._target.close)
        self._background.stop()

    def __enter__(self) -> BlockingStore:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Background:
    """An event loop in a thread of its own, and the way into it."""

    def __init__(self, url: str) -> None:
        # A password may stand in the URL, never in what we print.
        self.url = url.split("://", 1)[0] + "://..."
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._served = threading.Event()
        self._over = self._told_to_stop = False
        # A daemon, so that a store left open does not keep the program from ending.
        self._thread = threading.Thread(target=self._serve, name="eventstore blocking", daemon=True)
        self._thread.start()

    def run(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Calls a coroutine function in the loop and waits for what it returns or raises.

        Whatever interrupts the waiting (KeyboardInterrupt) cancels the call.
        """
        # Under the lock, so that nothing is handed to a loop that has ended and hangs there.
        with self._lock:
            self._check()
            future = asyncio.run_coroutine_threadsafe(function(*args), self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise StoreClosed(f"{self.url}: closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    def leave(self, steps: _Steps) -> None:
        """Ends an iterator, without waiting: garbage collection may call this in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the iterator with it
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(steps.end()))

    def wrap(self, value: Any) -> Any:
        """`value`, or a proxy of it where it has something to await or to iterate."""
        if isinstance(value, EventStore):
            return BlockingStore(value, self)
        return Blocking(value, self) if _is_asynchronous(type(value)) else value

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._served.set()

    def is_over(self) -> bool:
        """Whether the loop has ended. Raises `Misuse` in a forked process."""
        self._check_process()
        return self._over

    def stop(self) -> None:
        """Ends the loop and its thread. Where it was interrupted, the next call goes on with it."""
        with self._lock:
            self._over = True
        with self._ending:
            if self._loop.is_closed():
                return
            if not self._told_to_stop:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._told_to_stop = True
            # Python 3.11 takes a thread whose `join` was interrupted for one that has ended.
            self._served.wait()
            self._thread.join()
            # Here, and not in the thread: an iterator that is left while the loop stops has put a
            # last task into it, and nothing can come after this.
            self._loop.run_until_complete(_finish())
            self._loop.close()

    def _check(self) -> None:
        self._check_process()
        if self._over:
            raise StoreClosed(f"{self.url}: closed")
        if threading.get_ident() == self._thread.ident:
            raise Misuse(f"{self.url}: called from its own background thread, which would hang")

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise Misuse(
                f"{self.url}: opened in process {self._pid}, used in {os.getpid()};"
                " open a store in each process"
            )


async def _open_store(url: str, options: dict[str, Any]) -> EventStore:
    return await EventStore.open(url, **options)


async def _get(target: Any, name: str) -> Any:
    return getattr(target, name)


async def _call(method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    result = method(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


async def _finish() -> None:
    """Ends what is still running in the loop: iterators that were abandoned, mostly."""
    loop = asyncio.get_running_loop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def _iterate(source: Any, background: _Background) -> Iterator[Any]:
    """One crossing between threads for each page where there are pages, else for each item."""
    paged = hasattr(source, "pages")
    steps: _Steps = background.run(_begin, source, paged)
    try:
        while True:
            try:
                step = background.run(steps.next)
            except StopAsyncIteration:
                return
            if paged:
                yield from step
            else:
                yield step
    finally:
        background.leave(steps)


async def _begin(source: Any, paged: bool) -> _Steps:
    return _Steps(aiter(source.pages() if paged else source))


class _Steps:
    """An iterator that lives in the loop. Who is interrupted leaves it while its last step is still
    being cancelled: it is ended behind that, because a generator that runs cannot be closed."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self._items = items
        self._stepping = asyncio.Lock()

    async def next(self) -> Any:
        async with self._stepping:
            return await anext(self._items)

    async def end(self) -> None:
        close = getattr(self._items, "aclose", None)
        async with self._stepping:
            if close is not None:
                await close()


def _is_asynchronous(kind: type) -> bool:
    """Whether instances of a class have anything that is awaited or iterated with `async for`."""
    known = _asynchronous.get(kind)
    if known is None:
        known = hasattr(kind, "__aiter__") or any(
            inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
            for name, member in inspect.getmembers_static(kind)
            if not name.startswith("_")
        )
        _asynchronous[kind] = known
    return known


_asynchronous: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()
