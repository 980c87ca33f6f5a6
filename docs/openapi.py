"""Writes docs/openapi.json, the function's OpenAPI 3.1 description: `python -m docs.openapi`; `--check` compares.

Paths and rights come from the table of actions, bodies from the schemas that check them, answers from
docs.openapi_answers. The same input always gives the same file.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from apispec import APISpec

from controllers import pay_controller
from controllers.callback_controller import Callback
from controllers.pay_controller import Action
from docs import openapi_actions as words
from docs import openapi_answers as answers
from docs import openapi_fields as fields
from routes.actions import ACTIONS, CALLER, OPERATOR, PATHS, PAYEE
from utils import validator
from utils.fields import Choice, Code, Day

FILE = Path(__file__).parent / "openapi.json"
COMMAND = "python -m docs.openapi"

Json = dict[str, Any]

_DESCRIPTION = """\
Takes WeChat Pay's APIv3 off its users' hands: orders, queries, refunds, transfers, callbacks.

- Every action is a POST to `/wx-pay/<action>`, after any route prefix; to `/<action>` where a public route strips it;
  or to `/` with the action in the body's `_action` (API gateway), or in `path` (`/wx-pay/<action>`).
- A body is a JSON object in UTF-8 or, where no field is a number, a URL-encoded form. `null` is never a value; integers
  are written without a fraction. Fields that WeChat Pay does not document are dropped.
- Money is an integer in cents.
- Success is `code` 0 with WeChat Pay's answer in `data.data`; failure is `code` -1 and never 2xx.
- A number in brackets is the page of WeChat Pay's documents: `https://pay.weixin.qq.com/doc/v3/merchant/<number>`.
- Origins in corsAllowOrigin may call from browsers; OPTIONS answers their preflight. Everything else that is not
  described here is 404.
