"""wechatpayv3 (Python, requests) as its README uses it, by its own proxy setting and REQUESTS_CA_BUNDLE."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

from sandbox import Credentials, Sandbox
from sandbox.credentials import private_pem, public_pem
from tests.sandbox.conftest import call
from tests.sandbox.sdks.conftest import (
    NOTIFY,
    UNKNOWN,
    Notice,
    by_a_stranger,
    genuine,
    new_number,
    stale,
    with_another_ciphertext,
)

wechatpayv3 = pytest.importorskip("wechatpayv3", reason="not run: wechatpayv3 is not installed")


@pytest.fixture
def wxpay(box: Sandbox, key_mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(box.ca))
    credentials = box.credentials
    if key_mode == "public_key":
        keys = {"public_key": public_pem(credentials.public_key), "public_key_id": credentials.public_key_id}
    else:
        keys = {"cert_dir": str(tmp_path / "cert")}
    return wechatpayv3.WeChatPay(
        wechatpay_type=wechatpayv3.WeChatPayType.NATIVE,
        mchid=credentials.merchant_id,
        private_key=private_pem(credentials.merchant.key),
        cert_serial_no=credentials.merchant.serial,
        apiv3_key=credentials.api_v3_key,
        appid=credentials.app_id,
        notify_url=NOTIFY,
        proxy={"https": box.url},
        timeout=(5, 5),
        **keys,
    )


@dataclass
class Receiver:
    """The notification view of the SDK's example; keeps what the SDK made of each."""

    url: str = ""
    made: list[Any] = field(default_factory=list)

    def post(self, notice: Notice) -> int:
        return call(self.url, "POST", "/notify", notice[1], {**notice[0]}).status


@pytest.fixture
def receiver(wxpay: Any, box: Sandbox) -> Iterator[Receiver]:
    app = Flask("shop")
    state = Receiver()

    @app.post("/notify")
    def notify() -> tuple[Response, int]:
        try:
            result = wxpay.callback(request.headers, request.data)
        except Exception as error:  # noqa: BLE001 -- the SDK raises bare Exceptions
            result = error
        state.made.append(result)
        if isinstance(result, dict):
            return jsonify({"code": "SUCCESS", "message": "成功"}), 200
        return jsonify({"code": "FAILED", "message": "失败"}), 500

    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    state.url = box.function = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


def order(wxpay: Any, **changes: Any) -> tuple[int, Any]:
    number = changes.pop("out_trade_no", "") or new_number("ORDER")
    code, message = wxpay.pay(**{"description": "茶", "out_trade_no": number, "amount": {"total": 100}} | changes)
    return code, {"out_trade_no": number, **json.loads(message)}


def paid(wxpay: Any, box: Sandbox) -> str:
    code, made = order(wxpay)
    assert code == 200
    box.pay(made["out_trade_no"], openid="oUser", deliver=False)
    return str(made["out_trade_no"])


def test_an_order_is_placed_paid_notified_and_refunded(wxpay: Any, box: Sandbox, receiver: Receiver) -> None:
    code, made = order(wxpay)
    number = made["out_trade_no"]
    assert code == 200
    assert made["code_url"].startswith("weixin://wxpay/bizpayurl")
    code, message = wxpay.query(out_trade_no=number)
    assert (code, json.loads(message)["trade_state"]) == (200, "NOTPAY")

    [delivery] = box.pay(number, openid="oUser")
    assert delivery.acknowledged
    notified = receiver.made[-1]
    assert notified["event_type"] == "TRANSACTION.SUCCESS"
    assert notified["resource"] == box.plaintext("order", number)
    code, message = wxpay.query(out_trade_no=number)
    assert (code, json.loads(message)["trade_state"]) == (200, "SUCCESS")
    assert json.loads(message)["transaction_id"] == notified["resource"]["transaction_id"]

    refund = new_number("REFUND")
    amount = {"refund": 30, "total": 100, "currency": "CNY"}
    code, message = wxpay.refund(out_refund_no=refund, out_trade_no=number, amount=amount, notify_url=NOTIFY)
    assert (code, json.loads(message)["status"]) == (200, "PROCESSING")
    [delivery] = box.settle_refund(refund)
    assert delivery.acknowledged
    assert receiver.made[-1]["event_type"] == "REFUND.SUCCESS"
    assert receiver.made[-1]["resource"] == box.plaintext("refund", refund)
    code, message = wxpay.query_refund(out_refund_no=refund)
    assert (code, json.loads(message)["status"], json.loads(message)["amount"]["refund"]) == (200, "SUCCESS", 30)
    assert all(record.verified for record in box.requests)


def test_an_order_is_closed(wxpay: Any, box: Sandbox) -> None:
    _, made = order(wxpay)
    assert wxpay.close(out_trade_no=made["out_trade_no"])[0] == 204
    code, message = wxpay.query(out_trade_no=made["out_trade_no"])
    assert (code, json.loads(message)["trade_state"]) == (200, "CLOSED")


def test_a_bad_request_comes_back_as_such(wxpay: Any, box: Sandbox) -> None:
    code, answer = order(wxpay, amount={"total": 0})
    assert (code, answer["code"]) == (400, "PARAM_ERROR")
    code, message = wxpay.query(out_trade_no=new_number("ORDER"))
    assert (code, json.loads(message)["code"]) == (404, "ORDER_NOT_EXIST")


def test_the_answers_are_signed_with_the_key_of_the_mode(wxpay: Any, box: Sandbox, key_mode: str) -> None:
    order(wxpay)
    serial = box.requests[-1].answer_headers["Wechatpay-Serial"]
    credentials = box.credentials
    assert serial == {"public_key": credentials.public_key_id, "certificate": credentials.platform[0].serial}[key_mode]


