"""An order service that holds what is numbered HELD… until a file says go: for the function in another process."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from services.order_service import Caller, OrderService, Params

FOLDER = Path(os.environ.get("GATE_FOLDER", "/nowhere"))


class Gated(OrderService):
    """Orders wait before anything is sent, payments while they are handled. `BROKEN…` raises instead."""

    def before_unified(self, params: Params, caller: Caller) -> None:
        _pass("order", params["out_trade_no"])

    def handler_unified_trigger(self, params: dict[str, Any]) -> bool:
        _pass("payment", params["out_trade_no"])
        return True


def _pass(what: str, number: str) -> None:
    if number.startswith("BROKEN"):
        raise RuntimeError("broken on purpose")
    if number.startswith("HELD"):
        (FOLDER / f"{what}-{number}").touch()
        while not (FOLDER / "go").exists():
            time.sleep(0.02)
