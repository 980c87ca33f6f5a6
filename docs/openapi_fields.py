"""From the fields of utils.validator to JSON Schema: the same bounds, as exactly as JSON Schema can say them.

What it cannot say stands in the description: lengths in bytes, one amount against another, days that a month lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, missing
from marshmallow.fields import Field

from utils import fields, validator

Property = dict[str, Any]

# What utils.fields.Text admits, and of that what is not blank: Python's str.strip() says what blank is.
_CHARACTERS = r"\u0020-\u007e\u00a0-\ud7ff\ue000-\uffff"
_VISIBLE = (
    r"\u0021-\u007e\u00a1-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e\u2060-\u2fff\u3001-\ud7ff"
    r"\ue000-\uffff"
)
TEXT = f"^[{_CHARACTERS}]*$"
FILLED_TEXT = f"^[{_CHARACTERS}]*[{_VISIBLE}][{_CHARACTERS}]*$"
_DAY = "(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
MOMENT = (
    f"^20[0-9]{{2}}-{_DAY}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
DAY = f"^[0-9]{{4}}-{_DAY}$"
# At most an IPv6 address that ends in an IPv4 one.
ADDRESS: Property = {"type": "string", "maxLength": 45, "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}


def text(field: fields.Text) -> Property:
    found: Property = {
        "type": "string",
        "maxLength": field.longest,
        "pattern": FILLED_TEXT if field.filled else TEXT,
    }
    if field.filled:
        found["minLength"] = 1
    return found


def code(field: fields.Code) -> Property:
    marks = "".join(sorted(field.alphabet[62:])).replace("-", "")
    alphabet = f"0-9A-Za-z{marks}" + (r"\-" if "-" in field.alphabet else "")
    shortest, longest = field.lengths.start, field.lengths.stop - 1
    return {
        "type": "string",
        "minLength": shortest,
        "maxLength": longest,
        "pattern": f"^[{alphabet}]{{{shortest},{longest}}}$",
    }


def items(field: fields.Items) -> Property:
    return {"maxItems": fields.MAX_ITEMS} | ({"minItems": 1} if field.required else {})


KINDS: dict[type[Field[Any]], Callable[[Any], Property]] = {
    fields.Text: text,
    fields.Code: code,
    fields.Choice: lambda field: {"type": "string", "enum": list(field.words)},
    fields.Moment: lambda field: {"type": "string", "format": "date-time", "pattern": MOMENT},
    fields.Day: lambda field: {"type": "string", "format": "date", "pattern": DAY},
    fields.IpAddress: lambda field: dict(ADDRESS),
    fields.Whole: lambda field: {"type": "integer", "minimum": field.least, "maximum": field.most},
    fields.Cents: lambda field: {"type": "integer", "minimum": field.least, "maximum": field.most},
    fields.Flag: lambda field: {"type": "boolean"},
    fields.Object: lambda field: {},  # the plugin's reference says it all
    fields.Items: items,
}


class OurFields(MarshmallowPlugin):
    """apispec's plugin taught our kinds of fields; each component is named like its class."""

    def __init__(self) -> None:
        super().__init__(schema_name_resolver=lambda schema: type(schema).__name__)

    def init_spec(self, spec: Any) -> None:
        super().init_spec(spec)
        converter: Any = self.converter
        converter.add_attribute_function(_ours)


def _ours(converter: Any, field: Field[Any], **_: Any) -> Property:
    found = KINDS[type(field)](field)
    if isinstance(field, fields.Object):
        found = dict(converter.resolve_nested_schema(field.schema))
    if field.load_default is not missing:
        found["default"] = field.load_default
    if isinstance(field.parent, Schema):
        found["description"] = described(field)
    return found


def described(field: Field[Any]) -> str:
    """The words for a field, by its schema's class or one that this derives from, else by its name alone."""
    name = str(field.name)
    for cls in type(field.parent).__mro__:
        if (key := f"{cls.__name__}.{name}") in WORDS:
            return WORDS[key]
    return WORDS[name]


