"""The function under gunicorn beside its sandbox, with orders, refunds and transfers there, and a run against both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs import openapi
from docs import openapi_fields as fields
from sandbox import Sandbox, journal
from sandbox.clock import rfc3339
from services.orders.database import Database
from services.orders.tables import init_db
from tests.support import OPENID, OPERATOR_KEY, ROOT, Function, gunicorn

HEADERS = {
    "X-Wx-Source": "wx_client",
    "X-Wx-Openid": OPENID,
    "X-Operator-Key": OPERATOR_KEY,
    "X-Forwarded-For": "1.2.4.8",  # of a browser, for H5 orders
}
CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
DAY = 86400


@dataclass(frozen=True)
class Run:
    """What schemathesis said, and by the function's own log how many requests reached it, by action and status."""

    passed: bool
    output: str
    answered: Counter[tuple[str, int]]

    @property
    def requests(self) -> int:
        return self.answered.total()


class Shop:
    """`numbers` are of an order that waits, one that is paid, and what came of it."""

    def __init__(self, box: Sandbox, function: Function, folder: Path) -> None:
        self.box, self.function, self.folder = box, function, folder
        self.numbers: dict[str, str] = {}

    def open(self) -> None:
        """Orders in several states, a refund and transfers; of a payment of yesterday's the bill is there."""
        self._called("wxpay_order", description="tea", out_trade_no="EARLY0001", amount={"total": 1000})
        self.box.pay("EARLY0001")
        beijing = self.box.clock.now() + 8 * 3600
        self.box.advance(DAY - beijing % DAY + DAY / 2)  # tomorrow at noon: bills come at 10:00
        for number in ("WAITING0001", "PAID0001", "PAID0002", "SHUT0001"):
            self._called("wxpay_order", description="tea", out_trade_no=number, amount={"total": 1000})
        paid = [self.box.pay(number) for number in ("PAID0001", "PAID0002")]
        assert all(delivery.acknowledged for deliveries in paid for delivery in deliveries)
        self._called("wxpay_close_order", out_trade_no="SHUT0001")
        self._called(
            "wxpay_refund", out_trade_no="PAID0002", out_refund_no="BACK0001", amount={"refund": 10, "total": 1000}
        )
        transfer = json.loads(json.dumps(openapi.words.ACTIONS["wxpay_transfer"].example))
        for number in ("SENT0001", "SENT0002"):
            self._called("wxpay_transfer", **transfer | {"out_bill_no": number, "openid": OPENID})
        self.numbers = {
            "waiting": "WAITING0001",
            "paid": "PAID0001",
            "refunded": "PAID0002",
            "closed": "SHUT0001",
            "refund": "BACK0001",
            "transfer": "SENT0001",
            "cancelled": "SENT0002",
            "yesterday": rfc3339(self.box.clock.now() - DAY)[:10],
            "transaction": self.box.ledger.orders["PAID0001"].transaction_id or "",
            "transfer_bill": self.box.ledger.transfers["SENT0001"].transfer_bill_no,
        }

    def _called(self, action: str, **body: Any) -> None:
        reply = self.function.call(action, body, HEADERS)
        assert reply.status == 200, reply.text

    def document(self) -> dict[str, Any]:
        """The description as it is for this very function, whose configured values are known.

        The range 4XX goes: what the sandbox refuses it refuses with statuses that are described one by one.
        """
        found: dict[str, Any] = json.loads(openapi.FILE.read_text())
        credentials, env = self.box.credentials, self.box.env()
        values = {
            "appid": [credentials.app_id, credentials.service_app_id],
            "mchid": [credentials.merchant_id],
        }
        urls = {"Refund": env["notifyURLRefundsURL"], "Transfer": env["transferNotifyUrl"]}
        for name, schema in found["components"]["schemas"].items():
            for field, property_ in schema.get("properties", {}).items():
                if field in fields.FIXED_WORDS and property_["description"] == fields.FIXED_WORDS[field]:
                    property_["enum"] = values.get(field, [urls.get(name, env["notifyURLPayURL"])])
        for operations in found["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("4XX", None)
        del found["components"]["responses"]["Failure4XX"]
        self._exemplify(found)
        return found

    def _exemplify(self, document: dict[str, Any]) -> None:
        """Examples with numbers of this shop, so that each action succeeds at least once."""
        numbers = self.numbers
        for action, change in {
            "wxpay_order_native": {"out_trade_no": "TEA0002", "time_expire": rfc3339(self.box.clock.now() + 3600)},
            "wxpay_query_order_by_transaction_id": {"transaction_id": numbers["transaction"]},
            "wxpay_refund": {"out_trade_no": numbers["paid"], "amount": {"refund": 1, "total": 1000}},
            "wxpay_transfer_bill_query_by_no": {"transfer_bill_no": numbers["transfer_bill"]},
            "wxpay_transfer": {"openid": OPENID},
            "wxpay_trade_bill": {"bill_date": numbers["yesterday"]},
            "wxpay_fundflow_bill": {"bill_date": numbers["yesterday"]},
        }.items():
            content = document["paths"][f"/wx-pay/{action}"]["post"]["requestBody"]["content"]["application/json"]
            content["example"] |= change
        paid = {"out_trade_no": numbers["paid"], "trade_state": "SUCCESS"}
        content = document["paths"]["/wechatpay/order"]["post"]["requestBody"]["content"]["application/json"]
        content["example"] = {"ParsedContent": paid, "ParsedNotify": {"event_type": "TRANSACTION.SUCCESS"}}

    def run(self, *options: str, document: dict[str, Any] | None = None) -> Run:
        """Let schemathesis loose on it."""
        before = self._answered()
        document = document or self.document()
        exact, file = self.folder / "exact.json", self.folder / "openapi.json"
        exact.write_text(json.dumps(document))
        file.write_text(json.dumps(_with_fewer_characters(document)))
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            "SCHEMATHESIS_HOOKS": "tests.contract.hooks",
            "CONTRACT_NUMBERS": json.dumps(self.numbers),
            "CONTRACT_DOCUMENT": str(exact),
            "CONTRACT_OPENID": OPENID,
        }
        # In small letters: the check of what happens without them takes them away by these names.
        headers = [part for name, value in HEADERS.items() for part in ("--header", f"{name.lower()}: {value}")]
        run = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
                *("run", str(file), "--url", self.function.url, "--no-color", *headers, *options),
            ],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(run.returncode == 0, run.stdout + run.stderr, self._answered() - before)

    def _answered(self) -> Counter[tuple[str, int]]:
        lines = [line for line in self.function.log_lines() if line["message"] == "request"]
        return Counter((line["action"] or line["path"], line["status"]) for line in lines)


