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
from tests.deploy import cloudbase_cli, package

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
    return cloudbase_cli.rendered(TEXT, values)["functions"][0]["envVariables"]


def deployed(env_file):
    """The variables that the function gets from this `.env`."""
    return rendered(**cloudbase_cli.dotenv(env_file))


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


def test_both_commands_take_the_folder_that_make_package_makes():
    config = json.loads(TEXT)
    for command in ("fn deploy", "fn code update"):
        assert cloudbase_cli.code_folder(config, "pay-common", command) == f"build/{package.NAME}"


def test_nothing_of_the_package_is_ignored_and_what_a_person_may_put_there_is(tmp_path):
    ignored = FUNCTION["ignore"]
    packed = ["scf_bootstrap", "app.py", "config/settings.py", "vendor/certifi/cacert.pem", "services/x.env"]
    for path in packed:
        assert not any(fnmatch.fnmatch(path, pattern) for pattern in ignored), path
    for path in (".env", ".env.local", "apiclient_key.pem", "apiclient_cert.p12"):
        assert any(fnmatch.fnmatch(path, pattern) for pattern in ignored), path


# What the CLI itself did with these lines (2.12.10).
@pytest.mark.parametrize(
    ("line", "value"),
    [
        (r"privateKey=-----BEGIN K-----\nAB/+=\n-----END K-----\n", "-----BEGIN K-----\nAB/+=\n-----END K-----\n"),
        (r"privateKey='-----BEGIN K-----\nMIIE\n'", "-----BEGIN K-----\nMIIE\n"),
        ("privateKey='-----BEGIN K-----\nMIIE\n-----END K-----'", "'-----BEGIN K-----"),
        ("privateKey=-----BEGIN K-----\nMIIE\n-----END K-----", "-----BEGIN K-----"),
        ("apiV3Key=abc#def", "abc#def"),
        ("apiV3Key=abc #def", "abc #def"),
        ('apiV3Key="abc#def"', "abc#def"),
        (r"apiV3Key='ab\\cd'", r"ab\cd"),
        ("apiV3Key=ab'cd", "ab'cd"),
        (r'apiV3Key=ab\"cd', 'ab"cd'),
        ("apiV3Key=null", None),
        ("merchantId=1900000001", "1900000001"),
        ("operatorIds=  a, b  ", "a, b"),
        ("orderDatabaseUrl=postgresql://u:p%23@h/db?x=1&y=2<>", "postgresql://u:p%23@h/db?x=1&y=2<>"),
        ("apiV3Key=$HOME${HOME}", "$HOME${HOME}"),
        ("apiV3Key={{env.merchantId}}", "{{env.merchantId}}"),
        ("export apiV3Key=abc", ""),
        ("apiV3Key: abc", ""),
        ("apiV3Key=abc\r", "abc"),
        ("apiV3Key=`abc`", "`abc`"),
    ],
)
def test_the_model_reads_a_line_as_the_cli_did(line, value):
    name = re.search(r"\w+(?=[=:])", line)
    assert name is not None
    assert deployed(f"ENV_ID=shop\n{line}\n")[name[0]] == value


@pytest.mark.parametrize(
    "line",
    [
        r'privateKey="-----BEGIN K-----\nMIIE\n"', 'privateKey="-----BEGIN K-----\nMIIE\n-----END K-----"',
        r"apiV3Key=ab\cd", r"apiV3Key='ab\cd'", 'apiV3Key=ab"cd', "apiV3Key='ab\"cd'", 'operatorIds=["a"]',
    ],
)
def test_the_model_ends_with_a_json_error_where_the_cli_did(line):
    with pytest.raises(ValueError, match=r"line 1 column \d+"):
        deployed(line)


@pytest.mark.parametrize("shape", ["escaped", "escaped in single quotes", "bare base64"])
def test_a_key_in_one_line_arrives_as_the_key(key, shape):
    pem = pem_of(key)
    value = {
        "escaped": pem.replace("\n", "\\n"),
        "escaped in single quotes": "'" + pem.replace("\n", "\\n") + "'",
        "bare base64": "".join(pem.splitlines()[1:-1]),
    }[shape]
    parsed = Settings.from_env(deployed(f"privateKey={value}\n")).private_key
    assert parsed is not None
    assert parsed.private_numbers() == key.private_numbers()


def test_a_key_cut_at_its_first_line_is_told_by_its_name(key):
    settings = Settings.from_env(deployed(f"privateKey='{pem_of(key)}'"))
    assert settings.private_key is None
    assert "privateKey" in settings.problems
