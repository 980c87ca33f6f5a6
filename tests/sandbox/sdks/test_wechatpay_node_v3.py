"""wechatpay-node-v3 (Node, superagent) as its README uses it: the host is built in, no proxy setting is honoured."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from sandbox import Credentials, Sandbox
from sandbox.credentials import public_pem
from tests.sandbox.sdks.conftest import (
    NOTIFY,
    UNKNOWN,
    Notice,
    OpenShop,
    Shop,
    by_a_stranger,
    genuine,
    merchant_of,
    modules,
    new_number,
    stale,
    with_another_byte,
    with_another_ciphertext,
)


@pytest.fixture
def shop(box: Sandbox, key_mode: str, open_shop: OpenShop) -> Shop:
    modules()
    variables = {"SANDBOX_HTTPS": box.https_url, "NODE_EXTRA_CA_CERTS": str(box.ca)}
    shop = open_shop("wechatpay-node-v3.cjs", merchant_of(box), variables)
    if key_mode == "public_key":
        shop.returned("trust", box.credentials.public_key_id, public_pem(box.credentials.public_key))
    return shop


def order(shop: Shop, **changes: Any) -> tuple[str, dict[str, Any]]:
    number = new_number("ORDER")
    asked = {
        "description": "茶",
        "out_trade_no": number,
        "notify_url": NOTIFY,
        "amount": {"total": 100},
        "payer": {"openid": "oUser"},
    }
    answer = shop.returned("order", asked | changes)
    assert isinstance(answer, dict)
    return number, answer


def paid(shop: Shop, box: Sandbox) -> str:
    number, answer = order(shop)
    assert answer["status"] == 200
    box.pay(number, deliver=False)
    return number


def state(shop: Shop, number: str) -> str:
    answer = shop.returned("query", number)
    assert answer["status"] == 200
    return str(answer["data"]["trade_state"])


def notified(shop: Shop, notice: Notice) -> dict[str, Any]:
    heard = shop.notify(notice)
    assert heard.status == 200, heard.body
    resource = heard.json["resource"]
    assert isinstance(resource, dict)
    return resource


def test_an_order_is_placed_paid_notified_and_refunded(
    shop: Shop, box: Sandbox, credentials: Credentials
) -> None:
    number, answer = order(shop)
    invoked = answer["data"]
    message = "\n".join([invoked["appId"], invoked["timeStamp"], invoked["nonceStr"], invoked["package"], ""])
    credentials.merchant.key.public_key().verify(
        base64.b64decode(invoked["paySign"]), message.encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    assert state(shop, number) == "NOTPAY"

    [delivery] = box.pay(number)
    assert delivery.acknowledged
    assert json.loads(delivery.answer)["resource"] == box.plaintext("order", number)
    assert state(shop, number) == "SUCCESS"

    refund = new_number("REFUND")
    asked = {"out_trade_no": number, "out_refund_no": refund, "notify_url": NOTIFY}
    asked["amount"] = {"refund": 30, "total": 100, "currency": "CNY"}
    answer = shop.returned("refund", asked)
    assert (answer["status"], answer["data"]["status"]) == (200, "PROCESSING")
    [delivery] = box.settle_refund(refund)
    assert delivery.acknowledged
    assert json.loads(delivery.answer)["resource"] == box.plaintext("refund", refund)
    answer = shop.returned("queryRefund", refund)
    assert (answer["data"]["status"], answer["data"]["amount"]["refund"]) == ("SUCCESS", 30)
    assert all(record.verified and record.host == "main" for record in box.requests)


def test_an_order_is_closed(shop: Shop) -> None:
    number, _ = order(shop)
    assert shop.returned("close", number)["status"] == 204
    assert state(shop, number) == "CLOSED"


def test_a_bad_request_comes_back_as_such(shop: Shop) -> None:
    _, answer = order(shop, amount={"total": 0})
    assert (answer["status"], json.loads(answer["error"])["code"]) == (400, "PARAM_ERROR")
    answer = shop.returned("query", new_number("ORDER"))
    assert (answer["status"], json.loads(answer["error"])["code"]) == (404, "ORDER_NOT_EXIST")


def test_forged_notifications_are_not_believed(
    shop: Shop, box: Sandbox, forgeries: Callable[[str], dict[str, Notice]]
) -> None:
    number = paid(shop, box)
    for name, notice in forgeries(number).items():
        assert shop.notify(notice).status == 401, name
    assert notified(shop, genuine(box, number))["out_trade_no"] == number


@pytest.mark.parametrize("key_mode", ["certificate"], indirect=True)
def test_it_fetches_the_certificates_by_itself(shop: Shop, box: Sandbox) -> None:
    [shown] = shop.returned("certificates")
    assert shown["serial_no"] == box.credentials.platform[0].serial
    shown_key = base64.b64decode("".join(shown["publicKey"].split("-----")[2].split()))
    own_key = base64.b64decode("".join(public_pem(box.credentials.platform[0].key).split("-----")[2].split()))
    assert shown_key == own_key
    number = paid(shop, box)
    box.rotate()
    assert notified(shop, genuine(box, number))["out_trade_no"] == number


@pytest.mark.parametrize("key_mode", ["public_key"], indirect=True)
def test_it_has_no_setting_for_the_public_key(shop: Shop, box: Sandbox) -> None:
    """A new merchant has no platform certificates [4012154180], so what needs them fails; see the script's class."""
    number = paid(shop, box)
    shop.returned("forget")
    heard = shop.notify(genuine(box, number))
    assert (heard.status, heard.json["message"]) == (401, "拉取平台证书失败")
    assert (box.requests[-1].path, box.requests[-1].status) == ("/v3/certificates", 404)
    # Nor does it name the key in its requests, as is recommended in this mode [4012154180].
    assert not any("wechatpay-serial" in record.headers for record in box.requests)


