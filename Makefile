# Every target sets up .venv from requirements.lock first, unless it is up to date.
PYTHON ?= $(shell command -v python3.11 >/dev/null 2>&1 && python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
READY := .venv/.ready
ARGS ?=
# Prints 1 where moonshine-voice, an optional extra, has no wheel: they need glibc 2.34 or macOS 15.
TOO_OLD := import platform as p; v = lambda text: [int(n) for n in text.split(".")[:2] if n]; \
	print(int(v(p.libc_ver()[1]) < [2, 34] if p.system() == "Linux" else p.system() == "Darwin" and v(p.mac_ver()[0]) < [15]))

.PHONY: run test test-all check serve repro bench lock help

run: $(READY) ## the whole pipeline: data to a packaged, audited model (ARGS="--set train.epochs=3")
	@lsgmer run $(ARGS)

test: $(READY) ## every test but the slow ones, in two processes
	@pytest -n 2 -m "not slow" $(ARGS)

test-all: $(READY) ## every test
	@pytest -n 2 $(ARGS)

check: $(READY) ## ruff, mypy, import layers
	@ruff format --check .
	@ruff check .
	@mypy
	@lint-imports

serve: $(READY) ## serve the champion on localhost:3000
	@lsgmer serve $(ARGS)

repro: $(READY) ## the same pipeline through DVC alone, without Prefect
	@dvc repro $(ARGS)

bench: $(READY) ## paired benchmarks into docs/performance.md (ARGS="text help" for some of them)
	@python -m bench $(ARGS)

lock: $(READY) ## rebuild requirements.lock from pyproject.toml
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--group dev --extra moonshine --extra s3 --extra cluster pyproject.toml -o requirements.lock

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): requirements.lock pyproject.toml
	@echo "setting up .venv from requirements.lock"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@command -v uv >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@awk -v old="$$($(BIN)/python -c '$(TOO_OLD)')" '/^[^ ]/ {skip = old && /^moonshine-voice==/} !skip' \
		requirements.lock > .venv/requirements.txt
	@uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes .venv/requirements.txt
	@uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
