"""Field rules of request bodies, written from the endpoint pages.

A rule is a function `(value, pointer)` that raises PARAM_ERROR; `pointer` is the JSON Pointer of the value.
Fields that no page documents are refused.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from sandbox.clock import moment_of
from sandbox.errors import EXTRA_FIELD, NO_OPENID, OUT_OF_RANGE, bad_field

Rule = Callable[[Any, str], None]

OUT_TRADE_NO = r"[0-9A-Za-z_\-|*]{6,32}"
OUT_REFUND_NO = r"[0-9A-Za-z_\-|*@]{1,64}"
OUT_BILL_NO = r"[0-9A-Za-z]{1,32}"
_RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
OPENID = ("/payer", "/payer/openid")


def read(body: bytes) -> Any:
    """The JSON value of a body. Raises PARAM_ERROR on what [4012081709] forbids: null, text above U+FFFF."""
    try:
        value = json.loads(
            body.decode(), parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_no_repeats
        )
        _refuse_unsupported(value, "")
    except (ValueError, RecursionError) as error:
        raise bad_field("/", f"is not a JSON document: {error}") from None
    return value


def text(
    longest: int,
    *,
    shortest: int = 1,
    pattern: str = "",
    choices: Collection[str] = (),
    count_bytes: bool = False,
) -> Rule:
    compiled = re.compile(pattern) if pattern else None

    def check(value: Any, pointer: str) -> None:
        if not isinstance(value, str):
            raise bad_field(pointer, "must be a string", value)
        length = len(value.encode()) if count_bytes else len(value)
        if not shortest <= length <= longest:
            unit = "bytes" if count_bytes else "characters"
            raise bad_field(pointer, f"must have {shortest} to {longest} {unit}", value)
        if choices and value not in choices:
            raise bad_field(pointer, f"must be one of {', '.join(choices)}", value)
        if compiled and not compiled.fullmatch(value):
            raise bad_field(pointer, f"must match {pattern}", value)

    return check


def whole(least: int = 0) -> Rule:
    def check(value: Any, pointer: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise bad_field(pointer, "must be an integer", value)
        if not least <= value < 2**63:
            raise bad_field(pointer, f"must be at least {least}", value, numeric=OUT_OF_RANGE)

    return check


def flag(value: Any, pointer: str) -> None:
    if not isinstance(value, bool):
        raise bad_field(pointer, "must be true or false", value)


def record(required: Mapping[str, Rule], optional: Mapping[str, Rule] | None = None) -> Rule:
    rules = {**(optional or {}), **required}

    def check(value: Any, pointer: str) -> None:
        if not isinstance(value, dict):
            raise bad_field(pointer or "/", "must be an object")
        for name in required:
            if name not in value:
                missing = f"{pointer}/{name}"
                raise bad_field(missing, "is required", numeric=NO_OPENID if missing in OPENID else 0)
        for name, item in value.items():
            if name not in rules:
                raise bad_field(f"{pointer}/{name}", "is not a field of this request", numeric=EXTRA_FIELD)
            rules[name](item, f"{pointer}/{name}")

    return check


def items(rule: Rule) -> Rule:
    def check(value: Any, pointer: str) -> None:
        if not isinstance(value, list) or not value:
            raise bad_field(pointer, "must be a list with at least one item")
        for index, item in enumerate(value):
            rule(item, f"{pointer}/{index}")

    return check


def both(first: Rule, second: Rule) -> Rule:
    def check(value: Any, pointer: str) -> None:
        first(value, pointer)
        second(value, pointer)

    return check


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is beyond all bounds")
    return value


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name appears twice in one object")
    return result


def _refuse_unsupported(value: Any, pointer: str) -> None:
    if value is None:
        raise bad_field(pointer or "/", "must not be null: leave the field out")
    if isinstance(value, str):
        if value and (max(value) > "\uffff" or any("\ud800" <= character <= "\udfff" for character in value)):
            raise bad_field(pointer or "/", "must not hold characters above U+FFFF")
    elif isinstance(value, dict):
        for name, item in value.items():
            _refuse_unsupported(name, pointer)
            _refuse_unsupported(item, f"{pointer}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_unsupported(item, f"{pointer}/{index}")


def _notify_url(value: Any, pointer: str) -> None:
    """Absolute, https, with a path, without query, reachable from outside [4012075420]."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme != "https" or not parts.path.strip("/") or "?" in value or "#" in value:
        raise bad_field(pointer, "must be an https URL with a path and without a query", value)
    try:
        reachable = ipaddress.ip_address(host).is_global
    except ValueError:
        reachable = "." in host and not host.endswith((".localhost", ".local"))
    if not reachable:
        raise bad_field(pointer, "must be reachable from the internet", value)


