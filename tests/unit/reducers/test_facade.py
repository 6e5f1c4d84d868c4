"""What `reducers` gives to its users, and nothing else."""

from __future__ import annotations

import reducers

NAMES = """
Change Decider Decision ImpurityWarning Loaded Parting PersistentList Reducer ReducerError
ShadowReport Shadowed SnapshotReport StateReport Step bisect blame changes_to_patch
check_reducer combine counterfactual diff divergence first_divergence fold fork lineage merge replay
shadow state_hash take_snapshot tainted to_json unchecked verify_snapshots
verify_states
"""


def test_facade_is_listed_then_it_holds_exactly_the_pinned_names() -> None:
    """A name enters or leaves the facade only together with this list."""
    assert reducers.__all__ == NAMES.split()


def test_facade_name_is_read_then_it_is_there_and_documented() -> None:
    """Every name of the facade exists and says what it is."""
    assert all(getattr(reducers, name).__doc__ for name in reducers.__all__)
