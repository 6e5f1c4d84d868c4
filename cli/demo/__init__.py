"""The demo: two users and an agent on one store, in one process, without a model or a network.

`script` says what happens, `acting` does it through the public API, `telling` shows what it reads
back. Nothing is shown because it was meant to happen.
"""
