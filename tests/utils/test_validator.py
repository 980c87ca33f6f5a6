import copy
import json
import re
import time

import pytest

from utils import validator
from utils.validator import Invalid, load

GOODS = {
    "merchant_goods_id": "g1",
    "wechatpay_goods_id": "1001",
    "goods_name": "\u676f\u5b50",
    "quantity": 2,
    "unit_price": 50,
}
ORDER = {
    "description": "\u4e00\u676f\u8336",
    "out_trade_no": "ORDER-2030_01",
    "amount": {"total": 100, "currency": "CNY"},
    "time_expire": "2030-01-31T12:00:00+08:00",
    "attach": "shop=1",
    "goods_tag": "WXG",
    "support_fapiao": True,
    "limit_pay": ["no_credit"],
    "detail": {"cost_price": 120, "invoice_id": "i1", "goods_detail": [GOODS]},
    "scene_info": {
        "payer_client_ip": "14.23.150.211",
        "device_id": "d1",
        "store_info": {"id": "s1", "name": "\u5e97", "area_code": "440305", "address": "\u8def 1"},
    },
    "settle_info": {"profit_sharing": False},
    "useServiceAccount": True,
}
JSAPI = {**ORDER, "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}}
H5_INFO = {
    "type": "Wap",
    "app_name": "a",
    "app_url": "https://shop.example",
    "bundle_id": "b",
    "package_name": "p",
}
H5 = {**ORDER, "scene_info": {**ORDER["scene_info"], "h5_info": H5_INFO}}
REFUND = {
    "out_trade_no": "ORDER|2030*01",
    "out_refund_no": "REFUND@1|*_-",
    "reason": "\u9000",
    "funds_account": "AVAILABLE",
    "amount": {
        "refund": 60,
        "total": 100,
        "currency": "CNY",
        "from": [{"account": "AVAILABLE", "amount": 40}, {"account": "UNAVAILABLE", "amount": 20}],
    },
    "goods_detail": [
        {
            "merchant_goods_id": "g1",
            "wechatpay_goods_id": "1001",
            "goods_name": "\u676f\u5b50",
            "unit_price": 50,
            "refund_amount": 50,
            "refund_quantity": 1,
        }
    ],
}
TRANSFER = {
    "out_bill_no": "BILL2030",
    "transfer_scene_id": "1000",
    "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
    "user_name": "\u5f20\u4e09",
    "transfer_amount": 200_000,
    "transfer_remark": "\u5956",
    "user_recv_perception": "\u73b0\u91d1\u5956\u52b1",
    "transfer_scene_report_infos": [
        {"info_type": "\u6d3b\u52a8\u540d\u79f0", "info_content": "\u65b0\u4eba"}
    ],
    "user_recv_style": {"type": "CONFIRM_PAGE"},
    "useServiceAccount": False,
}
VALID = {
    "JSAPI_ORDER": JSAPI,
    "NATIVE_ORDER": ORDER,
    "H5_ORDER": H5,
    "APP_ORDER": ORDER,
    "QUERY_BY_OUT_TRADE_NO": {"out_trade_no": "ORDER|2030*01"},
    "QUERY_BY_TRANSACTION_ID": {"transaction_id": "1217752501201407033233368018"},
    "CLOSE_ORDER": {"out_trade_no": "ORDER|2030*01"},
    "REFUND": REFUND,
    "REFUND_QUERY": {"out_refund_no": "REFUND@1"},
    "TRANSFER": TRANSFER,
    "TRANSFER_CANCEL": {"out_bill_no": "BILL2030"},
    "TRANSFER_QUERY": {"out_bill_no": "BILL2030"},
    "TRANSFER_QUERY_BY_NO": {"transfer_bill_no": "1330000071100999991182020050700019480001"},
}
ORDERS = ["JSAPI_ORDER", "NATIVE_ORDER", "H5_ORDER", "APP_ORDER"]
WITH_NOTIFY_URL = [*ORDERS, "REFUND", "TRANSFER"]
CHOOSES_APPID = [*ORDERS, "TRANSFER"]

NULL = "must not be null; leave it out"
FORBIDDEN = "must not hold control characters or anything above U+FFFF, such as emoji"
STRANGE_TEXTS = [
    "a\nb",
    "a\t",
    "\x00",
    "\x1f",
    "\x7f",
    "\x80",
    "\x9f",
    "\ud800",
    "\udfff",
    "\U0001f600",
    "\U00020bb7",
]
NOT_STRINGS = [20, 1.5, True, [], ["a"], {}, {"a": "b"}]
NOT_INTEGERS = ["20", 20.0, True, False, float("nan"), float("inf"), [], [1], {}]
NOT_OBJECTS = ["", "text", 1, True, [], [{}]]


def problems(name, body, fixed=None):
    with pytest.raises(Invalid) as refused:
        load(getattr(validator, name), body, fixed or {})
    return refused.value.errors


def loaded(name, body, fixed=None):
    return load(getattr(validator, name), body, fixed or {})[0]


def steps(path):
    return [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path)]


def value_at(body, path):
    for step in steps(path):
        body = body[step]
    return body


def with_value(body, path, value):
    body = copy.deepcopy(body)
    *parents, last = steps(path)
    place = body
    for step in parents:
        place = place[step]
    place[last] = value
    return body


def without(body, path):
    body = copy.deepcopy(body)
    *parents, last = steps(path)
    place = body
    for step in parents:
        place = place[step]
    del place[last]
    return body


