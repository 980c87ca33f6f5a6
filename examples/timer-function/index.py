"""A cloud function (event type, Python) with a timer: it has pay-common ask WeChat Pay about all that is not settled.

HTTP functions have no timers. README.md here says how to deploy this one; cloudbaserc.json has its trigger, every
minute. Variables: PAY_OPERATOR_KEY (equal to operatorKey of pay-common), CLOUDBASE_APIKEY (a server API
key of the environment), PAY_FUNCTION (by default pay-common), GATEWAY (by default derived from TCB_ENV).
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

TIMEOUT = 20  # seconds; wxpay_reconcile begins nothing after the 10 that it is given


def main_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Run once and log the summary; raises when pay-common refuses or is away, so that the platform's alarm sees it."""
    summary = reconcile()
    print(json.dumps({"reconcile": summary}))
    return summary


def reconcile(seconds: int = 10) -> dict[str, Any]:
    """The counts of one run: checked, changed, left, delivered, ... Raises RuntimeError or OSError."""
    environment = os.environ.get("TCB_ENV", "")
    gateway = os.environ.get("GATEWAY", f"https://{environment}.api.tcloudbasegateway.com")
    body = {
        "_action": "wxpay_reconcile",
        "_operatorKey": os.environ["PAY_OPERATOR_KEY"],
        "seconds": seconds,
    }
    request = urllib.request.Request(
        f"{gateway}/v1/functions/{os.environ.get('PAY_FUNCTION', 'pay-common')}?webfn=true",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['CLOUDBASE_APIKEY']}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            reply = json.load(answer)
    except urllib.error.HTTPError as refusal:
        said = refusal.read(500).decode(errors="replace")
        raise RuntimeError(f"pay-common answered {refusal.code}: {said}") from None
    return dict(reply["data"]["data"])
