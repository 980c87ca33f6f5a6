"""Without the openssl command, tests that use it as an independent means are reported as skipped."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest


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
            pytest.skip("not run: the openssl command is not installed")
        raise
