# make run | test | bench | lint | types | sdks | serve | package | clean
# PYTHON=python3.13 chooses the interpreter that .venv is made with.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 3000

python := $(VENV)/bin/python
# Made when an installation is complete: a changed requirements file or a broken download installs again.
runtime := $(VENV)/.runtime-installed
tools := $(VENV)/.tools-installed
pip := $(python) -m pip --disable-pip-version-check

.DELETE_ON_ERROR:
.PHONY: run test bench lint types sdks serve package clean

# The sandbox, the function and one whole payment loop. ONCE=1 ends after the loop.
run: $(tools)
	$(python) -m sandbox.demo $(if $(ONCE),--once)

# Ends with `not run: ...` for each thing beyond Python that some test would use and this machine lacks.
# TESTS="tests/http tests/orders" runs these alone.
test: $(tools)
	$(python) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

# How fast, how soon, how large, as ratios to raw work in the same run: about ten minutes, for a machine that does nothing
# else and has two cores. QUICK=1 looks only whether it runs.
bench: $(tools)
	$(python) -m bench.speed $(if $(QUICK),--quick) --json build/bench.json

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

# What is deployed: build/pay-common/ for the CLI, build/pay-common.zip for the console. ORDERS=1 adds what the order
# database needs. Without make: python -m tests.deploy.package [--orders].
package: | $(python)
	$(python) -m tests.deploy.package$(if $(ORDERS), --orders)

clean:
	rm -rf $(VENV) build tests/sandbox/sdks/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
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
