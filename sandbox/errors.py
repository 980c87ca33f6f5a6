"""How WeChat Pay says no."""

from __future__ import annotations

import json
from typing import Any

DOCUMENTED: dict[str, tuple[int, ...]] = {
    "PARAM_ERROR": (400,),
    "INVALID_REQUEST": (400,),
    "APPID_MCHID_NOT_MATCH": (400,),
    "MCH_NOT_EXISTS": (400, 404),  # orders, refunds
    "ORDER_CLOSED": (400,),
    "ALREADY_EXISTS": (400,),
    "NO_STATEMENT_EXIST": (400,),
    "STATEMENT_CREATING": (400,),
    "SIGN_ERROR": (401,),
    "NO_AUTH": (403,),
    "NOT_ENOUGH": (403,),
    "OUT_TRADE_NO_USED": (403,),
    "RULE_LIMIT": (403,),
    "TRADE_ERROR": (403,),
    "USER_ACCOUNT_ABNORMAL": (403,),
    "ORDER_NOT_EXIST": (404,),
    "RESOURCE_NOT_EXISTS": (404,),
    "NOT_FOUND": (404,),
    "FREQUENCY_LIMITED": (429,),
    "RATELIMIT_EXCEEDED": (429,),
    "FREQUENCY_LIMIT_EXCEED": (429,),
    "FREQUENCY_LIMIT": (429,),
    "SYSTEM_ERROR": (500, 501),
    "SERVICE_UNAVAILABLE": (503, 502),
}
"""Code -> HTTP statuses it comes with [4012081717 and the endpoint pages]."""


NUMERIC = {
    "PARAM_ERROR": 268435461,
    "ORDER_NOT_EXIST": 268512771,
    "ORDER_PAID": 268498689,
    "ORDER_CLOSED": 268447914,
    "OUT_TRADE_NO_USED": 268498688,
    "APPID_MCHID_NOT_MATCH": 268445527,
    "SIGN_ERROR": 268443699,
    "FREQUENCY_LIMITED": 268447840,
    "FREQUENCY_LIMIT_EXCEED": 268447840,
    "FREQUENCY_LIMIT": 268447840,
    "RATELIMIT_EXCEEDED": 268447840,
    "MCH_NOT_EXISTS": 268443715,
}
OTHER_NUMERIC = 268435456
"""The number after the last `-` of Request-ID, as support engineers list them; 0 is success [skills: 排障手册]."""

OUT_OF_RANGE, EXTRA_FIELD, NO_OPENID = 268435464, 270924358, 268501013
"""The same list's numbers for causes that share the code PARAM_ERROR."""


class Refusal(Exception):
    """An error answer: HTTP status, code, message and, for some, where the fault lies.

    `signed` is False for what the real gateway refuses before any business code runs; `numeric` is how Request-ID
    ends, 0 for what the code has by itself.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: dict[str, Any] | None = None,
        signed: bool = True,
        numeric: int = 0,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.signed = signed
        self.numeric = numeric or NUMERIC.get(code, OTHER_NUMERIC)

    def body(self) -> bytes:
        if not self.code:
            return b""
        content: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail:
            content["detail"] = self.detail
        return json.dumps(content, ensure_ascii=False).encode()


def bad_field(
    field: str, issue: str, value: Any = None, *, location: str = "body", numeric: int = 0
) -> Refusal:
    """400 PARAM_ERROR; `field` is a JSON Pointer for the body, a parameter name for `url` and `query`."""
    detail = {"field": field, "issue": issue, "location": location}
    if value is not None:
        detail["value"] = value
    return Refusal(400, "PARAM_ERROR", f"{field} {issue}", detail=detail, numeric=numeric)


def bad_openid() -> Refusal:
    """400 PARAM_ERROR for an openid that nobody of this appid has [skills: 排障手册].

    Here every openid that could be one belongs to somebody. That the appid is looked at first is unverified.
    """
    return Refusal(400, "PARAM_ERROR", "无效的openid")


def bad_serial(message: str) -> Refusal:
    """400 PARAM_ERROR about the request's own `Wechatpay-Serial` [4012365346, 4013053279]."""
    return Refusal(400, "PARAM_ERROR", message)


def bad_sign(message: str) -> Refusal:
    """401 SIGN_ERROR [4012072670]: comes from the gateway, hence without a signature of its own."""
    return Refusal(401, "SIGN_ERROR", message, signed=False)


def no_such_route() -> Refusal:
    return Refusal(404, "", "", signed=False)


def wrong_method() -> Refusal:
    return Refusal(405, "", "", signed=False)
