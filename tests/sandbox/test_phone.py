"""The user's WeChat: what it opens, and what it refuses to open."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from sandbox import Sandbox
from tests.sandbox.conftest import BILLS, PREPAY, call

PAY = PREPAY.rpartition("/")[0]
NUMBER = "ORDER_000001"


@pytest.fixture(scope="module")
def shared(credentials, function_server):
    with Sandbox(function_server[1].url, "sdk", "public_key", credentials=credentials) as sandbox:
        yield sandbox


@pytest.fixture
def box(shared, function) -> Sandbox:
    """One for all tests: whatever they change a reset takes back."""
    shared.reset()
    return shared


def place(merchant, scene: str, number: str = NUMBER, **more: Any) -> str:
    """What an order of this scene is opened with."""
    body = merchant.order(number, **more)
    if scene != "jsapi":
        del body["payer"]
    if scene == "h5":
        body["scene_info"] = {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}
    answer = merchant.send("POST", f"{PAY}/{scene}", body)
    assert answer.status == 200, answer.body
    [value] = answer.json.values()
    return str(value)


def signed(key: RSAPrivateKey, *lines: str) -> str:
    """Four lines, each ended by a line feed, under the merchant's key [4012365339, 4012365340]."""
    message = "".join(f"{line}\n" for line in lines).encode()
    return base64.b64encode(key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()


def jsapi(merchant, prepay_id: str, key: RSAPrivateKey | None = None) -> dict[str, Any]:
    app_id, stamp, nonce = merchant.credentials.app_id, str(int(time.time())), secrets.token_hex(16)
    package = f"prepay_id={prepay_id}"
    return {
        "appId": app_id,
        "timeStamp": stamp,
        "nonceStr": nonce,
        "package": package,
        "signType": "RSA",
        "paySign": signed(key or merchant.credentials.merchant.key, app_id, stamp, nonce, package),
    }


def app(merchant, prepay_id: str, key: RSAPrivateKey | None = None) -> dict[str, Any]:
    app_id, stamp, nonce = merchant.credentials.app_id, str(int(time.time())), secrets.token_hex(16)
    return {
        "appId": app_id,
        "partnerId": merchant.credentials.merchant_id,
        "prepayId": prepay_id,
        "packageValue": "Sign=WXPay",
        "nonceStr": nonce,
        "timeStamp": stamp,
        "sign": signed(key or merchant.credentials.merchant.key, app_id, stamp, nonce, prepay_id),
    }


MAKERS = {"jsapi": jsapi, "app": app}
# Field, and why WeChat refuses it when it was changed: what a signature covers breaks the signature.
FIELDS = {
    "jsapi": {
        "appId": "appId is not that of the order",
        "timeStamp": "签名",
        "nonceStr": "签名",
        "package": "签名",
        "signType": "signType must be RSA",
        "paySign": "签名",
    },
    "app": {
        "appId": "appId or partnerId is not that of the order",
        "partnerId": "appId or partnerId is not that of the order",
        "prepayId": "签名",
        "packageValue": "packageValue must be Sign=WXPay",
        "nonceStr": "签名",
        "timeStamp": "签名",
        "sign": "签名",
    },
}
EVERY_FIELD = [(scene, name) for scene, names in FIELDS.items() for name in names]
NOT_STRINGS = [
    (scene, name, how)
    for scene, name in EVERY_FIELD
    for how in ("missing", "a number", "null")
    if (scene, name, how) != ("jsapi", "appId", "missing")  # a mini program does without it
]


def refused(box: Sandbox, match: str, openid: str = "", **shown: Any) -> None:
    with pytest.raises(ValueError, match=match):
        box.phone.open(openid, **shown)


def opens(box: Sandbox, openid: str = "", **shown: Any) -> None:
    assert box.phone.open(openid, **shown)["number"] == NUMBER


# Signed parameters


@pytest.mark.parametrize("scene", MAKERS)
def test_signed_parameters_open_the_order(merchant, box, scene):
    given = MAKERS[scene](merchant, place(merchant, scene))
    assert set(given) == set(FIELDS[scene])
    shown = box.phone.open(**{scene: given})
    assert shown == {
        "kind": "order",
        "number": NUMBER,
        "description": "茶",
        "total": 100,
        "openid": "oUser" if scene == "jsapi" else "",
    }
    box.pay(NUMBER, deliver=False)


def test_a_mini_program_gives_no_app_id_and_signs_it_all_the_same(merchant, box):
    """[4012791898]"""
    given = jsapi(merchant, place(merchant, "jsapi"))
    del given["appId"]
    opens(box, jsapi=given)


@pytest.mark.parametrize(("scene", "name"), EVERY_FIELD, ids=[f"{scene}: {name}" for scene, name in EVERY_FIELD])
def test_a_field_that_was_changed_after_signing(merchant, box, scene, name):
    """`package` and `prepayId` become those of another order, the others differ in one character."""
    given = MAKERS[scene](merchant, place(merchant, scene))
    other = place(merchant, scene, "ORDER_000002")
    opens(box, **{scene: given})
    value = {"package": f"prepay_id={other}", "prepayId": other}.get(name, swapped(given[name]))
    refused(box, FIELDS[scene][name], **{scene: given | {name: value}})


def swapped(value: str) -> str:
    """With its first character replaced by another of the same kind."""
    first = value[0]
    if first.isdigit():
        return str((int(first) + 1) % 10) + value[1:]
    return ("A" if first != "A" else "B") + value[1:]


@pytest.mark.parametrize(("scene", "name", "how"), NOT_STRINGS, ids=[": ".join(row) for row in NOT_STRINGS])
def test_a_field_that_is_no_string(merchant, box, scene, name, how):
    given = MAKERS[scene](merchant, place(merchant, scene))
    if how == "missing":
        del given[name]
        refused(box, f"{name} is missing", **{scene: given})
    else:
        refused(box, f"{name} must be a string", **{scene: given | {name: 1 if how == "a number" else None}})


@pytest.mark.parametrize("scene", MAKERS)
def test_another_key_than_the_merchants(merchant, box, scene):
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    refused(box, "签名", **{scene: MAKERS[scene](merchant, place(merchant, scene), stranger)})


@pytest.mark.parametrize("scene", MAKERS)
def test_an_app_id_that_is_not_the_orders_though_signed(merchant, box, scene):
    given = MAKERS[scene](merchant, place(merchant, scene))
    given["appId"] = "wx0000000000000000"
    last = given.get("package") or given["prepayId"]
    lines = (given["appId"], given["timeStamp"], given["nonceStr"], last)
    given["paySign" if scene == "jsapi" else "sign"] = signed(merchant.credentials.merchant.key, *lines)
    refused(box, "appId", **{scene: given})


@pytest.mark.parametrize("scene", MAKERS)
@pytest.mark.parametrize("mistake", ["prefix", "order of lines", "no last line feed", "SHA-1"])
def test_a_common_mistake_in_signing(merchant, box, scene, mistake):
    """With `prepay_id=` where there must be none, or without it; and what else goes wrong with the four lines."""
    prepay_id = place(merchant, scene)
    given = MAKERS[scene](merchant, prepay_id)
    last = prepay_id if scene == "app" else f"prepay_id={prepay_id}"
    lines = [given["appId"], given["timeStamp"], given["nonceStr"], last]
    digest: hashes.HashAlgorithm = hashes.SHA256()
    if mistake == "prefix":
        lines[3] = prepay_id if scene == "jsapi" else f"prepay_id={prepay_id}"
    if mistake == "order of lines":
        lines[1:3] = lines[2:0:-1]
    if mistake == "SHA-1":
        digest = hashes.SHA1()  # noqa: S303 - the mistake
    message = "\n".join([*lines, ""] if mistake != "no last line feed" else lines).encode()
    signature = merchant.credentials.merchant.key.sign(message, padding.PKCS1v15(), digest)
    given["paySign" if scene == "jsapi" else "sign"] = base64.b64encode(signature).decode()
    refused(box, "签名", **{scene: given})


@pytest.mark.parametrize("scene", MAKERS)
def test_parameters_of_an_order_that_nobody_knows(merchant, box, scene):
    refused(box, "does not know", **{scene: MAKERS[scene](merchant, "wx" + "0" * 34)})


@pytest.mark.parametrize("scene", MAKERS)
def test_signed_parameters_expire_with_their_prepay_id(merchant, box, scene):
    given = MAKERS[scene](merchant, place(merchant, scene))
    box.advance(7200 - 5)
    opens(box, **{scene: given})
    box.advance(10)
    refused(box, "expired", **{scene: given})
    opens(box, **{scene: MAKERS[scene](merchant, place(merchant, scene))})


# Orders

KINDS = {"jsapi": "prepay_id", "app": "prepay_id", "native": "code_url", "h5": "h5_url"}


@pytest.mark.parametrize(("scene", "lifetime"), [("jsapi", 7200), ("app", 7200), ("native", 7200), ("h5", 300)])
def test_a_credential_that_has_expired(merchant, box, scene, lifetime):
    value = place(merchant, scene)
    box.advance(lifetime - 5)
    opens(box, **{KINDS[scene]: value})
    box.advance(10)
    refused(box, f"{KINDS[scene]} expired", **{KINDS[scene]: value})


@pytest.mark.parametrize("scene", ["native", "h5", "app"])
def test_a_second_wechat_user(merchant, box, scene):
    """[4012791890, 4012791845]; a fresh credential of the same order changes nothing."""
    value = place(merchant, scene)
    opens(box, "oFirst", **{KINDS[scene]: value})
    refused(box, "somebody else", "oSecond", **{KINDS[scene]: value})
    refused(box, "somebody else", "oSecond", **{KINDS[scene]: place(merchant, scene)})
    opens(box, "oFirst", **{KINDS[scene]: place(merchant, scene)})
    box.pay(NUMBER, deliver=False)
    assert box.ledger.orders[NUMBER].openid == "oFirst"


def test_a_user_whom_a_jsapi_order_does_not_name(merchant, box):
    prepay_id = place(merchant, "jsapi")
    refused(box, "only the payer", "oSecond", prepay_id=prepay_id)
    opens(box, "oUser", prepay_id=prepay_id)


def test_whoever_is_refused_has_not_opened_it(merchant, box):
    code_url = place(merchant, "native", time_expire="2020-01-01T00:00:00+08:00")
    box.advance("2m")
    refused(box, "最晚支付成功时间", "oLate", code_url=code_url)
    assert box.ledger.orders[NUMBER].opened_by == ""


def test_a_code_that_was_replaced(merchant, box):
    old, new = place(merchant, "native"), place(merchant, "native")
    refused(box, "replaced by a newer one", code_url=old)
    opens(box, code_url=new)


@pytest.mark.parametrize("scene", KINDS)
@pytest.mark.parametrize("state", ["SUCCESS", "REFUND", "CLOSED"])
def test_an_order_that_is_not_to_be_paid(merchant, box, scene, state):
    value = place(merchant, scene)
    if state == "CLOSED":
        merchant.send("POST", f"{PAY}/out-trade-no/{NUMBER}/close", {"mchid": merchant.credentials.merchant_id})
    else:
        box.pay(NUMBER, deliver=False)
    if state == "REFUND":
        merchant.send("POST", "/v3/refund/domestic/refunds", merchant.refund())
    refused(box, f"is {state}", **{KINDS[scene]: value})


@pytest.mark.parametrize("scene", KINDS)
def test_time_expire_has_passed_before_the_credential_has(merchant, box, scene):
    value = place(merchant, scene, time_expire="2020-01-01T00:00:00+08:00")  # raised to a minute after ordering
    opens(box, **{KINDS[scene]: value})
    box.advance("61s")
    refused(box, "最晚支付成功时间", **{KINDS[scene]: value})


# H5

BACK = "https%3A%2F%2Fshop.example%2Fdone%3Fa%3D1"


@pytest.mark.parametrize("tail", ["", f"&redirect_url={BACK}"], ids=["as it is", "one redirect_url"])
def test_an_h5_url(merchant, box, tail):
    opens(box, h5_url=place(merchant, "h5") + tail)


@pytest.mark.parametrize(
    "tampered",
    [
        lambda url: f"{url}&redirect_url={BACK}&redirect_url={BACK}",
        lambda url: f"{url}&redirect_url={BACK}&a=1",
        lambda url: f"{url}&a=1&redirect_url={BACK}",
        lambda url: f"{url}&redirect_url=",
        lambda url: f"{url}&redirect_url=https://shop.example/done",
        lambda url: f"{url}#redirect_url={BACK}",
        lambda url: url.replace("https:", "http:"),
        lambda url: url.replace("prepay_id=wx", "prepay_id=wy"),
        lambda url: url[:-1] + str((int(url[-1]) + 1) % 10),
        lambda url: url[:-1],
        lambda url: "&".join(reversed(url.split("?")[1].split("&"))),
    ],
    ids=[
        "two redirect_url",
        "something after it",
        "something before it",
        "empty",
        "not encoded",
        "in the fragment",
        "scheme",
        "prepay_id",
        "package",
        "cut",
        "order of parameters",
    ],
)
def test_an_h5_url_that_was_tampered_with(merchant, box, tampered):
    url = place(merchant, "h5")
    refused(box, "h5_url|redirect_url", h5_url=tampered(url))
    opens(box, h5_url=url)


# Transfers


def package_info(merchant) -> str:
    return str(merchant.send("POST", BILLS, merchant.transfer()).json["package_info"])


@pytest.mark.parametrize("openid", ["", "oUser"], ids=["whoever holds the phone", "the payee"])
def test_the_package_info_of_a_transfer(merchant, box, openid):
    shown = box.phone.open(openid, package_info=package_info(merchant))
    assert shown == {"kind": "transfer", "number": "BILL1", "description": "奖励", "total": 100, "openid": "oUser"}


def test_a_transfer_to_somebody_else(merchant, box):
    refused(box, "only the payee", "oOther", package_info=package_info(merchant))


@pytest.mark.parametrize("spoil", [lambda value: value[:-1], lambda value: value + "A", swapped])
def test_a_package_info_that_nobody_knows(merchant, box, spoil):
    refused(box, "does not know this package_info", package_info=spoil(package_info(merchant)))


def test_a_package_info_lives_until_the_bill_is_final(merchant, box):
    value = package_info(merchant)
    box.advance(86400 - 5)
    assert box.phone.open(package_info=value)["number"] == "BILL1"
    box.advance(10)
    refused(box, "is FAIL", package_info=value)


# Ways


@pytest.mark.parametrize("other", ["code_url", "h5_url", "package_info", "jsapi", "app"])
def test_only_one_way_at_a_time(merchant, box, other):
    prepay_id = place(merchant, "jsapi")
    given = jsapi(merchant, prepay_id) if other in MAKERS else prepay_id
    refused(box, "exactly one of", prepay_id=prepay_id, **{other: given})


@pytest.mark.parametrize("shown", [{}, {"qr": "weixin://"}, {"openid": "oUser"}], ids=["none", "unknown", "openid"])
def test_no_way_at_all(box, shown):
    refused(box, "exactly one of", **shown)


@pytest.mark.parametrize("way", ["code_url", "h5_url", "prepay_id", "package_info"])
def test_a_value_that_nobody_knows(box, way):
    refused(box, f"does not know this {way}", **{way: "weixin://wxpay/bizpayurl?pr=unknown"})


@pytest.mark.parametrize("way", ["jsapi", "app"])
def test_parameters_that_are_no_object(box, way):
    refused(box, "must be an object", **{way: "prepay_id=wx"})


def test_by_http(merchant, box):
    code_url = place(merchant, "native")
    opened = call(box.url, "POST", "/sandbox/phone/open", json.dumps({"code_url": code_url}).encode())
    assert (opened.status, opened.json["number"]) == (200, NUMBER)
    turned_away = call(box.url, "POST", "/sandbox/phone/open", b'{"jsapi": {}}')
    assert (turned_away.status, turned_away.json) == (400, {"error": "timeStamp is missing"})
