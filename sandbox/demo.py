"""`make run`: the whole payment loop on this machine, through real HTTP, told step by step.

The sandbox plays WeChat Pay, the mini program's platform and the API gateway; the function runs under gunicorn
with the command of `scf_bootstrap`. Each step is checked, and the first that is not as expected ends the run
with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import threading
import time
import webbrowser
from pathlib import Path
from typing import Any

from sandbox import outbound
from sandbox.core import OPENID, Sandbox
from sandbox.function import ROOT, Function, NotAsExpected, free_port
from sandbox.records import Delivery

PAGE_WAIT = 5.0
PACE = 0.8
"""Seconds before each step while somebody watches on the page."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the loop instead of staying up")
    parser.add_argument("--port", type=int, default=3000, help="the function's port; a free one if it is taken")
    parser.add_argument("--sandbox-port", type=int, default=8900, help="likewise for the sandbox")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    parser.add_argument("--state", type=Path, default=ROOT / ".sandbox", help="folder of the invented credentials")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sandbox = Sandbox(state=options.state, port=free_port(options.sandbox_port), running=True, limits=True)
    # Only now, when the sandbox has its ports, is a free one free.
    address = f"127.0.0.1:{free_port(options.port)}"
    sandbox.function = f"http://{address}"
    env = sandbox.whole_env() | _database(options.state)
    with sandbox, Function(address, env) as function:
        try:
            if function.has_database:
                function.orders("init-db")
            function.await_start()
            _say(f"WeChat Pay sandbox  {sandbox.url}")
            _say(f"function            http://{address}   (gunicorn, started as scf_bootstrap does)")
            _say(f"page                {sandbox.url}/   (everything that follows, live)")
            if not (options.once or options.no_browser):
                _open_page(sandbox)
            _play(sandbox, function)
        except NotAsExpected as fault:
            _say(f"\nFAILED: {fault}\n\nThe function's last log lines:")
            _say("\n".join(list(function.lines)[-12:]))
            return 1
        _say("\nThe whole loop went as expected.")
        if not options.once:
            _stay_up(sandbox, function)
    return 0


def _database(state: Path) -> dict[str, str]:
    """SQLite, new for each run, unless the caller's shell says where orders go."""
    if os.environ.get("orderService") or os.environ.get("orderDatabaseUrl"):  # noqa: SIM112 - so the function spells it
        return {}
    for file in state.glob("orders.sqlite3*"):
        file.unlink()
    return {"orderDatabaseUrl": f"sqlite:///{(state / 'orders.sqlite3').resolve()}"}


def _open_page(sandbox: Sandbox) -> None:
    """In the browser of whoever sits here; a terminal's own browser would take the terminal away."""
    graphical = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if graphical:
        # Some browsers come back only when they are closed.
        threading.Thread(target=webbrowser.open, args=(f"{sandbox.url}/",), daemon=True).start()
        give_up = time.monotonic() + PAGE_WAIT
        while not sandbox.events.listeners and time.monotonic() < give_up:
            time.sleep(0.05)


