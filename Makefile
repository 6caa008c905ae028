# Each target does its own set-up, quietly, in .venv. Nothing outside the checkout is touched, except
# that `make test` and `make soak` install Debian packages they need when they run as root on Debian
# (tests/setup.sh).
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
# Empty on a machine with GPUs: then pip chooses the torch build.
CONSTRAINTS ?= constraints.txt

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

# $(call install,EXTRAS,STAMP): progress on one line, the log shown only if it fails
define install
	@test -n "$(PYTHON)" || { echo "make: no Python >= 3.11 found; set PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing traindeck[$(1)] into $(VENV) (log: $(VENV)/install.log)"
	@sh tests/install.sh $(BIN)/python "$(1)" "$(CONSTRAINTS)" $(VENV)/install.log
	@touch $(2)
endef

$(VENV)/.train: pyproject.toml constraints.txt
	$(call install,train,$@)

$(VENV)/.dev: pyproject.toml constraints.txt
	$(call install,train$(comma)dev,$@)

$(VENV)/.soak: $(VENV)/.dev
	$(call install,train$(comma)dev$(comma)soak,$@)

$(VENV)/.bench: $(VENV)/.dev
	$(call install,train$(comma)dev$(comma)bench,$@)

comma := ,

demo: $(VENV)/.train ## build a small model, fine-tune it twice, look at the result
	@$(BIN)/traindeck demo

# Packages of Debian come while those of Python do; what pytest makes of the tests' modules, once for
# all of its workers, is made beside mypy, which takes one processor.
test: ## lint, types, layers and every test (about a quarter of an hour on 2 cores)
	@sh tests/setup.sh & debian=$$!; \
	$(MAKE) --no-print-directory $(VENV)/.dev && { \
		$(BIN)/pytest --collect-only -qq >/dev/null 2>&1 & modules=$$!; \
		$(MAKE) --no-print-directory lint; code=$$?; wait $$modules; (exit $$code); \
	}; code=$$?; \
	wait $$debian || { echo "make: tests/setup.sh failed, as it says above" >&2; exit 1; }; exit $$code
	@$(BIN)/pytest -n 6 --dist loadfile --no-loadscope-reorder -q $(PYTEST)  # much of it waits

lint: $(VENV)/.dev ## ruff, strict mypy, import-linter
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check . && echo "ruff: clean"
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 3

bench: $(VENV)/.bench ## print the benchmark tables: ratios beside floors and peers, one run
	@for b in tests/benchmarks/bench_*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

soak: $(VENV)/.soak ## the long forms of the fault and fuzz tests, places on bad days (SOAK=n for the count)
	@sh tests/setup.sh soak
	@SOAK=$${SOAK:-2000} $(BIN)/pytest -q -m "fault or slow" tests/faults tests/hosts tests/payload tests/logs tests/metrics \
		tests/runs tests/store tests/slurm/test_accounting.py tests/slurm/test_warned.py
	@SOAK=$${SOAK:-2000} $(BIN)/pytest -n 2 -q -m fault tests/conformance

clean: ## remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

.PHONY: help demo test lint bench soak clean