"""
_SECURITY = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A CloudBase access token, verified where cloudbaseEnvId is set. A server token is an operator.",
    },
    "miniProgram": {
        "type": "apiKey",
        "in": "header",
        "name": "x-wx-source",
        "description": "wx_client or wx_devtools, put there by callHTTPFunction's platform. No rights rest on it.",
    },
    "openid": {
        "type": "apiKey",
        "in": "header",
        "name": "x-wx-openid",
        "description": "The user, by the same. Verified only with callerHeaders=trusted.",
    },
    "operatorKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-operator-key",
        "description": "Equal to the setting operatorKey; the body's `_operatorKey` does the same.",
    },
}
_TOKEN: Json = {"accessToken": []}
_MINI_PROGRAM: Json = {"miniProgram": [], "openid": []}
_KEY: Json = {"operatorKey": []}
_RIGHTS = {
    CALLER: ([_MINI_PROGRAM, _TOKEN, _KEY], "Any caller."),
    OPERATOR: ([_KEY, _TOKEN], "Operators: by key, by server token, or listed in operatorIds."),
    PAYEE: ([_KEY, _TOKEN, _MINI_PROGRAM], "Operators, and the user whom the transfer is for by a verified openid."),
}
# What is completed from the request before the schema sees the body: component and property that may be absent.
_FILLED: dict[pay_controller.Fill, tuple[tuple[str, str], ...]] = {
    pay_controller.as_sent: (),
    pay_controller.with_payer: (("JsapiOrder", "payer"), ("Payer", "openid")),
    pay_controller.with_client_ip: (("H5SceneInfo", "payer_client_ip"),),
    pay_controller.with_payee: (("Transfer", "openid"),),
}
_REQUEST_ID = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


def document() -> Json:
    """The whole description."""
    plugin = fields.OurFields()
    spec = APISpec(
        title="pay-common for Python",
        version=_version(),
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": _DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/", "description": "Where this function is."}],
        tags=[{"name": name, "description": text} for name, text in words.TAGS.items()],
    )
    rows = [row for row in ACTIONS.values() if isinstance(row, Action)]
    converter: Any = plugin.converter
    for row in rows:
        converter.resolve_nested_schema(row.schema)
    for path, operations in _paths(rows).items():
        spec.path(path=path, operations=operations)
    _add_components(spec)
    made: Json = spec.to_dict()
    _complete(made["components"]["schemas"], rows)
    for kind, found in made["components"].items():
        made["components"][kind] = dict(sorted(found.items()))
    return made


def _version() -> str:
    """Read, not imported: importing app.py starts the function."""
    found = re.search(r'^__version__ = "(.+)"$', (FILE.parents[1] / "app.py").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def text() -> str:
    """As it stands in the file."""
    return json.dumps(document(), ensure_ascii=True, indent=1) + "\n"


def _paths(rows: list[Action]) -> Json:
    paths: Json = {f"/wx-pay/{row.name}": {"post": _action(row)} for row in rows}
    for path, row in PATHS.items():
        if isinstance(row, Callback):
            paths[f"/{path}"] = {"post": _callback(path, row)}
    return {
        **paths,
        "/": {"post": _by_body(rows)},
        "/healthz": {"get": _health()},
        "/openapi.json": {"get": _itself()},
    }


def _action(row: Action) -> Json:
    about = words.ACTIONS[row.name]
    security, right = _RIGHTS[row.right]
    reference = {"$ref": f"#/components/schemas/{type(row.schema).__name__}"}
    content: Json = {_JSON: {"schema": reference, "example": about.example}}
    if _fits_a_form(row):
        content[_FORM] = {"schema": reference}
    status = {"const": 204} if about.answers == "Nothing" else {"const": 200}
    success = answers.success({"$ref": f"#/components/schemas/{about.answers}"}, status)
    described = " ".join(filter(None, (about.says, f"{right}", _needs(row))))
    return {
        "operationId": row.name,
        "tags": [about.tag],
        "summary": about.summary,
        "description": described,
        "security": security,
        "requestBody": {"required": bool(about.example), "content": content},
        "responses": {
            "200": {
                "description": "Done." if row.right != OPERATOR else "Accepted.",
                "headers": _REQUEST_ID,
                "content": {_JSON: {"schema": success}},
                **_links(about),
            },
            **_failures(answers.FAILURES, about),
        },
    }


def _fits_a_form(row: Action) -> bool:
    """Whether every field that must be there is text, and no other would arrive as something else."""
    kinds = {type(field) for field in row.schema.fields.values()}
    return kinds <= {Code, Choice, Day}


def _needs(row: Action) -> str:
    return f"Needs {row.notify_setting}." if row.notify_setting in row.needs else ""


def _links(about: words.Words) -> Json:
    """By the same number on to what comes next."""
    found = {}
    for action in about.follow:
        (number,) = set(words.ACTIONS[action].example) & {"out_trade_no", "out_refund_no", "out_bill_no"}
        body = {number: f"$request.body#/{number}"}
        found[action] = {"operationId": action, "requestBody": body, "description": words.ACTIONS[action].summary}
    return {"links": found} if found else {}


def _failures(texts: dict[str, str], about: words.Words) -> Json:
    wechat_pays = set() if about.asks_wechat_pay else {"429", "502", "504", "4XX"}
    return {
        status: {"$ref": f"#/components/responses/Failure{status}"} for status in texts if status not in wechat_pays
    }


def _callback(path: str, row: Callback) -> Json:
    what, event, content = words.CALLBACK_WORDS[row.name]
    forwarded = path == row.path
    name = "ForwardedNotification" if forwarded else "Notification"
    says = (
        "Forwarded by the Integration Center (signMode=gateway)."
        if forwarded
        else "From WeChat Pay itself (signMode=sdk), with its four Wechatpay-* headers over the bytes of the body."
    )
    example = words.callback_example(event, content, forwarded=forwarded)
    return {
        "operationId": path.replace("wx-pay/", "").replace("/", "_"),
        "tags": [words.CALLBACKS],
        "summary": f"{what} has ended",
        "description": f"{says} The event type chooses the handler, else the path. Answered within 5 seconds.",
        "security": [],
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}, "example": example}},
        },
        "responses": {
            "200": {
                "description": "Kept.",
                "headers": _REQUEST_ID,
                "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Acknowledged"}}},
            },
            **{status: {"$ref": f"#/components/responses/Refusal{status}"} for status in answers.REFUSALS},
        },
    }


def _by_body(rows: list[Action]) -> Json:
    names = [row.name for row in rows]
    choice = {
        "oneOf": [{"$ref": f"#/components/schemas/{name}_in_body"} for name in names],
        "discriminator": {
            "propertyName": "_action",
            "mapping": {name: f"#/components/schemas/{name}_in_body" for name in names},
        },
    }
    forwarded = {"$ref": "#/components/schemas/ForwardedNotification"}
    either = {
        status: {
            "description": answers.FAILURES[status],
            "headers": {**_REQUEST_ID, **_retry_after(status)},
            "content": {
                _JSON: {
                    "schema": {
                        "anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Failure", "NotAcknowledged")]
                    }
                }
            },
        }
        for status in answers.REFUSALS
    }
    example = {"_action": "wxpay_order", **words.ACTIONS["wxpay_order"].example}
    success = answers.success({"type": "object"}, {"type": "integer"})
    kept = {"$ref": "#/components/schemas/Acknowledged"}
    return {
        "operationId": "by_body",
        "tags": [words.SELF],
        "summary": "Any action or callback, by its body",
        "description": "What the API gateway delivers. Each action is the same as under its path, rights included.",
        "security": [_MINI_PROGRAM, _TOKEN, _KEY, {}],
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": {"anyOf": [choice, forwarded]}, "example": example}},
        },
        "responses": {
            "200": {
                "description": "As under the action's or the callback's own path.",
                "headers": _REQUEST_ID,
                "content": {_JSON: {"schema": {"anyOf": [success, kept]}}},
            },
            **{
                status: either.get(status, {"$ref": f"#/components/responses/Failure{status}"})
                for status in answers.FAILURES
            },
        },
    }


def _health() -> Json:
    return {
        "operationId": "healthz",
        "tags": [words.SELF],
        "summary": "Version, sign mode, and settings that are missing or broken",
        "description": "Asks nobody and needs no identity.",
        "security": [],
        "responses": {
            "200": {
                "description": "It runs; it can work when nothing is missing.",
                "headers": _REQUEST_ID,
                "content": {_JSON: {"schema": answers.success({"$ref": "#/components/schemas/Health"})}},
            }
        },
    }


def _itself() -> Json:
    return {
        "operationId": "openapi",
        "tags": [words.SELF],
        "summary": "This description",
        "description": "Not on the platform and not from a package, where it is 404 like every other GET.",
        "security": [],
        "responses": {
            "200": {
                "description": "OpenAPI 3.1.",
                "headers": {**_REQUEST_ID, "ETag": {"schema": {"type": "string"}}},
                "content": {_JSON: {"schema": {"type": "object", "required": ["openapi", "info", "paths"]}}},
            },
            "304": {"description": "Unchanged since the ETag in If-None-Match.", "headers": _REQUEST_ID},
            "404": {"$ref": "#/components/responses/Failure404"},
        },
    }


def _add_components(spec: APISpec) -> None:
    for name, found in {
        **answers.DATA,
        "Failure": answers.FAILURE,
        "Acknowledged": answers.ACKNOWLEDGED,
        "NotAcknowledged": answers.NOT_ACKNOWLEDGED,
        "Notification": _notification(),
        "ForwardedNotification": _forwarded(),
    }.items():
        spec.components.schema(name, found)
    for prefix, texts, schema in (
        ("Failure", answers.FAILURES, "Failure"),
        ("Refusal", answers.REFUSALS, "NotAcknowledged"),
    ):
        for status, says in texts.items():
            content = {_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
            headers = {**_REQUEST_ID, **(_retry_after(status) if prefix == "Failure" else {})}
            spec.components.response(f"{prefix}{status}", {"description": says, "headers": headers, "content": content})
    spec.components.header(
        "RequestId",
        {
            "description": "Names the request in the log; the caller's own, where it sent a fit one.",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{8,64}$"},
        },
    )
    for name, scheme in _SECURITY.items():
        spec.components.security_scheme(name, scheme)


def _retry_after(status: str) -> Json:
    if status != "503":
        return {}
    return {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}


def _notification() -> Json:
    names = ("original_type", "ciphertext", "associated_data", "nonce")
    resource = {"algorithm": {"const": "AEAD_AES_256_GCM"}, **{name: {"type": "string"} for name in names}}
    strings = ("id", "create_time", "resource_type", "event_type", "summary")
    return {
        "type": "object",
        "description": "WeChat Pay's envelope [4012791861]; what it says is encrypted in it.",
        "properties": {
            **{name: {"type": "string"} for name in strings},
            "resource": {
                "type": "object",
                "properties": resource,
                "required": ["algorithm", "ciphertext", "nonce"],
            },
        },
        "required": ["id", "event_type", "resource"],
    }


def _forwarded() -> Json:
    envelope: Json = {"type": ["object", "string"], "description": "An object, or one as a JSON string."}
    return {
        "type": "object",
        "description": "What the Integration Center makes of it.",
        "properties": {
            "ParsedContent": {
                "type": "object",
                "description": "The plaintext: believed if the envelope beside it proves it, else WeChat Pay is asked.",
            },
            "ParsedNotify": envelope,
            "rawData": envelope,
            "Plaintext": {"description": "Not read."},
        },
        "required": ["ParsedContent"],
        "anyOf": [{"required": ["rawData"]}, {"required": ["ParsedNotify"]}],
    }


def _complete(schemas: Json, rows: list[Action]) -> None:
    """What no single field says: descriptions, configured fields, what is filled in, and rules across fields."""
    for row in rows:
        name = type(row.schema).__name__
        schema = schemas[name]
        schema["description"] = re.sub(r"\s+", " ", type(row.schema).__doc__ or "")
        for fixed in row.schema.fixed:
            schema["properties"][fixed] = {"type": "string", "description": fields.FIXED_WORDS[fixed]}
        schemas[f"{row.name}_in_body"] = {
            "allOf": [{"$ref": f"#/components/schemas/{name}"}],
            "properties": {"_action": {"enum": [row.name, f"/wx-pay/{row.name}"]}},
            "required": ["_action"],
        }
        for component, field in _FILLED[row.fill]:
            if field in schemas[component].get("required", ()):
                schemas[component]["required"].remove(field)
    for schema in schemas.values():
        if schema.get("required") == []:
            del schema["required"]
    schemas["Refund"]["oneOf"] = [{"required": ["out_trade_no"]}, {"required": ["transaction_id"]}]
    schemas["Transfer"]["allOf"] = [
        {
            "if": {"properties": {"transfer_amount": {"maximum": validator.NAME_FORBIDDEN_BELOW - 1}}},
            "then": {"not": {"required": ["user_name"]}},
        },
        {
            "if": {"properties": {"transfer_amount": {"minimum": validator.NAME_REQUIRED_FROM}}},
            "then": {"required": ["user_name"]},
        },
    ]


def main(arguments: list[str]) -> int:
    """Write the file or, with `--check`, tell whether it is up to date."""
    made = text()
    if "--check" not in arguments:
        FILE.write_text(made, encoding="utf-8")
        return 0
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == made:
        return 0
    sys.stderr.write(f"docs/openapi.json does not describe the function as it is: run `{COMMAND}` and commit it\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
