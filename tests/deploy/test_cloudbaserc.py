"""cloudbaserc.json against the application's defaults, gunicorn's settings and the platform's limits."""

import fnmatch
import json
import re
import runpy
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "cloudbaserc.json").read_text()
FUNCTION = json.loads(TEXT)["functions"][0]
VARIABLES = [
    "signMode", "appId", "service_app_id", "merchantId", "apiV3Key", "merchantSerialNumber", "privateKey",
    "wxPayPublicKey", "wxPayPublicKeyId", "notifyURLPayURL", "notifyURLRefundsURL", "transferNotifyUrl",
    "corsAllowOrigin", "callerHeaders", "publicActions", "operatorKey", "operatorIds", "cloudbaseEnvId",
    "cloudbaseAuthUrl", "callbackTrust", "callbackTimeout", "handlerTimeout", "wxPayTimeout", "wxPayApiBase",
    "wxPayApiBackup", "orderService", "orderDatabaseUrl", "orderExpireMinutes", "priceList", "eventWebhookUrl",
    "eventWebhookSecret", "logLevel",
]


def rendered(**values):
    """As the CLI fills templates: plain substitution in the text, then JSON; a missing variable is empty."""
    text = re.sub(r"\{\{env\.(\w+)\}\}", lambda match: values.get(match[1], ""), TEXT)
    return json.loads(text)["functions"][0]["envVariables"]


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem_of(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def test_every_variable_of_the_contract_is_deployed_under_its_own_name():
    # A deploy replaces all variables, so one left out would be lost. Only PORT is: scf_bootstrap takes 9000.
    assert FUNCTION["envVariables"] == {name: f"{{{{env.{name}}}}}" for name in VARIABLES}


def test_no_variable_has_a_name_the_platform_reserves():
    for name in VARIABLES:
        assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]{1,63}", name)
        assert not name.startswith(("SCF_", "QCLOUD_", "TENCENTCLOUD_"))


def test_variables_left_out_of_the_environment_are_unset_for_the_function():
    assert Settings.from_env(rendered()) == Settings.from_env({})


def test_a_private_key_on_one_line_survives_the_template(key):
    variables = rendered(privateKey=pem_of(key).replace("\n", "\\n"))
    parsed = Settings.from_env(variables).private_key
    assert parsed is not None
    assert parsed.private_numbers() == key.private_numbers()


def test_all_variables_of_public_key_mode_fit_into_the_platforms_four_kilobytes(key):
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    variables = rendered(
        signMode="gateway", appId="wx" + "0" * 16, merchantId="1" * 10, merchantSerialNumber="A" * 40,
        apiV3Key="k" * 32, privateKey=pem_of(key).replace("\n", "\\n"),
        wxPayPublicKey=public.decode().replace("\n", "\\n"), wxPayPublicKeyId="PUB_KEY_ID_" + "0" * 32,
        operatorKey="o" * 43, **{name: "https://" + "h" * 80 for name in VARIABLES if "otify" in name},
    )
    assert sum(len(name) + len(value) for name, value in variables.items()) < 4096


def test_the_functions_limit_leaves_room_for_the_whole_call_to_wechat_pay():
    assert FUNCTION["timeout"] > Settings.from_env({}).wxpay_timeout + 2


def test_the_platform_lets_in_as_many_requests_as_there_are_threads():
    threads = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["threads"]
    assert FUNCTION["instanceConcurrencyConfig"] == {"dynamicEnabled": "FALSE", "maxConcurrency": threads}


def test_it_is_created_as_an_http_function_with_its_packages_aboard():
    wanted = {
        "type": "HTTP",
        "runtime": "Python3.10",
        "initTimeout": 60,
        "memorySize": 256,
        "installDependency": False,
    }
    assert {name: FUNCTION[name] for name in wanted} == wanted
    assert json.loads(TEXT)["version"] == "2.0"


@pytest.mark.parametrize(
    "path",
    ["scf_bootstrap", "app.py", "gunicorn.conf.py", "config/settings.py", "vendor/certifi/cacert.pem",
     "vendor/docs/a.py", "vendor/tests/a.py", "services/__pycache__/order_service.cpython-310.pyc"],
)
def test_what_the_function_needs_is_packed(path):
    assert not is_ignored(path)


@pytest.mark.parametrize(
    "path",
    [".git/config", ".env", ".env.local", ".sandbox/merchant.json", ".venv/bin/python", "apiclient_key.pem",
     "apiclient_cert.p12", "pub_key.pem", "wechatpay_ABC.pem", "tests/a/b.py", "sandbox/server.py"],
)
def test_credentials_and_what_only_developers_need_are_not_packed(path):
    assert is_ignored(path)


def is_ignored(path):
    # Both readings of a pattern without a slash: the file of that name in the top folder, or in any folder.
    return any(
        fnmatch.fnmatch(path, pattern.replace("**/*", "*"))
        or ("/" not in pattern and fnmatch.fnmatch(Path(path).name, pattern))
        for pattern in FUNCTION["ignore"]
    )
