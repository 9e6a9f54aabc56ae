# make agent: everything set up, and the main job done. make test: everything proven. make check: the line held.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TASK ?= What time is it in Tokyo, and what is 2 to the power of 100?
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: agent test check setup weights format lock bench clean

agent: setup
	@$(BIN)/agentkit run "$(TASK)"

test: setup weights
	$(BIN)/pytest

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
	$(PYTHON) -m uv pip compile pyproject.toml --extra local --extra servers --extra code --extra otel --extra qwen-agent --group dev \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock

bench: setup
	$(BIN)/python -m bench.run

clean:
	rm -rf $(VENV) dist build