def _play(sandbox: Sandbox, function: Function) -> None:
    def step(number: int, title: str) -> None:
        if sandbox.events.listeners:
            time.sleep(PACE)
        _say(f"\n{number}. {title}")

    number = f"DEMO{time.strftime('%Y%m%d')}{secrets.token_hex(4)}"
    step(1, "A mini program orders (wx.cloud.callHTTPFunction: the platform adds the openid)")
    order = {"description": "A cup of tea", "out_trade_no": number, "amount": {"total": 20, "currency": "CNY"}}
    paid_with = _answered(sandbox.call_http_function("/wx-pay/wxpay_order", order, openid=OPENID))
    _show(f"POST /wx-pay/wxpay_order -> 200, package {paid_with['package']}, signed for wx.requestPayment")

    step(2, "The user pays 0.20 yuan; WeChat Pay reports it through the Integration Center")
    _delivered(sandbox.pay(number), function, f"payment result: {number} SUCCESS", "PAID")

    step(3, "The mini program asks how it went")
    query = {"out_trade_no": number}
    state = _answered(
        sandbox.call_http_function("/wx-pay/wxpay_query_order_by_out_trade_no", query, openid=OPENID)
    )
    _expect(state["trade_state"] == "SUCCESS", f"trade_state SUCCESS, not {state['trade_state']}")
    _show(f"trade_state {state['trade_state']}, transaction_id {state['transaction_id']}")

    step(4, "The operator refunds 0.05 yuan of it (x-operator-key)")
    refund_number = f"R{number}"
    refund = {
        "out_trade_no": number,
        "out_refund_no": refund_number,
        "reason": "a small discount",
        "amount": {"refund": 5, "total": 20, "currency": "CNY"},
    }
    path, asked_before = "/wx-pay/wxpay_refund", len(sandbox.requests)
    refused = sandbox.call_http_function(path, refund, openid=OPENID)
    _expect(refused.status == 403, f"403 for a refund without the key, not {refused.status}")
    _expect(len(sandbox.requests) == asked_before, "that nothing reached WeChat Pay without the key")
    _show("without the key: 403, nothing sent")
    accepted = _answered(
        sandbox.call_http_function(path, refund, openid=OPENID, headers={"X-Operator-Key": sandbox.operator_key})
    )
    _expect(accepted["status"] == "PROCESSING", f"refund status PROCESSING, not {accepted['status']}")
    _show(f"with the key: accepted, refund_id {accepted['refund_id']}, status PROCESSING")

    step(5, "The refund arrives; WeChat Pay reports that too")
    line = f"refund result: {refund_number} SUCCESS"
    _delivered(sandbox.settle_refund(refund_number), function, line, "REFUNDED")

    step(6, "A web page orders a QR code (API gateway, Bearer token, _action in the body)")
    qr_number = f"QR{number}"
    qr_order = {**order, "_action": "wxpay_order_native", "out_trade_no": qr_number}
    headers = {"Authorization": f"Bearer {sandbox.token('user')}", "Content-Type": "application/json"}
    gateway = "/v1/functions/pay-common?webfn=true"
    reply = outbound.post(sandbox.url, gateway, headers, json.dumps(qr_order).encode(), 15)
    _show(f"POST {gateway} -> 200, code_url {_answered(reply)['code_url']}")

    step(7, "Somebody scans it and pays")
    deliveries = sandbox.pay(qr_number, openid=OPENID)
    _delivered(deliveries, function, f"payment result: {qr_number} SUCCESS", "PAID")
    if function.has_database:
        step(8, "What the order database tells of the first order (flask --app app orders show)")
        told = function.orders("show", number)
        _expect("PARTIALLY_REFUNDED" in told, f"that {number} is stored as PARTIALLY_REFUNDED")
        _show(told.rstrip().replace("\n", "\n   "))
    unverified = [request for request in sandbox.requests if not request.verified]
    _expect(not unverified, f"every request to WeChat Pay signed correctly, but {len(unverified)} were not")
    _show(f"WeChat Pay verified the signature of all {len(sandbox.requests)} requests")


def _delivered(deliveries: list[Delivery], function: Function, line: str, outcome: str) -> None:
    """Both sides must agree: the sandbox's record of the delivery and the function's own handler."""
    last = deliveries[-1]
    _show(f"delivery {last.event_type} -> {last.status} {last.answer.decode(errors='replace').strip()}")
    _expect(last.acknowledged and b"SUCCESS" in last.answer, f"an acknowledged {last.event_type}")
    handled = function.handler_line(line) if function.default_orders else "own order service acknowledged"
    _show(f"function: {handled}  =>  {outcome}")


def _answered(reply: outbound.Reply) -> dict[str, Any]:
    """WeChat Pay's data inside a success answer of the function."""
    body = reply.json
    _expect(
        reply.status == 200 and isinstance(body, dict) and body.get("code") == 0,
        f"HTTP 200 and code 0, not {reply.status} {body or reply.error}",
    )
    data: dict[str, Any] = body["data"]["data"]
    return data


def _stay_up(sandbox: Sandbox, function: Function) -> None:
    number = f"TRY{secrets.token_hex(4)}"
    call = f"curl -s {function.url}/wx-pay"
    headers = f"-H 'Content-Type: application/json' -H 'x-wx-source: wx_client' -H 'x-wx-openid: {OPENID}'"
    order = json.dumps({"description": "Tea", "out_trade_no": number, "amount": {"total": 20}})
    _say(f"\nBoth stay up until Ctrl-C. Play on at {sandbox.url}/ or here: order, pay, query.\n")
    _say(f"{call}/wxpay_order {headers} -d '{order}'\n")
    _say(f"curl -s -X POST {sandbox.url}/sandbox/orders/{number}/pay\n")
    query = json.dumps({"out_trade_no": number})
    _say(f"{call}/wxpay_query_order_by_out_trade_no {headers} -d '{query}'")
    try:
        function.wait()
    except (KeyboardInterrupt, SystemExit):
        _say("\nstopped")


def _expect(condition: bool, expectation: str) -> None:
    if not condition:
        raise NotAsExpected(f"expected {expectation}")


def _show(text: str) -> None:
    _say(f"   {text}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
