"""HTTP calls from the sandbox to the function."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sandbox.records import parsed


@dataclass
class Reply:
    """What the function answered; `status` is None when it did not, and `error` then says why."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)  # lower-case names
    body: bytes = b""
    error: str | None = None
    latency: float = 0.0  # seconds

    @property
    def json(self) -> Any:
        """The parsed body; None when it is not JSON."""
        return parsed(self.body)


def post(base: str, path: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Reply:
    """POST to `base` + `path`. An answer that takes longer than `timeout` seconds counts as none."""
    started = time.monotonic()
    reply = Reply()
    try:
        parts = urlsplit(base)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        try:
            connection.request("POST", parts.path.rstrip("/") + path, body, dict(headers))
            response = connection.getresponse()
            reply.body = response.read()
            reply.status = response.status
            reply.headers = {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()
    except TimeoutError:
        reply.error = f"no answer within {timeout:g} s"
    except (OSError, ValueError, http.client.HTTPException) as error:
        reply.error = f"{type(error).__name__}: {error}"
    reply.latency = time.monotonic() - started
    if reply.error is None and reply.latency > timeout:
        reply.error = f"answered after {reply.latency:.1f} s, later than {timeout:g} s"
    return reply
