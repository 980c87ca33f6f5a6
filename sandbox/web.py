"""Serves the web pages; everything that they show comes from the control API."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import parse_qs

from sandbox.wire import Answer, Request

_FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGES = {"/": "index.html", "/api": "api.html"}
LONGEST_CODE = 1000


def handles(path: str) -> bool:
    return path in _PAGES or path == "/favicon.ico" or path.startswith("/page/")


def handle(request: Request) -> Answer:
    """The pages and the files beside them; names are looked up, never joined to a path."""
    if request.method != "GET":
        return Answer(405)
    name = _PAGES.get(request.path) or request.path.removeprefix("/page/")
    known = {file.name: file for file in _FOLDER.iterdir() if file.suffix in _TYPES}
    if name not in known:
        return Answer(404)
    headers = {
        "Content-Type": _TYPES[known[name].suffix],
        "Cache-Control": "no-store",
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return Answer(200, headers, known[name].read_bytes())


def qr_code(request: Request) -> Answer:
    """The query's `text` as a QR code. Raises ValueError."""
    import segno  # only the page needs it  # noqa: PLC0415

    text = parse_qs(request.query).get("text", [""])[-1]
    if not 0 < len(text) <= LONGEST_CODE:
        raise ValueError(f"text must have 1 to {LONGEST_CODE} characters")
    drawn = io.BytesIO()
    segno.make_qr(text, error="m").save(drawn, kind="svg", scale=8, border=4, dark="#000", light="#fff")
    return Answer(200, {"Content-Type": "image/svg+xml", "Cache-Control": "no-store"}, drawn.getvalue())
