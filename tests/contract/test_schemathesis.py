"""schemathesis lets thousands of right and wrong requests loose on the function: every answer is as described.

The function runs under gunicorn with an order database, WeChat Pay is the sandbox and works. No 5xx is asked for.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controllers.pay_controller import Action
from docs import openapi_actions
from routes.actions import ACTIONS
from tests.contract.judge import Judge
from tests.contract.shop import Run, Shop, shop
from tests.support import MINI_PROGRAM, OPERATOR_KEY

LEAST = 2000
# They work on the order database alone: without one they answer 500 and name the setting.
NEED_A_DATABASE = {
    name
    for name, words in openapi_actions.ACTIONS.items()
    if words.tag in (openapi_actions.STORE, openapi_actions.BILLS)
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop(tmp_path_factory.mktemp("contract")) as found:
        found.open()
        yield found


@pytest.fixture(scope="module")
def run(running: Shop) -> Run:
    return running.run()


def test_every_answer_is_as_described(run: Run):
    print(f"{run.requests} requests, {len(run.answered)} kinds of answers")
    assert run.passed, run.output


def test_these_were_thousands_and_all_reached_the_function(run: Run):
    (generated,) = re.findall(r"(\d+) generated, (\d+) passed", run.output)
    assert generated[0] == generated[1]
    assert run.requests >= int(generated[0]) >= LEAST


def test_there_was_no_server_error(run: Run):
    assert [found for found in run.answered if found[1] >= 500] == []


def test_every_action_was_carried_out_and_refused(run: Run):
    for action in ACTIONS.values():
        if isinstance(action, Action):
            assert run.answered[action.name, 200] > 0, action.name
            assert run.answered[action.name, 400] > 0, action.name


def test_nobody_and_mere_callers_are_refused_as_described(running: Shop):
    document = running.document()
    judge = Judge(document)
    for action in (row for row in ACTIONS.values() if isinstance(row, Action)):
        example = openapi_actions.ACTIONS[action.name].example
        replies = [(401, running.function.call(action.name, example, {}))]
        if action.right != "caller":
            replies.append((403, running.function.call(action.name, example, MINI_PROGRAM)))
        for status, reply in replies:
            assert reply.status == status, action.name
            assert str(status) in document["paths"][f"/wx-pay/{action.name}"]["post"]["responses"]
            assert judge.problems({"$ref": "#/components/schemas/Failure"}, reply.body) == []


def _forget_a_status(document: dict[str, Any]) -> None:
    del document["paths"]["/wx-pay/wxpay_order_wait"]["post"]["responses"]["404"]


def _describe_another_answer(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["StoredOrder"]["properties"]["refunded"]["type"] = "string"


def _promise_too_much(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["OrderWait"]["properties"]["seconds"]["maximum"] = 100


def _promise_too_little(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["OrderWait"]["properties"]["seconds"]["minimum"] = 2


def _ask_for_no_identity(document: dict[str, Any]) -> None:
    document["components"]["headers"]["RequestId"]["schema"]["pattern"] = "^[A-Z]{8}$"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (_forget_a_status, "Undocumented HTTP status code"),
        (_describe_another_answer, "Response violates schema"),
        (_promise_too_much, "called wrong, although it keeps every rule"),
        (_promise_too_little, "taken, although it breaks a rule"),
        (_ask_for_no_identity, "Response header"),
    ],
)
def test_a_fault_of_the_description_is_found(fault: Callable[[dict[str, Any]], None], says: str, running: Shop):
    document = copy.deepcopy(running.document())
    fault(document)
    only = ("--include-path", "/wx-pay/wxpay_order_wait", "--phases", "examples,coverage")
    found = running.run(*only, document=document)
    assert not found.passed
    assert says in found.output, found.output


def test_without_a_database_too_every_answer_is_as_described(tmp_path: Path):
    """In fewer cases, and without the actions that cannot work then."""
    with shop(tmp_path, database=False) as found:
        found.open()
        document = found.document()
        in_body = document["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]["schema"]["anyOf"][0]
        for name in NEED_A_DATABASE:
            del document["paths"][f"/wx-pay/{name}"]
            del in_body["discriminator"]["mapping"][name]
            in_body["oneOf"].remove({"$ref": f"#/components/schemas/{name}_in_body"})
        for operations in document["paths"].values():
            for operation in operations.values():
                for name in NEED_A_DATABASE:
                    operation["responses"].get("200", {}).get("links", {}).pop(name, None)
        run = found.run("--phases", "examples,fuzzing", "--max-examples", "4", document=document)
        assert run.passed, run.output
        assert [answer for answer in run.answered if answer[1] >= 500] == []
        for name in NEED_A_DATABASE:
            example = openapi_actions.ACTIONS[name].example
            reply = found.function.call(name, example, {**MINI_PROGRAM, "X-Operator-Key": OPERATOR_KEY})
            assert (reply.status, "orderDatabaseUrl" in reply.body["msg"]) == (500, True)
