"""The sandbox as one object: what tests and the command line start."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from sandbox import outbound, views, web
from sandbox.api import Api
from sandbox.callbacks import Callbacks, Manner
from sandbox.clock import Clock, Plan, duration, rfc3339
from sandbox.control import Control
from sandbox.course import Course
from sandbox.credentials import MARK, Credentials, private_pem, public_pem
from sandbox.events import Events
from sandbox.faults import Faults
from sandbox.files import Files
from sandbox.gateway import FUNCTION_TIMEOUT, KEY_SET_STATES, Gateway
from sandbox.integration import HOST as INTEGRATION_HOST
from sandbox.keys import Keys
from sandbox.ledger import TRANSFER_MOVES, IllegalMove, Ledger, Thing
from sandbox.limits import Limits
from sandbox.merchant import Merchant
from sandbox.notices import Builder
from sandbox.phone import Phone
from sandbox.records import ApiRequest, Delivery, Records
from sandbox.server import Listener, is_loopback
from sandbox.spoils import KINDS, Fault
from sandbox.tls import Tls
from sandbox.tokens import Tokens
from sandbox.wire import Answer, Request

OPENID = "oSandboxUser0000000000000001"
SIGN_MODES = ("gateway", "sdk")
REFUND_ENDS = ("SUCCESS", "ABNORMAL", "CLOSED")
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
    running       what is due happens by itself as time passes; otherwise only when `advance` is called
    limits        refuse what is faster than WeChat Pay documents
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
        running: bool = False,
        limits: bool = False,
    ) -> None:
        if sign_mode not in SIGN_MODES:
            raise ValueError(f"sign_mode must be one of {', '.join(SIGN_MODES)}")
        if credentials is None:
            credentials = Credentials.load_or_create(Path(state)) if state else Credentials.generate()
        self.credentials = credentials
        self.sign_mode = sign_mode
        self.clock = Clock()
        self.keys = Keys(credentials, key_mode, self.clock.now)
        self.merchant = Merchant(self.clock.now)
        self.ledger = Ledger(self.clock.now, self.merchant)
        self.phone = Phone(credentials, self.ledger)
        self.events = Events()
        self._limits = Limits()
        self._files = Files(self.ledger, credentials.merchant_id)
        self._requests: Records[ApiRequest] = Records()
        self._deliveries: Records[Delivery] = Records()
        self._faults = Faults(self._refuse)
        self._callbacks = Callbacks(
            credentials, self.keys, self.ledger, self.clock, self._deliveries, function, forward_path
        )
        self._course = Course(self.clock, self.ledger, self._tell)
        self._api = Api(
            credentials, self.keys, self.ledger, self._faults, self._requests, self._limits, self._files
        )
        self._publish()
        self._given = {"limits": limits, "running": running, "forward_path": forward_path}
        for name, value in self._given.items():
            setattr(self, name, value)
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
        self._refuse(set())
        return self

    def close(self) -> None:
        self.clock.stop()
        self.events.close()
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
        """Forget everything but credentials, ports and `function`; switches are again as they were at the start."""
        self.clock.clear()
        self.clear_faults()
        self._faults.interrupt()
        for name, value in self._given.items():
            setattr(self, name, value)
        for part in (
            self._course,
            self._callbacks,
            self.ledger,
            self.merchant,
            self._files,
            self._requests,
            self._deliveries,
            self._limits,
            self.keys,
            self.gateway,
        ):
            part.clear()
        self.events.publish("reset", dict)

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
        return self._callbacks.integration.forward_path

    @forward_path.setter
    def forward_path(self, path: str | None) -> None:
        self._callbacks.integration.forward_path = path

    @property
    def limits(self) -> bool:
        """Whether calls that are faster than documented are refused with 429."""
        return self._limits.on

    @limits.setter
    def limits(self, on: bool) -> None:
        self._limits.on = self.ledger.limits = on

    @property
    def running(self) -> bool:
        """Whether what is due happens by itself."""
        return self.clock.running

    @running.setter
    def running(self, running: bool) -> None:
        if running:
            self.clock.run()
        else:
            self.clock.stop()

    def advance(self, time: str | float) -> list[Plan]:
        """Move business time on by seconds or by a text like "10m"; returns what happened. Raises ValueError."""
        return self.clock.advance(duration(time) if isinstance(time, str) else time)

    @property
    def operator_key(self) -> str:
        """What to give the function as `operatorKey`, so that the page can refund; the same for the same merchant."""
        return f"{MARK}-operator-{hashlib.sha256(self.credentials.api_v3_key.encode()).hexdigest()[:32]}"

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

    def switch_over(self, what: str) -> None:
        """Begin the change from certificates to the public key, or stop it. Raises ValueError."""
        if what not in ("begin", "stop"):
            raise ValueError("switch_over must be begin or stop")
        if what == "begin":
            self.keys.begin_switch()
        else:
            self.keys.stop_switch()

    def env(self, *, tokens: bool = False, public_key: bool = False, **overrides: str | None) -> dict[str, str]:
        """The function's environment variables. An override of None leaves a variable out.

        public_key  WeChat Pay's public key too, although the key mode has none yet
        """
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
        if public_key or self.keys.public_key_known:
            variables["wxPayPublicKey"] = public_pem(credentials.public_key)
            variables["wxPayPublicKeyId"] = credentials.public_key_id
        if tokens:
            variables |= {"cloudbaseEnvId": credentials.env_id, "cloudbaseAuthUrl": self.url}
        return {name: value for name, value in (variables | overrides).items() if value is not None}

    def whole_env(self, *, public_key: bool = False) -> dict[str, str]:
        """As `env`, with all that the page needs: tokens, an operator, H5 orders."""
        return self.env(
            tokens=True,
            public_key=public_key,
            operatorKey=self.operator_key,
            corsAllowOrigin="https://shop.example",
        )

    # What happens at WeChat Pay

    def pay(
        self,
        out_trade_no: str,
        *,
        openid: str = "",
        deliver: bool = True,
        after: str | None = None,
        twice: bool = False,
        **manner: Any,
    ) -> list[Delivery]:
        """The user pays; `openid` counts where the order names none. `manner`: see callbacks.Manner.

        after  the payment sheet stays open so long ("10m"), and is paid then
        twice  the user presses again, in vain, and the notification comes twice

        This and the next three raise ledger.IllegalMove (a ValueError) when the state does not allow it.
        """
        how = Manner(**manner)
        if after is not None and twice:
            raise ValueError("after and twice exclude each other")
        if after is not None:
            self._pay_later(out_trade_no, duration(after), openid, deliver, how)
            return []
        order = self.ledger.pay(out_trade_no, openid)
        if twice:
            self.ledger.note(order, "a second payment refused: the order is paid")
        told = self._callbacks.deliver("order", out_trade_no, how) if deliver else []
        if told and twice:
            told += self._callbacks.deliver("order", out_trade_no, how)
        return told

    def _pay_later(self, number: str, delay: float, openid: str, deliver: bool, how: Manner) -> None:
        if number not in self.ledger.orders:
            raise IllegalMove(f"there is no order {number}")
        order = self.ledger.orders[number]
        if order.state != "NOTPAY" or self.ledger.now() > order.credential.expires:
            raise IllegalMove(f"order {number} cannot be opened for payment now")
        self.ledger.note(order, "the user dawdles at the payment sheet")

        def happen() -> None:
            try:
                self.ledger.pay(number, openid, sheet_open=True)
            except IllegalMove as refusal:
                self.ledger.note(order, f"the payment came too late: {refusal}")
            else:
                if deliver:
                    self._callbacks.deliver("order", number, how)

        self.clock.plan(delay, f"order {number} is paid late", happen)

    def fail_payment(self, out_trade_no: str, reason: str = "") -> None:
        """An attempt fails: the order stays NOTPAY, and no notification is ever sent."""
        self.ledger.fail_payment(out_trade_no, reason)

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
        """A transfer moves on to `state`: SUCCESS, FAIL (with a `fail_reason`), CANCELLED, or one on the way."""
        how = Manner(**manner)
        if state not in TRANSFER_MOVES:
            raise ValueError(f"state must be one of {', '.join(TRANSFER_MOVES)}")
        self.ledger.move_transfer(
            out_bill_no, state, fail_reason or ("OVERDUE_CLOSE" if state == "FAIL" else "")
        )
        ended = not TRANSFER_MOVES[state]
        return self._callbacks.deliver("transfer", out_bill_no, how) if deliver and ended else []

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
        openid: str = OPENID,
        source: str = "wx_client",
        headers: Mapping[str, str] | None = None,
    ) -> outbound.Reply:
        """Call the function as wx.cloud.callHTTPFunction does; `headers` are the mini program's own."""
        own = {"content-type": "application/json", **{name.lower(): value for name, value in (headers or {}).items()}}
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = own | self.injected_headers(openid, source)
        return outbound.post(self.function, path, headers, encoded, FUNCTION_TIMEOUT)

    def injected_headers(self, openid: str = OPENID, source: str = "wx_client") -> dict[str, str]:
        """What the platform says about the caller of callHTTPFunction."""
        return {"x-wx-source": source, "x-wx-openid": openid, "x-wx-appid": self.credentials.app_id}

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
        if path.startswith("/sandbox/") or web.handles(path):
            return self._control.handle(request)
        if self._callbacks.integration.handles(request):
            return self._callbacks.integration.handle(request)
        if self.gateway.handles(path):
            return self.gateway.handle(request)
        return self._api.handle(request)

    # Telling who listens

    def _publish(self) -> None:
        self.ledger.changed = self._changed
        self.clock.moved = lambda: self.events.publish("state", self.describe)
        self._requests.finished = self._answered
        self._deliveries.finished = lambda record: self.events.publish("delivery", record.describe)

    def _changed(self, thing: Thing) -> None:
        self._course.follow(thing)
        self.events.publish(views.kind_of(thing), lambda: self.shown(thing))

    def _answered(self, record: ApiRequest) -> None:
        self.events.publish("request", record.describe)
        if record.fault:
            self._faults_changed()  # one with `times` has counted down

    def _faults_changed(self) -> None:
        self.events.publish("faults", self.describe_faults)

    def _tell(self, kind: str, number: str) -> None:
        self._callbacks.deliver(kind, number, Manner())

    def shown(self, thing: Thing) -> dict[str, Any]:
        return views.shown(thing, self.credentials.merchant_id, self.ledger.now())

    def describe(self) -> dict[str, Any]:
        """The state of things, for the control API."""
        since = self.keys.switching_since
        return {
            "url": self.url,
            "backup_url": self.backup_url,
            "https_url": self.https_url,
            "ca": str(self.ca),
            "function": self.function,
            "sign_mode": self.sign_mode,
            "key_mode": self.keys.key_mode,
            "forward_path": self.forward_path,
            "certificates_available": self.certificates_available,
            "switch_over": since and {"began": rfc3339(since), "share": self.keys.share},
            "jwks": self.jwks,
            "merchant_id": self.credentials.merchant_id,
            "app_id": self.credentials.app_id,
            "service_app_id": self.credentials.service_app_id,
            "merchant": self.merchant.describe(),
            "now": rfc3339(self.clock.now()),
            "running": self.running,
            "limits": self.limits,
            "orders": len(self.ledger.orders),
            "refunds": len(self.ledger.refunds),
            "transfers": len(self.ledger.transfers),
            "requests": len(self._requests),
            "deliveries": len(self._deliveries),
            "last_request": self._requests.last,
            "last_delivery": self._deliveries.last,
        }

    def describe_faults(self) -> dict[str, Any]:
        return {"faults": [fault.describe() for fault in self.faults], "kinds": list(KINDS)}

    def _refuse(self, hosts: set[str]) -> None:
        for listener in self._listeners.values():
            listener.listen(hosts)
        self._faults_changed()
