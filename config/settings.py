"""The function's settings: the environment over `config.defaults`, read once, every problem collected.

A value that is set but unusable never raises: it is reported in `Settings.problems` by the variable's name,
and the value that grants or risks least takes its place.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from config import defaults, pem, rules

Value = TypeVar("Value")

API_BASE = "https://api.mch.weixin.qq.com"
API_BACKUP = "https://api2.mch.weixin.qq.com"

_SECRETS = {"privateKey", "apiV3Key", "operatorKey", "orderDatabaseUrl", "eventWebhookSecret"}
SANDBOX_MARK = "SANDBOX"  # how the APIv3 key of the sandbox's merchant begins

# Variable -> field. The order is the order of a report.
FIELDS = {
    "signMode": "sign_mode",
    "appId": "app_id",
    "service_app_id": "service_app_id",
    "merchantId": "merchant_id",
    "merchantSerialNumber": "merchant_serial_number",
    "apiV3Key": "api_v3_key",
    "privateKey": "private_key",
    "wxPayPublicKey": "wxpay_public_key",
    "wxPayPublicKeyId": "wxpay_public_key_id",
    "notifyURLPayURL": "notify_url_pay",
    "notifyURLRefundsURL": "notify_url_refunds",
    "transferNotifyUrl": "transfer_notify_url",
    "corsAllowOrigin": "cors_allow_origins",
    "callerHeaders": "caller_headers",
    "publicActions": "public_actions",
    "operatorKey": "operator_key",
    "operatorIds": "operator_ids",
    "cloudbaseEnvId": "cloudbase_env_id",
    "cloudbaseAuthUrl": "cloudbase_auth_url",
    "callbackTrust": "callback_trust",
    "callbackTimeout": "callback_timeout",
    "handlerTimeout": "handler_timeout",
    "wxPayTimeout": "wxpay_timeout",
    "wxPayApiBase": "api_base",
    "wxPayApiBackup": "api_backup",
    "orderService": "order_service",
    "orderDatabaseUrl": "order_database_url",
    "orderExpireMinutes": "order_expire_minutes",
    "priceList": "price_list",
    "eventWebhookUrl": "event_webhook_url",
    "eventWebhookSecret": "event_webhook_secret",
    "logLevel": "log_level",
}
# Unset, these are not missing; the others without a default are.
_OPTIONAL = {
    "wxPayPublicKey",
    "wxPayPublicKeyId",
    "transferNotifyUrl",
    "corsAllowOrigin",
    "publicActions",
    "orderService",
    "orderDatabaseUrl",
    "priceList",
    "eventWebhookUrl",
    "eventWebhookSecret",
}


@dataclass(frozen=True, repr=False)
class Settings:
    """What the function is told from outside. Texts are "" and collections empty when unset or refused."""

    sign_mode: str                            # gateway: Integration Center forwards callbacks; sdk: direct
    app_id: str                               # AppID of the mini program, site or app
    service_app_id: str                       # AppID of the service account, taken for useServiceAccount
    merchant_id: str                          # mchid, 8 to 10 digits
    merchant_serial_number: str               # serial of the merchant API certificate, 40 hex digits
    api_v3_key: bytes | None                  # decrypts what WeChat Pay encrypts, 32 bytes
    private_key: RSAPrivateKey | None         # signs requests and invocation parameters; parsed once
    wxpay_public_key: RSAPublicKey | None     # verifies answers and callbacks; None: platform certificates do
    wxpay_public_key_id: str                  # PUB_KEY_ID_ and digits; set exactly when the key is
    notify_url_pay: str                       # where WeChat Pay reports payments
    notify_url_refunds: str                   # where it reports refunds
    transfer_notify_url: str                  # where it reports transfers; may be unset
    cors_allow_origins: tuple[str, ...]       # scheme://host[:port] as browsers send it
    caller_headers: str                       # claimed, trusted, ignored: what x-wx-* headers are worth
    public_actions: frozenset[str]            # actions open to everybody while caller headers are ignored
    operator_key: str                         # makes its holder an operator, 32 characters or more
    operator_ids: frozenset[str]              # verified openids and uids of operators; {"*"}: every caller
    cloudbase_env_id: str                     # tokens are verified for this environment; unset: only decoded
    cloudbase_auth_url: str                   # who issues those tokens; by default derived from the id
    callback_trust: str                       # verify: plaintext callbacks are confirmed; platform: believed
    callback_timeout: float                   # seconds from a callback's first byte to its acknowledgement
    handler_timeout: float                    # seconds of these for the merchant's handler
    wxpay_timeout: float                      # seconds for one call of WeChat Pay, both tries together
    api_base: str                             # WeChat Pay's host, no slash at the end
    api_backup: str                           # the host for the second try
    order_service: str                        # package.module:Class of the merchant's order service
    order_database_url: str                   # sqlite:///path, postgresql://... or mysql://...; unset: nothing is kept
    order_expire_minutes: int                 # an unpaid order without time_expire is closed after so long
    price_list: str                           # package.module:function of the merchant's price list
    event_webhook_url: str                    # where events of the order database are sent on to
    event_webhook_secret: bytes | None        # signs them; set exactly when the URL is
    log_level: str                            # debug, info, warning, error
    on_platform: bool                         # inside the platform's function runtime
    command_line: bool                        # run by `flask --app app ...`: standard output belongs to the command
    problems: Mapping[str, str]               # variable name -> why it is unusable
    pasted_secrets: frozenset[str] = frozenset()  # parts of secret values as they were given, usable or not
    given: Mapping[str, str] = field(default_factory=dict)  # every variable as it came; on the command line only

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """From `environ` alone, or from the process environment over `config.defaults`. Never raises."""
        read = _Reader(_environment_over_defaults() if environ is None else environ)
        if environ is None:
            for name in _SECRETS & defaults.DEFAULTS.keys():
                read.problems[name] = "is in config/defaults.py, which is code: move it to the environment"
        on_platform = bool(read.text("TENCENTCLOUD_RUNENV") or read.text("SCF_RUNTIME"))
        command_line = read.text("FLASK_RUN_FROM_CLI") == "true"  # set by the flask command

        api_base = read("wxPayApiBase", rules.base_url, API_BASE)
        # What is meant for another host must not reach the official one as its second try.
        api_backup = read("wxPayApiBackup", rules.base_url, API_BACKUP if api_base == API_BASE else api_base)
        api_v3_key = read("apiV3Key", rules.api_v3_key, None)
        is_sandbox = read.text("apiV3Key").startswith(SANDBOX_MARK)
        if is_sandbox and on_platform and not rules.is_on_loopback(api_base):
            api_v3_key = None
            read.problems["apiV3Key"] = "belongs to the sandbox credentials: set those of the real merchant"
        private_key = read("privateKey", pem.private_key, None)
        wxpay_public_key, wxpay_public_key_id = _public_key_pair(read, private_key)

        env_id = read("cloudbaseEnvId", rules.env_id, "")
        derived_url = f"https://{env_id}.api.tcloudbasegateway.com" if env_id else ""
        auth_url = read("cloudbaseAuthUrl", rules.base_url, derived_url, refused="")
        if auth_url and not env_id:
            auth_url = ""
            read.problems["cloudbaseAuthUrl"] = "has no effect without a valid cloudbaseEnvId: set both"

        origins, origins_problem = rules.origins(read.text("corsAllowOrigin"))
        if origins_problem:
            read.problems["corsAllowOrigin"] = origins_problem

        callback_timeout = read("callbackTimeout", rules.seconds(0.1, 4.5), 4.0)
        handler_rule = rules.seconds(0.1, callback_timeout, " (callbackTimeout)")

        webhook_url, webhook_secret = _webhook(read)
        caller_headers = rules.choice("claimed", "trusted", "ignored")
        return cls(
            sign_mode=read("signMode", rules.choice("gateway", "sdk"), "gateway"),
            app_id=read("appId", rules.app_id, ""),
            service_app_id=read("service_app_id", rules.app_id, ""),
            merchant_id=read("merchantId", rules.merchant_id, ""),
            merchant_serial_number=read("merchantSerialNumber", rules.merchant_serial_number, ""),
            api_v3_key=api_v3_key,
            private_key=private_key,
            wxpay_public_key=wxpay_public_key,
            wxpay_public_key_id=wxpay_public_key_id,
            notify_url_pay=read("notifyURLPayURL", rules.notify_url(255), ""),
            notify_url_refunds=read("notifyURLRefundsURL", rules.notify_url(256), ""),
            transfer_notify_url=read("transferNotifyUrl", rules.notify_url(256), ""),
            cors_allow_origins=origins,
            caller_headers=read("callerHeaders", caller_headers, "claimed", refused="ignored"),
            public_actions=read("publicActions", rules.action_names, frozenset()),
            operator_key=read("operatorKey", rules.operator_key, ""),
            operator_ids=read("operatorIds", rules.operator_ids, frozenset()),
            cloudbase_env_id=env_id,
            cloudbase_auth_url=auth_url,
            callback_trust=read("callbackTrust", rules.choice("verify", "platform"), "verify"),
            callback_timeout=callback_timeout,
            handler_timeout=read("handlerTimeout", handler_rule, min(3.0, callback_timeout)),
            wxpay_timeout=read("wxPayTimeout", rules.seconds(1, 18), 10.0),
            api_base=api_base,
            api_backup=api_backup,
            order_service=read("orderService", rules.order_service, ""),
            order_database_url=read("orderDatabaseUrl", rules.database_url(on_platform), ""),
            order_expire_minutes=read("orderExpireMinutes", rules.whole(1, 10080, "minutes"), 10),
            price_list=read("priceList", rules.price_list, ""),
            event_webhook_url=webhook_url,
            event_webhook_secret=webhook_secret,
            log_level=read("logLevel", rules.choice("debug", "info", "warning", "error"), "info"),
            on_platform=on_platform,
            command_line=command_line,
            pasted_secrets=_pasted_secrets(read),
            given=read.given() if command_line else {},
            problems=read.report(),  # last: every variable has been read
        )

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Of these variables, in the given order: "name" if it is unset, "name (reason)" if it is unusable.

        "appId" stands for either AppID: it lacks only if neither is usable.
        """
        return [lack for lack in map(self._lack, names) if lack]

    def with_problem(self, name: str, reason: str) -> "Settings":
        """The same settings with a problem found later, such as an order service that cannot be loaded."""
        return replace(self, problems=MappingProxyType({**self.problems, name: reason}))

    def secrets(self) -> tuple[str, ...]:
        """The strings that must never be logged, longest first: as pasted, usable or not, and as in use."""
        api_v3_key = self.api_v3_key.decode("ascii") if self.api_v3_key else ""
        secrets = (self.pasted_secrets | {api_v3_key, self.operator_key}) - {""}
        return tuple(sorted(secrets, key=lambda secret: (-len(secret), secret)))

    def __repr__(self) -> str:
        states = ", ".join(f"{name}={'set' if self._is_set(name) else 'unset'}" for name in FIELDS)
        return f"Settings({states}, problems=[{', '.join(self.problems)}])"

    def _lack(self, name: str) -> str:
        if name == "appId":
            if self.app_id or self.service_app_id:
                return ""
            if name not in self.problems and "service_app_id" in self.problems:
                name = "service_app_id"
        if name in self.problems:
            return f"{name} ({self.problems[name]})"
        return "" if name in _OPTIONAL or self._is_set(name) else name

    def _is_set(self, name: str) -> bool:
        return bool(getattr(self, FIELDS[name]))


