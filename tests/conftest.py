"""The checks of a whole run, and skips for want of a command.

Without the openssl command, tests that use it as an independent means are reported as not run.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.not_run import PREFIX, NotRun
from tests.openapi.plugin import Traffic

# They take a minute or more, and begin first: none of them is left alone at the end of a run in several processes.
LONG = (
    "orders/test_crashes.py",
    "http/test_rights.py",
    "orders/test_many_instances.py",
    "orders/test_commands.py",
    "orders/test_reconcile_cases.py",
    "contract/test_schemathesis.py",
    "fuzz/test_schemas.py",
    "examples/test_pc_cashier.py",
    "sandbox/page/test_page.py",
    "fuzz/test_fuzz.py",
    "orders/test_properties.py",
    "orders/test_callbacks.py",
    "http/test_faults.py",
    "load/test_soak.py",
    "deploy/test_platform.py",
    "orders/test_outage.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {Path(__file__).parent / name for name in LONG}
    if lost := [str(path) for path in first if not path.exists()]:
        raise pytest.UsageError(f"LONG in tests/conftest.py names what is not there: {', '.join(lost)}")
    items.sort(key=lambda item: item.path not in first)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        not_run = NotRun()
        config.pluginmanager.register(Traffic(config, not_run), "traffic")
        config.pluginmanager.register(not_run, "not-run")


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, Any, Any]:
    return (yield from _openssl_or_skip())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    return (yield from _openssl_or_skip())


def _openssl_or_skip() -> Generator[None, Any, Any]:
    try:
        return (yield)
    except FileNotFoundError as error:
        if error.filename == "openssl":
            pytest.skip(f"{PREFIX}openssl is not installed")
        raise
