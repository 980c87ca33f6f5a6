"""The stand-in phone is as strict as the real one: what it would not let pass fails here too."""

from __future__ import annotations

import pytest

from sandbox import Sandbox
from sandbox.core import OPENID
from tests.examples.phone import ENV_ID, FUNCTION_NAME, MISSING_NODE, Phone
from tests.support import in_process

pytestmark = pytest.mark.skipif(bool(MISSING_NODE), reason=MISSING_NODE)

ORDER = f"""
async function order(header) {{
  const {{ data }} = await wx.cloud.callHTTPFunction({{
    name: '{FUNCTION_NAME}', config: {{ env: '{ENV_ID}' }}, method: 'POST', path: '/wx-pay/wxpay_order', header,
    data: {{ description: 'x', out_trade_no: 'STRICT_0001', amount: {{ total: 1 }} }},
  }})
  return data.data.data
}}
"""


@pytest.fixture(scope="module")
def house():
    with Sandbox() as box, in_process(box.env()) as function:
        box.function = function.url
        yield box, function.url


@pytest.fixture
def box(house):
    house[0].reset()
    return house[0]


@pytest.fixture
def phone(box, house):
    with Phone.on(box, house[1]) as phone:
        yield phone


def run(phone, body):
    """What `body` returns, run after ORDER."""
    return phone.do("invoke", source=f"{ORDER} async function method() {{ {body} }}", given=None)[0]


def paid(phone, changes):
    pay = f"wx.requestPayment({{ ...p, ...{changes} }})"
    return run(phone, f"const p = await order({{}}); return {pay}.catch((error) => error)")


def test_parameters_as_the_function_signed_them_are_paid(phone, box):
    assert paid(phone, "{}") == {"errMsg": "requestPayment:ok"}
    assert box.ledger.orders["STRICT_0001"].state == "SUCCESS"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("{ paySign: p.paySign.replace(/^./, (c) => (c === 'A' ? 'B' : 'A')) }", "支付验证签名失败"),
        ("{ timeStamp: String(Number(p.timeStamp) + 1) }", "支付验证签名失败"),
        ("{ nonceStr: 'other' }", "支付验证签名失败"),
        ("{ package: 'prepay_id=wx0' }", "支付验证签名失败"),
        ("{ timeStamp: Number(p.timeStamp) }", "parameter timeStamp should be a String"),
        ("{ paySign: undefined }", "parameter paySign should be a String"),
    ],
)
def test_changed_parameters_are_not(phone, box, changes, said):
    assert said in paid(phone, changes)["errMsg"]
    assert box.ledger.orders["STRICT_0001"].state == "NOTPAY"


def test_the_platform_says_who_it_is_whatever_the_client_sends(phone, box):
    run(phone, "return order({ 'X-WX-OPENID': 'oSomebodyElse', 'x-wx-source': 'scf' })")
    assert box.ledger.orders["STRICT_0001"].body["payer"] == {"openid": OPENID}


def test_an_answer_of_any_status_lands_in_success(phone):
    body = f"""return new Promise((resolve, reject) => wx.cloud.callHTTPFunction({{
        name: '{FUNCTION_NAME}', method: 'POST', path: '/wx-pay/wxpay_order', data: {{}},
        success: resolve, fail: reject }}))"""
    answer = run(phone, body)
    assert (answer["statusCode"], answer["data"]["code"]) == (400, -1)


def test_nothing_of_node_or_of_browsers_is_there(phone):
    names = ("require", "process", "Buffer", "fetch", "window", "document", "URL", "crypto", "localStorage")
    assert run(phone, f"return {list(names)}.map((name) => typeof globalThis[name])") == ["undefined"] * len(names)


SLIPS = {
    "an unknown name in WXML": ("", "<text>{{whose}}</text>", "WXML: no whose in data"),
    "setData of undefined": ("this.setData({ a: undefined })", "", "setData: a is undefined"),
    "an error in a handler": ("this.none()", "", "thrown: TypeError"),
    "a promise that nobody minds": ("Promise.reject(new Error('lost'))", "", "unhandled: Error: lost"),
    "a handler that rejects": ("return Promise.reject(new Error('no'))", "", "go rejected: Error: no"),
}


@pytest.mark.parametrize("what", SLIPS)
def test_a_slip_of_a_page_is_recorded(phone, tmp_path, what):
    work, markup, problem = SLIPS[what]
    files = {
        "app.js": "App({})",
        "app.json": '{"pages": ["page"]}',
        "page.js": f"Page({{ data: {{ a: 1 }}, go() {{ {work} }} }})",
        "page.wxml": f'<view><button bindtap="go">Go</button>{markup}</view>',
    }
    for name, text in files.items():
        tmp_path.joinpath(name).write_text(text, encoding="utf-8")
    phone.launch(tmp_path)
    phone.tap("Go")
    assert phone.text.startswith("(Go)")
    assert any(found.startswith(problem) for found in phone.problems)


def test_what_is_hidden_or_disabled_cannot_be_tapped(phone, tmp_path):
    files = {
        "app.js": "App({})",
        "app.json": '{"pages": ["page"]}',
        "page.js": "Page({ data: { on: false }, go() { this.setData({ on: true }) } })",
        "page.wxml": '<view><button wx:if="{{!on}}" bindtap="go">A</button><button wx:else bindtap="go">B</button>'
        '<button disabled="{{!on}}" bindtap="go">C</button></view>',
    }
    for name, text in files.items():
        tmp_path.joinpath(name).write_text(text, encoding="utf-8")
    phone.launch(tmp_path)
    for label in "BC":
        with pytest.raises(RuntimeError, match=label):
            phone.tap(label)
    phone.tap("A")
    assert phone.text == "(B)\n(C)"
