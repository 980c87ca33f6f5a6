"""After any number of broken calls the worker has no more open files than before.

`DESCRIPTOR_CALLS` sets how many calls, of which each is spoilt in another way, or two in five not at all.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox import Credentials
from tests.hostile_network.attacks import BREAKS, EARLY, ENCODINGS, FRAMING, GARBAGE, REDIRECTS, SLOW
from tests.hostile_network.scene import Scene, scene
from tests.hostile_network.test_hosts import HOSTS
from tests.hostile_network.wire import Exchange, Greet, Wire, until

CALLS = int(os.environ.get("DESCRIPTOR_CALLS", "500"))
CALLERS = 8
SEED = 20261126
QUICK = [*{**BREAKS, **EARLY, **FRAMING, **GARBAGE, **REDIRECTS, **ENCODINGS}.values()]
SPEECHLESS = [host for host in HOSTS.values() if 504 not in host.statuses]


def spoil(of: Scene, wire: Wire, chance: random.Random) -> None:
    """Two in five requests are answered, one in five hundred very slowly; every tenth connection fails before that."""
    lock, greetings = threading.Lock(), [host.make(of, wire) for host in SPEECHLESS]

    def act(x: Exchange) -> None:
        with lock:
            attack = chance.choice(QUICK) if chance.random() < 0.6 else None
            if chance.random() < 0.002:
                attack = chance.choice(list(SLOW.values()))
        if attack is None:
            x.send(x.truth())
        else:
            attack.act(x)

    def greet(sock):
        with lock:
            how: Greet = chance.choice(greetings) if chance.random() < 0.1 else wire.speak_tls
        return how(sock)

    wire.act, wire.greet = act, greet


def open_files(process: int) -> Counter[str]:
    """Of a process: how many of each kind."""
    kinds: Counter[str] = Counter()
    for link in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            kinds[str(link.readlink()).split(":")[0]] += 1
    return kinds


def memory(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS:"))


def test_no_call_leaves_a_socket_behind(credentials: Credentials, tmp_path: Path) -> None:
    with scene(tmp_path, credentials, logLevel="critical") as made:
        chance, statuses = random.Random(SEED), Counter[int]()
        made.place("QUERIED001")

        def call(turn: int) -> None:
            reply = made.query("QUERIED001") if turn % 3 else made.order(f"ORDER{turn:06d}")
            statuses[reply.status] += 1

        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(call, range(CALLERS * 5)))
            before, least = open_files(made.worker), memory(made.worker)
            for wire in (made.main, made.backup):
                spoil(made, wire, chance)
            list(pool.map(call, range(CALLS)))
        for wire in (made.main, made.backup):
            wire.greet, wire.act = None, lambda x: x.send(x.truth())
        after, most = open_files(made.worker), memory(made.worker)
        print(f"{CALLS} calls, {dict(statuses)}: {dict(before)} -> {dict(after)}, {least} MB -> {most} MB")
        assert set(statuses) <= {200, 502, 504}
        assert statuses[200] > CALLERS * 5
        assert statuses[502] > CALLS / 10
        # What may be there is what is kept for the next calls: a connection to each host for each caller.
        assert after["socket"] - before["socket"] <= 2 * CALLERS
        assert after - before <= Counter(socket=2 * CALLERS)
        made.main.hang_up()
        made.backup.hang_up()
        until(lambda: made.query("QUERIED001").status == 200)
