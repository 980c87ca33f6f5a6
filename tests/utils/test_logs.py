import base64
import contextvars
import io
import json
import logging
import os
import re
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from utils import logs

API_V3_KEY = "Zx9-api.v3_KEY~with+32/characters"
ODD_KEY = 'quote" back\\slash\nline\u94a5\u5319\U0001f511'
PRIVATE_PEM = rsa.generate_private_key(65537, 2048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
BODY = "".join(PRIVATE_PEM.splitlines()[1:-1])
SECRETS = (API_V3_KEY, ODD_KEY, BODY)
OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
NAME = "\u5f20\u4e09"
JWT = ".".join(base64.urlsafe_b64encode(text).decode().rstrip("=") for text in (
    b'{"alg":"RS256"}', b'{"sub":"1"}', b"signature bytes"))

log = logging.getLogger("pay.test")


@pytest.fixture(autouse=True)
def quiet_afterwards():
    pay = logging.getLogger("pay")
    before = pay.handlers[:], pay.level, pay.propagate
    with logs.new_request(""):
        yield
    pay.handlers[:], pay.propagate = before[0], before[2]
    pay.setLevel(before[1])
    logs._secrets.replace(())


@pytest.fixture
def lines(capsys):
    """Sets up logging; gives a function that parses every line written since its last call."""
    logs.setup("info", SECRETS)

    def read():
        captured = capsys.readouterr()
        assert captured.err == ""
        return [strict(line) for line in captured.out.splitlines()]

    return read


def alone():
    """Take off the handler that pytest hangs on the loggers: it raises on arguments that do not fit."""
    logs.setup("info", SECRETS)


def strict(line):
    def refuse(constant):
        raise ValueError(constant)

    value = json.loads(line, parse_constant=refuse)
    assert isinstance(value, dict)
    return value


def only(records):
    assert len(records) == 1
    return records[0]


def raised(error):
    try:
        raise error
    except type(error):
        return sys.exc_info()


def test_a_line_holds_time_level_message_request_id_and_fields_in_this_order(lines, capsys):
    with logs.new_request("req-1"):
        log.warning("order %s placed", "A1", extra={"fields": {"status": 200, "paid": True, "none": None}})
    record = only(lines())
    assert list(record) == ["time", "level", "message", "request_id", "status", "paid", "none"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"])
    when = datetime.strptime(record.pop("time"), "%Y-%m-%dT%H:%M:%S.%f%z")
    assert abs(datetime.now(timezone.utc) - when) < timedelta(minutes=1)
    assert record == {
        "level": "WARNING", "message": "order A1 placed", "request_id": "req-1",
        "status": 200, "paid": True, "none": None,
    }


def test_what_a_stranger_sends_as_a_secret_does_not_mask_the_words_that_alerts_look_for(lines):
    with logs.new_request(""):
        logs.action.set("wxpay_refund")
        logs.protect("SignatureInvalid", "wxpay_refund", "ERROR", "4000")
        fields = {"action": "wxpay_refund", "path": "/wx-pay/wxpay_refund", "status": 4000}
        fields["error_type"] = "SignatureInvalid"
        log.error("a SignatureInvalid", extra={"fields": fields})
    record = only(lines())
    assert (record["level"], record["action"], record["status"]) == ("ERROR", "wxpay_refund", 4000)
    assert record["error_type"] == "SignatureInvalid"
    assert "SignatureInvalid" not in record["message"]
    assert "wxpay_refund" not in record["path"]


def test_without_a_request_there_is_no_request_id(lines):
    log.info("started")
    assert "request_id" not in only(lines())


def test_a_second_setup_replaces_the_first(capsys):
    logs.setup("info", ["first-secret"])
    logs.setup("warning", ["second-secret"])
    log.info("not this")
    log.warning("first-secret second-secret")
    record = only([strict(line) for line in capsys.readouterr().out.splitlines()])
    assert record["message"] == "first-secret ***"


def test_the_root_logger_hears_nothing(lines):
    heard = []
    handler = logging.Handler()
    handler.emit = heard.append
    logging.getLogger().addHandler(handler)
    try:
        log.error("only once")
    finally:
        logging.getLogger().removeHandler(handler)
    assert heard == []
    assert only(lines())["message"] == "only once"


def test_lines_go_to_whatever_stdout_is_now(lines, monkeypatch):
    later = io.StringIO()
    monkeypatch.setattr(sys, "stdout", later)
    log.info("moved")
    assert strict(later.getvalue())["message"] == "moved"


def test_an_exception_is_one_line_with_its_traceback(lines):
    error = raised(ValueError("first\nsecond"))
    log.error("failed", exc_info=error, extra={"fields": {"error": "overruled"}})
    error = only(lines())["error"]
    assert error.startswith("Traceback (most recent call last):\n")
    assert error.endswith("ValueError: first\nsecond")
    log.error("no exception at hand", exc_info=True)  # noqa: LOG014 - is the point
    assert "error" not in only(lines())


def test_no_field_displaces_what_every_line_has(lines):
    with logs.new_request("req-1"):
        log.info("own", extra={"fields": dict.fromkeys(("time", "level", "message", "request_id"), "x")})
    record = only(lines())
    assert (record["level"], record["message"], record["request_id"]) == ("INFO", "own", "req-1")
    assert record["time"] != "x"


BREAKS = "\n\r\x00\x0b\x0c\x1b\x1c\x1d\x1e\x7f\x85\x9b\u2028\u2029"


def test_nothing_breaks_a_line_and_every_character_survives(lines, capsys):
    log.info("a%sb", BREAKS, extra={"fields": {f"k{BREAKS}": [f"v{BREAKS}"]}})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert len(out.splitlines()) == 1
    record = strict(out)
    assert record["message"] == f"a{BREAKS}b"
    assert record[f"k{BREAKS}"] == [f"v{BREAKS}"]


def test_text_outside_ascii_stays_readable(lines, capsys):
    log.info("支付成功 é 😀")
    assert "支付成功 é 😀" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "gbk"])
