"""Callbacks, by both strategies, to the whole application: genuine ones, altered before and after they were signed.

SUCCESS is answered only for what the order service kept, and only on evidence that holds by a second reading:
WeChat Pay's signature, its ciphertext, or its answer when it is asked. What WeChat Pay sent and nobody touched is
acknowledged.
"""

from __future__ import annotations

import functools
import itertools
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from urllib3 import HTTPHeaderDict

from tests.fuzz import house, world
from tests.fuzz.choices import Choices
from tests.fuzz.house import House, Reply
from tests.fuzz.targets.decryption import opened
from tests.fuzz.targets.verification import is_genuine
from tests.services.wechatpay.host import OTHER_PLATFORM_KEY, sealed

TOKENS = (
    b'"resource":{', b'"ciphertext":"', b'"nonce":"', b'"event_type":"', b'"ParsedContent":{', b'"rawData":',
    b'"mchid":"',
    b"TRANSACTION.SUCCESS", b"REFUND.SUCCESS", b'"trade_state":"SUCCESS"', b"\\u0000", b"null", b"{}", b'"amount":{',
)  # fmt: skip
KINDS = ("payment", "refund", "transfer")
_SAMPLES = {"payment": world.payment, "refund": world.refund, "transfer": world.transfer}
_EVENTS = {"payment": "TRANSACTION.SUCCESS", "refund": "REFUND.SUCCESS", "transfer": "MCHTRANSFER.BILL.FINISHED"}
_NUMBERS = {"payment": "out_trade_no", "refund": "out_refund_no", "transfer": "out_bill_no"}
_STATES = {"payment": "trade_state", "refund": "refund_status", "transfer": "state"}
_TRIGGERS = {"payment": "unifiedOrderTrigger", "refund": "refundTrigger", "transfer": "transferTrigger"}
_PATHS = ("/wx-pay/{}", "/", "/release/wechatpay/order", "/wechatpay/refund/", "/wechatpay/transfer", "/{}")
_OUTCOMES = (None, True, {"code": "SUCCESS"}, False, {"code": "FAIL"}, "SUCCESS", 1, RuntimeError("x"), {"code": True})
_SHAPES = ("direct", "rawData", "rawData-string", "ParsedNotify", "hint", "both")
_numbers = itertools.count(1)


@functools.cache
def _houses() -> Mapping[str, House]:
    return {mode: House(signMode=mode) for mode in ("sdk", "gateway")}


@dataclass(frozen=True)
class Sent:
    """A callback as it goes out; `pristine` says that it is as WeChat Pay or the Integration Center made it."""

    path: str
    headers: dict[str, str]
    body: bytes
    pristine: bool


def run(data: bytes) -> None:
    choices = Choices(data)
    mode = choices.pick(("gateway", "sdk"))
    place = _houses()[mode]
    place.orders.outcome = choices.pick(_OUTCOMES) if choices.chance(4) else None
    is_kept = place.orders.outcome in (None, {"code": "SUCCESS"}) or place.orders.outcome is True
    sent = _sent(choices, mode)
    reply = place.post(sent.path, sent.body, sent.headers.items())
    house.require_sound(reply)
    house.require_documented(reply, house.operation_of(sent.path))
    assert all(method == "GET" for method, *_ in reply.asked), "a callback makes WeChat Pay do something"
    if reply.body.get("code") == "SUCCESS":
        assert is_kept, "acknowledged, and not kept"
        _require_evidence(place, sent, mode, reply)
    elif sent.pristine and is_kept:
        raise AssertionError(f"a genuine notification is lost: {reply.status} {reply.log[-1500:]}")
    elif not is_kept and place.orders.kept:
        assert reply.status >= 500, "not kept, and it would not come again"


