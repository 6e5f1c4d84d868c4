"""Finding views by what a person types: stock names, ``--views file.py:name``, and names of views
that the store knows and whose code was not given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventstore import EventStore

from .exits import Stop, wrong_usage
from .loading import load_module

if TYPE_CHECKING:
    from projections.projection import Key
    from projections.view import View

REDIS_VARIABLE = "EVENTSTORE_REDIS_URL"

ViewsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--views",
        metavar="FILE.py:NAME",
        help="Your own view, or a list of them: path/to/file.py:name or package.module:name;"
        " without a name, all in the file. May be repeated.",
        show_default=False,
    ),
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        envvar=REDIS_VARIABLE,
        show_envvar=True,
        help="Where the stock view session_state has its rows; without it, in the store.",
        show_default=False,
    ),
]
ViewArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The view's name.", show_default=False)
]


class Known:
    """The views whose code is at hand: `stock` ones and the user's `own`, by name."""

    def __init__(self, typed: Sequence[str] | None, redis: str | None = None) -> None:
        """Raises `Stop`: exit code 2 for what is no view, or has a stock view's name."""
        from projections.embedding import ExtraMissing
        from projections.stock import stock_views
        from projections.stock.memory_index import memory_index

        self.stock = stock_views(cache_url=redis)
        self._missing: dict[str, ExtraMissing] = {}
        if "memory_index" not in self.stock:
            try:
                self.stock["memory_index"] = memory_index()
            except ExtraMissing as exc:  # told when it is asked for
                self._missing["memory_index"] = exc
        self.own: dict[str, View] = {}
        for place in typed or ():
            for view in _own_views(place):
                self._add(view, place)

    def _add(self, view: View, place: str) -> None:
        before = self.own.get(view.name) or self.stock.get(view.name)
        # A stock projection may be given another sink or other options.
        is_other = before is not None and before.projection is not view.projection
        if is_other or view.name in self.own:
            raise wrong_usage(
                f"--views {place}: there is another view {view.name!r}", "give it a name of its own"
            )
        self.own[view.name] = view

    @property
    def all(self) -> dict[str, View]:
        """Both; a user's view of a stock projection takes the stock one's place."""
        return {**self.stock, **self.own}

    def chosen(self, names: Sequence[str] | None) -> list[View]:
        """The views of these names; without names the user's own, and without any the stock ones.
        Raises `Stop` (exit code 2) for a name that has no code."""
        if not names:
            return list((self.own or self.stock).values())
        return [self.one(name) for name in dict.fromkeys(names)]

    def one(self, name: str) -> View:
        """The view of this name. Raises `Stop` (exit code 2) where its code is not at hand, 1
        for a stock view whose packages are not installed."""
        found = self.all.get(name)
        if found is None and name in self._missing:
            raise Stop(f"view {name!r}: {self._missing[name]}", next_step="then run it again")
        if found is None:
            raise _no_view(name, self.all, "its code is given with --views file.py:name")
        return found

    async def stored(self, store: EventStore, names: Sequence[str] | None = None) -> list[View]:
        """The views of these names (None: all that the store has rows of), with their code where
        it is at hand: without it, what the store keeps about them can still be told and changed.

        Raises `Stop` (exit code 2) for a name that neither the code nor the store knows. If
        cancelled, nothing is left open.
        """
        from projections.catalog import stored_names

        outbox = store.outbox
        there = await stored_names(outbox, await outbox.tenant_id())
        if not names:
            return [self._with_or_without_code(name) for name in there]
        for name in names:
            if name not in there and name not in self.all:
                raise _no_view(name, [*self.all, *there], "see eventstore projections list")
        return [self._with_or_without_code(name) for name in dict.fromkeys(names)]

    def _with_or_without_code(self, name: str) -> View:
        return self.all.get(name) or without_code(name)


