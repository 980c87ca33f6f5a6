"""A description as small as can be, and good exchanges by it, as the sandbox's journal has them."""

from __future__ import annotations

import json
from typing import Any

TEXT = {"type": "string", "example": "tea"}
SERIAL = {"name": "Wechatpay-Serial", "required": True, "example": "PUB_KEY_ID_0"}
ORDERS = "POST /v3/orders"
ORDER = "GET /v3/orders/{number}"
CLOSE = "POST /v3/orders/{number}/close"
# Made as the real one is: nested allOf, the second of which adds to an object of the first.
DESCRIPTION = {
    ORDERS: {
        "query": [],
        "path": [],
        "header": [SERIAL],
        "body": {
            "allOf": [
                {"type": "object", "required": ["mchid"], "properties": {"mchid": TEXT}},
                {
                    "allOf": [
                        {
                            "type": "object",
                            "required": ["amount"],
                            "properties": {
                                "amount": {
                                    "type": "object",
                                    "required": ["total"],
                                    "properties": {"total": {"type": "integer"}},
                                },
                                "time_expire": {"type": "string", "format": "rfc3339"},
                                "attach": {"type": "string", "nullable": True},
                                "name": {"type": "string", "format": "base64"},
                            },
                        },
                        {
                            "type": "object",
                            "properties": {
                                "amount": {"type": "object", "properties": {"currency": TEXT}},
                                "goods": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "required": ["id"],
                                        "properties": {"id": TEXT, "kind": {"type": "string", "enum": ["A", "B"]}},
                                    },
                                },
                            },
                        },
                    ]
                },
            ]
        },
        "responses": {"200": {"type": "object", "required": ["prepay_id"], "properties": {"prepay_id": TEXT}}},
    },
    ORDER: {
        "query": [
            {"name": "mchid", "required": True, **TEXT},
            {
                "name": "kind",
                "type": "string",
                "nullable": True,
                "allOf": [{"type": "string", "enum": ["ALL"]}, {"type": "string", "enum": ["NEW"]}],
            },
        ],
        "path": [{"name": "number", "required": True, "type": "string", "pattern": "^[A-Z|]+$"}],
        "header": [],
        "body": None,
        "responses": {"200": {"type": "object", "required": ["state"], "properties": {"state": TEXT, "paid": TEXT}}},
    },
    CLOSE: {
        "query": [],
        "path": [{"name": "number", "required": True, "type": "string"}],
        "header": [],
        "body": {"type": "object", "required": ["mchid"], "properties": {"mchid": TEXT}},
        "responses": {"204": None},
    },
    "GET /v3/file": {"query": [], "path": [], "header": [], "body": None, "responses": {"200": None}},
}
HEADERS = {
    "authorization": "***",
    "accept": "application/json",
    "user-agent": "pay-common-python/1.0.0",
    "content-type": "application/json",
    "wechatpay-serial": "PUB_KEY_ID_0",
}
BODY = {
    "mchid": "1900000001",
    "amount": {"total": 100, "currency": "CNY"},
    "time_expire": "2026-11-26T10:00:00.120+08:00",
    "attach": None,
    "name": "aGVsbG8=",
    "goods": [{"id": "1", "kind": "A"}, {"id": "2"}],
}
PREPAID = {"prepay_id": "wx1"}


def as_text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def placed(body: Any = BODY, answer: Any = PREPAID, **changes: Any) -> dict[str, Any]:
    return {
        "method": "POST",
        "target": "/v3/orders",
        "headers": HEADERS,
        "body": as_text(body),
        "status": 200,
        "answer": as_text(answer),
        "fault": None,
        **changes,
    }


def queried(target: str = "/v3/orders/A%7CB?mchid=1900000001", **changes: Any) -> dict[str, Any]:
    headers = {name: value for name, value in HEADERS.items() if name not in ("content-type", "wechatpay-serial")}
    good = {"method": "GET", "target": target, "body": "", "headers": headers}
    return placed(**good | {"answer": '{"state":"NOTPAY"}'} | changes)


def closed_order(**changes: Any) -> dict[str, Any]:
    good = {"target": "/v3/orders/A/close", "body": '{"mchid":"1900000001"}', "status": 204, "answer": ""}
    return placed(**good | changes)


def refused(status: int = 400, **content: Any) -> dict[str, Any]:
    content = {"code": "PARAM_ERROR", "message": "参数错误"} | content
    return placed(status=status, answer={name: value for name, value in content.items() if value is not None})


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}