def test_no_encoding_of_stdout_loses_a_line(lines, monkeypatch, encoding):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    text = "支付 é 😀 lone \ud800 \udcff end"
    log.info(text, extra={"fields": {"bytes": b"\xff", "text": text}})
    record = strict(raw.getvalue().decode(encoding))
    assert (record["message"], record["text"]) == (text, text)


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no repr")


def circle():
    value = []
    value.append(value)
    return value


def deep(levels):
    value = "bottom " + API_V3_KEY
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [
    b"\xff\x00", Decimal("1.10"), {1, 2}, object(), Unprintable(), [Unprintable()], float("nan"),
    float("inf"),
    circle(), deep(200), deep(400), deep(900), deep(100_000), {(1, 2): 3}, {1: {b"k": 2}}, 10**5000,
    lambda: None,
    ValueError("x"), datetime(2026, 11, 21, tzinfo=timezone.utc), type("E", (str,), {})("sub"),
], ids=lambda value: type(value).__name__)
def test_a_value_that_json_does_not_know_does_not_lose_the_line(lines, value):
    log.info("kept", extra={"fields": {"status": "good", "odd": value}})
    record = only(lines())
    assert record["message"] == "kept"
    assert API_V3_KEY not in json.dumps(record)


def test_a_bottomless_value_costs_only_itself(lines):
    log.info("kept", extra={"fields": {"status": "good", "odd": deep(100_000)}})
    record = only(lines())
    assert (record["status"], record["odd"]) == ("good", "<list>")


@pytest.mark.parametrize("fields", [None, 5, "text", ["a"], {("a", "b"): 1}, {None: 1}, {5: 1}])
def test_fields_of_a_wrong_kind_do_not_lose_the_line(lines, fields):
    log.info("kept", extra={"fields": fields})
    assert only(lines())["message"] == "kept"


def test_arguments_that_do_not_fit_do_not_lose_the_line(lines):
    alone()
    log.info("a %d b %s", *["text"])
    log.info("a %s", Unprintable())
    messages = [record["message"] for record in lines()]
    assert len(messages) == 2
    assert "a %d b %s" in messages[0]
    assert "text" in messages[0]
    assert "a %s" in messages[1]


class Broken(io.StringIO):
    def write(self, text):
        raise OSError("gone")


@pytest.mark.parametrize("stream", [None, object(), Broken(), "closed"])
def test_a_stdout_that_cannot_be_written_to_stops_nothing(lines, monkeypatch, stream, capsys):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    log.info("lost")
    assert capsys.readouterr().err == ""


# ---- secrets


