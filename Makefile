# Every command of this project. `make help` lists them.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
TRAINING := .venv-training
BIG_MODEL := .venv-big-model
DOCS := .venv-docs
BIN := $(VENV)/bin
ARGS ?=
# Processes of a test run: one more than two cores, since tests wait for the processes that they start.
PROCESSES ?= 3
# Compiled modules are kept, also where the environment says otherwise: tests start many Python processes.
export PYTHONDONTWRITEBYTECODE :=
# The older commit of make upgrade-drill and make bench-compare, and the rounds of the latter.
FROM ?=
ROUNDS ?= 12
# How many faults (50) or fuzzed examples (400), and which plan (one at random unless given).
N ?=
SEED ?=
# The Pythons that are supported; `make test-pythons` uses those that the machine has.
PYTHONS := 3.11 3.12 3.13
# The older clients that must go on working, each in an environment of its own.
SDKS := 1 2
SDK_VENVS := $(SDKS:%=.venv-openai-%)
# Other stock clients, the same way (Java and curl are the machine's own).
CLIENTS := openai-3 node litellm litellm-proxy langchain gpt-image-mcp image-generation-mcp
CLIENT_VENVS := $(CLIENTS:%=.venv-client-%)
SOURCES := api cli config graphs workers imagegen.py
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Environments for development are installed by uv, which is among what tests and checks need.
UV ?= $(BIN)/uv
INSTALL_LOCK := sh tools/install_lock.sh $(UV)

# A likely slip: options are given in ARGS.
ifeq ($(origin ARG),command line)
$(error ARG is not read; write ARGS="$(ARG)")
endif

.PHONY: help install serve test-fast test-pythons test test-thorough test-export coverage test-sdk test-clients test-open-webui fuzz faults attack sdk-venvs check format lock proto reference
.PHONY: bench bench-compare demo-score demo-model big-model soak upgrade-drill sentinel-drill docs clean

help:
	@sed -n 's/^## //p' Makefile

## make install     prepare .venv with the API, the worker and a Redis; the command is then .venv/bin/imagegen
install: $(VENV)/.installed

## make serve       start Redis, a worker and the API (options: make serve ARGS="--rest_port 9000")
serve: install
	@$(BIN)/imagegen serve $(ARGS)

## make test-fast   run the tests that need neither Redis nor a process nor a model (seconds)
test-fast: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -p no:schemathesis -p no:anyio -p no:valkey -m fast $(ARGS)

## make test-pythons  run make test-fast, in an environment installed from the lock, on each supported Python found here
# The Python of .venv has such an environment already; with OTHERS=1 it is left out.
test-pythons: $(VENV)/.installed-dev
	@ran=; for version in $(PYTHONS); do \
	  python=; for found in python$$version $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python; do \
	    $$found -c 'import ensurepip, venv' 2>/dev/null && python=$$found && break; \
	  done; \
	  [ -n "$$python" ] || { echo "Python $$version is not on this machine."; continue; }; \
	  venv=.venv-py$$version; $(BIN)/python -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" \
	    && venv=$(VENV); \
	  [ -n "$(OTHERS)" ] && [ "$$venv" = "$(VENV)" ] && continue; \
	  $(MAKE) --no-print-directory test-fast PYTHON=$$python VENV=$$venv UV=$(abspath $(BIN))/uv || exit 1; \
	  ran="$$ran $$version"; \
	done; echo "make test-fast passed on Python:$${ran:- none}"

## make test        install what tests need and run them (one file: make test ARGS=tests/graphs)
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder -m "not thorough" $(ARGS)

## make test-thorough  run what takes long: every adapter mode on every family, the fault harness, long fuzzing
# Files with many tests are begun first, so that none of them is still under way when the others have ended.
test-thorough: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile -m "thorough and not export" $(ARGS)

## make test-export  export every family with the real libraries, kill exports and fill disks (20 minutes)
test-export: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m export tests/cli/export $(ARGS)

## make coverage    run make test with the branches counted, child processes included (prints a table, worst first)
coverage: $(VENV)/.installed-dev
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder -m "not thorough" $(ARGS); \
	  status=$$?; $(BIN)/python -m coverage combine --quiet && $(BIN)/python -m coverage report && exit $$status

## make test-sdk    run the script of test_sdk_matrix.py with the older openai packages
test-sdk: $(VENV)/.installed-dev sdk-venvs
	SDK_PYTHONS="$(SDK_VENVS:%=%/bin/python)" $(BIN)/python -m pytest tests/stack/test_sdk_matrix.py $(ARGS)

## make test-clients  run stock clients with nothing but the address, each in its own environment (one: ARGS="curl")
test-clients: $(VENV)/.installed-dev sdk-venvs $(CLIENT_VENVS:%=%/.installed)
	@$(BIN)/python -m tests.clients $(ARGS)

## make test-open-webui  install Open WebUI (2 GB) and let it draw and edit with nothing but the address
test-open-webui: $(VENV)/.installed-dev .venv-client-open-webui/.installed
	@$(BIN)/python -m tests.clients "Open WebUI"

## make fuzz        attack every input with N examples a test (make fuzz N=20000 SEED=7; without SEED always the same ones)
fuzz: $(VENV)/.installed-dev
	FUZZ_EXAMPLES=$(N) FUZZ_SEED=$(SEED) $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile -m thorough -rP --timeout 0 \
	  tests/fuzz tests/stack/test_prompts.py $(ARGS)

## make sdk-venvs   prepare an environment for each of the older openai packages
sdk-venvs: $(SDK_VENVS:%=%/.installed)