@pytest.mark.parametrize("fault", ["bad_signature", "no_signature", "other_body_signature", "probe", "empty_200"])
def test_a_forged_answer_is_not_believed(wxpay: Any, box: Sandbox, fault: str) -> None:
    number = paid(wxpay, box)
    box.fault(fault, times=1)
    with pytest.raises(Exception, match=r"failed to verify the signature|does not support this algorithm"):
        wxpay.query(out_trade_no=number)


def test_forged_notifications_are_not_believed(
    wxpay: Any, box: Sandbox, receiver: Receiver, forgeries: Callable[[str], dict[str, Notice]]
) -> None:
    number = paid(wxpay, box)
    for name, notice in forgeries(number).items():
        assert receiver.post(notice) == 500, name
        assert receiver.made[-1] is None or isinstance(receiver.made[-1], Exception), name
    assert receiver.post(with_another_ciphertext(genuine(box, number), box)) == 500
    assert receiver.made[-1] is None
    assert receiver.post(genuine(box, number)) == 200


@pytest.mark.parametrize("key_mode", ["public_key"], indirect=True)
def test_both_kinds_of_keys_are_believed_while_they_are_switched(
    wxpay: Any, box: Sandbox, receiver: Receiver
) -> None:
    """Both serials arrive mixed [4012154180]; the SDK fetches the certificates when the first one does."""
    number = paid(wxpay, box)
    box.certificates_available = True
    for key in ("public", "certificate"):
        notice = box.notification("order", box.plaintext("order", number), key=key)
        assert receiver.post(notice) == 200
        assert receiver.made[-1]["resource"]["out_trade_no"] == number


# Where it is laxer than the protocol


def test_lax_an_old_notification_is_believed(wxpay: Any, box: Sandbox, receiver: Receiver) -> None:
    """To be refused from 5 minutes on [4013053420]: whoever caught one may send it again, at any time."""
    number = paid(wxpay, box)
    assert receiver.post(stale(box, number, seconds=86400)) == 200
    assert receiver.made[-1]["resource"]["out_trade_no"] == number


@pytest.mark.parametrize("fault", ["stale_timestamp", "future_timestamp", "text_timestamp"])
def test_lax_an_answer_of_another_time_is_believed(wxpay: Any, box: Sandbox, fault: str) -> None:
    """The same rule holds for answers [4013053420]."""
    number = paid(wxpay, box)
    box.fault(fault, times=1)
    code, message = wxpay.query(out_trade_no=number)
    assert (code, json.loads(message)["trade_state"]) == (200, "SUCCESS")


@pytest.mark.parametrize("key_mode", ["certificate"], indirect=True)
@pytest.mark.parametrize("fault", ["bad_signature", "no_signature", "stale_timestamp"])
def test_lax_certificates_are_taken_from_an_unsigned_answer(
    box: Sandbox, key_mode: str, fault: str, request: pytest.FixtureRequest
) -> None:
    """Signed like any other answer [4013053249], and to be verified with the certificate just obtained.

    Here the APIv3 key, by which they are encrypted, is all that vouches for them.
    """
    box.fault(fault, path="/v3/certificates")
    wxpay = request.getfixturevalue("wxpay")
    assert box.requests[-1].path == "/v3/certificates"
    assert order(wxpay)[0] == 200


@pytest.mark.parametrize("key_mode", ["certificate"], indirect=True)
def test_lax_a_forged_notification_costs_it_its_certificates(
    wxpay: Any, box: Sandbox, receiver: Receiver, credentials: Credentials
) -> None:
    """An unknown serial is a reason to look once more [4012551764], not to forget what is known already.

    While the certificates cannot be had, anybody can thus make it refuse every notification.
    """
    number = paid(wxpay, box)
    assert receiver.post(genuine(box, number)) == 200
    box.fault("system_error", path="/v3/certificates")
    assert receiver.post(genuine(box, number)) == 200
    assert receiver.post(by_a_stranger(genuine(box, number), credentials, UNKNOWN["certificate"])) == 500
    assert receiver.post(genuine(box, number)) == 500
    box.clear_faults()
    assert receiver.post(genuine(box, number)) == 200


@pytest.mark.parametrize("key_mode", ["public_key"], indirect=True)
def test_lax_anybody_can_make_it_ask_for_certificates(
    wxpay: Any, box: Sandbox, receiver: Receiver, credentials: Credentials
) -> None:
    """An unknown key ID is just to fail: there is no certificate for it [4012153196].

    Every such call also counts against the switch to the public key [4012154180].
    """
    number = paid(wxpay, box)
    before = len(box.requests)
    for _ in range(2):
        assert receiver.post(by_a_stranger(genuine(box, number), credentials, UNKNOWN["public_key"])) == 500
    assert [record.path for record in box.requests[before:]] == ["/v3/certificates"] * 2


@pytest.mark.parametrize("key_mode", ["certificate"], indirect=True)
def test_lax_a_key_id_in_place_of_a_serial_is_an_error_in_it(
    wxpay: Any, box: Sandbox, receiver: Receiver, credentials: Credentials
) -> None:
    """To be refused like any unknown one [4012791861]; it takes the ID for a number."""
    number = paid(wxpay, box)
    assert receiver.post(by_a_stranger(genuine(box, number), credentials, UNKNOWN["public_key"])) == 500
    assert isinstance(receiver.made[-1], ValueError)
