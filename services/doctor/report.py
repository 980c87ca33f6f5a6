"""What a diagnosis says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from services.wechatpay.client import Client
from services.wechatpay.errors import WechatPayError
from services.wechatpay.transport import Answer, Network, Transport

ERROR, WARNING = "error", "warning"
CLOCK = "clock"  # stands for a variable where the machine's own time is wrong


class Finding(NamedTuple):
    """`level` is error or warning; `what` is wrong with the variable, `why` it matters, and what to do about it."""

    level: str
    variable: str
    what: str
    why: str
    fix: str


@dataclass
class Report:
    """`checked` are sentences about what was tried and found in order, `not_checked` about what could not be told."""

    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)

    def error(self, variable: str, what: str, why: str, fix: str) -> None:
        self.findings.append(Finding(ERROR, variable, what, why, fix))

    def warning(self, variable: str, what: str, why: str, fix: str) -> None:
        self.findings.append(Finding(WARNING, variable, what, why, fix))

    @property
    def is_ill(self) -> bool:
        return any(finding.level == ERROR for finding in self.findings)


@dataclass(frozen=True)
class Case:
    """The settings that are asked about, as plain values.

    `client(transport, host)` calls WeChat Pay at one host; it is None while `lacking` names what is missing or broken.
    `hosts` are base URLs by the variable that holds them, `app_ids` AppIDs likewise; `callbacks` are kind and address,
    of which those named in `forwarded` are the Integration Center's. `token_keys` is where the keys are that verify
    callers' tokens, "" where none are. `network` replaces the true one.
    """

    client: Callable[[Transport, str], Client] | None
    lacking: list[str]
    hosts: Mapping[str, str]
    merchant_id: str
    app_ids: Mapping[str, str]
    api_v3_key: bytes | None = field(repr=False)
    has_public_key: bool
    public_key_id: str
    callbacks: Mapping[str, tuple[str, str]]
    forwarded: frozenset[str]
    token_keys: str
    user_agent: str
    network: Network | None = None


class Recording(Transport):
    """Keeps the last answer, whose headers the client does not hand on."""

    last: Answer | None = None

    def send(
        self,
        method: str,
        url: str,
        body: bytes,
        headers_for: Callable[[str], dict[str, str]],
        *,
        timeout: float,
    ) -> Answer:
        self.last = None
        self.last = super().send(method, url, body, headers_for, timeout=timeout)
        return self.last


def inside(error: BaseException | None, kind: type[WechatPayError]) -> WechatPayError | None:
    """The first exception of this kind among an error and what caused it."""
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__
    return None
