# Commands for developers and CI. `make help` lists them. They need Python 3.11 to 3.13 and make. `make setup` installs
# everything else below .tools/ and .venv/.
.DEFAULT_GOAL := help
SHELL := /bin/sh
export PYTHONUNBUFFERED := 1

PYTHON_FILES := gateway tools tests bench examples clients
BIN := .venv/bin
STAMP := .venv/.synced
# `make -j` must not run the parts of a target in parallel: they print and share the machine.
.NOTPARALLEL:

.PHONY: help setup protos protos-check format lint test test-faults fuzz bench smoke run stubs docs

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything below .tools/ and .venv/ (fast if nothing changed)

$(STAMP): pyproject.toml uv.lock tools/setup.sh
	@sh tools/setup.sh
	@touch $@

protos: setup ## generate the Python code of protos/, and the Go client's if Go is installed
	@$(BIN)/python -m tools.generate_protos
	@$(BIN)/python -m tools.go_client

protos-check: setup ## check that the generated code is up to date; buf lint, format and breaking if npm is installed
	@$(BIN)/python -m tools.generate_protos --check
	@$(BIN)/python -m tools.go_client --check
	@$(BIN)/python tools/check_protos.py

format: setup ## format the code
	$(BIN)/ruff format $(PYTHON_FILES)
	$(BIN)/ruff check --fix-only --quiet $(PYTHON_FILES)

lint: setup ## ruff, mypy --strict, import-linter, generated code, protos
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory protos-check
	@$(BIN)/python -m tools.docs --check
	@$(BIN)/python -m tools.supply_chain --offline

# The suite runs over the default front; these run over the other one too. Tests in tests/front run over both.
OTHER_FRONT_TESTS := tests/integration/test_calls.py tests/integration/test_tokens.py tests/integration/test_events.py \
	tests/integration/test_repeated_events.py tests/integration/test_explain.py tests/integration/test_identity.py \
	tests/integration/test_local_callers.py tests/integration/test_policy_starts.py \
	tests/integration/test_renewed_certificates.py tests/integration/test_watch.py tests/integration/test_watch_trouble.py \
	tests/server/test_abuse.py

test: setup ## all tests, with real Redis and PostgreSQL (installed if missing)
	@sh tools/test.sh
	@TEST_FRONT=other sh tools/test.sh $(OTHER_FRONT_TESTS)

# What `make test` skips where these programs were never built.
SLOW_PROGRAM_TESTS := -k "vault or transit or chart or grpcurl or guide or probe"

test-faults: setup ## the long tests: killed processes, lost connections, restarts
	@$(BIN)/python -m tests.slow_programs
	@sh tools/test.sh -m "not faults and not fuzz" $(SLOW_PROGRAM_TESTS)
	@sh tools/test.sh -m faults --timeout=1800

.PHONY: soak
soak: setup ## two gateways under load with a random fault each minute (SOAK_MINUTES=30, SOAK_SEED, SOAK_REPORT=file for JSON)
	@$(BIN)/python -m tests.soak --minutes $(or $(SOAK_MINUTES),30) $(if $(SOAK_SEED),--seed $(SOAK_SEED)) \
		$(if $(SOAK_REPORT),--json $(SOAK_REPORT))

fuzz: setup ## search for inputs that break a parser (takes minutes)
	@sh tools/test.sh -m fuzz --timeout=1800

smoke: setup ## start sandbox and gateway on free ports, run the Getting Started, stop
	@$(BIN)/python -m tools.local smoke

run: setup ## start sandbox and gateway, run the Getting Started, stay up until Ctrl-C
	@$(BIN)/python -m tools.local run

bench: setup ## measure speed (ONLY=name for one case)
	@command -v h2load >/dev/null 2>&1 || (. tools/packages.sh && install_package nghttp2-client nghttp2 nghttp2 nghttp2) \
		|| echo "make bench: h2load cannot be installed here"
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

# Only LANGUAGE=... behind `make`: a variable LANGUAGE of the environment names the language of messages, such as "en".
stubs: setup ## client code for other teams below build/stubs/ (LANGUAGE=go for one: python, go, typescript, java, protos)
	@$(BIN)/python -m tools.stub_languages '$(if $(filter command,$(origin LANGUAGE)),$(LANGUAGE))'

.PHONY: dist
dist: setup ## what a release consists of, below build/dist/: wheels, sdist, SBOM
	@$(BIN)/python -m tools.dist

docs: setup ## generate the parts of docs/ that come from the code, and build all pages as a site in build/site
	@$(BIN)/python -m tools.docs
	@$(BIN)/python -m tools.site

.PHONY: dev-ca
dev-ca: setup ## certificates and secrets for docker-compose.yml below var/; run it again to renew them
	@$(BIN)/python -m tools.dev_ca

.PHONY: supply-chain
supply-chain: setup ## check hashes in the lock, licences and advisories (exit code 3: advisories could not be checked)
	@$(BIN)/python -m tools.supply_chain
