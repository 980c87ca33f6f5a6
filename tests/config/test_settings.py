"""Every rule of every variable, with values that keep it and values that break it."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from config import defaults
from config.settings import Settings

API_V3_KEY = "q7Wd2Zs9Lk4Xc8Vb1Nm6Ty3Ru5Ip0Oa+"
OPERATOR_KEY = "h5Jf8Gd2Sa9Po3Iu6Yt1Re4Wq7Mn0Bv_"
WEBHOOK_SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # the bytes 0 to 31
SERIAL = "5157F09EFDC096DE15EBE81A47057A72ABCDEF01"
KEY_ID = "PUB_KEY_ID_0114232134912410000000000000"


def pem_pair():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return private, public


@pytest.fixture(scope="session")
def merchant_pems():
    return pem_pair()


@pytest.fixture(scope="session")
def wxpay_public_pem():
    return pem_pair()[1]


@pytest.fixture
def good(merchant_pems, wxpay_public_pem):
    return {
        "signMode": "sdk",
        "appId": "wx0123456789abcdef",
        "service_app_id": "wxfedcba9876543210",
        "merchantId": "1900007291",
        "merchantSerialNumber": SERIAL,
        "apiV3Key": API_V3_KEY,
        "privateKey": merchant_pems[0],
        "wxPayPublicKey": wxpay_public_pem,
        "wxPayPublicKeyId": KEY_ID,
        "notifyURLPayURL": "https://pay.example.com/wx-pay/unifiedOrderTrigger",
        "notifyURLRefundsURL": "https://pay.example.com/wx-pay/refundTrigger",
        "transferNotifyUrl": "https://pay.example.com/wx-pay/transferTrigger",
        "corsAllowOrigin": "https://shop.example.com, http://localhost:5173",
        "callerHeaders": "trusted",
        "publicActions": "wxpay_order_native, wxpay_order_h5",
        "operatorKey": OPERATOR_KEY,
        "operatorIds": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o, 1234567890",
        "cloudbaseEnvId": "shop-1a2b3c",
        "cloudbaseAuthUrl": "https://auth.example.com/",
        "callbackTrust": "platform",
        "callbackTimeout": "4.5",
        "handlerTimeout": "4.5",
        "wxPayTimeout": "18",
        "wxPayApiBase": "https://one.example.com/",
        "wxPayApiBackup": "https://two.example.com:8443",
        "orderService": "shop.orders:Service",
        "orderDatabaseUrl": "postgres://shop:Tr0ub4d%40r@db.internal:5433/orders?sslmode=require",
        "orderExpireMinutes": "30",
        "priceList": "shop.prices:price",
        "eventWebhookUrl": "https://shop.example.com/events",
        "eventWebhookSecret": WEBHOOK_SECRET,
        "logLevel": "debug",
    }


# One value per variable that its rule refuses.
BAD = {
    "signMode": "both",
    "appId": "wx012345",
    "service_app_id": "gh_0123456789abcdef",
    "merchantId": "19000072911",
    "merchantSerialNumber": SERIAL[:-1],
    "apiV3Key": API_V3_KEY[:-1],
    "privateKey": "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj",
    "wxPayPublicKey": "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKC",
    "wxPayPublicKeyId": SERIAL,
    "notifyURLPayURL": "http://pay.example.com/a",
    "notifyURLRefundsURL": "https://pay.example.com/a?b=c",
    "transferNotifyUrl": "https://localhost/a",
    "corsAllowOrigin": "*",
    "callerHeaders": "yes",
    "publicActions": "wxpay_order, ",
    "operatorKey": OPERATOR_KEY[:-1],
    "operatorIds": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,",
    "cloudbaseEnvId": "shop.1a2b3c",
    "cloudbaseAuthUrl": "http://auth.example.com",
    "callbackTrust": "always",
    "callbackTimeout": "5",
    "handlerTimeout": "4.2",
    "wxPayTimeout": "nan",
    "wxPayApiBase": "http://one.example.com",
    "wxPayApiBackup": "https://two.example.com/v3",
    "orderService": "shop/orders.py",
    "orderDatabaseUrl": "postgresql://shop:Tr0ub4dor@/orders",
    "orderExpireMinutes": "0",
    "priceList": "shop/prices.py",
    "eventWebhookUrl": "http://shop.example.com/events",
    "eventWebhookSecret": WEBHOOK_SECRET[:-16],
    "logLevel": "verbose",
}


def test_good_values_arrive_as_what_they_mean(good, merchant_pems, wxpay_public_pem):
    settings = Settings.from_env(good)

    assert dict(settings.problems) == {}
    assert settings.sign_mode == "sdk"
    assert (settings.app_id, settings.service_app_id) == ("wx0123456789abcdef", "wxfedcba9876543210")
    assert (settings.merchant_id, settings.merchant_serial_number) == ("1900007291", SERIAL)
    assert settings.api_v3_key == API_V3_KEY.encode()
    private = settings.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert private.decode() == merchant_pems[0]
    public = settings.wxpay_public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert public.decode() == wxpay_public_pem
    assert settings.wxpay_public_key_id == KEY_ID
    assert settings.notify_url_pay == "https://pay.example.com/wx-pay/unifiedOrderTrigger"
    assert settings.notify_url_refunds == "https://pay.example.com/wx-pay/refundTrigger"
    assert settings.transfer_notify_url == "https://pay.example.com/wx-pay/transferTrigger"
    assert settings.cors_allow_origins == ("https://shop.example.com", "http://localhost:5173")
    assert settings.caller_headers == "trusted"
    assert settings.public_actions == {"wxpay_order_native", "wxpay_order_h5"}
    assert settings.operator_key == OPERATOR_KEY
    assert settings.operator_ids == {"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", "1234567890"}
    assert settings.cloudbase_env_id == "shop-1a2b3c"
    assert settings.cloudbase_auth_url == "https://auth.example.com"
    assert settings.callback_trust == "platform"
    assert (settings.callback_timeout, settings.handler_timeout, settings.wxpay_timeout) == (4.5, 4.5, 18.0)
    assert settings.api_base == "https://one.example.com"
    assert settings.api_backup == "https://two.example.com:8443"
    assert settings.order_service == "shop.orders:Service"
    assert settings.order_database_url == "postgresql://shop:Tr0ub4d%40r@db.internal:5433/orders?sslmode=require"
    assert (settings.order_expire_minutes, settings.price_list) == (30, "shop.prices:price")
    assert settings.event_webhook_url == "https://shop.example.com/events"
    assert settings.event_webhook_secret == bytes(range(32))
    assert settings.log_level == "debug"
    assert settings.on_platform is False


def test_without_any_variable_there_are_defaults_and_no_problems():
    settings = Settings.from_env({})

    assert dict(settings.problems) == {}
    assert settings.sign_mode == "gateway"
    assert settings.caller_headers == "claimed"
    assert settings.callback_trust == "verify"
    assert (settings.callback_timeout, settings.handler_timeout, settings.wxpay_timeout) == (4.0, 3.0, 10.0)
    assert settings.api_base == "https://api.mch.weixin.qq.com"
    assert settings.api_backup == "https://api2.mch.weixin.qq.com"
    assert settings.log_level == "info"
    assert settings.operator_key == ""
    assert settings.operator_ids == settings.public_actions == frozenset()
    assert (settings.private_key, settings.api_v3_key, settings.wxpay_public_key) == (None, None, None)
    assert (settings.cloudbase_env_id, settings.cloudbase_auth_url) == ("", "")
    assert (settings.cors_allow_origins, settings.on_platform) == ((), False)
    assert (settings.order_database_url, settings.price_list, settings.order_expire_minutes) == ("", "", 10)
    assert (settings.event_webhook_url, settings.event_webhook_secret) == ("", None)


def test_an_empty_or_blank_variable_is_an_unset_one(good):
    for nothing in ("", " \t\n"):
        settings = Settings.from_env(dict.fromkeys([*good, "orderDatabaseUrl", "SCF_RUNTIME"], nothing))
        assert settings == Settings.from_env({})


def test_blanks_around_a_value_are_dropped(good):
    padded = Settings.from_env({name: f" \n{value}\t " for name, value in good.items()})
    plain = Settings.from_env(good)
    keys = {"private_key", "wxpay_public_key"}
    for field in dataclasses.fields(Settings):
        if field.name not in keys:
            assert getattr(padded, field.name) == getattr(plain, field.name), field.name
    assert padded.private_key.private_numbers() == plain.private_key.private_numbers()


def test_all_problems_are_reported_at_once_by_the_variables_names():
    settings = Settings.from_env(BAD)
    assert set(settings.problems) == set(BAD)
    assert all(reason.strip() for reason in settings.problems.values())


def test_bad_values_leave_only_what_grants_and_risks_nothing(good):
    settings = Settings.from_env(good | BAD)

    assert settings.sign_mode == "gateway"
    assert settings.caller_headers == "ignored"
    assert settings.callback_trust == "verify"
    assert settings.operator_key == ""
    assert settings.operator_ids == settings.public_actions == frozenset()
    assert (settings.app_id, settings.service_app_id, settings.merchant_id) == ("", "", "")
    assert (settings.merchant_serial_number, settings.wxpay_public_key_id) == ("", "")
    assert (settings.private_key, settings.api_v3_key, settings.wxpay_public_key) == (None, None, None)
    assert settings.notify_url_pay == settings.notify_url_refunds == settings.transfer_notify_url == ""
    assert settings.cors_allow_origins == ()
    assert (settings.cloudbase_env_id, settings.cloudbase_auth_url) == ("", "")
    assert (settings.callback_timeout, settings.handler_timeout, settings.wxpay_timeout) == (4.0, 3.0, 10.0)
    assert settings.api_base == "https://api.mch.weixin.qq.com"
    assert (settings.order_service, settings.order_database_url, settings.log_level) == ("", "", "info")
    assert (settings.price_list, settings.order_expire_minutes) == ("", 10)
    assert (settings.event_webhook_url, settings.event_webhook_secret) == ("", None)


ACCEPTED = [
    ("signMode", "gateway"),
    ("appId", "wxABCDEF0123456789"),
    ("merchantId", "12345678"),
    ("merchantId", "1234567890"),
    ("merchantSerialNumber", SERIAL.lower()),
    ("apiV3Key", "0" * 32),
    ("callerHeaders", "claimed"),
    ("callerHeaders", "ignored"),
    ("publicActions", "wxpay_order"),
    ("operatorKey", "k" * 32),
    ("operatorKey", "k" * 500),
    ("operatorIds", "*"),
    ("operatorIds", "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"),
    ("cloudbaseEnvId", "prod"),
    ("callbackTrust", "verify"),
    ("callbackTimeout", "0.5"),
    ("handlerTimeout", "0.5"),
    ("handlerTimeout", "4"),
    ("wxPayTimeout", "1"),
    ("wxPayTimeout", "17.5"),
    ("wxPayApiBase", "http://127.0.0.1:8080"),
    ("wxPayApiBase", "http://127.9.9.9"),
    ("wxPayApiBase", "http://[::1]:8080/"),
    ("wxPayApiBase", "http://localhost:8080"),
    ("wxPayApiBase", "https://10.0.0.8"),
    ("wxPayApiBackup", "http://127.0.0.1:8081"),
    ("orderService", "orders:Shop"),
    ("orderService", "a.b_c.d1:E2"),
    ("orderDatabaseUrl", "sqlite:///orders.sqlite3"),
    ("orderDatabaseUrl", "sqlite:////var/lib/shop/orders.sqlite3"),
    ("orderDatabaseUrl", "mysql://root@127.0.0.1:3306/orders"),
    ("orderDatabaseUrl", "mariadb://shop:secret@10.0.0.3/orders?charset=utf8mb4"),
    ("orderDatabaseUrl", "postgresql://shop@[::1]:5432/orders"),
    ("orderDatabaseUrl", "postgresql://shop:p:w^|`!*'()+,;=&$~<>{}@my_host/orders"),
    ("orderDatabaseUrl", "mysql://db/orders"),
    ("orderExpireMinutes", "1"),
    ("orderExpireMinutes", "10080"),
    ("priceList", "prices:of"),
    ("notifyURLPayURL", "https://pay.example.com:8443/a"),
    ("notifyURLPayURL", "https://8.8.8.8/a"),
    ("notifyURLPayURL", "https://[2001:4860:4860::8888]/a"),
    ("notifyURLPayURL", "https://xn--fiq228c.example.cn/a"),
    ("notifyURLPayURL", "https://pay.example.com/" + "a" * (255 - 24)),
    ("notifyURLRefundsURL", "https://pay.example.com/" + "a" * (256 - 24)),
    ("transferNotifyUrl", "https://pay.example.com/" + "a" * (256 - 24)),
    *(("logLevel", level) for level in ("debug", "info", "warning", "error")),
]


@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_a_value_within_the_rule_is_no_problem(name, value):
    assert dict(Settings.from_env({name: value}).problems) == {}


REFUSED = [
    ("signMode", "SDK", "gateway or sdk"),
    ("appId", "wx0123456789abcdeg-", "wx and 16"),
    ("appId", "WX0123456789abcdef", "wx and 16"),
    ("service_app_id", "wx0123456789abcdef0", "wx and 16"),
    ("service_app_id", "wx0123456789abcde\uff11", "wx and 16"),
    ("merchantId", "1234567", "8 to 10 digits"),
    ("merchantId", "１２３４５６７８", "8 to 10 digits"),
    ("merchantId", "1900007291a", "8 to 10 digits"),
    ("merchantSerialNumber", ":".join(SERIAL[i : i + 2] for i in range(0, 40, 2)), "40 hex digits"),
    ("merchantSerialNumber", "G" * 40, "40 hex digits"),
    ("apiV3Key", "k" * 31, "32 ASCII"),
    ("apiV3Key", "k" * 33, "32 ASCII"),
    ("apiV3Key", "k" * 31 + "é", "32 ASCII"),
    ("apiV3Key", "k" * 16 + "\n" + "k" * 15, "32 ASCII"),
    ("callerHeaders", "Trusted", "claimed, trusted or ignored; until then it is ignored"),
    ("publicActions", "wxpay_order,,wxpay_order_h5", "action names"),
    ("publicActions", "wxpay-order", "action names"),
    ("publicActions", "*", "action names"),
    ("operatorKey", "k" * 31, "32 ASCII characters or more"),
    ("operatorKey", "k" * 31 + "密", "32 ASCII characters or more"),
    ("operatorIds", ",", "empty item"),
    ("operatorIds", "a,,b", "empty item"),
    ("operatorIds", "a, ,b", "empty item"),
    ("operatorIds", "*,a", "mixes *"),
    ("operatorIds", "a,*", "mixes *"),
    ("operatorIds", "*,*", "mixes *"),
    ("cloudbaseEnvId", "prod/evil.example.com", "environment id"),
    ("cloudbaseEnvId", "-prod", "environment id"),
    ("callbackTrust", "Platform", "verify or platform; until then it is verify"),
    *(
        ("callbackTimeout", bad, "from 0.1 to 4.5; until then it is 4")
        for bad in ("0", "-1", "4.51", "inf", "nan", "1e0", "3s", "1_0", "٣", "9" * 400, "0.05")
    ),
    *(("handlerTimeout", bad, "(callbackTimeout); until then it is 3") for bad in ("0", "4.01", "inf", "x")),
    *(("wxPayTimeout", bad, "from 1 to 18; until then it is 10") for bad in ("0.9", "18.1", "-5", "inf")),
    ("wxPayApiBase", "http://10.0.0.8:8080", "https://"),
    ("wxPayApiBase", "http://sandbox:8080", "https://"),
    ("wxPayApiBase", "http://localhost.example.com", "https://"),
    ("wxPayApiBase", "http://127.0.0.1.example.com", "https://"),
    ("wxPayApiBase", "ftp://127.0.0.1", "https://"),
    ("wxPayApiBase", "https://one.example.com/v3", "without a path"),
    ("wxPayApiBase", "https://one.example.com?a=b", "query"),
    ("wxPayApiBase", "https://user:word@one.example.com", "user name"),
    ("wxPayApiBase", "https://one.example.com:0", "valid host"),
    ("wxPayApiBase", "https://one.example.com:", "valid host"),
    ("wxPayApiBase", "https://one.example.com:99999", "readable URL"),
    ("wxPayApiBase", "one.example.com", "valid host"),
    ("wxPayApiBase", "https://", "valid host"),
    ("wxPayApiBase", "https://[one.example.com]", ""),
    ("wxPayApiBase", "https://[8.8.8.8]", ""),
    ("wxPayApiBase", "https://one..example.com", "valid host"),
    ("wxPayApiBackup", "https://two.example.com/#a", "fragment"),
    ("cloudbaseAuthUrl", "https://auth.example.com", "cloudbaseEnvId"),
    ("orderService", "shop.orders", "package.module:Class"),
    ("orderService", "shop.orders:Service()", "package.module:Class"),
    ("orderService", ":Service", "package.module:Class"),
    ("orderService", "1shop:Service", "package.module:Class"),
    ("orderDatabaseUrl", "oracle://shop@db/orders", "postgresql://"),
    ("orderDatabaseUrl", "postgresql+asyncpg://shop@db/orders", "postgresql://"),
    ("orderDatabaseUrl", "orders.sqlite3", "sqlite:///"),
    ("orderDatabaseUrl", "sqlite://", "name a file"),
    ("orderDatabaseUrl", "sqlite:///:memory:", "name a file"),
    ("orderDatabaseUrl", "mysql://shop@db", "host:port/database"),
    ("orderDatabaseUrl", "mysql://shop@db:70000/orders", "host:port/database"),
    ("orderDatabaseUrl", "mysql://shop:a#b@db/orders", "percent-encode"),
    ("orderDatabaseUrl", "mysql://shop:a b@db/orders", "percent-encode"),
    ("orderDatabaseUrl", "mysql://shop:a@b@db/orders", "percent-encode"),
    ("orderDatabaseUrl", "mysql://shop:12/b@db/orders", "percent-encode"),
    ("orderDatabaseUrl", "mysql://shop:a?b@db/orders", "percent-encode"),
    ("orderDatabaseUrl", "mysql://shop:100%@db/orders", "percent-encode"),
    ("orderDatabaseUrl", "mysql://shop:[a]@db/orders", "percent-encode"),
    ("orderDatabaseUrl", "mysql://shop:p\u00e4ss@db/orders", "plain ASCII"),
    ("orderDatabaseUrl", "mysql://shop:a@db:0/orders", "host:port/database"),
    ("orderDatabaseUrl", "mysql://shop:a@db:x/orders", "host:port/database"),
    ("orderDatabaseUrl", "mysql://shop:a@db/", "host:port/database"),
    ("orderDatabaseUrl", "mysql://shop:a@db/one/two", "host:port/database"),
    ("orderDatabaseUrl", "mysql://shop:a@db/orders#x", "host:port/database"),
    ("orderDatabaseUrl", "mysql:///orders", "host:port/database"),
    ("orderDatabaseUrl", "sqlite:///file:orders?mode=memory&uri=true", "name a file"),
    ("orderDatabaseUrl", "sqlite:///", "name a file"),
    ("orderDatabaseUrl", "sqlite://orders.sqlite3", "name a file"),
    ("orderExpireMinutes", "10081", "from 1 to 10080"),
    ("orderExpireMinutes", "1.5", "whole number of minutes"),
    ("orderExpireMinutes", "-1", "whole number of minutes"),
    ("orderExpireMinutes", "24h", "until then it is 10"),
    ("orderExpireMinutes", "\uff13\uff10", "whole number of minutes"),
    ("orderExpireMinutes", "99999999999", "from 1 to 10080"),
    ("priceList", "shop.prices", "package.module:function"),
    ("priceList", "shop.prices:price()", "package.module:function"),
    ("eventWebhookUrl", "https://shop.example.com/events?a=b", "query"),
    ("eventWebhookUrl", "ftp://shop.example.com/", "https://"),
    ("eventWebhookUrl", "https://user:secret@shop.example.com/events", "user name or password"),
    ("eventWebhookUrl", "/events", "absolute URL"),
    ("eventWebhookSecret", "whsec_short", "24 to 64"),
    ("eventWebhookSecret", WEBHOOK_SECRET.removeprefix("whsec_"), "whsec_"),
    ("eventWebhookSecret", "whsec_" + "A" * 120, "24 to 64"),
    ("eventWebhookSecret", "whsec_" + "A" * 31, "base64"),
    ("eventWebhookSecret", "whsec_" + "A" * 20 + "-_" + "A" * 10, "base64"),
    ("eventWebhookSecret", "whsec_" + "\u00e4" * 32, "base64"),
    ("logLevel", "INFO", "debug, info, warning or error"),
]


@pytest.mark.parametrize(("name", "value", "reason"), REFUSED)
def test_a_value_outside_the_rule_is_a_problem_of_its_variable(name, value, reason):
    settings = Settings.from_env({name: value})
    assert list(settings.problems) == [name]
    assert reason in settings.problems[name]


NOTIFY_LIMITS = {"notifyURLPayURL": 255, "notifyURLRefundsURL": 256, "transferNotifyUrl": 256}
BAD_NOTIFY_URLS = [
    ("http://pay.example.com/a", "https://"),
    ("pay.example.com/a", "valid host"),
    ("https:///a", "valid host"),
    ("https://pay.example.com", "path"),
    ("https://pay.example.com/", "path"),
    ("https://pay.example.com/a?b", "query"),
    ("https://pay.example.com/a?", "query"),
    ("https://pay.example.com/a#b", "fragment"),
    ("https://user@pay.example.com/a", "user name"),
    ("https://pay.example.com\\@evil.example.com/a", "plain ASCII"),
    ("https://pay.example.com/a b", "plain ASCII"),
    ("https://pay.example.com/\n/a", "plain ASCII"),
    ("https://支付.example.com/a", "plain ASCII"),
    ("https://localhost/a", "public host"),
    ("https://LOCALHOST./a", "public host"),
    ("https://pay.localhost/a", "public host"),
    ("https://intranet/a", "public host"),
    ("https://127.0.0.1/a", "public host"),
    ("https://10.1.2.3/a", "public host"),
    ("https://172.16.0.1/a", "public host"),
    ("https://192.168.1.1:8443/a", "public host"),
    ("https://169.254.169.254/a", "public host"),
    ("https://100.64.0.1/a", "public host"),
    ("https://224.0.0.1/a", "public host"),
    ("https://0.0.0.0/a", "public host"),
    ("https://[::1]/a", "public host"),
    ("https://[fe80::1]/a", "public host"),
    ("https://[fd00::1]/a", "public host"),
    ("https://[::ffff:127.0.0.1]/a", "public host"),
    ("https://[fe80::1%25eth0]/a", "valid host"),
    ("https://127.1/a", "valid host"),
    ("https://2130706433/a", "valid host"),
    ("https://0x7f000001/a", "valid host"),
    ("https://0177.0.0.1/a", "valid host"),
    ("https://127.0.0.1./a", "valid host"),
    ("https://-pay.example.com/a", "valid host"),
]


@pytest.mark.parametrize("name", NOTIFY_LIMITS)
@pytest.mark.parametrize(("url", "reason"), BAD_NOTIFY_URLS)
def test_an_address_that_wechat_pay_cannot_or_will_not_call_is_refused(name, url, reason):
    settings = Settings.from_env({name: url})
    assert reason in settings.problems[name]
    assert settings.lacking([name]) == [f"{name} ({settings.problems[name]})"]


@pytest.mark.parametrize("name", NOTIFY_LIMITS)
def test_an_address_longer_than_wechat_pay_takes_is_refused(name):
    limit = NOTIFY_LIMITS[name]
    url = "https://pay.example.com/".ljust(limit + 1, "a")
    assert f"at most {limit} characters" in Settings.from_env({name: url}).problems[name]


def test_good_origins_stay_when_others_are_refused():
    settings = Settings.from_env({
        "corsAllowOrigin": "https://Shop.Example.com:443, *, https://a.example.com/, http://[::1]:3000, null,"
                           " https://b.example.com/path, ftp://c.example.com, https://u@d.example.com, ,"
                           " https://shop.example.com, http://localhost"
    })
    assert settings.cors_allow_origins == ("https://shop.example.com", "http://[::1]:3000", "http://localhost")
    reason = settings.problems["corsAllowOrigin"]
    assert "item 2 is *" in reason
    assert [number for number in range(1, 12) if f"item {number} " in reason] == [2, 3, 5, 6, 7, 8, 9]


def test_the_backup_host_is_never_the_official_one_for_another_base():
    own = Settings.from_env({"wxPayApiBase": "http://127.0.0.1:8080/"})
    assert (own.api_base, own.api_backup) == ("http://127.0.0.1:8080", "http://127.0.0.1:8080")

    broken_backup = Settings.from_env({"wxPayApiBase": "http://127.0.0.1:8080", "wxPayApiBackup": "http://two"})
    assert broken_backup.api_backup == "http://127.0.0.1:8080"

    official = Settings.from_env({"wxPayApiBase": "https://API.mch.weixin.qq.com/"})
    assert official.api_backup == "https://api2.mch.weixin.qq.com"


def test_a_shorter_callback_budget_shortens_the_handler_s_default():
    settings = Settings.from_env({"callbackTimeout": "2"})
    assert (settings.handler_timeout, dict(settings.problems)) == (2.0, {})

    over = Settings.from_env({"callbackTimeout": "2", "handlerTimeout": "2.5"})
    assert over.handler_timeout == 2.0
    assert list(over.problems) == ["handlerTimeout"]


def test_the_token_issuer_is_derived_from_the_environment_id():
    settings = Settings.from_env({"cloudbaseEnvId": "shop-1a2b3c"})
    assert settings.cloudbase_auth_url == "https://shop-1a2b3c.api.tcloudbasegateway.com"

    mistyped = Settings.from_env({"cloudbaseEnvId": "shop-1a2b3c", "cloudbaseAuthUrl": "http://auth.example.com"})
    assert mistyped.cloudbase_auth_url == "", "keys from where nobody meant would vouch for strangers"
    assert list(mistyped.problems) == ["cloudbaseAuthUrl"]

    local = Settings.from_env({"cloudbaseEnvId": "shop-1a2b3c", "cloudbaseAuthUrl": "http://127.0.0.1:9"})
    assert (local.cloudbase_auth_url, dict(local.problems)) == ("http://127.0.0.1:9", {})


def test_wechat_pay_s_public_key_and_its_id_serve_only_together(wxpay_public_pem):
    cases = [
        ({"wxPayPublicKey": wxpay_public_pem}, {"wxPayPublicKeyId": "unset although wxPayPublicKey"}),
        ({"wxPayPublicKeyId": KEY_ID}, {"wxPayPublicKey": "unset although wxPayPublicKeyId"}),
        ({"wxPayPublicKey": wxpay_public_pem, "wxPayPublicKeyId": SERIAL},
         {"wxPayPublicKeyId": "certificate's serial number"}),
        ({"wxPayPublicKey": wxpay_public_pem, "wxPayPublicKeyId": "0114232134912410"},
         {"wxPayPublicKeyId": "PUB_KEY_ID_ and digits"}),
        ({"wxPayPublicKey": "MIIB", "wxPayPublicKeyId": KEY_ID}, {"wxPayPublicKey": "wxp_pub.pem"}),
    ]
    for environ, expected in cases:
        settings = Settings.from_env(environ)
        assert set(settings.problems) == set(expected)
        for name, reason in expected.items():
            assert reason in settings.problems[name]
        assert (settings.wxpay_public_key, settings.wxpay_public_key_id) == (None, "")


def test_the_merchant_s_own_public_key_is_refused_as_wechat_pay_s(merchant_pems):
    private, public = merchant_pems
    environ = {"privateKey": private, "wxPayPublicKey": public, "wxPayPublicKeyId": KEY_ID}
    settings = Settings.from_env(environ)
    assert "public half of privateKey" in settings.problems["wxPayPublicKey"]
    assert settings.wxpay_public_key is None


def test_a_certificate_in_place_of_the_public_key_is_told_by_the_variable_s_name(pems):
    settings = Settings.from_env({"wxPayPublicKey": pems.certificate, "wxPayPublicKeyId": KEY_ID})
    assert list(settings.problems) == ["wxPayPublicKey"]
    assert "certificate" in settings.problems["wxPayPublicKey"]
    assert "wxp_pub.pem" in settings.problems["wxPayPublicKey"]


@pytest.mark.parametrize("variable", ["TENCENTCLOUD_RUNENV", "SCF_RUNTIME"])
def test_either_platform_variable_says_that_this_is_the_platform(variable):
    assert Settings.from_env({variable: "Python3.10"}).on_platform is True


def test_sandbox_credentials_are_refused_on_the_platform_unless_wechat_pay_is_on_loopback():
    sandbox = {"apiV3Key": "SANDBOX" + "x" * 25}
    platform = {"SCF_RUNTIME": "Python3.10"}

    refused = Settings.from_env(sandbox | platform)
    assert refused.api_v3_key is None
    assert "sandbox credentials" in refused.problems["apiV3Key"]
    elsewhere = Settings.from_env(sandbox | platform | {"wxPayApiBase": "https://wx.example.com"})
    assert elsewhere.api_v3_key is None

    for allowed in (sandbox, sandbox | platform | {"wxPayApiBase": "http://127.0.0.1:8080"}):
        assert Settings.from_env(allowed).api_v3_key == sandbox["apiV3Key"].encode()


def test_what_an_action_lacks_is_told_in_the_order_asked():
    needed = ["merchantId", "privateKey", "apiV3Key", "appId", "notifyURLPayURL", "merchantSerialNumber"]
    assert Settings.from_env({}).lacking(needed) == needed

    settings = Settings.from_env({"merchantId": "1900007291", "apiV3Key": "short", "privateKey": "none"})
    assert settings.lacking(needed) == [
        f"privateKey ({settings.problems['privateKey']})",
        f"apiV3Key ({settings.problems['apiV3Key']})",
        "appId",
        "notifyURLPayURL",
        "merchantSerialNumber",
    ]


def test_nothing_lacks_when_everything_is_set(good):
    assert Settings.from_env(good).lacking(good) == []


@pytest.mark.parametrize(("environ", "lacking"), [
    ({}, ["appId"]),
    ({"appId": "wx0123456789abcdef"}, []),
    ({"service_app_id": "wx0123456789abcdef"}, []),
    ({"appId": "wx0", "service_app_id": "wx0123456789abcdef"}, []),
    ({"appId": "wx0123456789abcdef", "service_app_id": "wx0"}, []),
    ({"appId": "wx0"}, ["appId (must be an AppID: wx and 16 letters or digits)"]),
    ({"service_app_id": "wx0"}, ["service_app_id (must be an AppID: wx and 16 letters or digits)"]),
])
def test_one_usable_app_id_is_enough(environ, lacking):
    assert Settings.from_env(environ).lacking(["appId"]) == lacking


OPTIONAL = ["wxPayPublicKey", "wxPayPublicKeyId", "wxPayApiBase", "wxPayApiBackup", "orderService",
            "orderDatabaseUrl", "priceList", "eventWebhookUrl", "eventWebhookSecret", "signMode", "corsAllowOrigin",
            "publicActions"]


def test_an_optional_variable_lacks_only_when_it_is_unusable():
    assert Settings.from_env({}).lacking(OPTIONAL) == []
    broken = Settings.from_env(BAD)
    assert broken.lacking(OPTIONAL) == [f"{name} ({broken.problems[name]})" for name in OPTIONAL]


def test_a_problem_found_later_is_added_to_a_copy(good):
    settings = Settings.from_env(good)
    changed = settings.with_problem("orderService", "has no class of this name")

    assert changed.lacking(["orderService"]) == ["orderService (has no class of this name)"]
    assert changed.secrets() == settings.secrets()
    assert dict(settings.problems) == {}


def test_settings_are_frozen(good):
    settings = Settings.from_env(good)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.operator_ids = frozenset({"*"})
    with pytest.raises(TypeError):
        settings.problems["appId"] = "gone"


def test_repr_and_str_name_what_is_set_and_nothing_more(good):
    del good["operatorIds"]
    settings = Settings.from_env(good)
    for shown in (repr(settings), str(settings), f"{settings}"):
        assert "privateKey=set" in shown
        assert "operatorIds=unset" in shown
    values = [value for name, value in good.items() if len(value) >= 8]
    assert not [value for value in values if value in repr(settings)]


def pieces(text, size=8):
    return {text[start : start + size] for start in range(len(text) - size + 1)}


def test_no_part_of_a_secret_is_in_any_problem_or_repr(good, merchant_pems, wxpay_public_pem):
    """The same secrets in their own variables, damaged there, and pasted into every other variable."""
    secrets = {
        "privateKey": merchant_pems[0],
        "apiV3Key": API_V3_KEY,
        "operatorKey": OPERATOR_KEY,
        "orderDatabaseUrl": BAD["orderDatabaseUrl"],
        "eventWebhookSecret": WEBHOOK_SECRET,
    }
    environs = [good | secrets, good | {name: secret[:-9] for name, secret in secrets.items()}]
    environs += [dict.fromkeys([*good, "orderDatabaseUrl"], secret) for secret in secrets.values()]
    hidden = secrets | {"orderDatabaseUrl": "Tr0ub4dor"}  # the rest of an address is no secret
    planted = {piece for secret in hidden.values() for piece in pieces(secret)}
    problems = 0
    for environ in environs:
        settings = Settings.from_env(environ)
        problems += len(settings.problems)
        told = [repr(settings), str(settings), *settings.lacking(good), *settings.problems.values()]
        assert not [piece for piece in planted if piece in "\n".join(told)]
    assert problems > 80


def test_secrets_are_known_to_the_log_usable_or_not(good, merchant_pems):
    secrets = Settings.from_env(good).secrets()
    body_lines = merchant_pems[0].splitlines()[1:-1]
    assert {API_V3_KEY, OPERATOR_KEY, "".join(body_lines)} <= set(secrets)
    assert {line for line in body_lines if len(line) >= 16} <= set(secrets)
    assert list(secrets) == sorted(secrets, key=len, reverse=True)

    unusable = Settings.from_env({
        "privateKey": merchant_pems[0][:400], "apiV3Key": API_V3_KEY + "x", "operatorKey": OPERATOR_KEY[:20],
        "wxPayPublicKey": merchant_pems[0], "orderDatabaseUrl": BAD["orderDatabaseUrl"],
    })
    assert unusable.private_key is None
    assert {API_V3_KEY + "x", OPERATOR_KEY[:20], BAD["orderDatabaseUrl"], "Tr0ub4dor"} <= set(unusable.secrets())
    assert set(body_lines[:4]) <= set(unusable.secrets())
    assert body_lines[-2] in unusable.secrets()


def test_a_few_characters_or_a_file_name_do_not_black_out_the_log():
    environ = {"operatorKey": "a", "apiV3Key": "login", "privateKey": "apiclient_key.pem"}
    assert Settings.from_env(environ).secrets() == ()


@pytest.fixture
def empty_environment(monkeypatch):
    for name in [*BAD, "TENCENTCLOUD_RUNENV", "SCF_RUNTIME"]:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_shipped_defaults_are_empty():
    assert defaults.DEFAULTS == {}


def test_the_environment_wins_over_the_defaults_and_an_empty_variable_does_not(empty_environment):
    empty_environment.setattr(
        defaults, "DEFAULTS", {"logLevel": "warning", "callerHeaders": "ignored", "wxPayTimeout": "12"})
    empty_environment.setenv("logLevel", "error")
    empty_environment.setenv("callerHeaders", " ")

    settings = Settings.from_env()

    assert (settings.log_level, settings.caller_headers, settings.wxpay_timeout) == ("error", "ignored", 12.0)
    assert dict(settings.problems) == {}
    assert Settings.from_env({}).caller_headers == "claimed"


def test_secrets_in_the_defaults_are_reported_and_not_used(empty_environment, merchant_pems):
    empty_environment.setattr(defaults, "DEFAULTS", {
        "privateKey": merchant_pems[0],
        "apiV3Key": API_V3_KEY,
        "operatorKey": OPERATOR_KEY,
        "orderDatabaseUrl": "mysql://shop:Tr0ub4dor@db/orders",
        "eventWebhookSecret": WEBHOOK_SECRET,
        "logLevel": "debug",
    })
    settings = Settings.from_env()

    assert set(settings.problems) == {
        "privateKey", "apiV3Key", "operatorKey", "orderDatabaseUrl", "eventWebhookSecret"
    }
    assert all("config/defaults.py" in reason for reason in settings.problems.values())
    assert (settings.private_key, settings.api_v3_key, settings.operator_key) == (None, None, "")
    assert (settings.order_database_url, settings.event_webhook_secret) == ("", None)
    assert all(name in defaults.__doc__ for name in settings.problems)
    assert settings.log_level == "debug"


def test_a_default_that_is_not_a_text_does_not_stop_the_start(empty_environment):
    empty_environment.setattr(defaults, "DEFAULTS", {"wxPayTimeout": 12, "logLevel": ["debug"]})
    settings = Settings.from_env()
    assert settings.wxpay_timeout == 12.0
    assert list(settings.problems) == ["logLevel"]


GOES_WITH_THE_INSTANCE = [
    "sqlite:///orders.sqlite3",
    "sqlite:///tmp/orders.sqlite3",
    "sqlite:////tmp/orders.sqlite3",
    "sqlite://///tmp/orders.sqlite3",
    "sqlite:////tmp/../tmp/a/b",
    "sqlite:////mnt/shared/../../tmp/a",
    "sqlite:////var/tmp/orders.sqlite3",
    "sqlite:////dev/shm/orders.sqlite3",
]


@pytest.mark.parametrize("url", GOES_WITH_THE_INSTANCE)
def test_on_the_platform_a_sqlite_file_that_goes_with_the_instance_is_refused(url):
    assert "orderDatabaseUrl" not in Settings.from_env({"orderDatabaseUrl": url}).problems
    settings = Settings.from_env({"orderDatabaseUrl": url, "SCF_RUNTIME": "1"})
    assert "/tmp is neither kept nor shared" in settings.problems["orderDatabaseUrl"]
    assert settings.order_database_url == ""


def test_on_the_platform_a_sqlite_file_on_a_mounted_disk_serves():
    url = "sqlite:////mnt/shared/tmp/orders.sqlite3"
    settings = Settings.from_env({"orderDatabaseUrl": url, "TENCENTCLOUD_RUNENV": "SCF"})
    assert (settings.order_database_url, dict(settings.problems)) == (url, {})


def test_a_database_password_is_a_secret_as_written_and_as_meant(good):
    secrets = Settings.from_env(good).secrets()
    assert {"Tr0ub4d%40r", "Tr0ub4d@r", WEBHOOK_SECRET, good["orderDatabaseUrl"]} <= set(secrets)
    assert WEBHOOK_SECRET.partition("_")[2] in secrets


PASSWORD, ENCODED = "Tr0ub4d@r-and/3?#x", "Tr0ub4d%40r-and%2F3%3F%23x"


@pytest.mark.parametrize("written", [PASSWORD, ENCODED], ids=["raw", "percent-encoded"])
@pytest.mark.parametrize(
    "url", ["mysql://shop:{}@db/orders", "postgres://shop:{}@db", "oracle://shop:{}@db/o", "mysql://shop:{}@db:0/o"]
)
def test_a_database_password_is_told_nowhere_and_known_to_the_log_in_every_spelling(url, written):
    settings = Settings.from_env({"orderDatabaseUrl": url.format(written)})
    told = [repr(settings), *settings.problems.values(), *settings.lacking(["orderDatabaseUrl"])]
    assert not [piece for piece in pieces(PASSWORD) | pieces(ENCODED) if piece in "\n".join(told)]
    assert {PASSWORD, ENCODED} <= set(settings.secrets())


def test_a_short_database_password_does_not_black_out_the_log():
    secrets = Settings.from_env({"orderDatabaseUrl": "mysql://root:root@127.0.0.1/shop"}).secrets()
    assert secrets == ("mysql://root:root@127.0.0.1/shop",)


@pytest.mark.parametrize("alone", ["eventWebhookUrl", "eventWebhookSecret"])
def test_a_webhook_needs_its_address_and_its_secret(good, alone):
    other = {"eventWebhookUrl": "eventWebhookSecret", "eventWebhookSecret": "eventWebhookUrl"}[alone]
    settings = Settings.from_env({name: value for name, value in good.items() if name != other})
    assert dict(settings.problems) == {other: f"is unset although {alone} is set: set both or neither"}
    assert (settings.event_webhook_url, settings.event_webhook_secret) == ("", None)


def test_a_webhook_without_a_database_is_a_problem(good):
    settings = Settings.from_env({name: value for name, value in good.items() if name != "orderDatabaseUrl"})
    assert list(settings.problems) == ["eventWebhookUrl"]


def test_only_the_flask_command_gets_standard_output():
    assert Settings.from_env({"FLASK_RUN_FROM_CLI": "true"}).command_line is True
    assert Settings.from_env({}).command_line is False


def test_only_the_command_line_keeps_the_variables_as_they_came():
    given = {"FLASK_RUN_FROM_CLI": "true", "APPID": "x"}
    assert dict(Settings.from_env(given).given) == given
    assert dict(Settings.from_env({"APPID": "x"}).given) == {}


def test_a_system_that_lists_all_names_in_capitals_still_finds_ours(monkeypatch):
    class Windows(dict):
        def get(self, name, default=None):
            return super().get(name.upper(), default)

        def __getitem__(self, name):
            return super().__getitem__(name.upper())

    monkeypatch.setattr("config.settings.os.environ", Windows(MERCHANTID="1612345678", SIGNMODE="sdk"))
    settings = Settings.from_env()
    assert (settings.merchant_id, settings.sign_mode) == ("1612345678", "sdk")
