"""The published pages of the original function, unchanged, against this function and the sandbox.

    python -m tests.examples.original PATH

PATH is a checkout of the original: its `examples/miniprogram`, `examples/miniprogram-cloudrun` and `examples/react` are
run, with nothing set but the constants that their README has one set. They are no part of this repository; without
PATH the program says so and ends with 77. One line a flow:

    kept     works as with the original function
    changed  behaves otherwise on purpose, as "Differences from the original" in the README says
    page     cannot work with the original function either: the page reads the answer one level too high

1 means that a flow did not do what its line promises. The web page runs without React: by its own `request`, with the
bodies that its App.jsx sends; its sign-in belongs to another function of the original's collection.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import Sandbox
from sandbox.core import OPENID
from sandbox.function import Function, free_port
from tests.examples.phone import ENV_ID, FUNCTION_NAME, MISSING_NODE, Phone, configured

NOT_RUN = 77
ANYBODY = "any caller refunds and transfers: only an operator does; operatorIds=* restores it"
REFUSALS = "WeChat Pay's refusals come as HTTP 200: they keep WeChat Pay's status"
HERE = Path(__file__).parent


class Report:
    """One line a flow, as it is run."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.failed = 0
        self._write = write

    def flow(self, kind: str, name: str, run: Callable[[], object], why: str = "") -> None:
        """`run` raises where the flow does not do what it should; what it returns is told."""
        try:
            told = str(run() or "")
        except (AssertionError, RuntimeError, LookupError, ValueError) as error:
            self.failed += 1
            first = (str(error) or type(error).__name__).splitlines()[0]
            self._write(f"FAILED   {name}: {first}")
        else:
            self._write(f"{kind:<8} {name}: {told}{f' ({why})' if why else ''}")


@dataclass
class Pages:
    """A mini program of the original's: `nested` says that it reads the answer where both functions put it."""

    folder: Path
    box: Sandbox
    url: str
    nested: bool

    @contextmanager
    def open(self) -> Iterator[Phone]:
        self.box.reset()
        self.box.function = self.url
        with Phone.on(self.box, self.url, language="zh_CN") as phone:
            phone.launch(self.folder)
            yield phone

    def _order(self, phone: Phone) -> Any:
        phone.tap("下单并支付")
        [order] = self.box.ledger.orders.values()
        return order

    def pay(self) -> str:
        with self.open() as phone:
            order = self._order(phone)
            _is(order.state, "SUCCESS")
            _is(order.body["payer"], {"openid": OPENID})
            _holds(phone.data["payResult"], "支付成功")
            return "ordered, paid, told"

    def cancel(self) -> str:
        with self.open() as phone:
            phone.set(will=[{"does": "cancel"}])
            _is(self._order(phone).state, "NOTPAY")
            _holds(phone.data["payResult"], "用户取消支付")
            return "told as cancelled"

    def fail(self) -> str:
        with self.open() as phone:
            phone.set(will=[{"does": "fail"}])
            _is(self._order(phone).state, "NOTPAY")
            _holds(phone.data["payResult"], "❌ 错误")
            return "told as failed"

    def query(self) -> str:
        with self.open() as phone:
            self._order(phone)
            phone.tap("查询订单")
            _holds(phone.data["payResult"], '"trade_state": "SUCCESS"')
            if self.nested:
                _holds(_titles(phone), "✅ 支付成功")
            return "the answer is shown" + (", and the state" if self.nested else "")

    def state_after_query(self) -> str:
        with self.open() as phone:
            self._order(phone)
            phone.tap("查询订单")
            _is(phone.data.get("tradeState"), None)
            return "the state stays unknown"

    def close(self) -> str:
        with self.open() as phone:
            phone.set(will=[{"does": "cancel"}])
            order = self._order(phone)
            phone.tap("关闭订单")
            if self.nested:
                _is(order.state, "CLOSED")
                _holds(_titles(phone), "订单已关闭")
                return "closed, told"
            _is(order.state, "NOTPAY")
            _holds(_titles(phone), "无法关闭订单")
            return "the page never asks for it"

    def close_paid(self) -> str:
        with self.open() as phone:
            self._order(phone)
            phone.set(modals=[False])
            phone.tap("关闭订单")
            _holds(_titles(phone), "订单已支付")
            return "not closed, a refund is offered"

    def refund(self) -> str:
        with self.open() as phone:
            self._order(phone)
            phone.set(modals=[True, False])  # the refund, but no query yet
            phone.tap("申请退款")
            if not self.nested:
                _is(self.box.ledger.refunds, {})
                _holds(_titles(phone), "无法退款")
                return "the page never asks for it"
            [number] = self.box.ledger.refunds
            _holds(_titles(phone), "退款处理中")
            self.box.settle_refund(number)
            phone.tap("查询退款")
            _holds(_titles(phone), "退款成功")
            return "asked for, arrived, queried"

    def refund_by_handler(self) -> str:
        """What the button would do, had the query set the state: the call itself is the published one."""
        with self.open() as phone:
            self._order(phone)
            phone.set(modals=[True])
            phone.do("act", handler="handleRefund", data={"tradeState": "SUCCESS", "totalFee": 1, "refundFee": 1})
            [number] = self.box.ledger.refunds
            _holds(phone.data["payResult"], number)
            _holds(phone.data["payResult"], '"code": 0')
            return "its handler's call refunds"

    def transfer(self) -> str:
        with self.open() as phone:
            phone.tap("商家转账")
            phone.tap("发起转账")
            [transfer] = self.box.ledger.transfers.values()
            _is(transfer.body["openid"], OPENID)
            if self.nested:
                _is([sheet["kind"] for sheet in phone.sheets], ["transfer"])
            else:
                _holds(_titles(phone), "转账受理成功")
            self.box.finish_transfer(transfer.number)
            phone.tap("查询转账单")
            _holds(phone.data["transferResult"], '"state": "SUCCESS"')
            return f"accepted, {'confirmed on its page' if self.nested else 'told'}, queried"

    def refused_refund(self) -> str:
        with self.open() as phone:
            self._order(phone)
            if self.nested:
                phone.tap("申请退款")
            else:
                given = {"tradeState": "SUCCESS", "totalFee": 1, "refundFee": 1}
                phone.do("act", handler="handleRefund", data=given)
            _is(self.box.ledger.refunds, {})
            _holds([modal["content"] for modal in phone.said("modal")], "HTTP 403")
            return "refused: HTTP 403"

    def refused_transfer(self) -> str:
        with self.open() as phone:
            phone.tap("商家转账")
            phone.tap("发起转账")
            _is(self.box.ledger.transfers, {})
            _holds(phone.data["transferResult"], "HTTP 403")
            return "refused: HTTP 403"

    def missing_transfer(self) -> str:
        with self.open() as phone:
            self.box.fault("reset", processed=False, path="transfer-bills")
            phone.tap("商家转账")
            phone.tap("发起转账")
            self.box.clear_faults()
            phone.tap("查询转账单")
            _holds(phone.data["transferResult"], "HTTP 404")
            return "told as HTTP 404, with WeChat Pay's answer"