def _unnoted_sandbox() -> Sandbox:
    """One whose traffic is not checked against WeChat Pay's description, as all other tests' is.

    What may stand in a field is for WeChat Pay to say, such as which transfer scenes there are: the function passes it
    on, and here it is made up.
    """
    noted = os.environ.pop(journal.VARIABLE, None)
    try:
        return Sandbox()
    finally:
        if noted is not None:
            os.environ[journal.VARIABLE] = noted


def _with_fewer_characters(document: dict[str, Any]) -> dict[str, Any]:
    """Texts of some characters instead of all 63,000, of which schemathesis would first make a list, for each field.

    What it makes is judged by the exact description all the same, and a text of others counts as wrong to it only.
    """
    text = json.dumps(document)
    for pattern, few in ((fields.TEXT, "^[ -~一-七]*$"), (fields.FILLED_TEXT, "^[ -~]*[!-~一-七][ -~]*$")):
        text = text.replace(json.dumps(pattern), json.dumps(few))
    found: dict[str, Any] = json.loads(text)
    return found


@contextmanager
def shop(folder: Path, *, database: bool = True) -> Iterator[Shop]:
    """A new one; its order database, where it has one, is a file of SQLite."""
    settings = {"operatorKey": OPERATOR_KEY}
    if database:
        url = f"sqlite:///{folder / 'orders.sqlite3'}"
        settings["orderDatabaseUrl"] = url
        made = Database(url)
        init_db(made)
        made.close()
    with _unnoted_sandbox() as box, gunicorn(box.env(**settings), folder / "log") as function:
        box.function = function.url
        yield Shop(box, function, folder)
