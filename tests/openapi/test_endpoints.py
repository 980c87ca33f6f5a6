"""Every endpoint of the description, answered by the sandbox with its success and with a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from sandbox import Sandbox
from sandbox.clock import day_of
from sandbox.crypto import encrypt_field
from tests.openapi.check import Check, Difference
from tests.openapi.differences import LISTED
from tests.sandbox.conftest import BILLS, PREPAY, REFUNDS, Heard, Merchant

PAY = "/v3/pay/transactions"
RECEIPTS = "/v3/fund-app/mch-transfer/elecsign"


class Scenario:
    """A day of a merchant, and what he fetches on the next."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.merchant = Merchant(box)

    def get(self, target: str) -> Heard:
        return self.merchant.send("GET", target)

    def post(self, target: str, body: object = None, **options: object) -> Heard:
        return self.merchant.send("POST", target, body, **options)  # type: ignore[arg-type]

    def orders(self) -> Iterator[Heard]:
        mchid, order = self.merchant.credentials.merchant_id, self.merchant.order
        client = {"payer_client_ip": "14.23.150.211"}
        for scene in ("jsapi", "native", "app", "h5"):
            body = order(f"ORDER_{scene}")
            if scene != "jsapi":
                del body["payer"]
            if scene == "h5":
                body["scene_info"] = {**client, "h5_info": {"type": "Wap"}}
            yield self.post(f"{PAY}/{scene}", body)
        yield self.get(f"{PAY}/out-trade-no/ORDER_native?mchid={mchid}")
        yield self.post(f"{PAY}/out-trade-no/ORDER_native/close", {"mchid": mchid})
        self.box.pay("ORDER_jsapi", deliver=False)
        paid = self.get(f"{PAY}/out-trade-no/ORDER_jsapi?mchid={mchid}")
        yield paid
        yield self.get(f"{PAY}/id/{paid.json['transaction_id']}?mchid={mchid}")

    def refunds(self) -> Iterator[Heard]:
        accepted = self.post(REFUNDS, self.merchant.refund(out_trade_no="ORDER_jsapi"))
        yield accepted
        self.box.settle_refund("REFUND_1", "ABNORMAL", deliver=False)
        redirected = {"out_refund_no": "REFUND_1", "type": "MERCHANT_BANK_CARD"}
        serial = {"Wechatpay-Serial": self.merchant.credentials.public_key_id}
        path = f"{REFUNDS}/{accepted.json['refund_id']}/apply-abnormal-refund"
        yield self.post(path, redirected, headers=serial)
        self.box.settle_refund("REFUND_1", deliver=False)
        yield self.get(f"{REFUNDS}/REFUND_1")

    def transfers(self) -> Iterator[Heard]:
        credentials = self.merchant.credentials
        name = encrypt_field(credentials.public_key.public_key(), "张三")
        serial = {"Wechatpay-Serial": credentials.public_key_id}
        accepted = self.post(BILLS, self.merchant.transfer(user_name=name), headers=serial)
        yield accepted
        yield self.post(BILLS, self.merchant.transfer("BILL2"))
        yield self.post(f"{BILLS}/out-bill-no/BILL2/cancel")
        self.box.finish_transfer("BILL1", "SUCCESS", deliver=False)
        by_bill = f"transfer-bill-no/{accepted.json['transfer_bill_no']}"
        yield self.get(f"{BILLS}/out-bill-no/BILL1")
        yield self.get(f"{BILLS}/{by_bill}")
        yield self.post(f"{RECEIPTS}/out-bill-no", {"out_bill_no": "BILL1"})
        yield self.get(f"{RECEIPTS}/out-bill-no/BILL1")
        self.box.advance("1m")
        yield self.get(f"{RECEIPTS}/out-bill-no/BILL1")
        finished = self.get(f"{RECEIPTS}/{by_bill}")
        yield finished
        yield self.download(finished)

    def bills(self, day: str) -> Iterator[Heard]:
        self.box.certificates_available = True
        yield self.get("/v3/certificates")
        for kind in (f"tradebill?bill_date={day}&bill_type=ALL&tar_type=GZIP", f"fundflowbill?bill_date={day}"):
            bill = self.get(f"/v3/bill/{kind}")
            yield bill
            yield self.download(bill)

    def download(self, told: Heard) -> Heard:
        address = urlsplit(told.json["download_url"])
        return self.get(f"{address.path}?{address.query}")

    def refused(self) -> Iterator[Heard]:
        """What nobody has, and what nobody may."""
        mchid = self.merchant.credentials.merchant_id
        nothing = "NOTHING1"
        for scene in ("jsapi", "native", "app", "h5"):
            yield self.post(f"{PAY}/{scene}", {})
        for number in ("out-trade-no", "id"):
            yield self.get(f"{PAY}/{number}/{nothing}?mchid={mchid}")
            yield self.get(f"{PAY}/{number}/{nothing}")
        yield self.post(f"{PAY}/out-trade-no/{nothing}/close", {"mchid": "1"})
        yield self.post(REFUNDS, self.merchant.refund("REFUND_2", out_trade_no=nothing))
        yield self.get(f"{REFUNDS}/{nothing}")
        yield self.post(f"{REFUNDS}/{nothing}/apply-abnormal-refund", {"type": "USER_BANK_CARD"})
        yield self.post(BILLS, self.merchant.transfer(amount=1))
        for number in ("out-bill-no", "transfer-bill-no"):
            yield self.get(f"{BILLS}/{number}/{nothing}")
            yield self.get(f"{RECEIPTS}/{number}/{nothing}")
        yield self.post(f"{BILLS}/out-bill-no/{nothing}/cancel")
        yield self.post(f"{RECEIPTS}/out-bill-no", {"out_bill_no": nothing})
        for kind in ("tradebill", "fundflowbill"):
            yield self.get(f"/v3/bill/{kind}")
            yield self.get(f"/v3/bill/{kind}?bill_date=2020-01-01")
        for download in ("billdownload", "transferbilldownload"):
            yield self.get(f"/v3/{download}/file?token=x")
        yield self.get("/v3/certificates")
        yield self.merchant.send("POST", PREPAY, {}, headers={"Authorization": None})


def differences(check: Check, box: Sandbox) -> set[Difference]:
    return {difference for request in box.requests for difference in check.exchange(request.describe())}


def test_every_endpoint_succeeds_as_described(real: Check) -> None:
    with Sandbox(sign_mode="sdk") as box:
        scenario = Scenario(box)
        today = day_of(box.clock.now())
        heard = [*scenario.orders(), *scenario.refunds(), *scenario.transfers()]
        box.advance("1d12h")
        heard += scenario.bills(today)
        assert {answer.status for answer in heard} == {200, 204}
        listed = {Difference(*place, row.pointer, row.kind) for row in LISTED for place in row.places()}
        assert differences(real, box) <= listed
        assert real.unexercised() == []


def test_every_endpoint_refuses_as_all_do(real: Check) -> None:
    with Sandbox(sign_mode="sdk") as box:
        heard = list(Scenario(box).refused())
        assert min(answer.status for answer in heard) >= 400
        assert differences(real, box) == set()
        assert real.unexercised() == []
