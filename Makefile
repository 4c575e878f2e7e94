# One door to everything: `make` lists the targets. Needs Python 3.11+ with venv, a C++17 compiler.
# Overridable: PYTHON=python3.12 (makes .venv), ARGS="--port 9000" (serve), PYTEST_ARGS="-k door".

find_python = for p in python3 python3.11 python3.12 python3.13; do $$p -c '$(is_new_enough)' 2>/dev/null && break; done; echo $$p
is_new_enough = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell $(find_python))

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# What the installed package is made of; Python sources are not copied, so they are not here.
BUILD_INPUTS := pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*)

# Other people's clients, which the tests run against a server of ours.
CLIENTS := .venv-clients
PYTHON_CLIENTS := tests/clients/python
NODE_CLIENTS := tests/clients/node
HAS_NPM := $(shell command -v npm 2>/dev/null)

# The comparison with llama.cpp builds its peer first, which takes a quarter of an hour.
PEER_BENCHMARK := benchmarks/vs_llama_cpp.py

.PHONY: help setup clients serve test worker-node playground playground-node screenshots check fmt bench bench-peer clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

setup: $(VENV)/.dev ## make .venv with the package and the tools to develop it

# Where they cannot be installed their tests are left out, and pytest's last lines say so.
clients: $(CLIENTS)/.made $(if $(HAS_NPM),$(NODE_CLIENTS)/node_modules/.made) ## install the clients that the tests try

serve: $(VENV)/.package ## start the server; options in ARGS="..."
	@$(BIN)/sirocco serve --stand-in $(ARGS)

# A file's tests share what it starts. More than four at once would start more servers than they save time.
PYTEST_WORKERS := --numprocesses=auto --maxprocesses=4 --dist=loadfile

test: $(VENV)/.dev clients worker-node $(if $(HAS_NPM),playground-node) ## run the tests; options in PYTEST_ARGS="..."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet $(PYTEST_WORKERS) $(PYTEST_ARGS)

# Worker scripts are tested in the real runtime, which npm installs; without it they are left out.
WORKER_NODE := tests/worker/node
worker-node:
	@command -v npm >/dev/null || exit 0; cmp -s $(WORKER_NODE)/package-lock.json \
	  $(WORKER_NODE)/node_modules/.of || { echo "Installing the Workers runtime for tests ..." \
	  && (cd $(WORKER_NODE) && npm ci --loglevel=error && cp package-lock.json node_modules/.of); } \
	  || echo "npm could not install it; tests of Worker scripts are left out"

# What builds the playground also checks it; without it these tests are left out.
playground-node:
	@$(MAKE) --no-print-directory playground/node_modules/.made \
	  || echo "sirocco: what builds the playground could not be installed" >&2

# What it makes is committed: users need no npm.
playground: playground/node_modules/.made ## build the web page into the package, after a change of playground/src
	@cd playground && npm run --silent check && npm run --silent build

screenshots: $(VENV)/.dev ## take the pictures of docs/images in Chromium
	@$(BIN)/python playground/screenshots.py

check: $(VENV)/.dev ## lint, format, types, import contracts; changes nothing
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: $(VENV)/.dev ## format, and repair what the linter can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(VENV)/.package ## run our own benchmarks: a table and one JSON line each
	@set -e; for file in $(filter-out $(PEER_BENCHMARK),$(wildcard benchmarks/[a-z]*.py)); \
	  do $(BIN)/python $$file; done

bench-peer: $(VENV)/.package ## compare with llama.cpp, which is built first; options in ARGS
	@$(BIN)/python $(PEER_BENCHMARK) $(ARGS)

clean: ## remove .venv, clients, builds and caches
	rm -rf $(VENV) $(CLIENTS) $(NODE_CLIENTS)/node_modules $(WORKER_NODE)/node_modules playground/node_modules build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .schemathesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps below live in what they are about, because they say what is in it.

$(CLIENTS)/.made: $(PYTHON_CLIENTS)/requirements.txt $(PYTHON_CLIENTS)/constraints.txt | $(VENV)/.made
	@echo "Installing clients for Python (the first time this takes a minute or two) ..."
	@$(BIN)/python -m venv --clear $(CLIENTS) && $(CLIENTS)/bin/python -m pip install --quiet \
	  --disable-pip-version-check --constraint $(PYTHON_CLIENTS)/constraints.txt \
	  --requirement $(PYTHON_CLIENTS)/requirements.txt && touch $@ \
	  || echo "sirocco: clients for Python could not be installed" >&2

$(NODE_CLIENTS)/node_modules/.made: $(NODE_CLIENTS)/package-lock.json $(NODE_CLIENTS)/.npmrc
	@echo "Installing clients for Node.js ..."
	@cd $(NODE_CLIENTS) && npm ci --loglevel=error >/dev/null && touch node_modules/.made \
	  || echo "sirocco: clients for Node.js could not be installed" >&2

playground/node_modules/.made: playground/package-lock.json playground/.npmrc
	@echo "Installing what builds the playground ..."
	@cd playground && npm ci --loglevel=error >/dev/null && touch node_modules/.made

$(VENV)/.package: $(VENV)/.torch $(BUILD_INPUTS)
	@echo "Building and installing sirocco ..."
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.torch $(BUILD_INPUTS)
	@echo "Building and installing sirocco with its tools ..."
	@$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/.package $@

# On its own, so that a failed build of ours does not fetch the largest dependency again.
$(VENV)/.torch: constraints.txt | $(VENV)/.made
	@echo "Installing torch (the first time this is a large download) ..."
	@$(INSTALL) torch
	@touch $@

$(VENV)/.made:
	@fail() { echo "sirocco: $$1" >&2; exit 1; }; python="$(PYTHON)"; \
	"$$python" -c '$(is_new_enough)' 2>/dev/null \
	  || fail "Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python"; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null \
	  || fail "$$python has no venv module; install it (Debian and Ubuntu: python3-venv)"; \
	command -v "$${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null \
	  || fail "no C++ compiler found; install g++ or clang++, or set CXX"; \
	"$$python" -m venv $(VENV)
	@touch $@
