"""`make run`: the loop succeeds as shipped, and fails loudly when a handler does."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from sandbox import journal
from services.order_service import OrderService
from tests.support import ROOT

# Nothing of the caller's shell, but its sandbox's traffic is checked with all other (tests/openapi).
BARE = {name: os.environ[name] for name in ("PATH", journal.VARIABLE) if name in os.environ}


class RaisingOnPayment(OrderService):
    def handler_unified_trigger(self, params):
        raise RuntimeError("the shop's database is down")


class RefusingRefunds(OrderService):
    def handler_refund_trigger(self, params):
        return {"code": "FAIL"}


def command(state: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "sandbox.demo", "--port", "0", "--sandbox-port", "0", "--state", str(state), *options]


def play(state: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(state, "--once"),
        cwd=ROOT,
        env=BARE | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_whole_loop_shows_paid_and_refunded_by_both_sides_and_exits_0(tmp_path):
    run = play(tmp_path)

    assert run.returncode == 0, run.stdout + run.stderr
    # As docs/sandbox.md says: the function has its variables already.
    assert (tmp_path / "credentials.json").exists()
    assert not (tmp_path / "function.env").exists()
    paid = re.findall(r"function: handlerUnifiedTrigger - payment result: (\S+) SUCCESS  =>  PAID", run.stdout)
    refunded = re.findall(r"function: handlerRefundTrigger - refund result: (\S+) SUCCESS  =>  REFUNDED", run.stdout)
    assert len(paid) == 2
    assert paid[1] == f"QR{paid[0]}"
    assert refunded == [f"R{paid[0]}"]
    assert run.stdout.count('delivery TRANSACTION.SUCCESS -> 200 {"code":"SUCCESS"') == 2
    assert run.stdout.count('delivery REFUND.SUCCESS -> 200 {"code":"SUCCESS"') == 1
    life = run.stdout.partition("flask --app app orders show")[2]
    assert f"{paid[0]}  PARTIALLY_REFUNDED  0.20 yuan  A cup of tea" in life
    for moment in (f"TRANSACTION.SUCCESS of {paid[0]}: applied", f"REFUND.SUCCESS of R{paid[0]}: applied"):
        assert moment in life
    with closing(sqlite3.connect(tmp_path / "orders.sqlite3")) as stored:
        rows = stored.execute("SELECT out_trade_no, state, total, refunded FROM pay_orders ORDER BY state").fetchall()
    assert rows == [(f"QR{paid[0]}", "PAID", 20, 0), (paid[0], "PARTIALLY_REFUNDED", 20, 5)]


def test_each_run_has_a_new_database_and_one_of_the_callers_own_stays(tmp_path):
    own = tmp_path / "own.sqlite3"
    made = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "orders", "init-db"],
        cwd=ROOT, env=BARE | {"orderDatabaseUrl": f"sqlite:///{own}"}, capture_output=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0
    for _ in range(2):
        assert play(tmp_path / "new").returncode == 0
        assert play(tmp_path / "unused", orderDatabaseUrl=f"sqlite:///{own}").returncode == 0
    assert not (tmp_path / "unused" / "orders.sqlite3").exists()
    for file, orders in ((tmp_path / "new" / "orders.sqlite3", 2), (own, 4)):
        with closing(sqlite3.connect(file)) as stored:
            assert stored.execute("SELECT count(*) FROM pay_orders").fetchone() == (orders,)


@pytest.mark.parametrize(
    ("service", "reached"), [("RaisingOnPayment", "2. The user pays"), ("RefusingRefunds", "5. The refund arrives")]
)
def test_a_handler_that_fails_ends_the_loop_with_exit_1(tmp_path, service, reached):
    run = play(tmp_path, orderService=f"tests.test_demo:{service}")

    assert run.returncode == 1
    assert "FAILED: expected an acknowledged" in run.stdout
    assert re.findall(r"^\d\. .*$", run.stdout, re.MULTILINE)[-1].startswith(reached)
    assert "The whole loop went as expected" not in run.stdout


def test_the_example_order_service_runs_the_loop(tmp_path):
    run = play(tmp_path, orderService="examples.own_order_service.orders:ShopOrders", TMPDIR=str(tmp_path))

    assert run.returncode == 0, run.stdout + run.stderr
    assert "orders show" not in run.stdout  # it keeps them in its own way
    assert not (tmp_path / "orders.sqlite3").exists()


def test_it_stays_up_with_three_curl_lines_until_it_is_stopped(tmp_path):
    origin = "http://127.0.0.1:8000"
    with subprocess.Popen(
        command(tmp_path), cwd=ROOT, env=BARE | {"corsAllowOrigin": origin}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            give_up = time.monotonic() + 30
            while sum(line.startswith("curl ") for line in lines) < 3 and time.monotonic() < give_up:
                lines.append(process.stdout.readline())
            url = re.search(r"function +(http://127\.0\.0\.1:\d+)", "".join(lines))
            assert url is not None
            health = urllib.request.Request(f"{url[1]}/healthz", headers={"Origin": origin})
            with urllib.request.urlopen(health, timeout=5) as answer:
                assert answer.status == 200
                assert answer.headers["Access-Control-Allow-Origin"] == origin, "the caller's own page may ask"
            curls = [line for line in lines if line.startswith("curl ")]
            answers = [
                subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=20, check=True).stdout
                for line in curls
            ]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    assert '"code":0' in answers[0]
    assert "paySign" in answers[0]
    assert "TRANSACTION.SUCCESS" in answers[1]
    assert '"trade_state":"SUCCESS"' in answers[2]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url[1]}/healthz", timeout=5)


WATCHER = """
import sys, urllib.request
page, seen = sys.argv[1:]
assert urllib.request.urlopen(page).status == 200
with urllib.request.urlopen(page + "sandbox/events") as events, open(seen, "wb", 0) as file:
    file.write(page.encode() + b"\\n")
    for line in events:
        file.write(line)
"""


def test_the_page_is_opened_where_there_is_a_screen_and_told_of_the_loop_as_it_happens(tmp_path):
    (tmp_path / "watcher.py").write_text(WATCHER)
    seen = tmp_path / "seen"
    browser = f"{sys.executable} {tmp_path / 'watcher.py'} %s {seen} &"
    process = subprocess.Popen(
        command(tmp_path / "state"),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DISPLAY": ":0", "BROWSER": browser},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        told = ""
        for line in process.stdout:
            told += line
            if "The whole loop went as expected" in line or line.startswith("FAILED"):
                break
        page = re.search(r"page +(http://127\.0\.0\.1:\d+/)", told)
        lines = seen.read_text().splitlines()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()
    assert page, told
    assert lines[0] == page[1]
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert events[0] == "state"
    assert {"order", "refund", "request", "delivery"} <= set(events)
    assert '"trade_state": "SUCCESS"' in "\n".join(lines)
