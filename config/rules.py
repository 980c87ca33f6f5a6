"""What the text of one variable must look like.

A rule takes the stripped, non-empty text and returns the value, or raises `BadValue` with a reason that says
what was expected. A reason never repeats the text: a secret may have been pasted into the wrong variable.
"""

import base64
import posixpath
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote, unquote, urlsplit

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_NUMERIC_LAST_LABEL = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")
_DATABASES = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}
# Narrower than URLs may be: what else may stand in a password is read differently by different libraries.
_USER_PART = r"(?:(?![%/?#@:\[\]])[!-~]|%[0-9A-Fa-f]{2})"
_DATABASE_SERVER = re.compile(
    rf"(?:{_USER_PART}+(?::(?:{_USER_PART}|:)*)?@)?"
    r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/(?:(?![%/?#@])[!-~])+(?:\?[!-~]*)?",
    re.ASCII,
)
_PASSING = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/")  # noqa: S108 - looked for, not used
_DEFAULT_PORTS = {"http": 80, "https": 443}


class BadValue(ValueError):
    """Why a value is unusable, fit for the merchant's eyes."""


def choice(*allowed: str) -> Callable[[str], str]:
    return matching("|".join(allowed), f"must be {', '.join(allowed[:-1])} or {allowed[-1]}")


def matching(pattern: str, reason: str) -> Callable[[str], str]:
    """Rule: the whole text matches `pattern`."""
    compiled = re.compile(pattern)

    def rule(text: str) -> str:
        if not compiled.fullmatch(text):
            raise BadValue(reason)
        return text

    return rule


def seconds(low: float, high: float, ceiling: str = "") -> Callable[[str], float]:
    """Rule: a decimal number of seconds within the bounds; `ceiling` says where the upper one comes from."""

    def rule(text: str) -> float:
        if not re.fullmatch(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+", text) or not low <= float(text) <= high:
            raise BadValue(f"must be a number of seconds from {low:g} to {high:g}{ceiling}")
        return float(text)

    return rule


def whole(low: int, high: int, unit: str) -> Callable[[str], int]:
    """Rule: a whole number within the bounds."""

    def rule(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise BadValue(f"must be a whole number of {unit} from {low} to {high}")
        return int(text)

    return rule


app_id = matching(r"wx[A-Za-z0-9]{16}", "must be an AppID: wx and 16 letters or digits")
merchant_id = matching(r"[0-9]{8,10}", "must be a merchant number (mchid): 8 to 10 digits")
merchant_serial_number = matching(
    r"[0-9A-Fa-f]{40}", "must be the merchant API certificate's serial number: 40 hex digits, no separators"
)
env_id = matching(_LABEL, "must be a CloudBase environment id: letters, digits and hyphens")
price_list = matching(
    r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*",
    "must name a function, as package.module:function",
)
order_service = matching(
    r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*",
    "must name a class, as package.module:Class",
)


def api_v3_key(text: str) -> bytes:
    if len(text) != 32 or not text.isascii() or not text.isprintable():
        raise BadValue("must be exactly the 32 ASCII characters set as APIv3 key on the merchant platform")
    return text.encode("ascii")


def public_key_id(text: str) -> str:
    if re.fullmatch(r"[0-9A-Fa-f]{40}", text):
        raise BadValue(
            "looks like a certificate's serial number; it must be the public key's id, PUB_KEY_ID_ and digits"
        )
    if not re.fullmatch(r"PUB_KEY_ID_[0-9]+", text):
        raise BadValue("must be PUB_KEY_ID_ and digits, as the merchant platform shows beside the key")
    return text


def operator_key(text: str) -> str:
    if len(text) < 32 or not text.isascii() or not text.isprintable():
        raise BadValue("must have 32 ASCII characters or more; until then it grants nothing")
    return text


def operator_ids(text: str) -> frozenset[str]:
    items = _items(text)
    if "" in items:
        raise BadValue("has an empty item: list openids or uids, one comma between two; until then it grants nothing")
    if "*" in items and len(items) > 1:
        raise BadValue("mixes * with other items: use * alone, or list openids or uids; until then it grants nothing")
    return frozenset(items)


def action_names(text: str) -> frozenset[str]:
    items = _items(text)
    if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", item) for item in items):
        raise BadValue("must be a comma-separated list of action names; until then nothing is public")
    return frozenset(items)


def origins(text: str) -> tuple[tuple[str, ...], str]:
    """The good items of a comma-separated list, as browsers spell them, and what is wrong with the others."""
    good: list[str] = []
    reasons = []
    for number, item in enumerate(_items(text) if text else [], start=1):
        try:
            good.append(_origin(item))
        except BadValue as problem:
            reasons.append(f"item {number} {problem}")
    return tuple(dict.fromkeys(good)), "; ".join(reasons)


def base_url(text: str) -> str:
    """Scheme, host and port without a slash at the end: https, or http on loopback."""
    scheme, host, port, path = _split(text)
    if scheme != "https" and not (scheme == "http" and _is_loopback(host)):
        raise BadValue("must begin with https:// (http:// on loopback only)")
    if path not in ("", "/"):
        raise BadValue("must be scheme, host and port only, without a path")
    return _join(scheme, host, port)


def database_url(on_platform: bool) -> Callable[[str], str]:
    """Rule: where a SQL database is, as sqlite:///path, postgresql://... or mysql://..."""

    def rule(text: str) -> str:
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in _DATABASES:
            raise BadValue("must begin with sqlite:///, postgresql:// or mysql://")
        if scheme == "sqlite":
            return _sqlite_url(text, rest, on_platform)
        server = _DATABASE_SERVER.fullmatch(rest)
        if not server or not 1 <= int(server["port"] or 1) <= 65535:
            raise BadValue(
                "must look like postgresql://user:password@host:port/database, in plain ASCII, with what is special in"
                " the password percent-encoded"
            )
        return f"{_DATABASES[scheme]}://{rest}"

    return rule


def _sqlite_url(text: str, rest: str, on_platform: bool) -> str:
    path = rest.removeprefix("/")
    if not rest.startswith("/") or path in ("", ":memory:") or "?" in path:
        raise BadValue("must name a file, as sqlite:///orders.sqlite3 or sqlite:////var/lib/shop/orders.sqlite3")
    # normpath leaves two slashes at the beginning alone
    if on_platform and (not path.startswith("/") or posixpath.normpath("/" + path.lstrip("/")).startswith(_PASSING)):
        raise BadValue(
            "must not be a SQLite file that goes with its instance: on the platform the code is read-only and /tmp is"
            " neither kept nor shared; use a postgresql:// or mysql:// database"
        )
    return text


def passwords(url: str) -> frozenset[str]:
    """The password inside a database URL, usable or not: as it stands there, as it is meant, as libraries write it."""
    found = re.match(r"[^:/]*://[^:/@]*:(.*)@", url, re.DOTALL)
    if not found:
        return frozenset()
    meant = unquote(found[1])
    return frozenset({found[1], meant, quote(meant, safe=""), quote(meant, safe=" +")})


def webhook_url(text: str) -> str:
    """An address of one's own for events: https, or http on loopback."""
    scheme, host, _, _ = _split(text)
    if scheme != "https" and not (scheme == "http" and _is_loopback(host)):
        raise BadValue("must begin with https:// (http:// on loopback only)")
    return text


def webhook_secret(text: str) -> bytes:
    """A Standard Webhooks secret: whsec_ and base64 of 24 to 64 bytes."""
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        secret = b""
    if not text.startswith("whsec_") or not 24 <= len(secret) <= 64:
        raise BadValue("must be whsec_ and 24 to 64 random bytes in base64")
    return secret


def is_on_loopback(url: str) -> bool:
    """Of a URL that `base_url` has returned."""
    return _is_loopback(urlsplit(url).hostname or "")


def notify_url(limit: int) -> Callable[[str], str]:
    """Rule: an address that WeChat Pay accepts for callbacks, of at most `limit` characters [4012075420]."""

    def rule(text: str) -> str:
        scheme, host, _, path = _split(text)
        if scheme != "https":
            raise BadValue("must begin with https://")
        if not _is_public(host):
            raise BadValue("must have a public host: no localhost, no private address")
        if not path.strip("/"):
            raise BadValue("must have a path after the host, such as /wechatpay/order")
        if len(text) > limit:
            raise BadValue(f"must have at most {limit} characters")
        return text

    return rule


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


def _origin(item: str) -> str:
    if item == "*":
        raise BadValue("is *, which is not allowed: list every origin")
    try:
        scheme, host, port, path = _split(item)
    except BadValue:
        scheme = host = path = ""
        port = None
    if scheme not in _DEFAULT_PORTS or path:
        raise BadValue("is not an origin: write scheme://host or scheme://host:port, no path, http or https")
    return _join(scheme, host, None if port == _DEFAULT_PORTS[scheme] else port)


def _split(text: str) -> tuple[str, str, int | None, str]:
    """Scheme, host, port and path of an absolute URL that has nothing else."""
    # urlsplit drops blanks and control characters silently, and browsers read "\" as "/"
    if not re.fullmatch(r"[!-~]+", text) or "\\" in text:
        raise BadValue("must be a URL in plain ASCII, without blanks")
    if "?" in text or "#" in text:
        raise BadValue("must not have a query or fragment")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadValue("is not a readable URL") from None
    if "@" in parts.netloc:
        raise BadValue("must not hold a user name or password")
    bracketed = parts.netloc.startswith("[")
    if not parts.scheme or not _is_host(host, bracketed) or port == 0 or parts.netloc.endswith(":"):
        raise BadValue("must be an absolute URL with a valid host")
    return parts.scheme, host, port, parts.path


def _join(scheme: str, host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port is None else f"{scheme}://{name}:{port}"


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_host(host: str, bracketed: bool) -> bool:
    address = _ip(host)
    if address or bracketed:
        return isinstance(address, IPv6Address) == bracketed and "%" not in host
    # Resolvers read 127.1, 2130706433 and 0x7f000001 as addresses too.
    return len(host) <= 253 and bool(_HOST_NAME.fullmatch(host)) and not _NUMERIC_LAST_LABEL.fullmatch(host)


def _is_loopback(host: str) -> bool:
    address = _ip(host)
    return address.is_loopback if address else host == "localhost"


def _is_public(host: str) -> bool:
    address = _ip(host)
    if address:
        return address.is_global and not address.is_multicast
    name = host.rstrip(".")
    return "." in name and not name.endswith(".localhost")
