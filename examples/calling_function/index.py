"""Another cloud function (event type, Python) that refunds through pay-common.

It goes through the CloudBase API gateway, which delivers the path `/`: the action travels in the body as
`_action`. The server API key says that a server calls, the operator key that it may move money.

Variables: CLOUDBASE_APIKEY (a server API key of the environment), PAY_FUNCTION (name of the function, by
default pay-common), PAY_OPERATOR_KEY (equal to operatorKey of pay-common), GATEWAY (by default derived from
TCB_ENV, e.g. https://my-env.api.tcloudbasegateway.com).
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any


def main_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Refund `event["cents"]` of order `event["order"]`, which cost `event["total"]` cents.

    The refund's number is made from the order's, so that calling again is the same refund and not a second.
    """
    return call_pay(
        "wxpay_refund",
        {
            "out_trade_no": event["order"],
            "out_refund_no": f"R{event['order']}",
            "amount": {"refund": event["cents"], "total": event["total"], "currency": "CNY"},
        },
    )


def call_pay(action: str, params: dict[str, Any]) -> dict[str, Any]:
    """Call one action; returns pay-common's `{"code", "msg", "data"}` also when it refused.

    Raises OSError when no answer came: the outcome is then unknown, so query before repeating, and repeat
    with the same numbers.
    """
    environment = os.environ.get("TCB_ENV", "")
    gateway = os.environ.get("GATEWAY", f"https://{environment}.api.tcloudbasegateway.com")
    name = os.environ.get("PAY_FUNCTION", "pay-common")
    body = {**params, "_action": action, "_operatorKey": os.environ["PAY_OPERATOR_KEY"]}
    request = urllib.request.Request(
        f"{gateway}/v1/functions/{name}?webfn=true",
        data=json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Bearer {os.environ['CLOUDBASE_APIKEY']}",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as refusal:
        return dict(json.load(refusal))
