# `make demo` and `make test` set up all they need, in .venv; see `make help`.

CONSTRAINTS = constraints.txt
PIP = .venv/bin/pip install -qq
PYTHONS = $(or $(PYTHON),python3.12 python3.11 python3.10 python3)
COMPILE = .venv/bin/uv pip compile -q setup.cfg --universal --python-version=3.10 --generate-hashes \
  --no-annotate --custom-compile-command='make constraints'
# The tests that depend most on releases: media, weights, environments, server and videos.
OLDEST_TESTS = tests/media tests/presets tests/envs_test.py tests/play/player_test.py \
  tests/datasets/video_folder_test.py

# Start the interpreter, to rule out stubs for versions that are not installed.
SUITABLE = import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 13))

.PHONY: help
help:  ## Show this list.
	@echo "usage: make TARGET [PYTHON=/path/to/python3.11]"
	@sed -n 's/^\([a-z]*\):.*##/  \1\t/p' Makefile

.PHONY: demo
demo: .venv/installed  ## Play the shipped world, then train and evaluate a small one on CoinRun, on a CPU; writes to runs/demo.
	.venv/bin/genie-demo --output=runs/demo

.PHONY: test
test: .venv/installed types  ## Check style and types, and run all tests.
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

.PHONY: install
install: .venv/installed  ## Set up .venv with the development tools.

.PHONY: types
types: .venv/installed  ## Check types.
	@# Links mimic the installed layout, because type checkers do not read package_dir.
	@rm -rf build/types && mkdir -p build/types/genie_tf
	@ln -s $(CURDIR)/genie_tf/* $(CURDIR)/datasets build/types/genie_tf/
	.venv/bin/pyrefly check

.PHONY: docs
docs: .venv/installed  ## Build the docs site in site/.
	@test -x .venv/bin/zensical || { echo "make docs needs Python 3.11 or 3.12 in .venv." >&2; exit 1; }
	.venv/bin/python docs/build_site.py

.PHONY: oldest
oldest: .venv/installed  ## Run tests with the oldest releases that setup.cfg allows.
	@test -d .venv-oldest || .venv/bin/python -m venv --without-pip .venv-oldest
	@.venv/bin/uv pip install -q --python=.venv-oldest --require-hashes -r constraints-oldest.txt
	@.venv/bin/uv pip install -q --python=.venv-oldest --no-deps --editable .
	.venv-oldest/bin/python -m pytest $(OLDEST_TESTS)

# Run it after changing setup.cfg; UPGRADE=--upgrade selects the newest releases.
.PHONY: constraints
constraints: .venv/installed  ## Regenerate the files of constraints from setup.cfg.
	@$(COMPILE) --extra=dev --fork-strategy=fewest $(UPGRADE) --output-file=constraints.txt
	@$(COMPILE) --extra=test --resolution=lowest-direct $(UPGRADE) --output-file=constraints-oldest.txt

.PHONY: clean
clean:  ## Remove .venv and files written by tools, but not runs/.
	rm -rf .venv .venv-oldest build dist site *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/pip:
	@for python in $(PYTHONS); do \
	  if "$$python" -c '$(SUITABLE)' 2>/dev/null; then exec "$$python" -m venv .venv; fi; \
	done; \
	echo "genie_tf needs Python 3.10, 3.11 or 3.12 with its venv module (on Debian and Ubuntu:" \
	  "apt install python3-venv); found none of $(PYTHONS): set PYTHON=/path/to/python." >&2; \
	exit 1

.venv/installed: setup.cfg pyproject.toml $(CONSTRAINTS) | .venv/bin/pip
	@echo "Setting up .venv: 3 GB of packages, a few minutes."
ifdef CONSTRAINTS
	@# Build tools come first: pip would not check their hashes.
	@awk '/^[^ ]/ {keep = /^(packaging|pip|setuptools|wheel)==/} keep' $(CONSTRAINTS) | \
	  $(PIP) --require-hashes --requirement=/dev/stdin
	@$(PIP) --require-hashes --no-build-isolation --requirement=$(CONSTRAINTS)
	@$(PIP) --no-deps --no-build-isolation --editable .
else
	@$(PIP) --upgrade pip
	@$(PIP) --editable '.[dev]'
endif
	@.venv/bin/python -c "from gym_notices.notices import notices; notices.clear(); import procgen" || { \
	  echo "procgen needs libGL and glib; on Debian and Ubuntu: apt install libgl1 libglib2.0-0" >&2; exit 1; }
	@touch $@
