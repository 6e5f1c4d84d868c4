# One command per task. A fresh machine needs python3.11+ (with venv), make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKS := .ci/locks
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test pythons rooms check chromium crash crash-prove bench docs lock clean
.DEFAULT_GOAL := test

demo: $(VENV)/ready
	$(BIN)/eventstore demo

test: $(VENV)/ready-dev chromium
	$(BIN)/python -m pytest -q -n 2

# Of what `make test` ran on one Python a part, on the others that are on the PATH, each in an
# environment of its own: the unit tests of the log, the reducers and the agent's types, and the
# state hashes that are the same on all of them.
PYTHONS := 3.11 3.12 3.13

pythons: $(VENV)/ready
	@for each in $(PYTHONS); do \
		if $(BIN)/python -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$each')"; then \
			echo "python$$each: make test runs on it"; \
		elif ! python$$each -c '' 2>/dev/null; then \
			echo "python$$each: not on the PATH"; \
		else \
			echo "python$$each:"; \
			$(MAKE) --no-print-directory rooms PYTHON=python$$each VENV=.venvs/$$each || exit 1; \
		fi; \
	done

rooms: $(VENV)/ready-dev
	$(BIN)/python -m pytest -q -n 2 \
		tests/unit/eventstore tests/unit/reducers tests/unit/agent tests/engines/test_state_hashes.py

# The browser that the page of `eventstore replay --html` is tested in. No Python package brings
# one from an index, so it is the system's: Debian's, where this may install it.
chromium:
	@command -v chromium >/dev/null \
		|| apt-get install -y -qq --no-install-recommends chromium \
		|| { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } \
		|| { echo "make test needs a browser: install chromium, and have it on the PATH" >&2; exit 1; }

check: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Kills, cuts, races, damage and bad input on both engines; a run is repeated with SEED=...
crash: $(VENV)/ready-dev
	$(BIN)/python -m tests.crash $(if $(SEED),--seed $(SEED))

# Seeds a defect for each promise of `make crash`, and fails when one is not found.
crash-prove: $(VENV)/ready-dev
	$(BIN)/python -m tests.crash --prove $(if $(SEED),--seed $(SEED))

bench: $(VENV)/ready-bench
	$(BIN)/python -m tests.benchmarks

docs: $(VENV)/ready-dev
	$(BIN)/python -m docs.build

# The environment is set up anew when a lock file changes, and only then: what running needs, what
# developing needs, and the neighbours that the benchmarks compare with.
$(VENV)/ready: $(LOCKS)/run.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "needs python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r $(LOCKS)/run.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/ready-dev: $(VENV)/ready $(LOCKS)/dev.lock
	$(PIP) install --require-hashes -r $(LOCKS)/dev.lock
	touch $@

$(VENV)/ready-bench: $(VENV)/ready-dev $(LOCKS)/bench.lock
	$(PIP) install --require-hashes -r $(LOCKS)/bench.lock || \
		echo "the neighbours do not install here: their rows will say so"
	touch $@

# The lock files name versions and hashes, never an index. Needs uv (a tool, not a dependency).
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate pyproject.toml --group build
lock:
	$(COMPILE) -o $(LOCKS)/run.lock
	$(COMPILE) --group dev -c $(LOCKS)/run.lock -o $(LOCKS)/dev.lock
	$(COMPILE) --group dev --group bench -c $(LOCKS)/dev.lock -o $(LOCKS)/bench.lock

clean:
	rm -rf $(VENV) .venvs build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
