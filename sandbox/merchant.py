"""How the merchant is set up on WeChat Pay's side, what his users are, and the money on his accounts."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.clock import FURTHEST

CERTIFICATE_STATES = ("valid", "none", "expired", "revoked", "replaced")
PRODUCTS = ("jsapi", "native", "h5", "app", "refund", "transfer")
ACCOUNTS = ("BASIC", "OPERATION", "FEES")
USER_ACCOUNTS = ("normal", "abnormal", "closed")
TRANSFER_STARTS = ("WAIT_USER_CONFIRM", "ACCEPTED", "PROCESSING")
SETTINGS = ("certificate", "api_v3_key", "registered", "products", "transfer_start", "clock_off", "funds")
TOP_UPS = "充值/提现"
START_FUNDS = 100_000_000
FEE_PER_MILLE = 6


@dataclass(frozen=True)
class Entry:
    """One movement of money: a row of the fund-flow bill [4013071249]. Amounts in cents, negative when paid out."""

    time: float
    account: str
    amount: int
    balance: int
    business: str
    kind: str
    number: str  # WeChat Pay's number of the business
    flow: str
    voucher: str  # the merchant's number


@dataclass
class User:
    """Whoever pays or is paid. `account`: "abnormal" makes his refunds ABNORMAL, "closed" refuses them."""

    openid: str
    real_name: str = ""
    account: str = "normal"


@dataclass
class Merchant:
    """What the merchant platform shows under account centre and product centre, with the accounts' balances.

    certificate     of the merchant's API: one of CERTIFICATE_STATES
    api_v3_key      whether one has been set; without it no notification is ever sent [4012075420]
    registered      whether the merchant number exists at all
    products        those that are enabled
    transfer_start  state in which a new transfer is answered
    clock_off       seconds that the merchant's clock is wrong by, seen from WeChat Pay
    """

    now: Callable[[], float]
    certificate: str = "valid"
    api_v3_key: bool = True
    registered: bool = True
    products: set[str] = field(default_factory=lambda: set(PRODUCTS))
    transfer_start: str = TRANSFER_STARTS[0]
    clock_off: float = 0.0
    users: dict[str, User] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    funds: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self.certificate, self.api_v3_key, self.registered = "valid", True, True
            self.products = set(PRODUCTS)
            self.transfer_start, self.clock_off = TRANSFER_STARTS[0], 0.0
            self.users.clear()
            self.entries.clear()
            self.funds = {"BASIC": START_FUNDS, "OPERATION": START_FUNDS, "FEES": 0}
            self._flows = itertools.count(1)

    def user(self, openid: str) -> User:
        """The user as configured, else an ordinary one of whom only the openid is known."""
        return self.users.get(openid) or User(openid)

    def change(self, **settings: Any) -> None:
        """Set any of SETTINGS; `funds` tops single balances up, or draws on them, so that they are as given.

        Raises ValueError, changing nothing.
        """
        _check(settings)
        funds = settings.pop("funds", {})
        if "products" in settings:
            settings["products"] = set(settings["products"])
        with self._lock:
            for name, value in settings.items():
                setattr(self, name, value)
            for account, amount in funds.items():
                self._set_balance(account, amount)

    def know(self, openid: str, real_name: str = "", account: str = "normal") -> User:
        """Say who a user is. Raises ValueError."""
        if not openid or account not in USER_ACCOUNTS:
            raise ValueError(f"openid must not be empty; account must be one of {', '.join(USER_ACCOUNTS)}")
        user = self.users[openid] = User(openid, real_name, account)
        return user

    def move(
        self, account: str, amount: int, *, business: str, kind: str, number: str, voucher: str, flow: str = ""
    ) -> None:
        """Book `amount` cents into (or, negative, out of) an account."""
        with self._lock:
            self._book(account, amount, business, kind, number, voucher, flow)

    def _book(
        self, account: str, amount: int, business: str, kind: str, number: str, voucher: str, flow: str = ""
    ) -> None:
        self.funds[account] += amount
        flow = flow or f"{number}{next(self._flows):06d}"
        entry = Entry(
            self.now(), account, amount, self.funds[account], business, kind, number, flow, voucher
        )
        self.entries.append(entry)

    def _set_balance(self, account: str, balance: int) -> None:
        """By a row of its own, or the balances of the fund-flow bill would not add up [4013071249]."""
        if difference := balance - self.funds[account]:
            number = f"1800{int(self.now())}{next(self._flows):06d}"
            self._book(account, difference, TOP_UPS, "充值" if difference > 0 else "提现", number, number)

    def describe(self) -> dict[str, Any]:
        return {
            "certificate": self.certificate,
            "api_v3_key": self.api_v3_key,
            "registered": self.registered,
            "products": [product for product in PRODUCTS if product in self.products],
            "transfer_start": self.transfer_start,
            "clock_off": self.clock_off,
            "funds": dict(self.funds),
        }


def _check(settings: Mapping[str, Any]) -> None:
    """Raises ValueError for what cannot be set."""
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise ValueError(f"{', '.join(unknown)} cannot be set; what can: {', '.join(SETTINGS)}")
    for name, allowed in (("certificate", CERTIFICATE_STATES), ("transfer_start", TRANSFER_STARTS)):
        if settings.get(name, allowed[0]) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}")
    if not abs(settings.get("clock_off", 0)) <= FURTHEST:  # nor is NaN
        raise ValueError("clock_off must be seconds, at most 400 days either way")
    products = settings.get("products", [])
    if not all(isinstance(product, str) and product in PRODUCTS for product in products):
        raise ValueError(f"products must be among {', '.join(PRODUCTS)}")
    for account, amount in settings.get("funds", {}).items():
        if account not in ACCOUNTS or not isinstance(amount, int) or isinstance(amount, bool) or amount < 0:
            raise ValueError(f"funds must give cents, 0 or more, for {', '.join(ACCOUNTS)}")


def fee_of(amount: int) -> int:
    """0.6 % in cents, rounded half up."""
    return (amount * FEE_PER_MILLE + 500) // 1000
