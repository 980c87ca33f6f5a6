"""GET /openapi.json: for those who build on the function, not for strangers who find it on the platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs import openapi
from routes import web
from tests.support import in_process

ORIGIN = "https://shop.example.com"


def test_it_is_the_committed_file():
    with in_process({}) as function:
        reply = function.request("GET", "/openapi.json")
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.text == openapi.FILE.read_text()
        assert reply.headers["X-Request-Id"]
        head = function.request("HEAD", "/openapi.json")
        assert (head.status, head.text) == (200, "")
        assert head.headers["Content-Length"] == str(len(openapi.FILE.read_bytes()))


def test_it_is_sent_again_only_when_it_is_another():
    with in_process({}) as function:
        tag = function.request("GET", "/openapi.json").headers["ETag"]
        assert function.request("GET", "/openapi.json").headers["Cache-Control"] == "no-cache"
        same = function.request("GET", "/openapi.json", headers={"If-None-Match": tag})
        assert (same.status, same.text, same.headers["ETag"]) == (304, "", tag)
        assert function.request("GET", "/openapi.json", headers={"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize("variable", ["TENCENTCLOUD_RUNENV", "SCF_RUNTIME"])
def test_on_the_platform_it_is_404_like_any_other_get(variable: str):
    with in_process({variable: "x"}) as function:
        there, nothing = (function.request("GET", path) for path in ("/openapi.json", "/nothing"))
        assert (there.status, there.body) == (404, nothing.body)
        assert {name: value for name, value in there.headers.items() if name not in ("Date", "X-Request-Id")} == {
            name: value for name, value in nothing.headers.items() if name not in ("Date", "X-Request-Id")
        }


def test_where_docs_were_not_shipped_it_is_404(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(web, "_OPENAPI", tmp_path / "openapi.json")
    with in_process({}) as function:
        there, nothing = (function.request("GET", path) for path in ("/openapi.json", "/nothing"))
        assert (there.status, there.body) == (404, nothing.body)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_404(method: str):
    with in_process({}) as function:
        assert function.request(method, "/openapi.json", data=b"{}").status == 404


def test_pages_of_listed_origins_may_read_it():
    with in_process({"corsAllowOrigin": ORIGIN}) as function:
        ours = function.request("GET", "/openapi.json", headers={"Origin": ORIGIN})
        assert ours.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert ours.headers["Vary"] == "Origin"
        other = function.request("GET", "/openapi.json", headers={"Origin": "https://else.example.com"})
        assert "Access-Control-Allow-Origin" not in other.headers
