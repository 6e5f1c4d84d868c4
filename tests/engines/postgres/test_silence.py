"""Payloads and passwords stay out of errors, their causes, and logs at DEBUG."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from eventstore import EventStore, EventStoreError, NewEvent
from tests.servers.postgres import PostgresServer

CANARY = "canary-payload"
_STATES = ("23505", "23514", "22P02", "XX000", "XX001", "P0001")
"""Constraints, data, the server's own faults, somebody's trigger."""


class Overheard(logging.Handler):
    """All that any library logs, at DEBUG, with the tracebacks."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.text += self.format(record) + str(vars(record))


@pytest.fixture
def overheard() -> Iterator[Overheard]:
    """What is logged in a test; it is seen to hear something."""
    heard, root = Overheard(), logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(heard)
    logging.getLogger("eventstore").debug("a word of the test's own")
    yield heard
    root.removeHandler(heard)
    root.setLevel(before)
    assert "a word of the test's own" in heard.text


async def _told(work: Awaitable[Any]) -> str:
    """An error as a program's log would have it: with causes, contexts and what they hold."""
    try:
        await work
    except EventStoreError as exc:
        said = ["".join(traceback.format_exception(exc)).replace(__file__, "")]
        error: BaseException | None = exc
        while error is not None:
            said.append(f"{error!r} {error} {error.args} {vars(error)}")
            error = error.__cause__ or error.__context__
        return "\n".join(said)
    pytest.fail("nothing was refused")


def _login(url: str, password: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"eventstore:{quote(password)}@127.0.0.1:{parts.port}").geturl()


async def test_the_database_refuses_a_row_then_nothing_says_what_was_in_it(
    url: str, raw: Any, postgres: PostgresServer, overheard: Overheard
) -> None:
    """Whatever the server says of it, in its message, detail, hint or context."""
    await raw.execute(
        "CREATE TABLE public.state (code text); INSERT INTO public.state VALUES ('P0001');"
        "CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION USING ERRCODE = (SELECT code FROM public.state),"
        " MESSAGE = convert_from(NEW.payload, 'UTF8'), DETAIL = convert_from(NEW.payload, 'UTF8'),"
        " HINT = convert_from(NEW.payload, 'UTF8'); END $$;"
        "CREATE TRIGGER fail BEFORE INSERT ON eventstore.events FOR EACH ROW"
        " EXECUTE FUNCTION public.fail()"
    )
    async with EventStore.open(url) as store:
        for state in _STATES:
            await raw.execute("UPDATE public.state SET code = $1", state)
            said = await _told(store.append("s", NewEvent("n", CANARY)))
            assert CANARY not in said, state
            assert postgres.password not in said
    assert CANARY not in overheard.text
    assert postgres.password not in overheard.text


async def test_a_row_breaks_a_constraint_of_the_table_then_its_values_stay_there(
    url: str, raw: Any, overheard: Overheard
) -> None:
    """PostgreSQL's own DETAIL would hold the failing row."""
    await raw.execute("ALTER TABLE eventstore.events ADD CHECK (octet_length(payload) < 5)")
    async with EventStore.open(url) as store:
        assert CANARY not in await _told(store.append("s", NewEvent("n", CANARY), actor="ann"))
    assert CANARY not in overheard.text


@pytest.mark.parametrize("case", ["refused", "wrong password", "no database", "malformed"])
async def test_opening_fails_then_nothing_says_the_password(
    url: str, overheard: Overheard, case: str
) -> None:
    """Neither as it was typed nor as it was escaped."""
    password = "canary p@ss"
    bad = {
        "refused": _login(url.replace(f":{urlsplit(url).port}/", ":1/"), password),
        "wrong password": _login(url, password),
        "no database": f"{url}x",
        "malformed": f"{_login(url, password)}?sslmode=canary",
    }[case]
    secrets = [password, quote(password), urlsplit(url).password or "-"]
    said = await _told(_open(bad))
    for secret in secrets:
        assert secret not in said
        assert secret not in overheard.text


async def _open(url: str) -> None:
    async with EventStore.open(url, busy_timeout_seconds=0.1):
        pass


async def test_connections_are_ended_while_events_are_sent_then_logs_hold_none_of_them(
    url: str, raw: Any, postgres: PostgresServer, overheard: Overheard
) -> None:
    """What is retried inside is silent, or speaks of no data."""
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with EventStore.open(url) as store:
        reader = asyncio.create_task(anext(aiter(store.subscribe(stream="never"))))
        for n in range(5):
            sent = [
                asyncio.create_task(store.append("s", NewEvent("n", [CANARY, n, m])))
                for m in range(10)
            ]
            await raw.execute(end)
            await asyncio.gather(*sent)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        assert await store.head() == 50
    assert CANARY not in overheard.text
    assert postgres.password not in overheard.text
