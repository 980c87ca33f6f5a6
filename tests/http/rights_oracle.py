"""Whom design section 4 believes, written down a second time as plain rules over what a test sends."""

from __future__ import annotations

from dataclasses import dataclass

TOKEN_OPENID = "oTOKEN0000000000000000000001"
HEADER_OPENID = "oHEADER000000000000000000002"
BODY_OPENID = "oBODY00000000000000000000003"
UID = "2046000000000000007"
OPERATOR_KEY = "operator-key-of-the-rights-0123456789"

RIGHTS = {
    "wxpay_order": "caller",
    "wxpay_order_native": "caller",
    "wxpay_order_h5": "caller",
    "wxpay_order_app": "caller",
    "wxpay_query_order_by_out_trade_no": "caller",
    "wxpay_query_order_by_transaction_id": "caller",
    "wxpay_close_order": "caller",
    "wxpay_refund_query": "caller",
    "wxpay_refund": "operator",
    "wxpay_transfer": "operator",
    "wxpay_transfer_cancel": "operator",
    "wxpay_transfer_bill_query": "payee",
    "wxpay_transfer_bill_query_by_no": "payee",
    "wxpay_transfer_batch_query": "payee",
    "wxpay_order_wait": "caller",
    "wxpay_reconcile": "operator",
    "wxpay_orders_init": "operator",
    "wxpay_trade_bill": "operator",
    "wxpay_fundflow_bill": "operator",
    "unifiedOrderTrigger": "callback",
    "refundTrigger": "callback",
    "transferTrigger": "callback",
}
"""Contract section 2, column "right"."""


@dataclass(frozen=True)
class Setting:
    """`environment` is "unset", "set", or "down": set, and its keys are not to be had."""

    caller_headers: str = "claimed"
    environment: str = "set"
    operator_ids: str = ""
    runtime: str = ""
    operator_key: str = OPERATOR_KEY
    public: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Token:
    """What the Authorization header holds.

    `fault` is "" for a good token, "text" for no JWT at all, "visible" where header or claims show it without
    any key, "signature" where only the key does. `names` says whom it names: "user", "server" or "nobody" (an
    anonymous user or a publishable key: whoever opened the page holds one).
    """

    names: str = "nobody"
    fault: str = ""
    openid: str = ""
    uid: str = ""
    bearer: bool = True


@dataclass(frozen=True)
class Sent:
    """One request: its token (None without Authorization), its other headers, whether it has the operator key."""

    token: Token | None = None
    openid: str = ""
    sign: bool = False
    key: str = ""


@dataclass(frozen=True)
class Verdict:
    """`status` of the answer; `payer` is the openid that an order goes out with when the body names another."""

    status: int
    payer: str = ""
    asks: bool = False  # refused only once WeChat Pay has said whom the bill names


def expected(setting: Setting, sent: Sent, action: str, payee: str = "") -> Verdict:
    """The verdict on `action`; `payee` is the openid that the queried bill names."""
    right = RIGHTS[action]
    if right == "callback":
        return Verdict(200)
    reads_headers = setting.caller_headers != "ignored"
    header_openid = sent.openid if reads_headers else ""
    state = _state(setting, sent.token)
    if state == "bad":
        if not header_openid:
            return Verdict(401)
        state = "none"
    token = sent.token if sent.token and state != "none" else Token()
    has_key = len(setting.operator_key) >= 32 and sent.key == setting.operator_key

    if reads_headers:
        admitted = state != "none" or sent.sign or bool(setting.runtime) or has_key
    else:
        admitted = state == "verified" and token.names in ("user", "server")
    if not admitted and (reads_headers or action not in setting.public):
        return Verdict(503 if state == "unchecked" else 401)

    payer = token.openid or header_openid or BODY_OPENID
    verified_openid = token.openid if state == "verified" else ""
    verified_uid = token.uid if state == "verified" else ""
    if setting.caller_headers == "trusted" and sent.token is None:
        verified_openid = header_openid
    operator = (
        has_key
        or (state == "verified" and token.names == "server")
        or (setting.operator_ids == "*" and admitted)
        or (setting.operator_ids != "" and setting.operator_ids in (verified_openid, verified_uid))
    )
    if right == "caller" or operator:
        return Verdict(200, payer)
    if right == "payee" and verified_openid:
        return Verdict(200) if verified_openid == payee else Verdict(403, asks=True)
    return Verdict(503 if state == "unchecked" else 403)


def _state(setting: Setting, token: Token | None) -> str:
    if token is None or not token.bearer:
        return "none"
    if token.fault == "text":
        return "bad"
    if setting.environment == "unset":
        return "claimed"
    if token.fault == "visible":
        return "bad"
    if setting.environment == "down":
        return "unchecked"
    return "bad" if token.fault else "verified"
