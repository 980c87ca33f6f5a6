"""The fixtures, used by a test suite of somebody else."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support import ROOT

SUITE = """
import urllib.request

import pytest

seen = []


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_the_same_sandbox_empty(wechat_pay, turn):
    body = {"out_trade_no": "ORDER_1", "amount": {"total": 1}, "notify_url": "", "description": "x"}
    assert wechat_pay.ledger.orders == {}
    wechat_pay.ledger.place("native", body)
    seen.append(wechat_pay.url)
    with urllib.request.urlopen(wechat_pay.url + "/sandbox/clock") as answer:
        assert b'"running": false' in answer.read()
    assert len(set(seen)) == 1
"""


def test_another_suite_uses_the_fixtures(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["sandbox.plugin"]\n')
    (tmp_path / "test_shop.py").write_text(SUITE)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passed" in run.stdout
