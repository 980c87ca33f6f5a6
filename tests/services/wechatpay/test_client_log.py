"""What is written down of a try: enough to ask WeChat Pay's support about it, and nothing of its content."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from services.wechatpay.errors import ApiError, ServerFault, Unreachable
from services.wechatpay.keys import KeyRing, PlatformCertificate
from tests.services.wechatpay.host import (
    FAR,
    PLATFORM_KEY,
    Host,
    Say,
    certificate,
    certificate_list,
    client_of,
    pem,
    refusing,
    signed,
)

NUMBER = 0x5157F09EFDC096DE15EBE81A47057A7232F1B8E1
SERIAL = format(NUMBER, "040X")
QUERY = "/v3/pay/transactions/out-trade-no/A1"


class Kept(logging.Handler):
    """All records of the logger, from INFO up."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def fields(self, message: str) -> list[dict[str, Any]]:
        return [record.fields for record in self.records if record.getMessage() == message]  # type: ignore[attr-defined]


@pytest.fixture
def kept() -> Iterator[Kept]:
    log, handler = logging.getLogger("pay.wechatpay"), Kept()
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.setLevel(before)
    log.removeHandler(handler)


def without_duration(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields`, whose duration is a number of milliseconds with one decimal."""
    duration = fields["duration_ms"]
    assert duration == round(duration, 1)
    return {name: value for name, value in fields.items() if name != "duration_ms"}


def test_a_try_is_logged_with_its_path_but_not_its_query(kept: Kept):
    answer = signed(after=0.3)
    answer.headers["Request-ID"] = "08F5-1"
    with Host(answer) as host:
        client_of(host.url, host.url).call("GET", f"{QUERY}?mchid=1900007291")
    (fields,) = kept.fields("wechatpay call")
    assert 300 <= fields["duration_ms"] < 3000
    assert without_duration(fields) == {
        "method": "GET",
        "path": QUERY,
        "host": host.url,
        "status": 200,
        "wechat_request_id": "08F5-1",
    }


def test_an_answer_without_a_request_id_is_logged_without_one(kept: Kept):
    with Host(Say(500)) as main, Host(signed(404)) as backup, pytest.raises(ApiError):
        client_of(main.url, backup.url).call("POST", QUERY + "/close", {})
    assert [without_duration(fields) for fields in kept.fields("wechatpay call")] == [
        {"method": "POST", "path": f"{QUERY}/close", "host": host.url, "status": status, "wechat_request_id": ""}
        for host, status in ((main, 500), (backup, 404))
    ]


def test_a_try_without_an_answer_is_logged_with_its_reason(kept: Kept):
    with refusing() as nobody, pytest.raises(Unreachable):
        client_of(nobody, nobody).call("GET", QUERY)
    assert [without_duration(fields) for fields in kept.fields("wechatpay call")] == [
        {
            "method": "GET",
            "path": QUERY,
            "host": nobody,
            "status": 0,
            "error": "no answer from WeChat Pay (NewConnectionError)",
        }
    ] * 2


def test_a_download_is_logged_with_what_came_of_it(kept: Kept):
    file = io.BytesIO(b"before")
    file.seek(0, io.SEEK_END)
    with Host(Say(200, b"a bill"), Say(503, b"{}")) as host:
        client = client_of("http://127.0.0.1:1", host.url)
        client.download(f"{host.url}/v3/billdownload/file?token=x", file, limit=100, timeout=5)
        with pytest.raises(ServerFault):
            client.download(f"{host.url}/v3/billdownload/file?token=x", file, limit=100, timeout=5)
    assert kept.fields("wechatpay download") == [
        {"host": host.url, "status": 200, "bytes": 6},
        {"host": host.url, "status": 503, "bytes": 2},
    ]


def test_a_download_of_certificates_is_logged_with_the_serials_known_then(kept: Kept):
    other = format(NUMBER - 1, "040X")
    listed = [(SERIAL, NUMBER), (other, NUMBER - 1)]
    body = certificate_list(*((serial, pem(certificate(PLATFORM_KEY, number))) for serial, number in listed))
    with Host(signed(body=body, serial=SERIAL)) as host:
        client_of(host.url, host.url, public_key=None).keys.prepare(FAR)
    assert kept.fields("platform certificates downloaded") == [{"serials": [other, SERIAL]}]
    assert [fields["path"] for fields in kept.fields("wechatpay call")] == ["/v3/certificates"]


def test_certificates_that_could_not_be_renewed_are_warned_of(kept: Kept):
    now, times = 1000.0, [datetime(year, 1, 1, tzinfo=timezone.utc) for year in (2020, 2030)]
    fetched = [PlatformCertificate(SERIAL, PLATFORM_KEY.public_key(), *times)]

    def fetch(_: float) -> list[PlatformCertificate]:
        if now > 1000:
            raise Unreachable("no answer from WeChat Pay (ConnectionError)")
        return fetched

    keys = KeyRing(public_key_id="", public_key=None, fetch=fetch, monotonic=lambda: now)
    keys.prepare(FAR)
    now += 11 * 3600
    keys.prepare(FAR)
    (warning,) = [record for record in kept.records if record.levelno == logging.WARNING]
    assert warning.getMessage() == (
        "platform certificates could not be renewed, the known ones stay in use: platform certificates cannot be"
        " downloaded (no answer from WeChat Pay (ConnectionError)): a merchant to whom the merchant platform shows a"
        " WeChat Pay public key has none, and sets wxPayPublicKey and wxPayPublicKeyId"
    )
