# The chores of rtzr-bridge. `make demo` and `make test` do all their set-up themselves, into .venv.
#
#   make demo       a two-party call of Korean sentences becomes live text, on this machine alone;
#                   PAGE=1: call after call on the live page in a browser, until Ctrl-C
#   make test       every test, with a tenth of the repetitions; make test-long with all of them. Calls take their
#                   time and little CPU, so four files run at once (tests/sidebyside.py says which), of those on a
#                   real Asterisk each on one of its own; what fails so (a tap comes late where two bursts of calls
#                   meet) is said, and has to pass alone; ARGS='tests/wire -x' for pytest's own choice
#   make bench      the benchmarks that are short; make bench BENCH=latency|outage|token|churn for one
#                   (CYCLES=100000 for the long churn); results in bench/results, 1 when a target is missed
#                   BENCH=legs: what a leg costs, by number and setting (FULL=1 longer, LEGS=200 one step);
#                   BENCH=bill: what a tap costs the PBX; BENCH=overload: more calls than there is room for;
#                   BENCH=ladder: where the CPU goes, the media path rung by rung under real pacing;
#                   BENCH=parts: each part of the media path beside the least it can cost;
#                   BENCH=deliveries: events through the outbox to a webhook and to Redis, on one core
#   make soak       calls come and go for MINUTES=30: descriptors, tasks and memory must stay flat
#   make deb        a .deb for the Debian or Ubuntu that this is, into DEB=dist: docs/install.md
#   make docs       what is made from the models anew: docs/configuration.md, the YAML's schema and comments
#   make check      ruff and mypy
#   make lock       write requirements*.txt anew (needs uv)
#   make clean      remove what these made, except the Asterisk in the cache folder

PYTHON ?= python3
UV ?= uv
SCALE ?= 0.1
MINUTES ?= 30
DEB ?= dist

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
MADE := $(VENV)/.made
RUN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev

PYTEST = SCALE=$(SCALE) $(BIN)/python -m pytest

# Tests start some three hundred Pythons: none is to compile what the one before it has compiled.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: demo test test-long bench soak deb docs check lock clean

demo: $(RUN)
ifdef PAGE
	$(BIN)/rtzr-bridge demo --page
else
	$(BIN)/rtzr-bridge demo
	@echo; echo 'The same in a browser: make demo PAGE=1'
endif

INSTALL = $(BIN)/python -m tests.asterisk.install && $(BIN)/python -m tests.redisserver \
	&& $(BIN)/python -m tests.promtool && $(BIN)/python -m tests.browser.chromium

test: $(DEV)
ifdef ARGS
	$(INSTALL)
	$(PYTEST) $(ARGS)
else
	$(BIN)/python -m tests.docker.engine packages
	$(BIN)/python -m tests.docker.engine & images=$$!; trap 'exit 130' INT TERM; \
	trap "kill $$images 2>/dev/null || :" EXIT; $(INSTALL) && wait $$images
	$(PYTEST) --numprocesses 4 --dist loadfile || { test $$? = 1 && $(PYTEST) --last-failed; }
endif

test-long:
	$(MAKE) test SCALE=1

bench: $(RUN)
	$(BIN)/python -m bench $(BENCH)

soak: $(RUN)
	$(BIN)/python -m bench.soak $(MINUTES)

deb:
	config/debian/build $(DEB)

docs: $(RUN)
	$(BIN)/python -m bridge.schema.written

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

# Each stamp is written last, so that a set-up which was broken off is done again.
$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { echo >&2 \
	  'make: $(PYTHON) is missing or not Python 3.11 to 3.14; name one: make PYTHON=python3.12 ...'; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo >&2 \
	  'make: $(PYTHON) cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# The project itself comes last, without isolation: setuptools is one of the pinned packages.
$(RUN): requirements.txt pyproject.toml | $(MADE)
	@echo 'installing the packages of requirements.txt into $(VENV)'
	@$(PIP) install --require-hashes -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(DEV): requirements-dev.txt $(RUN)
	@echo 'installing the packages of requirements-dev.txt into $(VENV)'
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

LOCK := $(UV) pip compile --no-config --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header --quiet pyproject.toml -
FIRST_LINE := \# Written by `make lock` from pyproject.toml: every file of every platform, Python 3.11 to 3.14.

lock:
	echo 'setuptools>=77' | $(LOCK) --output-file requirements.txt
	echo 'setuptools>=77' | $(LOCK) --extra dev --constraint requirements.txt --output-file requirements-dev.txt
	sed -i '1i $(FIRST_LINE)' requirements.txt requirements-dev.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find bridge tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
