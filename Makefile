# What a developer and CI run. `make help` lists it. Needs Python 3.11 to 3.13 and make; everything else is installed
# below .tools/ and .venv/ by `make setup`.
.DEFAULT_GOAL := help
SHELL := /bin/sh
export PYTHONUNBUFFERED := 1

PYTHON_FILES := gateway tools tests bench examples
BIN := .venv/bin
STAMP := .venv/.synced
# A `make -j` must not run the parts of a target at once: they print, and share the machine.
.NOTPARALLEL:

.PHONY: help setup protos protos-check format lint test test-faults fuzz bench smoke run stubs docs

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything below .tools/ and .venv/ (quick when nothing changed)

$(STAMP): pyproject.toml uv.lock tools/setup.sh
	@sh tools/setup.sh
	@touch $@

protos: setup ## generate the Python code of protos/
	@$(BIN)/python tools/generate_protos.py

protos-check: setup ## is the generated code fresh; buf lint, format and breaking where npm is there
	@$(BIN)/python tools/generate_protos.py --check
	@$(BIN)/python tools/check_protos.py

format: setup ## format the code
	$(BIN)/ruff format $(PYTHON_FILES)
	$(BIN)/ruff check --fix-only --quiet $(PYTHON_FILES)

lint: setup ## ruff, mypy --strict, rooms (import-linter), generated code, protos
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory protos-check
	@$(BIN)/python -m tools.docs --check
	@$(BIN)/python -m tools.supply_chain --offline

test: setup ## all tests; real Redis and PostgreSQL, installed when missing
	@sh tools/test.sh

test-faults: setup ## the long set of kills, cuts and restarts
	@sh tools/test.sh -m faults --timeout=1800

fuzz: setup ## search for inputs that break a parser, for minutes
	@sh tools/test.sh -m fuzz --timeout=1800

smoke: setup ## start sandbox and gateway on free ports, run the Getting Started, stop
	@$(BIN)/python -m tools.local smoke

run: setup ## start sandbox and gateway, run the Getting Started, stay up until Ctrl-C
	@$(BIN)/python -m tools.local run

bench: setup ## measure speed (ONLY=name for one)
	@command -v h2load >/dev/null 2>&1 || (. tools/packages.sh && install_package nghttp2-client nghttp2 nghttp2 nghttp2) \
		|| echo "make bench: h2load cannot be installed here"
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

stubs: setup ## what other teams call the gateway with, below build/stubs/: a Python wheel, protos, descriptors
	@$(BIN)/python -m tools.stubs

docs: setup ## generate what docs/ repeats from the code: API, commands, settings, index of ADRs
	@$(BIN)/python -m tools.docs

.PHONY: dev-ca
dev-ca: setup ## certificates and secrets for docker-compose.yml, below var/; run again to renew
	@$(BIN)/python -m tools.dev_ca

.PHONY: supply-chain
supply-chain: setup ## hashes in the lock, licences, known advisories; says so when it could not ask for those (exit code 3)
	@$(BIN)/python -m tools.supply_chain
