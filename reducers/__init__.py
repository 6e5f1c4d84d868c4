"""Pure folds over events: state is computed, never stored.

See `Reducer` for where to begin.
"""

from .bisecting import bisect
from .blaming import blame
from .checking import check_reducer
from .combining import combine
from .counterfactual import counterfactual
from .decider import Decider, Decision
from .diffs import Change, changes_to_patch, diff
from .divergence import divergence, first_divergence
from .errors import ReducerError
from .folding import fold
from .forking import fork
from .json_form import state_hash, to_json
from .kept import Loaded
from .lineage import lineage, tainted
from .linting import ImpurityWarning, unchecked
from .loading import take_snapshot
from .merging import merge
from .persistent import PersistentList
from .proofs import SnapshotReport, verify_snapshots
from .reducer import Reducer
from .replaying import Step, replay
from .shadowing import Shadowed, ShadowReport, shadow
from .state_proofs import Parting, StateReport, verify_states

__all__ = [
    "Change",
    "Decider",
    "Decision",
    "ImpurityWarning",
    "Loaded",
    "Parting",
    "PersistentList",
    "Reducer",
    "ReducerError",
    "ShadowReport",
    "Shadowed",
    "SnapshotReport",
    "StateReport",
    "Step",
    "bisect",
    "blame",
    "changes_to_patch",
    "check_reducer",
    "combine",
    "counterfactual",
    "diff",
    "divergence",
    "first_divergence",
    "fold",
    "fork",
    "lineage",
    "merge",
    "replay",
    "shadow",
    "state_hash",
    "take_snapshot",
    "tainted",
    "to_json",
    "unchecked",
    "verify_snapshots",
    "verify_states",
]
