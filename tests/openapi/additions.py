"""Endpoints that the sandbox has and the OpenAPI description lacks, from WeChat Pay's own pages.

Receipts of transfers: apply [4012716452], query and download [4012716436].
"""

from __future__ import annotations

from typing import Any

_ELECSIGN = "/v3/fund-app/mch-transfer/elecsign"
_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "rfc3339"}
_STATE = {"type": "string", "enum": ["GENERATING", "FINISHED", "FAILED"]}
_RECEIPT = {
    "type": "object",
    "required": ["state", "create_time", "update_time"],
    "properties": {
        "state": _STATE,
        "create_time": _TIME,
        "update_time": _TIME,
        "hash_type": {"type": "string", "enum": ["SHA256", "SM3"]},
        "hash_value": _TEXT,
        "download_url": _TEXT,
    },
}


def _endpoint(answer: dict[str, Any] | None, **parts: Any) -> dict[str, Any]:
    return {"query": [], "path": [], "header": [], "body": None, "responses": {"200": answer}, **parts}


ADDED: dict[str, dict[str, Any]] = {
    f"POST {_ELECSIGN}/out-bill-no": _endpoint(
        {"type": "object", "required": ["state", "create_time"], "properties": {"state": _STATE, "create_time": _TIME}},
        body={"type": "object", "required": ["out_bill_no"], "properties": {"out_bill_no": _TEXT}},
    ),
    f"GET {_ELECSIGN}/out-bill-no/{{out_bill_no}}": _endpoint(_RECEIPT, path=[{"name": "out_bill_no", **_TEXT}]),
    f"GET {_ELECSIGN}/transfer-bill-no/{{transfer_bill_no}}": _endpoint(
        _RECEIPT, path=[{"name": "transfer_bill_no", **_TEXT}]
    ),
    "GET /v3/transferbilldownload/file": _endpoint(None, query=[{"name": "token", "required": True, **_TEXT}]),
}