def _address(value: str, pointer: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise bad_field(pointer, "must be an IPv4 or IPv6 address", value) from None


def _moment(value: str, pointer: str) -> None:
    try:
        moment_of(value)
    except (ValueError, OverflowError):
        raise bad_field(pointer, "must be a time that exists", value) from None


def _detail_size(value: Any, pointer: str) -> None:
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > 6144:
        raise bad_field(pointer, "must have at most 6144 bytes")


_ORDER_GOODS = items(
    record(
        {"merchant_goods_id": text(32), "quantity": whole(1), "unit_price": whole()},
        {"wechatpay_goods_id": text(32), "goods_name": text(256)},
    )
)
_SCENE = {
    "device_id": text(32),
    "store_info": record({"id": text(32)}, {"name": text(256), "area_code": text(32), "address": text(512)}),
}
_CLIENT_IP = {"payer_client_ip": both(text(45), _address)}
_H5 = record(
    {"type": text(32, choices=("Wap", "iOS", "Android"))},
    {"app_name": text(64), "app_url": text(128), "bundle_id": text(128), "package_name": text(128)},
)
_ORDER_REQUIRED = {
    "appid": text(32),
    "mchid": text(32, pattern=r"[0-9]{8,10}"),
    "description": text(127),
    "out_trade_no": text(32, pattern=OUT_TRADE_NO),
    "notify_url": both(text(255), _notify_url),
    "amount": record({"total": whole(1)}, {"currency": text(16, choices=("CNY",))}),
}
_ORDER_OPTIONAL = {
    "time_expire": both(text(64, pattern=_RFC3339), _moment),
    "attach": text(128),
    "goods_tag": text(32),
    "support_fapiao": flag,
    "settle_info": record({}, {"profit_sharing": flag}),
    "detail": both(
        record({}, {"cost_price": whole(), "invoice_id": text(32), "goods_detail": _ORDER_GOODS}),
        _detail_size,
    ),
    "scene_info": record(_CLIENT_IP, _SCENE),
    # Named by the community's OpenAPI description only, so it is let through.
    "limit_pay": items(text(32)),
}

ORDERS: dict[str, Rule] = {
    "jsapi": record({**_ORDER_REQUIRED, "payer": record({"openid": text(128)})}, _ORDER_OPTIONAL),
    "app": record(_ORDER_REQUIRED, _ORDER_OPTIONAL),
    "native": record(_ORDER_REQUIRED, _ORDER_OPTIONAL),
    "h5": record(
        {**_ORDER_REQUIRED, "scene_info": record({**_CLIENT_IP, "h5_info": _H5}, _SCENE)}, _ORDER_OPTIONAL
    ),
}
"""[4012791856] [4013070347] [4012791877] [4012791834]"""

CLOSE = record({"mchid": text(32)})
"""[4012791860]"""

REFUND = record(
    {
        "out_refund_no": text(64, pattern=OUT_REFUND_NO),
        "amount": record(
            {"refund": whole(1), "total": whole(1), "currency": text(16, choices=("CNY",))},
            {
                "from": items(
                    record({"account": text(32, choices=("AVAILABLE", "UNAVAILABLE")), "amount": whole(1)})
                )
            },
        ),
    },
    {
        "transaction_id": text(32),
        "out_trade_no": text(32, pattern=OUT_TRADE_NO),
        "reason": text(80, count_bytes=True),
        "notify_url": both(text(256), _notify_url),
        "funds_account": text(32, choices=("AVAILABLE", "UNSETTLED")),
        "goods_detail": items(
            record(
                {
                    "merchant_goods_id": text(32),
                    "unit_price": whole(),
                    "refund_amount": whole(),
                    "refund_quantity": whole(1),
                },
                {"wechatpay_goods_id": text(32), "goods_name": text(256)},
            )
        ),
    },
)
"""[4013071036]"""

TRANSFER = record(
    {
        "appid": text(32),
        "out_bill_no": text(32, pattern=OUT_BILL_NO),
        "transfer_scene_id": text(36),
        "openid": text(64),
        "transfer_amount": whole(1),
        "transfer_remark": text(32),
        "transfer_scene_report_infos": items(record({"info_type": text(15), "info_content": text(32)})),
    },
    {
        "user_name": text(1024),
        "notify_url": both(text(256), _notify_url),
        "user_recv_perception": text(32, shortest=0),
        "user_recv_style": record({"type": text(32, choices=("CONFIRM_PAGE", "RED_PACKET"))}),
    },
)
"""[4012716434]"""

NOTHING = record({})

_BANKS = (
    *("CMB", "COMM", "ABC", "CCB", "ICBC", "BOC", "PAB", "SPDB"),
    *("CITIC", "CEB", "CMBC", "CIB", "GDB", "PSBC", "NBCB"),
)
ABNORMAL_REFUND = record(
    {
        "out_refund_no": text(64, pattern=OUT_REFUND_NO),
        "type": text(32, choices=("USER_BANK_CARD", "MERCHANT_BANK_CARD")),
    },
    {
        "bank_type": text(16, choices=[f"{bank}_DEBIT" for bank in _BANKS]),
        "bank_account": text(1024),
        "real_name": text(1024),
    },
)
"""[4013071193]"""

RECEIPT = record({"out_bill_no": text(32, pattern=OUT_BILL_NO)})
"""[4012716452]"""

SCENES: dict[str, tuple[tuple[str, ...], tuple[str, ...], bool]] = {
    "1000": (("活动名称", "奖励说明"), ("活动奖励", "现金奖励"), True),
    "1002": (("补贴类型",), ("行政补贴", "行政奖励"), True),
    "1004": (("保险产品备案编号", "保险名称", "保险操作单号"), ("保险理赔款",), False),
    "1005": (("岗位类型", "报酬说明"), ("劳务报酬", "报销款", "企业补贴", "开工利是"), True),
    "1009": (("采购商品名称",), ("货款",), False),
    "1010": (("回收商品名称",), ("二手回收货款",), False),
    "1011": (("赔付原因",), ("退款", "商家赔付"), True),
    "1013": (("公益活动名称", "公益活动备案编号"), ("公益补助金",), False),
}
"""Transfer scene -> report `info_type`s, perceptions, whether as a red packet [4012711988]."""