def paths(value, parent=""):
    """Every field of an example, at every depth."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        path = f"{parent}[{key}]" if isinstance(key, int) else f"{parent}.{key}".lstrip(".")
        yield path
        if isinstance(item, dict | list):
            yield from paths(item, path)


# schema, field, longest, unit, required
TEXTS = [
    ("NATIVE_ORDER", "description", 127, "characters", True),
    ("NATIVE_ORDER", "attach", 128, "characters", False),
    ("NATIVE_ORDER", "goods_tag", 32, "characters", False),
    ("NATIVE_ORDER", "detail.invoice_id", 32, "characters", False),
    ("NATIVE_ORDER", "detail.goods_detail[0].merchant_goods_id", 32, "characters", True),
    ("NATIVE_ORDER", "detail.goods_detail[0].wechatpay_goods_id", 32, "characters", False),
    ("NATIVE_ORDER", "detail.goods_detail[0].goods_name", 256, "characters", False),
    ("NATIVE_ORDER", "scene_info.device_id", 32, "characters", False),
    ("NATIVE_ORDER", "scene_info.store_info.id", 32, "characters", True),
    ("NATIVE_ORDER", "scene_info.store_info.name", 256, "characters", False),
    ("NATIVE_ORDER", "scene_info.store_info.area_code", 32, "characters", False),
    ("NATIVE_ORDER", "scene_info.store_info.address", 512, "characters", False),
    ("JSAPI_ORDER", "payer.openid", 128, "characters", True),
    ("H5_ORDER", "scene_info.h5_info.type", 32, "characters", True),
    ("H5_ORDER", "scene_info.h5_info.app_name", 64, "characters", False),
    ("H5_ORDER", "scene_info.h5_info.app_url", 128, "characters", False),
    ("H5_ORDER", "scene_info.h5_info.bundle_id", 128, "characters", False),
    ("H5_ORDER", "scene_info.h5_info.package_name", 128, "characters", False),
    ("REFUND", "reason", 80, "bytes", False),
    ("REFUND", "goods_detail[0].merchant_goods_id", 32, "characters", True),
    ("REFUND", "goods_detail[0].wechatpay_goods_id", 32, "characters", False),
    ("REFUND", "goods_detail[0].goods_name", 256, "characters", False),
    ("TRANSFER", "transfer_scene_id", 36, "characters", True),
    ("TRANSFER", "openid", 64, "characters", True),
    ("TRANSFER", "user_name", 214, "bytes", True),
    ("TRANSFER", "transfer_remark", 32, "characters", True),
    ("TRANSFER", "user_recv_perception", 64, "characters", False),
    ("TRANSFER", "transfer_scene_report_infos[0].info_type", 15, "characters", True),
    ("TRANSFER", "transfer_scene_report_infos[0].info_content", 32, "characters", True),
]


@pytest.mark.parametrize(("name", "path", "longest", "unit", "required"), TEXTS)
def test_texts_keep_to_their_length_and_characters(name, path, longest, unit, required):
    whole, width = ("\u8336", 3) if unit == "bytes" else ("\u8336", 1)
    longest_text = whole * (longest // width) + "x" * (longest % width)
    length = "1 to" if required else "at most"
    wrong_length = f"must be a string of {length} {longest} {'bytes in UTF-8' if unit == 'bytes' else unit}"

    for good in ["x", "x" * longest, longest_text, " x ", "\uffff", '<"\\>']:
        assert value_at(loaded(name, with_value(VALID[name], path, good)), path) == good
    for bad in [*NOT_STRINGS, longest_text + "x", "x" * (longest + 1)]:
        assert problems(name, with_value(VALID[name], path, bad)) == {path: wrong_length}
    for bad in STRANGE_TEXTS:
        assert problems(name, with_value(VALID[name], path, bad)) == {path: FORBIDDEN}
    for blank in ["", " ", "\u3000"]:
        if required:
            assert problems(name, with_value(VALID[name], path, blank)) == {
                path: f"{wrong_length}, not blank"
            }
        else:
            assert value_at(loaded(name, with_value(VALID[name], path, blank)), path) == blank


# schema, field, shortest, longest, marks
CODES = [
    *[(name, "out_trade_no", 6, 32, "_-") for name in ORDERS],
    ("QUERY_BY_OUT_TRADE_NO", "out_trade_no", 6, 32, "_-|*"),
    ("CLOSE_ORDER", "out_trade_no", 6, 32, "_-|*"),
    ("REFUND", "out_trade_no", 6, 32, "_-|*"),
    ("QUERY_BY_TRANSACTION_ID", "transaction_id", 1, 32, "_-"),
    ("REFUND", "out_refund_no", 1, 64, "_-|*@"),
    ("REFUND_QUERY", "out_refund_no", 1, 64, "_-|*@"),
    ("TRANSFER", "out_bill_no", 1, 32, ""),
    ("TRANSFER_CANCEL", "out_bill_no", 1, 32, ""),
    ("TRANSFER_QUERY", "out_bill_no", 1, 32, ""),
    ("TRANSFER_QUERY_BY_NO", "transfer_bill_no", 1, 64, "_-"),
]


@pytest.mark.parametrize(("name", "path", "shortest", "longest", "marks"), CODES)
def test_numbers_keep_to_their_alphabet_and_length(name, path, shortest, longest, marks):
    kinds = f"letters, digits and {' '.join(marks)}" if marks else "letters and digits"
    expected = {path: f"must be a string of {shortest} to {longest} {kinds}"}
    others = [mark for mark in "_-|*@./%+ :\u00e9\u0661\uff11\u8336\n" if mark not in marks]
    filling = "aZ09" * 16

    for good in [filling[:shortest], filling[:longest], *[filling[: shortest - 1] + mark for mark in marks]]:
        assert loaded(name, with_value(VALID[name], path, good))[path] == good
    for bad in [*NOT_STRINGS, "", filling[: shortest - 1], (filling + "a")[: longest + 1], "a" * 1_000_000]:
        assert problems(name, with_value(VALID[name], path, bad)) == expected
    for mark in others:
        for bad in ["aaaaaaa" + mark, mark + "aaaaaaa", "aaaa" + mark + "aaaa"]:
            assert problems(name, with_value(VALID[name], path, bad)) == expected


def test_a_transaction_id_can_stand_for_the_order_of_a_refund():
    body = {**without(REFUND, "out_trade_no"), "transaction_id": "1217752501201407033233368018"}

    assert loaded("REFUND", body)["transaction_id"] == "1217752501201407033233368018"
    assert problems("REFUND", {**body, "transaction_id": ".."}) == {
        "transaction_id": "must be a string of 1 to 32 letters, digits and _ -"
    }


# schema, field, least, unit
INTEGERS = [
    *[(name, "amount.total", 1, " (cents)") for name in ORDERS],
    ("NATIVE_ORDER", "detail.cost_price", 0, " (cents)"),
    ("NATIVE_ORDER", "detail.goods_detail[0].quantity", 1, ""),
    ("NATIVE_ORDER", "detail.goods_detail[0].unit_price", 0, " (cents)"),
    ("REFUND", "amount.refund", 1, " (cents)"),
    ("REFUND", "amount.total", 1, " (cents)"),
    ("REFUND", "amount.from[0].amount", 1, " (cents)"),
    ("REFUND", "goods_detail[0].unit_price", 0, " (cents)"),
    ("REFUND", "goods_detail[0].refund_amount", 0, " (cents)"),
    ("REFUND", "goods_detail[0].refund_quantity", 1, ""),
    ("TRANSFER", "transfer_amount", 10, " (cents)"),
]


@pytest.mark.parametrize(("name", "path", "least", "unit"), INTEGERS)
def test_integers_are_real_integers_within_bounds(name, path, least, unit):
    bound = "above 0" if least == 1 else f"of at least {least}"

    for bad in [*NOT_INTEGERS, least - 1, -1, -(10**4000)]:
        assert problems(name, with_value(VALID[name], path, bad)) == {
            path: f"must be an integer {bound}{unit}"
        }
    for bad in [2**31, 2**64, 10**4000]:
        assert problems(name, with_value(VALID[name], path, bad)) == {
            path: f"must be an integer of at most 2147483647{unit}"
        }


@pytest.mark.parametrize(
    ("name", "path", "good"),
    [
        ("JSAPI_ORDER", "amount.total", 1),
        ("JSAPI_ORDER", "amount.total", 2**31 - 1),
        ("NATIVE_ORDER", "detail.cost_price", 0),
        ("NATIVE_ORDER", "detail.goods_detail[0].quantity", 1),
        ("NATIVE_ORDER", "detail.goods_detail[0].unit_price", 0),
        ("REFUND", "amount.refund", 1),
        ("REFUND", "amount.refund", 100),
        ("REFUND", "amount.total", 60),
        ("REFUND", "amount.total", 2**31 - 1),
        ("REFUND", "amount.from[0].amount", 1),
        ("REFUND", "goods_detail[0].unit_price", 0),
        ("REFUND", "goods_detail[0].refund_amount", 0),
        ("REFUND", "goods_detail[0].refund_quantity", 1),
        ("TRANSFER", "transfer_amount", 30),
        ("TRANSFER", "transfer_amount", 2**31 - 1),
    ],
)
def test_integers_at_their_bounds_are_accepted(name, path, good):
    taken = value_at(loaded(name, with_value(VALID[name], path, good)), path)

    assert taken == good
    assert type(taken) is int


# schema, field, words
CHOICES = [
    *[(name, "amount.currency", ["CNY"]) for name in [*ORDERS, "REFUND"]],
    ("NATIVE_ORDER", "limit_pay[0]", ["no_balance", "no_credit", "no_debit", "balance_only"]),
    ("REFUND", "funds_account", ["AVAILABLE", "UNSETTLED"]),
    ("REFUND", "amount.from[0].account", ["AVAILABLE", "UNAVAILABLE"]),
    ("TRANSFER", "user_recv_style.type", ["CONFIRM_PAGE", "RED_PACKET"]),
]


@pytest.mark.parametrize(("name", "path", "words"), CHOICES)
def test_choices_take_their_words_only(name, path, words):
    for good in words:
        assert value_at(loaded(name, with_value(VALID[name], path, good)), path) == good
    for bad in [*NOT_STRINGS, "", words[0].swapcase(), words[0] + "\n", " " + words[0], "x" * 1_000_000]:
        assert problems(name, with_value(VALID[name], path, bad)) == {path: f"must be {' or '.join(words)}"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        *[(name, field) for name in ORDERS for field in ("support_fapiao", "settle_info.profit_sharing")],
        *[(name, "useServiceAccount") for name in [*ORDERS, "TRANSFER"]],
    ],
)
def test_flags_are_real_booleans(name, path):
    for good in [True, False]:
        assert value_at(loaded(name, with_value(VALID[name], path, good)), path) is good
    for bad in [0, 1, "true", "false", "", [], {}]:
        assert problems(name, with_value(VALID[name], path, bad)) == {path: "must be true or false"}


@pytest.mark.parametrize(
    "good",
    [
        "2018-06-08T10:34:56+08:00",
        "2018-06-08T10:34:56Z",
        "2018-06-08T10:34:56.120+08:00",
        "2018-06-08T10:34:56.123456789Z",
        "2028-02-29T00:00:00-11:30",
    ],
)
def test_a_time_has_a_date_a_time_and_an_offset(good):
    assert loaded("APP_ORDER", {**ORDER, "time_expire": good})["time_expire"] == good


@pytest.mark.parametrize(
    "bad",
    [
        *NOT_STRINGS,
        "",
        "2018-06-08",
        "2018-06-08T10:34:56",
        "2018-06-08 10:34:56+08:00",
        "2018-06-08t10:34:56z",
        "2018-06-08T10:34:56+0800",
        "2018-06-08T10:34:56+24:00",
        "2018-06-08T10:34:56+08:60",
        "2018-06-08T10:34:56.Z",
        "2018-06-08T10:34Z",
        "2018-02-29T10:34:56Z",
        "2018-13-01T10:34:56Z",
        "2018-06-08T25:34:56Z",
        "2018-06-08T10:34:61Z",
        "0000-06-08T10:34:56Z",
        "20180608103456",
        " 2018-06-08T10:34:56Z",
        "2018-06-08T10:34:56Z\n",
        "\u0662018-06-08T10:34:56Z",
        "2018-06-08T10:34:56." + "1" * 1_000_000 + "Z",
    ],
    ids=lambda bad: str(bad)[:40],
)
def test_a_time_that_is_not_rfc_3339_with_offset_is_refused(bad):
    assert problems("APP_ORDER", {**ORDER, "time_expire": bad}) == {
        "time_expire": "must be a time in RFC 3339 with offset, such as 2030-01-31T12:00:00+08:00"
    }


@pytest.mark.parametrize("name", ORDERS)
def test_the_payers_address_is_ipv4_or_ipv6(name):
    path = "scene_info.payer_client_ip"

    for good in [
        "14.23.150.211",
        "2001:db8::1",
        "::ffff:14.23.150.211",
        "2001:0db8:0000:0000:0000:0000:0000:0001",
    ]:
        assert value_at(loaded(name, with_value(VALID[name], path, good)), path) == good
    for bad in [
        *NOT_STRINGS,
        "",
        "14.23.150",
        "14.23.150.256",
        "14.23.150.211:80",
        "14.23.150.211\n",
        "[2001:db8::1]",
        "fe80::1%eth0",
        "fe80::1%" + "x" * 1_000_000,
        "14.23.150.0/24",
        "\uff11.2.3.4",
        "shop.example",
        "1" * 1_000_000,
        ":" * 1_000_000,
    ]:
        assert problems(name, with_value(VALID[name], path, bad)) == {path: "must be an IPv4 or IPv6 address"}


OBJECTS = [
    *[(name, field) for name in ORDERS for field in ("amount", "detail", "scene_info", "settle_info")],
    ("NATIVE_ORDER", "scene_info.store_info"),
    ("NATIVE_ORDER", "detail.goods_detail[0]"),
    ("JSAPI_ORDER", "payer"),
    ("H5_ORDER", "scene_info.h5_info"),
    ("REFUND", "amount"),
    ("REFUND", "amount.from[0]"),
    ("REFUND", "goods_detail[0]"),
    ("TRANSFER", "transfer_scene_report_infos[0]"),
    ("TRANSFER", "user_recv_style"),
]


@pytest.mark.parametrize(("name", "path"), OBJECTS)
def test_objects_are_objects(name, path):
    for bad in NOT_OBJECTS:
        assert problems(name, with_value(VALID[name], path, bad)) == {path: "must be an object"}


LISTS = [
    ("NATIVE_ORDER", "limit_pay"),
    ("NATIVE_ORDER", "detail.goods_detail"),
    ("REFUND", "amount.from"),
    ("REFUND", "goods_detail"),
    ("TRANSFER", "transfer_scene_report_infos"),
]


@pytest.mark.parametrize(("name", "path"), LISTS)
def test_lists_are_lists_of_bounded_length(name, path):
    for bad in ["", "text", 1, True, {}, {"0": "no_credit"}]:
        assert problems(name, with_value(VALID[name], path, bad)) == {path: "must be a list"}
    assert problems(name, with_value(VALID[name], path, [{}] * 10_000)) == {
        path: "must be a list of at most 200 items"
    }


def test_a_required_list_is_never_empty_and_others_may_be():
    assert problems("TRANSFER", {**TRANSFER, "transfer_scene_report_infos": []}) == {
        "transfer_scene_report_infos": "must be a list of at least one item"
    }
    assert loaded("REFUND", {**REFUND, "goods_detail": []})["goods_detail"] == []


@pytest.mark.parametrize("name", VALID)
def test_every_documented_field_passes_through(name):
    data, dropped = load(getattr(validator, name), VALID[name], {})

    assert data == VALID[name]
    assert dropped == []


@pytest.mark.parametrize(("name", "path"), [(name, path) for name in VALID for path in paths(VALID[name])])
def test_null_is_refused_in_every_field(name, path):
    errors = problems(name, with_value(VALID[name], path, None))

    assert errors[path] == NULL
    assert set(errors) == {path}


REQUIRED = {
    "JSAPI_ORDER": ["description", "out_trade_no", "amount.total", "payer.openid"],
    "NATIVE_ORDER": ["description", "out_trade_no", "amount.total"],
    "H5_ORDER": [
        "description",
        "out_trade_no",
        "amount.total",
        "scene_info.payer_client_ip",
        "scene_info.h5_info.type",
    ],
    "APP_ORDER": ["description", "out_trade_no", "amount.total"],
    "QUERY_BY_OUT_TRADE_NO": ["out_trade_no"],
    "QUERY_BY_TRANSACTION_ID": ["transaction_id"],
    "CLOSE_ORDER": ["out_trade_no"],
    "REFUND_QUERY": ["out_refund_no"],
    "TRANSFER": [
        "out_bill_no",
        "transfer_scene_id",
        "openid",
        "transfer_amount",
        "transfer_remark",
        "transfer_scene_report_infos",
    ],
    "TRANSFER_CANCEL": ["out_bill_no"],
    "TRANSFER_QUERY": ["out_bill_no"],
    "TRANSFER_QUERY_BY_NO": ["transfer_bill_no"],
}


@pytest.mark.parametrize("name", REQUIRED)
def test_an_empty_body_is_told_every_required_field(name):
    assert problems(name, {}) == dict.fromkeys(REQUIRED[name], "is required")


def test_an_empty_refund_is_told_every_required_field():
    assert problems("REFUND", {}) == {
        "out_refund_no": "is required",
        "amount.refund": "is required",
        "amount.total": "is required",
        "out_trade_no": "or transaction_id is required",
    }


NESTED_REQUIRED = [
    ("NATIVE_ORDER", "detail.goods_detail[0].merchant_goods_id"),
    ("NATIVE_ORDER", "detail.goods_detail[0].quantity"),
    ("NATIVE_ORDER", "detail.goods_detail[0].unit_price"),
    ("NATIVE_ORDER", "scene_info.payer_client_ip"),
    ("NATIVE_ORDER", "scene_info.store_info.id"),
    ("REFUND", "amount.from[1].account"),
    ("REFUND", "amount.from[1].amount"),
    ("REFUND", "goods_detail[0].merchant_goods_id"),
    ("REFUND", "goods_detail[0].unit_price"),
    ("REFUND", "goods_detail[0].refund_amount"),
    ("REFUND", "goods_detail[0].refund_quantity"),
    ("TRANSFER", "transfer_scene_report_infos[0].info_type"),
    ("TRANSFER", "transfer_scene_report_infos[0].info_content"),
]


@pytest.mark.parametrize(("name", "path"), NESTED_REQUIRED)
def test_a_missing_field_is_named_with_its_place(name, path):
    assert problems(name, without(VALID[name], path)) == {path: "is required"}


@pytest.mark.parametrize("name", [name for name in VALID if name not in {"REFUND"}])
def test_all_other_fields_may_be_left_out(name):
    needed = {path.split(".")[0] for path in REQUIRED[name]} | (
        {"user_name"} if name == "TRANSFER" else set()
    )
    body = {field: value for field, value in VALID[name].items() if field in needed}

    assert loaded(name, body) == body


def test_currency_is_filled_in():
    assert loaded("NATIVE_ORDER", without(ORDER, "amount.currency"))["amount"] == ORDER["amount"]
    assert loaded("REFUND", without(REFUND, "amount.currency"))["amount"] == REFUND["amount"]


def test_detail_is_measured_in_bytes_without_spaces():
    def detail(name_length, items=20):
        return {
            "goods_detail": [{**GOODS, "goods_name": "\u8336" * 60}] * (items - 1)
            + [{**GOODS, "goods_name": "x" * name_length}]
        }

    def size(value):
        return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())

    items = max(count for count in range(1, 60) if size(detail(0, count)) <= 6144)
    fitting = detail(6144 - size(detail(0, items)), items)
    assert size(fitting) == 6144

    assert loaded("NATIVE_ORDER", {**ORDER, "detail": fitting})["detail"] == fitting
    fitting["goods_detail"][-1]["goods_name"] += "x"
    assert problems("NATIVE_ORDER", {**ORDER, "detail": fitting}) == {
        "detail": "must be at most 6144 bytes as JSON without spaces"
    }


def test_a_refund_names_one_order_by_one_number():
    both = {**REFUND, "transaction_id": "1217752501201407033233368018"}

    assert problems("REFUND", both) == {
        "out_trade_no": "must not stand beside transaction_id; send one of the two",
        "transaction_id": "must not stand beside out_trade_no; send one of the two",
    }
    assert problems("REFUND", without(REFUND, "out_trade_no")) == {
        "out_trade_no": "or transaction_id is required"
    }


def test_a_refund_is_at_most_the_order():
    assert problems("REFUND", with_value(REFUND, "amount.refund", 101)) == {
        "amount.refund": "must be at most amount.total"
    }


@pytest.mark.parametrize(
    ("amount", "named", "problem"),
    [
        (10, False, None),
        (10, True, "must be left out when transfer_amount is below 30 cents"),
        (29, False, None),
        (29, True, "must be left out when transfer_amount is below 30 cents"),
        (30, False, None),
        (30, True, None),
        (199_999, False, None),
        (199_999, True, None),
        (200_000, False, "is required when transfer_amount is 200000 cents or more"),
        (200_000, True, None),
    ],
)
def test_the_amount_decides_whether_a_transfer_names_the_user(amount, named, problem):
    body = {**TRANSFER, "transfer_amount": amount}
    if not named:
        del body["user_name"]

    if problem:
        assert problems("TRANSFER", body) == {"user_name": problem}
    else:
        assert loaded("TRANSFER", body) == body


def test_all_offending_fields_of_all_depths_are_named_at_once():
    goods = [GOODS, {**GOODS, "quantity": 0}, {**GOODS, "unit_price": "1"}, None]
    body = {
        "description": "",
        "out_trade_no": "a/b",
        "amount": {"total": "100"},
        "detail": {"goods_detail": goods, "cost_price": -1},
        "scene_info": {"h5_info": {}},
        "settle_info": {"profit_sharing": 1},
        "appid": "wx-other",
        "mchid": None,
        "notify_url": "https://elsewhere.example/pay",
    }

    with pytest.raises(Invalid) as refused:
        load(validator.H5_ORDER, body, {"appid": ["wx1"], "mchid": ["1900000109"]})

    assert refused.value.errors == {
        "description": "must be a string of 1 to 127 characters, not blank",
        "out_trade_no": "must be a string of 6 to 32 letters, digits and _ -",
        "amount.total": "must be an integer above 0 (cents)",
        "detail.cost_price": "must be an integer of at least 0 (cents)",
        "detail.goods_detail[1].quantity": "must be an integer above 0",
        "detail.goods_detail[2].unit_price": "must be an integer of at least 0 (cents)",
        "detail.goods_detail[3]": NULL,
        "scene_info.payer_client_ip": "is required",
        "scene_info.h5_info.type": "is required",
        "settle_info.profit_sharing": "must be true or false",
        "appid": "must be the configured one, or be left out",
        "mchid": NULL,
        "notify_url": "must be left out",
    }
    text = str(refused.value)
    assert "\n" not in text
    for name, message in refused.value.errors.items():
        assert f"{name} {message}" in text


def test_rules_between_fields_are_told_together_with_the_fields_of_their_own():
    goods = [{**GOODS, "goods_name": "x" * 256}] * 40
    assert problems("NATIVE_ORDER", {"detail": {"goods_detail": [*goods, {}], "cost_price": -1}}) == {
        "description": "is required",
        "out_trade_no": "is required",
        "amount.total": "is required",
        "detail": "must be at most 6144 bytes as JSON without spaces",
        "detail.cost_price": "must be an integer of at least 0 (cents)",
        "detail.goods_detail[40].merchant_goods_id": "is required",
        "detail.goods_detail[40].quantity": "is required",
        "detail.goods_detail[40].unit_price": "is required",
    }
    refund = {"out_trade_no": None, "transaction_id": "1", "amount": {"refund": 2, "total": 1, "from": [1]}}
    assert problems("REFUND", refund) == {
        "out_trade_no": f"{NULL} and must not stand beside transaction_id; send one of the two",
        "transaction_id": "must not stand beside out_trade_no; send one of the two",
        "out_refund_no": "is required",
        "amount.refund": "must be at most amount.total",
        "amount.from[0]": "must be an object",
    }
    assert problems("TRANSFER", {**without(TRANSFER, "openid"), "transfer_amount": 10}) == {
        "openid": "is required",
        "user_name": "must be left out when transfer_amount is below 30 cents",
    }


FIXED = {
    "appid": {"wx1", "wx2"},
    "mchid": ("1900000109",),
    "notify_url": ["https://pay.example/wx-pay/unifiedOrderTrigger"],
}


@pytest.mark.parametrize("name", VALID)
def test_fixed_fields_may_be_repeated_and_only_the_choice_of_appid_is_kept(name):
    body = {**VALID[name], "appid": "wx2", "mchid": "1900000109"}
    if name in WITH_NOTIFY_URL:
        body["notify_url"] = FIXED["notify_url"][0]

    data, dropped = load(getattr(validator, name), body, FIXED)

    assert data == VALID[name] | ({"appid": "wx2"} if name in CHOOSES_APPID else {})
    assert dropped == []


@pytest.mark.parametrize("name", VALID)
@pytest.mark.parametrize("field", ["appid", "mchid", "notify_url"])
def test_a_fixed_field_of_another_value_is_refused(name, field):
    if field == "notify_url" and name not in WITH_NOTIFY_URL:
        assert load(getattr(validator, name), {**VALID[name], field: "x"}, FIXED) == (VALID[name], [field])
        return
    for bad in [*NOT_STRINGS, "", "wx", "WX1", "wx1\n", "1900000108", 1900000109, "x" * 1_000_000]:
        assert problems(name, {**VALID[name], field: bad}, FIXED) == {
            field: "must be the configured one, or be left out"
        }
    assert problems(name, {**VALID[name], field: None}, FIXED) == {field: NULL}


@pytest.mark.parametrize("name", VALID)
@pytest.mark.parametrize("allowed", [{}, {"appid": [], "mchid": (), "notify_url": set()}])
def test_a_fixed_field_without_a_configured_value_must_be_left_out(name, allowed):
    for field in ["appid", "mchid"]:
        for value in ["wx1", "", None, 1]:
            assert problems(name, {**VALID[name], field: value}, allowed) == {field: "must be left out"}


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://pay.example/wx-pay/unifiedOrderTrigger", True),
        ("https://pay.example:443/wx-pay/unifiedOrderTrigger", True),
        ("HTTPS://Pay.Example/wx-pay/unifiedOrderTrigger", True),
        ("https://pay.example/wx-pay/unifiedOrderTrigger?from=app#top", True),
        ("http://pay.example/wx-pay/unifiedOrderTrigger", False),
        ("http://pay.example:443/wx-pay/unifiedOrderTrigger", False),
        ("https://pay.example:8443/wx-pay/unifiedOrderTrigger", False),
        ("https://pay.example:0/wx-pay/unifiedOrderTrigger", False),
        ("https://pay.example:x/wx-pay/unifiedOrderTrigger", False),
        ("https://pay.example:99999/wx-pay/unifiedOrderTrigger", False),
        ("https://pay.example/wx-pay/unifiedordertrigger", False),
        ("https://pay.example/wx-pay/unifiedOrderTrigger/", False),
        ("https://pay.example/", False),
        ("https://pay.example", False),
        ("https://pay.example.evil/wx-pay/unifiedOrderTrigger", False),
        ("https://pay.example@evil.example/wx-pay/unifiedOrderTrigger", False),
        ("https://evil.example/https://pay.example/wx-pay/unifiedOrderTrigger", False),
        ("https://[pay.example/wx-pay/unifiedOrderTrigger", False),
        ("https://pay.example/wx-pay/\nunifiedOrderTrigger", False),
        ("//pay.example/wx-pay/unifiedOrderTrigger", False),
        ("", False),
        ("https://pay.example/wx-pay/unifiedOrderTrigger?" + "x" * 1_000_000, False),
    ],
    ids=lambda value: str(value)[:80],
)
def test_a_notify_url_is_compared_by_scheme_host_port_and_path(url, same):
    body = {**ORDER, "notify_url": url}

    if same:
        assert loaded("NATIVE_ORDER", body, FIXED) == ORDER
    else:
        assert problems("NATIVE_ORDER", body, FIXED) == {
            "notify_url": "must be the configured one, or be left out"
        }


def test_a_notify_url_is_refused_where_the_configured_one_is_no_url():
    for url in ["", "https://[", "https://pay.example:x/"]:
        assert problems(
            "NATIVE_ORDER", {**ORDER, "notify_url": url}, {"notify_url": ["https://pay.example:y/"]}
        )


def test_undocumented_fields_are_dropped_at_every_depth_and_named():
    body = with_value(JSAPI, "extra", {"deep": None})
    body = with_value(body, "payer.identity", {"type": "IDCARD"})
    body = with_value(body, "detail.goods_detail[0].colour", "red")
    body = with_value(body, "scene_info.h5_info", H5_INFO)
    body = with_value(body, "scene_info.store_info.floor", 3)

    data, dropped = load(validator.JSAPI_ORDER, body, {})

    assert data == JSAPI
    assert sorted(dropped) == [
        "detail.goods_detail[0].colour",
        "extra",
        "payer.identity",
        "scene_info.h5_info",
        "scene_info.store_info.floor",
    ]


def test_names_of_undocumented_fields_are_safe_to_log():
    strange = {"a\nb\x1b[31m": 1, "\u8336": 1, "": 1, "n" * 1_000_000: 1, "\ud800x": 1, "\x00" * 1_000_000: 1}

    dropped = load(validator.NATIVE_ORDER, {**ORDER, **strange}, {})[1]

    assert dropped == ["ab[31m", "?", "?", "n" * 40, "x", "?"]


def test_few_undocumented_fields_are_named_however_many_there_are():
    many = {f"field{number}": number for number in range(100_000)}

    data, dropped = load(validator.NATIVE_ORDER, {**many, **ORDER}, {})

    assert data == ORDER
    assert dropped == [f"field{number}" for number in range(20)]


@pytest.mark.parametrize("name", VALID)
def test_the_input_is_never_modified_or_shared(name):
    body = {**copy.deepcopy(VALID[name]), "mchid": "1900000109", "extra": [1]}
    before = copy.deepcopy(body)

    data = loaded(name, body, FIXED)
    for value in data.values():
        if isinstance(value, dict | list):
            value.clear()

    assert body == before


def test_the_defaults_of_one_call_are_not_those_of_the_next():
    loaded("NATIVE_ORDER", without(ORDER, "amount.currency"))["amount"]["currency"] = "USD"

    assert loaded("NATIVE_ORDER", without(ORDER, "amount.currency"))["amount"]["currency"] == "CNY"


@pytest.mark.parametrize(("name", "path"), [(name, path) for name in VALID for path in paths(VALID[name])])
@pytest.mark.parametrize("bad", ["s3cret\n" + "x" * 600, ["s3cret\n"]], ids=["text", "list"])
def test_a_refusal_never_quotes_what_was_sent(name, path, bad):
    with pytest.raises(Invalid) as refused:
        load(getattr(validator, name), with_value(VALID[name], path, bad), {})

    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None


@pytest.mark.parametrize("name", VALID)
@pytest.mark.parametrize(
    "hostile",
    [
        "a" * 1_000_000,
        "\u8336" * 1_000_000,
        " " * 1_000_000,
        "2018-06-08T10:34:56." * 50_000,
        "1.2.3.4" * 150_000,
        10**4000,
        -(10**4000),
        [{}] * 10_000,
        [None] * 10_000,
        ["a" * 100] * 10_000,
        {f"field{number}": {} for number in range(10_000)},
    ],
    ids=lambda hostile: str(type(hostile).__name__),
)
def test_values_of_any_size_are_refused_quickly_and_briefly(name, hostile):
    body = dict.fromkeys([*VALID[name], "appid", "mchid", "notify_url", "extra"], hostile)
    started = time.monotonic()

    with pytest.raises(Invalid) as refused:
        load(getattr(validator, name), body, FIXED)

    assert time.monotonic() - started < 2
    assert len(str(refused.value)) < 100_000


def test_an_answer_about_many_bad_items_stays_bounded():
    started = time.monotonic()

    errors = problems("REFUND", {**REFUND, "goods_detail": [{}] * 200})

    assert time.monotonic() - started < 2
    assert len(errors) == 200 * 4


# What works on the order database


@pytest.mark.parametrize("name", ["TRADE_BILL", "FUNDFLOW_BILL"])
@pytest.mark.parametrize("day", ["2026-02-28", "2024-02-29", "2026-12-31"])
def test_a_bills_day_is_taken_as_it_is_written(name: str, day: str):
    assert loaded(name, {"bill_date": day})["bill_date"] == day


@pytest.mark.parametrize("name", ["TRADE_BILL", "FUNDFLOW_BILL"])
@pytest.mark.parametrize(
    "day",
    ["2026-02-29", "2026-13-01", "20260228", "2026-2-28", "26-02-28", "2026-02-28T00:00:00", " 2026-02-28",
     "2026-02-28\n", "\uff12\uff10\uff12\uff16-02-28", "yesterday", "", 20260228, True, ["2026-02-28"]],
)  # fmt: skip
def test_what_is_no_day_is_told_how_one_is_written(name: str, day: object):
    assert problems(name, {"bill_date": day}) == {"bill_date": "must be a day as YYYY-MM-DD"}


def test_a_bill_needs_its_day_and_an_account_that_there_is():
    for name in ("TRADE_BILL", "FUNDFLOW_BILL"):
        assert problems(name, {}) == {"bill_date": "is required"}
    assert loaded("FUNDFLOW_BILL", {"bill_date": "2026-02-28"})["account_type"] == "BASIC"
    for account in ("BASIC", "OPERATION", "FEES"):
        body = {"bill_date": "2026-02-28", "account_type": account}
        assert loaded("FUNDFLOW_BILL", body) == body
    assert list(problems("FUNDFLOW_BILL", {"bill_date": "2026-02-28", "account_type": "basic"})) == ["account_type"]


@pytest.mark.parametrize(
    ("name", "body", "unset", "most"),
    [
        ("ORDER_WAIT", {"out_trade_no": "ORDER-2030_01"}, {"seconds": 18}, {"seconds": 18}),
        ("RECONCILE", {}, {"limit": 1000, "seconds": 10}, {"limit": 100_000, "seconds": 12}),
    ],
)
def test_bounds_of_what_works_on_the_order_database(name: str, body: dict, unset: dict, most: dict):
    assert loaded(name, body) == body | unset
    for field, value in most.items():
        assert loaded(name, body | {field: 1})[field] == 1
        assert loaded(name, body | {field: value})[field] == value
        for bad in (0, value + 1, -1, 1.5, "1", True, None):
            assert list(problems(name, body | {field: bad})) == [field]


def test_an_order_that_is_waited_for_is_named_as_it_was_placed():
    for number in ("A" * 6, "A" * 32, "a_b-c|d*e"):
        assert loaded("ORDER_WAIT", {"out_trade_no": number})["out_trade_no"] == number
    for number in ("A" * 5, "A" * 33, "ORDER 1", "", None, 123456):
        assert list(problems("ORDER_WAIT", {"out_trade_no": number})) == ["out_trade_no"]
    assert problems("ORDER_WAIT", {}) == {"out_trade_no": "is required"}
    assert loaded("ORDERS_INIT", {}) == {}


# Repeated settings, to the letter


def test_an_appid_is_no_address():
    fixed = {"appid": ["wx1"], "mchid": ["1900000109"], "notify_url": ["https://shop.example/pay"]}
    for other in ("wx1?x", "wx1#x", "wx1/", "WX1"):
        assert list(problems("NATIVE_ORDER", {**ORDER, "appid": other}, fixed)) == ["appid"]


@pytest.mark.parametrize(
    ("url", "configured"),
    [
        ("http://shop.example:80/pay", "http://shop.example/pay"),
        ("https://shop.example:443/pay", "https://shop.example/pay"),
        ("https://shop.example", "https://shop.example/"),
        ("https://shop.example/pay?" + "q" * 231, "https://shop.example/pay"),
    ],
)
def test_a_notify_url_that_leads_to_the_same_place_may_be_repeated(url: str, configured: str):
    fixed = {"notify_url": [configured]}
    assert len(url) <= 256
    loaded("NATIVE_ORDER", {**ORDER, "notify_url": url}, fixed)
    longer = url + "?" + "q" * (256 - len(url))
    for other in (longer, url.replace("shop", "shop2"), url.replace("/pay", "/paid").replace("example:", "example:1")):
        if other != url:
            assert list(problems("NATIVE_ORDER", {**ORDER, "notify_url": other}, fixed)) == ["notify_url"]