class Web:
    """The web page's requests, as the public route passes them on: without its prefix, and without any identity."""

    def __init__(self, source: Path, box: Sandbox, url: str) -> None:
        self._source, self._box, self._url = source, box, url

    @contextmanager
    def open(self) -> Iterator[Callable[[str, dict[str, Any]], Any]]:
        self._box.reset()
        self._box.function = self._url
        with subprocess.Popen(
            ["node", str(HERE / "wx" / "web.mjs"), str(self._source), self._url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        ) as process:

            def request(action: str, body: dict[str, Any]) -> Any:
                assert process.stdin
                assert process.stdout
                process.stdin.write(json.dumps({"path": f"/wx-pay/{action}", "body": body}) + "\n")
                process.stdin.flush()
                return json.loads(process.stdout.readline() or '{"thrown": "api.js could not be loaded"}')

            yield request

    def order(self, scene: str) -> str:
        more: dict[str, Any] = {}
        if scene == "wxpay_order":
            more = {"payer": {"openid": OPENID}, "useServiceAccount": True}
        elif scene == "wxpay_order_h5":
            more = {"scene_info": {"payer_client_ip": "1.2.3.4", "h5_info": {"type": "Wap"}}}
        with self.open() as request:
            answer = request(scene, {**_goods(), **more})
            _is(answer.get("code"), 0)
            [order] = self._box.ledger.orders.values()
            found = answer["data"]["data"]
            shown = (
                {"code_url": found["code_url"]}
                if "code_url" in found
                else {"h5_url": found["h5_url"]}
                if "h5_url" in found
                else {"jsapi": {name: found[name] for name in (*_SIGNED, "appId")}}
            )
            _is(self._box.phone.open(OPENID, **shown)["number"], order.number)
            return f"{next(iter(shown))} opens on the phone"

    def life(self) -> str:
        with self.open() as request:
            request("wxpay_order_native", _goods())
            [number] = self._box.ledger.orders
            by_number = {"out_trade_no": "NUMBER"}
            _is(request(_QUERY, by_number)["data"]["data"]["trade_state"], "NOTPAY")
            self._box.pay(number, openid=OPENID)
            _is(request(_QUERY, by_number)["data"]["data"]["trade_state"], "SUCCESS")
            refund = {**by_number, "out_refund_no": "REFUND", "reason": "用户申请退款", "amount": _cents(refund=1)}
            _is(request("wxpay_refund", refund)["data"]["data"]["status"], "PROCESSING")
            _is(request("wxpay_refund_query", {"out_refund_no": "REFUND"})["data"]["data"]["status"], "PROCESSING")
            return "paid, refunded, each queried"

    def close(self) -> str:
        with self.open() as request:
            request("wxpay_order_native", _goods())
            _is(request("wxpay_close_order", {"out_trade_no": "NUMBER"})["code"], 0)
            [order] = self._box.ledger.orders.values()
            _is(order.state, "CLOSED")
            return "closed"

    def refused(self) -> str:
        with self.open() as request:
            request("wxpay_order_native", _goods())
            [number] = self._box.ledger.orders
            self._box.pay(number, openid=OPENID)
            refund = {"out_trade_no": "NUMBER", "out_refund_no": "REFUND", "amount": _cents(refund=1)}
            _is(request("wxpay_refund", refund)["code"], -1)
            _is(self._box.ledger.refunds, {})
            return "refused, and told"


_QUERY = "wxpay_query_order_by_out_trade_no"
_SIGNED = ("timeStamp", "nonceStr", "package", "signType", "paySign")


def _cents(**more: int) -> dict[str, Any]:
    return {"total": 1, "currency": "CNY", **more}


def _goods() -> dict[str, Any]:
    return {"description": "测试商品", "out_trade_no": "NUMBER", "amount": _cents()}


def _titles(phone: Phone) -> list[str]:
    return [shown["title"] for shown in phone.shown if "title" in shown]


def _is(seen: object, expected: object) -> None:
    assert seen == expected, f"{seen!r} instead of {expected!r}"


def _holds(seen: str | list[str], part: str) -> None:
    texts = [seen] if isinstance(seen, str) else seen
    assert any(part in text for text in texts), f"{part!r} is not in {seen!r}"


def mini_program(report: Report, name: str, open_to_all: Pages, as_shipped: Pages) -> None:
    """All flows of one page; the second function has the rights that this project ships."""
    pages = open_to_all
    broken = "kept" if pages.nested else "page"
    report.flow("kept", f"{name}: order, pay, result", pages.pay)
    report.flow("kept", f"{name}: payment cancelled", pages.cancel)
    report.flow("kept", f"{name}: payment failed", pages.fail)
    report.flow("kept", f"{name}: query", pages.query)
    report.flow(broken, f"{name}: close", pages.close)
    if pages.nested:
        report.flow("kept", f"{name}: close what is paid", pages.close_paid)
    else:
        report.flow("page", f"{name}: state after a query", pages.state_after_query)
    report.flow(broken, f"{name}: refund, its query, with operatorIds=*", pages.refund)
    if not pages.nested:
        report.flow("kept", f"{name}: handleRefund, with operatorIds=*", pages.refund_by_handler)
    report.flow("kept", f"{name}: transfer, its query, with operatorIds=*", pages.transfer)
    report.flow("changed", f"{name}: refund by anybody", as_shipped.refused_refund, ANYBODY)
    report.flow("changed", f"{name}: transfer by anybody", as_shipped.refused_transfer, ANYBODY)
    report.flow("changed", f"{name}: query of a transfer that is not there", pages.missing_transfer, REFUSALS)


def web_page(report: Report, open_to_all: Web, as_shipped: Web) -> None:
    for scene in ("wxpay_order", "wxpay_order_native", "wxpay_order_h5"):
        report.flow("kept", f"react: {scene}", lambda scene=scene: open_to_all.order(scene))
    report.flow("kept", "react: pay, query, refund, its query, with operatorIds=*", open_to_all.life)
    report.flow("kept", "react: close", open_to_all.close)
    report.flow("changed", "react: refund by anybody", as_shipped.refused, ANYBODY)


def run(path: Path, write: Callable[[str], None]) -> int:
    """All flows of the checkout at `path`; the program's exit code."""
    examples = path / "examples"
    constants = {"ENV_ID": ENV_ID}
    report = Report(write)
    with tempfile.TemporaryDirectory(prefix="original-") as name, Sandbox() as box:
        work = Path(name)
        # The web page calls a public route without any identity, which only the function's runtime admits.
        runtime = {"TENCENTCLOUD_RUNENV": "SCF"}
        everybody = box.env(operatorIds="*") | runtime
        with _started(everybody) as loose, _started(box.env() | runtime) as shipped:
            for program, constant in (("miniprogram", "FUNCTION_NAME"), ("miniprogram-cloudrun", "SERVICE_NAME")):
                given = constants | {constant: FUNCTION_NAME}
                folder = configured(examples / program, work / program, **given)
                nested = program == "miniprogram-cloudrun"
                mini_program(
                    report, program, Pages(folder, box, loose.url, nested), Pages(folder, box, shipped.url, nested)
                )
            source = examples / "react" / "src"
            web_page(report, Web(source, box, loose.url), Web(source, box, shipped.url))
    return 1 if report.failed else 0


@contextmanager
def _started(env: dict[str, str]) -> Iterator[Function]:
    with Function(f"127.0.0.1:{free_port(0)}", env) as function:
        function.await_start()
        yield function


def main(arguments: list[str]) -> int:
    if not arguments:
        print("not run: give the path of a checkout of the original, whose examples are no part of this repository")
        return NOT_RUN
    path = Path(arguments[0])
    if not (path / "examples" / "miniprogram" / "app.js").is_file():
        print(f"not run: {path} holds no examples/miniprogram/app.js")
        return NOT_RUN
    if MISSING_NODE:
        print(MISSING_NODE)
        return NOT_RUN
    return run(path, print)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
