"""Opening: URLs, weak servers, schemas of others, and many at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventstore import EventStore, InvalidEvent, NewEvent, SchemaTooNew, StorageFailed
from eventstore.engines.postgres.address import parse_address
from eventstore.engines.postgres.connections import check_settings
from tests.servers.postgres import PostgresServer

SHAPE = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name"
    " FROM information_schema.columns WHERE table_schema = $1 ORDER BY 1, 2"
)
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1 ORDER BY 1"
FUNCTIONS = (
    "SELECT p.proname, p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
    " WHERE n.nspname = $1 ORDER BY 1"
)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:canary@h/d?schema=Bad", "schema"),
        ("postgresql://u:canary@h/d?schema=pg_mine", "pg_"),
        ("postgresql://u:canary@h/d?notify=yes", "notify"),
        ("postgresql://u:canary@h/d?allow=everything", "allow"),
        ("postgresql://u:canary@h:port/d", "port"),
        ("postgresql://u:canary@h/d#x", "#"),
        ("postgresql://u:canary\u2100@h/d", "%XX"),
        ("postgresql://u:canary[@h/d", "%XX"),
    ],
)
async def test_a_url_is_malformed_then_the_option_is_named_and_no_password(
    url: str, said: str
) -> None:
    """Wrong usage is told before anything is opened."""
    with pytest.raises(InvalidEvent, match=said) as refused:
        await EventStore.open(url)
    assert "canary" not in str(refused.value)


async def test_nobody_answers_then_opening_says_so_and_no_password() -> None:
    """After the patience that was asked for."""
    with pytest.raises(StorageFailed, match="no connection") as refused:
        await EventStore.open("postgresql://u:canary@127.0.0.1:1/d", busy_timeout_seconds=0.1)
    assert "canary" not in str(refused.value)


async def test_a_store_is_open_then_its_url_and_description_hold_no_password(
    store: EventStore, postgres: PostgresServer
) -> None:
    """What doctor prints may be pasted anywhere."""
    assert postgres.password not in store.url
    assert postgres.password not in str(store.describe())
    assert store.describe()["fsync"] == "on"
    assert store.describe()["lock_timeout"] == "30s"


def _found(**changes: Any) -> dict[str, Any]:
    return {
        "server_version_num": 150_000,
        "server_version": "15",
        "server_encoding": "UTF8",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "default_transaction_isolation": "read committed",
        **changes,
    }


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
def test_the_server_is_weak_then_it_is_refused_unless_asked_for_by_name(name: str) -> None:
    """Each of the settings that lose answered appends."""
    url = "postgresql://u@h/d"
    with pytest.raises(StorageFailed, match=f"{name}=off"):
        check_settings(parse_address(url, "FULL"), _found(**{name: "off"}))
    allowed = parse_address(f"{url}?allow={name}", "FULL")
    assert check_settings(allowed, _found(**{name: "off"}))[name] == "off"


@pytest.mark.parametrize(
    "found", [{"server_version_num": 130_012}, {"server_encoding": "SQL_ASCII"}]
)
def test_the_server_cannot_keep_the_promises_then_it_is_refused(found: dict[str, Any]) -> None:
    """Too old, or without all of Unicode."""
    with pytest.raises(StorageFailed):
        check_settings(parse_address("postgresql://u@h/d", "FULL"), _found(**found))


async def test_a_real_server_is_weak_then_the_store_does_not_open(raw: Any, url: str) -> None:
    """What is in force is read back from the server, and NORMAL asks for it by name."""
    name = url.rsplit("/", 1)[1]
    await raw.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    with pytest.raises(StorageFailed, match="synchronous_commit=off"):
        await EventStore.open(url)
    for options, synchronous in (("?allow=synchronous_commit", "FULL"), ("", "NORMAL")):
        async with EventStore.open(f"{url}{options}", synchronous=synchronous) as store:
            assert (await store.append("s", NewEvent("n", 1))).position > 0


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_the_role_or_the_database_has_another_isolation_then_ours_is_in_force(
    raw: Any, url: str, isolation: str
) -> None:
    """A batch that waited for the head must not judge by what stood before the wait."""
    name = url.rsplit("/", 1)[1]
    for whose in (f'DATABASE "{name}"', f'ROLE eventstore IN DATABASE "{name}"'):
        await raw.execute(f"ALTER {whose} SET default_transaction_isolation = '{isolation}'")
        with pytest.raises(StorageFailed, match=f"default_transaction_isolation={isolation}"):
            await EventStore.open(f"{url}?pooler=on")
        async with EventStore.open(url) as one, EventStore.open(url) as other:
            assert one.describe()["default_transaction_isolation"] == "read committed"
            before = await one.head()
            sent = [
                store.append("s", NewEvent("n", n)) for n in range(20) for store in (one, other)
            ]
            positions = sorted(result.position for result in await asyncio.gather(*sent))
            assert positions == list(range(before + 1, before + 41))
        await raw.execute(f"ALTER {whose} RESET default_transaction_isolation")


async def test_a_server_runs_without_fsync_then_the_store_does_not_open() -> None:
    """A server that was started for speed alone."""
    with PostgresServer(settings={"fsync": "off"}) as server:
        with pytest.raises(StorageFailed, match="fsync=off"):
            await EventStore.open(server.url())
        async with EventStore.open(f"{server.url()}?allow=fsync") as store:
            assert store.describe()["fsync"] == "off"


async def test_many_open_a_new_schema_at_once_then_all_do_and_it_is_like_any_other(
    url: str, raw: Any
) -> None:
    """One makes it, the others wait; and it is the same in every schema."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_open_and_append(f"{url}?schema=many", n)) for n in range(6)]
    assert sorted(task.result() for task in tasks) == [1, 2, 3, 4, 5, 6]
    assert len(await raw.fetch("SELECT * FROM many.store_info")) == 1
    await raw.execute("SET search_path = ''")  # so that all names come with their schema
    for question in (SHAPE, INDEXES, FUNCTIONS):
        one = [
            str(row).replace("many.", "eventstore.") for row in await raw.fetch(question, "many")
        ]
        other = [str(row) for row in await raw.fetch(question, "eventstore")]
        assert one == other
        assert other


