"""No room for what the function writes: temporary files, the order database, its log."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sys
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from sandbox import Credentials
from tests.faults_around.around import OPERATOR, made_database, own_mounts, shop
from tests.orders.fleet import Books
from tests.support import ROOT

TMP = Path("/tmp")
ELSEWHERE = ("/var/tmp", "/usr/tmp")
# Yesterday's bill is there from ten in the morning on.
DAY = (datetime.now(timezone(timedelta(hours=8))) - timedelta(days=2)).date().isoformat()


def full_tmp(*kept: Path) -> list[str]:
    """Lines of sh: /tmp and its like are full, but for these folders in it; the code cannot be written to either."""
    lines = [f"mount --bind {TMP} /mnt", f"mount -t tmpfs -o size=64k,mode=1777 tmpfs {TMP}"]
    for folder in kept:
        if folder.is_relative_to(TMP):
            lines += [f"mkdir -p {folder}", f"mount --bind /mnt/{folder.relative_to(TMP)} {folder}"]
    lines += ["umount /mnt", f"mount --bind {ROOT} {ROOT}", f"mount -o remount,bind,ro {ROOT}", f"cd {ROOT}"]
    others = [place for place in ELSEWHERE if Path(place).is_dir()]
    lines += [f"mount -t tmpfs -o size=64k tmpfs {place}" for place in others]
    return lines + [f"dd if=/dev/zero of={place}/filler bs=4k 2> /dev/null || true" for place in (TMP, *others)]


def test_with_a_full_tmp_only_a_large_bill_has_to_wait(
    tmp_path: Path, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
):
    mounts = own_mounts(*full_tmp(ROOT, Path(sys.prefix), Path(sys.base_prefix), tmp_path))
    with shop(tmp_path, credentials, prefix=mounts) as running:
        assert os.statvfs(f"/proc/{running.worker()}/root{TMP}").f_bfree == 0
        number = running.paid()
        assert running.deliver(number).acknowledged
        order = {"description": "Tea", "out_trade_no": "LARGE0001", "amount": {"total": 1}, "padding": "x" * 1_400_000}
        assert running.function.call("wxpay_order", order).status == 200
        assert running.function.call("wxpay_trade_bill", {"bill_date": DAY}, OPERATOR).status == 200

        files = running.box._files
        large = secrets.token_bytes(2**21)
        monkeypatch.setattr(files, "trade_bill", lambda query, origin: files._offered((large, False), origin))
        refused = running.function.call("wxpay_trade_bill", {"bill_date": DAY}, OPERATOR)
        assert refused.status == 503, refused.text
        assert refused.body["msg"].startswith("the bill does not fit into the folder for temporary files (")
        running.assert_kept_once(number)


def test_with_a_full_disk_under_the_database_nothing_is_acknowledged_unkept(tmp_path: Path, credentials: Credentials):
    disk, made = tmp_path / "disk", made_database(tmp_path / "made.sqlite3")
    disk.mkdir()
    mounts = own_mounts(f"mount -t tmpfs -o size=4m tmpfs {disk}", f"cp {made} {disk}/orders.sqlite3")
    with shop(tmp_path, credentials, database=f"sqlite:///{disk}/orders.sqlite3", prefix=mounts) as running:
        seen = Path(f"/proc/{running.worker()}/root{disk}")
        numbers = [running.paid() for _ in range(12)]
        with (seen / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(bytes(4096)):
                pass
        told = {}
        for _ in range(40):  # what is left in the database's own files is used up first
            told = {number: running.deliver(number) for number in numbers}
            if not any(delivery.acknowledged for delivery in told.values()):
                break
        assert {(one.status, one.json["code"]) for one in told.values()} == {(500, "FAIL")}
        sent = len(running.box.requests)
        late, reply = running.order()
        assert reply.status == 503
        assert len(running.box.requests) == sent, "what cannot be written down is not sent"

        (seen / "filler").unlink()
        for number in numbers:
            assert running.deliver(number).acknowledged
        assert running.order(late)[1].status == 200
        running.books = copied(seen, tmp_path / "copy")
        running.assert_kept_once(*numbers)


def copied(folder: Path, to: Path) -> Books:
    """SQLite itself would look for it where this process sees that path."""
    shutil.copytree(folder, to)
    return Books(f"sqlite:///{to}/orders.sqlite3")


def test_nobody_who_stops_reading_the_log_stops_the_function(tmp_path: Path, credentials: Credentials):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 4 * 4096)
    try:
        prefix = ["sh", "-c", f'exec "$@" > {fifo}', "sh"]
        with shop(tmp_path, credentials, prefix=prefix, logLevel="debug") as running:
            numbers = [running.paid() for _ in range(20)]
            assert all(running.deliver(number).acknowledged for number in numbers)
            before = read_all(reading)
            running.order()
            line, *after = read_all(reading).splitlines()[1:]
            assert json.loads(line)["message"].endswith(" log lines were dropped: nobody read them")
            assert len([json.loads(line) for line in after]) >= 3, "from here on nothing is missing"
            assert before

            os.close(reading)
            reading = -1
            last = running.paid()
            assert running.deliver(last).acknowledged, "nor does one who leaves"
            running.assert_kept_once(*numbers, last)
    finally:
        if reading >= 0:
            os.close(reading)


def read_all(pipe: int) -> str:
    read = b""
    with suppress(BlockingIOError):
        while piece := os.read(pipe, 65536):
            read += piece
    return read.decode()


def test_without_any_output_it_serves_and_writes_into_nothing_else(tmp_path: Path, credentials: Credentials):
    """The first file that is opened gets the number of what was closed: it must not get the log."""
    with shop(tmp_path, credentials, prefix=["sh", "-c", 'exec "$@" >&- 2>&-', "sh"]) as running:
        numbers = [running.paid() for _ in range(3)]
        assert all(running.deliver(number).acknowledged for number in numbers)
        running.assert_kept_once(*numbers)
        assert running.books.rows("PRAGMA integrity_check") == [("ok",)]
