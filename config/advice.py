"""Why each variable matters and where its right value comes from, for people who set it."""

from __future__ import annotations

from typing import NamedTuple

ERROR, WARNING = "error", "warning"


class Row(NamedTuple):
    """One finding: how bad, which variable, what is wrong, why it matters, what to do. Holds no value of a secret."""

    level: str
    variable: str
    what: str
    why: str
    fix: str


class Advice(NamedTuple):
    why: str
    fix: str


_API_SECURITY = "merchant platform → Account Center → API Security"
_IN_ENV_FILE = "In `.env` write its base64 alone, in one line, without quotes."
_PAY_ROUTE = "https://<your route>/wx-pay/unifiedOrderTrigger"
_NO_ORDERS = "Nothing can be ordered, queried or refunded without it."
_NO_CALLBACK = "WeChat Pay would report to nobody: {} would never be known here."
_REFUSES_ORDERS = "While it is broken, everything that needs it is refused."

ADVICE = {
    "signMode": Advice(
        "It decides whose callbacks are understood: the Integration Center's forwards, or WeChat Pay's own.",
        "Set gateway behind the Integration Center, sdk where WeChat Pay calls this function itself.",
    ),
    "appId": Advice(
        _NO_ORDERS,
        "Copy the AppID (wx and 16 characters) of the mini program, official account or app that pays, from"
        " mp.weixin.qq.com → Development → Development Settings. It must be bound to the merchant.",
    ),
    "service_app_id": Advice(
        "Orders and transfers with useServiceAccount take it.",
        "Copy the AppID (wx and 16 characters) of the official account, or leave it out.",
    ),
    "merchantId": Advice(
        _NO_ORDERS, "Copy the merchant number, 10 digits mostly, from the merchant platform's home page."
    ),
    "merchantSerialNumber": Advice(
        "Every request names it; with another one WeChat Pay answers 401 to everything.",
        f"Copy the 40 hex digits from {_API_SECURITY} → API Certificate, or from"
        " `openssl x509 -in apiclient_cert.pem -noout -serial`.",
    ),
    "apiV3Key": Advice(
        "Callbacks are decrypted with it; without the right one no payment is ever known here.",
        f"Paste the 32 characters that were set under {_API_SECURITY} → Set APIv3 Key. They are shown once:"
        " if they are lost, set new ones there and here.",
    ),
    "privateKey": Advice(
        "Every request is signed with it.",
        f"Paste the whole content of apiclient_key.pem, its BEGIN and its END line included. {_IN_ENV_FILE}",
    ),
    "wxPayPublicKey": Advice(
        "WeChat Pay's answers and callbacks are verified with it.",
        f"Paste the whole content of wxp_pub.pem, which begins with BEGIN PUBLIC KEY, from {_API_SECURITY} → WeChat Pay"
        f" Public Key. {_IN_ENV_FILE}",
    ),
    "wxPayPublicKeyId": Advice(
        "Every request and callback names WeChat Pay's key by it.",
        f"Copy PUB_KEY_ID_ and its digits from {_API_SECURITY} → WeChat Pay Public Key, where the key itself is.",
    ),
    "notifyURLPayURL": Advice(
        _NO_CALLBACK.format("payments") + " Orders are refused without it.",
        f"Behind the Integration Center set its https://….integration-callback.tcloudbase.com/wechatpay/order, with"
        f" signMode=sdk {_PAY_ROUTE}.",
    ),
    "notifyURLRefundsURL": Advice(
        _NO_CALLBACK.format("refunds") + " Refunds are refused without it.",
        "Behind the Integration Center set its https://….integration-callback.tcloudbase.com/wechatpay/refund, with"
        " signMode=sdk https://<your route>/wx-pay/refundTrigger.",
    ),
    "transferNotifyUrl": Advice(
        _NO_CALLBACK.format("transfers"),
        "Set https://<your route>/wx-pay/transferTrigger, or leave it out if you make no transfers.",
    ),
    "corsAllowOrigin": Advice(
        "Browsers of other pages are kept off by it, and H5 orders are refused while it is broken.",
        "List the origins of your pages as https://shop.example.com, one comma between two; no path, no slash, no *.",
    ),
    "callerHeaders": Advice(
        "It says what the identity headers of a request are worth.",
        "Set claimed, trusted (only where no public route leads to the function) or ignored.",
    ),
    "publicActions": Advice(
        "With callerHeaders=ignored these need no token.",
        "List names of actions, such as wxpay_order_h5, one comma between two.",
    ),
    "operatorKey": Advice(
        "Whoever sends it may refund and transfer.",
        "Make one with `openssl rand -hex 32`, and give it to your servers only.",
    ),
    "operatorIds": Advice("They may refund and transfer.", "List openids or uids, one comma between two."),
    "cloudbaseEnvId": Advice(
        "Tokens are verified for this environment; otherwise they are only claims.",
        "Copy the environment's id from the CloudBase console → Environment Overview.",
    ),
    "cloudbaseAuthUrl": Advice(
        "The keys that verify tokens come from there.",
        "Leave it out: it follows from cloudbaseEnvId. Outside mainland China set"
        " https://<environment>.api.intl.tcloudbasegateway.com.",
    ),
    "callbackTrust": Advice("It decides whether plaintext is believed without proof.", "Leave it out, or set verify."),
    "callbackTimeout": Advice(
        "WeChat Pay waits 5 s for the acknowledgement of a callback, then it sends it again.",
        "Leave it out, or set seconds below 4.5.",
    ),
    "handlerTimeout": Advice(
        "So long your handler may take of a callback's time.", "Leave it out, or set less than callbackTimeout."
    ),
    "wxPayTimeout": Advice(
        "So long one call of WeChat Pay may take; the function itself has 20 s.", "Leave it out, or set 1 to 18."
    ),
    "wxPayApiBase": Advice("Every request goes there.", "Leave it out: then it is https://api.mch.weixin.qq.com."),
    "wxPayApiBackup": Advice(
        "The second try of every request goes there.", "Leave it out: then it is https://api2.mch.weixin.qq.com."
    ),
    "orderService": Advice(
        _REFUSES_ORDERS,
        "Name a class that derives from OrderService and is deployed with the function, as services.shop:ShopOrders,"
        " and put the packages that it needs into requirements.txt.",
    ),
    "orderDatabaseUrl": Advice(
        _REFUSES_ORDERS,
        "Set postgresql://user:password@host:port/database or mysql://…, what is special in the password"
        " percent-encoded (@ is %40), and ship the packages with `make package ORDERS=1`.",
    ),
    "orderExpireMinutes": Advice(
        "Unpaid orders are closed after so long.", "Leave it out, or set whole minutes up to 10080."
    ),
    "priceList": Advice(_REFUSES_ORDERS, "Name a function that is deployed with this one, as services.prices:price."),
    "eventWebhookUrl": Advice(
        "Events would go nowhere and count as delivered.",
        "Set eventWebhookUrl, eventWebhookSecret and orderDatabaseUrl together, or none of the first two.",
    ),
    "eventWebhookSecret": Advice(
        "Events would go nowhere and count as delivered.",
        "Make one with `echo whsec_$(openssl rand -base64 32)`; set it together with eventWebhookUrl.",
    ),
    "logLevel": Advice("It says how much is logged.", "Set debug, info, warning or error."),
}