async def test_the_schemas_name_is_a_word_of_sql_then_it_is_refused_unless_it_needs_no_quotes(
    url: str, raw: Any
) -> None:
    """The error says what is wrong with it, and nothing is made; also where somebody made it."""
    await raw.execute('CREATE SCHEMA "left"')
    for word in ("user", "default", "left"):
        with pytest.raises(InvalidEvent, match=f"schema={word} is a word of SQL"):
            await EventStore.open(f"{url}?schema={word}")
    assert await raw.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'user'") == 0
    async with EventStore.open(f"{url}?schema=events") as store:
        assert (await store.append("s", NewEvent("n", 1))).position == 1


async def _open_and_append(url: str, n: int) -> int:
    async with EventStore.open(url) as store:
        return (await store.append(f"s{n}", NewEvent("n", n))).position


async def test_the_schema_is_newer_or_anothers_then_it_is_left_alone(url: str, raw: Any) -> None:
    """`SchemaTooNew` for ours, `StorageFailed` for a table of another program in our way."""
    await raw.execute("UPDATE eventstore.alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNew, match="9999"):
        await EventStore.open(url)
    await raw.execute("CREATE SCHEMA theirs; CREATE TABLE theirs.events (a int)")
    with pytest.raises(StorageFailed, match="events"):
        await EventStore.open(f"{url}?schema=theirs")


async def test_the_database_does_not_exist_then_opening_says_so(postgres: PostgresServer) -> None:
    """It is not waited for."""
    with pytest.raises(StorageFailed, match="does not exist"):
        await EventStore.open(postgres.url("nowhere"))