def places(secret):
    """Every place of a log call in which a secret can hide."""
    as_bytes = secret.encode("utf-8", "surrogatepass")
    return {
        "message": lambda: log.info(f"before {secret} after"),  # noqa: G004 - how a careless line does it
        "argument": lambda: log.info("value: %s", secret),
        "repr of an argument": lambda: log.info("value: %r", {"k": [secret]}),
        "bytes": lambda: log.info("value: %s", as_bytes),
        "field": lambda: log.info("x", extra={"fields": {"value": secret}}),
        "nested": lambda: log.info("x", extra={"fields": {"a": [{"b": {"c": (1, secret)}}]}}),
        "nested key": lambda: log.info("x", extra={"fields": {"a": {secret: 1}}}),
        "bytes field": lambda: log.info("x", extra={"fields": {"raw": as_bytes}}),
        "object": lambda: log.info("x", extra={"fields": {"error": ValueError(secret)}}),
        "JSON text": lambda: log.info("x", extra={"fields": {"body": json.dumps({"k": secret})}}),
        "readable JSON": lambda: log.info("x %s", json.dumps([secret], ensure_ascii=False)),
        "odd neighbour": lambda: log.info("x", extra={"fields": {"v": secret, "nan": float("nan")}}),
        "exception": lambda: log.info("x", exc_info=raised(ValueError(f"bad {secret}"))),
        "repr in an exception": lambda: log.info("x", exc_info=raised(KeyError(secret))),
        "wrong argument": lambda: log.info("%d", secret),
        "unlucky record": lambda: log.info(secret + " %d %s", "x", extra={"fields": 5}),  # noqa: G003
    }


PLACES = sorted(places(""))


def traces(secret, text):
    """The spellings of `secret` in `text`, by independent means: undo escapes until nothing changes."""
    seen, unescaped = set(), text
    while unescaped not in seen:
        seen.add(unescaped)
        unescaped = re.sub(
            r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|.)",
            lambda m: chr(int(m[1][1:], 16)) if len(m[1]) > 1 else {"n": "\n"}.get(m[1], m[1]),
            unescaped,
        )
    as_bytes = secret.encode("utf-8", "surrogatepass").decode("latin-1")
    return [form for form in (secret, as_bytes) for view in seen if form in view]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("secret", [API_V3_KEY, ODD_KEY, BODY, PRIVATE_PEM], ids=["key", "odd", "body", ""])
def test_a_configured_secret_shows_nowhere(lines, capsys, secret, place):
    alone()
    places(secret)[place]()
    out = capsys.readouterr().out
    assert strict(out)
    assert out.count("\n") == 1
    assert not traces(secret, out)
    assert "***" in out
    for row in PRIVATE_PEM.splitlines()[1:-2]:
        assert row not in out


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", [OPENID, NAME, "a\"b\\c\nd", "\u738b\u5c0f\ud83d", "13800001111"])
def test_a_protected_value_shows_nowhere(lines, capsys, value, place):
    alone()
    logs.protect(value)
    places(value)[place]()
    out = capsys.readouterr().out
    assert strict(out)
    assert not traces(value, out)


@pytest.mark.parametrize("length", [40, 41, 59, 64, 65, 200])
def test_any_run_of_forty_characters_of_a_key_body_is_hidden(lines, length):
    for start in range(0, len(BODY) - length, 37):
        piece = BODY[start : start + length]
        log.info("x%s", piece, extra={"fields": {"glued": f"n{piece}AAAA", "spaced": f" {piece} "}})
    for record in lines():
        assert record["message"] in ("x***", "***")
        assert (record["glued"], record["spaced"]) == ("***", " *** ")


@pytest.mark.parametrize("newline", ["\n", "\\n", "\r\n", " ", "\\\\n", "\\r\\n"])
@pytest.mark.parametrize("armour", [True, False])
def test_a_key_in_any_shape_is_hidden(lines, capsys, newline, armour):
    rows = PRIVATE_PEM.splitlines()
    text = newline.join(rows if armour else rows[1:-1])
    log.info("%s", text, extra={"fields": {"pem": text, "json": json.dumps(text)}})
    out = capsys.readouterr().out
    assert strict(out)
    assert not [row for row in rows[1:-2] if row in out or row[:20] in out or row[-20:] in out]


def test_a_secret_given_as_a_whole_pem_is_known_by_its_body(capsys):
    for spelled in (PRIVATE_PEM, PRIVATE_PEM.replace("\n", "\\n")):
        logs.setup("info", [spelled])
        log.info("%s %s", BODY[100:164], BODY)
        assert strict(capsys.readouterr().out)["message"] == "*** ***"


def test_any_other_pem_block_is_hidden_even_when_cut_off(lines):
    block = "-----BEGIN RSA PRIVATE KEY-----\nQUJD\nREVG\n-----END RSA PRIVATE KEY-----"
    log.info("a %s b %s c", block, block, extra={"fields": {"cut": f"x {block[:45]}", "after": "kept"}})
    record = only(lines())
    assert (record["message"], record["cut"], record["after"]) == ("a *** b *** c", "x ***", "kept")


