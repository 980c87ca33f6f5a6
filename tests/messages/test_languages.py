"""`Accept-Language` over HTTP: every class of failure in both languages, and what decides between them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from controllers import errors
from controllers.languages import CHINESE, prefers_chinese
from sandbox import Credentials, Sandbox, spoils
from services.order_service import OrderService, Params, Refused
from tests.http.error_paths import HOUSES, PATHS, QUOTING, Path, Stage, order, refund
from tests.http.planted import HEADER_OPENID, OPERATOR_KEY, PAYER_OPENID, Plants
from tests.support import MINI_PROGRAM, Function, Reply, in_process

HAN = re.compile("[\u4e00-\u9fff]")
CHINESE_READER = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}
LEAKY = "tests.http.leaky_orders:LeakyOrders"


def chosen() -> list[Path]:
    """One path for each class of failure, status, and way that WeChat Pay misbehaves; callbacks are not for readers."""
    seen: dict[tuple[str, int, str], Path] = {}
    for path in PATHS:
        if not path.callback:
            detail = path.fault if path.error in ("ApiError", "Unverifiable", "ServerFault") else ""
            seen.setdefault((path.error, path.status, path.name if path.error == "Invalid" else detail), path)
    return list(seen.values())


CHOSEN = chosen()


@dataclass
class Pair:
    """The same request, answered in either language."""

    english: Reply
    chinese: Reply


@pytest.fixture(scope="module")
def box(credentials: Credentials) -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch, Sandbox(credentials=credentials) as sandbox:
        for kind, nature in QUOTING.items():
            patch.setitem(spoils.KINDS, kind, nature)
        yield sandbox


@pytest.fixture(scope="module")
def pairs(credentials: Credentials, box: Sandbox) -> dict[str, Pair]:
    """The chosen paths, each twice, house by house."""

    def user(**changes: Any) -> str:
        return box.token("user", openid=HEADER_OPENID, **changes)

    tokens = {
        "user": user(),
        "other key": user(key="other"),
        "alg none": user(alg="none"),
        "HS256": user(alg="HS256"),
        "expired": user(exp=int(time.time()) - 3600),
        "other aud": user(aud="another-env-1a2b3c"),
        "undecodable": "opaque-credential-0123456789-9Zz",
    }
    plants, answers = Plants(credentials, tokens.values()), {}
    with Sandbox(sign_mode="sdk", key_mode="certificate", credentials=credentials) as certificates:
        for house, settings in HOUSES.items():
            wechat_pay = certificates if house == "sdk" else box
            env = wechat_pay.env(tokens=True, operatorKey=OPERATOR_KEY, orderService=LEAKY, **settings)
            with in_process(env) as function:
                stage = Stage(wechat_pay, function, plants, tokens)
                for path in CHOSEN:
                    if path.house == house:
                        answers[path.name] = Pair(*(play(stage, path, reader) for reader in ({}, CHINESE_READER)))
    return answers


def play(stage: Stage, path: Path, reader: Mapping[str, str]) -> Reply:
    box, ours = stage.box, stage.box.credentials
    box.reset()
    box.jwks = "error" if path.house == "keys down" else "ok"
    for number in ("PAID000001", "QUERY00001"):
        body = {"out_trade_no": number, "appid": ours.app_id, "mchid": ours.merchant_id, "notify_url": ""}
        amount = {"total": 100, "currency": "CNY"}
        box.ledger.place("jsapi", {**body, "amount": amount, "payer": {"openid": PAYER_OPENID}})
    box.pay("PAID000001", deliver=False)
    if path.fault:
        box.fault(path.fault, **({"seconds": 3.0} if path.fault in ("latency", "slow_body") else {}))
    stage.also = reader
    return path.send(stage)


def test_every_class_of_the_table_is_among_the_chosen():
    """Those of the order database have a test of their own below, that of too many requests in tests/load."""
    on_the_order_database = {"TooManyWaiting", "DatabaseFailed", "BillNotKept", "BillNotReady", "BillUnusable"}
    rows = {known.__name__ for known, _ in errors._TO_CALLERS} - on_the_order_database - {"HTTPException", "TooBusy"}
    covered = {path.error for path in CHOSEN}
    assert rows - covered == {"OutcomeUnknown"}, "whose subclasses are"
    assert {"Unreachable", "Unverifiable", "ServerFault"} <= covered


@pytest.mark.parametrize("path", CHOSEN, ids=lambda path: path.name)
def test_the_same_failure_is_told_in_either_language(pairs: dict[str, Pair], path: Path):
    english, chinese = pairs[path.name].english, pairs[path.name].chinese
    assert english.status == chinese.status == path.status
    assert english.body["code"] == chinese.body["code"] == -1
    assert not HAN.search(without_quotes(english.body["msg"])), english.body["msg"]
    assert HAN.search(without_quotes(chinese.body["msg"])), chinese.body["msg"]
    for reply in (english, chinese):
        assert {"Accept-Language", "Origin"} <= set(re.split(", *", vary(reply)))
    assert same_numbers(english.body["data"]) == same_numbers(chinese.body["data"])


@pytest.mark.parametrize("path", [path for path in CHOSEN if path.error == "Invalid"], ids=lambda path: path.name)
def test_every_offending_field_keeps_its_name(pairs: dict[str, Pair], path: Path):
    english, chinese = pairs[path.name].english.body["msg"], pairs[path.name].chinese.body["msg"]
    names = [problem.split()[0] for problem in re.split("; (?=[a-z_A-Z.0-9\\[\\]]+ (?:must|is|or) )", english)]
    assert [problem.split()[0] for problem in chinese.split("；")] == names


def without_quotes(msg: str) -> str:
    """Without the words of WeChat Pay, which are Chinese in either."""
    return re.sub(r"(WeChat Pay|微信支付)[:：] ?(?=[A-Z]).*", "", msg) if "WeChat Pay: " in msg else msg


def vary(reply: Reply) -> str:
    return dict(reply.headers).get("Vary", "") or "".join(re.findall("(?im)^vary: (.*?)\r?$", reply.headers["head"]))


def same_numbers(data: Any) -> str:
    """Data of two tries of one thing: their numbers count up."""
    return re.sub(r"\d{4,}|[0-9A-F]{8,}", "#", re.sub("[A-Za-z0-9+/=]{40,}", "*", repr(data)))


# What is said


@pytest.fixture(scope="module")
def shop(box: Sandbox) -> Iterator[Function]:
    class Shop(OrderService):
        def before_unified(self, params: Params, caller: Any) -> Params | None:
            if "CLOSED" in params["out_trade_no"]:
                raise Refused("no such order", 409)  # word for word as one of ours
            return None

    box.reset()
    with in_process(box.env(), Shop()) as function:
        yield function


def ask(function: Function, body: Mapping[str, Any], language: str | None, **headers: str) -> Reply:
    sent = {**MINI_PROGRAM, **headers} | ({} if language is None else {"Accept-Language": language})
    return function.call("wxpay_order", body, sent)


@pytest.mark.parametrize(
    ("body", "msg"),
    [
        (
            {"description": "", "out_trade_no": "TEA", "amount": {"total": "20"}},
            "description 必须是 1 到 127 个字符的字符串，且不能为空白；"
            "out_trade_no 必须是 6 到 32 位的字符串，只含字母、数字和 _ -；"
            "amount.total 必须是大于 0 的整数（单位：分）",
        ),
        (
            {"description": "tea", "out_trade_no": "TEA_000001", "amount": {"total": 3_000_000_000}},
            "amount.total 必须是不大于 2147483647 的整数（单位：分）",
        ),
        (
            {"description": "tea", "out_trade_no": "TEA_000001", "amount": {"total": 1}, "limit_pay": ["cash"]},
            "limit_pay[0] 必须是 no_balance 或 no_credit 或 no_debit 或 balance_only",
        ),
        (
            {"description": "tea", "out_trade_no": None, "amount": {}},
            "out_trade_no 不能为 null，不需要时请不要传；amount.total 不能缺少",
        ),
    ],
)
def test_problems_of_fields_in_chinese(shop: Function, body: dict[str, Any], msg: str):
    reply = ask(shop, body, "zh")
    assert (reply.status, reply.body) == (400, {"code": -1, "msg": msg, "data": None})


def test_what_wechat_pay_says_stays_as_it_is(shop: Function, box: Sandbox):
    box.reset()
    box.fault("quoting 400")
    msg = ask(shop, order(), "zh-TW").body["msg"]
    assert msg.startswith("微信支付：PARAM_ERROR invalid: ")
    box.reset()


def test_a_merchants_own_words_stay_as_they_are_and_do_not_vary(shop: Function):
    for language in ("zh", "en"):
        reply = ask(shop, order("CLOSED"), language)
        assert (reply.status, reply.body["msg"]) == (409, "no such order")
        assert reply.headers["Vary"] == "Origin"


def test_success_and_callbacks_are_the_same_in_every_language(shop: Function, box: Sandbox):
    reply = ask(shop, order(), "zh")
    assert (reply.status, reply.body["msg"], reply.headers["Vary"]) == (200, "success", "Origin")
    forged = shop.post("/wx-pay/unifiedOrderTrigger", {"resource": {}}, {"Accept-Language": "zh"})
    assert (forged.status, forged.body) == (400, {"code": "FAIL", "message": "the notification is not believed"})
    health = shop.request("GET", "/healthz", headers={"Accept-Language": "zh"})
    assert (health.body["msg"], health.headers["Vary"]) == ("success", "Origin")


def test_missing_credentials_keeps_token_and_names(box: Sandbox):
    with in_process(box.env(privateKey="", apiV3Key="short")) as function:
        msg = ask(function, order(), "zh-Hans-CN").body["msg"]
    names = "apiV3Key (must be exactly the 32 ASCII characters set as APIv3 key on the merchant platform)"
    assert msg == f"MISSING_CREDENTIALS: privateKey, {names}（商户的支付配置不完整，请联系商户）"


def test_logs_stay_english(shop: Function, capsys: pytest.CaptureFixture[str]):
    ask(shop, {"description": 5}, "zh")
    logged = capsys.readouterr().out
    assert "description must be a string" in logged
    assert not HAN.search(logged)


MISSING = "the order tables are missing: run `flask --app app orders init-db`, or the action wxpay_orders_init"


def test_failures_of_the_order_database(box: Sandbox, tmp_path: Any):
    box.reset()
    url = f"sqlite:///{tmp_path}/orders.sqlite3"
    operator = {"X-Operator-Key": OPERATOR_KEY, **CHINESE_READER}
    with in_process(box.env(operatorKey=OPERATOR_KEY, orderDatabaseUrl=url)) as function:
        without_tables = function.call("wxpay_reconcile", {}, operator | MINI_PROGRAM)
        assert (without_tables.status, without_tables.body["msg"]) == (503, CHINESE[MISSING])
        assert function.call("wxpay_orders_init", {}, operator | MINI_PROGRAM).status == 200
        placed = order()
        assert ask(function, placed, "zh").status == 200
        other = {"X-Wx-Openid": "oTESTuser00000000000000000002"}
        number = placed["out_trade_no"]
        taken = ask(function, placed, "zh", **other)
        assert (taken.status, taken.body["msg"]) == (409, f"out_trade_no {number} 已被使用，请换一个")
        assert not HAN.search(ask(function, placed, "en", **other).body["msg"])
        body = {"out_trade_no": number, "out_refund_no": "R1", "amount": refund()["amount"]}
        unpaid = function.call("wxpay_refund", body, operator | MINI_PROGRAM)
        assert (unpaid.status, unpaid.body["msg"]) == (409, f"订单 {number} 的状态是 PENDING：退款前请先查询")
        query = {"out_trade_no": "NOWHERE1"}
        nothing = function.call("wxpay_order_wait", query, CHINESE_READER | MINI_PROGRAM)
        assert (nothing.status, nothing.body["msg"]) == (404, "没有这个订单")
        bill = function.call("wxpay_trade_bill", {"bill_date": "yesterday"}, operator | MINI_PROGRAM)
        assert bill.body["msg"] == "bill_date 必须是 YYYY-MM-DD 格式的日期"


# Which language


ENGLISH = (
    *(None, "", "en", "en-US", "*", "fr", "fr, de;q=0.5", "en, zh", "en;q=0.9, zh;q=0.8", "en-GB, zh-CN"),
    *("zh;q=0", "zh;q=0, en;q=0.1", "*, zh;q=0.5", "*;q=0.8, zh;q=0.7", "en;q=0.001, zh;q=0"),
    *("zhx", "zh;q=high", "zh;q=2", ";;;", "\u4e2d\u6587", "q=1", "chinese", "zha-CN", "xx-zh"),
)
CHINESE_WANTED = (
    *("zh", "ZH", "zh-CN", "zh-TW", "zh-HK", "zh-Hans-CN", "zh-Hant", "zh_CN", "zh-CN,zh;q=0.9,en;q=0.8"),
    *("zh-CN,en;q=0.8", "zh, en", "fr, zh;q=0.3", "en;q=0.5, zh-TW;q=0.6", "zh;q=0.5, *;q=0.1", "zh, *"),
    *("*;q=0.9, en;q=0.1, zh;q=0.2", "en;q=0, zh;q=0.1", "fr;q=0.9, zh-CN;q=0.5, en;q=0.4", "zh;q=0.001"),
)


@pytest.mark.parametrize("language", ENGLISH)
def test_english(shop: Function, language: str | None):
    header = language.encode().decode("latin-1") if language else language
    assert ask(shop, {}, header).body["msg"].startswith("description is required")


@pytest.mark.parametrize("language", CHINESE_WANTED)
def test_chinese(shop: Function, language: str):
    assert ask(shop, {}, language).body["msg"].startswith("description 不能缺少")


def test_a_header_of_any_length_is_read(shop: Function):
    many = ", ".join(f"x{number}" for number in range(900))
    assert prefers_chinese(parse_accept_header(f"{many}, zh", LanguageAccept))
    assert ask(shop, {}, f"{many}, zh").status == 400


def test_the_header_is_harmless_from_browsers_of_other_origins(box: Sandbox):
    """`Accept-Language` needs no preflight, so CORS stays as it is."""
    with in_process(box.env(corsAllowOrigin="https://shop.example")) as function:
        reply = ask(function, {}, "zh", Origin="https://shop.example")
    assert reply.headers["Access-Control-Allow-Headers"] == "Content-Type, Authorization, X-Operator-Key"
    assert reply.headers["Vary"] == "Accept-Language, Origin"


