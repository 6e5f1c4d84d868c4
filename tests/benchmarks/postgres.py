"""The PostgreSQL side of the run: one server, fresh databases, and the raw limits beside ours.

The server is the one that the tests bring, with PostgreSQL's default durability; client and server
share the machine. The raw sides write the very rows that a store wrote, into copies of its table.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from eventstore import EventStore
from tests.servers.installations import as_user
from tests.servers.postgres import PostgresServer

from .measuring import Timing, timing
from .workload import fill_stream, plain_events

SCHEMA = "eventstore"
_COLUMNS = (
    "tenant_id, position, stream_id, version, event_id, type_id, schema_version, recorded_at,"
    " occurred_at, actor, causation_id, correlation_id, derived_from, tags, context, payload,"
    " payload_format, subject_key_id, hash"
)
_READ = f"SELECT {_COLUMNS} FROM {SCHEMA}.events WHERE tenant_id = 1 ORDER BY position"
_FETCH = 1_000
_HEAD = f"SELECT position, hash FROM {SCHEMA}.heads WHERE tenant_id = 1"

Row = tuple[Any, ...]


class Postgres:
    """A running server, and rows as a store of ours wrote them."""

    def __init__(self) -> None:
        self._server = PostgresServer()
        self._server.start()
        self._rows: list[Row] = []
        self._types = ""

    @property
    def version(self) -> str:
        """As the server says it."""
        return str(self._server.execute("SHOW server_version")[0][0])

    def new_url(self) -> str:
        """A database of its own."""
        return self._server.new_url()

    def drop(self, url: str) -> None:
        """Removes a database."""
        self._server.drop(url)

    def settle(self) -> None:
        """Lets the server write what the last sample left, so that it is not this one's to pay."""
        self._server.execute("CHECKPOINT")

    def stop(self) -> None:
        """Ends the server and removes its folder."""
        self._server.stop()

    async def prepare(self, count: int) -> None:
        """Has a store write `count` events, and keeps their rows for the raw sides."""
        url = self.new_url()
        async with EventStore.open(url) as store:
            await fill_stream(store, "session/template", plain_events(count))
        connection = await asyncpg.connect(url)
        self._rows = [tuple(row) for row in await connection.fetch(_READ)]
        names = [name.strip() for name in _COLUMNS.split(",")]
        kinds = dict(
            await connection.fetch(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
                " WHERE attrelid = $1::regclass AND attnum > 0",
                f"{SCHEMA}.events",
            )
        )
        self._types = ", ".join(
            f"${number}::{kinds[name]}[]" for number, name in enumerate(names, 1)
        )
        await connection.close()
        self.drop(url)

    async def insert_unnested(self, count: int, size: int = 1_000) -> Timing:
        """`INSERT ... SELECT FROM unnest` by one connection, `size` rows for each statement and
        transaction, into a table with the columns and indexes of ours."""
        url, connection = await self._copy_of_the_table("INCLUDING ALL")
        statement = await connection.prepare(
            f"INSERT INTO raw_events ({_COLUMNS}) SELECT * FROM unnest({self._types})"
        )
        rows = self._rows[:count]
        parts = [
            list(zip(*rows[start : start + size], strict=True))
            for start in range(0, len(rows), size)
        ]
        self.settle()
        with timing() as time:
            for part in parts:
                await statement.fetch(*part)
        await connection.close()
        self.drop(url)
        return time

    async def insert_each(self, count: int) -> Timing:
        """BEGIN, the head read, one row, COMMIT: each awaited."""
        url, connection = await self._copy_of_the_table("INCLUDING ALL")
        places = ", ".join(f"${number}" for number in range(1, len(self._rows[0]) + 1))
        insert = await connection.prepare(f"INSERT INTO raw_events ({_COLUMNS}) VALUES ({places})")
        head = await connection.prepare(_HEAD)
        self.settle()
        with timing() as time:
            for row in self._rows[:count]:
                await connection.execute("BEGIN")
                await head.fetch()
                await insert.fetch(*row)
                await connection.execute("COMMIT")
        await connection.close()
        self.drop(url)
        return time

    async def pgbench(self, clients: int, transactions: int) -> Timing:
        """pgbench: one row a transaction into the bare table with nothing but its primary key."""
        url, connection = await self._copy_of_the_table("")
        await connection.execute(
            "ALTER TABLE raw_events ADD PRIMARY KEY (tenant_id, position);"
            " CREATE SEQUENCE raw_position"
        )
        row = dict(zip(_COLUMNS.split(", "), self._rows[0], strict=True))
        values = ", ".join(_literal(name, value) for name, value in row.items())
        await connection.close()
        self.settle()
        time = self._run_pgbench(
            url, f"INSERT INTO raw_events ({_COLUMNS}) VALUES ({values});\n", clients, transactions
        )
        self.drop(url)
        return time

    async def fetch_log(self, url: str) -> tuple[Timing, int]:
        """The whole log through a server-side cursor, undecoded."""
        connection = await asyncpg.connect(url)
        count = 0
        async with connection.transaction(readonly=True):
            cursor = await connection.cursor(_READ)
            with timing() as time:
                while rows := await cursor.fetch(_FETCH):
                    count += len(rows)
        await connection.close()
        return time, count

    async def _copy_of_the_table(self, including: str) -> tuple[str, asyncpg.Connection]:
        """A store's database with an empty copy of its table, and a connection to it."""
        url = self.new_url()
        async with EventStore.open(url) as store:
            await store.append("session/head", plain_events(1))
        connection = await asyncpg.connect(url)
        await connection.execute(f"CREATE TABLE raw_events (LIKE {SCHEMA}.events {including})")
        return url, connection

    def _run_pgbench(self, url: str, script: str, clients: int, transactions: int) -> Timing:
        parts = urlsplit(url)
        environment = {**as_user(None)["env"], "PGPASSWORD": parts.password or ""}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "insert.sql"
            path.write_text(script)
            done = subprocess.run(
                [
                    self._server.installation.programs / "pgbench", "-n", "-M", "prepared",
                    "-f", path, "-c", str(clients), "-j", str(min(clients, os.cpu_count() or 1)),
                    "-t", str(transactions), "-h", str(parts.hostname), "-p", str(parts.port),
                    "-U", str(parts.username), parts.path[1:],
                ],
                env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"pgbench failed: {done.stderr[-400:]}")
        found = re.search(r"tps = ([\d.]+) \(without initial connection time\)", done.stdout)
        if found is None:
            raise RuntimeError(f"pgbench said no rate: {done.stdout[-400:]}")
        return Timing(clients * transactions / float(found[1]))


def _literal(name: str, value: Any) -> str:
    if name == "position":
        return "nextval('raw_position')"
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"
