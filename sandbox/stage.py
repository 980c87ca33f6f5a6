"""A stage for stories: a shop (the function), WeChat Pay, a user with a phone, and a clock that can be moved.

Everything the shop does goes through the function over HTTP. What happens is told line by line, each with the
business time since the story began.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from sandbox import outbound
from sandbox.clock import rfc3339
from sandbox.core import OPENID, Sandbox
from sandbox.function import NotAsExpected

ORDERS = {"jsapi": "wxpay_order", "native": "wxpay_order_native", "h5": "wxpay_order_h5", "app": "wxpay_order_app"}
NOBODY_LISTENS = "http://127.0.0.1:1"


class Stage:
    """`tell` gets each line of the transcript. Methods raise NotAsExpected when an expectation fails."""

    def __init__(self, sandbox: Sandbox, tell: Callable[[str], None]) -> None:
        self.box = sandbox
        self._tell = tell
        self._began = sandbox.clock.now()
        self._told = len(sandbox.deliveries)

    def number(self, what: str) -> str:
        """A fresh merchant number of letters and digits."""
        return f"{what}{secrets.token_hex(4).upper()}"

    def say(self, who: str, text: str, at: float | None = None) -> None:
        """One line of the transcript, stamped with the time since the beginning."""
        seconds = int((self.box.clock.now() if at is None else at) - self._began)
        days, rest = divmod(seconds, 86400)
        clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
        self._tell(f"  {f'{days}d ' if days else ''}{clock}  {who:<10} {text}")

    def expect(self, condition: object, what: str) -> None:
        if not condition:
            raise NotAsExpected(f"expected {what}")
        self.say("=>", what)

    # The shop: every line of this goes through the function

    def call(self, action: str, body: dict[str, Any], *, operator: bool = False) -> outbound.Reply:
        """One action as a mini program calls it, told with its outcome."""
        headers = {"x-operator-key": self.box.operator_key} if operator else {}
        reply = self.box.call_http_function(f"/wx-pay/{action}", body, openid=OPENID, headers=headers)
        said = reply.json.get("msg") if isinstance(reply.json, dict) else reply.error
        self.say("shop", f"{action} -> {reply.status} {said}")
        return reply

    def done(self, action: str, body: dict[str, Any], *, operator: bool = False) -> dict[str, Any]:
        """WeChat Pay's data in the answer to an action that has to succeed."""
        reply = self.call(action, body, operator=operator)
        if reply.status != 200 or not isinstance(reply.json, dict) or reply.json.get("code") != 0:
            raise NotAsExpected(f"expected {action} to succeed, not {reply.status} {reply.json or reply.error}")
        data: dict[str, Any] = reply.json["data"]["data"] or {}
        return data

    def order(self, number: str, scene: str = "jsapi", total: int = 100) -> dict[str, Any]:
        return self.done(ORDERS[scene], {"description": "茶 Tea", "out_trade_no": number, "amount": {"total": total}})

    def query(self, number: str) -> dict[str, Any]:
        return self.done("wxpay_query_order_by_out_trade_no", {"out_trade_no": number})

    def refund(self, number: str, refund_number: str, cents: int, total: int = 100) -> dict[str, Any]:
        body = {"out_trade_no": number, "out_refund_no": refund_number, "amount": {"refund": cents, "total": total}}
        return self.done("wxpay_refund", body, operator=True)

    def refund_status(self, refund_number: str) -> str:
        return str(self.done("wxpay_refund_query", {"out_refund_no": refund_number})["status"])

    # The user, WeChat Pay and the time

    def opens(self, **shown: Any) -> str:
        """The user's WeChat opens something; returns what it says when it cannot."""
        try:
            sheet = self.box.phone.open(OPENID, **shown)
        except ValueError as refusal:
            self.say("phone", f"refuses: {refusal}")
            return str(refusal)
        self.say("phone", f"shows {sheet['description']}, {sheet['total'] / 100:.2f} yuan")
        return ""

    def pays(self, number: str, **manner: Any) -> None:
        self.say("user", f"pays {number}")
        self.box.pay(number, openid=OPENID, **manner)
        self.tell_deliveries()

    def advance(self, time: str) -> None:
        self.box.advance(time)
        self.tell_deliveries()
        self.say("clock", f"{time} later: {rfc3339(self.box.clock.now())}")

    def tell_deliveries(self) -> None:
        """What WeChat Pay told the function since the last time."""
        deliveries = self.box.deliveries
        for one in deliveries[self._told :]:
            outcome = one.error or f"{one.status} {one.answer.decode(errors='replace').strip()}"
            self.say("WeChat Pay", f"{one.event_type} of {one.number}, try {one.attempt} -> {outcome}", one.time)
        self._told = len(deliveries)

    def acknowledged(self, number: str, event: str = "TRANSACTION.SUCCESS") -> bool:
        """Whether the function has taken this notification."""
        return any(
            one.acknowledged and (one.number, one.event_type) == (number, event) for one in self.box.deliveries
        )
