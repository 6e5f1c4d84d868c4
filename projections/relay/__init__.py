"""Relays: what feeds views from the log, each at its own pace."""

from .relay import Relay

__all__ = ["Relay"]
