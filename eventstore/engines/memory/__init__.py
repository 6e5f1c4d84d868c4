"""The in-memory engine, for tests: the same judge and the same answers, nothing durable."""

from .engine import MemoryEngine

__all__ = ["MemoryEngine"]
