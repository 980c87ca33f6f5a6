"""The checks of a whole run, and skips for want of a command.

Without the openssl command, tests that use it as an independent means are reported as not run.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.not_run import PREFIX, NotRun
from tests.openapi.plugin import Traffic


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