WORDS = {
    "OrderAmount.total": "What is to be paid, in cents.",
    "currency": "CNY is what WeChat Pay takes.",
    "merchant_goods_id": "Your own number of the goods.",
    "wechatpay_goods_id": "WeChat Pay's number of the goods.",
    "goods_name": "What it is called.",
    "quantity": "How many.",
    "unit_price": "Of one, in cents.",
    "cost_price": "Original price of the order, in cents.",
    "invoice_id": "Number of the receipt.",
    "Detail.goods_detail": "The goods, one by one.",
    "id": "Your number of the shop.",
    "name": "Name of the shop.",
    "area_code": "Code of the place.",
    "address": "Where it is.",
    "payer_client_ip": "The payer's public address. For H5 orders it is taken from X-Forwarded-For when absent.",
    "device_id": "Number of the shop or till.",
    "store_info": "The shop.",
    "H5Info.type": "Wap, iOS or Android.",
    "app_name": "Name of the app.",
    "app_url": "Address of the site.",
    "bundle_id": "Of an iOS app.",
    "package_name": "Of an Android app.",
    "h5_info": "What opens WeChat.",
    "profit_sharing": "Whether the money may be shared out.",
    "Payer.openid": "Who pays, by an openid of the AppID. The caller's own, where it is known, goes before it.",
    "RefundSource.account": "The account that pays.",
    "RefundSource.amount": "From this account, in cents.",
    "description": "What the payer reads.",
    "Order.out_trade_no": "Your own number of the order, used once.",
    "out_trade_no": "The merchant's number of the order.",
    "Order.amount": "The sum.",
    "time_expire": "Until when it can be paid: RFC 3339 with offset, a day of the calendar, from 2000 to 2099.",
    "attach": "Comes back in queries, callbacks and bills.",
    "goods_tag": "For discounts.",
    "support_fapiao": "Whether an invoice may be asked for.",
    "limit_pay": "Ways to pay that are not wanted.",
    "detail": f"The goods; at most {validator.MAX_DETAIL_BYTES} bytes as JSON without spaces.",
    "scene_info": "Where it is paid.",
    "settle_info": "How it is settled.",
    "useServiceAccount": "true takes the AppID in service_app_id. Never sent to WeChat Pay.",
    "payer": "Needed where the caller's openid is not known from token or header.",
    "transaction_id": "WeChat Pay's number of the order.",
    "RefundAmount.from": "Which accounts pay it.",
    "RefundAmount.refund": "What goes back, in cents; at most amount.total.",
    "RefundAmount.total": "The whole order, in cents.",
    "refund_amount": "Of these goods, in cents.",
    "refund_quantity": "How many come back.",
    "out_refund_no": "The merchant's number of the refund, used once.",
    "reason": "What the user reads; at most 80 bytes in UTF-8.",
    "funds_account": "AVAILABLE: merchants with the old flow of funds. UNSETTLED: deposits.",
    "Refund.amount": "The sums.",
    "Refund.goods_detail": "The goods that come back.",
    "info_type": "What is reported, in the scene's own words.",
    "info_content": "The report.",
    "RecvStyle.type": "How the user receives it.",
    "out_bill_no": "The merchant's number of the transfer, used once.",
    "transfer_scene_id": "The scene that the merchant platform shows, such as 1000.",
    "Transfer.openid": "Who receives it. Left out, it is the caller himself.",
    "user_name": (
        "The user's real name in clear, at most 214 bytes in UTF-8; the function encrypts it. Forbidden below "
        f"{validator.NAME_FORBIDDEN_BELOW} cents, required from {validator.NAME_REQUIRED_FROM}."
    ),
    "transfer_amount": "What is sent, in cents.",
    "transfer_remark": "What the user reads.",
    "user_recv_perception": "What the user is told it is, from the scene's list.",
    "transfer_scene_report_infos": "What the scene asks for, each once.",
    "user_recv_style": "The page that the user sees.",
    "transfer_bill_no": "WeChat Pay's number of the transfer.",
    "OrderWait.seconds": "Longest wait.",
    "Reconcile.seconds": "None is asked about after so many seconds.",
    "limit": "At most so many orders, refunds and transfers.",
    "bill_date": "A Beijing day of the last three months that is over, as YYYY-MM-DD.",
    "account_type": "BASIC: payments and refunds. OPERATION: transfers. FEES: fees.",
}
FIXED_WORDS = {
    "appid": "Better left out: at most the configured one may be repeated.",
    "mchid": "Better left out: at most the configured one may be repeated.",
    "notify_url": "Better left out: it must lead where the configured one leads.",
}