class _Reader:
    """Applies rules to variables and collects what is wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: dict[str, str] = {}

    def text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def given(self) -> Mapping[str, str]:
        return MappingProxyType(dict(self._environ))

    def report(self) -> Mapping[str, str]:
        return MappingProxyType({name: self.problems[name] for name in FIELDS if name in self.problems})

    def __call__(
        self, name: str, rule: Callable[[str], Value], unset: Value, *, refused: Value | None = None
    ) -> Value:
        """The value: `unset` for an unset variable, `refused` (else `unset`) for one that breaks the rule."""
        text = self.text(name)
        if not text:
            return unset
        try:
            return rule(text)
        except (rules.BadValue, pem.PemProblem) as problem:
            instead = unset if refused is None else refused
            self.problems[name] = str(problem)
            if instead and isinstance(instead, (str, int, float)):
                self.problems[name] += f"; until then it is {instead}"
            return instead


def _environment_over_defaults() -> dict[str, str]:
    # str(): a number without quotes there must not keep the function from starting
    shipped = {name: str(value) for name, value in defaults.DEFAULTS.items() if name not in _SECRETS}
    given = {name: value for name, value in os.environ.items() if value.strip()}
    # Windows lists every name in capitals and finds it in any spelling.
    spelt = {name: os.environ[name] for name in FIELDS if os.environ.get(name, "").strip()}
    return shipped | given | spelt


def _public_key_pair(read: _Reader, private_key: RSAPrivateKey | None) -> tuple[RSAPublicKey | None, str]:
    """WeChat Pay's public key and its id: both, or neither when one of them is unset or unusable."""
    key = read("wxPayPublicKey", pem.public_key, None)
    key_id = read("wxPayPublicKeyId", rules.public_key_id, "")
    if key and private_key and key.public_numbers() == private_key.public_key().public_numbers():
        read.problems["wxPayPublicKey"] = "is the public half of privateKey: paste WeChat Pay's own key, wxp_pub.pem"
        key = None
    for name, other in (("wxPayPublicKey", "wxPayPublicKeyId"), ("wxPayPublicKeyId", "wxPayPublicKey")):
        if read.text(other) and not read.text(name):
            read.problems[name] = f"is unset although {other} is set: set both or neither"
    return (key, key_id) if key and key_id else (None, "")


