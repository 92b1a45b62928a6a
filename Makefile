# The commands of the project. Each sets up .venv by itself; `make help` lists them.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
LAB_ARGS ?=
TEST_ARGS ?=
WORLD_ARGS ?=
STUDENTS_ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help lab test check notebooks world students bench links

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

lab: $(VENV)/.lab ## open JupyterLab on the walkthroughs (LAB_ARGS="--no-browser --port 8899")
	$(PY) -m jupyterlab --ServerApp.root_dir=walkthroughs $(LAB_ARGS)

test: $(VENV)/.test ## run every test (TEST_ARGS="-k schedule")
	$(PY) -m pytest -n 2 $(TEST_ARGS)

check: $(VENV)/.test ## lint, formatting and the import arrows
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest -q tests/test_layout.py

notebooks: $(VENV)/.test ## execute every walkthrough again and save it with its pictures
	$(PY) -m tests.notebooks

world: $(VENV)/.lab ## train the small world's weights again (hours; WORLD_ARGS is passed on)
	$(PY) -m kit.world.train $(WORLD_ARGS)

students: $(VENV)/.lab ## distil its students for few steps again (hours; STUDENTS_ARGS is passed on)
	$(PY) -m kit.world.distilling $(STUDENTS_ARGS)

bench: $(VENV)/.test ## print the benchmark tables
	$(PY) -m tests.bench

links: $(VENV)/.made ## point every badge at another home (REPO=owner/name)
	@test -n "$(REPO)" || { echo "make links: say where to, as in: make links REPO=owner/name"; exit 1; }
	$(PY) -m tests.links "$(REPO)"

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: found no $(PYTHON). Install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $$($(PYTHON) --version 2>&1) is too old, Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) cannot make virtual environments. On Debian or Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.lab: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing the kit and JupyterLab into $(VENV); the first time takes minutes."
	$(PY) -m pip install --quiet -c constraints.txt -e '.[lab]'
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing the kit, JupyterLab and the test tools into $(VENV); the first time takes minutes."
	$(PY) -m pip install --quiet -c constraints.txt -e '.[lab,test]'
	@touch $(VENV)/.lab $@
