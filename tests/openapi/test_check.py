"""One flaw in an otherwise good exchange, and the check must name it, alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.openapi.check import Check, Difference
from tests.openapi.description import RFC3339, Description, closed
from tests.openapi.differences import Listed
from tests.openapi.report import Report
from tests.openapi.samples import (
    BODY,
    CLOSE,
    DESCRIPTION,
    HEADERS,
    ORDER,
    ORDERS,
    closed_order,
    placed,
    queried,
    refused,
    without,
)

DETAIL = {"field": "/amount", "value": {"total": 0}, "issue": "too little", "location": "body"}


@pytest.fixture
def check() -> Check:
    return Check(Description(DESCRIPTION))


@pytest.mark.parametrize(
    "exchange",
    [
        placed(),
        placed(BODY | {"time_expire": "2026-11-26T02:00:00Z"}),
        placed(without(BODY, "time_expire", "attach", "name", "goods")),
        queried(),
        queried("/v3/orders/A?mchid=1&kind=ALL"),
        queried("/v3/orders/A?kind=NEW&mchid=1"),
        queried(answer='{"state":"SUCCESS","paid":"yes"}'),
        closed_order(),
        refused(),
        refused(detail=DETAIL),
        refused(detail=without(DETAIL, "value")),
        refused(404, code="ORDER_NOT_EXIST"),
        queried(target="/v3/file", answer="a,b\r\n"),
        refused() | {"headers": HEADERS | {"user-agent": "test/1"}, "body": "no JSON"},
        placed(target="/v3/nowhere", headers={}, status=404, answer=""),
    ],
)
def test_a_good_exchange_has_no_difference(check: Check, exchange: dict[str, Any]) -> None:
    assert check.exchange(exchange) == []
    assert check.answers.total() == 1


REQUESTS: dict[str, tuple[dict[str, Any], Difference]] = {
    "an unknown field": (placed(BODY | {"tip": 1}), Difference(ORDERS, "body", "/tip", "unknown")),
    "an unknown field within": (
        placed(BODY | {"amount": {"total": 1, "tip": 1}}),
        Difference(ORDERS, "body", "/amount/tip", "unknown"),
    ),
    "an unknown field in a list": (
        placed(BODY | {"goods": [{"id": "1"}, {"id": "2", "x": 1}]}),
        Difference(ORDERS, "body", "/goods/*/x", "unknown"),
    ),
    "a missing field": (placed(without(BODY, "mchid")), Difference(ORDERS, "body", "/mchid", "missing")),
    "a missing field within": (
        placed(BODY | {"amount": {"currency": "CNY"}}),
        Difference(ORDERS, "body", "/amount/total", "missing"),
    ),
    "a missing field in a list": (
        placed(BODY | {"goods": [{"kind": "A"}]}),
        Difference(ORDERS, "body", "/goods/*/id", "missing"),
    ),
    "a number for a text": (placed(BODY | {"mchid": 1900000001}), Difference(ORDERS, "body", "/mchid", "type")),
    "a text for a number": (
        placed(BODY | {"amount": {"total": "100"}}),
        Difference(ORDERS, "body", "/amount/total", "type"),
    ),
    "a fraction": (placed(BODY | {"amount": {"total": 100.0}}), Difference(ORDERS, "body", "/amount/total", "type")),
    "a truth for a number": (
        placed(BODY | {"amount": {"total": True}}),
        Difference(ORDERS, "body", "/amount/total", "type"),
    ),
    "null": (placed(BODY | {"goods": None}), Difference(ORDERS, "body", "/goods", "type")),
    "another value": (
        placed(BODY | {"goods": [{"id": "1", "kind": "C"}]}),
        Difference(ORDERS, "body", "/goods/*/kind", "enum"),
    ),
    "a time without a zone": (
        placed(BODY | {"time_expire": "2026-11-26T10:00:00"}),
        Difference(ORDERS, "body", "/time_expire", "format"),
    ),
    "a name in clear": (placed(BODY | {"name": "张三"}), Difference(ORDERS, "body", "/name", "format")),
    "no JSON": (placed("total=1"), Difference(ORDERS, "body", "", "type")),
    "no body": (
        placed("", headers=without(HEADERS, "content-type")),
        Difference(ORDERS, "body", "", "type"),
    ),
    "a body that is not wanted": (
        queried(body="{}", headers=without(HEADERS, "wechatpay-serial")),
        Difference(ORDER, "body", "", "not empty"),
    ),
    "no Authorization": (
        placed(headers=without(HEADERS, "authorization")),
        Difference(ORDERS, "header", "authorization", "missing"),
    ),
    "no Accept": (placed(headers=without(HEADERS, "accept")), Difference(ORDERS, "header", "accept", "missing")),
    "no Content-Type": (
        placed(headers=without(HEADERS, "content-type")),
        Difference(ORDERS, "header", "content-type", "missing"),
    ),
    "another Content-Type": (
        placed(headers=HEADERS | {"content-type": "text/json"}),
        Difference(ORDERS, "header", "content-type", "other value"),
    ),
    "no header of the description": (
        placed(without(BODY, "name"), headers=without(HEADERS, "wechatpay-serial")),
        Difference(ORDERS, "header", "Wechatpay-Serial", "missing"),
    ),
    "no query": (queried("/v3/orders/A"), Difference(ORDER, "query", "mchid", "missing")),
    "an unknown query": (queried("/v3/orders/A?mchid=1&x="), Difference(ORDER, "query", "x", "unknown")),
    "a query of another value": (queried("/v3/orders/A?mchid=1&kind=OLD"), Difference(ORDER, "query", "kind", "enum")),
    "another path": (queried("/v3/orders/a%7C?mchid=1"), Difference(ORDER, "path", "number", "pattern")),
    "another endpoint": (
        queried("/v3/orders/A/B?mchid=1", status=404, answer=""),
        Difference("GET /v3/orders/A/B", "endpoint", "", "not described"),
    ),
    "another method": (
        placed("", method="DELETE", status=405, answer=""),
        Difference("DELETE /v3/orders", "endpoint", "", "not described"),
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_flaw_of_a_request_is_found(check: Check, name: str) -> None:
    exchange, difference = REQUESTS[name]
    assert check.exchange(exchange) == [difference]
    assert check.found == {difference: 1}


@pytest.mark.parametrize("name", REQUESTS)
def test_it_is_found_whatever_the_answer_was(check: Check, name: str) -> None:
    exchange, difference = REQUESTS[name]
    assert check.exchange(exchange | {"status": None, "answer": "", "fault": "reset"}) == [difference]


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("agent", ["test/1", "pay-common-python/test", ""])
def test_the_requests_of_others_are_not_judged(check: Check, name: str, agent: str) -> None:
    exchange, _ = REQUESTS[name]
    assert check.exchange(exchange | {"headers": exchange["headers"] | {"user-agent": agent}}) == []
    assert (check.requests.total(), check.others_requests) == (0, 1)


def test_a_repeated_query_is_found(check: Check) -> None:
    found = check.exchange(queried("/v3/orders/A?mchid=1&mchid=1"))
    assert set(found) == {Difference(ORDER, "query", "mchid", "repeated")}


def test_an_encrypted_field_without_the_name_of_its_key_is_a_difference_of_its_own(check: Check) -> None:
    found = check.exchange(placed(headers=without(HEADERS, "wechatpay-serial")))
    kinds = ("missing", "missing with an encrypted field")
    assert found == [Difference(ORDERS, "header", "Wechatpay-Serial", kind) for kind in kinds]


ANSWERS: dict[str, tuple[dict[str, Any], Difference]] = {
    "a missing field": (placed(answer={}), Difference(ORDERS, "answer", "/prepay_id", "missing")),
    "an extra field": (
        placed(answer={"prepay_id": "wx1", "x": 1}),
        Difference(ORDERS, "answer", "/x", "unknown"),
    ),
    "another type": (placed(answer={"prepay_id": 1}), Difference(ORDERS, "answer", "/prepay_id", "type")),
    "a list": (placed(answer=[]), Difference(ORDERS, "answer", "", "type")),
    "no JSON": (queried(answer="OK"), Difference(ORDER, "answer", "", "type")),
    "nothing": (queried(answer=""), Difference(ORDER, "answer", "", "type")),
    "another status": (closed_order(status=200), Difference(CLOSE, "status", "200", "not described")),
    "a status on the way": (placed(status=202), Difference(ORDERS, "status", "202", "not described")),
    "a redirect": (placed(status=302), Difference(ORDERS, "status", "302", "not described")),
    "a 204 with a body": (closed_order(answer="{}"), Difference(CLOSE, "answer", "", "not empty")),
    "an error without a code": (refused(code=None), Difference(ORDERS, "error", "/code", "missing")),
    "an error without a message": (refused(message=None), Difference(ORDERS, "error", "/message", "missing")),
    "an error with more": (refused(data=1), Difference(ORDERS, "error", "/data", "unknown")),
    "an error code in words": (refused(code="not found"), Difference(ORDERS, "error", "/code", "pattern")),
    "an error without a body": (placed(status=404, answer=""), Difference(ORDERS, "error", "", "type")),
    "a detail elsewhere": (
        refused(detail=DETAIL | {"location": "header"}),
        Difference(ORDERS, "error", "/detail/location", "enum"),
    ),
    "a detail with more": (refused(detail=DETAIL | {"x": 1}), Difference(ORDERS, "error", "/detail/x", "unknown")),
    "a detail that is a text": (refused(detail="too little"), Difference(ORDERS, "error", "/detail", "type")),
    "a detail of another code": (
        refused(403, code="NO_AUTH", detail=DETAIL),
        Difference(ORDERS, "error", "/detail", "with NO_AUTH"),
    ),
    "an error of no such status": (refused(418), Difference(ORDERS, "error", "418", "no status of an error")),
    "an unknown path that is answered": (
        placed(target="/v3/nowhere", headers={}),
        Difference("elsewhere", "status", "200", "not 404 or 405 without a body"),
    ),
    "an unknown path with a body": (
        refused(404) | {"target": "/v3/nowhere", "headers": {}},
        Difference("elsewhere", "status", "404", "not 404 or 405 without a body"),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_flaw_of_an_answer_is_found(check: Check, name: str) -> None:
    exchange, difference = ANSWERS[name]
    assert check.exchange(exchange) == [difference]
    assert check.answers.total() == 1


@pytest.mark.parametrize("name", ANSWERS)
def test_a_delay_spoils_no_answer(check: Check, name: str) -> None:
    exchange, difference = ANSWERS[name]
    assert check.exchange(exchange | {"fault": "latency"}) == [difference]


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("spoilt", [{"fault": "not_json"}, {"fault": "scripted", "status": None}, {"status": None}])
def test_an_answer_that_was_spoilt_is_counted_and_not_judged(
    check: Check, name: str, spoilt: dict[str, Any]
) -> None:
    exchange, _ = ANSWERS[name]
    assert check.exchange(exchange | spoilt) == []
    assert (check.answers.total(), check.spoilt.total()) == (0, 1)


def test_one_difference_hides_no_other(check: Check) -> None:
    found = check.exchange(placed(BODY | {"mchid": 1, "amount": {"tip": 1}, "x": 1}, answer={"y": 1}))
    assert set(found) == {
        Difference(ORDERS, "body", "/mchid", "type"),
        Difference(ORDERS, "body", "/amount/total", "missing"),
        Difference(ORDERS, "body", "/amount/tip", "unknown"),
        Difference(ORDERS, "body", "/x", "unknown"),
        Difference(ORDERS, "answer", "/prepay_id", "missing"),
        Difference(ORDERS, "answer", "/y", "unknown"),
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 3},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "object", "properties": {"x": {"oneOf": []}}},
    ],
)
def test_a_keyword_that_would_go_unchecked_is_no_description(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"nothing here checks|allOf says"):
        closed(schema)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26", "2026-11-26 10:00:00+08:00", "2026-13-01T00:00:00Z", "2026-11-32T00:00:00Z",
        "2026-11-26T24:00:00Z", "2026-11-26T10:60:00Z", "2026-11-26T10:00:00+0800", "2026-11-26T10:00:00.Z",
        "2026-11-26T10:00:00Z\n", "２０２６-11-26T10:00:00Z", "1795658400", "",
    ],
)  # fmt: skip
def test_a_time_that_is_no_rfc_3339(text: str) -> None:
    assert RFC3339.fullmatch(text) is None


# What is made of it


LISTED = Listed((ORDERS, CLOSE), "body", "/mchid", "type", "", "[4012081709]")


def report(check: Check, *listed: Listed, is_whole: bool = True) -> Report:
    return Report("x.json", check, listed, is_whole=is_whole)


def is_told(lines: list[str], *parts: str) -> bool:
    return any(all(part in line for part in parts) for line in lines)


def test_a_difference_that_nobody_listed_is_a_fault_and_shows_where(check: Check) -> None:
    check.exchange(placed(BODY | {"tip": 7}))
    for is_whole in (True, False):
        (fault,) = report(check, is_whole=is_whole).faults
        assert "POST /v3/orders, body /tip: unknown: 1 times" in fault
        assert '"tip": 7' in fault


def test_a_listed_one_is_told_with_count_and_source_and_is_no_fault(check: Check) -> None:
    check.exchange(placed(BODY | {"mchid": 1}))
    check.exchange(placed(BODY | {"mchid": 1}))
    check.exchange(closed_order(body='{"mchid":1}'))
    made = report(check, LISTED)
    assert made.faults == []
    assert is_told(made.lines, f"{ORDERS}, body /mchid: type", "2 times", "[4012081709]")
    assert is_told(made.lines, f"{CLOSE}, body /mchid: type", "1 times", "[4012081709]")


def test_a_listed_one_that_no_longer_occurs_anywhere_it_is_listed_for_is_a_fault_of_a_whole_run(check: Check) -> None:
    check.exchange(placed(BODY | {"mchid": 1}))
    assert report(check, LISTED, is_whole=False).faults == []
    (fault,) = report(check, LISTED).faults
    assert "no longer occurs" in fault
    assert CLOSE in fault


def test_the_counts_and_what_nobody_asked_are_told(check: Check) -> None:
    check.exchange(placed())
    check.exchange(placed(fault="reset", status=None))
    check.exchange(placed(headers=HEADERS | {"user-agent": "test/1"}))
    check.exchange(closed_order())
    lines = report(check).lines
    assert is_told(lines, "3 requests", "3 answers", "1 answers spoilt", "1 requests of others")
    assert [line.split() for line in lines if line.endswith(ORDERS)] == [["2", "2", "1", *ORDERS.split()]]
    assert [line for line in lines if "asked" in line] == [f"nobody asked: {ORDER}", "nobody asked: GET /v3/file"]


def test_a_whole_run_that_checked_nothing_has_failed(check: Check) -> None:
    assert report(check, is_whole=False).faults == []
    assert report(check).faults
    check.exchange(placed(headers={}))
    assert report(check).faults, "no request of the function"


def spoil(pointer: str, value: Any) -> Callable[[dict[str, Any]], None]:
    *way, last = pointer.split("/")[1:]

    def change(body: dict[str, Any]) -> None:
        for step in way:
            body = body[step]
        body[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        (spoil("/amount/total", "100"), ("/amount/total", "type")),
        (spoil("/payer/tip", "x"), ("/payer/tip", "unknown")),
        (spoil("/scene_info/x", "x"), ("/scene_info/x", "unknown")),
        (spoil("/time_expire", "tomorrow"), ("/time_expire", "format")),
        (lambda body: body.pop("notify_url"), ("/notify_url", "missing")),
        (lambda body: body["payer"].pop("openid"), ("/payer/openid", "missing")),
        (lambda body: None, None),
    ],
)
def test_the_real_description_is_read_whole(
    real: Check, change: Callable[[dict[str, Any]], Any], flaw: tuple[str, str] | None
) -> None:
    body = {
        "appid": "wx1",
        "mchid": "1900000001",
        "description": "tea",
        "out_trade_no": "ORDER_0001",
        "notify_url": "https://shop.example/pay",
        "time_expire": "2026-11-26T10:00:00+08:00",
        "amount": {"total": 100, "currency": "CNY"},
        "payer": {"openid": "o1"},
        "scene_info": {"device_id": "1"},
    }
    change(body)
    name = "POST /v3/pay/transactions/jsapi"
    found = real.exchange(placed(body, target="/v3/pay/transactions/jsapi"))
    assert found == ([Difference(name, "body", *flaw)] if flaw else [])
