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
from sandbox.endpoints import NUMBERS, Endpoints, Route
from sandbox.errors import Refusal, bad_field, bad_serial, no_such_route, wrong_method
from sandbox.faults import Faults
from sandbox.files import File, Files
from sandbox.keys import Keys
from sandbox.ledger import Ledger
from sandbox.limits import Limits
from sandbox.records import ApiRequest, Records
from sandbox.server import KEEP_ALIVE_SECONDS
from sandbox.spoils import Fault
from sandbox.wire import Answer, Request


class Api:
    """Answers requests as api.mch.weixin.qq.com does, with the faults that were ordered."""

    def __init__(
        self,
        credentials: Credentials,
        keys: Keys,
        ledger: Ledger,
        faults: Faults,
        records: Records[ApiRequest],
        limits: Limits,
        files: Files,
    ) -> None:
        self._credentials = credentials
        self._keys = keys
        self._ledger = ledger
        self._faults = faults
        self._records = records
        self._note = journal.opened()
        self._merchant = ledger.merchant
        self._merchant_key = credentials.merchant.key.public_key()
        self._limits = limits
        self._endpoints = Endpoints(credentials, keys, ledger, files)

    def handle(self, request: Request) -> Answer:
        record = self._records.add(
            ApiRequest(
                time.time(), request.host, request.method, request.target, request.headers, request.body
            )
        )
        started = time.monotonic()
        delays, fault = self._faults.take(request.host, request.target)
        early = sum(delay.seconds for delay in delays if not delay.processed)
        if early and (self._faults.wait(early) or request.caller_has_left()):
            record.fault = "latency"
            answer = Answer(0, wire="reset")
        else:
            answer = self._answer(request, record, fault)
            if late := sum(delay.seconds for delay in delays if delay.processed):
                self._faults.wait(late)
            record.fault = fault.kind if fault else "latency" if delays else None
        record.status = None if answer.wire == "reset" else answer.status
        record.answer_headers, record.answer = answer.headers, answer.body
        record.seconds = time.monotonic() - started
        self._records.finished(record)
        self._note(record)
        return answer

    def _answer(self, request: Request, record: ApiRequest, fault: Fault | None) -> Answer:
        signer = self._keys.answering(request.headers.get("wechatpay-serial", ""))
        answer = Answer(200)
        route = None
        try:
            route, path = self._admit(request, record)
            if fault is None or fault.processed:
                answer = self._success(route.endpoint(request, path), signer)
        except Refusal as refusal:
            if route:
                self._limits.refused(route.what)
            record.refusal = f"{refusal.code}: {refusal.message}"
            answer = self._refused(refusal, signer)
        if self._merchant.clock_off and "Date" in answer.headers:
            answer.headers["Date"] = formatdate(time.time() + self._merchant.clock_off, usegmt=True)
        return self._faults.spoil(fault, answer, signer, request) if fault else answer

    def _admit(self, request: Request, record: ApiRequest) -> tuple[Route, dict[str, str]]:
        """The route and the numbers in the path, once everything that guards it has been satisfied."""
        route, path = self._route(request)
        authorization.check_headers(request)
        authorization.check_signature(
            request,
            self._merchant,
            merchant_id=self._credentials.merchant_id,
            serial=self._credentials.merchant.serial,
            key=self._merchant_key,
        )
        record.verified = True
        # Whether a wrong one is noticed where nothing is encrypted is not documented.
        serial = request.headers.get("wechatpay-serial")
        if serial is not None and self._keys.decrypting(serial) is None:
            raise bad_serial("平台证书序列号Wechatpay-Serial错误")
        self._limits.take(route.what)
        if not self._merchant.registered:
            raise Refusal(404 if "refund" in route.what else 400, "MCH_NOT_EXISTS", "the merchant does not exist")
        if route.product and route.product not in self._merchant.products:
            raise Refusal(403, "NO_AUTH", f"the product {route.product} is not enabled for the merchant")
        for name, value in path.items():
            if not re.fullmatch(NUMBERS[name], value):
                raise bad_field(name, f"must match {NUMBERS[name]}", value, location="url")
        return route, path

    def _route(self, request: Request) -> tuple[Route, dict[str, str]]:
        known = False
        for route in self._endpoints.routes:
            if match := route.pattern.fullmatch(request.path):
                if route.method == request.method:
                    return route, {name: unquote(value) for name, value in match.groupdict().items()}
                known = True
        raise wrong_method() if known else no_such_route()

    def _success(self, content: Any, signer: Signer) -> Answer:
        if content is None:
            return Answer(204, _headers(b"") | signer.headers(b""))
        if isinstance(content, File):
            return Answer(200, _headers(b"") | {"Content-Type": "application/octet-stream"}, content.content)
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        return Answer(200, _headers(body) | signer.headers(body), body)

    def _refused(self, refusal: Refusal, signer: Signer) -> Answer:
        body = refusal.body()
        headers = _headers(body, refusal.numeric)
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
