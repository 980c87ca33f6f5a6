"""Planted secrets, every error path, and the search for them in logs, error answers and reprs."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from werkzeug.serving import make_server

from app import create_app
from config.settings import Settings
from controllers import errors
from sandbox import Credentials, Sandbox, spoils
from services.strategies.base import Incoming, Notification
from services.wechatpay.client import Reply as WechatReply
from tests.http.error_paths import HOUSES, PATHS, QUOTING, Path, Played, Stage, exchange, order
from tests.http.leaky_orders import LeakyError, LeakyOrders
from tests.http.planted import (
    BASIC,
    BODY_OPENID,
    DATABASE_PASSWORD,
    DATABASE_URL,
    HEADER_OPENID,
    NAMES,
    OPERATOR_KEY,
    PAYER_OPENID,
    RUN,
    TOKEN_OPENID,
    WEBHOOK_SECRET,
    Plants,
)
from tests.support import Function, Reply, gunicorn
from utils.cloudbase_auth import Caller

LEAKY = "tests.http.leaky_orders:LeakyOrders"
DEBUG = {"logLevel": "debug", "operatorKey": OPERATOR_KEY}


@pytest.fixture(scope="module")
def box(credentials: Credentials) -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch, Sandbox(credentials=credentials) as sandbox:
        for kind, nature in QUOTING.items():
            patch.setitem(spoils.KINDS, kind, nature)
        yield sandbox


@pytest.fixture(scope="module")
def tokens(box: Sandbox) -> dict[str, str]:
    def user(**changes: Any) -> str:
        return box.token("user", openid=TOKEN_OPENID, **changes)

    return {
        "user": user(),
        "other key": user(key="other"),
        "alg none": user(alg="none"),
        "HS256": user(alg="HS256"),
        "expired": user(exp=int(time.time()) - 3600),
        "other aud": user(aud="another-env-1a2b3c"),
        "undecodable": "planted-opaque-credential-0123456789-9Zz",
    }


@pytest.fixture(scope="module")
def plants(credentials: Credentials, tokens: dict[str, str]) -> Plants:
    return Plants(credentials, tokens.values())


Start = Callable[[str, Sandbox], Any]


def play(start: Start, credentials: Credentials, box: Sandbox, plants: Plants, tokens: Mapping[str, str]) -> Played:
    """All paths, house by house. `start(name, sandbox)` starts the function and yields it."""
    played = Played()
    with (
        Sandbox(sign_mode="sdk", key_mode="certificate", credentials=credentials) as certificates,
        ThreadPoolExecutor() as stopping,
    ):
        for house in HOUSES:
            wechat_pay = certificates if house == "sdk" else box
            wechat_pay.reset()
            stack = ExitStack()
            function = stack.enter_context(start(house, wechat_pay))
            stage = Stage(wechat_pay, function, plants, tokens)
            try:
                for path in (path for path in PATHS if path.house == house):
                    _prepare(wechat_pay, house, path)
                    stage.request_id = f"path-{PATHS.index(path):04d}"
                    played.replies[path.name] = path.send(stage)
                    plants.add_authorizations(wechat_pay)
            finally:
                stopping.submit(stack.close)
    return played


def _prepare(box: Sandbox, house: str, path: Path) -> None:
    box.reset()
    box.jwks = "error" if house == "keys down" else "ok"
    ours, ledger = box.credentials, box.ledger
    bill = {"transfer_scene_id": "1000", "transfer_amount": 30, "transfer_remark": "bonus"}
    for number in ("PAID000001", "QUERY00001"):
        body = {"out_trade_no": number, "appid": ours.app_id, "mchid": ours.merchant_id, "notify_url": ""}
        ledger.place("jsapi", {**body, "amount": {"total": 100, "currency": "CNY"}, "payer": {"openid": PAYER_OPENID}})
    ledger.transfer({"appid": ours.app_id, "out_bill_no": "QUERY1", "openid": PAYER_OPENID, **bill})
    box.pay("PAID000001", deliver=False)
    if path.fault:
        options = {"seconds": 3.0} if path.fault in ("latency", "slow_body") else {}
        box.fault(path.fault, **options)


def env(house: str, box: Sandbox) -> dict[str, str]:
    """The settings of a house; the broken one's private key has lost a line."""
    settings = {**DEBUG, "orderService": LEAKY, **HOUSES[house]}
    if house == "broken":
        lines = box.env()["privateKey"].splitlines()
        settings["privateKey"] = "\n".join(lines[:5] + lines[6:])
    return box.env(tokens=True, **settings)


