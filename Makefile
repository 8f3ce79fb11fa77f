# Everything runs in .venv, which the first target that needs it creates; only Python 3.11 to 3.13 must be there.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTS := tests/unit tests/integration tests/acceptance
# each process brings its own Kafka and PostgreSQL
PROCESSES ?= 3

.DEFAULT_GOAL := help
.PHONY: help demo test test-faults test-browser bench bench-latency bench-growth lint lock clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(INSTALLED) ## Run Kafka, PostgreSQL, sample events and a worker (FRESH=1 starts over, WORKERS=n)
	@exec $(BIN)/python -m sandbox

test: lint ## Lint, types, unit, integration and quick acceptance tests
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist worksteal $(TESTS)

test-faults: $(INSTALLED) ## Kill, freeze, cut and refuse under load, and see that every record counts once (takes minutes)
	$(BIN)/pytest tests/faults

test-browser: $(INSTALLED) ## Test the pages in a Chromium of the machine's
	$(BIN)/pytest tests/browser

bench: $(INSTALLED) ## Measure how fast a backlog drains, beside five others (about 8 minutes, keep the machine quiet)
	$(BIN)/python -m bench.backlog --write

bench-latency: $(INSTALLED) ## Measure how long people and programs wait for a worker (takes minutes, keep it quiet)
	$(BIN)/python -m bench.latency

bench-growth: $(INSTALLED) ## Measure how cost grows with rows, codes and pairs (takes 25 minutes, keep the machine quiet)
	$(BIN)/python -m bench.growth

lint: $(INSTALLED) ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header

lock: $(INSTALLED) ## Write the lock files anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) --all-extras --output-file requirements.lock pyproject.toml
	@# of the image: what runs, and what builds it, in the same versions
	$(LOCK) --constraint requirements.lock --output-file requirements.runtime.lock pyproject.toml
	echo hatchling | $(LOCK) --constraint requirements.lock --python-version 3.11 --output-file requirements.build.lock -
	@# of a contender in the bench, which pins older packages and so has an environment of its own
	echo 'quixstreams[postgresql]' | $(LOCK) --python-version 3.11 --output-file bench/contenders/quix-streams.lock -

clean: ## Remove the environment, the demo's data and jars, and all caches
	rm -rf $(VENV) .sandbox .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an interrupted installation is done again. --no-deps, because pip takes an editable project
# and hashes only in two steps.
$(INSTALLED): requirements.lock pyproject.toml
	@unfit=; python=; for name in python3 python3.13 python3.12 python3.11; do \
		$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue; \
		if $$name -c 'import ensurepip, venv' 2>/dev/null; then python=$$name; break; fi; \
		unfit=$$name; \
	done; \
	if [ -z "$$python" ] && [ -n "$$unfit" ]; then \
		echo "$$unfit lacks its venv module: install it (on Debian and Ubuntu the package python3-venv)" >&2; \
		exit 1; \
	elif [ -z "$$python" ]; then \
		echo "no Python 3.11, 3.12 or 3.13 found (tried python3, python3.13, python3.12, python3.11): install one" >&2; \
		exit 1; \
	fi; \
	echo "setting up $(VENV) with $$($$python --version), once ..."; \
	$$python -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock || { \
		echo "the packages could not be installed: check the network and pip's settings, then run make again" >&2; \
		exit 1; \
	}
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
