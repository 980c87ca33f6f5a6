"""The sandbox as one object: what tests and the command line start."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from sandbox import outbound
from sandbox.api import Api
from sandbox.callbacks import INTEGRATION_HOST, Callbacks, Manner
from sandbox.control import Control
from sandbox.credentials import Credentials, private_pem, public_pem
from sandbox.faults import Faults
from sandbox.gateway import FUNCTION_TIMEOUT, KEY_SET_STATES, Gateway
from sandbox.keys import Keys
from sandbox.ledger import Ledger
from sandbox.notices import Builder
from sandbox.records import ApiRequest, Delivery, Records
from sandbox.server import Listener, is_loopback
from sandbox.spoils import Fault
from sandbox.tls import Tls
from sandbox.tokens import Tokens
from sandbox.wire import Answer, Request

SIGN_MODES = ("gateway", "sdk")
REFUND_ENDS = ("SUCCESS", "ABNORMAL", "CLOSED")
TRANSFER_ENDS = ("SUCCESS", "FAIL", "CANCELLED")
_NOTIFY_URLS = {
    "gateway": (f"https://{INTEGRATION_HOST}/wechatpay/", ("order", "refund", "transfer")),
    "sdk": ("https://shop.example/wx-pay/", ("unifiedOrderTrigger", "refundTrigger", "transferTrigger")),
}


class Sandbox:
    """WeChat Pay, the Integration Center and the API gateway on two loopback ports (main and backup host).

    A third one serves WeChat Pay over TLS, and the first two are proxies to its official names: see faces.

    function      base URL of the function; may be set later
    sign_mode     "gateway" (the Integration Center forwards notifications) or "sdk" (WeChat Pay sends them)
    key_mode      "public_key" or "certificate"
    credentials   given ones, else those kept in the folder `state`, else new ones in memory
    forward_path  where the Integration Center posts: "/" or, with None, the path of the notify_url
    """

    def __init__(
        self,
        function: str = "http://127.0.0.1:9000",
        sign_mode: str = "gateway",
        key_mode: str = "public_key",
        state: str | Path | None = None,
        *,
        credentials: Credentials | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        backup_port: int = 0,
        https_port: int = 0,
        forward_path: str | None = "/",
    ) -> None:
        if sign_mode not in SIGN_MODES:
            raise ValueError(f"sign_mode must be one of {', '.join(SIGN_MODES)}")
        if credentials is None:
            credentials = Credentials.load_or_create(Path(state)) if state else Credentials.generate()
        self.credentials = credentials
        self.sign_mode = sign_mode
        self.keys = Keys(credentials, key_mode)
        self.ledger = Ledger()
        self._requests: Records[ApiRequest] = Records()
        self._deliveries: Records[Delivery] = Records()
        self._faults = Faults(self._refuse, self._accept)
        self._callbacks = Callbacks(
            credentials, self.keys, self.ledger, self._deliveries, function, forward_path
        )
        self._api = Api(credentials, self.keys, self.ledger, self._faults, self._requests)
        self._control = Control(self)
        self._listeners: dict[str, Listener] = {}
        # Credentials in memory only leave nothing behind, nor does what belongs to them.
        self._folder = None if state else tempfile.TemporaryDirectory(prefix="sandbox-")
        try:
            self._tls = Tls.load_or_create(Path(self._folder.name if self._folder else state or ""))
            for name, number in (("main", port), ("backup", backup_port), ("https", https_port)):
                self._listeners[name] = Listener(name, self._handle, address, number, self._tls)
        except OSError:
            self.close()
            raise
        self.tokens = Tokens(credentials, self.url)
        self.gateway = Gateway(self.tokens, lambda: self.function, self._faults.wait)

    # Life

    def start(self) -> Sandbox:
        self._accept()
        return self

    def close(self) -> None:
        self._faults.close()
        for listener in self._listeners.values():
            listener.close()
        if self._folder:
            self._folder.cleanup()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def reset(self) -> None:
        """Forget orders, refunds, transfers, records, faults and switches; keep credentials and ports."""
        self.clear_faults()
        for part in (self.ledger, self._requests, self._deliveries, self._callbacks, self.keys, self.gateway):
            part.clear()

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self._listeners["main"].address)

    @property
    def url(self) -> str:
        return self._listeners["main"].url

    @property
    def backup_url(self) -> str:
        return self._listeners["backup"].url

    @property
    def https_url(self) -> str:
        """The main host over TLS, and the backup host for whoever asks for it by name."""
        return self._listeners["https"].url

    @property
    def ca(self) -> Path:
        """The certificate of whoever vouches for `https_url` and for the official names."""
        return self._tls.ca

    @property
    def function(self) -> str:
        """Base URL of the function that gets notifications and calls."""
        return self._callbacks.function

    @function.setter
    def function(self, url: str) -> None:
        self._callbacks.function = url

    @property
    def forward_path(self) -> str | None:
        return self._callbacks.forward_path

    @forward_path.setter
    def forward_path(self, path: str | None) -> None:
        self._callbacks.forward_path = path

    @property
    def certificates_available(self) -> bool:
        """Whether `/v3/certificates` has any: True in public-key mode means a running switch-over."""
        return self.keys.certificates_available

    @certificates_available.setter
    def certificates_available(self, available: bool) -> None:
        self.keys.certificates_available = available

    @property
    def jwks(self) -> str:
        """How the key set of the gateway answers: "ok", "error" (500) or "hang"."""
        return self.gateway.key_set

    @jwks.setter
    def jwks(self, state: str) -> None:
        if state not in KEY_SET_STATES:
            raise ValueError(f"jwks must be one of {', '.join(KEY_SET_STATES)}")
        self.gateway.key_set = state

    def rotate(self, sign_with: str = "new") -> None:
        """Publish the second platform certificate beside the first; sign with the "new" or the "old" one."""
        self.keys.rotate(sign_with)

    def env(self, *, tokens: bool = False, **overrides: str | None) -> dict[str, str]:
        """The function's environment variables. An override of None leaves a variable out."""
        credentials = self.credentials
        base, names = _NOTIFY_URLS[self.sign_mode]
        variables: dict[str, str | None] = {
            "signMode": self.sign_mode,
            "appId": credentials.app_id,
            "service_app_id": credentials.service_app_id,
            "merchantId": credentials.merchant_id,
            "apiV3Key": credentials.api_v3_key,
            "merchantSerialNumber": credentials.merchant.serial,
            "privateKey": private_pem(credentials.merchant.key),
            "notifyURLPayURL": base + names[0],
            "notifyURLRefundsURL": base + names[1],
            "transferNotifyUrl": base + names[2],
            "wxPayApiBase": self.url,
            "wxPayApiBackup": self.backup_url,
        }
        if self.keys.key_mode == "public_key":
            variables["wxPayPublicKey"] = public_pem(credentials.public_key)
            variables["wxPayPublicKeyId"] = credentials.public_key_id
        if tokens:
            variables |= {"cloudbaseEnvId": credentials.env_id, "cloudbaseAuthUrl": self.url}
        return {name: value for name, value in (variables | overrides).items() if value is not None}

    # What happens at WeChat Pay

    def pay(
        self, out_trade_no: str, *, openid: str = "", deliver: bool = True, **manner: Any
    ) -> list[Delivery]:
        """The user pays; `openid` counts where the order names none. `manner`: see callbacks.Manner.

        This and the next two raise ledger.IllegalMove (a ValueError) when the state does not allow it.
        """
        how = Manner(**manner)
        self.ledger.pay(out_trade_no, openid)
        return self._callbacks.deliver("order", out_trade_no, how) if deliver else []

    def settle_refund(
        self, out_refund_no: str, status: str = "SUCCESS", *, deliver: bool = True, **manner: Any
    ) -> list[Delivery]:
        """A refund ends: SUCCESS, CLOSED, or ABNORMAL (which SUCCESS may still follow)."""
        how = Manner(**manner)
        if status not in REFUND_ENDS:
            raise ValueError(f"status must be one of {', '.join(REFUND_ENDS)}")
        self.ledger.settle_refund(out_refund_no, status)
        return self._callbacks.deliver("refund", out_refund_no, how) if deliver else []

    def finish_transfer(
        self,
        out_bill_no: str,
        state: str = "SUCCESS",
        *,
        fail_reason: str = "",
        deliver: bool = True,
        **manner: Any,
    ) -> list[Delivery]:
        """A transfer ends: SUCCESS, FAIL (with a `fail_reason`) or CANCELLED."""
        how = Manner(**manner)
        if state not in TRANSFER_ENDS:
            raise ValueError(f"state must be one of {', '.join(TRANSFER_ENDS)}")
        self.ledger.move_transfer(
            out_bill_no, state, fail_reason or ("OVERDUE_CLOSE" if state == "FAIL" else "")
        )
        return self._callbacks.deliver("transfer", out_bill_no, how) if deliver else []

    # Notifications

    def deliver(self, kind: str, number: str, **manner: Any) -> list[Delivery]:
        """Notify (again); [] when there is no notify_url."""
        return self._callbacks.deliver(kind, number, Manner(**manner))

    def plaintext(self, kind: str, number: str) -> dict[str, Any]:
        return self._callbacks.plaintext(kind, number)

    @property
    def builder(self) -> Builder:
        return self._callbacks.builder

    def notification(
        self, kind: str, plaintext: Mapping[str, Any] | bytes, **parts: Any
    ) -> tuple[dict[str, str], bytes]:
        """See notices.Builder.notification."""
        return self.builder.notification(kind, plaintext, **parts)

    def forwarded(
        self, kind: str, plaintext: Mapping[str, Any], **parts: Any
    ) -> tuple[dict[str, str], bytes]:
        """See notices.Builder.forwarded."""
        return self.builder.forwarded(kind, plaintext, **parts)

    # The platform in front of the function

    def token(self, /, kind: str = "user", **claims: Any) -> str:
        """See tokens.Tokens.issue."""
        return self.tokens.issue(kind, **claims)

    def call_http_function(
        self,
        path: str,
        body: Any,
        *,
        openid: str = "oSandboxUser0000000000000001",
        source: str = "wx_client",
        headers: Mapping[str, str] | None = None,
    ) -> outbound.Reply:
        """Call the function as wx.cloud.callHTTPFunction does; `headers` are the mini program's own."""
        injected = {"x-wx-source": source, "x-wx-openid": openid, "x-wx-appid": self.credentials.app_id}
        own = {"Content-Type": "application/json", **(headers or {})}
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        return outbound.post(self.function, path, own | injected, encoded, FUNCTION_TIMEOUT)

    # Records and faults

    @property
    def requests(self) -> list[ApiRequest]:
        return self._requests.after()

    @property
    def deliveries(self) -> list[Delivery]:
        return self._deliveries.after()

    def requests_since(self, since: int) -> list[ApiRequest]:
        return self._requests.after(since)

    def deliveries_since(self, since: int) -> list[Delivery]:
        return self._deliveries.after(since)

    def fault(self, kind: str, **options: Any) -> Fault:
        """See faults.Faults.add."""
        return self._faults.add(kind, **options)

    def clear_faults(self) -> None:
        self._faults.clear()

    @property
    def faults(self) -> list[Fault]:
        return self._faults.active()

    def _handle(self, request: Request) -> Answer:
        path = request.path
        if request.official:
            return self._api.handle(request)
        if path.startswith("/sandbox/"):
            return self._control.handle(request)
        if self.gateway.handles(path):
            return self.gateway.handle(request)
        return self._api.handle(request)

    def _refuse(self, host: str) -> None:
        for listener in self._listeners.values():
            listener.refuse(*(() if host == "any" else (host,)))

    def _accept(self) -> None:
        for listener in self._listeners.values():
            listener.accept()
