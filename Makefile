# ntm-serve: `make help` lists the targets. Python 3.11 or newer and make are all it takes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
# Where `make serve` keeps its sessions, unless NTM_STORE says otherwise.
DATA ?= data
# Where torch itself is taken from; empty is pip's own index, whose torch brings CUDA on Linux.
# A machine without a GPU: make test TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
WORKERS ?= 2
# How `make test-deploy` runs the deployment: processes, containers, or what this machine allows.
FORM ?=
KILLS ?= 50
# The zoo entry that `make export` turns into a bundle.
ENTRY ?= model/zoo/copy
# More arguments for the command behind test, train, export and bench.
ARGS ?=

PIP_INSTALL := -m pip install --quiet --quiet --disable-pip-version-check
PROFILES := cpu gpu train dev image
SBOM := --pyproject pyproject.toml --mc-type application --output-reproducible --validate

.PHONY: help serve test test-deploy crash clients test-ray check format-check lint types audit sbom train export bench bench-peers lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' Makefile

serve: .venv/stamp ## serve the bundled models on HOST:PORT (127.0.0.1:8000), without torch
	@mkdir -p $(DATA)
	@NTM_STORE=$${NTM_STORE:-sqlite://$(abspath $(DATA))/sessions.db} \
	  exec .venv/bin/ntm serve --host $(HOST) --port $(PORT)

test: .venv-dev/stamp ## run the tests, WORKERS at a time
	.venv-dev/bin/python -m pytest -n $(WORKERS) --dist loadfile -m "not crash and not clients and not deploy and not ray" $(ARGS)

test-deploy: .venv-dev/stamp ## bring up the deployment and break it; FORM=containers or processes
	DEPLOY_FORM=$(FORM) .venv-dev/bin/python -m pytest -s -m deploy -o faulthandler_timeout=900 $(ARGS)

crash: .venv-dev/stamp ## kill servers, stores and replicas under load, KILLS times at random
	CRASH_KILLS=$(KILLS) .venv-dev/bin/python -m pytest -s -m crash -o faulthandler_timeout=900 $(ARGS)

clients: .venv-dev/stamp ## drive the server with KServe's and MLServer's clients, built on first use
	.venv-dev/bin/python -m pytest -m clients $(ARGS)

test-ray: .venv-dev/stamp ## step and kill replicas under Ray Serve, whose environment is built on first use
	.venv-dev/bin/python -m pytest -m ray $(ARGS)

check: format-check lint types test ## all that CI checks: format, lint, types, tests

format-check: .venv-dev/stamp
	.venv-dev/bin/ruff format --check .

lint: .venv-dev/stamp
	.venv-dev/bin/ruff check .

types: .venv-dev/stamp
	.venv-dev/bin/pyright
	.venv-dev/bin/pyright -p tests

audit: .venv-dev/stamp ## look up the locks' pins and what is known against them; 3: nobody could be asked
	@.venv-dev/bin/python -m tests.audit

# Of each lock what it pins; of the two environments what is installed, with its licences.
sbom: .venv/stamp .venv-dev/stamp ## bills of materials in CycloneDX, into build/sbom
	@mkdir -p build/sbom
	@for profile in $(PROFILES); do \
	  .venv-dev/bin/cyclonedx-py requirements $(SBOM) --output-file build/sbom/$$profile.json \
	    requirements-$$profile.lock; \
	done
	@.venv-dev/bin/cyclonedx-py environment $(SBOM) --output-file build/sbom/installed-cpu.json \
	  .venv/bin/python
	@.venv-dev/bin/cyclonedx-py environment $(SBOM) --output-file build/sbom/installed-dev.json \
	  .venv-dev/bin/python
	@ls -1 build/sbom/*.json

train: .venv-dev/stamp ## train the copy task; ARGS="--seed 2"
	.venv-dev/bin/ntm train copy $(ARGS)

export: .venv-dev/stamp ## export ENTRY (model/zoo/copy) to its bundle; ARGS="--torchscript"
	.venv-dev/bin/ntm export $(ENTRY) $(ARGS)

bench: .venv-dev/stamp ## measure and print; asserts nothing
	.venv-dev/bin/python -m tests.bench $(ARGS)

bench-peers: .venv-dev/stamp ## measure side by side with other servers, installed on first use
	TORCH_INDEX=$(TORCH_INDEX) .venv-dev/bin/python -m tests.bench.peers $(ARGS)

lock: ## resolve every profile of pyproject.toml anew into requirements-*.lock
	@$(require-python)
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@for profile in $(PROFILES); do \
	  echo "resolving $$profile"; \
	  build/lock/bin/python $(PIP_INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	    $$([[ $$profile != image ]] || echo --constraint requirements-cpu.lock) --dry-run --ignore-installed --report build/lock/$$profile.json ".[$$profile]"; \
	  build/lock/bin/python -c "$$WRITE_LOCK" $$profile <build/lock/$$profile.json >build/lock/new; \
	  mv build/lock/new requirements-$$profile.lock; \
	done
	@rm -rf build/lock

clean: ## remove the environments, caches and build output
	rm -rf .venv .venv-dev build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find model export service tests -name __pycache__ -prune -exec rm -rf {} +

# The slim environment starts from nothing each time its lock changes, so that it holds no more.
.venv/stamp: requirements-cpu.lock pyproject.toml
	@$(require-python)
	@echo "setting up .venv (no torch); once"
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python $(PIP_INSTALL) -r requirements-cpu.lock
	@.venv/bin/python $(PIP_INSTALL) --no-deps -e .
	@touch $@

.venv-dev/stamp: requirements-dev.lock pyproject.toml
	@$(require-python)
	@echo "setting up .venv-dev (torch and tools, a large download); once"
	@$(PYTHON) -m venv .venv-dev
	@.venv-dev/bin/python $(PIP_INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) \
	  "$$(grep '^torch==' requirements-dev.lock)"
	@.venv-dev/bin/python $(PIP_INSTALL) -r requirements-dev.lock
	@.venv-dev/bin/python $(PIP_INSTALL) --no-deps -e .
	@touch $@

define require-python
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, $(PYTHON) is {sys.version.split()[0]}: make PYTHON=python3.11")'
endef

# pip's report on standard input, the lock on standard output. What torch brings for CUDA differs
# from index to index and torch pins it itself, so it stays out; so do local version labels.
define WRITE_LOCK
import json, re, sys
profile = sys.argv[1]
report = json.load(sys.stdin)
print(f"# The {profile} profile of pyproject.toml, resolved by: make lock")
found = {}
for item in report["install"]:
    name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
    found[name] = item["metadata"]["version"].split("+")[0]
del found["ntm-serve"]
if "torch" in found:
    print("# The CUDA packages of a GPU machine are not listed: torch pins its own.")
for name in sorted(found):
    if not name.startswith(("cuda-", "nvidia-")) and name != "triton":
        print(f"{name}=={found[name]}")
endef
export WRITE_LOCK