def without_code(name: str) -> View:
    """Stands for a view of which only the name is known: it has no rows to ask for, and looks as
    if it wanted every event."""
    from projections.projection import Projection
    from projections.view import View

    nowhere: Any = None
    return View(Projection(name, map=_nothing), nowhere)


def has_code(view: View) -> bool:
    """Whether the view is more than a name."""
    return view.sink is not None


def _nothing(event: object) -> None:
    return None


def key_of(view: View, words: Sequence[str]) -> Key:
    """The key that words on a command line mean: one, several for the columns of a key, or a JSON
    array as messages show it; numbers where the view's key has numbers. Raises `Stop` (exit code
    2)."""
    from projections.relational import RelationalView

    typed: list[Any] = list(words)
    if len(words) == 1:
        typed = _array(words[0]) or typed
    if not isinstance(view, RelationalView):
        return typed[0] if len(typed) == 1 else tuple(typed)
    columns = list(view.table.primary_key.columns)
    if len(typed) != len(columns):
        named = " ".join(column.name.upper() for column in columns)
        raise wrong_usage(
            f"view {view.name!r}: a key has {len(columns)} parts, not {len(typed)}",
            f"give {named}",
        )
    key = [
        _part(column.name, _kind(column), word) for column, word in zip(columns, typed, strict=True)
    ]
    return key[0] if len(key) == 1 else tuple(key)


def keys_of(view: View, words: Sequence[str]) -> list[Key]:
    """The keys that words on a command line may mean, in the order to look for them. Where no
    column says of which kind a view's keys are, a word is what messages write so, such as a number
    or a text in quotes, or else a text. Raises as `key_of`."""
    from projections.projection import key_of_text
    from projections.relational import RelationalView

    first = key_of(view, words)
    if isinstance(view, RelationalView) or not isinstance(first, str):
        return [first]
    written = key_of_text(first)
    return [first] if written == first else [written, first]


def key_text_of(typed: str) -> str:
    """The text by which the store knows a key that was typed: that of a JSON array is made anew."""
    from projections.projection import key_text

    array = _array(typed)
    return typed if array is None else key_text(tuple(array))


def _array(text: str) -> list[Any] | None:
    import json

    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    simple = isinstance(found, list) and all(type(part) in (str, int) for part in found)
    return found if simple else None


def _kind(column: Any) -> type:
    try:
        kind: type = column.type.python_type
    except NotImplementedError:
        return str
    return kind


def _part(name: str, kind: type, word: Any) -> Any:
    if kind is not int:
        return word
    try:
        return int(word)
    except ValueError:
        raise wrong_usage(f"{name}: {word!r} is no number", f"{name} is an integer") from None


def _own_views(typed: str) -> list[View]:
    """The views at a place in the user's code, each once."""
    from projections.view import View

    place, separator, name = typed.rpartition(":")
    if not separator:
        place, name = typed, ""
    names = vars(load_module(place, "--views"))
    if name and name not in names:
        known = [key for key, value in names.items() if isinstance(value, View)]
        hint = f"use one of {', '.join(known)}" if known else "it holds no view"
        raise wrong_usage(f"--views: no {name!r} in {place!r}", hint)
    found = _views_in(names[name]) if name else _views_in(names)
    if not found:
        raise wrong_usage(
            f"--views: {typed!r} holds no view", "name a View, or a list of views, of that file"
        )
    return found


def _views_in(value: Any) -> list[View]:
    from projections.view import View

    if isinstance(value, View):
        return [value]
    held: Iterable[Any] = ()
    if isinstance(value, Mapping):
        held = value.values()
    elif isinstance(value, list | tuple | set):
        held = value
    return list({id(each): each for each in held if isinstance(each, View)}.values())


def _no_view(name: str, known: Iterable[str], otherwise: str) -> Stop:
    close = get_close_matches(name, list(known), n=1)
    return wrong_usage(f"no view {name!r}", f"did you mean {close[0]!r}?" if close else otherwise)
