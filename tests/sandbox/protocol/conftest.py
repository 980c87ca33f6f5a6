"""One sandbox for all rows, emptied before each; what WeChat Pay's documents say is computed here by other means."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandbox import Credentials, Sandbox
from tests.sandbox.conftest import BILLS, REFUNDS, Function, Heard, Merchant

PAY = "/v3/pay/transactions"
SHOP = "https://shop.example/wx-pay/"
BEIJING = timezone(timedelta(hours=8))
SHA1 = hashes.SHA1()  # noqa: S303 - as APIv3 defines its RSA-OAEP
OAEP = padding.OAEP(mgf=padding.MGF1(SHA1), algorithm=SHA1, label=None)


class Payee(Merchant):
    """The merchant of the other tests, with words for what the rows need again and again."""

    def scene(self, scene: str, number: str = "ORDER_000001", total: int = 100, **more: Any) -> dict[str, Any]:
        """A body that the endpoint of this scene takes."""
        body = self.order(number, total, **more)
        if scene != "jsapi" and "payer" not in more:
            del body["payer"]
        if scene == "h5":
            body.setdefault("scene_info", {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}})
        return body

    def place(self, scene: str, number: str = "ORDER_000001", total: int = 100, **more: Any) -> str:
        """The credential of a new order, or a fresh one of the same."""
        answer = self.send("POST", f"{PAY}/{scene}", self.scene(scene, number, total, **more))
        assert answer.status == 200, answer.body
        [value] = answer.json.values()
        return str(value)

    def query(self, number: str = "ORDER_000001") -> Heard:
        return self.send("GET", f"{PAY}/out-trade-no/{number}?mchid={self.credentials.merchant_id}")

    def close(self, number: str = "ORDER_000001") -> Heard:
        target = f"{PAY}/out-trade-no/{number}/close"
        return self.send("POST", target, {"mchid": self.credentials.merchant_id})

    def refunded(self, number: str = "REFUND_1", **more: Any) -> dict[str, Any]:
        """A refund that has been accepted, of an order that is paid first where it is not."""
        if "ORDER_000001" not in self.box.ledger.orders:
            self.paid()
        answer = self.send("POST", REFUNDS, self.refund(number, **more))
        assert answer.status == 200, answer.body
        shown: dict[str, Any] = answer.json
        return shown

    def refund_query(self, number: str = "REFUND_1") -> Heard:
        return self.send("GET", f"{REFUNDS}/{number}")

    def transferred(self, number: str = "BILL1", amount: int = 100, **more: Any) -> dict[str, Any]:
        answer = self.send("POST", BILLS, self.transfer(number, amount, **more))
        assert answer.status == 200, answer.body
        shown: dict[str, Any] = answer.json
        return shown

    def transfer_query(self, number: str = "BILL1") -> Heard:
        return self.send("GET", f"{BILLS}/out-bill-no/{number}")

    def cancel(self, number: str = "BILL1") -> Heard:
        return self.send("POST", f"{BILLS}/out-bill-no/{number}/cancel")

    def encrypted(self, text: str, key: RSAPublicKey | None = None, scheme: padding.OAEP = OAEP) -> str:
        """A sensitive field, under WeChat Pay's public key where none is given."""
        if key is None:
            published = serialization.load_pem_public_key(self.box.env()["wxPayPublicKey"].encode())
            assert isinstance(published, RSAPublicKey)
            key = published
        return base64.b64encode(key.encrypt(text.encode(), scheme)).decode()

    @property
    def named(self) -> dict[str, str | None]:
        """The header that says which key `encrypted` used."""
        return {"Wechatpay-Serial": self.credentials.public_key_id}


@pytest.fixture(scope="session")
def shared(
    credentials: Credentials, function_server: tuple[ThreadingHTTPServer, Function]
) -> Iterator[Sandbox]:
    with Sandbox(function_server[1].url, "sdk", "public_key", credentials=credentials) as sandbox:
        yield sandbox


@pytest.fixture
def box(shared: Sandbox, function: Function) -> Sandbox:
    return renewed(shared, function)


@pytest.fixture
def merchant(box: Sandbox) -> Payee:
    return Payee(box)


def renewed(sandbox: Sandbox, function: Function) -> Sandbox:
    sandbox.reset()
    sandbox.function, sandbox.forward_path = function.url, "/"
    sandbox.limits = sandbox.running = False
    return sandbox


def refusal(answer: Heard) -> tuple[int, str]:
    return answer.status, answer.json["code"]


def signed_by(key: RSAPublicKey, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the Wechatpay-* headers (in lower case) hold this key's signature of this body."""
    message = f"{headers['wechatpay-timestamp']}\n{headers['wechatpay-nonce']}\n".encode() + body + b"\n"
    try:
        signature = base64.b64decode(headers["wechatpay-signature"], validate=True)
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return abs(time.time() - int(headers["wechatpay-timestamp"])) < 300


def opened(credentials: Credentials, resource: Mapping[str, str]) -> dict[str, Any]:
    """The plaintext of a notification's `resource`."""
    sealed = base64.b64decode(resource["ciphertext"], validate=True)
    cipher = AESGCM(credentials.api_v3_key.encode())
    plain = cipher.decrypt(resource["nonce"].encode(), sealed, resource["associated_data"].encode())
    content: dict[str, Any] = json.loads(plain)
    return content


def seconds(text: str) -> int:
    """Of "15s", "3m", "6h" or "7d"."""
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


def moment(text: str) -> float:
    """Seconds of an RFC 3339 time, which has to name Beijing's zone."""
    assert text.endswith("+08:00")
    return datetime.fromisoformat(text).timestamp()


def beijing(box: Sandbox) -> datetime:
    return datetime.fromtimestamp(box.clock.now(), BEIJING)


def advance_to(box: Sandbox, hour: int, minute: int = 0, *, days: int = 0) -> datetime:
    """Go on to the next such time of day in Beijing, and `days` further."""
    now = beijing(box)
    target = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    target += timedelta(days=days + (target <= now))
    box.advance((target - now).total_seconds())
    return target