## make faults      kill, freeze and cut off the service's parts under load: make faults N=200 SEED=1 (prints a report)
faults: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.faults --faults $(or $(N),50) $(if $(SEED),--seed $(SEED)) $(ARGS)

## make sentinel-drill  kill primaries and cut their cable under load, and count what was lost (a quarter of an hour, a report)
sentinel-drill: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.sentinel $(if $(N),--kills $(N)) $(if $(SEED),--seed $(SEED)) $(ARGS)

## make attack      attack a running service under the load of three honest keys: make attack N=200 SEED=1 (ten minutes, a report)
attack: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.attack $(if $(N),--attacks $(N)) $(if $(SEED),--seed $(SEED)) $(ARGS)

## make check       lint, types, import floors
check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES) tests benchmarks tools
	$(BIN)/lint-imports

## make bench       measure added latency, start-up and more (prints a table)
bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks $(ARGS)

## make bench-compare  processor time of a request against an older commit's (make bench-compare FROM=b8603f2 ROUNDS=12)
bench-compare: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.compare --from $(FROM) --rounds $(ROUNDS) $(ARGS)

## make soak        mixed load at half of what the worker can draw: does anything grow? (make soak ARGS="--minutes 45"; a table)
soak: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.soak $(ARGS)

## make upgrade-drill  let this commit finish the work that an older one accepted (make upgrade-drill FROM=b8603f2)
upgrade-drill: $(VENV)/.installed-dev
	@$(BIN)/python -m tools.upgrade_drill --from $(FROM) $(ARGS)

## make demo-score  let the running demo model draw random prompts and count what it gets right (prints tables)
demo-score: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.demo.score $(ARGS)

## make demo-model  train a demo model from nothing into build/demo (two hours on 2 cores; goes on if stopped)
demo-model: $(TRAINING)/.installed
	@$(TRAINING)/bin/python -W ignore -u -m tools.demo_model --out build/demo --work build/demo-work $(ARGS)

## make big-model   write a model of Stable Diffusion 1.5's size with random weights to build/big-model (2 GiB)
big-model: $(BIG_MODEL)/.installed
	@$(BIG_MODEL)/bin/python -W ignore -m tools.big_model --out build/big-model $(ARGS)

## make docs        build the documentation site in build/site (fails on a dead link)
docs: $(DOCS)/.installed
	$(DOCS)/bin/zensical build --clean --strict

## make format      let ruff order and lay out the code
format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## make lock        pin every version anew (requirements*.lock, docker/*.lock, tools/*/requirements.lock)
lock: $(VENV)/.installed-dev
	sh docker/lock.sh $(BIN)/uv
	sh tests/sdk/lock.sh $(BIN)/uv
	sh tests/clients/lock.sh $(BIN)/uv
	sh tools/lock.sh $(BIN)/uv

## make proto       generate the protobuf module from graphs/definition/image_gen_calculator.proto
proto: $(VENV)/.installed-dev
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. graphs/definition/image_gen_calculator.proto

## make reference   write docs/settings.md and docs/cli.md from the code
reference: $(VENV)/.installed-dev
	$(BIN)/python -m tools.write_reference $(ARGS)

## make clean       remove the virtual environment and caches
clean:
	rm -rf $(VENV) $(PYTHONS:%=.venv-py%) $(TRAINING) $(BIG_MODEL) $(DOCS) $(SDK_VENVS) .venv-client-*
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "imagegen-server needs Python 3.11 or newer: make PYTHON=/path/to/python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "This Python cannot make a virtual environment; on Debian and Ubuntu:" \
	  "apt install python3-venv" >&2; rm -rf $(VENV); exit 2; }

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing imagegen-server into $(VENV) (once; about 120 MB) ..."
	@$(INSTALL_LOCK) $(BIN)/python requirements.lock
# hatchling and editables come from the lock as well, so the project's own build fetches nothing unpinned.
	@$(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing what tests and checks need ..."
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.lock > $(VENV)/uv.lock
	@$(INSTALL) --require-hashes -r $(VENV)/uv.lock || echo "There is no uv for this machine: pip installs everything."
	@$(INSTALL_LOCK) $(BIN)/python requirements-dev.lock
	@touch $@

$(TRAINING)/.installed: tools/demo_model/requirements.lock tools/torch_environment.sh
	@echo "Installing what the training needs into $(TRAINING) (PyTorch: large) ..."
	@sh tools/torch_environment.sh $(PYTHON) $(TRAINING) $<
	@touch $@

$(BIG_MODEL)/.installed: tools/big_model/requirements.lock tools/torch_environment.sh
	@echo "Installing what the big model needs into $(BIG_MODEL) (PyTorch: large) ..."
	@sh tools/torch_environment.sh $(PYTHON) $(BIG_MODEL) $<
	@touch $@

$(DOCS)/.installed: tools/docs_site/requirements.lock
	@echo "Installing Zensical into $(DOCS) ..."
	@$(PYTHON) -m venv --clear $(DOCS)
	@$(INSTALL_LOCK) $(DOCS)/bin/python $<
	@touch $@

.venv-openai-%/.installed: tests/sdk/openai-%.txt
	@echo "Installing openai $*.x into .venv-openai-$* ..."
	@$(PYTHON) -m venv --clear .venv-openai-$*
	@$(INSTALL_LOCK) .venv-openai-$*/bin/python $<
	@touch $@

.venv-client-%/.installed: tests/clients/locks/%.txt tests/clients/node/package-lock.json tests/clients/install.sh
	@echo "Installing the client $* into .venv-client-$* ..."
	@sh tests/clients/install.sh $* $(PYTHON) $(UV)
	@touch $@
