"""The oracle knows nothing of the product."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ORACLE = {path.stem for path in HERE.glob("*.py")} - {"conftest", "product"}
ORACLE -= {path.stem for path in HERE.glob("test_*.py")}
ROOMS = {"eventstore", "reducers", "projections", "cli"}


def imports(path: Path) -> set[str]:
    """The modules that a module names, siblings with a dot before them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.module is None:
            found |= {"." * node.level + alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + str(node.module))
    return found


def test_modules_of_the_oracle_then_they_import_the_standard_library_and_each_other() -> None:
    """No module of the oracle names a room of the product, nor anything that could lead there."""
    assert {"sources", "stating", "building", "walking", "seeing"} < ORACLE
    assert {"tau2_bench", "tau_bench", "claude_code", "adk", "memorybank"} < ORACLE
    for name in sorted(ORACLE):
        found = imports(HERE / f"{name}.py")
        siblings = {one for one in found if one.startswith(".")}
        assert siblings <= {f".{one}" for one in ORACLE}, name
        assert found - siblings <= sys.stdlib_module_names - {"importlib", "runpy"}, name


def test_product_is_imported_then_the_check_of_imports_sees_it() -> None:
    """The check can fail: the product's side of the comparison does not pass it."""
    assert {"eventstore", "reducers", ".walking"} <= imports(HERE / "product.py")
    assert "reducers" in imports(HERE / "test_trials.py")


def test_oracle_in_a_process_of_its_own_then_no_room_is_loaded() -> None:
    """What the sources say is known without the product: none of its modules is loaded."""
    told = (
        "import sys; from tests.acceptance.oracle import sources, walking, seeing;"
        "sources.courses('adk');"
        f"print(sorted({ROOMS!r} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", told],
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout.strip(), ran.stderr) == ("[]", "")
