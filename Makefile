# The two commands: `make lab` to work through the course, `make test` to prove that it works.
# Each makes .venv when it is missing, and again installs what pyproject.toml or constraints.txt has changed.

PYTHON      ?= python3
CONSTRAINTS ?= constraints.txt
NOTEBOOKS   ?= $(wildcard notebooks/*.ipynb)
CELL_SECONDS ?= 600
LAB_ARGS    ?=
TEST_PROCESSES ?= 2

# As minidiff does itself, for notebooks that load torch before it: threads that wait spin for a moment only.
ifndef OMP_WAIT_POLICY
export GOMP_SPINCOUNT ?= 10000
endif

# Many a container forbids Python to keep compiled modules. Every kernel and process would compile torch anew.
export PYTHONDONTWRITEBYTECODE :=

BIN    := .venv/bin
INSTALL := $(BIN)/python .ci/install.py $(CONSTRAINTS)
PYTEST := $(BIN)/python -m pytest --quiet --durations=30
# Tests side by side, a file each, on one thread each.
TWO    := -n $(TEST_PROCESSES) --dist loadfile
NBVAL  := --nbval-lax --nbval-current-env --nbval-cell-timeout=$(CELL_SECONDS)

# $(call stage,name,command): run the command between two lines that name it and say how long it took
define stage
	@printf '\n== %s\n' '$(1)'; begin=$$(date +%s); $(2); code=$$?; \
	printf '== %s: %s s, exit code %s\n' '$(1)' "$$(($$(date +%s) - begin))" "$$code"; exit $$code
endef

.PHONY: help lab test test-all notebooks site picture format constraints clean

help:  ## Show these lines
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/  make \1 ~ \2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '~'
	@echo 'Another Python: make lab PYTHON=python3.12. Options of JupyterLab: make lab LAB_ARGS=--no-browser'

lab: .venv/installed  ## Open the course in JupyterLab, on this machine only
	$(BIN)/python -m jupyterlab --ServerApp.ip=localhost --ServerApp.root_dir='$(CURDIR)/notebooks' \
		--LabApp.default_url=/lab/tree/START.md $(LAB_ARGS)

test: .venv/installed-test  ## Unit tests, every notebook, three lessons in a real browser
	$(call stage,unit tests,$(PYTEST) $(TWO) tests --ignore=tests/browser -m 'not slow')
	$(call stage,notebooks,MINIDIFF_PROFILE=$${MINIDIFF_PROFILE:-ci} OMP_NUM_THREADS=1 $(PYTEST) $(TWO) $(NBVAL) $(NOTEBOOKS))
	$(call stage,browser,$(PYTEST) -s tests/browser -m 'not slow')

test-all: test  ## Everything of `test`, and then what is slow
	$(call stage,slow tests,$(PYTEST) $(TWO) tests --ignore=tests/browser -m slow)
	$(call stage,slow tests in the browser,$(PYTEST) -s tests/browser -m slow)

notebooks: .venv/installed-test  ## Run the notebooks in profile cpu and store what they show (NOTEBOOKS=... for some)
	MINIDIFF_PROFILE=$${MINIDIFF_PROFILE:-cpu} $(BIN)/python tests/store.py $(NOTEBOOKS)

site: .venv/installed-site  ## Build the pages to read without Python: site/html/index.html
	$(BIN)/python site/build.py

picture: .venv/installed-test  ## Draw the README's picture with the shipped models
	$(BIN)/python tests/picture.py

format: .venv/installed-test  ## Tidy the code, the notebooks too
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

constraints: .venv/installed-test  ## Write the versions installed here to constraints.txt
	$(BIN)/python tests/pins.py > constraints.txt

clean:  ## Remove what the commands above have made; downloads in data/ stay
	rm -rf .venv site/html minidiff.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/installed: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo 'Installing into .venv: a few minutes the first time.'
	@$(INSTALL)
	@touch $@

.venv/installed-test: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo 'Installing into .venv: a few minutes the first time.'
	$(call stage,install,$(INSTALL) test site)
	@touch .venv/installed .venv/installed-site $@

.venv/installed-site: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo 'Installing into .venv: a few minutes the first time.'
	$(call stage,install,$(INSTALL) site)
	@touch .venv/installed $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v < (3, 15) and \
	"minidiff needs Python 3.11 to 3.14, and $(PYTHON) is %d.%d. Name another: make lab PYTHON=python3.12" % v)'
	$(PYTHON) -m venv --clear .venv
