"""Pure folds over events: state is computed, never stored.

See `Reducer` for where to begin.
"""

from .combining import combine
from .errors import ReducerError
from .persistent import PersistentList
from .reducer import Reducer, fold

__all__ = [
    "PersistentList",
    "Reducer",
    "ReducerError",
    "combine",
    "fold",
]
