"""The least that a Flask application does with a callback: parse JSON, answer JSON."""

import json

from flask import Flask, Response, jsonify, request

app = Flask(__name__)


@app.post("/")
def bare() -> Response:
    json.loads(request.get_data())
    return jsonify(code="SUCCESS", message="OK")


@app.get("/healthz")
def healthz() -> Response:
    return jsonify(code=0)
