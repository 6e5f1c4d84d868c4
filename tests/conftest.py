"""What all tests share: how Hypothesis behaves, and servers that are started when asked for.

A failing example is printed with a blob that reproduces it; no example is remembered between
runs, so that a run depends on the code alone. A worker of pytest has servers of its own, one for
each PostgreSQL of the machine, started at the first test that asks.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.installations import installations
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

settings.register_profile(
    "house",
    deadline=None,
    print_blob=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background has it ignored, in all programs that tests start too:
    # what Ctrl-C does to those is tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of the PostgreSQL that the test dependencies bring."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_elsewhere(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server of the oldest other PostgreSQL on this machine; where there is none, `postgres`."""
    others = installations()[1:]
    if not others:
        yield postgres
        return
    with PostgresServer(others[-1]) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of one test."""
    url = postgres.new_url()
    yield url
    postgres.drop(url)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis that tests share. A test that stops, kills or flushes one starts its own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty database of one test."""
    return redis_server.new_url()


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """A test may quiet the store's log, or listen to everything: the next one does not."""
    loggers = [logging.getLogger(), logging.getLogger("eventstore")]
    levels = [each.level for each in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