@pytest.fixture(scope="module")
def served(
    credentials: Credentials,
    box: Sandbox,
    plants: Plants,
    tokens: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Played:
    """Every path under gunicorn."""
    folder, functions = tmp_path_factory.mktemp("secrets"), []

    @contextmanager
    def start(house: str, wechat_pay: Sandbox) -> Iterator[Function]:
        with gunicorn(env(house, wechat_pay), folder / f"{house}.log") as function:
            yield function
            functions.append(function)
            if house == "gateway":
                time.sleep(1)  # for the late results of handlers

    played = play(start, credentials, box, plants, tokens)
    played.log = "".join(function.log_text() for function in functions)
    lines = [line for function in functions for line in function.log_lines()]
    for line in lines:
        if line["message"] == "request" and line["request_id"].startswith("path-"):
            played.errors[PATHS[int(line["request_id"][5:])].name] = line.get("error_type", "")
    return played


@dataclasses.dataclass
class Seen:
    """What went through the error handler of an application in this process."""

    played: Played
    raised: list[tuple[bool, Exception]]
    components: Any = None


@pytest.fixture(scope="module")
def seen(credentials: Credentials, box: Sandbox, plants: Plants, tokens: dict[str, str]) -> Seen:
    """Every path once more in this process, where the exceptions themselves can be had."""
    record = Seen(Played(), [])

    @contextmanager
    def start(house: str, wechat_pay: Sandbox) -> Iterator[Function]:
        application = create_app(Settings.from_env(env(house, wechat_pay)), order_service=LeakyOrders())
        answer = application.error_handler_spec[None][None][Exception]

        def watched(error: Exception) -> Any:
            response = answer(error)
            record.raised.append(("code" in response.json and response.json["code"] == "FAIL", error))
            return response

        application.register_error_handler(Exception, watched)
        if house == "gateway":
            record.components = application.extensions["pay"]
        server = make_server("127.0.0.1", 0, application, threaded=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        function = Function(f"http://127.0.0.1:{server.server_port}")
        yield function
        if house == "gateway":
            _cut_off(server.server_port, "/wx-pay/unifiedOrderTrigger")
            _cut_off(server.server_port, "/wx-pay/wxpay_order")
        server.shutdown()
        server.server_close()

    record.played = play(start, credentials, box, plants, tokens)
    assert len(record.raised) > len(PATHS) * 0.9, "stopped before its end"
    return record


def _cut_off(port: int, path: str) -> None:
    """A request whose sender leaves in the middle of the body."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        body = f'{{"ParsedContent":{{"payer":{{"openid":"{PAYER_OPENID}"'
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{body}".encode())
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


# The paths are what they say


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_every_path_is_answered_as_its_row_says(served: Played, path: Path):
    reply = served.replies[path.name]
    assert (reply.status, served.errors.get(path.name)) == (path.status, path.error), reply.text
    assert reply.body["code"] == ("FAIL" if path.callback else -1)


# Raised only with an order database, by tests/orders.
ON_THE_ORDER_DATABASE = {
    ("caller", name) for name in ("TooManyWaiting", "DatabaseFailed", "BillNotKept", "BillNotReady", "BillUnusable")
}
UNDER_LOAD = {("caller", "TooBusy")}  # by tests/load; it is the same for every request


def test_every_class_of_the_tables_is_reached(seen: Seen):
    callers = [row[0] for row in errors._TO_CALLERS]
    wechat_pay = [row[0] for row in errors._TO_WECHAT_PAY]
    reached = set()
    for is_callback, error in seen.raised:
        table = wechat_pay if is_callback else callers
        row = next((known for known in table if isinstance(error, known)), Exception)
        reached.add(("callback" if is_callback else "caller", row.__name__))
    rows = {("caller", known.__name__) for known in callers} | {("callback", known.__name__) for known in wechat_pay}
    assert rows - reached == ON_THE_ORDER_DATABASE | UNDER_LOAD
    assert ("caller", "Exception") in reached, "what stands in no table"


def test_every_kind_of_misbehaviour_is_among_the_paths():
    assert set(spoils.KINDS) - {path.fault for path in PATHS} == set()


# The search


def test_the_search_finds_what_is_there(plants: Plants, box: Sandbox, tokens: dict[str, str]):
    key = plants.private_key
    texts = {
        "private key": [key, key.replace("\n", "\\n"), f"x{plants.body[333:353]}y", json.dumps({"k": key})],
        "APIv3 key": [f"'{plants.api_v3_key}'", repr(plants.api_v3_key.encode()), plants.api_v3_key[5:]],
        "operator key": [f"&{OPERATOR_KEY}&", OPERATOR_KEY[3:25]],
        "database password": [DATABASE_URL, DATABASE_PASSWORD, repr(DATABASE_PASSWORD)],
        "webhook secret": [WEBHOOK_SECRET, WEBHOOK_SECRET[10:35]],
        "access token": [f"Bearer {tokens['user']}", tokens["user"][-25:]],
        "Basic credential": [BASIC],
        HEADER_OPENID: [f'"{HEADER_OPENID}"', repr({"openid": HEADER_OPENID})],
        NAMES[0]: [NAMES[0], json.dumps(NAMES[0]), json.dumps(json.dumps(NAMES[0])), str(NAMES[0].encode())],
        NAMES[1]: [f"<{NAMES[1]}>", NAMES[1].replace(" ", "%20")],
    }
    for name, spellings in texts.items():
        for text in spellings:
            assert name in plants.find(f"before {text} after"), text
    for harmless in (HEADER_OPENID[:4] + "***", plants.body[: RUN - 1], OPERATOR_KEY[:8], "privateKey is missing"):
        assert plants.find(harmless) == set(), harmless


def test_the_search_finds_what_a_running_function_prints(box: Sandbox, plants: Plants, tokens, tmp_path):
    box.reset()
    settings = box.env(tokens=True, **DEBUG, orderService=LEAKY)
    with gunicorn(settings, tmp_path / "log") as function:
        assert Stage(box, function, plants, tokens).order("PRINT").status == 200
        found = plants.find(function.log_text())
    assert {"operator key", "access token", HEADER_OPENID, TOKEN_OPENID} <= found


def test_the_signatures_sent_to_wechat_pay_are_among_what_is_looked_for(box: Sandbox, plants: Plants, served: Played):
    box.reset()
    with create_app(Settings.from_env(env("gateway", box))).test_client() as client:
        headers = {"X-Wx-Source": "wx_client", "X-Wx-Openid": HEADER_OPENID}
        assert client.post("/wx-pay/wxpay_order", json=order(), headers=headers).status_code == 200
    assert plants.add_authorizations(box) == 1
    assert plants.find(box.requests[0].headers["authorization"]) == {"signature for WeChat Pay"}


def leaking_lines(log: str, plants: Plants) -> list[str]:
    return [f"{sorted(found)}: {line}" for line in log.splitlines() if (found := plants.find(line))]


def test_no_log_line_holds_a_secret(served: Played, plants: Plants):
    assert served.log.count('"message":') > len(PATHS)
    assert "about to fail: " in served.log
    assert "Traceback" in served.log
    assert leaking_lines(served.log, plants) == []
    assert plants.find(served.log) == set(), "spread over several lines"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_no_error_answer_holds_a_secret(served: Played, plants: Plants, path: Path):
    reply = served.replies[path.name]
    assert plants.find(f"{dict(reply.headers)}\n{reply.text}\n{json.dumps(reply.body)}") == set(), reply.text


def test_the_message_of_refused_is_the_merchants_own_but_its_log_line_is_masked(
    box: Sandbox, plants: Plants, tokens: dict[str, str], tmp_path
):
    box.reset()
    with gunicorn(box.env(tokens=True, **DEBUG, orderService=LEAKY), tmp_path / "log") as function:
        reply = Stage(box, function, plants, tokens).order("REFUSE")
        assert (reply.status, BODY_OPENID in reply.body["msg"]) == (409, True)
        assert leaking_lines(function.log_text(), plants) == []
    assert box.requests == []


# Reprs


def test_no_exception_on_the_way_holds_a_secret(seen: Seen, plants: Plants):
    assert len(seen.raised) > len(PATHS) * 0.9
    for _, error in seen.raised:
        texts = [str(error), repr(error), *map(str, error.args)]
        if not isinstance(error.__cause__, LeakyError):  # whose text is the merchant's own
            texts += traceback.format_exception(error)
        assert plants.find("\n".join(texts)) == set(), texts


def test_no_object_shows_a_secret(seen: Seen, plants: Plants, box: Sandbox, tokens: dict[str, str]):
    parts = seen.components
    settings = Settings.from_env(env("gateway", box))
    headers = {
        "Authorization": f"Bearer {tokens['user']}",
        "X-Wx-Openid": HEADER_OPENID,
        "X-Operator-Key": OPERATOR_KEY,
    }
    caller = Caller.from_request(headers, parts.caller_policy, OPERATOR_KEY)
    assert (caller.verified_openid, caller.operator) == (TOKEN_OPENID, True)
    shown = {type(thing).__name__: thing for thing in reachable(parts)}
    stated = {"PayService", "Merchant", "GatewayStrategy", "Client", "Signer", "KeyRing", "CallerPolicy", "Components"}
    assert stated <= set(shown)
    for thing in (settings, caller, *reachable(parts)):
        for text in (repr(thing), str(thing), f"{thing}", repr([thing])):
            assert plants.find(text) == set(), f"{type(thing).__name__}: {text}"


@pytest.mark.parametrize("kind", ["order", "transfer"])
def test_a_callback_shows_nobody_on_its_way(seen: Seen, plants: Plants, box: Sandbox, tokens, kind: str):
    stage = Stage(box, Function(""), plants, tokens)
    plaintext = {**stage.plaintext(kind), "name": NAMES[0]}
    headers, raw = box.forwarded(kind, plaintext)
    headers["Authorization"] = f"Bearer {tokens['user']}"
    incoming = Incoming(headers, raw, json.loads(raw), None, False, time.monotonic() + 4)
    notification = next(
        thing for thing in reachable(seen.components) if type(thing).__name__ == "GatewayStrategy"
    ).open(incoming)
    assert isinstance(notification, Notification)
    assert notification.plaintext == plaintext
    for thing in (incoming, notification, WechatReply(200, plaintext)):
        assert plants.find(f"{thing!r} {thing} {[thing]}") == set(), type(thing).__name__


ROOMS = ("app", "config", "controllers", "routes", "services", "utils")


def reachable(root: Any) -> list[Any]:
    """`root` and every object of ours that hangs on it."""
    found: dict[int, Any] = {}
    waiting = deque([root])
    while waiting:
        thing = waiting.popleft()
        if id(thing) in found or type(thing).__module__.partition(".")[0] not in ROOMS:
            continue
        found[id(thing)] = thing
        for value in getattr(thing, "__dict__", {}).values():
            waiting.extend(value.values() if isinstance(value, dict) else [value])
            waiting.append(getattr(value, "__self__", None))
    return list(found.values())


# Settings that hold what belongs elsewhere

ELSEWHERE = (
    *("signMode", "appId", "service_app_id", "merchantId", "merchantSerialNumber"),
    *("wxPayPublicKey", "wxPayPublicKeyId", "notifyURLPayURL", "notifyURLRefundsURL", "transferNotifyUrl"),
    *("corsAllowOrigin", "callerHeaders", "publicActions", "operatorIds", "cloudbaseEnvId", "cloudbaseAuthUrl"),
    *("callbackTrust", "callbackTimeout", "handlerTimeout", "wxPayTimeout", "wxPayApiBase", "wxPayApiBackup"),
    *("orderService", "orderDatabaseUrl", "orderExpireMinutes", "priceList", "eventWebhookUrl", "eventWebhookSecret"),
    "logLevel",
)
# What stands there is taken for a secret, wherever else it stands.
MASKED_TOO = ("wxPayPublicKey", "orderDatabaseUrl", "eventWebhookSecret")
SECRETS = {
    "the private key": "privateKey",
    "the private key's bare base64": "privateKey",
    "the private key in one line": "privateKey",
    "the APIv3 key": "apiV3Key",
    "the operator key": "operatorKey",
    "the database's address": "orderDatabaseUrl",
    "the webhook secret": "eventWebhookSecret",
}
MISPLACED = (
    *(f"{secret} everywhere{but}" for secret in SECRETS for but in ("", " but in its place")),
    "secrets swapped",
    "secrets damaged",
    "secrets twice",
)


def misplaced(plants: Plants) -> dict[str, dict[str, str | None]]:
    """Changes of the environment, by name. An unset secret cannot be masked: only not quoting it helps."""
    key = plants.private_key
    damaged = key[:600] + "?" + key[640:]
    keys = (key, plants.body, key.replace("\n", "\\n"), plants.api_v3_key, OPERATOR_KEY)
    values = (*keys, DATABASE_URL, WEBHOOK_SECRET)
    cases: dict[str, dict[str, str | None]] = {}
    for (name, variable), value in zip(SECRETS.items(), values, strict=True):
        cases[f"{name} everywhere"] = dict.fromkeys((*ELSEWHERE, variable), value)
        unknown = dict.fromkeys((name for name in ELSEWHERE if name not in MASKED_TOO), value)
        cases[f"{name} everywhere but in its place"] = {**unknown, variable: None}
    cases["secrets swapped"] = {
        "privateKey": plants.api_v3_key, "apiV3Key": key, "operatorKey": f"{plants.body}\u94a5"
    }
    cases["secrets damaged"] = {
        "privateKey": damaged, "apiV3Key": plants.api_v3_key + "x", "operatorKey": OPERATOR_KEY[:31]
    }
    cases["secrets twice"] = {
        "privateKey": key + key[:900], "apiV3Key": plants.api_v3_key * 2, "operatorKey": OPERATOR_KEY + "\u00e9"
    }
    return cases


DATABASES_AWAY = {"mysql": DATABASE_URL, "postgresql": DATABASE_URL.replace("mysql", "postgresql")}


@pytest.mark.parametrize("kind", DATABASES_AWAY)
def test_an_order_database_that_is_away_is_told_without_its_password(
    box: Sandbox, plants: Plants, tokens: dict[str, str], tmp_path, kind: str
):
    box.reset()
    webhook = {"eventWebhookUrl": "http://127.0.0.1:1/events", "eventWebhookSecret": WEBHOOK_SECRET}
    settings = box.env(tokens=True, **DEBUG, orderDatabaseUrl=DATABASES_AWAY[kind], **webhook)
    with gunicorn(settings, tmp_path / "log") as function:
        assert function.request("GET", "/healthz").body["data"]["missing"] == []
        stage = Stage(box, function, plants, tokens)
        replies = [
            stage.order(),
            stage.refund(),
            stage.transfer(user_name=NAMES[0]),
            *(stage.call(action, {}) for action in ("wxpay_orders_init", "wxpay_reconcile")),
            *(stage.forwarded(kind, stage.plaintext(kind)) for kind in ("order", "refund", "transfer")),
        ]
    assert [reply.status for reply in replies] == [503] * 5 + [500] * 3
    assert box.requests == []
    assert function.log_text().count("Traceback") > 3, "what the driver said is in the log"
    assert leaking_lines(function.log_text(), plants) == []
    for reply in replies:
        assert plants.find(reply.text) == set()


@pytest.fixture(scope="module")
def misled(
    box: Sandbox, plants: Plants, tokens: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, list[Reply]]]:
    """Every case under gunicorn: its log and its answers. All at once: most of the time is starts and stops."""
    folder = tmp_path_factory.mktemp("misled")
    box.reset()

    def run(case: tuple[int, dict[str, str | None]]) -> tuple[str, list[Reply]]:
        number, changes = case
        with gunicorn(box.env(**{**DEBUG, **changes}), folder / f"{number}.log") as function:
            stage = Stage(box, function, plants, tokens)
            replies = [
                function.request("GET", "/healthz"),
                stage.call("wxpay_order", order(), {"Authorization": ""}),
                stage.call("wxpay_refund", {}, {"Authorization": ""}),
                stage.forwarded("order", stage.plaintext("order")),
            ]
        return function.log_text(), replies

    cases = misplaced(plants)
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(cases, pool.map(run, enumerate(cases.values())), strict=True))


@pytest.mark.parametrize("name", MISPLACED)
def test_a_secret_in_the_wrong_variable_is_reported_by_name_alone(
    box: Sandbox, plants: Plants, misled: dict[str, tuple[str, list[Reply]]], name: str
):
    log, replies = misled[name]
    assert plants.find(repr(Settings.from_env(box.env(**{**DEBUG, **misplaced(plants)[name]})))) == set()
    assert "problems" in log
    assert leaking_lines(log, plants) == []
    for reply in replies:
        assert plants.find(reply.text) == set(), reply.text


def test_every_misplaced_secret_is_tried(misled: dict[str, tuple[str, list[Reply]]]):
    assert set(misled) == set(MISPLACED)


# What gunicorn refuses before the application sees it


def malformed(tokens: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """By name: the request, and which planted value stands in the very part that offends."""
    bearer = f"Authorization: Bearer {tokens['user']}"
    secrets = f"{bearer}\r\nX-Operator-Key: {OPERATOR_KEY}\r\nX-Wx-Openid: {HEADER_OPENID}"
    start = f"POST /wx-pay/wxpay_order HTTP/1.1\r\nHost: x\r\n{secrets}\r\n"
    body = json.dumps(order())
    token, key = "access token", "operator key"
    return {
        "no request line": (f"{secrets}\r\n\r\n", token),
        "request line of a secret": (f"{tokens['user']}\r\n{secrets}\r\n\r\n", token),
        "no such version": (f"POST /?key={OPERATOR_KEY} HTTP/9.9\r\n{secrets}\r\n\r\n", ""),
        "two targets": (f"POST / {OPERATOR_KEY} HTTP/1.1\r\n{secrets}\r\n\r\n", key),
        "no such method": (f"po\x01st / HTTP/1.1\r\n{secrets}\r\n\r\n", ""),
        "long target": (f"POST /{'a' * 5000}?{OPERATOR_KEY} HTTP/1.1\r\n{secrets}\r\n\r\n", ""),
        "NUL in a value": (f"{start}X-Operator-Key: {OPERATOR_KEY}\x00\r\n\r\n", ""),
        "line feed in a value": (f"{start}X-Other: a\n{bearer}\r\n\r\n", ""),
        "folded": (f"{start}X-Operator-Key:\r\n {OPERATOR_KEY}\r\n\r\n", ""),
        "blank before the colon": (f"{start}X-Operator-Key : {OPERATOR_KEY}\r\n\r\n", ""),
        "no colon": (f"{start}{bearer.replace(':', '')}\r\n\r\n", token),
        "huge header": (f"{start}X-Cloudbase-Context: {OPERATOR_KEY * 300}\r\n\r\n", ""),
        "many headers": (start + "".join(f"X-{n}: {OPERATOR_KEY}\r\n" for n in range(150)) + "\r\n", ""),
        "two lengths": (f"{start}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", ""),
        "no length": (f"{start}Content-Length: {OPERATOR_KEY}\r\n\r\n", ""),
        "both framings": (f"{start}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{body}", ""),
        "bad chunk": (f"{start}Transfer-Encoding: chunked\r\n\r\n{OPERATOR_KEY}\r\n{body}\r\n0\r\n\r\n", ""),
        "unknown coding": (f"{start}Transfer-Encoding: {OPERATOR_KEY}\r\n\r\n{body}", key),
        "unknown expectation": (f"{start}Expect: {OPERATOR_KEY}\r\nContent-Length: 2\r\n\r\n{{}}", key),
        "cut body": (f"{start}Content-Length: 900\r\n\r\n{body[:60]}", ""),
        "underscores": (f"{start}X_Wx_Openid: {BODY_OPENID}\r\nContent-Length: 2\r\n\r\n{{}}", ""),
    }


def test_what_gunicorn_refuses_leaves_no_secret_in_the_log(box: Sandbox, plants: Plants, tokens, tmp_path):
    """Gunicorn quotes the offending part to whoever sent it (no setting changes that), and nothing else."""
    requests = malformed(tokens)
    with gunicorn(box.env(tokens=True, **DEBUG, orderService=LEAKY), tmp_path / "log") as function:
        answers = {name: exchange(function, raw.encode("latin-1")) for name, (raw, _) in requests.items()}
        assert function.request("GET", "/healthz").status == 200
    assert leaking_lines(function.log_text(), plants) == []
    refused = [name for name, answer in answers.items() if answer.split(b"\r\n")[0][9:12] in REFUSALS]
    assert len(refused) == len(requests)
    for name, (_, offending) in requests.items():
        assert plants.find(answers[name].decode("latin-1")) <= {offending}, (name, answers[name])


REFUSALS = (b"400", b"401", b"413", b"414", b"417", b"431", b"500", b"501")
