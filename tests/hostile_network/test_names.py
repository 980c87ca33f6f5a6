"""Looking up WeChat Pay's names: a resolver that is silent, says no, is late, or knows too many addresses.

getaddrinfo has no deadline of its own: with one silent resolver it takes ten seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.hostile_network.names import BACKUP, MAIN, NO_NAMESPACE, TIMEOUT
from tests.hostile_network.scene import CALLBACK_TIMEOUT, MARGIN
from tests.support import ROOT

Told = dict[str, Any]


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """What came of each act, all of them in one network namespace."""
    command = [sys.executable, "-m", "tests.hostile_network.names", str(tmp_path_factory.mktemp("names"))]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    if run.returncode == NO_NAMESPACE:
        pytest.skip("not run: this machine lets nobody make a network and file systems of his own (unshare)")
    assert run.returncode == 0, run.stdout + run.stderr
    told: dict[str, Told] = json.loads(run.stdout.splitlines()[-1])
    return told


def assert_in_time(told: Told) -> None:
    margin = MARGIN + 5 * told["machine late"]
    assert told["slowest"] < TIMEOUT + margin
    assert told["slowest callback"] < CALLBACK_TIMEOUT + margin


def assert_settled(told: Told) -> None:
    assert set(told["statuses"]) == {200}
    assert told["callback"] == 200


def assert_unknown(told: Told, status: int, text: str) -> None:
    """Told as unknown, and a callback is not acknowledged."""
    assert set(told["statuses"]) == {status}
    assert set(told["outcomes"]) == {"unknown"}
    assert [message for message in told["messages"] if not message.startswith(text)] == []
    assert told["callback"] == 503


def test_with_a_resolver_that_works_the_official_hosts_are_reached(acts):
    assert_settled(acts["resolves"]["now"])
    assert acts["resolves"]["asked"] == [MAIN]


@pytest.mark.parametrize("act", ["silence", "silence to twenty"])
def test_a_silent_resolver_does_not_break_the_deadline(acts, act):
    told = acts[act]
    assert_unknown(told["now"], 504, "no whole answer from WeChat Pay within ")
    assert_in_time(told)
    assert told["asked"] == [MAIN, BACKUP]


def test_a_silent_resolver_does_not_fill_the_function_with_threads(acts):
    """22 callers, gunicorn's own two or three, and a look-up a second of each host."""
    assert acts["silence to twenty"]["threads"] <= 22 + 3 + 2 * (TIMEOUT + 1)


@pytest.mark.parametrize("act", ["no such name", "server failure", "refused", "no addresses"])
def test_a_resolver_that_says_no_is_told_at_once(acts, act):
    assert_unknown(acts[act]["now"], 502, "no answer from WeChat Pay (NameResolutionError)")
    assert_in_time(acts[act])


@pytest.mark.parametrize("act", ["silence about the first", "no such name for the first"])
def test_a_first_host_without_an_address_is_made_good_by_the_second(acts, act):
    assert_settled(acts[act]["now"])
    assert_in_time(acts[act])
    assert acts[act]["asked"] == [MAIN, BACKUP]


@pytest.mark.parametrize("act", ["a late answer", "many addresses"])
def test_the_time_for_a_connection_is_there_for_slow_resolvers_and_dead_addresses(acts, act):
    assert_settled(acts[act]["now"])
    assert_in_time(acts[act])


def test_of_eight_addresses_seven_were_dead(acts):
    assert acts["many addresses"]["slowest"] > 1


@pytest.mark.parametrize(
    "act", ["silence", "silence to twenty", "no such name", "server failure", "refused", "no addresses"]
)
def test_once_the_resolver_is_back_everything_works_at_once(acts, act):
    assert_settled(acts[act]["later"])
