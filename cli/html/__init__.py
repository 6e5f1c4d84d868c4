"""A session as one web page that needs nothing else: to send to a colleague, or to keep."""

from .page import PAGE_BYTES_MAX, PageTooLarge, ReplayPage

__all__ = ["PAGE_BYTES_MAX", "PageTooLarge", "ReplayPage"]