# Where it is laxer than the protocol


@pytest.mark.parametrize(
    "fault",
    ["bad_signature", "no_signature", "other_body_signature", "unknown_certificate", "stale_timestamp", "probe"],
)
def test_lax_answers_are_not_verified(shop: Shop, box: Sandbox, fault: str) -> None:
    """To be verified with the key that the answer names [4013053249]."""
    number = paid(shop, box)
    box.fault(fault, path="/v3/pay/")
    assert state(shop, number) == "SUCCESS"
    assert box.requests[-1].fault == fault


def test_lax_an_old_notification_is_believed(shop: Shop, box: Sandbox) -> None:
    """To be refused from 5 minutes on [4013053420]: whoever caught one may send it again, at any time."""
    number = paid(shop, box)
    assert notified(shop, stale(box, number, seconds=86400))["out_trade_no"] == number


def test_lax_what_is_sealed_is_not_checked_for_changes(shop: Shop, box: Sandbox) -> None:
    """An authentication failure means a wrong key or changed data [4013053274]; the tag is never looked at.

    Only the signature protects the resource, then: here it is a true one over a changed ciphertext.
    """
    number = paid(shop, box)
    true = box.plaintext("order", number)
    changed = with_another_ciphertext(genuine(box, number), box)
    heard = shop.notify(changed)
    assert heard.status == 200
    # The last character is another one, so that it is no JSON any more, and is handed out all the same.
    assert heard.json["resource"][:-1] == json.dumps(true, ensure_ascii=False, separators=(",", ":"))[:-1]
    assert heard.json["resource"][-1] != "}"

    resource = json.loads(genuine(box, number)[1])["resource"]
    resource["associated_data"] = "something else"
    assert shop.returned("decrypt", resource) == true


def test_lax_a_body_in_pieces_is_put_together_again(shop: Shop, box: Sandbox) -> None:
    """What is signed is the body as it came [4013053420]; it also takes one that was parsed, as its README does.

    The signature of a body then fails, or holds, by how this one's JSON happens to be written.
    """
    number = paid(shop, box)
    headers, body = genuine(box, number)
    lower = {name.lower(): value for name, value in headers.items()}
    assert shop.returned("verify", lower, json.loads(body)) is True
    spaced = json.dumps(json.loads(body)).encode()
    lower = {name.lower(): value for name, value in box.builder.signed(spaced).items()}
    assert shop.returned("verify", lower, spaced.decode()) is True
    assert shop.returned("verify", lower, json.loads(spaced)) is False


@pytest.mark.parametrize("key_mode", ["certificate"], indirect=True)
@pytest.mark.parametrize("fault", ["bad_signature", "no_signature", "stale_timestamp"])
def test_lax_certificates_are_taken_from_an_unsigned_answer(shop: Shop, box: Sandbox, fault: str) -> None:
    """Signed like any other answer [4013053249], and to be verified with the certificate just obtained."""
    number = paid(shop, box)
    box.fault(fault, path="/v3/certificates")
    assert notified(shop, genuine(box, number))["out_trade_no"] == number
    assert (box.requests[-1].path, box.requests[-1].fault) == ("/v3/certificates", fault)


def test_lax_anybody_can_make_it_ask_for_certificates(
    shop: Shop, box: Sandbox, credentials: Credentials
) -> None:
    """An unknown key ID is just to fail: there is no certificate for it [4012153196]."""
    number = paid(shop, box)
    assert shop.notify(genuine(box, number)).status == 200
    before = len(box.requests)
    for _ in range(2):
        assert shop.notify(by_a_stranger(genuine(box, number), credentials, UNKNOWN["public_key"])).status == 401
    assert [record.path for record in box.requests[before:]] == ["/v3/certificates"] * 2
    assert shop.notify(with_another_byte(genuine(box, number))).status == 401
