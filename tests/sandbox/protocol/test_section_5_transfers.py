"""Section 5.7, row by row: transfers that the user confirms."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.sandbox.conftest import BILLS
from tests.sandbox.protocol.conftest import OAEP, advance_to, beijing, moment, refusal
from tests.sandbox.protocol.fields import MISSING, Row, assert_points_at, changed

# Fields

FULL: dict[str, Any] = {
    "user_recv_perception": "现金奖励",
    "user_recv_style": {"type": "CONFIRM_PAGE"},
}
ROWS = [
    Row("/appid", 32, required=True, fits=False, bad=("",)),
    Row(
        "/out_bill_no",
        32,
        required=True,
        stuff="0",
        good=("1", "Zz09"),
        bad=("", "BILL_1", "BILL-1", "BILL 1", "BILL1\n", "单", "B|1"),
    ),
    Row("/transfer_scene_id", 36, required=True, fits=False, bad=("",)),
    Row("/openid", 64, required=True, bad=("",)),
    Row("/transfer_amount", required=True, kind="integer", good=(10, 199_999), bad=(0, -1, 10.5, "10")),
    Row("/transfer_remark", 32, required=True, stuff="奖", bad=("", "\U0001f381")),
    Row("/notify_url", 256, fits=False, bad=("http://shop.example/t", "https://shop.example/t?a=1")),
    Row("/user_recv_perception", fits=False, good=("", "活动奖励")),
    Row("/user_recv_style", kind="object", bad=({},)),
    Row("/user_recv_style/type", required=True, good=("RED_PACKET",), bad=("ENVELOPE", "")),
    Row("/transfer_scene_report_infos", required=True, kind="array", bad=([],)),
    Row("/transfer_scene_report_infos/#/info_type", 15, required=True, fits=False, bad=("",)),
    Row("/transfer_scene_report_infos/#/info_content", 32, required=True, stuff="奖", bad=("",)),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_field_of_a_transfer(merchant, box, row):
    body = merchant.transfer() | FULL
    for value in row.wrong():
        if row.pointer.endswith("info_type") and value == "text":
            continue  # a word that is not the scene's: see the scenes below
        if row.pointer == "/user_recv_perception" and value == "text":
            continue
        assert_points_at(merchant.send("POST", BILLS, changed(body, row.pointer, value)), row.pointer, value)
    assert box.ledger.transfers == {}
    for index, value in enumerate(row.right()):
        own = body if row.pointer == "/out_bill_no" else body | {"out_bill_no": f"GOOD{index}"}
        answer = merchant.send("POST", BILLS, changed(own, row.pointer, value))
        assert answer.status == 200, (row.pointer, value, answer.body)


@pytest.mark.parametrize("field", ["mchid", "mch_id", "extra"])
def test_a_field_that_is_not_in_the_body(merchant, field):
    body = merchant.transfer() | {field: merchant.credentials.merchant_id}
    assert_points_at(merchant.send("POST", BILLS, body), f"/{field}", MISSING)


def test_an_appid_of_another_merchant(merchant):
    """Its own code, if it has one, is on no page of transfers."""
    answer = merchant.send("POST", BILLS, merchant.transfer(appid="wx0000000000000000"))
    assert refusal(answer) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(("amount", "accepted"), [(1, False), (9, False), (10, True), (11, True)])
def test_the_least_amount_is_ten_fen(merchant, amount, accepted):
    answer = merchant.send("POST", BILLS, merchant.transfer(amount=amount))
    assert answer.status == (200 if accepted else 400)
    assert accepted or answer.json["code"] == "INVALID_REQUEST"


# user_name


@pytest.mark.parametrize(
    ("amount", "named", "accepted"),
    [
        (29, True, False),
        (29, False, True),
        (30, True, True),
        (30, False, True),
        (199_999, True, True),
        (199_999, False, True),
        (200_000, True, True),
        (200_000, False, False),
    ],
    ids=str,
)
def test_the_thresholds_of_user_name(merchant, amount, named, accepted):
    more = {"user_name": merchant.encrypted("张三")} if named else {}
    answer = merchant.send("POST", BILLS, merchant.transfer(amount=amount, **more), headers=merchant.named)
    if accepted:
        assert answer.status == 200
    else:
        assert_points_at(answer, "/user_name", MISSING)
        assert amount >= 30 or "0.3元以下不允许输入姓名校验" in answer.json["message"]


@pytest.mark.parametrize(
    ("real_name", "given", "accepted"),
    [
        ("张三", "张三", True),
        ("张三", "李四", False),
        ("张三", "张三 ", False),
        ("张三", None, True),
        ("", "李四", True),
    ],
    ids=["the real name", "another's", "nearly", "none given", "nobody known"],
)
def test_user_name_is_compared_with_the_real_name(merchant, box, real_name, given, accepted):
    box.merchant.know("oUser", real_name=real_name)
    more = {} if given is None else {"user_name": merchant.encrypted(given)}
    answer = merchant.send("POST", BILLS, merchant.transfer(**more), headers=merchant.named)
    if accepted:
        assert answer.status == 200
    else:
        assert refusal(answer) == (400, "INVALID_REQUEST")
        assert refusal(merchant.transfer_query()) == (404, "NOT_FOUND")


def test_user_name_comes_back_for_the_merchants_key(merchant, box):
    body = merchant.transfer(user_name=merchant.encrypted("张三"))
    assert merchant.send("POST", BILLS, body, headers=merchant.named).status == 200
    shown = merchant.transfer_query().json["user_name"]
    assert len(shown) == 344
    assert merchant.credentials.merchant.key.decrypt(base64.b64decode(shown), OAEP).decode() == "张三"


def test_user_name_may_be_encrypted_for_the_platform_certificate(merchant, box):
    box.certificates_available = True
    pair = box.credentials.platform[0]
    named = merchant.encrypted("张三", pair.certificate.public_key())
    box.merchant.know("oUser", real_name="张三")
    body = merchant.transfer(user_name=named)
    assert merchant.send("POST", BILLS, body, headers={"Wechatpay-Serial": pair.serial}).status == 200
    wrong = merchant.send("POST", BILLS, merchant.transfer("BILL2", user_name=named), headers=merchant.named)
    assert_points_at(wrong, "/user_name", MISSING)


SHA256 = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


@pytest.mark.parametrize("how", ["in clear", "SHA-256", "for somebody else", "cut off", "no base64", "PKCS#1 v1.5"])
def test_user_name_that_cannot_be_read(merchant, how):
    good = merchant.encrypted("张三")
    public = merchant.credentials.public_key.public_key()
    given = {
        "in clear": "张三",
        "SHA-256": merchant.encrypted("张三", scheme=SHA256),
        "for somebody else": merchant.encrypted("张三", rsa.generate_private_key(65537, 2048).public_key()),
        "cut off": good[:-8],
        "no base64": "*" + good[1:],
        "PKCS#1 v1.5": base64.b64encode(public.encrypt(b"x", padding.PKCS1v15())).decode(),
    }[how]
    answer = merchant.send("POST", BILLS, merchant.transfer(user_name=given), headers=merchant.named)
    assert_points_at(answer, "/user_name", MISSING)


@pytest.mark.parametrize("serial", [None, "PUB_KEY_ID_00", "5" * 40])
def test_the_key_of_user_name_has_to_be_named(merchant, serial):
    body = merchant.transfer(user_name=merchant.encrypted("张三"))
    answer = merchant.send("POST", BILLS, body, headers={"Wechatpay-Serial": serial})
    assert refusal(answer) == (400, "PARAM_ERROR")
    assert "Wechatpay-Serial" in answer.json["message"]


# Scenes: id, info_type values, perceptions (the first is the default), whether as a red packet

SCENES = [
    ("1000", ["活动名称", "奖励说明"], ["活动奖励", "现金奖励"], True),
    ("1002", ["补贴类型"], ["行政补贴", "行政奖励"], True),
    ("1004", ["保险产品备案编号", "保险名称", "保险操作单号"], ["保险理赔款"], False),
    ("1005", ["岗位类型", "报酬说明"], ["劳务报酬", "报销款", "企业补贴", "开工利是"], True),
    ("1009", ["采购商品名称"], ["货款"], False),
    ("1010", ["回收商品名称"], ["二手回收货款"], False),
    ("1011", ["赔付原因"], ["退款", "商家赔付"], True),
    ("1013", ["公益活动名称", "公益活动备案编号"], ["公益补助金"], False),
]


def in_scene(merchant, scene: str, types: list[str], number: str = "BILL1", **more: Any) -> dict[str, Any]:
    infos = [{"info_type": kind, "info_content": "x"} for kind in types]
    return merchant.transfer(number, transfer_scene_id=scene, transfer_scene_report_infos=infos, **more)


@pytest.mark.parametrize(("scene", "types", "perceptions", "red_packet"), SCENES, ids=[row[0] for row in SCENES])
class TestScene:
    def test_its_info_types_each_once_in_any_order(self, merchant, scene, types, perceptions, red_packet):
        assert merchant.send("POST", BILLS, in_scene(merchant, scene, types)).status == 200
        assert merchant.send("POST", BILLS, in_scene(merchant, scene, types[::-1], "BILL2")).status == 200
        for wrong in ([*types[1:], "无"], [*types, types[0]], [*types, "无"], types[:-1] or ["无"]):
            answer = merchant.send("POST", BILLS, in_scene(merchant, scene, wrong, "BILL3"))
            assert_points_at(answer, "/transfer_scene_report_infos", wrong)

    def test_its_perceptions(self, merchant, scene, types, perceptions, red_packet):
        everyone = {word for _, _, words, _ in SCENES for word in words} | {"谢谢"}
        for index, word in enumerate([*perceptions, ""]):
            body = in_scene(merchant, scene, types, f"GOOD{index}", user_recv_perception=word)
            assert merchant.send("POST", BILLS, body).status == 200, word
        for word in everyone - set(perceptions):
            body = in_scene(merchant, scene, types, user_recv_perception=word)
            assert refusal(merchant.send("POST", BILLS, body)) == (400, "INVALID_REQUEST"), word

    @pytest.mark.parametrize("amount", [20_000, 20_001])
    def test_whether_it_may_be_a_red_packet(self, merchant, scene, types, perceptions, red_packet, amount):
        body = in_scene(merchant, scene, types, user_recv_style={"type": "RED_PACKET"}, transfer_amount=amount)
        answer = merchant.send("POST", BILLS, body)
        if red_packet and amount == 20_000:
            assert answer.status == 200
        else:
            assert refusal(answer) == (400, "INVALID_REQUEST")
        page = {"type": "CONFIRM_PAGE"}
        body = in_scene(merchant, scene, types, "BILL2", user_recv_style=page, transfer_amount=amount)
        assert merchant.send("POST", BILLS, body).status == 200


@pytest.mark.parametrize("scene", ["1001", "9999", "1000 "])
def test_a_scene_that_the_merchant_has_not(merchant, scene):
    answer = merchant.send("POST", BILLS, merchant.transfer(transfer_scene_id=scene))
    assert refusal(answer) == (400, "INVALID_REQUEST")


# Answer


@pytest.mark.parametrize("start", ["ACCEPTED", "PROCESSING", "WAIT_USER_CONFIRM"])
def test_the_answer_has_package_info_only_while_the_user_has_to_confirm(merchant, box, start):
    box.merchant.change(transfer_start=start)
    shown = merchant.transferred()
    expected = {"out_bill_no", "transfer_bill_no", "create_time", "state"}
    waits = start == "WAIT_USER_CONFIRM"
    assert set(shown) == (expected | {"package_info"} if waits else expected)
    assert (shown["state"], shown["out_bill_no"]) == (start, "BILL1")
    assert 0 < len(shown["transfer_bill_no"]) <= 64
    assert moment(shown["create_time"]) == pytest.approx(box.clock.now(), abs=2)
    assert not waits or 0 < len(shown["package_info"]) <= 1024
    box.advance("10s")
    again = merchant.transferred()
    assert again["state"] == "WAIT_USER_CONFIRM"
    assert box.phone.open(package_info=again["package_info"])["number"] == "BILL1"


# Idempotency


def test_the_same_number_is_the_same_bill(merchant, box):
    first = merchant.transferred()
    assert [merchant.transferred() for _ in range(3)] == [first] * 3
    assert len(box.ledger.transfers) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"transfer_amount": 101},
        {"openid": "oOther"},
        {"transfer_remark": "other"},
        {"user_recv_perception": "现金奖励"},
        {"notify_url": "https://shop.example/elsewhere"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_same_number_with_other_parameters_is_refused(merchant, box, change):
    merchant.transferred()
    answer = merchant.send("POST", BILLS, merchant.transfer(**change))
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert "单号已存在但信息不一致" in answer.json["message"]
    assert len(box.ledger.transfers) == 1


def test_a_name_encrypted_anew_is_the_same_name(merchant):
    """Unverified (section 12): whether the real one compares what is encrypted or the encryption."""
    bodies = [merchant.transfer(user_name=merchant.encrypted(name)) for name in ("张三", "张三", "李四")]
    first, again, other = (merchant.send("POST", BILLS, body, headers=merchant.named) for body in bodies)
    assert len({body["user_name"] for body in bodies}) == 3
    assert (first.status, again.json) == (200, first.json)
    assert refusal(other) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(("days", "accepted"), [(0, True), (1, True), (2, True), (3, False), (4, False)])
def test_the_same_may_be_sent_for_three_calendar_days(merchant, box, days, accepted):
    """The bill would lapse after 24 hours by itself, so it is made older instead."""
    advance_to(box, 0, 10)
    merchant.transferred()
    made = box.ledger.transfers["BILL1"]
    made.created = (beijing(box).replace(hour=23, minute=59) - timedelta(days=days)).timestamp()
    answer = merchant.send("POST", BILLS, merchant.transfer())
    if accepted:
        assert answer.status == 200
    else:
        assert refusal(answer) == (400, "INVALID_REQUEST")
        assert "对应单号已超出重试期" in answer.json["message"]


@pytest.mark.parametrize("state", ["SUCCESS", "FAIL", "CANCELLED"])
def test_a_final_bill_already_exists(merchant, box, state):
    merchant.transferred()
    if state == "CANCELLED":
        merchant.cancel()
    box.finish_transfer("BILL1", state, deliver=False)
    assert refusal(merchant.send("POST", BILLS, merchant.transfer())) == (400, "ALREADY_EXISTS")


# Errors


def transfer_error(merchant, code: str) -> dict[str, Any]:
    box, body = merchant.box, merchant.transfer()
    if code == "PARAM_ERROR":
        body["out_bill_no"] = "BILL_1"
    elif code == "INVALID_REQUEST":
        body["transfer_scene_id"] = "9999"
    elif code == "ALREADY_EXISTS":
        merchant.transferred()
        box.finish_transfer("BILL1", "FAIL", deliver=False)
    elif code == "NO_AUTH":
        box.merchant.change(products=["jsapi", "refund"])
    elif code == "NOT_ENOUGH":
        box.merchant.change(funds={"OPERATION": 99})
    else:
        box.fault("error", code=code, times=1)
    return body


TRANSFER_ERRORS = {
    "PARAM_ERROR": 400,
    "INVALID_REQUEST": 400,
    "ALREADY_EXISTS": 400,
    "NO_AUTH": 403,
    "NOT_ENOUGH": 403,
    "FREQUENCY_LIMIT_EXCEED": 429,
    "RATELIMIT_EXCEEDED": 429,
    "FREQUENCY_LIMIT": 429,
    "SYSTEM_ERROR": 500,
}


@pytest.mark.parametrize(("code", "status"), TRANSFER_ERRORS.items())
def test_an_error_of_a_transfer(merchant, code, status):
    body = transfer_error(merchant, code)
    before = len(merchant.box.ledger.transfers)
    assert refusal(merchant.send("POST", BILLS, body)) == (status, code)
    assert len(merchant.box.ledger.transfers) == before


def test_after_a_top_up_the_same_goes_through(merchant, box):
    box.merchant.change(funds={"OPERATION": 99})
    assert refusal(merchant.send("POST", BILLS, merchant.transfer())) == (403, "NOT_ENOUGH")
    box.merchant.change(funds={"OPERATION": 100})
    assert merchant.transferred()["state"] == "WAIT_USER_CONFIRM"
    assert box.merchant.funds["OPERATION"] == 0


def test_a_stuck_bill_goes_on_when_the_same_is_sent_after_a_top_up(merchant, box):
    """Without the repetition it would be looked at again a minute later only."""
    box.merchant.change(transfer_start="PROCESSING", funds={"OPERATION": 99})
    for number in ("BILLSENT", "BILLLEFT"):
        merchant.transferred(number)
    box.advance("5s")
    box.merchant.change(funds={"OPERATION": 200})
    assert merchant.transferred("BILLSENT")["state"] == "PROCESSING"
    box.advance("5s")
    states = [merchant.transfer_query(number).json["state"] for number in ("BILLSENT", "BILLLEFT")]
    assert states == ["WAIT_USER_CONFIRM", "PROCESSING"]
    assert box.merchant.funds["OPERATION"] == 100


@pytest.mark.parametrize("code", ["FREQUENCY_LIMIT_EXCEED", "SYSTEM_ERROR"])
def test_an_answer_that_was_lost_was_a_transfer_all_the_same(merchant, box, code):
    box.fault("error", code=code, times=1, processed=True)
    assert merchant.send("POST", BILLS, merchant.transfer()).json["code"] == code
    assert merchant.transfer_query().json["state"] == "WAIT_USER_CONFIRM"
    assert merchant.transferred()["package_info"]
    assert len(box.ledger.transfers) == 1


# Query

SHOWN = {
    "mch_id",
    "out_bill_no",
    "transfer_bill_no",
    "appid",
    "state",
    "transfer_amount",
    "transfer_remark",
    "openid",
    "create_time",
    "update_time",
}


@pytest.mark.parametrize("by", ["out-bill-no", "transfer-bill-no"])
def test_the_answer_of_a_query(merchant, box, by):
    made = merchant.transferred()
    number = made["out_bill_no" if by == "out-bill-no" else "transfer_bill_no"]
    box.advance("1h")
    shown = merchant.send("GET", f"{BILLS}/{by}/{number}").json
    assert set(shown) == SHOWN, "no package_info, and no user_name as none was given"
    assert shown["mch_id"] == merchant.credentials.merchant_id
    assert (shown["state"], shown["transfer_amount"], shown["transfer_remark"]) == ("WAIT_USER_CONFIRM", 100, "奖励")
    box.finish_transfer("BILL1", "FAIL", fail_reason="TRANSFER_RISK", deliver=False)
    later = merchant.send("GET", f"{BILLS}/{by}/{number}").json
    assert set(later) == SHOWN | {"fail_reason"}
    assert (later["state"], later["fail_reason"]) == ("FAIL", "TRANSFER_RISK")
    assert moment(later["update_time"]) - moment(later["create_time"]) == pytest.approx(3600, abs=2)


def test_bills_are_shown_for_thirty_days(merchant, box):
    number = merchant.transferred()["transfer_bill_no"]
    box.advance(30 * 86400 - 2)
    assert merchant.transfer_query().json["state"] == "FAIL"
    box.advance(4)
    assert refusal(merchant.transfer_query()) == (404, "NOT_FOUND")
    assert refusal(merchant.send("GET", f"{BILLS}/transfer-bill-no/{number}")) == (404, "NOT_FOUND")


QUERY_ERRORS = {
    "NO_AUTH": 403,
    "NOT_FOUND": 404,
    "FREQUENCY_LIMITED": 429,
    "FREQUENCY_LIMIT_EXCEED": 429,
    "RATELIMIT_EXCEEDED": 429,
    "SYSTEM_ERROR": 500,
}


@pytest.mark.parametrize("by", ["out-bill-no", "transfer-bill-no"])
@pytest.mark.parametrize(("code", "status"), QUERY_ERRORS.items())
def test_an_error_of_a_query(merchant, by, code, status):
    if code == "NO_AUTH":
        merchant.box.merchant.change(products=["jsapi"])
    elif code != "NOT_FOUND":
        merchant.box.fault("error", code=code, times=1)
    assert refusal(merchant.send("GET", f"{BILLS}/{by}/1330")) == (status, code)


@pytest.mark.parametrize("number", ["BILL_1", "x" * 33, "BILL%201"])
def test_a_number_in_the_path_against_the_pattern(merchant, number):
    for answer in (merchant.transfer_query(number), merchant.cancel(number)):
        assert refusal(answer) == (400, "PARAM_ERROR")
        assert (answer.json["detail"]["field"], answer.json["detail"]["location"]) == ("out_bill_no", "url")


# Cancel


@pytest.mark.parametrize("body", [None, {}], ids=["no body", "{}"])
@pytest.mark.parametrize("start", ["ACCEPTED", "PROCESSING", "WAIT_USER_CONFIRM"])
def test_the_answer_of_a_cancellation(merchant, box, start, body):
    box.merchant.change(transfer_start=start)
    made = merchant.transferred()
    for state in ("CANCELING", "CANCELLED"):
        answer = merchant.send("POST", f"{BILLS}/out-bill-no/BILL1/cancel", body)
        assert answer.status == 200
        assert set(answer.json) == {"out_bill_no", "transfer_bill_no", "state", "update_time"}
        assert (answer.json["state"], answer.json["transfer_bill_no"]) == (state, made["transfer_bill_no"])
        assert moment(answer.json["update_time"]) <= box.clock.now()
        box.advance("1m")


def test_a_cancellation_takes_no_parameters(merchant):
    merchant.transferred()
    answer = merchant.send("POST", f"{BILLS}/out-bill-no/BILL1/cancel", {"out_bill_no": "BILL1"})
    assert_points_at(answer, "/out_bill_no", MISSING)
    assert merchant.transfer_query().json["state"] == "WAIT_USER_CONFIRM"


@pytest.mark.parametrize("state", ["TRANSFERING", "SUCCESS", "FAIL"])
def test_what_cannot_be_cancelled_any_more(merchant, box, state):
    merchant.transferred()
    box.finish_transfer("BILL1", state, deliver=False)
    assert refusal(merchant.cancel()) == (400, "INVALID_REQUEST")
    assert merchant.transfer_query().json["state"] == state


@pytest.mark.parametrize("code", ["FREQUENCY_LIMIT_EXCEED", "RATELIMIT_EXCEEDED", "SYSTEM_ERROR"])
def test_an_error_of_a_cancellation(merchant, code):
    merchant.transferred()
    merchant.box.fault("error", code=code, times=1)
    assert merchant.cancel().json["code"] == code
    assert merchant.transfer_query().json["state"] == "WAIT_USER_CONFIRM"
    assert merchant.cancel().json["state"] == "CANCELING"


# Receipts

RECEIPTS = "/v3/fund-app/mch-transfer/elecsign"


def named_transfer(merchant, state: str = "SUCCESS") -> dict[str, Any]:
    body = merchant.transfer(user_name=merchant.encrypted("张三"))
    made = merchant.send("POST", BILLS, body, headers=merchant.named)
    assert made.status == 200
    if state != "WAIT_USER_CONFIRM":
        merchant.box.finish_transfer("BILL1", state, deliver=False)
    shown: dict[str, Any] = made.json
    return shown


def apply_for(merchant, number: str = "BILL1"):
    return merchant.send("POST", f"{RECEIPTS}/out-bill-no", {"out_bill_no": number})


@pytest.mark.parametrize("by", ["out-bill-no", "transfer-bill-no"])
def test_a_receipt_is_made_and_fetched(merchant, box, by):
    number = named_transfer(merchant)["out_bill_no" if by == "out-bill-no" else "transfer_bill_no"]
    applied = apply_for(merchant)
    assert (applied.status, set(applied.json)) == (200, {"state", "create_time"})
    assert applied.json["state"] == "GENERATING"
    early = merchant.send("GET", f"{RECEIPTS}/{by}/{number}").json
    assert (early["state"], "download_url" in early) == ("GENERATING", False)
    box.advance("2m")
    assert apply_for(merchant).json == {"state": "FINISHED", "create_time": applied.json["create_time"]}
    shown = merchant.send("GET", f"{RECEIPTS}/{by}/{number}").json
    assert set(shown) == {"state", "create_time", "update_time", "hash_type", "hash_value", "download_url"}
    assert (shown["state"], shown["hash_type"]) == ("FINISHED", "SHA256")
    address = urlsplit(shown["download_url"])
    file = merchant.send("GET", f"{address.path}?{address.query}")
    assert (file.status, [name for name in file.headers if name.startswith("wechatpay")]) == (200, [])
    assert hashlib.sha256(file.body).hexdigest().upper() == shown["hash_value"]
    box.advance("9m")
    assert merchant.send("GET", f"{address.path}?{address.query}").status == 200
    box.advance("62s")
    assert merchant.send("GET", f"{address.path}?{address.query}").status == 400


@pytest.mark.parametrize("state", ["WAIT_USER_CONFIRM", "TRANSFERING", "FAIL"])
def test_only_a_successful_transfer_has_a_receipt(merchant, state):
    named_transfer(merchant, state)
    assert refusal(apply_for(merchant)) == (400, "INVALID_REQUEST")


def test_only_a_named_transfer_has_a_receipt(merchant, box):
    merchant.transferred()
    box.finish_transfer("BILL1", deliver=False)
    assert refusal(apply_for(merchant)) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(("after", "status"), [("180d", 200), ("190d", 400)])
def test_a_receipt_is_made_for_six_months(merchant, box, after, status):
    named_transfer(merchant)
    box.advance(after)
    assert apply_for(merchant).status == status


def test_no_receipt_without_an_application(merchant):
    """The pages list no code for it."""
    named_transfer(merchant)
    assert merchant.send("GET", f"{RECEIPTS}/out-bill-no/BILL1").status == 404
    assert apply_for(merchant, "BILL2").status == 404


