"""`python -m sandbox play <story>`: ten things that happen to shops, and how they end well.

Each is played through the real function and the sandbox, on the virtual clock, with a transcript. `play` alone lists
them, `play all` plays all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from sandbox.core import OPENID, Sandbox
from sandbox.function import Function, NotAsExpected, free_port
from sandbox.stage import NOBODY_LISTENS, Stage

Story = Callable[[Stage], None]


def paid_twice(stage: Stage) -> None:
    """Paid twice: a QR code left open is paid beside the mini program's order; the second one is refunded."""
    first, second = stage.number("MINI"), stage.number("QR")
    code = stage.order(second, "native")["code_url"]
    stage.order(first)
    stage.pays(first)
    stage.opens(code_url=code)
    stage.pays(second)
    stage.expect(stage.acknowledged(first) and stage.acknowledged(second), "the shop knows of both payments")
    refund = stage.number("BACK")
    stage.refund(second, refund, 100)
    stage.advance("5m")
    stage.expect(stage.refund_status(refund) == "SUCCESS", "the second payment is back with the user")
    states = (stage.query(first)["trade_state"], stage.query(second)["trade_state"])
    stage.expect(states == ("SUCCESS", "REFUND"), "the first order stays paid, the second is refunded")


def callback_lost(stage: Stage) -> None:
    """The callback is lost: all tries of a whole day; the shop finds the payment by asking."""
    number = stage.number("LOST")
    stage.order(number)
    stage.pays(number, lose=100)
    stage.expect(stage.query(number)["trade_state"] == "SUCCESS", "a query shows the payment at once")
    stage.advance("2d")
    stage.expect(len(stage.box.deliveries) == 16, "WeChat Pay gave up after the first try and 15 repetitions")
    stage.expect(not stage.acknowledged(number), "no callback ever came: only the query told")


def function_down(stage: Stage) -> None:
    """The function is down for 40 seconds: the callback comes again, 15, 30 and 60 seconds after the payment."""
    number, function = stage.number("DOWN"), stage.box.function
    stage.order(number)
    stage.box.function = NOBODY_LISTENS
    stage.pays(number)
    stage.advance("40s")
    stage.box.function = function
    stage.expect(not stage.acknowledged(number), "three tries found nobody")
    stage.advance("25s")
    tries = [one.attempt for one in stage.box.deliveries]
    stage.expect(stage.acknowledged(number) and tries == [1, 2, 3, 4], "the fourth try is acknowledged")
    stage.advance("1d")
    stage.expect(len(stage.box.deliveries) == 4, "nothing is repeated after that")


def callback_twice(stage: Stage) -> None:
    """The callback comes twice, though it was acknowledged; the user is charged once."""
    number = stage.number("TWICE")
    stage.order(number)
    stage.pays(number, twice=True)
    ids = {one.event_id for one in stage.box.deliveries}
    answers = [one.acknowledged for one in stage.box.deliveries]
    stage.expect(answers == [True, True] and len(ids) == 1, "both copies, of one id, are acknowledged")
    paid = [step for step in stage.box.ledger.orders[number].life if step.note == "paid"]
    stage.expect(len(paid) == 1, "the second press was refused by WeChat Pay: one payment")


def refund_abnormal(stage: Stage) -> None:
    """A refund turns ABNORMAL, because the user's card is gone, and is sent by hand to another one."""
    number, refund = stage.number("CARD"), stage.number("BACK")
    stage.box.merchant.know(OPENID, account="abnormal")
    stage.order(number)
    stage.pays(number)
    stage.expect(stage.refund(number, refund, 100)["status"] == "PROCESSING", "the refund is accepted, not done")
    stage.advance("5m")
    stage.expect(stage.acknowledged(refund, "REFUND.ABNORMAL"), "the shop is told REFUND.ABNORMAL")
    stage.expect(stage.refund_status(refund) == "ABNORMAL", "and a query says the same")
    stage.say("desk", "sends it to a bank card, on the merchant platform")
    stage.box.ledger.redirect_refund(stage.box.ledger.refunds[refund].refund_id, refund, to_merchant=False)
    stage.advance("1d")
    stage.expect(stage.acknowledged(refund, "REFUND.SUCCESS"), "the shop is told REFUND.SUCCESS")


