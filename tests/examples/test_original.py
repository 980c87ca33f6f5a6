"""The program that runs the original's published pages, shown on a small page of the same manners."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import Sandbox
from tests.examples import original
from tests.examples.phone import FUNCTION_NAME, MISSING_NODE, configured
from tests.support import ROOT, in_process

# A page with the published one's labels and field names, and little else.
APP = """const ENV_ID = 'YOUR_ENV_ID'
const FUNCTION_NAME = 'pay-common'
App({ onLaunch() { wx.cloud.init({ env: ENV_ID }) } })
"""
PAGE = """
Page({
  data: { payResult: '', outTradeNo: 'SMALL_000001' },
  call(action, data) {
    return wx.cloud.callHTTPFunction({
      name: 'miniapp-wxpay-rwmx67sc', method: 'POST', path: `/wx-pay/${action}`, data,
    })
  },
  async pay() {
    const order = { description: 'x', out_trade_no: this.data.outTradeNo, amount: { total: 1 } }
    const answer = await this.call('wxpay_order', order)
    try {
      await wx.requestPayment(answer.data.data.data)
      this.setData({ payResult: '支付成功' })
    } catch (error) {
      this.setData({ payResult: error.errMsg.includes('cancel') ? '用户取消支付' : '❌ 错误' })
    }
  },
})
"""
WXML = '<view><button bindtap="pay">下单并支付</button><text>{{payResult}}</text></view>'


def program(*arguments):
    run = subprocess.run(
        [sys.executable, "-m", "tests.examples.original", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return run.returncode, run.stdout


@pytest.mark.parametrize("arguments", [(), ("no/such/place",)], ids=["no path", "a wrong path"])
def test_without_a_checkout_it_says_that_it_was_not_run(arguments):
    code, output = program(*arguments)
    assert code == original.NOT_RUN
    assert output.startswith("not run: ")
    assert len(output.splitlines()) == 1


@pytest.fixture
def small(tmp_path):
    """A mini program in the original's layout."""
    folder = tmp_path / "miniprogram"
    (folder / "pages").mkdir(parents=True)
    for name, text in (
        ("app.js", APP),
        ("app.json", '{"pages": ["pages/pay"]}'),
        ("pages/pay.js", PAGE),
        ("pages/pay.wxml", WXML),
    ):
        folder.joinpath(name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.skipif(bool(MISSING_NODE), reason=MISSING_NODE)
def test_a_flow_is_kept_where_the_page_works_and_fails_where_it_does_not(small, tmp_path):
    copy = configured(small, tmp_path / "copy", ENV_ID="shop-1a2b3c", FUNCTION_NAME=FUNCTION_NAME)
    with Sandbox() as box, in_process(box.env()) as function:
        lines: list[str] = []
        report = original.Report(lines.append)
        pages = original.Pages(copy, box, function.url, nested=False)
        report.flow("kept", "pay", pages.pay)
        report.flow("kept", "cancel", pages.cancel)
        assert lines == ["kept     pay: ordered, paid, told", "kept     cancel: told as cancelled"]
        assert report.failed == 0

        report.flow("kept", "query", pages.query)  # which this page has no button for
        assert lines[-1].startswith("FAILED   query: 0 things to tap for 查询订单")
        assert report.failed == 1


@pytest.mark.skipif(bool(MISSING_NODE), reason=MISSING_NODE)
def test_another_answer_of_the_function_fails_the_flow(small, tmp_path):
    page = small / "pages" / "pay.js"
    page.write_text(PAGE.replace("answer.data.data.data", "answer.data.data"), encoding="utf-8")
    copy = configured(small, tmp_path / "copy", ENV_ID="shop-1a2b3c", FUNCTION_NAME=FUNCTION_NAME)
    with Sandbox() as box, in_process(box.env()) as function:
        lines: list[str] = []
        report = original.Report(lines.append)
        report.flow("kept", "pay", original.Pages(copy, box, function.url, nested=False).pay)
        assert lines == ["FAILED   pay: 'NOTPAY' instead of 'SUCCESS'"]


def test_only_the_constants_of_a_page_are_set(small, tmp_path):
    copy = configured(small, tmp_path / "copy", ENV_ID="shop-1a2b3c", FUNCTION_NAME=FUNCTION_NAME)
    changed = {file.name for file in copy.rglob("*.*") if file.read_bytes() != _twin(file, copy, small).read_bytes()}
    assert changed == {"app.js"}
    assert len([line for line in APP.splitlines() if line not in (copy / "app.js").read_text()]) == 2


def _twin(file: Path, copy: Path, source: Path) -> Path:
    return source / file.relative_to(copy)
