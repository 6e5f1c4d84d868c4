"""`python -m tests.servers [redis]`: a server to try things on; prints a URL, ends on Ctrl-C.

Without a name it is a PostgreSQL: `--major N` asks for one version, else the test dependencies'
own is taken.
"""

from __future__ import annotations

import argparse

from .installations import installations
from .postgres import PostgresServer, wait_for_end
from .redis import RedisServer


def main() -> None:
    """Starts a server, tells its URL, and waits to be ended."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("server", nargs="?", choices=["postgres", "redis"], default="postgres")
    known = {installation.major: installation for installation in installations()}
    parser.add_argument("--major", type=int, choices=sorted(known), default=next(iter(known)))
    asked = parser.parse_args()
    server: PostgresServer | RedisServer
    server = RedisServer() if asked.server == "redis" else PostgresServer(known[asked.major])
    with server:
        print(server.new_url(), flush=True)
        wait_for_end()


if __name__ == "__main__":
    main()
