"""The style of the house, where a machine can see it."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("eventstore", "reducers", "projections", "cli")
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

FACADES = {
    "eventstore": [
        "Append",
        "AppendCondition",
        "AppendResult",
        "Busy",
        "Checkpoint",
        "ConditionFailed",
        "Conflict",
        "Corrupt",
        "EventStore",
        "EventStoreError",
        "Expected",
        "IdempotencyMismatch",
        "InvalidEvent",
        "KnownHead",
        "Lease",
        "LeaseLost",
        "LogDiverged",
        "Misuse",
        "NewEvent",
        "Occurred",
        "OutcomeUnknown",
        "Position",
        "Query",
        "RecordedEvent",
        "RowRefused",
        "SchemaTooNew",
        "StorageFailed",
        "StoreClosed",
        "StreamInfo",
        "VerifyReport",
        "Version",
        "event_type",
        "upcast",
    ],
    "eventstore.testing": [
        "EngineContract",
        "FixedClock",
        "History",
        "HistoryBroken",
        "SequentialIds",
        "SteppingClock",
        "isolated_registry",
    ],
    "reducers": [
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
    ],
    "projections": [
        "Answer",
        "CacheView",
        "Delete",
        "KeyParked",
        "Projection",
        "ProjectionError",
        "RelationalView",
        "Relay",
        "SinkEmptied",
        "SinkUnavailable",
        "Upsert",
        "VectorView",
        "View",
        "ViewNotBuilt",
        "ViewStale",
    ],
    "cli": ["main"],
}
"""What each room offers. A name enters here when it enters the documentation."""


def _modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Public functions and classes of a module, and public methods of its public classes."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name.startswith("_"):
                continue
            yield node
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    is_function = isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef))
                    if is_function and not method.name.startswith("_"):
                        yield method


def test_a_module_is_measured_then_it_has_at_most_five_hundred_lines() -> None:
    """A module does one thing."""
    long = {
        _name(path): lines
        for path in _modules(*ROOMS, "tests", "docs")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MODULE_LINES_MAX
    }
    assert long == {}


def test_a_function_is_measured_then_it_has_at_most_seventy_lines() -> None:
    """A function fits a screen, with its docstring."""
    long = {
        f"{_name(path)}:{function.name}": lines
        for path in _modules(*ROOMS, "tests", "docs")
        for function in _functions(_parsed(path))
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_a_module_is_opened_then_its_docstring_says_what_it_owns() -> None:
    """Every module begins with its purpose."""
    silent = [
        _name(path)
        for path in _modules(*ROOMS, "tests", "docs")
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(_parsed(path))
    ]
    assert silent == []


def test_a_name_is_public_then_it_has_a_docstring() -> None:
    """Functions, classes and methods of every room."""
    silent = [
        f"{_name(path)}:{node.name}"
        for path in _modules(*ROOMS)
        if "versions" not in path.parts
        for node in _public(_parsed(path))
        if not ast.get_docstring(node) and not _is_short_form(node)
    ]
    assert silent == []


def _is_short_form(node: ast.AST) -> bool:
    """An overload, or a body of one line that is only dots: the docstring stands elsewhere."""
    body = getattr(node, "body", [])
    only_dots = len(body) == 1 and isinstance(body[0], ast.Expr)
    return only_dots and isinstance(body[0].value, ast.Constant) and body[0].value.value is ...


def test_a_test_is_written_then_its_docstring_is_its_promise() -> None:
    """One behaviour, one sentence."""
    silent = [
        f"{_name(path)}:{function.name}"
        for path in (*_modules("tests"), *_modules("eventstore/testing"))
        for function in _functions(_parsed(path))
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []


def test_a_test_is_named_then_the_name_has_a_condition_and_an_outcome() -> None:
    """condition_then_outcome."""
    odd = [
        f"{_name(path)}:{function.name}"
        for path in (*_modules("tests"), *_modules("eventstore/testing"))
        for function in _functions(_parsed(path))
        if function.name.startswith("test_")
        and "then" not in function.name
        and not _reads_as_a_sentence(function.name)
    ]
    assert odd == []


def _reads_as_a_sentence(name: str) -> bool:
    """A promise in one clause: at least four words."""
    return len(name.removeprefix("test_").split("_")) >= 4


FORBIDDEN = {"skip", "skipif", "xfail", "importorskip"}

WAITERS = {
    # Looks again and again for what lies in another process or a file, with a bound.
    "tests/waiting.py",
    # A program, not a test: chance spaces out the appends of one of many writers.
    "tests/acceptance/sqlite_worker.py",
}
"""Where tests may sleep, each with its reason."""


def test_a_test_runs_then_it_neither_skips_nor_sleeps() -> None:
    """Deterministic and whole: a test waits for what it is about, never for time."""
    found = []
    for path in (*_modules("tests"), *_modules("eventstore/testing")):
        for node in ast.walk(_parsed(path)):
            if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN:
                if _root_name(node) == "pytest":
                    found.append(f"{_name(path)}:{node.lineno} {node.attr}")
            elif isinstance(node, ast.Call) and _is_sleep(node) and not _may_wait(path):
                found.append(f"{_name(path)}:{node.lineno} sleep")
    assert found == []


def _may_wait(path: Path) -> bool:
    """The waiters above, benchmarks, and what the crash suite does, which are no tests."""
    if "crash" in path.parts:
        return not path.name.startswith("test_")
    return _name(path) in WAITERS or "benchmarks" in path.parts


def _root_name(node: ast.Attribute) -> str:
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        inner = inner.value
    return inner.id if isinstance(inner, ast.Name) else ""


def _is_sleep(node: ast.Call) -> bool:
    """A call of a function named sleep, but for `sleep(0)`, which only lets others run."""
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name != "sleep":
        return False
    zero = len(node.args) == 1 and isinstance(node.args[0], ast.Constant)
    return not (zero and node.args[0].value == 0)  # type: ignore[attr-defined]  # a constant


SLEEPERS = {
    # SQLite does not wait when the journal mode of a new file is changed.
    "eventstore/engines/sqlite/connection.py",
    # The writer's own thread waits for other processes' turns; no loop and no caller is held up.
    "eventstore/engines/sqlite/turns.py",
}
"""Library code that blocks a thread, each with its reason."""


def test_the_library_waits_then_it_does_not_block_a_thread_by_sleeping() -> None:
    """`time.sleep` stands in no room but where the list above gives its reason."""
    found = {
        _name(path)
        for path in _modules(*ROOMS)
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Attribute) and node.attr == "sleep" and _root_name(node) == "time"
    }
    assert found <= SLEEPERS


@pytest.mark.parametrize("room", sorted(FACADES))
def test_a_room_is_entered_then_its_facade_is_this_list(room: str) -> None:
    """What is not in it is private, or lives in a module that the facade does not name."""
    module = importlib.import_module(room)
    assert sorted(module.__all__) == sorted(FACADES[room])
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_a_limit_is_set_then_its_reason_stands_beside_it() -> None:
    """Every number of `limits.py` has a docstring."""
    body = _parsed(ROOT / "eventstore" / "limits.py").body
    bare = []
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            pair = isinstance(after, ast.AnnAssign) and _same_family(node, after)
            if not told and not pair:
                bare.append(ast.unparse(node.target))
    assert bare == []


def _same_family(one: ast.AnnAssign, other: ast.AnnAssign) -> bool:
    """INTEGER_MIN and INTEGER_MAX share the docstring behind the second."""
    names = [ast.unparse(node.target).rsplit("_", 1)[0] for node in (one, other)]
    return names[0] == names[1]


def test_code_is_finished_then_no_note_of_unfinished_work_stands_in_it() -> None:
    """No marks for later."""
    mark = re.compile(
        r"#.*\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]) + r")\b"
    )
    found = [
        f"{_name(path)}:{number}"
        for path in _modules(*ROOMS, "tests", "docs")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if mark.search(line)
    ]
    assert found == []


def test_a_room_imports_then_inside_itself_it_does_so_relatively() -> None:
    """A user's own `reducers.py` or `cli.py` does no harm to a room's inside."""
    found = [
        f"{_name(path)}:{node.lineno}"
        for room in ROOMS
        for path in _modules(room)
        if "versions" not in path.parts
        for node in ast.walk(_parsed(path))
        if (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or "").split(".")[0] == room
        )
        or (isinstance(node, ast.Import) and any(a.name.split(".")[0] == room for a in node.names))
    ]
    assert found == []


def test_something_is_awaited_then_its_docstring_says_what_cancellation_leaves() -> None:
    """Every coroutine and async iterator that a facade leads to, and what gives one."""
    silent = [
        f"{_name(path)}:{node.name}"
        for path in (*sorted((ROOT / "eventstore").glob("*.py")), *_modules("reducers"))
        for node in _offered(path)
        if _is_awaited(node) and "cancel" not in (ast.get_docstring(node) or "").lower()
    ]
    assert silent == []


def _offered(path: Path) -> Iterator[ast.AST]:
    """Methods of public classes, and the functions that a room's facade names."""
    tree = _parsed(path)
    facade = FACADES[path.relative_to(ROOT).parts[0]]
    inner = {
        node for node in tree.body if isinstance(node, (ast.AsyncFunctionDef, ast.FunctionDef))
    }
    public = (node for node in _public(tree) if not _is_short_form(node))
    return (node for node in public if node not in inner or node.name in facade)


def _is_awaited(node: ast.AST) -> bool:
    """An async function, or one whose answer is awaited or iterated."""
    if isinstance(node, ast.AsyncFunctionDef):
        return True
    lazy = isinstance(node, ast.FunctionDef) and node.returns is not None
    return lazy and ast.unparse(node.returns) in ("Events", "Opening")  # type: ignore[attr-defined]  # narrowed