def _sent(choices: Choices, mode: str) -> Sent:
    kind = choices.pick(KINDS)
    plaintext = _SAMPLES[kind](f"PAID{next(_numbers):08d}")
    told = choices.edited(plaintext) if choices.chance(2) else plaintext  # WeChat Pay itself says so
    key = choices.pick((world.API_V3_KEY, world.API_V3_KEY, world.API_V3_KEY, b"\x00" * 32))
    content = choices.spoiled(world.encoded(told)) if choices.chance(8) else world.encoded(told)
    resource = {"original_type": "transaction", **sealed(content, key=key, associated_data="transaction")}
    notice = {
        "id": "EV-2018022511223320873",
        "create_time": "2026-06-08T10:34:56+08:00",
        "resource_type": "encrypt-resource",
        "event_type": choices.pick((_EVENTS[kind], *_EVENTS.values(), "OTHER.EVENT", "", "transaction.success")),
        "summary": "ok",
        "resource": resource,
    }
    shape = choices.pick(_SHAPES)
    body = notice if shape == "direct" else _forward(choices, shape, notice, told)
    path = choices.pick(_PATHS).format(_TRIGGERS[kind])
    if path == "/" and choices.chance(2):
        body = {"_action": _TRIGGERS[kind], **body}
    altered = choices.edited(body) if choices.chance(2) else body
    genuine = told is plaintext and key == world.API_V3_KEY and content == world.encoded(plaintext)
    genuine = genuine and notice["event_type"] == _EVENTS[kind] and path == f"/wx-pay/{_TRIGGERS[kind]}"
    genuine = genuine and body.get("ParsedContent", told) == told
    raw = world.encoded(altered)
    headers, signed = _headers(choices, raw, shape)
    final = choices.spoiled(raw) if choices.chance(3) else raw
    pristine = genuine and altered == body and final == raw and (shape in _SHAPES[1:4] if mode == "gateway" else False)
    pristine = pristine or (genuine and altered == body and final == raw and shape == "direct" and signed)
    return Sent(path, headers, final, pristine)


def _forward(choices: Choices, shape: str, notice: dict[str, Any], told: Any) -> dict[str, Any]:
    """As the Integration Center forwards it; `hint`: the plaintext alone."""
    bare = {"event_type": notice["event_type"]}
    stated = choices.pick((told, told, choices.edited(told), choices.retyped(told)))
    body: dict[str, Any] = {"ParsedContent": stated, "ParsedNotify": bare, "rawData": bare}
    if shape in ("rawData", "both"):
        body["rawData"] = notice
    if shape == "rawData-string":
        body["rawData"] = world.encoded(notice).decode()
    if shape in ("ParsedNotify", "both"):
        body["ParsedNotify"] = notice if shape == "ParsedNotify" else choices.edited(notice)
    return body


def _headers(choices: Choices, raw: bytes, shape: str) -> tuple[dict[str, str], bool]:
    """Headers, and whether they are WeChat Pay's own over `raw`."""
    if shape != "direct" and not choices.chance(4):
        return {"Content-Type": "application/json", "X-Tcb-Integration-Id": "fuzz"}, False
    key = choices.pick((world.PLATFORM_KEY, world.PLATFORM_KEY, world.STRANGER, OTHER_PLATFORM_KEY))
    at = choices.pick((0, 0, 0, 400, -400, 120))
    now = int(time.time()) // 60 * 60
    headers = world.signed(raw, key=key, at=now + at)
    name = f"Wechatpay-{choices.pick(('Signature', 'Timestamp', 'Nonce', 'Serial'))}"
    value = choices.spoiled_text(headers[name]) if choices.chance(4) else headers[name]
    value = choices.pick((value, "", f"WECHATPAY/SIGNTEST/{value}")) if choices.chance(8) else value
    untouched = value == headers[name] and key is world.PLATFORM_KEY and abs(at) < 300
    headers[name] = value.encode().decode("latin-1").replace("\n", "").replace("\r", "")
    return headers | {"Content-Type": "application/json"}, untouched


# The second reading


