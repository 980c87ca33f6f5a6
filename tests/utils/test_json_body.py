import json
import random
import threading
import time
import tracemalloc

import pytest

from utils.json_body import MAX_NUMBER_LENGTH, MAX_VALUES, BadJson, parse


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"{}", {}),
        (b"[]", []),
        (b'"text"', "text"),
        (b"null", None),
        (b"true", True),
        (b" \t\r\n1 \t\r\n", 1),
        (b"-0", 0),
        (b"1e2", 100.0),
        (b"1e-400", 0.0),
        (b'{"a": {"a": 1}, "b": {"a": 1}}', {"a": {"a": 1}, "b": {"a": 1}}),
        ("\u652f\u4ed8\U0001f600".encode().join([b'"', b'"']), "\u652f\u4ed8\U0001f600"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\uD83D\uDE00"', "\U0001f600"),
        (rb'"\\ud800"', r"\ud800"),
        (b"9" * MAX_NUMBER_LENGTH, int("9" * MAX_NUMBER_LENGTH)),
    ],
)
def test_json_is_parsed(raw, value):
    parsed = parse(raw)

    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": "\xff"}', "byte 8"),
        (b'"\xc0\x80"', "UTF-8"),
        (b'"\xed\xa0\x80"', "UTF-8"),  # a surrogate in bytes
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "not valid JSON"),
        ('{"a": 1}'.encode("utf-32-be"), "not valid JSON"),
        (b"NaN", "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b"[-Infinity]", "Infinity"),
        (b"1e400", "too large"),
        (b"[-1e400]", "too large"),
        (b"1" * (MAX_NUMBER_LENGTH + 1), "64 characters"),
        (b"-0." + b"1" * MAX_NUMBER_LENGTH, "64 characters"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'[{"b": {"a": 1, "\\u0061": 2}}]', "twice"),
        (rb'"\ud800"', "surrogate"),
        (rb'["\uDFFF"]', "surrogate"),
        (rb'{"\udc00": 1}', "surrogate"),
        (rb'"\ude00\ud83d"', "surrogate"),
        (rb'"\ud83d \ude00"', "surrogate"),
        (b"{} {}", "line 1 column 4"),
        (b"{}]", "line 1 column 3"),
        (b"{}\x00", "not valid JSON"),
        (b'{"a": 1,}', "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b'"a\nb"', "not valid JSON"),
        (b'"unfinished', "not valid JSON"),
        (b'["unfinished"', "not valid JSON"),
        (b"[}", "not valid JSON"),
        (b"01", "not valid JSON"),
        (b".5", "not valid JSON"),
        (b"+1", "not valid JSON"),
        ("\u0661".encode(), "not valid JSON"),  # an Arabic digit
        ("\u00a0{}".encode(), "not valid JSON"),  # a space, but not one of JSON's
        (b"// note\n{}", "not valid JSON"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_its_reason(raw, reason):
    with pytest.raises(BadJson, match=reason) as refusal:
        parse(raw)
    assert str(refusal.value).startswith("the body ")


@pytest.mark.parametrize(
    ("opening", "closing", "levels"), [(b"[", b"]", 64), (b'{"a":', b"}", 64), (b'[{"a":', b"}]", 32)]
)
def test_nesting_is_allowed_to_the_limit_and_not_beyond(opening, closing, levels):
    raw = opening * levels + b"1" + closing * levels

    assert parse(raw) == json.loads(raw)
    with pytest.raises(BadJson, match="64 levels"):
        parse(opening * (levels + 1) + b"1" + closing * (levels + 1))


def test_the_limit_of_nesting_can_be_chosen():
    assert parse(b"[[1]]", max_depth=2) == [[1]]
    with pytest.raises(BadJson, match="deeper than 2 levels"):
        parse(b"[[[1]]]", max_depth=2)


@pytest.mark.parametrize(
    "text",
    ["[" * 100, "{" * 100, '"[' * 50, '\\"[' * 50, "\\", "[\\\\" * 50, '{"[":' * 30, "]" * 100 + "[" * 100],
)
def test_brackets_inside_strings_are_no_nesting(text):
    body = {"text": text, text: [text, "end\\"]}

    assert parse(json.dumps(body).encode()) == body


def test_a_string_that_ends_in_a_backslash_hides_no_brackets():
    with pytest.raises(BadJson, match="64 levels"):
        parse(rb'["\\",' + b"[" * 64 + b"]" * 64 + b"]")
    assert parse(rb'["\\","' + b"[" * 100 + b'"]') == ["\\", "[" * 100]


def test_brackets_beside_the_deepest_allowed_nesting_do_not_deepen_it():
    raw = b"[" + b"[" * 63 + b"]" * 63 + b",[],{}]"

    assert parse(raw) == json.loads(raw)


def test_a_body_that_is_a_string_of_brackets_is_not_nested_at_all():
    assert parse(b'"' + b"[" * 65 + b'"') == "[" * 65


def test_many_shallow_brackets_are_no_nesting():
    body = [{"a": []}] * 1000

    assert parse(json.dumps(body).encode()) == body


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b",".join([b"1"] * 50_000) + b"]",
        b"{" + b",".join(b'"%d":1' % name for name in range(50_000)) + b"}",
        b"[" + b",".join([b"[]"] * 25_000) + b"]",
        b"[" + b",".join([b'{"a":1}'] * 25_000) + b"]",
    ],
    ids=["numbers", "members", "arrays", "objects"],
)
def test_fifty_thousand_values_are_read_and_one_more_is_not(raw):
    assert MAX_VALUES == 50_000
    assert parse(raw) == json.loads(raw)
    more = raw[:-1] + (b',"more":1}' if raw[:1] == b"{" else b",1]")
    with pytest.raises(BadJson, match="50000 values"):
        parse(more)


def test_fifty_thousand_keys_and_texts_are_read():
    members = b",".join(b'"%d":"%d"' % (name, name) for name in range(756))
    raw = b"[" + b",".join([b"{%b}" % members] * 66) + b"]"
    assert raw.count(b'"') == 199_584
    assert parse(raw) == json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b",".join([b"[]"] * 499_000) + b"]",
        b"[" + b",".join([b"{}"] * 499_000) + b"]",
        b"[" + b",".join([b'{"":0}'] * 210_000) + b"]",
        b"[" + b",".join([b"0"] * 749_000) + b"]",
        b'{"a":' + b"[" * 70 + b"]" * 70 + b',"b":' + b'"aa' * 470_000,
    ],
    ids=["arrays", "objects", "full objects", "numbers", "quotes"],
)
def test_a_body_cannot_take_many_times_its_size_in_memory(raw):
    assert 1_400_000 < len(raw) < 1_500_000
    tracemalloc.start()
    try:
        with pytest.raises(BadJson, match="values"):
            parse(raw)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_random_documents_are_read_as_the_standard_library_reads_them():
    chance = random.Random(20301231)

    def document(levels):
        kind = chance.randrange(6 if levels else 4)
        if kind == 4:
            return [document(levels - 1) for _ in range(chance.randrange(4))]
        if kind == 5:
            return {text(): document(levels - 1) for _ in range(chance.randrange(4))}
        return [chance.randrange(-(10**12), 10**12), chance.uniform(-1e9, 1e9), text(), None][kind]

    def text():
        return "".join(chance.choices('[]{}"\\/\n\u652f\U0001f600 a', k=chance.randrange(8)))

    for _ in range(500):
        body = document(8)
        raw = json.dumps(body, ensure_ascii=chance.random() < 0.5).encode()
        assert parse(raw) == json.loads(raw) == body


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b'["' + b"[" * 100_000,
        b'"' + b'\\"' * 700_000,
        b'["' + b'\\"' * 700_000 + b"[" * 100,
        b'"' * 1_500_000,
        b"[]" * 700_000,
        b"1" * 1_500_000,
        b"1." + b"1" * 1_500_000,
        b"1e" + b"9" * 1_500_000,
        b"\\" * 1_500_000,
        b" " * 1_500_000,
        b'{"a":1,' + b'"a":1,' * 200_000 + b'"a":1}',
        # The same within the number of values: these reach what comes after its check.
        b"[" * 50_000,
        b"[" * 25_000 + b"]" * 25_000,
        b'{"a":' * 50_000,
        b"[]" * 50_000,
        b'{"a":1,' + b'"a":1,' * 49_000 + b'"a":1}',
        b'"' + b"\\ud800" * 200_000 + b'"',
    ],
    ids=lambda raw: f"{raw[:8]!r}",
)
def test_hostile_bodies_are_refused_quickly(raw):
    started = time.monotonic()

    with pytest.raises(BadJson):
        parse(raw)

    assert time.monotonic() - started < 2


def test_deep_nesting_does_not_need_a_large_stack():
    refusals = []

    def attack():
        try:
            parse(b"[" * MAX_VALUES)
        except BadJson as refusal:
            refusals.append(str(refusal))

    usual = threading.stack_size(128 * 1024)
    try:
        thread = threading.Thread(target=attack)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(usual)

    assert refusals == ["the body must not be nested deeper than 64 levels"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"secret": secret}',
        b'{"secret": 1, "secret": 2}',
        b'{"secret\\ud800": 1}',
        b'"secret',
        b"secret",
        b'"secret\xff"',
    ],
)
def test_a_refusal_never_quotes_the_body(raw):
    with pytest.raises(BadJson) as refused:
        parse(raw)

    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
