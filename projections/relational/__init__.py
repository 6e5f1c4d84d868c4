"""Views in tables of the store's own database: rows and checkpoint in one transaction."""

from .view import RelationalView

__all__ = ["RelationalView"]
