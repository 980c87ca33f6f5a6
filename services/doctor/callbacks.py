"""Whether a report to the callback addresses reaches this function, and the key set of its callers' tokens."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from services.doctor.network import trouble
from services.doctor.report import CLOCK, ERROR, Case, Report
from services.self_test import SelfTest
from services.wechatpay.errors import OutcomeUnknown
from services.wechatpay.transport import Answer, Transport
from utils import json_body

PATIENCE = 10.0  # seconds: a cold start and more, though WeChat Pay waits 5
OFF = 60
_TOLD_NOTHING = "WeChat Pay's reports do not reach this function: what is paid or refunded is not known here."


def examine(case: Case, report: Report) -> None:
    """Ask every callback address for proof, the Integration Center's, which nothing of ours answers, for a sign."""
    transport = Transport(case.network)
    # What a wrong key proves would only be a second finding about it.
    is_wrong = any((finding.level, finding.variable) == (ERROR, "apiV3Key") for finding in report.findings)
    for name, (kind, url) in case.callbacks.items():
        if name in case.forwarded:
            _sign_of_life(case, name, url, transport, report)
        elif case.api_v3_key is None or is_wrong:
            report.not_checked.append(f"{name}: set the right apiV3Key first")
        else:
            _proof(case, name, SelfTest(case.api_v3_key, {kind: url}), kind, transport, report)


def tokens(case: Case, report: Report) -> None:
    """Whether the keys that verify callers' tokens can be had."""
    if not case.token_keys:
        return
    fix = "Copy the environment's id from the CloudBase console → Environment Overview; leave cloudbaseAuthUrl out."
    why = "No token can be verified: what needs a verified identity is answered 503."
    try:
        answer = Transport(case.network).send("GET", case.token_keys, b"", lambda _: _headers(case), timeout=PATIENCE)
    except OutcomeUnknown as error:
        what, remedy = trouble(error)
        report.error("cloudbaseEnvId", f"names an environment whose keys cannot be had: {what}", why, f"{remedy} {fix}")
        return
    body = _json(answer)
    if answer.status == 200 and isinstance(body, dict) and body.get("keys"):
        report.checked.append("cloudbaseEnvId: the keys of its tokens can be had")
    else:
        what = f"names an environment whose keys cannot be had (HTTP {answer.status})"
        report.error("cloudbaseEnvId", what, why, fix)


def _sign_of_life(case: Case, name: str, url: str, transport: Transport, report: Report) -> None:
    """Whatever is answered: a report of WeChat Pay's cannot be made up, so what becomes of one cannot be tried."""
    answer = _asked(case, name, "GET", url, b"", transport, report)
    if answer is None:
        return
    if answer.status >= 500:
        what = f"leads to the Integration Center, which answers HTTP {answer.status}"
        fix = "Look at the integration in the console: it must be there, and its status Active."
        report.warning(name, what, _TOLD_NOTHING, fix)
        return
    report.checked.append(f"{name}: the Integration Center answers there")
    report.not_checked.append(
        f"{name}: whether the Integration Center forwards to this function; its page Callback Logs and the log line"
        " handlerUnifiedTrigger tell, after a first payment"
    )


def _proof(case: Case, name: str, test: SelfTest, kind: str, transport: Transport, report: Report) -> None:
    asked = test.ask(kind, secrets.token_hex(16))
    url = test.urls[kind]
    began = time.time()
    answer = _asked(case, name, "POST", url, json.dumps(asked).encode(), transport, report)
    if answer is None:
        return
    there = test.proved(asked, _json(answer)) if answer.status == 200 else None
    if there is None:
        what, fix = _other(answer)
        report.error(name, what, _TOLD_NOTHING, fix)
        return
    report.checked.append(f"{name}: this function answers there, with these keys")
    off = round((began + time.time()) / 2 - there - 0.5)
    if abs(off) > OFF:
        report.warning(
            CLOCK,
            f"of the function behind {name} and of this machine differ by {abs(off)} s",
            "The one that is wrong refuses, or is refused by, WeChat Pay beyond 300 s.",
            "Set both by NTP, such as with `timedatectl set-ntp true`.",
        )


def _asked(
    case: Case, name: str, method: str, url: str, body: bytes, transport: Transport, report: Report
) -> Answer | None:
    try:
        return transport.send(method, url, body, lambda _: _headers(case), timeout=PATIENCE)
    except OutcomeUnknown as error:
        what, fix = trouble(error)
        report.error(name, f"cannot be reached: {what}", _TOLD_NOTHING, fix)
        return None


def _other(answer: Answer) -> tuple[str, str]:
    """Who answers instead of this function, and what to do about it."""
    body = _json(answer)
    said = body.get("code") if isinstance(body, dict) else None
    applies = (
        said == "FAIL" and answer.status == 503,
        said == "FAIL",
        said == -1,
        300 <= answer.status < 400,
        answer.status in (401, 403),
        answer.status < 300,
        True,
    )
    what, fix = _OTHERS[applies.index(True)]
    return f"{what} (HTTP {answer.status})", fix


_OTHERS = (
    (
        "leads to a function of this kind that lacks settings itself",
        "Deploy it with all variables; its GET /healthz names those that are missing or broken.",
    ),
    (
        "leads to a function of this kind that has another apiV3Key, another address set, or a wrong clock",
        "Deploy the function with exactly these variables, and wait until the new version runs. If it has, look at its"
        " clock, and whether the address is that of another function.",
    ),
    (
        "leads to a function of this kind, but to no callback of it",
        "Let it end in /wx-pay/unifiedOrderTrigger for payments, /wx-pay/refundTrigger for refunds,"
        " /wx-pay/transferTrigger for transfers; the route must pass the path on.",
    ),
    ("is answered with a redirect", "Set the address that it leads to: nobody follows."),
    (
        "wants authentication",
        "Switch authentication off for this route: WeChat Pay has no token. The function believes proof alone.",
    ),
    (
        "leads to something else, which accepts anything",
        "Route the address to this function: what answers there tells WeChat Pay that it has kept the payment.",
    ),
    (
        "leads to something else",
        "Route the address to this function, path included, and check host and path for typing errors.",
    ),
)


def _headers(case: Case) -> dict[str, str]:
    return {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": case.user_agent}


def _json(answer: Answer) -> Any:
    try:
        return json_body.parse(answer.body)
    except json_body.BadJson:
        return None
