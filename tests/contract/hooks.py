"""What schemathesis is told about this function: numbers that exist, bounded waits, and a check of its own.

Loaded by schemathesis itself, see shop.py. A body that breaks no rule gets numbers with which something happens: new
ones for new orders, those of the shop for what asks about them. What is wrong in a body stays wrong.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import schemathesis
from hypothesis import strategies

from tests.contract.judge import Judge, breaks_words

NUMBERS = json.loads(os.environ["CONTRACT_NUMBERS"])
JUDGE = Judge(json.loads(Path(os.environ["CONTRACT_DOCUMENT"]).read_text()))
OPENID = os.environ["CONTRACT_OPENID"]
JSON = "application/json"
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Body = dict[str, Any]

_counter = itertools.count(1)
_told: set[str] = set()


def fresh(like: str) -> str:
    """A number that nobody has used, as long as `like`, where that has room for one."""
    rest, digits = next(_counter), ""
    for _ in like:
        rest, digit = divmod(rest, len(DIGITS))
        digits = DIGITS[digit] + digits
    return like if rest else digits


def _one_of(*known: str) -> Callable[[str], str]:
    """One after the other; an empty one leaves what is there."""
    turn = itertools.cycle(known)
    return lambda like: next(turn) or like


_orders = ("paid", "waiting", "refunded", "closed")
_ANY_ORDER = _one_of(*(NUMBERS[name] for name in _orders), "")
_ANY_TRANSFER = _one_of(NUMBERS["transfer"], "")
FIELDS: dict[str, tuple[str, Callable[[str], str]]] = {
    **{f"wxpay_order{scene}": ("out_trade_no", fresh) for scene in ("", "_native", "_h5", "_app")},
    "wxpay_query_order_by_out_trade_no": ("out_trade_no", _ANY_ORDER),
    "wxpay_query_order_by_transaction_id": ("transaction_id", _one_of(NUMBERS["transaction"], "")),
    "wxpay_close_order": ("out_trade_no", _one_of(NUMBERS["closed"], NUMBERS["paid"], "")),
    "wxpay_refund": ("out_refund_no", fresh),
    "wxpay_refund_query": ("out_refund_no", _one_of(NUMBERS["refund"], "")),
    "wxpay_transfer": ("out_bill_no", fresh),
    "wxpay_transfer_cancel": ("out_bill_no", _one_of(NUMBERS["cancelled"], "")),
    "wxpay_trade_bill": ("bill_date", _one_of(NUMBERS["yesterday"], "")),
    "wxpay_fundflow_bill": ("bill_date", _one_of(NUMBERS["yesterday"], "")),
    "wxpay_transfer_bill_query": ("out_bill_no", _ANY_TRANSFER),
    "wxpay_transfer_batch_query": ("out_bill_no", _ANY_TRANSFER),
    "wxpay_transfer_bill_query_by_no": ("transfer_bill_no", _one_of(NUMBERS["transfer_bill"], "")),
    # A waiting order takes its second each time.
    "wxpay_order_wait": ("out_trade_no", _one_of(*[NUMBERS["paid"], NUMBERS["refunded"], ""] * 5, NUMBERS["waiting"])),
}
SLOW = {"wxpay_order_wait": 18, "wxpay_reconcile": 12}  # and the most seconds that they may be asked to take


# Of this century, as the patterns beside the formats ask: schemathesis's own would nearly always miss them.
_days = strategies.dates(date(2001, 1, 1), date(2099, 12, 28))
_times = strategies.times().map(lambda time: time.strftime("%H:%M:%S"))
schemathesis.openapi.format("date", _days.map(date.isoformat))
schemathesis.openapi.format("date-time", strategies.builds("{:%Y-%m-%d}T{}+08:00".format, _days, _times))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give the case numbers that lead somewhere, and none the time to dawdle."""
    if not isinstance(case.body, dict):
        return
    body, action = case.body, _action(case, case.body)
    if action in FIELDS and not _problems(action, body):
        field, choose = FIELDS[action]
        if field in body:
            body[field] = choose(body[field])
        if action in LIKELY and next(_counter) % 3:
            LIKELY[action](body)
    seconds = body.get("seconds", 1)
    if action in SLOW and type(seconds) is int and 1 <= seconds <= SLOW[action]:
        body["seconds"] = 1
    if isinstance(body.get("ParsedContent"), dict):
        _tell_once(body["ParsedContent"])


def _likely_refund(body: Body) -> None:
    """Of an order that is paid."""
    if "out_trade_no" in body:
        body["out_trade_no"] = NUMBERS["paid"]
        body["amount"] |= {"refund": 1, "total": 1000}


def _likely_transfer(body: Body) -> None:
    """In a scene with what it asks for; WeChat Pay compares the name with the user's."""
    example = JUDGE.document["paths"]["/wx-pay/wxpay_transfer"]["post"]["requestBody"]["content"][JSON]["example"]
    for name in ("transfer_scene_id", "openid", "transfer_amount", "transfer_scene_report_infos"):
        body[name] = example[name]
    for name in ("user_name", "user_recv_perception", "useServiceAccount", "appid"):
        body.pop(name, None)


LIKELY = {"wxpay_refund": _likely_refund, "wxpay_transfer": _likely_transfer}


def _tell_once(content: Body) -> None:
    """The function asks WeChat Pay about a number once in two seconds, else answers 503: tests/http has that."""
    for field in ("out_trade_no", "out_refund_no", "out_bill_no"):
        number = content.get(field)
        if isinstance(number, str):
            if number in _told or number not in NUMBERS.values():
                content[field] = fresh("0" * 12)
            _told.add(content[field])


@schemathesis.check
def as_strict_as_it_says(context: Any, response: Any, case: Any) -> None:
    """What breaks a rule of the description is not carried out, and what keeps them all is not called wrong."""
    if not case.path.startswith("/wx-pay/wxpay_") or case.method.upper() != "POST":
        return
    body = _sent(response.request)
    action = _action(case, body if isinstance(body, dict) else {})
    problems = _problems(action, body)
    if response.status_code < 400 and problems:
        raise AssertionError(f"taken, although it breaks a rule: {problems}")
    if response.status_code == 400 and not problems and response.json()["data"] is None:
        raise AssertionError(f"called wrong, although it keeps every rule: {response.json()['msg']}")


def _action(case: Any, body: Body) -> str:
    return str(case.path).rpartition("/")[2] or str(body.get("_action", "")).rpartition("/")[2]


def _sent(request: Any) -> Any:
    content = request.body or b""
    content = content if isinstance(content, bytes) else content.encode()
    if "urlencoded" in request.headers.get("Content-Type", "") and not content.lstrip().startswith(b"{"):
        pairs = parse_qsl(content.decode(), keep_blank_values=True)
        return dict(pairs) if len(dict(pairs)) == len(pairs) else None
    try:
        return json.loads(content) if content.strip() else {}
    except ValueError:
        return None


def _completed(action: str, body: Body) -> Body:
    """What the function itself fills in before it judges, from the headers that every case carries."""
    payer = body.get("payer", {})
    if action != "wxpay_order" or not isinstance(payer, dict):
        return body
    if body.get("useServiceAccount") is True and "openid" in payer:
        return body
    return body | {"payer": payer | {"openid": OPENID}}


def _problems(action: str, body: Any) -> list[str]:
    if not isinstance(body, dict):
        return ["not an object"]
    operation = JUDGE.document["paths"][f"/wx-pay/{action}"]["post"]
    schema = operation["requestBody"]["content"][JSON]["schema"]
    return JUDGE.problems(schema, _completed(action, body)) + breaks_words(body)
