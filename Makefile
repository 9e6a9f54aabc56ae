# make agent: everything set up, and the main job done. make test: everything proven. make check: the line held.
# make test-sglang: proven on the real SGLang, too.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# For test-sglang: an environment with SGLang 0.5.23, made for the CPU where none is named, and the scripted model's folder.
SGLANG_PYTHON ?= $(abspath $(VENV)-sglang)
SGLANG_MODEL ?=
TASK ?= What time is it in Tokyo, and what is 2 to the power of 100?
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# make chaos: many runs while everything goes wrong.
.PHONY: agent test test-sglang chaos security check setup weights format lock bench clean

agent: setup
	@$(BIN)/agentkit run "$(TASK)"

# Files of tests side by side. Their folders have short names: a path of a socket is no longer than 107 bytes.
WORKERS ?= 2
test: setup weights
	@folder=$$(mktemp -d /tmp/agentkit-XXXX) && $(BIN)/pytest -n $(WORKERS) --dist loadfile --basetemp $$folder/t && rm -rf $$folder

test-sglang: setup
	@test -d "$(SGLANG_MODEL)" || { echo "make: no folder SGLANG_MODEL=$(SGLANG_MODEL): say where the scripted model is." >&2; exit 2; }
	@test -e "$(SGLANG_PYTHON)" || $(MAKE) $(VENV)-sglang/.installed
	AGENTKIT_TEST_SGLANG_PYTHON="$(SGLANG_PYTHON)" AGENTKIT_TEST_SGLANG_MODEL="$(SGLANG_MODEL)" $(BIN)/pytest -m sglang tests/sglang

# SGLang's wheel wants CUDA builds of 11 GB: it goes in without what it requires, for the CPU, in 3.4 GB.
$(VENV)-sglang/.installed: tests/sglang/requirements.txt
	@echo "Installing SGLang for the CPU into $(VENV)-sglang ..." >&2
	@$(PYTHON) -m venv $(VENV)-sglang
	@$(VENV)-sglang/bin/python -m pip install --quiet --disable-pip-version-check -r tests/sglang/requirements.txt
	@$(VENV)-sglang/bin/python -m pip install --quiet --disable-pip-version-check --no-deps sglang==0.5.23
	@touch $@

# Ten seeds of the storm, and docs/faults.md written anew. SEED=7 SEEDS=1 repeats one.
SEEDS ?= 10
SEED ?= 1
chaos: setup
	AGENTKIT_TEST_SEED=$(SEED) AGENTKIT_TEST_SEEDS=$(SEEDS) AGENTKIT_TEST_WRITE_FAULTS=1 $(BIN)/pytest -q -s tests/chaos

# docs/security.md written anew from what the hostile programs and pages have come to; a level that is not here keeps what stands.
security: setup
	AGENTKIT_TEST_WRITE_SECURITY=1 $(BIN)/pytest -q tests/sandbox/test_hostile_programs.py

check: setup
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo
	rm -rf dist && $(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	$(BIN)/check-wheel-contents dist/*.whl

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found. Install Python 3.11 or newer, or say make PYTHON=..." >&2; exit 3; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11. Say make PYTHON=python3.12, for example." >&2; exit 3; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $$(test ! -f $(VENV)/pyvenv.cfg || echo --clear) $(VENV) # none yet, or half of one
	@echo "Installing what agentkit needs into $(VENV) ..." >&2
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

weights: setup
	@$(BIN)/agentkit models pull

format: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lock:
	$(PYTHON) -m uv pip compile pyproject.toml --extra gpu --extra local --extra servers --extra code --extra monty --extra pdf --extra otel --extra qwen-agent --group dev \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock

bench: setup
	$(BIN)/python -m bench.run

clean:
	rm -rf $(VENV) $(VENV)-sglang dist build