def _webhook(read: _Reader) -> tuple[str, bytes | None]:
    """Address and secret of the event webhook: both, or neither when one of them is unset or unusable."""
    url = read("eventWebhookUrl", rules.webhook_url, "")
    secret = read("eventWebhookSecret", rules.webhook_secret, None)
    if url and not read.text("eventWebhookSecret"):
        read.problems["eventWebhookSecret"] = "is unset although eventWebhookUrl is set: set both or neither"
    if secret and not read.text("eventWebhookUrl"):
        read.problems["eventWebhookUrl"] = "is unset although eventWebhookSecret is set: set both or neither"
    if url and not read.text("orderDatabaseUrl"):
        read.problems["eventWebhookUrl"] = "has no effect without orderDatabaseUrl: events come from that database"
    return (url, secret) if url and secret else ("", None)


def _pasted_secrets(read: _Reader) -> frozenset[str]:
    parts = pem.secret_parts(read.text("privateKey"))
    if "wxPayPublicKey" in read.problems:  # perhaps a private key
        parts |= pem.secret_parts(read.text("wxPayPublicKey"))
    short = {read.text(name) for name in ("apiV3Key", "operatorKey", "orderDatabaseUrl", "eventWebhookSecret")}
    short |= {read.text("eventWebhookSecret").removeprefix("whsec_"), *rules.passwords(read.text("orderDatabaseUrl"))}
    # Masking a few characters would black out harmless log lines.
    return frozenset(parts | {text for text in short if len(text) >= 8})
