"""The command `eventstore`: what a person or a script at a terminal can do with a store.

`main` is the console script. Every command is a module in `commands`; `options` holds what they
share, `rendering` how things are shown.
"""

from .app import main

__all__ = ["main"]
