# `make demo` and `make test` set up everything they need, in .venv; see `make help`.

CONSTRAINTS = constraints.txt
PYTHONS = $(or $(PYTHON),python3.12 python3.11 python3.10 python3)

# Starting the interpreter, not just finding it, also rules out stubs that name an absent version.
SUITABLE = import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 13))

.PHONY: help
help:  ## Show this list.
	@echo "usage: make TARGET [PYTHON=/path/to/python3.11]"
	@sed -n 's/^\([a-z]*\):.*##/  \1\t/p' Makefile

.PHONY: demo
demo: .venv/installed  ## Train and play a small Genie on CoinRun, on a CPU; results in runs/demo.
	.venv/bin/genie-demo --output=runs/demo

.PHONY: test
test: .venv/installed  ## Check the style and run all tests.
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pytest --numprocesses=2 --dist=loadfile

.PHONY: install
install: .venv/installed  ## Only set up .venv, with the development tools.

.PHONY: clean
clean:  ## Remove .venv and what tools leave behind, but not runs/.
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/pip:
	@for python in $(PYTHONS); do \
	  if "$$python" -c '$(SUITABLE)' 2>/dev/null; then exec "$$python" -m venv .venv; fi; \
	done; \
	echo "genie_tf needs Python 3.10, 3.11 or 3.12 with its venv module (on Debian and Ubuntu:" \
	  "apt install python3-venv), which none of these is: $(PYTHONS); set PYTHON=/path/to/python." >&2; \
	exit 1

.venv/installed: setup.cfg pyproject.toml $(CONSTRAINTS) | .venv/bin/pip
	@echo "Setting up .venv: 3 GB of packages, some minutes."
	@.venv/bin/pip install -qq --upgrade pip
	@.venv/bin/pip install -qq $(addprefix --constraint=,$(CONSTRAINTS)) --editable '.[dev]'
	@.venv/bin/python -c "from gym_notices.notices import notices; notices.clear(); import procgen" || { \
	  echo "procgen needs libGL and glib; on Debian and Ubuntu: apt install libgl1 libglib2.0-0" >&2; exit 1; }
	@touch $@
