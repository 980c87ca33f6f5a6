"""Clock, hosts, signature, keys and AppIDs: what WeChat Pay itself says of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

from services.doctor.network import trouble
from services.doctor.report import CLOCK, ERROR, Case, Recording, Report, inside
from services.wechatpay import paths
from services.wechatpay.certificates import read_certificates
from services.wechatpay.client import Client
from services.wechatpay.errors import (
    ApiError,
    DecryptionFailed,
    KeysUnavailable,
    NotSent,
    OutcomeUnknown,
    SignatureInvalid,
    WechatPayError,
)
from services.wechatpay.transport import Answer, Transport
from utils.logs import redact

OFF, FAR_OFF = 60, 300  # seconds; WeChat Pay refuses beyond five minutes [4012072670]
SLOW = 2.0
PATIENCE = 5.0
CERTIFICATES = "/v3/certificates"
# No openid has blanks. WeChat Pay takes only one that belongs to the AppID, so no order can come of it.
NO_OPENID = "doctor: not an openid"
_PLATFORM = "merchant platform → Account Center → API Security"
_TOGETHER = (
    " merchantId, merchantSerialNumber and privateKey must be of one and the same merchant API certificate:"
    " `doctor --certificate apiclient_cert.pem` compares them."
)
# Words of WeChat Pay's message -> the variable that is most likely meant, and its remedy. A hint, never a rule:
# messages change [4012081709]. The first row that fits counts.
_HINTS = (
    (("serial", "序列号", "certificate", "证书"), "merchantSerialNumber", "Set the valid certificate's serial number."),
    (("apiv3 key", "密钥"), "apiV3Key", f"Set an APIv3 key under {_PLATFORM}, and here."),
    (("mchid", "商户号"), "merchantId", "Set the merchant number that the certificate is for."),
    (("signature", "签名"), "privateKey", "Paste the apiclient_key.pem that belongs to merchantSerialNumber."),
)


def examine(case: Case, report: Report) -> None:
    """Everything that is asked of WeChat Pay, from the outside in; no order stays open there."""
    reached = _hosts(case, report)
    if reached is None:
        report.not_checked.append("signature, keys and AppIDs: WeChat Pay cannot be reached")
        return
    host, ahead = reached
    if any((finding.level, finding.variable) == (ERROR, CLOCK) for finding in report.findings):
        report.not_checked.append("signature, keys and AppIDs: WeChat Pay refuses everything that this clock signs")
        return
    if case.client is None:
        report.not_checked.append(f"signature, keys and AppIDs: set first {', '.join(case.lacking)}")
        return
    transport = Recording(case.network)
    client = case.client(transport, host)
    if _signature(case, client, transport, report):
        if case.has_public_key:
            _api_v3_key(case, client, transport, report)
        else:
            report.checked.append("apiV3Key decrypts WeChat Pay's certificates")
        for name, app_id in case.app_ids.items():
            _app_id(case, client, name, app_id, ahead, report)


def _hosts(case: Case, report: Report) -> tuple[str, float | None] | None:
    """Ask every host for its time; returns the first one that answers, and by how much this clock is ahead of it."""
    transport, found = Transport(case.network), None
    for name, host in case.hosts.items():
        began, started = time.time(), time.monotonic()
        try:
            answer = transport.send("GET", host + CERTIFICATES, b"", lambda _: _headers(case), timeout=PATIENCE)
        except OutcomeUnknown as error:
            what, fix = trouble(error)
            why = "Nothing can be ordered." if name == "wxPayApiBase" else "Nothing is left when the main host fails."
            report.error(name, f"leads to {_name(host)}, which cannot be reached: {what}", why, fix)
            continue
        seconds = time.monotonic() - started
        report.checked.append(f"{_name(host)} answers in {seconds:.2f} s")
        if seconds > SLOW:
            report.warning(
                name,
                f"leads to {_name(host)}, which takes {seconds:.1f} s for one answer",
                "An order has wxPayTimeout in all, and its user waits.",
                "Look for a slow resolver or proxy; run this where the function runs.",
            )
        if found is None:
            found = host, _clock(answer, (began + time.time()) / 2, report)
    return found


def _headers(case: Case) -> dict[str, str]:
    return {"Accept": "application/json", "User-Agent": case.user_agent}


def _name(host: str) -> str:
    return host.partition("://")[2]


def _clock(answer: Answer, here: float, report: Report) -> float | None:
    """Seconds by which this clock is ahead of the answer's; None without a Date."""
    try:
        there = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp() + 0.5  # it has whole seconds
    except (TypeError, ValueError):
        report.not_checked.append("clock: WeChat Pay's answer has no Date")
        return None
    ahead = here - there
    seconds = round(ahead)
    if abs(seconds) <= OFF:
        report.checked.append(f"this clock and WeChat Pay's differ by {abs(seconds)} s")
        return ahead
    what = f"of this machine is {abs(seconds)} s {'fast' if seconds > 0 else 'slow'}, by WeChat Pay's Date"
    why = "Beyond 300 s WeChat Pay refuses every request, and every answer and callback of its is refused here."
    tell = report.error if abs(seconds) > FAR_OFF else report.warning
    tell(CLOCK, what, why, "Set it by NTP, such as with `timedatectl set-ntp true`.")
    return ahead