def refund_in_parts(stage: Stage) -> None:
    """A refund in parts: 40 and 40 of 100 cents, 30 more are refused, the last 20 go through."""
    number = stage.number("PARTS")
    stage.order(number)
    stage.pays(number)
    for index, cents in enumerate((40, 40)):
        stage.refund(number, f"{number}R{index}", cents)
        stage.advance("1m")
    body = {"out_trade_no": number, "out_refund_no": f"{number}R2", "amount": {"refund": 30, "total": 100}}
    refused = stage.call("wxpay_refund", body, operator=True)
    stage.expect(refused.status == 400, "30 more are refused: they would exceed the order")
    stage.refund(number, f"{number}R3", 20)
    stage.advance("5m")
    done = [one.number for one in stage.box.deliveries if one.event_type == "REFUND.SUCCESS" and one.acknowledged]
    stage.expect(done == [f"{number}R0", f"{number}R1", f"{number}R3"], "three refunds arrived, each told once")
    stage.expect(stage.query(number)["trade_state"] == "REFUND", "the order is REFUND")


def key_switch_over(stage: Stage) -> None:
    """The key switch-over: callbacks change from certificate to public key within a week, and none is lost."""
    stage.expect(stage.box.keys.share == 0.001, "the switch-over has begun: 0.1 % of the callbacks")
    for day in range(7):
        for _ in range(2):
            number = stage.number(f"DAY{day + 1}")
            stage.order(number)
            stage.pays(number, shape="direct", path="/wx-pay/unifiedOrderTrigger")
            if not stage.acknowledged(number):
                raise NotAsExpected(f"expected the callback of {number} to be believed")
        stage.advance("1d")
    serials = [one.headers["Wechatpay-Serial"] for one in stage.box.deliveries]
    kinds = ["key" if serial.startswith("PUB_KEY_ID_") else "certificate" for serial in serials]
    stage.say("WeChat Pay", f"signed with: {', '.join(kinds)}")
    stage.expect({"key", "certificate"} == set(kinds), "both kinds of serial arrived, mixed")
    stage.expect(kinds[-2:] == ["key", "key"], "on the last day all of them are the public key's")


def wechat_down(stage: Stage) -> None:
    """WeChat Pay is down for 30 seconds: the same order goes through afterwards, once."""
    number = stage.number("AGAIN")
    order = {"description": "茶 Tea", "out_trade_no": number, "amount": {"total": 100}}
    stage.say("WeChat Pay", "its main host is down")
    stage.box.fault("refuse", host="main")
    stage.order(stage.number("SPARE"))
    stage.expect(stage.box.requests[-1].host == "backup", "the backup host takes the order")
    stage.say("WeChat Pay", "both hosts are down")
    stage.box.fault("refuse", host="backup")
    failed = stage.call("wxpay_order", order)
    told = failed.status == 502 and b"outcome unknown" in failed.body
    stage.expect(told, "the shop is told that the outcome is unknown")
    stage.advance("30s")
    stage.box.clear_faults()
    stage.done("wxpay_order", order)
    stage.pays(number)
    ordered = [step.note for step in stage.box.ledger.orders[number].life]
    stage.expect(stage.acknowledged(number) and ordered == ["ordered", "paid"], "ordered once, and paid")


def expired_code(stage: Stage) -> None:
    """The QR code expires after two hours; the same order gives a new one, which disables the old."""
    number = stage.number("CODE")
    old = stage.order(number, "native")["code_url"]
    stage.advance("2h")
    stage.expect("expired" in stage.opens(code_url=old), "the old code cannot be opened any more")
    new = stage.order(number, "native")["code_url"]
    stage.expect("replaced" in stage.opens(code_url=old), "the shop's new code has replaced it")
    stage.expect(stage.opens(code_url=new) == "", "the new one opens")
    stage.pays(number)
    stage.expect(stage.acknowledged(number), "and is paid")


