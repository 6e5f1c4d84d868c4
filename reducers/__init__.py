"""Pure folds over events: state is computed, never stored.

See `Reducer` for where to begin.
"""

from .bisecting import Found, bisect
from .blaming import blame
from .combining import combine
from .decider import Decider, Decision
from .diffs import Change, changes_to_patch, diff
from .errors import ReducerError
from .folding import fold
from .json_form import state_hash, to_json
from .lineage import lineage, tainted
from .loading import Loaded, take_snapshot
from .persistent import PersistentList
from .proofs import SnapshotReport, verify_snapshots
from .reducer import Reducer
from .replaying import Step, replay

__all__ = [
    "Change",
    "Decider",
    "Decision",
    "Found",
    "Loaded",
    "PersistentList",
    "Reducer",
    "ReducerError",
    "SnapshotReport",
    "Step",
    "blame",
    "bisect",
    "changes_to_patch",
    "combine",
    "diff",
    "fold",
    "lineage",
    "replay",
    "state_hash",
    "take_snapshot",
    "tainted",
    "to_json",
    "verify_snapshots",
]
