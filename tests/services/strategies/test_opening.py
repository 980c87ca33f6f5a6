"""Which evidence each mode takes, on messages sealed and signed here with the library's own primitives."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.strategies.base import KINDS, PAYMENT, REFUND, TRANSFER, Incoming, Kind, Notification
from services.strategies.gateway_strategy import GatewayStrategy
from services.strategies.sdk_strategy import SdkStrategy
from services.wechatpay.errors import DecryptionFailed, KeysUnavailable, NotificationRefused, SignatureInvalid
from services.wechatpay.keys import KeyRing

KEY = b"0123456789abcdef0123456789ABCDEF"
SIGNING = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEY_ID = "PUB_KEY_ID_0119000000012026"
PLAINTEXT = {"mchid": "1900000001", "out_trade_no": "N", "trade_state": "SUCCESS", "amount": {"total": 20}}
CONFIRMED = {"out_trade_no": "N", "trade_state": "SUCCESS", "amount": {"total": 20}, "from": "WeChat Pay"}


class Asked:
    """Stands in for the confirmation: keeps the hints."""

    def __init__(self) -> None:
        self.hints: list[tuple[Kind, dict[str, Any], float]] = []
        self.operators: list[bool] = []

    def confirm(self, kind: Kind, hint: Mapping[str, Any], deadline: float, *, from_operator: bool) -> dict[str, Any]:
        self.hints.append((kind, dict(hint), deadline))
        self.operators.append(from_operator)
        return dict(CONFIRMED)


class Direct:
    """Stands in for the sdk strategy: keeps what it is handed."""

    def __init__(self) -> None:
        self.opened: list[Incoming] = []

    def open(self, incoming: Incoming) -> Notification:
        self.opened.append(incoming)
        raise SignatureInvalid("unsigned")


def no_download(deadline: float) -> Any:
    raise AssertionError("the configured key is all that is needed")


def ring() -> KeyRing:
    return KeyRing(public_key_id=KEY_ID, public_key=SIGNING.public_key(), fetch=no_download)


def sealed(plaintext: Any, key: bytes = KEY) -> dict[str, str]:
    nonce, associated = secrets.token_hex(6), "transaction"
    content = plaintext if isinstance(plaintext, bytes) else json.dumps(plaintext).encode()
    ciphertext = AESGCM(key).encrypt(nonce.encode(), content, associated.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(ciphertext).decode(),
        "nonce": nonce,
        "associated_data": associated,
    }


def envelope(plaintext: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "id": "EV-1",
        "event_type": "TRANSACTION.SUCCESS",
        "resource": sealed(PLAINTEXT if plaintext is None else plaintext),
        **changes,
    }


def incoming(
    body: dict[str, Any],
    *,
    kind: Kind | None = PAYMENT,
    headers: Mapping[str, str] | None = None,
    raw: bytes | None = None,
    identified: bool = False,
) -> Incoming:
    raw = json.dumps(body).encode() if raw is None else raw
    return Incoming(headers or {}, raw, body, kind, identified, time.monotonic() + 4)


def signed(raw: bytes) -> dict[str, str]:
    now, nonce = str(int(time.time())), secrets.token_hex(8)
    signature = SIGNING.sign(f"{now}\n{nonce}\n".encode() + raw + b"\n", padding.PKCS1v15(), hashes.SHA256())
    return {
        "Wechatpay-Timestamp": now,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": KEY_ID,
        "Wechatpay-Signature": base64.b64encode(signature).decode(),
    }


def gateway(*, trust: bool = False) -> tuple[GatewayStrategy, Asked, Direct]:
    asked, direct = Asked(), Direct()
    return GatewayStrategy(KEY, asked, direct, trust_platform=trust), asked, direct  # type: ignore[arg-type]


# Direct


def test_a_signed_notification_is_opened() -> None:
    body = envelope()
    raw = json.dumps(body).encode()
    opened = SdkStrategy(ring(), KEY).open(incoming(body, raw=raw, headers=signed(raw)))
    assert opened == Notification("EV-1", "TRANSACTION.SUCCESS", PAYMENT, PLAINTEXT, "signature")


def test_the_raw_bytes_are_verified_not_the_parsed_body() -> None:
    body = envelope()
    raw = json.dumps(body).encode()
    with pytest.raises(SignatureInvalid):
        SdkStrategy(ring(), KEY).open(incoming(body, raw=raw + b" ", headers=signed(raw)))
    with pytest.raises(SignatureInvalid):
        SdkStrategy(ring(), KEY).open(incoming(body, raw=raw, headers={}))


def test_the_signature_is_checked_before_anything_is_decrypted() -> None:
    body = envelope(resource="nonsense")
    with pytest.raises(SignatureInvalid):
        SdkStrategy(ring(), KEY).open(incoming(body))


@pytest.mark.parametrize("resource", [None, [], "x", {}, 1])
def test_a_signed_body_without_a_resource_proves_no_content(resource: Any) -> None:
    body = envelope(resource=resource)
    raw = json.dumps(body).encode()
    with pytest.raises(DecryptionFailed) as refusal:
        SdkStrategy(ring(), KEY).open(incoming(body, raw=raw, headers=signed(raw)))
    assert isinstance(resource, dict) or str(refusal.value) == "resource is missing"


REFUNDED = {"mchid": "1900000001", "out_refund_no": "N", "refund_status": "SUCCESS"}


@pytest.mark.parametrize(
    ("event", "path_kind", "kind"),
    [
        ("REFUND.SUCCESS", PAYMENT, REFUND),
        ("REFUND.SUCCESS", None, REFUND),
        ("", REFUND, REFUND),
        (None, REFUND, REFUND),
        (["REFUND.SUCCESS"], REFUND, REFUND),
        ("COUPON.USE", REFUND, None),
        ("", None, None),
    ],
)
def test_a_signed_event_goes_before_the_path(event: Any, path_kind: Kind | None, kind: Kind | None) -> None:
    body = envelope(REFUNDED, event_type=event)
    raw = json.dumps(body).encode()
    opened = SdkStrategy(ring(), KEY).open(incoming(body, raw=raw, headers=signed(raw), kind=path_kind))
    named = event if isinstance(event, str) else ""
    assert opened == Notification("EV-1", named, kind, REFUNDED, "signature")


@pytest.mark.parametrize("missing", ["out_refund_no", "refund_status"])
@pytest.mark.parametrize("value", [None, "", 1, ["N"]])
def test_signed_content_must_be_that_of_its_event(missing: str, value: Any) -> None:
    body = envelope(REFUNDED | {missing: value}, event_type="REFUND.SUCCESS")
    raw = json.dumps(body).encode()
    with pytest.raises(NotificationRefused) as refusal:
        SdkStrategy(ring(), KEY).open(incoming(body, raw=raw, headers=signed(raw)))
    assert str(refusal.value) == f"the content is not that of a refund: {missing} is missing"


@pytest.mark.parametrize(
    ("plaintext", "reason"),
    [(b"{", "the decrypted resource is not JSON"), (b"[]", "the decrypted resource is not a JSON object")],
)
def test_signed_content_must_be_an_object(plaintext: bytes, reason: str) -> None:
    body = envelope(plaintext)
    raw = json.dumps(body).encode()
    with pytest.raises(DecryptionFailed) as refusal:
        SdkStrategy(ring(), KEY).open(incoming(body, raw=raw, headers=signed(raw)))
    assert str(refusal.value) == reason


def test_a_ring_that_cannot_tell_postpones() -> None:
    def fetch(deadline: float) -> Any:
        raise KeysUnavailable("down")

    keys = KeyRing(public_key_id="", public_key=None, fetch=fetch)
    body = envelope()
    raw = json.dumps(body).encode()
    headers = signed(raw) | {"Wechatpay-Serial": "7" * 40}
    with pytest.raises(KeysUnavailable):
        SdkStrategy(keys, KEY).open(incoming(body, raw=raw, headers=headers))


# Forwarded


@pytest.mark.parametrize("trust", [False, True])
def test_without_parsed_content_the_direct_way_decides(trust: bool) -> None:
    strategy, asked, direct = gateway(trust=trust)
    message = incoming({"rawData": envelope(), "Plaintext": json.dumps(PLAINTEXT)})
    with pytest.raises(SignatureInvalid):
        strategy.open(message)
    assert direct.opened == [message]
    assert asked.hints == []


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        {"rawData": envelope()},
        {"rawData": json.dumps(envelope())},
        {"ParsedNotify": envelope()},
        {"rawData": {"event_type": "TRANSACTION.SUCCESS"}, "ParsedNotify": envelope()},
        {"rawData": envelope(), "ParsedNotify": envelope(resource="not looked at")},
    ],
    ids=["object", "string", "ParsedNotify", "ParsedNotify beside a bare rawData", "rawData first"],
)
def test_an_envelope_is_the_evidence_wherever_it_is(body: dict[str, Any], trust: bool) -> None:
    strategy, asked, _ = gateway(trust=trust)
    opened = strategy.open(incoming({"ParsedContent": {"added": 1}, **body}))
    assert (opened.plaintext, opened.evidence, opened.kind) == (PLAINTEXT, "resource", PAYMENT)
    assert asked.hints == []


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    "resource",
    [None, {}, [], "x", False, sealed(PLAINTEXT, b"X" * 32), sealed(b"[]"), sealed(b"{")],
    ids=["null", "empty object", "list", "string", "false", "under another key", "of a list", "of broken JSON"],
)
def test_a_resource_that_is_there_but_broken_ends_it(resource: Any, trust: bool) -> None:
    strategy, asked, direct = gateway(trust=trust)
    for holder in ("rawData", "ParsedNotify"):
        body = {"ParsedContent": PLAINTEXT, holder: envelope(resource=resource)}
        with pytest.raises((DecryptionFailed, NotificationRefused)):
            strategy.open(incoming(body))
    assert asked.hints == []
    assert direct.opened == []


@pytest.mark.parametrize(
    "content",
    [
        {"amount": {"total": 21}},
        {"amount": {"total": "20"}},
        {"amount": {"total": True}},
        {"amount": {"total": None}},
        {"trade_state": "success"},
        {"out_trade_no": ["N"]},
        {"amount": 20},
        {"amount": None},
        {"amount": [{"total": 20}]},
        {"mchid": {"mchid": "1900000001"}},
        {"amount": {"total": 1}, "amount.total": 20},
        {"amount.total": 20, "amount": {"total": 1}},
    ],
    ids=str,
)
def test_a_contradiction_ends_it(content: dict[str, Any]) -> None:
    strategy, asked, _ = gateway()
    with pytest.raises(NotificationRefused):
        strategy.open(incoming({"ParsedContent": content, "rawData": envelope()}))
    assert asked.hints == []


@pytest.mark.parametrize(
    ("proved", "stated", "place"),
    [
        ({"attach": "a"}, {"attach": "b"}, "attach"),
        ({"attach": None}, {"attach": False}, "attach"),
        ({"attach": 0}, {"attach": False}, "attach"),
        ({"scene": {"store": {"id": "1"}}}, {"scene": {"store": {"id": "2"}}}, "scene.store.id"),
        ({"goods": [{"id": "1"}, {"id": "2"}]}, {"goods": [{"id": "1"}, {"id": "3"}]}, "goods[1].id"),
        ({"goods": [[1, 2], [3, 4]]}, {"goods": [[1, 2], [3, 5]]}, "goods[1][1]"),
        ({"goods": [1]}, {"goods": {"0": 1}}, "goods"),
        ({"goods": []}, {"goods": "[]"}, "goods"),
    ],
)
def test_a_contradiction_is_named_by_its_place(proved: Any, stated: Any, place: str) -> None:
    strategy, _, _ = gateway()
    body = {"ParsedContent": stated, "rawData": envelope(PLAINTEXT | proved)}
    with pytest.raises(NotificationRefused) as refusal:
        strategy.open(incoming(body))
    assert str(refusal.value) == f"ParsedContent contradicts the decrypted resource in {place}"


@pytest.mark.parametrize("goods", [[], [{"id": "1"}], [{"id": "1"}, {"id": "2"}, {"id": "3"}], [{}, {"added": 1}]])
def test_a_longer_or_shorter_list_does_not_contradict(goods: list[Any]) -> None:
    strategy, _, _ = gateway()
    proved = PLAINTEXT | {"goods": [{"id": "1"}, {"id": "2"}]}
    opened = strategy.open(incoming({"ParsedContent": {"goods": goods}, "rawData": envelope(proved)}))
    assert opened.plaintext == proved


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"ParsedContent": None}, "ParsedContent must be an object"),
        ({"ParsedContent": [PLAINTEXT]}, "ParsedContent must be an object"),
        ({"ParsedContent": json.dumps(PLAINTEXT)}, "ParsedContent must be an object"),
        ({"ParsedContent": PLAINTEXT, "rawData": "{"}, "rawData is not JSON"),
        ({"ParsedContent": PLAINTEXT, "ParsedNotify": "{"}, "ParsedNotify is not JSON"),
        ({"ParsedContent": PLAINTEXT, "rawData": "[]"}, "rawData must be an object"),
        ({"ParsedContent": PLAINTEXT, "rawData": 1}, "rawData must be an object"),
        ({"ParsedContent": PLAINTEXT, "rawData": envelope(resource="x")}, "resource must be an object"),
        (
            {"ParsedContent": PLAINTEXT, "rawData": {"event_type": "COUPON.USE"}},
            "a notification of this type cannot be confirmed by asking",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong(body: dict[str, Any], reason: str) -> None:
    strategy, asked, direct = gateway()
    with pytest.raises(NotificationRefused) as refusal:
        strategy.open(incoming(body))
    assert str(refusal.value) == reason
    assert (asked.hints, direct.opened) == ([], [])


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("missing", ["out_trade_no", "trade_state"])
@pytest.mark.parametrize("proved", [False, True])
def test_what_is_no_payment_is_none_whatever_proves_it(missing: str, trust: bool, proved: bool) -> None:
    strategy, asked, _ = gateway(trust=trust)
    content = {name: value for name, value in PLAINTEXT.items() if name != missing}
    body = {"ParsedContent": content, "ParsedNotify": {"event_type": "TRANSACTION.SUCCESS"}}
    with pytest.raises(NotificationRefused) as refusal:
        strategy.open(incoming(body | ({"ParsedNotify": envelope(content)} if proved else {})))
    assert str(refusal.value) == f"the content is not that of a payment: {missing} is missing"
    assert asked.hints == []


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("proved", [False, True])
@pytest.mark.parametrize("holder", ["rawData", "ParsedNotify"])
def test_a_forward_is_known_by_its_id_and_event_wherever_they_stand(holder: str, proved: bool, trust: bool) -> None:
    strategy, _, _ = gateway(trust=trust)
    told = envelope() if proved else {"id": "EV-1", "event_type": "TRANSACTION.SUCCESS"}
    opened = strategy.open(incoming({"ParsedContent": PLAINTEXT, holder: told}, kind=REFUND))
    evidence = "resource" if proved else "platform" if trust else "query"
    plaintext = CONFIRMED if evidence == "query" else PLAINTEXT
    assert opened == Notification("EV-1", "TRANSACTION.SUCCESS", PAYMENT, plaintext, evidence)


def test_without_an_event_the_path_says_what_a_forward_is() -> None:
    strategy, asked, _ = gateway()
    opened = strategy.open(incoming({"ParsedContent": REFUNDED}, kind=REFUND))
    assert (opened.id, opened.event_type, opened.kind) == ("", "", REFUND)
    assert asked.hints[0][:2] == (REFUND, REFUNDED)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"added": 1},
        {"amount": {}},
        {"amount": {"total": 20, "added": 1}},
        dict(reversed(PLAINTEXT.items())),
        {"amount.total": 1},
    ],
    ids=str,
)
def test_what_is_only_in_one_does_not_contradict(content: dict[str, Any]) -> None:
    strategy, _, _ = gateway()
    opened = strategy.open(incoming({"ParsedContent": content, "rawData": envelope()}))
    assert opened.plaintext == PLAINTEXT


def test_plaintext_alone_is_a_hint_and_the_answer_is_what_counts() -> None:
    strategy, asked, _ = gateway()
    message = incoming(
        {"ParsedContent": PLAINTEXT, "rawData": {"event_type": "TRANSACTION.SUCCESS", "id": "EV-2"}}
    )
    assert strategy.open(message) == Notification("EV-2", "TRANSACTION.SUCCESS", PAYMENT, CONFIRMED, "query")
    assert asked.hints == [(PAYMENT, PLAINTEXT, message.deadline)]


def test_an_operators_plaintext_is_a_hint_too_but_not_a_strangers() -> None:
    strategy, asked, _ = gateway()
    body = {"ParsedContent": PLAINTEXT, "ParsedNotify": {"event_type": "TRANSACTION.SUCCESS"}}
    opened = [strategy.open(replace(incoming(body), from_operator=operator)) for operator in (False, True)]
    assert [(one.plaintext, one.evidence) for one in opened] == [(CONFIRMED, "query")] * 2
    assert asked.operators == [False, True]


def test_a_trusted_platform_s_plaintext_counts_unless_an_end_user_sends_it() -> None:
    strategy, asked, _ = gateway(trust=True)
    body = {"ParsedContent": PLAINTEXT, "ParsedNotify": {"event_type": "TRANSACTION.SUCCESS"}}
    trusted = strategy.open(incoming(body))
    assert (trusted.plaintext, trusted.evidence) == (PLAINTEXT, "platform")
    assert asked.hints == []
    identified = strategy.open(incoming(body, identified=True))
    assert (identified.plaintext, identified.evidence) == (CONFIRMED, "query")


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("name", ["rawData", "ParsedNotify"])
@pytest.mark.parametrize("value", ["", "{", "[]", '"x"', '{"a":1,"a":2}', [], 1, True, "{}{}"], ids=repr)
def test_a_broken_holder_ends_it(name: str, value: Any, trust: bool) -> None:
    strategy, asked, _ = gateway(trust=trust)
    with pytest.raises(NotificationRefused):
        strategy.open(incoming({"ParsedContent": PLAINTEXT, name: value}))
    assert asked.hints == []


def test_an_unknown_event_needs_an_envelope() -> None:
    strategy, asked, _ = gateway(trust=True)
    with pytest.raises(NotificationRefused):
        strategy.open(incoming({"ParsedContent": PLAINTEXT, "rawData": {"event_type": "COUPON.USE"}}))
    opened = strategy.open(incoming({"ParsedContent": {}, "rawData": envelope(event_type="COUPON.USE")}))
    assert (opened.kind, opened.event_type, opened.evidence) == (None, "COUPON.USE", "resource")
    assert asked.hints == []


@pytest.mark.parametrize(("event", "kind"), KINDS.items())
def test_the_event_goes_before_the_path(event: str, kind: Kind) -> None:
    contents = {
        PAYMENT: PLAINTEXT,
        REFUND: {"out_refund_no": "N", "refund_status": "SUCCESS"},
        TRANSFER: {"out_bill_no": "N", "state": "SUCCESS"},
    }
    for path_kind in (PAYMENT, REFUND, TRANSFER, None):
        strategy, asked, _ = gateway()
        body = {"ParsedContent": contents[kind], "ParsedNotify": {"event_type": event}}
        assert strategy.open(incoming(body, kind=path_kind)).kind is kind
        assert asked.hints[0][0] is kind


def test_events_are_those_of_the_contract() -> None:
    assert {event: kind.name for event, kind in KINDS.items()} == {
        "TRANSACTION.SUCCESS": "payment",
        "TRANSACTION.FAIL": "payment",
        "REFUND.SUCCESS": "refund",
        "REFUND.ABNORMAL": "refund",
        "REFUND.CLOSED": "refund",
        "MCHTRANSFER.BILL.FINISHED": "transfer",
        "MCHTRANSFER.TRANSFER.SUCCESS": "transfer",
        "MCHTRANSFER.TRANSFER.FAIL": "transfer",
    }


def test_a_repr_holds_nothing_of_what_came_in() -> None:
    message = incoming({"ParsedContent": PLAINTEXT}, headers={"Wechatpay-Nonce": "nonce-of-this"})
    opened = Notification("EV-1", "TRANSACTION.SUCCESS", PAYMENT, PLAINTEXT, "resource")
    for shown in (repr(message), repr(opened)):
        for content in ("ParsedContent", "1900000001", "nonce-of-this"):
            assert content not in shown


def test_who_is_no_operator_unless_said_so() -> None:
    assert incoming({}).from_operator is False