def _require_evidence(place: House, sent: Sent, mode: str, reply: Reply) -> None:
    """What was acknowledged is proved, ours, and what the order service got."""
    assert len(place.orders.kept) == 1, "acknowledged, and handed over so many times"
    kept = place.orders.kept[0]
    proofs = list(_proofs(sent, mode, reply))
    assert proofs, f"a forgery is acknowledged, by {kept.evidence}"
    assert kept.plaintext in proofs, "the order service got something else than what is proved"
    fields = kept.plaintext
    merchant = fields.get("mchid", fields.get("mch_id"))
    if kept.kind is None:
        assert merchant in (None, world.MERCHANT_ID)
        return
    assert merchant == world.MERCHANT_ID, "another merchant's notification is acknowledged"
    if kept.kind.name == "payment":
        assert fields.get("appid") in (world.APP_ID, world.SERVICE_APP_ID)
    for name in (_NUMBERS[kept.kind.name], _STATES[kept.kind.name]):
        assert isinstance(fields.get(name), str) and fields[name], f"{name} is missing"  # noqa: PT018


def _proofs(sent: Sent, mode: str, reply: Reply) -> Iterator[Any]:
    """Every plaintext that something in this callback, or WeChat Pay's answer about it, proves."""
    body = json.loads(sent.body)
    keys = {world.PUBLIC_KEY_ID: world.PLATFORM_KEY.public_key()}
    now = time.time()
    if (mode == "sdk" or "ParsedContent" not in body) and is_genuine(_received(sent.headers), sent.body, now, keys):
        yield from _opened(body.get("resource"))
    elif mode == "gateway" and isinstance(content := body.get("ParsedContent"), dict):
        raw_data, notify = _object(body.get("rawData")), _object(body.get("ParsedNotify"))
        envelope = raw_data if "resource" in raw_data else notify
        if "resource" in envelope:
            yield from (found for found in _opened(envelope["resource"]) if _agrees(found, content))
        else:
            yield from _answers(reply, content)


def _received(headers: Mapping[str, str]) -> HTTPHeaderDict[str]:
    return HTTPHeaderDict(headers)


def _object(value: Any) -> dict[str, Any]:
    value = json.loads(value) if isinstance(value, str) else value
    return value if isinstance(value, dict) else {}


def _opened(resource: Any) -> Iterator[Any]:
    with suppress(ValueError):  # what was sealed need not be JSON
        if isinstance(resource, dict) and (found := opened(resource)) is not None:
            yield json.loads(found)


def _agrees(proved: Any, stated: Any) -> bool:
    """Whether what both of them say is the same, in value and type."""
    if isinstance(proved, dict) and isinstance(stated, dict):
        return all(_agrees(proved[name], stated[name]) for name in proved if name in stated)
    if isinstance(proved, list) and isinstance(stated, list):
        return all(_agrees(*pair) for pair in zip(proved, stated, strict=False))
    return isinstance(proved, bool) is isinstance(stated, bool) and proved == stated


def _answers(reply: Reply, content: Mapping[str, Any]) -> Iterator[Any]:
    """What WeChat Pay answered to the function's question, under the names of a notification, if the hint fits it."""
    for method, path, _ in reply.asked:
        status, _, raw = world.books(method, path, b"")
        if status != 200:
            continue
        found = json.loads(raw)
        if "/refunds/" in path:
            found |= {"refund_status": found.pop("status"), "mchid": world.MERCHANT_ID}
        money = (
            "amount",
            "transfer_amount",
            "transaction_id",
            "mchid",
            "mch_id",
            "appid",
            "out_trade_no",
            "out_refund_no",
        )
        if all(_agrees(found.get(name), content[name]) for name in money if name in content):
            yield found


def seeds() -> Iterable[bytes]:
    for mode in range(2):
        for kind in range(3):
            for shape in range(len(_SHAPES)):
                yield bytes((mode, 0, kind, 0, 0, 0, 0, shape))
    for outcome in range(len(_OUTCOMES)):
        yield bytes((0, 3, outcome, outcome % 3, 0, 0, 0, 0, outcome % 6))
    for place in range(0, 60, 3):
        yield bytes((place % 2, 0, place % 3, 1, 2, place, 0, place, place * 2, 0, place, 0, 0, 0, place % 6))
        yield bytes((place % 2, 0, place % 3, 0, 0, 0, 0, place % 5, 0, 0, 0, 1, 1, place, place % 8, place))
        yield bytes((0, 0, place % 3, 0, 0, 0, 0, 1 + place % 5, 3, 1, place, 0, place, 0, 0))