@pytest.mark.parametrize(("text", "hidden", "left"), [
    ("Authorization: Bearer abc.def then", "abc", "then"),
    ("authorization: bearer\tabc.def then", "abc", "then"),
    ("BEARER   abc\"def then", "def", "then"),
    (f"token {JWT} then", JWT.split(".")[1], "then"),
    ('WECHATPAY2-SHA256-RSA2048 mchid="1900",nonce_str="n",signature="c2ln+/A==",serial_no="5157"\nthen',
     "5157", "then"),
    ('x signature="c2ln+/A==",then', "c2ln", "then"),
    ("x signature='c2ln+/A==' then", "c2ln", "then"),
    ("x signature=c2ln+/A== then", "c2ln", "then"),
])
def test_credentials_are_known_by_their_form(lines, text, hidden, left):
    log.info(text, extra={"fields": {"json": json.dumps({"h": text}), "headers": {"h": text}}})
    record = only(lines())
    assert hidden not in json.dumps(record)
    assert record["message"].endswith(left)
    assert record["headers"]["h"].endswith(left)
    assert logs.redact(text) == record["message"]


def test_redact_knows_secrets_and_protected_values():
    logs.setup("info", SECRETS)
    logs.protect(OPENID)
    assert logs.redact(f"{API_V3_KEY} {OPENID} {ODD_KEY} plain") == "*** oUpF*** *** plain"


def test_ordinary_lines_are_left_as_they_are(lines, capsys):
    fields = {
        "serial": "5157F09EFDC096DE15EBE81A47057A7212345678", "sha256": "0f" * 32, "duration_ms": 12.5,
        "big": 10**30,
        "path": "/v3/fund-app/mch-transfer/transfer-bills/out-bill-no/ABCDEFGHIJ0123456789",
        "list": [1, None, True],
        "prepay_id": "wx26112221580621e9b071c00d9e093b0000", "text": "the signature is wrong",
    }
    logs.protect("nothing like it")
    log.info("as it is", extra={"fields": fields})
    record = only(lines())
    assert {name: record[name] for name in fields} == fields


# ---- protected values


def test_long_protected_values_keep_four_characters_and_short_ones_none(lines):
    logs.protect("exactly12chr", "thirteenchars", "four")
    log.info("exactly12chr thirteenchars four")
    assert only(lines())["message"] == "*** thir*** ***"


def test_what_is_too_short_or_no_string_is_not_protected(lines):
    logs.protect("", "a", "abc", "\u5f20", None, 1234, ["list"], {"a": 1})
    log.info("abc a \u5f20 1234 list")
    assert only(lines())["message"] == "abc a \u5f20 1234 list"


def test_what_no_header_could_hold_is_not_protected(lines):
    longest, longer = "a" * 8191 + "\u00fc", "b" * 8193
    logs.protect(longest, longer, "c" * 1_000_000)
    log.info("%s|%s", longest, longer)
    assert only(lines())["message"] == "aaaa***|" + longer


def test_huge_values_make_no_request_slow(lines):
    # Each was kept in up to ten spellings, and each spelling was looked for in every line.
    for start in range(40):
        logs.protect(chr(ord("A") + start) * 1_400_000)
    started = time.monotonic()
    for _ in range(50):
        log.info("a line")
    assert time.monotonic() - started < 2
    assert len(lines()) == 50


def test_a_value_that_begins_with_another_is_hidden_whole(lines):
    logs.protect("abcdef", "abcdefgh", "abcdefghijklmnop")
    log.info("abcdefghijklmnop abcdefgh abcdef")
    assert only(lines())["message"] == "abcd*** *** ***"


@pytest.mark.parametrize("value", [
    "null", "true", "1234", "message", "level", "INFO", "2026", '": "', '", "', "\\u00", "n1234", '"}}}',
    "***", "****",
])
def test_no_protected_value_can_damage_a_line(lines, value):
    logs.protect(value)
    fields = {
        "none": None, "yes": True, "number": 12345, "float": 1234.5,
        "text": "a\n1234\x01\\u00", "a": {"b": value},
    }
    log.info("kept %s", value, extra={"fields": fields})
    record = only(lines())
    assert list(record)[:3] == ["time", "level", "message"]
    assert record["level"] == "INFO"
    assert datetime.fromisoformat(record["time"].replace("Z", "+00:00"))
    assert record["none"] is None
    assert record["yes"] is True
    if "*" not in value:
        assert value not in record["message"]
        assert value not in record["a"]["b"]