# Signature and keys


def _signature(case: Case, client: Client, transport: Recording, report: Report) -> bool:
    """Query an order that cannot exist: a signed "no such order" means that all keys fit."""
    try:
        client.call("GET", paths.order(case.merchant_id, _number()))
    except ApiError as error:
        if not _is(error, "ORDER_NOT_EXIST"):
            _refused(case, error, report)
            return False
        report.checked.append("WeChat Pay accepts the signature by privateKey and merchantSerialNumber")
        if error.signed and case.has_public_key:
            report.checked.append("wxPayPublicKey verifies WeChat Pay's answers")
        elif not error.signed:
            report.not_checked.append("WeChat Pay's own key: its answer carried no signature")
    except WechatPayError as error:
        _untold(case, error, transport.last, report)
        return False
    return True


def _refused(case: Case, error: ApiError, report: Report) -> None:
    said = _said(error)
    if error.status == 401:
        message = error.message.lower()
        found = (row for row in _HINTS if any(word in message for word in row[0]))
        _, variable, fix = next(found, ((), "merchantSerialNumber", ""))
        report.error(
            variable,
            f"or what goes with it is wrong: WeChat Pay refuses this function's signature ({said})",
            "It answers 401 to everything, so nothing can be ordered, queried or refunded.",
            f"{fix}{_TOGETHER}".strip(),
        )
    elif _is(error, "MCH_NOT_EXISTS"):
        report.error(
            "merchantId",
            f"is unknown to WeChat Pay ({said})",
            "Nothing can be ordered in the name of a merchant that does not exist.",
            "Copy the merchant number from the merchant platform's home page.",
        )
    elif _is(error, "RESOURCE_NOT_EXISTS", "NOT_ENOUGH") and not case.has_public_key:
        report.error(
            "wxPayPublicKey",
            f"is not set, but this merchant has no platform certificate that is valid ({said})",
            "Neither answers nor callbacks of WeChat Pay can be verified.",
            f"Set wxPayPublicKey (the content of wxp_pub.pem) and wxPayPublicKeyId, both from {_PLATFORM} → WeChat Pay"
            " Public Key.",
        )
    elif case.has_public_key and "wechatpay-serial" in error.message.lower():
        _other_key_id(f"is not known to WeChat Pay ({said})", report)
    else:
        report.not_checked.append(f"signature, keys and AppIDs: WeChat Pay answered {said}")


def _untold(case: Case, error: WechatPayError, answer: Answer | None, report: Report) -> None:
    """A call that ended without an answer that can be believed."""
    refusal = inside(error, ApiError)
    if isinstance(refusal, ApiError):
        _refused(case, refusal, report)
    elif inside(error, DecryptionFailed):
        _wrong_api_v3_key(report)
    # The latter: a certificate is named that cannot be had, although the public key was asked for.
    elif answer and (inside(error, SignatureInvalid) or (case.has_public_key and inside(error, KeysUnavailable))):
        _not_verified(case, answer.headers, report)
    else:
        report.not_checked.append(f"signature, keys and AppIDs: {error}; try again")


def _not_verified(case: Case, headers: Mapping[str, str], report: Report) -> None:
    serial = headers.get("Wechatpay-Serial", "")
    if not serial or not headers.get("Wechatpay-Signature"):
        report.error(
            "wxPayApiBase",
            "leads to WeChat Pay by way of something that takes the signature off its answers",
            "An answer without its Wechatpay-* headers cannot be believed.",
            "Let proxies pass these headers on, or go to WeChat Pay directly.",
        )
    elif not case.has_public_key:
        report.not_checked.append("WeChat Pay's own key: its certificates do not verify its answer; try again")
    elif serial.upper() == case.public_key_id.upper():
        report.error(
            "wxPayPublicKey",
            "is not the key that wxPayPublicKeyId names: it does not verify WeChat Pay's answers",
            "Orders are refused as unverifiable, and no callback is believed.",
            f"Download wxp_pub.pem anew from {_PLATFORM} → WeChat Pay Public Key, for this very merchant.",
        )
    else:
        _other_key_id("is not the id of the key with which WeChat Pay signs for this merchant", report)


def _other_key_id(what: str, report: Report) -> None:
    report.error(
        "wxPayPublicKeyId",
        what,
        "Orders are refused as unverifiable, and no callback is believed.",
        f"Copy PUB_KEY_ID_ and its digits from {_PLATFORM} → WeChat Pay Public Key, together with that key. If the page"
        " offers platform certificates only, leave wxPayPublicKey and wxPayPublicKeyId out.",
    )


