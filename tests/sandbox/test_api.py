"""Orders, refunds and transfers at the WeChat Pay face."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandbox import Sandbox
from tests.sandbox.conftest import BILLS, PREPAY, REFUNDS, Merchant

SHA1 = hashes.SHA1()  # noqa: S303 - as APIv3 defines its RSA-OAEP
OAEP = padding.OAEP(mgf=padding.MGF1(SHA1), algorithm=SHA1, label=None)


def by_number(merchant, number="ORDER_000001"):
    return f"/v3/pay/transactions/out-trade-no/{number}?mchid={merchant.credentials.merchant_id}"


def refusal(answer):
    return answer.status, answer.json["code"]


def openssl_verifies(public_pem: str, heard, folder) -> bool:
    message = f"{heard.headers['wechatpay-timestamp']}\n{heard.headers['wechatpay-nonce']}\n".encode()
    (folder / "key.pem").write_text(public_pem)
    (folder / "signature").write_bytes(base64.b64decode(heard.headers["wechatpay-signature"]))
    command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature"]
    return (
        subprocess.run(
            command, input=message + heard.body + b"\n", cwd=folder, check=False, capture_output=True
        ).returncode
        == 0
    )


class TestAnswers:
    def test_openssl_verifies_the_signature_of_200_204_and_404(self, merchant, box, tmp_path):
        public = box.env()["wxPayPublicKey"]
        close = "/v3/pay/transactions/out-trade-no/ORDER_000001/close"
        for method, target, body, status in (
            ("POST", PREPAY, merchant.order(), 200),
            ("POST", close, {"mchid": merchant.credentials.merchant_id}, 204),
            ("GET", by_number(merchant, "ORDER_UNKNOWN"), None, 404),
        ):
            heard = merchant.send(method, target, body)
            assert heard.status == status
            assert heard.headers["wechatpay-serial"] == box.credentials.public_key_id
            assert heard.headers["request-id"]
            assert openssl_verifies(public, heard, tmp_path)
            heard.body += b" "
            assert not openssl_verifies(public, heard, tmp_path)

    def test_certificates_decrypt_and_verify_the_answers(self, credentials, function, tmp_path):
        with Sandbox(function.url, key_mode="certificate", credentials=credentials) as box:
            heard = Merchant(box).send("GET", "/v3/certificates")
            [entry] = heard.json["data"]
            sealed = entry["encrypt_certificate"]
            pem = AESGCM(credentials.api_v3_key.encode()).decrypt(
                sealed["nonce"].encode(),
                base64.b64decode(sealed["ciphertext"]),
                sealed["associated_data"].encode(),
            )
            (tmp_path / "certificate.pem").write_bytes(pem)
            shown = subprocess.run(
                ["openssl", "x509", "-in", "certificate.pem", "-noout", "-serial", "-pubkey"],
                cwd=tmp_path,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            assert f"serial={entry['serial_no']}" in shown
            assert heard.headers["wechatpay-serial"] == entry["serial_no"]
            assert len(entry["serial_no"]) == 40
            assert openssl_verifies(shown[shown.index("-----BEGIN") :], heard, tmp_path)

    def test_a_merchant_with_a_public_key_has_no_certificates_until_the_switch_is_on(self, merchant, box):
        assert refusal(merchant.send("GET", "/v3/certificates")) == (404, "RESOURCE_NOT_EXISTS")
        box.certificates_available = True
        named = merchant.send(
            "GET", "/v3/certificates", headers={"Wechatpay-Serial": box.credentials.public_key_id}
        )
        unnamed = merchant.send("GET", "/v3/certificates")
        assert named.headers["wechatpay-serial"] == box.credentials.public_key_id
        assert unnamed.headers["wechatpay-serial"] == unnamed.json["data"][0]["serial_no"]

    def test_rotation_publishes_both_certificates_and_signs_with_the_chosen_one(self, credentials, function):
        with Sandbox(function.url, key_mode="certificate", credentials=credentials) as box:
            old, new = (pair.serial for pair in credentials.platform)
            for choice, serial in (("old", old), ("new", new)):
                box.rotate(choice)
                heard = Merchant(box).send("GET", "/v3/certificates")
                assert [entry["serial_no"] for entry in heard.json["data"]] == [old, new]
                assert heard.headers["wechatpay-serial"] == serial

    def test_both_hosts_share_their_state(self, merchant, box):
        merchant.send("POST", PREPAY, merchant.order())
        assert merchant.send("GET", by_number(merchant), base=box.backup_url).json["trade_state"] == "NOTPAY"
        assert [record.host for record in box.requests] == ["main", "backup"]


class TestOrders:
    @pytest.mark.parametrize(
        ("scene", "field", "scene_info"),
        [
            ("app", "prepay_id", None),
            ("native", "code_url", None),
            ("h5", "h5_url", {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}),
        ],
    )
    def test_each_scene_gives_its_own_credential(self, merchant, scene, field, scene_info):
        body = merchant.order()
        del body["payer"]
        if scene_info:
            body["scene_info"] = scene_info
        answer = merchant.send("POST", f"/v3/pay/transactions/{scene}", body)
        assert answer.status == 200
        assert list(answer.json) == [field]

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"amount": {"total": 0}}, "/amount/total"),
            ({"amount": {"total": True}}, "/amount/total"),
            ({"amount": {"total": "1"}}, "/amount/total"),
            ({"amount": {"total": 1.5}}, "/amount/total"),
            ({"amount": {"total": 1, "currency": "USD"}}, "/amount/currency"),
            ({"description": ""}, "/description"),
            ({"description": "x" * 128}, "/description"),
            ({"description": "tea \U0001f375"}, "/description"),
            ({"description": None}, "/description"),
            ({"out_trade_no": "short"}, "/out_trade_no"),
            ({"out_trade_no": "ORDER_000001\n"}, "/out_trade_no"),
            ({"payer": {}}, "/payer/openid"),
            ({"surprise": 1}, "/surprise"),
            ({"amount": {"total": 1, "surprise": 1}}, "/amount/surprise"),
            ({"notify_url": "http://shop.example/pay"}, "/notify_url"),
            ({"notify_url": "https://shop.example/pay?a=1"}, "/notify_url"),
            ({"notify_url": "https://127.0.0.1/pay"}, "/notify_url"),
            ({"notify_url": "https://localhost/pay"}, "/notify_url"),
            ({"notify_url": "https://shop.example"}, "/notify_url"),
            ({"mchid": "1900000000"}, "/mchid"),
            ({"time_expire": "tomorrow"}, "/time_expire"),
            ({"detail": {"goods_detail": []}}, "/detail/goods_detail"),
            ({"scene_info": {"payer_client_ip": "here"}}, "/scene_info/payer_client_ip"),
            ({"support_fapiao": 1}, "/support_fapiao"),
        ],
    )
    def test_a_bad_field_is_a_signed_param_error_that_points_at_it(self, merchant, changes, field):
        answer = merchant.send("POST", PREPAY, merchant.order(**changes))
        assert refusal(answer) == (400, "PARAM_ERROR")
        assert answer.json["detail"]["field"] == field
        assert "wechatpay-signature" in answer.headers
        assert merchant.box.ledger.orders == {}

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"{", b'{"a":NaN}', b'{"a":1,"a":1}', b"\xff", b"[" * 100_000, b'{"\\ud800":1}']
    )
    def test_a_body_that_is_no_plain_json_object_is_a_param_error(self, merchant, body):
        headers = {"Content-Type": "application/json"}
        assert refusal(merchant.send("POST", PREPAY, body, headers=headers)) == (400, "PARAM_ERROR")

    def test_an_app_of_another_merchant_is_refused(self, merchant):
        answer = merchant.send("POST", PREPAY, merchant.order(appid="wx0000000000000000"))
        assert refusal(answer) == (400, "APPID_MCHID_NOT_MATCH")

    def test_the_same_order_again_gives_a_fresh_credential_and_a_changed_one_is_refused(self, merchant):
        first = merchant.send("POST", PREPAY, merchant.order()).json["prepay_id"]
        assert merchant.send("POST", PREPAY, merchant.order()).json["prepay_id"] != first
        for path, body in (
            (PREPAY, merchant.order(total=101)),
            (PREPAY, merchant.order(attach="x")),
            ("/v3/pay/transactions/native", {k: v for k, v in merchant.order().items() if k != "payer"}),
        ):
            assert refusal(merchant.send("POST", path, body)) == (403, "OUT_TRADE_NO_USED")

    def test_a_query_shows_payment_data_only_once_paid(self, merchant, box):
        merchant.send("POST", PREPAY, merchant.order(attach="a|b"))
        unpaid = merchant.send("GET", by_number(merchant)).json
        assert set(unpaid) == {"appid", "mchid", "out_trade_no", "trade_state", "trade_state_desc", "attach"}
        box.pay("ORDER_000001", deliver=False)
        paid = merchant.send("GET", by_number(merchant)).json
        assert (paid["trade_state"], paid["payer"], paid["amount"]["total"]) == (
            "SUCCESS",
            {"openid": "oUser"},
            100,
        )
        by_id = f"/v3/pay/transactions/id/{paid['transaction_id']}?mchid={merchant.credentials.merchant_id}"
        assert merchant.send("GET", by_id).json == paid

    def test_unknown_orders_and_queries_without_our_mchid_are_refused(self, merchant):
        assert refusal(merchant.send("GET", by_number(merchant))) == (404, "ORDER_NOT_EXIST")
        for target in (by_number(merchant).partition("?")[0], by_number(merchant) + "1"):
            answer = merchant.send("GET", target)
            assert refusal(answer) == (400, "PARAM_ERROR")
            assert answer.json["detail"]["location"] == "query"

    def test_closing_is_repeatable_and_final_and_impossible_once_paid(self, merchant):
        close = "/v3/pay/transactions/out-trade-no/{}/close"
        own = {"mchid": merchant.credentials.merchant_id}
        merchant.send("POST", PREPAY, merchant.order())
        for _ in range(2):
            answer = merchant.send("POST", close.format("ORDER_000001"), own)
            assert (answer.status, answer.body) == (204, b"")
        assert refusal(merchant.send("POST", PREPAY, merchant.order())) == (400, "ORDER_CLOSED")
        with pytest.raises(ValueError, match="CLOSED"):
            merchant.box.pay("ORDER_000001")
        merchant.paid("ORDER_000002")
        assert refusal(merchant.send("POST", close.format("ORDER_000002"), own)) == (400, "ORDER_PAID")
        with pytest.raises(ValueError, match="SUCCESS"):
            merchant.box.pay("ORDER_000002")


class TestRefunds:
    def test_only_paid_orders_are_refunded_up_to_their_total(self, merchant):
        assert refusal(merchant.send("POST", REFUNDS, merchant.refund())) == (404, "RESOURCE_NOT_EXISTS")
        merchant.send("POST", PREPAY, merchant.order())
        assert refusal(merchant.send("POST", REFUNDS, merchant.refund())) == (404, "RESOURCE_NOT_EXISTS")
        merchant.box.pay("ORDER_000001", deliver=False)
        assert merchant.send("POST", REFUNDS, merchant.refund("R1", 60)).json["status"] == "PROCESSING"
        assert refusal(merchant.send("POST", REFUNDS, merchant.refund("R2", 41))) == (400, "INVALID_REQUEST")
        assert refusal(merchant.send("POST", REFUNDS, merchant.refund("R2", 1, 99))) == (
            400,
            "INVALID_REQUEST",
        )
        assert merchant.send("POST", REFUNDS, merchant.refund("R2", 40)).status == 200
        assert merchant.send("GET", by_number(merchant)).json["trade_state"] == "REFUND"

    def test_a_closed_refund_frees_its_amount(self, merchant, box):
        merchant.paid()
        merchant.send("POST", REFUNDS, merchant.refund("R1"))
        box.settle_refund("R1", "CLOSED", deliver=False)
        assert merchant.send("POST", REFUNDS, merchant.refund("R2")).status == 200

    def test_the_same_number_is_the_same_refund_and_never_another_one(self, merchant):
        merchant.paid()
        first = merchant.send("POST", REFUNDS, merchant.refund(refund=10)).json
        assert merchant.send("POST", REFUNDS, merchant.refund(refund=10)).json == first
        assert refusal(merchant.send("POST", REFUNDS, merchant.refund(refund=11))) == (400, "INVALID_REQUEST")
        assert merchant.send("GET", f"{REFUNDS}/REFUND_1").json == first
        assert refusal(merchant.send("GET", f"{REFUNDS}/REFUND_2")) == (404, "RESOURCE_NOT_EXISTS")

    def test_a_refund_names_its_order_exactly_once(self, merchant):
        merchant.paid()
        for changes in (
            {"transaction_id": "4200"},
            {"out_trade_no": "ORDER_000001", "transaction_id": "4200"},
        ):
            body = merchant.refund() | changes
            if len(changes) == 1:
                body |= {"out_trade_no": "ORDER_000001"}
            assert refusal(merchant.send("POST", REFUNDS, body)) == (400, "PARAM_ERROR")

    def test_the_fifty_first_refund_of_an_order_is_refused(self, merchant):
        merchant.paid(total=51)
        for index in range(50):
            assert merchant.send("POST", REFUNDS, merchant.refund(f"R{index}", 1, 51)).status == 200
        assert refusal(merchant.send("POST", REFUNDS, merchant.refund("R50", 1, 51))) == (
            400,
            "INVALID_REQUEST",
        )

    def test_a_reason_is_limited_in_bytes(self, merchant):
        merchant.paid()
        assert refusal(merchant.send("POST", REFUNDS, merchant.refund(reason="退" * 27))) == (
            400,
            "PARAM_ERROR",
        )
        assert merchant.send("POST", REFUNDS, merchant.refund(reason="退" * 26)).status == 200

    def test_abnormal_may_become_success_and_success_nothing_else(self, merchant, box):
        merchant.paid()
        merchant.send("POST", REFUNDS, merchant.refund())
        box.settle_refund("REFUND_1", "ABNORMAL", deliver=False)
        box.settle_refund("REFUND_1", "SUCCESS", deliver=False)
        assert merchant.send("GET", f"{REFUNDS}/REFUND_1").json["success_time"]
        with pytest.raises(ValueError, match="cannot become CLOSED"):
            box.settle_refund("REFUND_1", "CLOSED")


class TestTransfers:
    def test_a_bill_waits_for_the_user_and_repeats_show_the_same_bill(self, merchant, box):
        first = merchant.send("POST", BILLS, merchant.transfer()).json
        assert first["state"] == "WAIT_USER_CONFIRM"
        assert merchant.send("POST", BILLS, merchant.transfer()).json == first
        assert refusal(merchant.send("POST", BILLS, merchant.transfer(amount=101))) == (
            400,
            "INVALID_REQUEST",
        )
        box.finish_transfer("BILL1", "FAIL", fail_reason="NAME_NOT_CORRECT", deliver=False)
        assert refusal(merchant.send("POST", BILLS, merchant.transfer())) == (400, "ALREADY_EXISTS")
        shown = merchant.send("GET", f"{BILLS}/transfer-bill-no/{first['transfer_bill_no']}").json
        assert (shown["state"], shown["fail_reason"]) == ("FAIL", "NAME_NOT_CORRECT")
        assert shown == merchant.send("GET", f"{BILLS}/out-bill-no/BILL1").json

    def test_a_cancelled_bill_ends_later_and_the_user_may_still_win(self, merchant, box):
        for number in ("BILL1", "BILL2"):
            merchant.send("POST", BILLS, merchant.transfer(number))
            for _ in range(2):
                answer = merchant.send("POST", f"{BILLS}/out-bill-no/{number}/cancel")
                assert answer.json["state"] == "CANCELING"
        box.finish_transfer("BILL1", "CANCELLED", deliver=False)
        box.finish_transfer("BILL2", "SUCCESS", deliver=False)
        assert merchant.send("POST", f"{BILLS}/out-bill-no/BILL1/cancel").json["state"] == "CANCELLED"
        assert refusal(merchant.send("POST", f"{BILLS}/out-bill-no/BILL2/cancel")) == (400, "INVALID_REQUEST")
        assert refusal(merchant.send("POST", f"{BILLS}/out-bill-no/BILL3/cancel")) == (404, "NOT_FOUND")
        assert refusal(merchant.send("GET", f"{BILLS}/out-bill-no/BILL3")) == (404, "NOT_FOUND")

    def test_a_user_name_is_encrypted_for_us_and_shown_encrypted_for_the_merchant(self, merchant, box):
        public = serialization.load_pem_public_key(box.env()["wxPayPublicKey"].encode())
        encrypted = base64.b64encode(public.encrypt("张三".encode(), OAEP)).decode()
        named = {"Wechatpay-Serial": box.credentials.public_key_id}
        body = merchant.transfer(amount=200_000, user_name=encrypted)
        assert refusal(merchant.send("POST", BILLS, body)) == (400, "PARAM_ERROR")
        wrong = {"Wechatpay-Serial": "PUB_KEY_ID_00"}
        assert "Wechatpay-Serial" in merchant.send("POST", BILLS, body, headers=wrong).json["message"]
        broken = merchant.transfer(amount=200_000, user_name=encrypted[:-8] + "AAAAAAA=")
        assert merchant.send("POST", BILLS, broken, headers=named).json["detail"]["field"] == "/user_name"
        assert box.ledger.transfers == {}
        assert merchant.send("POST", BILLS, body, headers=named).status == 200
        shown = merchant.send("GET", f"{BILLS}/out-bill-no/BILL1").json["user_name"]
        assert merchant.credentials.merchant.key.decrypt(base64.b64decode(shown), OAEP).decode() == "张三"

    @pytest.mark.parametrize(
        "changes",
        [
            {"transfer_amount": 9},
            {"transfer_amount": 200_000},
            {"transfer_amount": 29, "user_name": "AAAA"},
            {"out_bill_no": "BILL_1"},
            {"transfer_remark": "x" * 33},
            {"transfer_scene_report_infos": [{"info_type": "活动名称", "info_content": "a"}]},
            {"user_recv_perception": "货款"},
            {"transfer_scene_id": "9999"},
            {"user_recv_style": {"type": "RED_PACKET"}, "transfer_amount": 20_001},
            {"appid": "wx0000000000000000"},
            {"mchid": "1900000000"},
        ],
    )
    def test_a_transfer_against_the_rules_is_400(self, merchant, changes):
        assert merchant.send("POST", BILLS, merchant.transfer(**changes)).status == 400
        assert merchant.box.ledger.transfers == {}


def test_every_request_is_recorded_with_its_verdict(merchant, box):
    merchant.send("POST", PREPAY, merchant.order())
    merchant.send("POST", PREPAY, merchant.order(), headers={"Authorization": "nonsense"})
    good, bad = box.requests
    assert (good.verified, good.refusal, good.status, good.json) == (True, None, 200, merchant.order())
    assert (bad.verified, bad.status) == (False, 401)
    assert bad.refusal.startswith("SIGN_ERROR")
    assert json.loads(good.answer)["prepay_id"]


def test_a_number_beyond_all_bounds_is_refused_in_words_that_are_json(merchant):
    raw = json.dumps(merchant.order()).replace('"total": 100', '"total": 1e400').encode()
    answer = merchant.send("POST", PREPAY, raw)
    assert (answer.status, answer.json["code"]) == (400, "PARAM_ERROR")
    assert b"Infinity" not in answer.body
