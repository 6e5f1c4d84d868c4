"""The contract of an engine, as tests: subclass it, say how a store is made, run pytest.

::

    from eventstore.testing import EngineContract

    class TestMyEngine(EngineContract):
        def new_url(self, folder):
            return f"mine://{folder}/{uuid4()}"

Needs pytest with pytest-asyncio, and hypothesis. Override `open_store` where a store
is not opened by its URL alone, and set `keeps = False` where a log does not outlive its
closing, `shares = False` where only one store can be open on a log.
"""

import pytest

from .append import AppendContract
from .append_many import AppendManyContract
from .bad_input import BadInputContract
from .checkpoints import CheckpointContract
from .conditions import ConditionContract
from .documents import DocumentContract
from .expectations import ExpectationContract
from .forking import ForkingContract
from .going_back import GoingBackContract
from .harness import Harness
from .idempotency import IdempotencyContract
from .lifecycle import LifecycleContract
from .model import ModelContract
from .outbox import OutboxContract
from .reading import ReadingContract
from .sharing import SharingContract
from .snapshots import SnapshotContract
from .subscribing import SubscribingContract
from .tenants import TenantContract
from .typed import TypedContract

__all__ = ["EngineContract"]


class EngineContract(
    AppendContract,
    AppendManyContract,
    BadInputContract,
    CheckpointContract,
    ConditionContract,
    DocumentContract,
    ExpectationContract,
    ForkingContract,
    GoingBackContract,
    IdempotencyContract,
    LifecycleContract,
    ModelContract,
    OutboxContract,
    ReadingContract,
    SharingContract,
    SnapshotContract,
    SubscribingContract,
    TenantContract,
    TypedContract,
    Harness,
):
    """Everything that an engine promises. Subclass it and say in `new_url` what is tested."""

    pytestmark = pytest.mark.asyncio