def _api_v3_key(case: Case, client: Client, transport: Recording, report: Report) -> None:
    """Where there are platform certificates, they are encrypted under it."""
    nothing = (
        "apiV3Key: this is a public-key merchant, for whom WeChat Pay encrypts nothing on request; the first callback"
        " that is believed proves it"
    )
    try:
        client.call("GET", CERTIFICATES)
        read_certificates(transport.last.body if transport.last else b"", case.api_v3_key or b"")
        report.checked.append("apiV3Key decrypts WeChat Pay's certificates")
    except DecryptionFailed:
        _wrong_api_v3_key(report)
    except ApiError as error:
        has_none = _is(error, "RESOURCE_NOT_EXISTS", "NOT_ENOUGH")
        report.not_checked.append(nothing if has_none else f"apiV3Key: WeChat Pay answered {_said(error)}")
    except WechatPayError as error:
        report.not_checked.append(f"apiV3Key: {error}; try again")


def _wrong_api_v3_key(report: Report) -> None:
    report.error(
        "apiV3Key",
        "does not decrypt what WeChat Pay encrypts for this merchant",
        "No callback can be read with it, so no payment is ever known here.",
        f"Paste the APIv3 key (not the APIv2 key, not the AppSecret) from {_PLATFORM} → Set APIv3 Key. It is shown"
        " once: if it is lost, set another one there and here.",
    )


# AppIDs


def _app_id(case: Case, client: Client, name: str, app_id: str, ahead: float | None, report: Report) -> None:
    """A JSAPI order for nobody: refused for its AppID if that is not bound, else for its openid.

    It is closed unless it is certain that there is none. Should that fail too, it expires in a minute of WeChat Pay's
    clock.
    """
    notify_url = next((url for kind, url in case.callbacks.values() if kind == "payment"), "")
    if not notify_url:
        report.not_checked.append(f"{name}: set notifyURLPayURL first")
        return
    if ahead is None:
        report.not_checked.append(f"{name}: WeChat Pay's answer has no Date, by which the order that asks would expire")
        return
    number = _number()
    order = {
        "appid": app_id,
        "mchid": case.merchant_id,
        "description": "doctor",
        "out_trade_no": number,
        "time_expire": _in_a_minute(ahead),
        "notify_url": notify_url,
        "amount": {"total": 1, "currency": "CNY"},
        "payer": {"openid": NO_OPENID},
    }
    try:
        client.call("POST", "/v3/pay/transactions/jsapi", order)
        report.checked.append(f"{name} is bound to merchantId")
    except NotSent as error:
        report.not_checked.append(f"{name}: {error}; try again")
        return
    except ApiError as error:
        _told_of_app_id(name, error, report)
        if error.signed and not error.after_unknown:
            return
    except OutcomeUnknown as error:
        report.not_checked.append(f"{name}: {error}; try again")
    _close(case, client, number, report)


def _close(case: Case, client: Client, number: str, report: Report) -> None:
    try:
        client.call("POST", paths.close(number), {"mchid": case.merchant_id})
    except WechatPayError as error:
        said = _said(error) if isinstance(error, ApiError) else error
        report.not_checked.append(
            f"whether {number}, the order by which AppIDs are asked about, is closed ({said}): nobody can pay it, and"
            " it expires in a minute"
        )


def _told_of_app_id(name: str, error: ApiError, report: Report) -> None:
    said = _said(error)
    if _is(error, "APPID_MCHID_NOT_MATCH"):
        report.error(
            name,
            f"is not bound to merchantId ({said})",
            "Every order with it is refused.",
            "Bind it: merchant platform → Product Center → AppID Account Management → Associate AppID, then confirm at"
            " mp.weixin.qq.com. Or set the AppID that is bound.",
        )
    elif "openid" in f"{error.message} {_field(error)}".lower():
        report.checked.append(f"{name} is bound to merchantId: an order for nobody is refused for its openid alone")
    elif _is(error, "NO_AUTH"):
        report.not_checked.append(f"{name}: JSAPI payment, by which this is asked, is not enabled ({said})")
    else:
        report.not_checked.append(f"{name}: WeChat Pay answered {said}")


def _field(error: ApiError) -> str:
    detail = error.body.get("detail") if isinstance(error.body, dict) else None
    return str(detail.get("field", "")) if isinstance(detail, dict) else ""


def _number() -> str:
    return f"DOCTOR{secrets.token_hex(13).upper()}"


def _in_a_minute(ahead: float) -> str:
    there = datetime.now(timezone.utc) - timedelta(seconds=ahead)
    return (there + timedelta(minutes=1)).isoformat(timespec="seconds")


def _is(error: ApiError, *codes: str) -> bool:
    """Older pages spell codes without underscores [4012081717]."""
    return error.code.replace("_", "") in [code.replace("_", "") for code in codes]


def _said(error: ApiError) -> str:
    text = redact(" ".join(filter(None, (str(error.status), error.code, error.message))))
    return "".join(character if character.isprintable() else " " for character in text)[:200]