def transfer_unconfirmed(stage: Stage) -> None:
    """A transfer is not confirmed for 24 hours: the money comes back, and a new one, confirmed, pays."""
    bill = {
        "transfer_scene_id": "1000",
        "openid": OPENID,
        "transfer_amount": 100,
        "transfer_remark": "奖励",
        "transfer_scene_report_infos": [
            {"info_type": "活动名称", "info_content": "新会员"},
            {"info_type": "奖励说明", "info_content": "注册"},
        ],
    }
    first, second = stage.number("BILL"), stage.number("BILL")
    funds = stage.box.merchant.funds["OPERATION"]
    accepted = stage.done("wxpay_transfer", {**bill, "out_bill_no": first}, operator=True)
    stage.expect(accepted["state"] == "WAIT_USER_CONFIRM", "the user has a day to confirm")
    stage.expect(stage.box.merchant.funds["OPERATION"] == funds - 100, "the money is locked")
    stage.advance("1d")
    stage.expect(stage.acknowledged(first, "MCHTRANSFER.BILL.FINISHED"), "the shop is told that it failed")
    stage.expect(stage.box.merchant.funds["OPERATION"] == funds, "the money is back")
    again = stage.done("wxpay_transfer", {**bill, "out_bill_no": second}, operator=True)
    stage.opens(package_info=again["package_info"])
    stage.say("user", "confirms")
    stage.box.finish_transfer(second, "TRANSFERING")
    stage.advance("10s")
    state = stage.done("wxpay_transfer_bill_query", {"out_bill_no": second}, operator=True)["state"]
    stage.expect(state == "SUCCESS", "the second one, under a new number, has paid")


STORIES: dict[str, Story] = {
    story.__name__.replace("_", "-"): story
    for story in (
        paid_twice,
        callback_lost,
        function_down,
        callback_twice,
        refund_abnormal,
        refund_in_parts,
        key_switch_over,
        wechat_down,
        expired_code,
        transfer_unconfirmed,
    )
}
SWITCHING = ("key-switch-over",)
"""Stories of a merchant who has certificates and has begun to change to the public key."""


def play(name: str, sandbox: Sandbox, tell: Callable[[str], None]) -> None:
    """One story on a sandbox whose function is up and has the sandbox's `env`. Raises NotAsExpected."""
    sandbox.reset()
    if name in SWITCHING:
        sandbox.switch_over("begin")
    tell(f"{name}: {STORIES[name].__doc__}")
    STORIES[name](Stage(sandbox, tell))
    tell("  as expected\n")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox play",
        description="Plays stories through the real function. Stories: "
        + "; ".join(f"{name} ({_title(name)})" for name in STORIES),
    )
    parser.add_argument("story", nargs="?", choices=[*STORIES, "all"], help="without one: list them")
    chosen = parser.parse_args(arguments).story
    if chosen is None:
        for name in STORIES:
            _say(f"{name:<22} {_title(name)}")
        return 0
    names = list(STORIES) if chosen == "all" else [chosen]
    try:
        _play_all([name for name in names if name not in SWITCHING], "public_key")
        _play_all([name for name in names if name in SWITCHING], "certificate")
    except NotAsExpected as fault:
        _say(f"\nFAILED: {fault}")
        return 1
    return 0


def _play_all(names: Iterable[str], key_mode: str) -> None:
    """On one sandbox with one function."""
    names = list(names)
    if not names:
        return
    with Sandbox(key_mode=key_mode) as sandbox:
        address = f"127.0.0.1:{free_port(0)}"
        sandbox.function = f"http://{address}"
        with Function(address, sandbox.whole_env(public_key=True)) as function:
            function.await_start()
            for name in names:
                play(name, sandbox, _say)


def _title(name: str) -> str:
    return str(STORIES[name].__doc__).partition(":")[0]


def _say(text: str) -> None:
    print(text, flush=True)
