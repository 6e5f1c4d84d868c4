"""Views as key and value: a table in the store's own database, or Redis."""

from .view import CacheView

__all__ = ["CacheView"]
