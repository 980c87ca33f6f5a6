"""Order services whose callbacks take as long, or as much, as a test wants; see around.Scene."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from services.order_service import Params
from services.orders.service import SqlOrderService

SCENE = "SCENE_OF_THE_TESTS"


class Waits(SqlOrderService):
    """A payment's handler writes, says `entered`, and goes on only when a test says `go`."""

    def handler_unified_trigger(self, params: Params) -> Any:
        super().handler_unified_trigger(params)
        folder = Path(os.environ[SCENE])
        (folder / "entered").touch()
        while not (folder / "go").exists():
            time.sleep(0.02)


class Eats(SqlOrderService):
    """A payment's handler writes, and then takes all the memory there is, or asks for `more`; not after `go`."""

    def handler_unified_trigger(self, params: Params) -> Any:
        super().handler_unified_trigger(params)
        folder, eaten = Path(os.environ[SCENE]), []
        (folder / "entered").touch()
        while not (folder / "go").exists():
            eaten.append(bytes(2**50) if (folder / "more").exists() else b"\1" * 2**22)


class HookWaits(SqlOrderService):
    """The effect of a payment counts itself, and then waits for `go`."""

    def on_paid(self, order: Params) -> Any:
        folder = Path(os.environ[SCENE])
        with (folder / "effects").open("a") as file:
            file.write(f"{order['event_id']}\n")
        (folder / "entered").touch()
        while not (folder / "go").exists():
            time.sleep(0.02)
