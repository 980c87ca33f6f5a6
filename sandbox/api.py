"""The WeChat Pay face: check who asks, let the endpoint act, sign the answer, spoil it if told to."""

from __future__ import annotations

import json
import re
import secrets
import time
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

from sandbox import authorization, journal
from sandbox.credentials import Credentials
from sandbox.crypto import Signer
from sandbox.endpoints import NUMBERS, Endpoint, Endpoints
from sandbox.errors import Refusal, bad_field, bad_serial, no_such_route, wrong_method
from sandbox.faults import Faults
from sandbox.keys import Keys
from sandbox.ledger import Ledger
from sandbox.records import ApiRequest, Records
from sandbox.server import KEEP_ALIVE_SECONDS
from sandbox.spoils import Fault
from sandbox.wire import Answer, Request

# The number after the last `-` of Request-ID; 0 is success, others as support engineers list them.
_NUMERIC = {
    "PARAM_ERROR": 268435461,
    "ORDER_NOT_EXIST": 268512771,
    "ORDER_PAID": 268498689,
    "ORDER_CLOSED": 268447914,
    "OUT_TRADE_NO_USED": 268498688,
    "APPID_MCHID_NOT_MATCH": 268445527,
}


class Api:
    """Answers requests as api.mch.weixin.qq.com does, with the faults that were ordered."""

    def __init__(
        self,
        credentials: Credentials,
        keys: Keys,
        ledger: Ledger,
        faults: Faults,
        records: Records[ApiRequest],
    ) -> None:
        self._credentials = credentials
        self._keys = keys
        self._ledger = ledger
        self._faults = faults
        self._records = records
        self._note = journal.opened()
        self._merchant_key = credentials.merchant.key.public_key()
        self._endpoints = Endpoints(credentials, keys, ledger)

    def handle(self, request: Request) -> Answer:
        record = self._records.add(
            ApiRequest(
                time.time(), request.host, request.method, request.target, request.headers, request.body
            )
        )
        delays, fault = self._faults.take(request.host, request.target)
        early = sum(delay.seconds for delay in delays if not delay.processed)
        if early and (self._faults.wait(early) or request.caller_has_left()):
            record.fault = "latency"
            self._note(record)
            return Answer(0, wire="reset")
        answer = self._answer(request, record, fault)
        if late := sum(delay.seconds for delay in delays if delay.processed):
            self._faults.wait(late)
        record.fault = fault.kind if fault else "latency" if delays else None
        record.status = None if answer.wire == "reset" else answer.status
        record.answer_headers, record.answer = answer.headers, answer.body
        self._note(record)
        return answer

    def _answer(self, request: Request, record: ApiRequest, fault: Fault | None) -> Answer:
        signer = self._keys.answering(request.headers.get("wechatpay-serial", ""))
        answer = Answer(200)
        try:
            endpoint, number = self._admit(request, record)
            if fault is None or fault.processed:
                answer = self._success(endpoint(request, number), signer)
        except Refusal as refusal:
            record.refusal = f"{refusal.code}: {refusal.message}"
            answer = self._refused(refusal, signer)
        return self._faults.spoil(fault, answer, signer, request) if fault else answer

    def _admit(self, request: Request, record: ApiRequest) -> tuple[Endpoint, str]:
        """The endpoint and the number in the path, once everything that guards it has been satisfied."""
        endpoint, parameters = self._route(request)
        authorization.check_headers(request)
        authorization.check_signature(
            request,
            merchant_id=self._credentials.merchant_id,
            serial=self._credentials.merchant.serial,
            key=self._merchant_key,
            now=self._ledger.now,
        )
        record.verified = True
        serial = request.headers.get("wechatpay-serial")
        if serial is not None and self._keys.decrypting(serial) is None:
            raise bad_serial("平台证书序列号Wechatpay-Serial错误")
        for name, value in parameters.items():
            if not re.fullmatch(NUMBERS[name], value):
                raise bad_field(name, f"must match {NUMBERS[name]}", value, location="url")
        return endpoint, next(iter(parameters.values()), "")

    def _route(self, request: Request) -> tuple[Endpoint, dict[str, str]]:
        known = False
        for method, pattern, endpoint in self._endpoints.routes:
            if match := pattern.fullmatch(request.path):
                if method == request.method:
                    return endpoint, {name: unquote(value) for name, value in match.groupdict().items()}
                known = True
        raise wrong_method() if known else no_such_route()

    def _success(self, content: Any, signer: Signer) -> Answer:
        if content is None:
            return Answer(204, _headers(b"") | signer.headers(b""))
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        return Answer(200, _headers(body) | signer.headers(body), body)

    def _refused(self, refusal: Refusal, signer: Signer) -> Answer:
        body = refusal.body()
        headers = _headers(body, _NUMERIC.get(refusal.code, 268435456))
        if refusal.signed:
            headers |= signer.headers(body)
        return Answer(refusal.status, headers, body)


def _headers(body: bytes, numeric: int = 0) -> dict[str, str]:
    headers = {
        "Server": "nginx",
        "Date": formatdate(usegmt=True),
        "Connection": "keep-alive",
        "Keep-Alive": f"timeout={KEEP_ALIVE_SECONDS}",
        "Cache-Control": "no-cache, must-revalidate",
        "Request-ID": f"{secrets.token_hex(20).upper()}-{numeric}",
    }
    if body:
        headers["Content-Type"] = "application/json; charset=utf-8"
    return headers
