"""What callers, buyers, WeChat Pay and forgers do: one arrival at a time, each with what comes of it."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from bench.load.client import Answer, Client, Gone
from bench.load.world import World

BUYER = {"X-Wx-Source": "wx_client", "X-Wx-Openid": "oSoakBuyer000000000000000001"}
JSON = {"Content-Type": "application/json"}
SHED = 503
# How often each comes among a thousand arrivals. An order may be paid and refunded later, by buyer and operator.
MIX = {"jsapi": 300, "native": 150, "query": 430, "wait": 10, "bad input": 50, "forged": 30, "hint": 10, "vanish": 20}
STORM = {"jsapi": 400, "native": 200, "query": 400}
PAID, REFUNDED = 0.95, 0.1  # shares of orders, and of these; reconcile asks about those that stay unpaid
LOST = {0: 0.97, 1: 0.02, 100: 0.01}  # tries of a callback that get lost: 100 are all
BAD: tuple[tuple[int, bytes], ...] = (
    (400, b"{"),
    (400, b"[]"),
    (400, b"{}"),
    (400, b'{"out_trade_no": "SOAKBAD", "out_trade_no": "SOAKBAD"}'),
    (400, b'{"description": "Tea", "out_trade_no": "SOAKBAD", "amount": {"total": 1.5}}'),
    (400, b'{"description": "Tea", "out_trade_no": "SOAKBAD", "amount": {"total": NaN}}'),
    (400, b'{"description": "Tea", "out_trade_no": "SOAK/../BAD", "amount": {"total": 1}}'),
    (400, b"\xff\xfe"),
    (400, b"[" * 5000),
    (413, b'{"description": "' + b"x" * 1_600_000 + b'"}'),
)


@dataclass(frozen=True)
class Outcome:
    """One request and its answer: `status` 0 for none. `as_meant` says whether it is the one that was to come."""

    at: float  # time.monotonic() when it was sent
    phase: str
    what: str
    number: str
    status: int
    seconds: float
    as_meant: bool
    said: str = ""

    @property
    def shed(self) -> bool:
        return self.status == SHED and "too many requests at a time" in self.said


class Traffic:
    """Sends, and keeps every outcome. `phase` is written on each; `paying` seconds pass until a buyer pays."""

    def __init__(self, world: World, client: Client, control: Client) -> None:
        self.outcomes: list[Outcome] = []
        self.lost: Counter[int] = Counter()  # callbacks by the number of tries that were to get lost
        self.vanished = 0
        self.phase = ""
        self.paying = 2.0
        self.hints = True  # plaintext alone among the callbacks, which the function asks WeChat Pay about
        self.under_way: set[asyncio.Task[None]] = set()
        self.later: set[asyncio.Task[None]] = set()
        self._client, self._control = client, control
        self._known: deque[str] = deque(maxlen=500)
        self._operator = BUYER | {"X-Operator-Key": world.env["operatorKey"]}
        self._key_id = world.env["wxPayPublicKeyId"]
        self._merchant = {"mchid": world.env["merchantId"], "appid": world.env["appId"]}
        self._kinds: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "jsapi": lambda: self._order("wxpay_order"),
            "native": lambda: self._order("wxpay_order_native"),
            "query": self._query,
            "wait": self._wait,
            "bad input": self._bad,
            "forged": self._forged,
            "hint": self._hint,
            "vanish": self._vanish,
        }

    # How they arrive

    def arrive(self, mix: dict[str, int]) -> asyncio.Task[None]:
        """One arrival by the odds of `mix`; its task ends with its answer."""
        (kind,) = random.choices(tuple(mix), tuple(mix.values()))
        return self._begin(self._kinds[kind](), self.under_way)

    async def at_rate(self, rate: Callable[[], float], seconds: float, mix: dict[str, int]) -> list[float]:
        """Open loop: `rate()` arrivals a second whatever is answered; returns how late each was sent, in seconds."""
        began, due = time.monotonic(), 0.0
        lags: list[float] = []
        while due < seconds:
            if (ahead := began + due - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            lags.append(max(0.0, time.monotonic() - began - due))
            due += 1 / rate()
            self.arrive(mix)
            if not len(lags) % 20:
                await asyncio.sleep(0)
        return lags

    async def closed_loop(self, clients: int, seconds: float, mix: dict[str, int]) -> float:
        """So many clients, each with one request at a time; returns the arrivals a second that were not refused.

        Those of the second half count, in which payments and refunds of the first come on top.
        """
        begun = time.monotonic()
        half, until, done = begun + seconds / 2, begun + seconds, 0

        async def one() -> None:
            nonlocal done
            while time.monotonic() < until:
                await self.arrive(mix)
                done += time.monotonic() > half

        await asyncio.gather(*(one() for _ in range(clients)))
        refused = sum(outcome.shed for outcome in self.outcomes if outcome.at > half)
        return (done - refused) / (time.monotonic() - half)

    async def settle(self) -> None:
        """Until nothing is under way, payments and refunds that are to come included."""
        while self.under_way or self.later:
            await asyncio.wait([*self.under_way, *self.later])

    def _begin(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
        return task

    # What they are

    async def _order(self, action: str) -> None:
        number = f"SOAK{secrets.token_hex(10)}"
        total = random.randrange(1, 100_000)
        order = {"description": "A cup of tea", "out_trade_no": number, "amount": {"total": total}}
        answer = await self._act(action, number, order)
        if answer and answer.status == 200:
            self._known.append(number)
            if random.random() < PAID:
                self._begin(self._pay(number, total), self.later)

    async def _query(self) -> None:
        if self._known:
            number = random.choice(self._known)
            await self._act("wxpay_query_order_by_out_trade_no", number, {"out_trade_no": number})

    async def _wait(self) -> None:
        if self._known:
            number = random.choice(self._known)
            await self._act("wxpay_order_wait", number, {"out_trade_no": number, "seconds": 2})

    async def _bad(self) -> None:
        status, body = random.choice(BAD)
        await self._tell("bad input", "", "/wx-pay/wxpay_order", body, BUYER | JSON, {status})

    async def _forged(self) -> None:
        """What claims to be signed by WeChat Pay; its time and key id are right."""
        resource = {"algorithm": "AEAD_AES_256_GCM", "ciphertext": "AAAA" * 80, "nonce": "n" * 12}
        body = json.dumps({"id": secrets.token_hex(18), "event_type": "TRANSACTION.SUCCESS", "resource": resource})
        headers = {
            "Wechatpay-Timestamp": str(int(time.time())),
            "Wechatpay-Nonce": secrets.token_hex(16),
            "Wechatpay-Serial": self._key_id,
            "Wechatpay-Signature": "A" * 342 + "==",
        }
        await self._tell("forged", "", "/wx-pay/unifiedOrderTrigger", body.encode(), JSON | headers, {400})

    async def _hint(self) -> None:
        """Plaintext that claims the payment of an order that does not exist: WeChat Pay is asked, or it is too much."""
        number = f"FORGED{secrets.token_hex(8)}"
        told = {"out_trade_no": number, "transaction_id": "4200000000", "trade_state": "SUCCESS", **self._merchant}
        body = {"ParsedContent": told, "ParsedNotify": {"event_type": "TRANSACTION.SUCCESS"}}
        await self._tell("forged hint", number, "/", json.dumps(body).encode(), JSON, {400, 503})

    async def _vanish(self) -> None:
        self.vanished += 1
        order = {"description": "Tea", "out_trade_no": f"GONE{secrets.token_hex(10)}", "amount": {"total": 100}}
        after = random.choice((0.0, 0.005, 0.05))
        await self._client.vanish("/wx-pay/wxpay_order", json.dumps(order).encode(), BUYER | JSON, after)

    async def reconcile(self, seconds: int = 5) -> dict[str, Any]:
        """What a timer does: ask about what is due; what it answers, or {}."""
        answer = await self._act("wxpay_reconcile", "", {"limit": 5000, "seconds": seconds}, operator=True)
        return dict(answer.json["data"]["data"]) if answer and answer.status == 200 else {}

    async def _pay(self, number: str, total: int) -> None:
        await asyncio.sleep(random.uniform(0.1, self.paying))
        body = {"openid": BUYER["X-Wx-Openid"], **self._manner("unifiedOrderTrigger")}
        told = await self._deliver("callback", number, f"/sandbox/orders/{number}/pay", body)
        if told and random.random() < REFUNDED:
            self._begin(self._refund(number, total), self.later)

    async def _refund(self, number: str, total: int) -> None:
        await asyncio.sleep(random.uniform(0.1, self.paying))
        refund = {"out_trade_no": number, "out_refund_no": f"R{number}", "amount": {"refund": total, "total": total}}
        answer = await self._act("wxpay_refund", f"R{number}", refund, operator=True)
        if answer and answer.status == 200:
            await asyncio.sleep(random.uniform(0.1, self.paying))
            body = {"status": "SUCCESS", **self._manner("refundTrigger")}
            await self._deliver("refund callback", f"R{number}", f"/sandbox/refunds/R{number}/settle", body)

    def _manner(self, path: str) -> dict[str, Any]:
        """Straight from WeChat Pay, or by the Integration Center with its ciphertext, or without any proof."""
        (lose,) = random.choices(tuple(LOST), tuple(LOST.values()))
        self.lost[lose] += 1
        shape = random.choices(("direct", "envelope", "hint"), (50, 45, 5 if self.hints else 0))[0]
        if shape == "direct":
            return {"shape": "direct", "path": f"/wx-pay/{path}", "lose": lose}
        return {"shape": "forwarded", "envelope": "rawData" if shape == "envelope" else None, "lose": lose}

    # How they are told

    async def _act(self, action: str, number: str, body: dict[str, Any], *, operator: bool = False) -> Answer | None:
        """An action as the mini program's platform sends it: by its path, or by the body as the gateway does."""
        path, sent = (f"/wx-pay/{action}", body) if random.random() < 0.9 else ("/", {"_action": action, **body})
        headers = JSON | (self._operator if operator else BUYER)
        return await self._tell(action, number, path, json.dumps(sent).encode(), headers, {200})

    async def _tell(
        self, what: str, number: str, path: str, body: bytes, headers: dict[str, str], meant: set[int]
    ) -> Answer | None:
        at, phase = time.monotonic(), self.phase
        try:
            answer = await self._client.send("POST", path, body, headers)
        except Gone as error:
            self.outcomes.append(Outcome(at, phase, what, number, 0, time.monotonic() - at, False, str(error)))
            return None
        fine = answer.status in meant
        said = "" if fine else answer.body[:300].decode("utf-8", "replace")
        self.outcomes.append(Outcome(at, phase, what, number, answer.status, answer.seconds, fine, said))
        return answer

    async def _deliver(self, what: str, number: str, path: str, body: dict[str, Any]) -> bool:
        """Have the sandbox do it and notify the function; whether that was acknowledged. The first try counts."""
        at, phase = time.monotonic(), self.phase
        done = (await self.at_control("POST", path, body)) or {"deliveries": []}
        for delivery in done["deliveries"]:
            if not delivery["lost"]:
                status, said = delivery["status"] or 0, delivery["error"] or delivery["answer"][:300]
                fine, seconds = delivery["acknowledged"], delivery["latency"]
                self.outcomes.append(Outcome(at, phase, what, number, status, seconds, fine, "" if fine else said))
        return any(delivery["acknowledged"] for delivery in done["deliveries"])

    async def at_control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The sandbox's answer; None where it refuses, as when a buyer pays what a fault kept from being there."""
        content = json.dumps(body).encode() if body is not None else b""
        answer = await self._control.send(method, path, content, JSON, 60.0)
        return answer.json if answer.status == 200 else None


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Again and again, until it is cancelled."""
    while True:
        await asyncio.sleep(seconds)
        await work()
