"""`python -m tests.servers`: a PostgreSQL server to try things on; prints a URL, ends on Ctrl-C.

`--major N` asks for one version; without it the test dependencies' own is taken.
"""

from __future__ import annotations

import argparse

from .installations import installations
from .postgres import PostgresServer, wait_for_end


def main() -> None:
    """Starts a server, tells its URL, and waits to be ended."""
    known = {installation.major: installation for installation in installations()}
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("--major", type=int, choices=sorted(known), default=next(iter(known)))
    with PostgresServer(known[parser.parse_args().major]) as server:
        print(server.new_url(), flush=True)
        wait_for_end()


if __name__ == "__main__":
    main()
