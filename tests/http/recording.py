"""An order service that writes down what it is handed, for tests that run the function in another process."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from services.order_service import OrderService, Params

VARIABLE = "RECORDING_OF_THE_TESTS"


class RecordingOrders(OrderService):
    """Appends each call as one JSON line to the file that the environment variable `VARIABLE` names."""

    def __init__(self) -> None:
        self._path = Path(os.environ[VARIABLE])
        self._lock = threading.Lock()

    def _record(self, handler: str, *arguments: Any) -> None:
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([handler, *arguments], ensure_ascii=False) + "\n")

    def before_unified(self, params: Params, caller: Any) -> None:
        self._record("before_unified", params)

    def before_refund(self, params: Params, caller: Any) -> None:
        self._record("before_refund", params)

    def before_transfer(self, params: Params, caller: Any) -> None:
        self._record("before_transfer", params)

    def handler_unified(self, params: Params) -> None:
        self._record("handler_unified", params)

    def handler_unified_trigger(self, params: Params) -> None:
        self._record("handler_unified_trigger", params)

    def handler_refund(self, params: Params) -> None:
        self._record("handler_refund", params)

    def handler_refund_trigger(self, params: Params) -> None:
        self._record("handler_refund_trigger", params)

    def handler_transfer(self, params: Params, result: Params) -> None:
        self._record("handler_transfer", params, result)

    def handler_transfer_trigger(self, params: Params) -> None:
        self._record("handler_transfer_trigger", params)

    def handler_query(self, action: str, params: Params, result: Params) -> None:
        self._record("handler_query", action, params, result)

    def handler_close(self, params: Params) -> None:
        self._record("handler_close", params)


class Recording:
    """The file as the tests read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clear()

    def clear(self) -> None:
        self.path.write_text("")

    def env(self) -> dict[str, str]:
        return {"orderService": "tests.http.recording:RecordingOrders", VARIABLE: str(self.path)}

    def calls(self) -> list[list[Any]]:
        """Every call since: the handler's name, then its arguments."""
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