def test_a_protected_number_is_hidden_where_it_is_a_number(lines):
    logs.protect("13800001111")
    log.info("x", extra={"fields": {"phone": 13800001111, "list": [13800001111.5], "other": [7, 1.5]}})
    record = only(lines())
    assert record["other"] == [7, 1.5]
    assert (record["phone"], record["list"]) == ("***", ["***.5"])


def test_protection_and_id_end_with_the_request(lines):
    with logs.new_request("outer"):
        logs.protect("outer-value")
        with logs.new_request("inner"):
            log.info("outer-value inner-value")
            logs.protect("inner-value")
            log.info("inner-value")
        log.info("outer-value inner-value")
    log.info("outer-value")
    seen = [(record.get("request_id"), record["message"]) for record in lines()]
    assert seen == [
        ("inner", "outer-value inner-value"), ("inner", "***"), ("outer", "*** inner-value"),
        (None, "outer-value"),
    ]


def test_the_request_ends_when_it_fails():
    with pytest.raises(RuntimeError), logs.new_request("req-1"):
        raise RuntimeError
    assert logs.request_id.get() == ""


def test_a_worker_in_a_copied_context_shares_what_is_protected(lines):
    with logs.new_request("req-1"):
        context = contextvars.copy_context()
        logs.protect("by-the-request")  # after the copy was made

        def work():
            logs.protect("by-the-worker")
            log.info("by-the-request by-the-worker")

        thread = threading.Thread(target=context.run, args=(work,))
        thread.start()
        thread.join()
        log.info("by-the-worker")
    records = lines()
    assert [record["message"] for record in records] == ["by-t*** by-t***", "by-t***"]
    assert {record["request_id"] for record in records} == {"req-1"}


def test_protecting_outside_a_request_works(lines):
    def work():
        logs.protect("background-value")
        log.info("background-value")

    contextvars.Context().run(work)
    assert only(lines())["message"] == "back***"


def test_threads_write_whole_lines_and_see_only_their_own_request(lines):
    def work(number):
        with logs.new_request(f"req-{number}"):
            logs.protect(f"value-{number:03}-of-mine")
            for _ in range(50):
                log.info("value-%03d-of-mine value-%03d-of-mine %s", number, number + 1, "x" * 500)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = lines()
    assert len(records) == 16 * 50
    for record in records:
        number = int(record["request_id"].removeprefix("req-"))
        assert record["message"].startswith(f"valu*** value-{number + 1:03}-of-mine x")


def test_workers_may_protect_while_others_write(lines):
    with logs.new_request("req-1"):
        def work(number):
            for step in range(200):
                logs.protect(f"worker-{number}-value-{step}")
            log.info("worker-%d-value-199", number)

        threads = [threading.Thread(target=contextvars.copy_context().run, args=(work, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            log.info("meanwhile")
        for thread in threads:
            thread.join()
    records = lines()
    assert {record["message"] for record in records} <= {"meanwhile", "work***"}
    assert len([record for record in records if record["message"] == "work***"]) == 8


def test_a_very_long_text_is_searched_in_reasonable_time(lines):
    hostile = ["A" * 1_000_000, "-----BEGIN A-----" * 20_000, "Bearer " * 100_000, 'signature="' * 50_000,
               "eyJ" * 200_000, "eyJa." * 100_000, "WECHATPAY2-SHA256-RSA2048 " * 20_000,
               "\\" * 500_000]
    timer = threading.Timer(60, lambda: None)
    timer.start()
    for text in hostile:
        log.info(text)
    assert timer.is_alive()
    timer.cancel()
    assert len(lines()) == len(hostile)


def test_a_reader_who_is_slow_holds_up_nobody_for_long(monkeypatch):
    """He takes a page now and then: were each line waited for, all of them together would take as long as he likes."""
    reading, writing = os.pipe()
    ended = threading.Event()

    def read_slowly():
        while not ended.wait(0.5):
            os.read(reading, 4096)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    with open(writing, "w", closefd=False) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        logs.setup("info", SECRETS)
        begun = time.monotonic()
        for count in range(60):
            log.info("line %d %s", count, "x " * 1900)
        took = time.monotonic() - begun
        monkeypatch.undo()
    ended.set()
    reader.join()
    os.close(reading)
    os.close(writing)
    assert took < 10  # 44 lines do not fit, and take half a second each
