"""Signatures made with the merchant's private key.

SHA256-with-RSA, PKCS#1 v1.5, base64, over lines that each end in a newline ([4012365336]).
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

SCHEME = "WECHATPAY2-SHA256-RSA2048"


def nonce() -> str:
    """32 hex digits, 128 random bits."""
    return secrets.token_hex(16)


class Signer:
    """Signs requests and invocation parameters for one merchant.

    `serial` is the serial of the merchant API certificate (40 hex), never the platform's.
    """

    def __init__(
        self,
        merchant_id: str,
        serial: str,
        private_key: RSAPrivateKey,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.merchant_id = merchant_id
        self._serial = serial
        self._private_key = private_key
        self._clock = clock

    def sign(self, *lines: str | bytes) -> str:
        """Base64 signature over `lines`, each followed by a newline."""
        message = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
        return base64.b64encode(self._private_key.sign(message, PKCS1v15(), SHA256())).decode()

    def authorization(self, method: str, target: str, body: bytes) -> str:
        """The Authorization header for one request ([4012365337]).

        `target` is path and query exactly as sent, `body` the very bytes sent (empty for none).
        """
        timestamp, nonce_str = self.timestamp(), nonce()
        signature = self.sign(method, target, timestamp, nonce_str, body)
        return (
            f'{SCHEME} mchid="{self.merchant_id}",nonce_str="{nonce_str}",timestamp="{timestamp}",'
            f'serial_no="{self._serial}",signature="{signature}"'
        )

    def timestamp(self) -> str:
        """Unix seconds now, decimal."""
        return str(int(self._clock()))

    def jsapi_parameters(self, appid: str, prepay_id: str) -> dict[str, str]:
        """What wx.requestPayment and WeixinJSBridge take; lines signed as [4012365339] says."""
        timestamp, nonce_str, package = self.timestamp(), nonce(), f"prepay_id={prepay_id}"
        return {
            "appId": appid,
            "prepay_id": prepay_id,
            "timeStamp": timestamp,
            "nonceStr": nonce_str,
            "package": package,
            "signType": "RSA",
            "paySign": self.sign(appid, timestamp, nonce_str, package),
        }

    def app_parameters(self, appid: str, prepay_id: str) -> dict[str, str]:
        """What the mobile SDKs' PayReq takes; the signed fourth line has no prefix ([4012365340])."""
        timestamp, nonce_str = self.timestamp(), nonce()
        return {
            "appId": appid,
            "partnerId": self.merchant_id,
            "prepayId": prepay_id,
            "packageValue": "Sign=WXPay",
            "nonceStr": nonce_str,
            "timeStamp": timestamp,
            "sign": self.sign(appid, timestamp, nonce_str, prepay_id),
            "prepay_id": prepay_id,
        }
