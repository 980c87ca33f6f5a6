"""What callers may send: a schema for each call, with the fields that WeChat Pay documents, and `load`.

Amounts are integers in cents (fen). Lengths are in characters unless WeChat Pay says bytes.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import reduce
from itertools import islice
from typing import Any, ClassVar
from urllib.parse import urlsplit

from marshmallow import EXCLUDE, Schema, ValidationError, validates_schema

from utils.fields import Cents, Choice, Code, Day, Flag, IpAddress, Items, Moment, Object, Text, Whole
from utils.texts import Message

MAX_WAIT = 18  # seconds: the platform ends a request after 20
MAX_RUN = 12  # and the last question of a run may take 6 more
MAX_DETAIL_BYTES = 6144
MAX_URL_LENGTH = 256
NAME_FORBIDDEN_BELOW, NAME_REQUIRED_FROM = 30, 200_000  # cents [4012711988]
MAX_NAMES, MAX_NAME_LENGTH = 20, 40  # of undocumented fields, whose names are a stranger's text


class Invalid(Exception):
    """Input that breaks the rules; `errors` maps each offending field's dotted name to what it must be."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        fields = (Message("{name} {problem}", name=name, problem=Message(text)) for name, text in errors.items())
        super().__init__(Message("{fields}", fields=tuple(fields)))


class Documented(Schema):
    """Holds the fields that WeChat Pay documents; others are dropped."""

    class Meta:
        unknown = EXCLUDE
        register = False


class Call(Documented):
    """The body of one action; settings decide the fields in `fixed`, callers may at most repeat them.

    Those in `chosen` have several configured values, of which the caller's choice counts.
    """

    fixed: ClassVar[tuple[str, ...]] = ("appid", "mchid")
    chosen: ClassVar[tuple[str, ...]] = ()


def load(
    schema: Call, body: Mapping[str, Any], fixed: Mapping[str, Collection[str]]
) -> tuple[dict[str, Any], list[str]]:
    """Return the documented fields of `body` as a new dict, and the dotted names of those that were dropped.

    `fixed` maps each of the schema's fixed fields to the values that a caller may repeat; where there is none
    the field must be left out. Of these, the returned dict holds the chosen ones only. Raises Invalid, which
    names every offending field.
    """
    data: dict[str, Any] = {}
    errors: dict[str, str] = {}
    try:
        data = schema.load(body)
    except ValidationError as error:
        errors.update(_flattened(error.messages_dict))
    for name in schema.fixed:
        if name in body and (problem := _fixed_problem(name, body[name], fixed.get(name, ()))):
            errors[name] = problem
    if errors:
        raise Invalid(errors)
    data.update({name: body[name] for name in schema.chosen if name in body})
    return data, list(islice(_undocumented(schema, body), MAX_NAMES))


def _flattened(messages: Mapping[Any, Any], parent: str = "") -> Iterator[tuple[str, str]]:
    for key, found in messages.items():
        if key == "_schema":
            name = parent
        elif isinstance(key, int):
            name = f"{parent}[{key}]"
        else:
            name = f"{parent}.{key}" if parent else key
        if isinstance(found, dict):
            yield from _flattened(found, name)
        else:
            yield name, reduce(_both, map(Message, found))


def _both(first: Message, second: Message) -> Message:
    return Message("{first} and {second}", first=first, second=second)


def _fixed_problem(name: str, value: Any, allowed: Collection[str]) -> str | None:
    if not allowed:
        return Message("must be left out")
    if value is None:
        return Message("must not be null; leave it out")
    same = _same_endpoint if name == "notify_url" else str.__eq__
    if isinstance(value, str) and any(same(value, configured) for configured in allowed):
        return None
    return Message("must be the configured one, or be left out")


def _same_endpoint(url: str, configured: str) -> bool:
    """Whether both go to the same place: scheme, host, port and path decide."""
    if len(url) > MAX_URL_LENGTH or not url.isprintable():
        return False
    try:
        return _endpoint(url) == _endpoint(configured)
    except ValueError:
        return False


