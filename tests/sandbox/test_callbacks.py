"""Notifications reach the function in each documented shape and can be opened with the merchant's keys."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandbox import Sandbox, outbound
from sandbox.callbacks import SCHEDULES
from tests.sandbox.conftest import BILLS, PREPAY, REFUNDS, Merchant

FORWARDED = "https://sandbox.integration-callback.example/wechatpay/order"


def opened(credentials, envelope):
    resource = envelope["resource"]
    return json.loads(
        AESGCM(credentials.api_v3_key.encode()).decrypt(
            resource["nonce"].encode(),
            base64.b64decode(resource["ciphertext"]),
            resource["associated_data"].encode(),
        )
    )


def everything_happens(merchant):
    merchant.paid()
    merchant.send("POST", REFUNDS, merchant.refund())
    merchant.send("POST", BILLS, merchant.transfer())
    return [
        *merchant.box.deliver("order", "ORDER_000001"),
        *merchant.box.settle_refund("REFUND_1"),
        *merchant.box.finish_transfer("BILL1"),
    ]


def test_openssl_verifies_a_direct_notification_and_its_plaintext_is_the_true_one(
    merchant, box, function, tmp_path
):
    everything_happens(merchant)
    (tmp_path / "key.pem").write_text(box.env()["wxPayPublicKey"])
    seen = []
    for path, headers, body in function.got:
        message = f"{headers['wechatpay-timestamp']}\n{headers['wechatpay-nonce']}\n".encode() + body + b"\n"
        (tmp_path / "signature").write_bytes(base64.b64decode(headers["wechatpay-signature"]))
        subprocess.run(
            ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature"],
            input=message,
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        envelope = json.loads(body)
        seen.append((path, envelope["event_type"], envelope["resource"]["original_type"]))
        number = opened(box.credentials, envelope)
        assert number in [
            box.plaintext("order", "ORDER_000001"),
            box.plaintext("refund", "REFUND_1"),
            box.plaintext("transfer", "BILL1"),
        ]
    assert seen == [
        ("/wx-pay/unifiedOrderTrigger", "TRANSACTION.SUCCESS", "transaction"),
        ("/wx-pay/refundTrigger", "REFUND.SUCCESS", "refund"),
        ("/wx-pay/transferTrigger", "MCHTRANSFER.BILL.FINISHED", "mch_payment"),
    ]


def test_the_three_plaintexts_have_the_documented_fields(merchant, box):
    everything_happens(merchant)
    assert set(box.plaintext("order", "ORDER_000001")) == {
        "appid",
        "mchid",
        "out_trade_no",
        "transaction_id",
        "trade_type",
        "trade_state",
        "trade_state_desc",
        "bank_type",
        "success_time",
        "payer",
        "amount",
    }
    assert set(box.plaintext("refund", "REFUND_1")) == {
        "mchid",
        "out_trade_no",
        "transaction_id",
        "out_refund_no",
        "refund_id",
        "refund_status",
        "success_time",
        "user_received_account",
        "amount",
    }
    assert set(box.plaintext("transfer", "BILL1")) == {
        "out_bill_no",
        "transfer_bill_no",
        "state",
        "mch_id",
        "transfer_amount",
        "openid",
        "create_time",
        "update_time",
        "payment_method_type",
    }


def test_the_key_of_a_notification_can_be_chosen(merchant, box, function):
    merchant.paid()
    box.deliver("order", "ORDER_000001", key="certificate")
    assert function.got[-1][1]["wechatpay-serial"] == box.credentials.platform[0].serial


@pytest.mark.parametrize("envelope", ["rawData", "rawData-string", "ParsedNotify", None])
def test_the_integration_center_forwards_with_the_envelope_in_each_known_place(
    merchant, box, function, envelope
):
    merchant.send("POST", PREPAY, merchant.order(notify_url=FORWARDED))
    [delivery] = box.pay("ORDER_000001", envelope=envelope)
    path, headers, body = function.got[-1]
    content = json.loads(body)
    assert (path, delivery.shape) == ("/", "forwarded")
    assert "wechatpay-signature" not in headers
    assert (
        content["ParsedContent"] == json.loads(content["Plaintext"]) == box.plaintext("order", "ORDER_000001")
    )
    raw = content["rawData"]
    places = {
        "rawData": raw if isinstance(raw, dict) else {},
        "rawData-string": json.loads(raw) if isinstance(raw, str) else {},
        "ParsedNotify": content["ParsedNotify"],
    }
    holding = [place for place, found in places.items() if "resource" in found]
    assert holding == ([envelope] if envelope else [])
    for place in holding:
        assert opened(box.credentials, places[place]) == content["ParsedContent"]
    assert content["ParsedNotify"]["event_type"] == "TRANSACTION.SUCCESS"


def test_the_integration_center_can_post_to_the_path_of_the_notify_url(merchant, box, function):
    box.forward_path = None
    merchant.send("POST", PREPAY, merchant.order(notify_url=FORWARDED))
    box.pay("ORDER_000001")
    assert function.got[-1][0] == "/wechatpay/order"


def test_builders_let_every_part_be_wrong(box):
    headers, body = box.notification(
        "order", {"a": 1}, timestamp=5, key="certificate", event_type="X.Y", nonce="n"
    )
    assert (headers["Wechatpay-Timestamp"], headers["Wechatpay-Nonce"]) == ("5", "n")
    assert headers["Wechatpay-Serial"] == box.credentials.platform[0].serial
    assert json.loads(body)["event_type"] == "X.Y"
    _, sealed = box.notification("order", {"a": 1}, api_v3_key="k" * 32)
    with pytest.raises(InvalidTag):
        opened(box.credentials, json.loads(sealed))
    _, forged = box.forwarded("order", {"a": 1}, parsed_content={"a": 2}, action="unifiedOrderTrigger")
    content = json.loads(forged)
    assert (content["_action"], content["ParsedContent"]) == ("unifiedOrderTrigger", {"a": 2})
    assert opened(box.credentials, content["rawData"]) == {"a": 1}
    _, bare = box.forwarded("order", {"a": 1}, parsed_content=None)
    assert "ParsedContent" not in json.loads(bare)


def test_a_notification_is_repeated_until_acknowledged_with_one_id_and_fresh_signatures(
    merchant, box, function
):
    function.answers += [(500, b'{"code":"FAIL"}'), (400, b""), (204, b"")]
    merchant.send("POST", PREPAY, merchant.order())
    box.pay("ORDER_000001")
    box.advance("15s")
    box.advance("15s")
    box.advance("1d")
    made = box.deliveries
    assert [(one.attempt, one.status, one.acknowledged) for one in made] == [
        (1, 500, False),
        (2, 400, False),
        (3, 204, True),
    ]
    assert len({one.event_id for one in made}) == 1
    assert len({one.headers["Wechatpay-Signature"] for one in made}) == 3
    assert box.deliver("order", "ORDER_000001")[0].event_id == made[0].event_id
    assert made[0].json == {"code": "FAIL"}


def test_an_unreachable_function_is_a_failed_delivery(merchant, box):
    box.function = "http://127.0.0.1:9"
    merchant.send("POST", PREPAY, merchant.order())
    [delivery] = box.pay("ORDER_000001")
    assert (delivery.status, delivery.acknowledged) == (None, False)
    assert "refused" in delivery.error


def test_nothing_is_told_without_a_notify_url_or_before_it_happened(merchant, box, function):
    body = merchant.transfer()
    del body["notify_url"]
    merchant.send("POST", BILLS, body)
    with pytest.raises(ValueError, match="WAIT_USER_CONFIRM"):
        box.deliver("transfer", "BILL1")
    assert box.finish_transfer("BILL1") == []
    merchant.send("POST", PREPAY, merchant.order())
    for kind, number in (
        ("order", "ORDER_000001"),
        ("order", "NONE"),
        ("refund", "NONE"),
        ("strange", "NONE"),
    ):
        with pytest.raises(ValueError, match=number if kind != "strange" else "kind"):
            box.deliver(kind, number)
    assert function.got == []


def test_a_bad_manner_changes_nothing(merchant, box):
    merchant.send("POST", PREPAY, merchant.order())
    for manner in (
        {"shape": "x"},
        {"envelope": "x"},
        {"key": "x"},
        {"path": "x"},
        {"lose": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(manner))):
            box.pay("ORDER_000001", **manner)
    assert box.ledger.orders["ORDER_000001"].state == "NOTPAY"


def test_the_payment_is_still_told_as_a_success_after_a_refund_began(merchant, box):
    everything_happens(merchant)
    assert box.plaintext("order", "ORDER_000001")["trade_state"] == "SUCCESS"


def test_the_schedules_add_up_to_the_documented_spans():
    assert (len(SCHEDULES["order"]), sum(SCHEDULES["order"])) == (15, 24 * 3600 + 4 * 60)
    assert (1 + len(SCHEDULES["transfer"]), sum(SCHEDULES["transfer"])) == (65, 22 * 3600 + 52 * 60 + 30)


def test_reset_forgets_everything(credentials, function):
    with Sandbox(function.url, "sdk", credentials=credentials) as box:
        merchant = Merchant(box)
        for index in range(20):
            merchant.paid(f"ORDER_{index:06d}")
        box.fault("reset")
        box.fault("refuse", host="backup")
        box.advance("1h")
        box.reset()
        assert abs(box.clock.now() - time.time()) < 1
        assert box.clock.pending() == []
        assert (box.ledger.orders, box.requests, box.deliveries, box.faults) == ({}, [], [], [])
        for base in (box.url, box.backup_url):
            assert merchant.send("POST", PREPAY, merchant.order(), base=base).status == 200


def test_a_delivery_after_an_acknowledged_one_can_be_lost_and_probed_too(merchant, box, function):
    merchant.paid()
    box.deliver("order", "ORDER_000001")
    [lost] = box.deliver("order", "ORDER_000001", lose=1, probe=True)
    assert (lost.attempt, lost.lost, len(function.got)) == (2, True, 1)
    [probe] = box.deliver("order", "ORDER_000001", probe=True)
    assert probe.headers["Wechatpay-Signature"].startswith("WECHATPAY/SIGNTEST/")


def test_a_refund_that_turns_abnormal_again_is_another_notification(merchant, box):
    merchant.paid()
    merchant.send("POST", REFUNDS, merchant.refund())
    [first] = box.settle_refund("REFUND_1", "ABNORMAL")
    box.ledger.redirect_refund(box.ledger.refunds["REFUND_1"].refund_id, "REFUND_1", to_merchant=False)
    [second] = box.settle_refund("REFUND_1", "ABNORMAL")
    assert (first.attempt, second.attempt) == (1, 1)
    assert first.event_id != second.event_id
    assert second.plaintext["user_received_account"] != first.plaintext["user_received_account"]


def test_an_answer_that_drips_ends_at_its_limit():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = threading.Event()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
                while not done.wait(0.1):
                    connection.sendall(b"x")

        threading.Thread(target=drip, daemon=True).start()
        reply = outbound.post(f"http://127.0.0.1:{listening.getsockname()[1]}", "/", {}, b"{}", 0.5)
        done.set()
    assert (reply.status, reply.error) == (None, "no answer within 0.5 s")


def test_what_the_platform_injects_goes_before_what_the_caller_sends(box, function):
    box.call_http_function("/x", {}, openid="oTrue", headers={"X-WX-OPENID": "oEvil", "Content-Type": "text/plain"})
    headers = function.got[-1][1]
    assert (headers["x-wx-openid"], headers["content-type"]) == ("oTrue", "text/plain")


def test_a_reset_restores_the_switches(box):
    box.limits = box.running = True
    box.forward_path = None
    box.reset()
    assert (box.limits, box.running, box.forward_path) == (False, False, "/")


def test_the_next_platform_certificate_is_newer_than_the_present_one(box):
    first, second = (pair.certificate for pair in box.credentials.platform)
    assert first.not_valid_before_utc < second.not_valid_before_utc
    assert first.not_valid_after_utc < second.not_valid_after_utc
    assert first.not_valid_after_utc - datetime.now(timezone.utc) > timedelta(days=300)
