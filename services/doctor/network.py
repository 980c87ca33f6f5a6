"""Why an address does not answer, in the words of whoever can change it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from services.wechatpay.errors import TimedOut, WechatPayError


def trouble(error: WechatPayError) -> tuple[str, str]:
    """What is wrong with the connection, and what to do about it."""
    causes = list(_causes(error, set()))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "its host's name cannot be resolved", "Check the host's spelling, and that this network resolves names."
    refusal = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if refusal is not None:
        said = getattr(refusal, "verify_message", "") or refusal.reason or "TLS fails"
        return f"its TLS certificate is not accepted ({said})", (
            "Let the host present a certificate of its own that is valid and complete with its chain; or let no proxy"
            " or firewall take the connection over."
        )
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "nothing listens there", "Check host and port, and that the server there runs."
    if isinstance(error, TimedOut):
        return "no answer came in time", (
            "Check the way out of this network: a private network needs a NAT gateway, and a firewall must let the host"
            " through."
        )
    return "the connection breaks", "Check what stands between: proxies, firewalls, and the server's own log."


def _causes(error: object, seen: set[int]) -> Iterator[BaseException]:
    """An exception and all that it wraps, in whichever way its library does."""
    if not isinstance(error, BaseException) or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for inner in (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args):
        yield from _causes(inner, seen)
