"""Configurations that are wrong, one mistake each: the doctor names the variable and the remedy, and nothing else."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from sandbox import Credentials
from sandbox.credentials import private_pem, public_pem
from services.order_service import OrderService
from tests.doctor.clinic import API_V3_KEY, CENTER, HOST, OPERATOR_KEY, OWN, diagnose, production

Value = str | None | Callable[[Credentials], str]


@dataclass(frozen=True)
class Mistake:
    """`set` are the variables that differ from a good configuration; `fix` must stand in the remedy."""

    variable: str
    fix: str
    set: Mapping[str, Value]
    mode: str = "sdk"
    level: str = "error"
    what: str = ""


def cut_key(credentials: Credentials) -> str:
    return private_pem(credentials.merchant.key)[:900]


def merchant_certificate(credentials: Credentials) -> str:
    return credentials.merchant.pem


def platform_certificate(credentials: Credentials) -> str:
    return credentials.platform[0].pem


def merchant_public_key(credentials: Credentials) -> str:
    return public_pem(credentials.merchant.key)


def merchant_key(credentials: Credentials) -> str:
    return private_pem(credentials.merchant.key)


def wechat_pay_key(credentials: Credentials) -> str:
    return public_pem(credentials.public_key)


def serial(credentials: Credentials) -> str:
    return credentials.merchant.serial


def bytewise_serial(credentials: Credentials) -> str:
    return ":".join(serial(credentials)[at : at + 2] for at in range(0, 40, 2))


def decimal_serial(credentials: Credentials) -> str:
    return str(int(serial(credentials), 16))


def key_id(credentials: Credentials) -> str:
    return credentials.public_key_id


def app_id(credentials: Credentials) -> str:
    return credentials.app_id


def mchid(credentials: Credentials) -> str:
    return credentials.merchant_id


MISTAKES: dict[str, Mistake] = {
    # Mini program Q2, MISSING_CREDENTIALS: each of the seven values, and the addresses
    "no AppID": Mistake("appId", "mp.weixin.qq.com", {"appId": None}, what="is not set"),
    "no merchant number": Mistake("merchantId", "merchant platform's home page", {"merchantId": None}),
    "no APIv3 key": Mistake("apiV3Key", "Set APIv3 Key", {"apiV3Key": None}),
    "no serial number": Mistake("merchantSerialNumber", "API Certificate", {"merchantSerialNumber": None}),
    "no private key": Mistake("privateKey", "apiclient_key.pem", {"privateKey": None}),
    "no public key": Mistake("wxPayPublicKey", "wxp_pub.pem", {"wxPayPublicKey": None}),
    "no public key id": Mistake("wxPayPublicKeyId", "PUB_KEY_ID_", {"wxPayPublicKeyId": None}),
    "neither key nor id": Mistake(
        "wxPayPublicKey",
        "--online tells",
        {"wxPayPublicKey": None, "wxPayPublicKeyId": " "},
        level="warning",
        what="nor is wxPayPublicKeyId",
    ),
    "no payment address": Mistake("notifyURLPayURL", "unifiedOrderTrigger", {"notifyURLPayURL": None}),
    "no refund address": Mistake(
        "notifyURLRefundsURL", "refundTrigger", {"notifyURLRefundsURL": None}, level="warning"
    ),
    # Mini program Q3 and integration Q8: the key was damaged on its way
    "a key that is cut off": Mistake("privateKey", "whole content of apiclient_key.pem", {"privateKey": cut_key}),
    "only the key's first line, as from several lines in .env": Mistake(
        "privateKey", "into one line", {"privateKey": "-----BEGIN PRIVATE KEY-----"}
    ),
    "a path instead of a key": Mistake("privateKey", "whole content", {"privateKey": "./apiclient_key.pem"}),
    # The guide, 1.3: do not confuse the two sides
    "the merchant's certificate as its key": Mistake(
        "privateKey", "apiclient_cert.pem) stands there", {"privateKey": merchant_certificate}
    ),
    "WeChat Pay's key as the merchant's": Mistake(
        "privateKey", "a public key, which belongs into wxPayPublicKey", {"privateKey": wechat_pay_key}
    ),
    "the merchant's certificate as WeChat Pay's key": Mistake(
        "wxPayPublicKey", "certificate (apiclient_cert.pem) stands there", {"wxPayPublicKey": merchant_certificate}
    ),
    "a platform certificate as WeChat Pay's key": Mistake(
        "wxPayPublicKey", "A platform certificate of WeChat Pay stands there", {"wxPayPublicKey": platform_certificate}
    ),
    "the merchant's public key as WeChat Pay's": Mistake(
        "wxPayPublicKey", "wxp_pub.pem", {"wxPayPublicKey": merchant_public_key}, what="public half of privateKey"
    ),
    "the private key as WeChat Pay's": Mistake(
        "wxPayPublicKey", "which belongs into privateKey", {"wxPayPublicKey": merchant_key}
    ),
    # Mini program Q10: the id does not go with the key
    "a serial number as the key's id": Mistake(
        "wxPayPublicKeyId", "Copy PUB_KEY_ID_", {"wxPayPublicKeyId": serial}, what="certificate's serial number"
    ),
    "the key's id as a serial number": Mistake(
        "merchantSerialNumber", "which belongs into wxPayPublicKeyId", {"merchantSerialNumber": key_id}
    ),
    "a serial number with colons": Mistake(
        "merchantSerialNumber", "without separators", {"merchantSerialNumber": bytewise_serial}
    ),
    "a serial number in decimal": Mistake("merchantSerialNumber", "in hex", {"merchantSerialNumber": decimal_serial}),
    # Values in each other's place
    "the merchant number as AppID": Mistake("appId", "which belongs into merchantId", {"appId": mchid}),
    "the AppID as merchant number": Mistake("merchantId", "which belongs into appId", {"merchantId": app_id}),
    "an original id as AppID": Mistake("appId", "original id (gh_…)", {"appId": "gh_0123456789ab"}),
    "an APIv3 key that lost a character": Mistake(
        "apiV3Key", "Set APIv3 Key", {"apiV3Key": API_V3_KEY[:-1]}, what="it has 31"
    ),
    "the APIv2 key as APIv3 key": Mistake(
        "apiV3Key", "Paste the 32 characters", {"mchV2Key": API_V3_KEY}, what="is the same as mchV2Key"
    ),
    "the AppSecret as APIv3 key": Mistake(
        "apiV3Key", "Paste the 32 characters", {"WX_APP_SECRET": API_V3_KEY}, what="is the same as WX_APP_SECRET"
    ),
    "the APIv3 key as operator's key": Mistake("operatorKey", "openssl rand -hex 32", {"operatorKey": API_V3_KEY}),
    "an APIv3 key that is typed": Mistake(
        "apiV3Key", "openssl rand -hex 16", {"apiV3Key": "12345678901234567890123456789012"}, level="warning"
    ),
    "an operator's key that is typed": Mistake(
        "operatorKey", "openssl rand", {"operatorKey": "letmein!" * 4}, level="warning"
    ),
    "an operator's key that is short": Mistake("operatorKey", "openssl rand", {"operatorKey": "letmein"}),
    # Names
    "APPID": Mistake("appId", "APPID is set: write its name exactly", {"appId": None, "APPID": app_id}),
    "apiv3key": Mistake("apiV3Key", "apiv3key is set", {"apiV3Key": None, "apiv3key": API_V3_KEY}),
    "mchid": Mistake("merchantId", "mchid is set", {"merchantId": None, "mchid": mchid}),
    "notifyUrlPayUrl": Mistake(
        "notifyURLPayURL",
        "notifyUrlPayUrl is set",
        {"notifyURLPayURL": None, "notifyUrlPayUrl": OWN + "unifiedOrderTrigger"},
    ),
    "operator_key": Mistake(
        "operatorKey", "exactly as operatorKey", {"operator_key": OPERATOR_KEY, "operatorKey": None, "operatorIds": "*"}
    ),
    "merchantSerialNo": Mistake(
        "merchantSerialNumber", "merchantSerialNo is set", {"merchantSerialNumber": None, "merchantSerialNo": serial}
    ),
    "callbackTimeOuts": Mistake(
        "callbackTimeout", "if that is what is meant", {"callbackTimeOuts": "4"}, level="warning"
    ),
    # Samples and templates
    "the guide's AppID": Mistake("appId", "mp.weixin.qq.com", {"appId": "wxc1546068399a59fc"}, what="sample"),
    "an AppID of crosses": Mistake("appId", "mp.weixin.qq.com", {"appId": "wx" + "X" * 16}, what="sample"),
    "a sample merchant number": Mistake("merchantId", "home page", {"merchantId": "1900000000"}, what="sample"),
    "the guide's environment": Mistake(
        "cloudbaseEnvId", "Environment Overview", {"cloudbaseEnvId": "your-env-id"}, what="sample"
    ),
    "the words of a form": Mistake(
        "apiV3Key", "The sample value of a guide or form stands there. Paste", {"apiV3Key": "<your APIv3 key>"}
    ),
    "an unfilled template": Mistake("appId", "give the variable a value in `.env`", {"appId": "{{env.appId}}"}),
    # Mini program Q5, integration Q10: no callback arrives
    "http": Mistake("notifyURLPayURL", "https://", {"notifyURLPayURL": f"http://{HOST}/wx-pay/unifiedOrderTrigger"}),
    "localhost": Mistake(
        "notifyURLPayURL", "https://", {"notifyURLPayURL": "https://localhost/wx-pay/unifiedOrderTrigger"}
    ),
    "the domain alone": Mistake("notifyURLPayURL", "/wechatpay/order", {"notifyURLPayURL": f"https://{HOST}"}),
    "a sample host": Mistake(
        "notifyURLPayURL",
        "unifiedOrderTrigger",
        {"notifyURLPayURL": "https://shop.example.com/wx-pay/unifiedOrderTrigger"},
        what="documents only",
    ),
    "a changed path at the Integration Center": Mistake(
        "notifyURLPayURL", "/wechatpay/order.", {"notifyURLPayURL": CENTER + "pay"}, "gateway"
    ),
    "a path of one's own": Mistake(
        "notifyURLPayURL",
        "/wx-pay/unifiedOrderTrigger",
        {"notifyURLPayURL": f"https://{HOST}/notify"},
        level="warning",
    ),
    "refunds reported as payments": Mistake(
        "notifyURLRefundsURL",
        "/wx-pay/refundTrigger",
        {"notifyURLRefundsURL": OWN + "unifiedOrderTrigger"},
        what="is the address for payments",
    ),
    "transfers to the Integration Center": Mistake(
        "transferNotifyUrl", "Leave it out", {"transferNotifyUrl": CENTER + "transfer"}, "gateway", "warning"
    ),
    "sdk behind the Integration Center": Mistake(
        "signMode",
        "signMode=gateway",
        {"notifyURLPayURL": CENTER + "order", "notifyURLRefundsURL": CENTER + "refund"},
    ),
    "gateway without the Integration Center": Mistake(
        "signMode", "signMode=sdk", {"signMode": "gateway"}, level="warning"
    ),
    "a mode that does not exist": Mistake("signMode", "gateway behind the Integration Center", {"signMode": "SDK"}),
    # Who may do what
    "trusted headers on a public route": Mistake("callerHeaders", "set ignored", {"callerHeaders": "trusted"}),
    "operators whom nothing verifies": Mistake(
        "operatorIds", "cloudbaseEnvId", {"operatorIds": "oOperator0000000000000000001", "operatorKey": None}
    ),
    "everybody an operator": Mistake(
        "operatorIds", "operatorKey", {"operatorIds": "*", "operatorKey": None}, level="warning"
    ),
    "nobody an operator": Mistake("operatorKey", "openssl rand", {"operatorKey": None}, level="warning"),
    "public actions that are not": Mistake(
        "publicActions", "callerHeaders=ignored", {"publicActions": "wxpay_order_h5"}, level="warning"
    ),
    "an action that does not exist": Mistake(
        "publicActions", "names of actions", {"publicActions": "wxpay_pay", "callerHeaders": "ignored"}
    ),
    "plaintext believed": Mistake(
        "callbackTrust", "Leave callbackTrust out", {"callbackTrust": "platform"}, "gateway", "warning"
    ),
    "plaintext believed by a public function": Mistake(
        "callbackTrust", "Leave callbackTrust out", {"callbackTrust": "platform", "callerHeaders": "ignored"}, "gateway"
    ),
    "trust without effect": Mistake(
        "callbackTrust", "Leave callbackTrust out", {"callbackTrust": "platform"}, level="warning"
    ),
    "any origin": Mistake("corsAllowOrigin", "no *", {"corsAllowOrigin": "*"}),
    "an origin with a slash": Mistake("corsAllowOrigin", "no slash", {"corsAllowOrigin": "https://shop.tea-house.cn/"}),
    # Orders
    "nothing keeps orders": Mistake(
        "orderDatabaseUrl", "orderService", {"orderDatabaseUrl": None}, level="warning"
    ),
    "a password that is not encoded": Mistake(
        "orderDatabaseUrl", "@ is %40", {"orderDatabaseUrl": "mysql://shop:p@ss@10.0.0.3/shop"}
    ),
    "a file of the instance": Mistake(
        "orderDatabaseUrl", "mysql://", {"orderDatabaseUrl": "sqlite:////tmp/orders.sqlite3"}, level="warning"
    ),
    "a class that is not there": Mistake("orderService", "deployed", {"orderService": "services.shop:Missing"}),
    "a webhook without its secret": Mistake(
        "eventWebhookSecret", "whsec_", {"eventWebhookUrl": "https://shop.tea-house.cn/events"}
    ),
    # The rest
    "the sandbox left over": Mistake(
        "wxPayApiBase", "https://api.mch.weixin.qq.com", {"wxPayApiBase": "http://127.0.0.1:8900"}
    ),
    "another host": Mistake(
        "wxPayApiBase",
        "https://api.mch.weixin.qq.com",
        {"wxPayApiBase": "https://api.mch.weixin.cn", "wxPayApiBackup": "https://api2.mch.weixin.qq.com"},
        level="warning",
    ),
    "the sandbox's key": Mistake(
        "apiV3Key", "real merchant", {"apiV3Key": "SANDBOXq7Zc2Lw9Xf4Rt8Yb3Nm6Kd1Hs"}
    ),
    "too much time": Mistake("wxPayTimeout", "1 to 18", {"wxPayTimeout": "30"}),
    "a level of others": Mistake("logLevel", "warning or error", {"logLevel": "WARN"}),
    "too much for CloudBase": Mistake(
        "operatorIds", "bare base64", {"operatorIds": ",".join(["o" + "0Ab" * 9] * 60), "cloudbaseEnvId": "shop-1g2h"}
    ),
    "nearly too much": Mistake(
        "privateKey",
        "config/defaults.py",
        {"operatorIds": ",".join(["o" + "0Ab" * 9] * 35), "cloudbaseEnvId": "shop-1g2h"},
        level="warning",
        what="of 4096",
    ),
}


def broken(credentials: Credentials, mistake: Mistake) -> dict[str, str]:
    changes = {name: value(credentials) if callable(value) else value for name, value in mistake.set.items()}
    return production(credentials, mistake.mode, **changes)


# One mistake that is two findings: the other says what else comes of it.
ALSO = {"operator_key": {"operatorIds"}}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_variable_and_its_remedy_and_nothing_else_is(
    credentials: Credentials, name: str
) -> None:
    mistake = MISTAKES[name]
    told = diagnose(broken(credentials, mistake))
    assert {finding["variable"] for finding in told.findings} == {mistake.variable} | ALSO.get(name, set())
    [finding] = told.about(mistake.variable)
    assert finding["level"] == mistake.level
    assert mistake.fix in finding["fix"]
    assert mistake.what in finding["what"]


def test_keys_that_are_as_short_as_can_be_are_not_to_be_shortened(credentials: Credentials) -> None:
    texts = {"privateKey": private_pem(credentials.merchant.key), "wxPayPublicKey": public_pem(credentials.public_key)}
    bare = {name: "".join(text.splitlines()[1:-1]) for name, text in texts.items()}
    many = {"operatorIds": ",".join(["o" + "0Ab" * 9] * 60), "cloudbaseEnvId": "shop-1g2h"}
    finding = diagnose(production(credentials, **bare, **many)).the("operatorIds")
    assert finding["fix"].startswith("Move what is not secret into config/defaults.py")


def test_there_are_more_than_thirty() -> None:
    assert len(MISTAKES) >= 30


GOOD: dict[str, dict[str, str | None]] = {
    "as it is": {},
    "tokens and operators": {
        "cloudbaseEnvId": "shop-5gy4ugzreef15cfe",
        "operatorIds": "oOperator0000000000000000001",
        "operatorKey": None,
    },
    "an order service of one's own": {
        "orderDatabaseUrl": None,
        "orderService": "examples.own_order_service.orders:ShopOrders",
    },
    "a public twin": {"callerHeaders": "ignored", "operatorKey": None},
    "both AppIDs": {"service_app_id": "wx0123456789abcdef", "transferNotifyUrl": OWN + "transferTrigger"},
    "a prefix before the route": {
        "notifyURLPayURL": f"https://{HOST}/api/v1/wx-pay/unifiedOrderTrigger/",
        "corsAllowOrigin": "https://shop.tea-house.cn",
    },
    "a kept file": {"orderDatabaseUrl": "sqlite:////var/lib/shop/orders.sqlite3"},
    "names of others": {
        "LOG_LEVEL": "debug",
        "DATABASE_URL": "x",
        "APP_SECRET": "0123456789abcdef0123456789abcdef",
        "PORT": "80",
        "PATH": "/usr/bin",
    },
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_configuration_has_no_findings(credentials: Credentials, name: str) -> None:
    told = diagnose(production(credentials, **GOOD[name]))
    assert (told.findings, told.exit_code) == ([], 0)


@pytest.mark.parametrize("trust", [None, "trusted"])
def test_nor_has_one_behind_the_integration_center(credentials: Credentials, trust: str | None) -> None:
    assert diagnose(production(credentials, "gateway", callerHeaders=trust)).findings == []


def test_nor_has_the_private_one_of_two_functions(credentials: Credentials) -> None:
    """Its twin takes the callbacks, by a public route."""
    assert diagnose(production(credentials, signMode=None, callerHeaders="trusted")).findings == []


def test_an_order_service_that_decides_itself_makes_operators_of_its_own(credentials: Credentials) -> None:
    class Owners(OrderService):
        def authorize(self, action: str, params: object, caller: object) -> None:
            pass

    env = production(credentials, operatorKey=None, orderDatabaseUrl=None, orderService="shop:Owners")
    told = diagnose(env, order_service=Owners())
    assert told.findings == []


PASTED: dict[str, Callable[[str], str]] = {
    "literal line ends": lambda pem: pem.replace("\n", "\\n"),
    "CRLF": lambda pem: pem.replace("\n", "\r\n"),
    "blanks for line ends": lambda pem: pem.replace("\n", " "),
    "no line ends": lambda pem: pem.replace("\n", ""),
    "quotes": lambda pem: f'"{pem}"',
    "no armour": lambda pem: "".join(pem.split("-----")[2].split()),
    "blanks around": lambda pem: f"  {pem}  \n",
    "no first line": lambda pem: pem.partition("\n")[2],
    "no last line": lambda pem: pem.rpartition("\n-----END")[0],
}


@pytest.mark.parametrize("shape", PASTED)
def test_what_the_function_mends_is_no_finding(credentials: Credentials, shape: str) -> None:
    env = production(credentials)
    for name in ("privateKey", "wxPayPublicKey"):
        env[name] = PASTED[shape](env[name])
    assert diagnose(env).findings == []


def test_all_at_once_is_told_at_once() -> None:
    told = diagnose({})
    wanted = {"appId", "merchantId", "merchantSerialNumber", "privateKey", "apiV3Key", "notifyURLPayURL"}
    assert wanted <= {finding["variable"] for finding in told.findings if finding["level"] == "error"}


def test_bare_base64_saves_what_is_promised(credentials: Credentials) -> None:
    crowd = {"operatorIds": ",".join(["o" + "0Ab" * 9] * 40), "cloudbaseEnvId": "shop-1g2h"}
    env = production(credentials, **crowd)
    [told] = diagnose(env).findings
    size = int(told["what"].split(" hold ")[1].split()[0])
    saved = int(told["fix"].split(" saves ")[1].split()[0])
    assert size == sum(len(name) + len(value) for name, value in env.items())
    bare = env | {name: PASTED["no armour"](env[name]) for name in ("privateKey", "wxPayPublicKey")}
    assert size - saved == sum(len(name) + len(value) for name, value in bare.items())


# The certificate


def certificate(
    key: rsa.RSAPrivateKey, owner: str, serial_number: int, ends: timedelta = timedelta(days=365)
) -> str:
    now = datetime.now(timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, owner)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com Root CA")]))
        .public_key(key.public_key())
        .serial_number(serial_number)
        .not_valid_before(now - timedelta(days=800))
        .not_valid_after(now + ends)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )


@pytest.fixture(scope="module")
def other_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def with_certificate(credentials: Credentials, folder: Path, text: str, **changes: str) -> object:
    file = folder / "apiclient_cert.pem"
    file.write_text(text)
    return diagnose(production(credentials, **changes), "--certificate", str(file))


def test_a_certificate_that_fits_is_checked(credentials: Credentials, tmp_path: Path) -> None:
    told = with_certificate(credentials, tmp_path, credentials.merchant.pem)
    assert told.findings == []
    assert any("against apiclient_cert.pem" in sentence for sentence in told.checked)


def test_without_one_that_is_said(credentials: Credentials) -> None:
    assert any("no apiclient_cert.pem" in sentence for sentence in diagnose(production(credentials)).not_checked)


def test_another_serial_number(credentials: Credentials, tmp_path: Path) -> None:
    told = with_certificate(credentials, tmp_path, credentials.merchant.pem, merchantSerialNumber="7" + "AB" * 19 + "C")
    assert credentials.merchant.serial in told.the("merchantSerialNumber")["fix"]


def test_another_key(credentials: Credentials, tmp_path: Path, other_key: rsa.RSAPrivateKey) -> None:
    told = with_certificate(credentials, tmp_path, credentials.merchant.pem, privateKey=private_pem(other_key))
    assert "same zip file" in told.the("privateKey")["fix"]


def test_another_merchant(credentials: Credentials, tmp_path: Path) -> None:
    told = with_certificate(credentials, tmp_path, credentials.merchant.pem, merchantId="1612345678")
    assert "one and the same merchant" in told.the("merchantId")["fix"]


@pytest.mark.parametrize(("days", "level"), [(-1, "error"), (10, "warning")])
def test_a_certificate_that_ends(credentials: Credentials, tmp_path: Path, days: int, level: str) -> None:
    number = int(credentials.merchant.serial, 16)
    text = certificate(credentials.merchant.key, credentials.merchant_id, number, timedelta(days=days))
    told = with_certificate(credentials, tmp_path, text).the("merchantSerialNumber")
    assert (told["level"], "new certificate" in told["fix"]) == (level, True)


def test_a_serial_number_with_a_leading_zero(credentials: Credentials, tmp_path: Path) -> None:
    number = int(credentials.merchant.serial, 16) >> 8
    text = certificate(credentials.merchant.key, credentials.merchant_id, number)
    assert with_certificate(credentials, tmp_path, text, merchantSerialNumber=f"{number:040x}").findings == []


def test_a_platform_certificate(credentials: Credentials, tmp_path: Path) -> None:
    told = with_certificate(credentials, tmp_path, credentials.platform[0].pem)
    assert "not a platform certificate" in told.the("apiclient_cert.pem")["fix"]


def test_a_file_that_is_none(credentials: Credentials, tmp_path: Path) -> None:
    told = with_certificate(credentials, tmp_path, base64.b64encode(b"0\x82nothing").decode())
    assert "Give apiclient_cert.pem" in told.the("apiclient_cert.pem")["fix"]


def test_one_whose_subject_or_key_is_damaged(credentials: Credentials, tmp_path: Path) -> None:
    """Both are parsed late: a byte that is no UTF-8 in the name, an algorithm that is none in the key."""
    der = credentials.merchant.certificate.public_bytes(serialization.Encoding.DER)
    name, rsa_encryption = credentials.merchant_id.encode(), bytes.fromhex("2a864886f70d010101")
    damaged = (der.replace(name, b"\xff" + name[1:]), der.replace(rsa_encryption, rsa_encryption[:-1] + b"\x7f"))
    for text in damaged:
        assert text != der
        told = with_certificate(credentials, tmp_path, base64.b64encode(text).decode())
        assert "Give apiclient_cert.pem" in told.the("apiclient_cert.pem")["fix"]


def test_it_is_found_beside_the_env_file(
    credentials: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("ENV_ID=shop-1a2b3c")
    (tmp_path / "apiclient_cert.pem").write_text(credentials.merchant.pem)
    inner = tmp_path / "config"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert diagnose(production(credentials, merchantId="1612345678")).the("merchantId")