def _endpoint(url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(url)
    port = {"https": 443, "http": 80}.get(parts.scheme) if parts.port is None else parts.port
    return parts.scheme, parts.hostname, port, parts.path or "/"


def _undocumented(schema: Schema, value: Any, parent: str = "") -> Iterator[str]:
    known = getattr(schema, "fixed", ())
    for name, item in value.items():
        field = schema.fields.get(name)
        if isinstance(field, Object):
            yield from _undocumented(field.schema, item, f"{parent}{name}.")
        elif isinstance(field, Items) and isinstance(field.inner, Object):
            for index, element in enumerate(item):
                yield from _undocumented(field.inner.schema, element, f"{parent}{name}[{index}].")
        elif field is None and name not in known:
            yield parent + (re.sub("[^ -~]", "", name)[:MAX_NAME_LENGTH] or "?")


class OrderAmount(Documented):
    total = Cents(1, required=True)
    currency = Choice("CNY", load_default="CNY")


class Goods(Documented):
    merchant_goods_id = Text(32, required=True)
    wechatpay_goods_id = Text(32)
    goods_name = Text(256)
    quantity = Whole(1, required=True)
    unit_price = Cents(0, required=True)


class Detail(Documented):
    cost_price = Cents(0)
    invoice_id = Text(32)
    goods_detail = Items(Object(Goods()))

    @validates_schema(skip_on_field_errors=False)
    def _is_small(self, data: dict[str, Any], **options: Any) -> None:
        minified = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        if len(minified.encode("utf-8")) > MAX_DETAIL_BYTES:
            raise ValidationError(Message("must be at most {most} bytes as JSON without spaces", most=MAX_DETAIL_BYTES))


class StoreInfo(Documented):
    id = Text(32, required=True)
    name = Text(256)
    area_code = Text(32)
    address = Text(512)


class SceneInfo(Documented):
    payer_client_ip = IpAddress(required=True)
    device_id = Text(32)
    store_info = Object(StoreInfo())


class H5Info(Documented):
    type = Text(32, required=True)
    app_name = Text(64)
    app_url = Text(128)
    bundle_id = Text(128)
    package_name = Text(128)


class H5SceneInfo(SceneInfo):
    h5_info = Object(H5Info(), required=True)


class SettleInfo(Documented):
    profit_sharing = Flag()


class Payer(Documented):
    openid = Text(128, required=True)


class Order(Call):
    """An order paid in an app [4013070347] or by QR code [4012791877]."""

    fixed = ("appid", "mchid", "notify_url")
    chosen = ("appid",)

    description = Text(127, required=True)
    out_trade_no = Code(6, 32, "_-", required=True)
    amount = Object(OrderAmount(), required=True)
    time_expire = Moment()
    attach = Text(128)
    goods_tag = Text(32)
    support_fapiao = Flag()
    limit_pay = Items(Choice("no_balance", "no_credit", "no_debit", "balance_only"))
    detail = Object(Detail())
    scene_info = Object(SceneInfo())
    settle_info = Object(SettleInfo())
    useServiceAccount = Flag()


class JsapiOrder(Order):
    """An order paid inside WeChat, by page or mini program [4012791856]."""

    payer = Object(Payer(), required=True)


class H5Order(Order):
    """An order paid from a mobile browser [4012791834]."""

    scene_info = Object(H5SceneInfo(), required=True)


class OrderByOutTradeNo(Call):
    """An order that may be from elsewhere: its number may use all of WeChat Pay's alphabet."""

    out_trade_no = Code(6, 32, "_-|*", required=True)


class OrderByTransactionId(Call):
    transaction_id = Code(1, 32, "_-", required=True)


class RefundSource(Documented):
    account = Choice("AVAILABLE", "UNAVAILABLE", required=True)
    amount = Cents(1, required=True)


class RefundAmount(Documented):
    class Meta(Documented.Meta):
        include: ClassVar = {"from": Items(Object(RefundSource()))}

    refund = Cents(1, required=True)
    total = Cents(1, required=True)
    currency = Choice("CNY", load_default="CNY")

    @validates_schema(skip_on_field_errors=False)
    def _is_covered(self, data: dict[str, Any], **options: Any) -> None:
        if "refund" in data and "total" in data and data["refund"] > data["total"]:
            raise ValidationError(Message("must be at most amount.total"), "refund")


class RefundGoods(Documented):
    merchant_goods_id = Text(32, required=True)
    wechatpay_goods_id = Text(32)
    goods_name = Text(256)
    unit_price = Cents(0, required=True)
    refund_amount = Cents(0, required=True)
    refund_quantity = Whole(1, required=True)


class Refund(Call):
    """A refund of one order, whole or in part [4013071036]."""

    fixed = ("appid", "mchid", "notify_url")

    transaction_id = Code(1, 32, "_-")
    out_trade_no = Code(6, 32, "_-|*")
    out_refund_no = Code(1, 64, "_-|*@", required=True)
    reason = Text(80, in_bytes=True)
    funds_account = Choice("AVAILABLE", "UNSETTLED")
    amount = Object(RefundAmount(), required=True)
    goods_detail = Items(Object(RefundGoods()))

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _names_one_order(self, data: dict[str, Any], body: Mapping[str, Any], **options: Any) -> None:
        named = [name for name in ("out_trade_no", "transaction_id") if name in body]
        if not named:
            raise ValidationError(Message("or transaction_id is required"), "out_trade_no")
        if len(named) > 1:
            raise ValidationError(
                {
                    "out_trade_no": [Message("must not stand beside transaction_id; send one of the two")],
                    "transaction_id": [Message("must not stand beside out_trade_no; send one of the two")],
                }
            )


class RefundByNumber(Call):
    out_refund_no = Code(1, 64, "_-|*@", required=True)


class SceneReport(Documented):
    info_type = Text(15, required=True)
    info_content = Text(32, required=True)


class RecvStyle(Documented):
    type = Choice("CONFIRM_PAGE", "RED_PACKET")


class Transfer(Call):
    """A transfer that the user confirms [4012716434]."""

    fixed = ("appid", "mchid", "notify_url")
    chosen = ("appid",)

    out_bill_no = Code(1, 32, required=True)
    transfer_scene_id = Text(36, required=True)
    openid = Text(64, required=True)
    user_name = Text(214, in_bytes=True, filled=True)  # in clear: what RSA-OAEP can hold under a 2048-bit key
    transfer_amount = Cents(10, required=True)
    transfer_remark = Text(32, required=True)
    user_recv_perception = Text(64)
    transfer_scene_report_infos = Items(Object(SceneReport()), required=True)
    user_recv_style = Object(RecvStyle())
    useServiceAccount = Flag()

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _names_the_user(self, data: dict[str, Any], body: Mapping[str, Any], **options: Any) -> None:
        amount, named = data.get("transfer_amount"), "user_name" in body
        if amount is None:
            return
        if named and amount < NAME_FORBIDDEN_BELOW:
            raise ValidationError(
                Message("must be left out when transfer_amount is below {least} cents", least=NAME_FORBIDDEN_BELOW),
                "user_name",
            )
        if not named and amount >= NAME_REQUIRED_FROM:
            raise ValidationError(
                Message("is required when transfer_amount is {least} cents or more", least=NAME_REQUIRED_FROM),
                "user_name",
            )


class TransferByOutBillNo(Call):
    out_bill_no = Code(1, 32, required=True)


class TransferByBillNo(Call):
    transfer_bill_no = Code(1, 64, "_-", required=True)


class OrderWait(Call):
    """Waits until a stored order is no longer PENDING, at most `seconds`."""

    out_trade_no = Code(6, 32, "_-|*", required=True)
    seconds = Whole(1, MAX_WAIT, load_default=MAX_WAIT)


class Reconcile(Call):
    """Queries what is due at WeChat Pay: at most `limit` rows, and none begun after `seconds`."""

    limit = Whole(1, 100_000, load_default=1000)
    seconds = Whole(1, MAX_RUN, load_default=10)


class OrdersInit(Call):
    """Makes the tables."""


class TradeBill(Call):
    """One day's trades [4013071227], a Beijing calendar day that is over."""

    bill_date = Day(required=True)


class FundflowBill(Call):
    """One day's movements of an account [4013071235]."""

    bill_date = Day(required=True)
    account_type = Choice("BASIC", "OPERATION", "FEES", load_default="BASIC")


JSAPI_ORDER = JsapiOrder()
NATIVE_ORDER = Order()
H5_ORDER = H5Order()
APP_ORDER = Order()
QUERY_BY_OUT_TRADE_NO = OrderByOutTradeNo()
QUERY_BY_TRANSACTION_ID = OrderByTransactionId()
CLOSE_ORDER = OrderByOutTradeNo()
REFUND = Refund()
REFUND_QUERY = RefundByNumber()
TRANSFER = Transfer()
TRANSFER_CANCEL = TransferByOutBillNo()
TRANSFER_QUERY = TransferByOutBillNo()
TRANSFER_QUERY_BY_NO = TransferByBillNo()
ORDER_WAIT = OrderWait()
RECONCILE = Reconcile()
ORDERS_INIT = OrdersInit()
TRADE_BILL = TradeBill()
FUNDFLOW_BILL = FundflowBill()
