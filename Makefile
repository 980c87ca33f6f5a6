# make run | test | lint | types | sdks | serve | package | clean
# PYTHON=python3.13 chooses the interpreter that .venv is made with.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 3000

python := $(VENV)/bin/python
rooms := app.py config controllers routes services utils
# Made when an installation is complete: a changed requirements file or a broken download installs again.
runtime := $(VENV)/.runtime-installed
tools := $(VENV)/.tools-installed
pip := $(python) -m pip --disable-pip-version-check

.DELETE_ON_ERROR:
.PHONY: run test lint types sdks serve package clean

# The sandbox, the function and one whole payment loop. ONCE=1 ends after the loop.
run: $(tools)
	$(python) -m sandbox.demo $(if $(ONCE),--once)

# Ends with `not run: ...` for each thing beyond Python that some test would use and this machine lacks.
test: $(tools)
	$(python) -m pytest -n 2 --dist loadfile

lint: $(tools)
	$(python) -m ruff check .

types: $(tools)
	$(python) -m mypy

# SDKs of others, which tests let loose on the sandbox. Needs Node.js.
sdks:
	npm ci --prefix tests/sandbox/sdks --no-audit --no-fund

# The function alone, with the settings of the environment, for this machine only.
serve: $(runtime)
	$(python) -u -m gunicorn -c gunicorn.conf.py -b 127.0.0.1:$(PORT) app:app

# vendor/ for the platform; ORDERS=1 adds what the order database needs. pip would judge the markers in the
# requirements by the Python that runs it; they are the whole resolved set for 3.10, so all lines are taken,
# without markers and without looking further.
package: $(runtime)
	rm -rf vendor
	cat requirements.txt $(if $(ORDERS),requirements-orders.txt) | grep -v '^-r' | sed 's/ *;.*//' | sort -u \
	    > $(VENV)/requirements-platform.txt
	$(pip) install --quiet --no-deps --no-compile --target vendor --only-binary=:all: \
	    --platform manylinux2014_x86_64 --implementation cp --python-version 3.10 \
	    -r $(VENV)/requirements-platform.txt
	@# The platform never writes byte code. Checked by hash or not at all: packing may change files' times.
	@if compiler=$$($(python) tests/deploy/interpreters.py 3.10); then \
	    "$$compiler" -m compileall -q --invalidation-mode unchecked-hash vendor && \
	    "$$compiler" -m compileall -q --invalidation-mode checked-hash $(rooms) && \
	    echo "vendor/ is complete, with byte code for CPython 3.10"; \
	else \
	    echo "vendor/ is complete, but without byte code for want of CPython 3.10: slow cold starts." >&2; \
	fi

clean:
	rm -rf $(VENV) vendor tests/sandbox/sdks/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(python):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "Python 3.10 or newer is needed: make PYTHON=python3.13 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(runtime): requirements.txt | $(python)
	$(pip) install --quiet -r requirements.txt
	touch $@

$(tools): requirements-dev.txt $(runtime)
	$(pip) install --quiet -r requirements-dev.txt
	touch $@
