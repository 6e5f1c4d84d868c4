"""Semantic recall: texts with their vectors and words, in the store's own database.

Importing this package imports neither numpy nor a model; the default embedder is made with the
view, and its model is loaded with the first text.
"""

from .found import Found, Recalled
from .view import VectorView

__all__ = ["Found", "Recalled", "VectorView"]
