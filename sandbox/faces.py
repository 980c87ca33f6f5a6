"""Which requests are meant for WeChat Pay's own host names, and for which of its two hosts.

An SDK that has those names built in is led here by a proxy setting. Only these names and only port 443 are served,
by this process itself: nothing is ever connected to the outside.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sandbox.wire import Request

HOSTS = ("main", "backup")
# Main and backup [4012075113]; the wechatpay.cn names are those of the official Java SDK (core/http/Constant.java).
OFFICIAL = {
    "api.mch.weixin.qq.com": "main",
    "api2.mch.weixin.qq.com": "backup",
    "api.wechatpay.cn": "main",
    "api2.wechatpay.cn": "backup",
}


def official_host(authority: str) -> str | None:
    """The host that is meant by `name` or `name:port`; None when it is none of WeChat Pay's names."""
    try:
        return OFFICIAL.get((urlsplit(f"//{authority}").hostname or "").rstrip("."))
    except ValueError:
        return None


def proxied_host(authority: str) -> str | None:
    """The host that a proxy's client wants to reach; None when it must not be led anywhere."""
    name, _, port = authority.partition(":")
    return OFFICIAL.get(name.lower()) if port in ("", "443") else None


def place(request: Request) -> bool:
    """Find out for which host a request is, and reduce an absolute target to path and query.

    False when it is for somebody else.
    """
    if request.target.startswith("/"):
        if host := official_host(request.headers.get("host", "")):
            request.host, request.official = host, True
        return True
    scheme, separator, rest = request.target.partition("://")
    authority, path = _split(rest)
    # HTTPS only [4012081709]
    host = proxied_host(authority) if separator and scheme.lower() == "https" else None
    if host is None:
        return False
    # A proxy goes by the target, whatever Host says (RFC 9112, 3.2.2). The signature covers path and query
    # only [4012365334].
    request.headers["host"] = authority
    request.target, request.scheme = path, "https"
    request.host, request.official = host, True
    return True


def _split(rest: str) -> tuple[str, str]:
    end = next((at for at, character in enumerate(rest) if character in "/?"), len(rest))
    path = rest[end:]
    return rest[:end], path if path.startswith("/") else "/" + path
