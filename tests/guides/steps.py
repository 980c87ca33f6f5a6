"""Every statement of the five guides, and how it is shown to hold with this function.

A step begins at a line of its guide and reaches to the next one's; `mark` is a word of that line, so that a guide that
has changed is noticed. `says` is in our words. It is shown by tests (of the guide's own module, or `path::name`), or it
is `differs`, a row of docs/migrate.md ("Guide steps that differ") or of the README ("Differences from the original"),
or it is `apart`: no program can try it, and why. tests/guides/test_steps.py checks all of it against the guides' text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    guide: str
    section: str
    line: int
    mark: str
    says: str
    tests: tuple[str, ...] = ()
    differs: str = ""
    apart: str = ""


@dataclass(frozen=True)
class How:
    tests: tuple[str, ...] = ()
    differs: str = ""
    apart: str = ""


def by(*tests: str) -> How:
    return How(tests)


def differs(row: str, *tests: str) -> How:
    return How(tests, differs=row)


def apart(why: str) -> How:
    return How(apart=why)


Told = tuple[int, str, str, How]


def _guide(name: str, sections: dict[str, list[Told]]) -> Iterable[Step]:
    for section, told in sections.items():
        for line, mark, says, how in told:
            yield Step(name, section, line, mark, says, how.tests, how.differs, how.apart)


CONSOLE = apart("clicks on a console of WeChat Pay, WeChat or CloudBase")
THEIRS = apart("a fact about WeChat Pay or CloudBase; nothing of the function depends on it")
ADVICE = apart("advice to a person")
PHONE = apart("needs a real phone with WeChat, or the developer tools")
LINK = apart("a page of others")
TITLE = apart("a title; what it is about follows in steps of its own")
DEPLOY = differs("all, Create the Integration")
SOURCE = differs("all, download and deploy the code")
INJECTED = differs(
    "all, Wait for resources",
    "tests/guides/test_mini_program_pay.py::test_step_3_the_ten_variables_alone_are_a_complete_configuration",
)
OPERATOR = "mini program 3.2, refund and transfer"

_MINI = "tests/guides/test_mini_program_pay.py::"
_PLAY = "test_step_4_2_order_payment_and_result"
_SHAPE = "test_step_4_2_the_answer_has_the_printed_shape"
_OPENID = "test_step_4_2_the_openid_comes_from_the_platform_and_not_from_the_body"
_FORWARD = "test_step_2_3_a_forwarded_callback_is_acknowledged"
_NAMED = "test_step_1_4_a_credential_that_is_missing_is_named"
_ROUTE = by(
    "test_step_3_2_a_route_answers_at_its_path",
    "test_step_3_2_the_legacy_dispatch_by_action_through_the_gateway_answers_alike",
)
_RIGHT = "test_step_3_2_money_leaves_and_transfers_are_shown_to_an_operator_only"
_HANDLER = "test_step_3_3_a_handler_is_called_with_what_the_guide_needs"
_LOST = "test_step_3_3_success_within_five_seconds_or_delivered_again"
_WEDA = by("test_step_4_4_the_weda_method_orders_and_pays")
_READ = by("test_appendix_a_variable_is_read_and_its_faults_are_named")
_STATES = "test_step_3_3_a_refund_ends_in_the_states_of_apiv3"

MINI_PROGRAM = _guide(
    "mini-program-pay",
    {
        "Introduction": [
            (1, "Mini Program", "what the guide is about: a function made for an integration", DEPLOY),
            (
                4,
                "Outbound",
                "requests go from the mini program through the function to WeChat Pay, with the openid",
                by(_PLAY, _OPENID),
            ),
            (
                6,
                "business side",
                "notifications come from WeChat Pay through the Integration Center to the function",
                by(_FORWARD),
            ),
        ],
        "Architecture Overview": [
            (7, "Architecture", "who talks to whom", by(_PLAY)),
            (
                8,
                "┌",
                "the same as a drawing: order, invocation parameters, notification, orderService",
                by(_PLAY, _FORWARD),
            ),
            (37, "Mini Program", "the platform adds the openid; no sign-in, no token", by(_OPENID)),
            (
                38,
                "x-wx-openid",
                "the function reads the openid from its header, sends requests, takes notifications",
                by(_OPENID, _FORWARD),
            ),
            (39, "WeChat Pay API", "WeChat Pay carries payments out", THEIRS),
            (40, "Integration Center", "it verifies, decrypts and forwards the plaintext", by(_FORWARD)),
        ],
        "Prerequisites": [
            (41, "Prerequisites", "what has to be there before", TITLE),
            (44, "Mini Program", "the mini program is verified, and not a person's", CONSOLE),
            (
                45,
                "merchant ID",
                "the merchant number is bound to it",
                by("test_faq_6_an_app_id_that_is_not_bound_is_told"),
            ),
            (46, "super-admin", "the right to fetch certificate and key", CONSOLE),
            (
                47,
                "3.15.2",
                "the base library that has callHTTPFunction",
                by("test_faq_1_an_old_base_library_lacks_the_call"),
            ),
            (48, "CLI", "tools for working on the function", SOURCE),
            (49, "Developer Tools", "the newest developer tools", PHONE),
        ],
        "Step 1": [(50, "Step 1", "the merchant's values, to be entered into a form", INJECTED)],
        "1.1": [
            (
                52,
                "1.1",
                "the APIv3 key: 32 characters; without one WeChat Pay notifies nobody",
                by(_READ.tests[0], "test_faq_5_without_an_apiv3_key_at_wechat_pay_nothing_is_sent_and_a_query_tells"),
            )
        ],
        "1.2": [
            (
                56,
                "1.2",
                "the merchant's private key and the certificate's serial; the other files are not needed",
                by("test_step_3_the_ten_variables_alone_are_a_complete_configuration"),
            ),
        ],
        "1.3": [
            (
                62,
                "1.3",
                "WeChat Pay's public key and its id",
                by("test_faq_10_with_a_public_key_certificates_are_never_fetched"),
            ),
            (
                67,
                "platform certificate",
                "without a public key the platform certificates are used",
                by("test_step_1_3_without_a_public_key_platform_certificates_are_fetched"),
            ),
            (
                68,
                "opposite roles",
                "WeChat Pay's key verifies, the merchant's signs: not to be mixed up",
                by("test_step_1_3_our_own_certificate_in_the_place_of_wechat_pays_key_is_told_apart"),
            ),
        ],
        "1.4": [
            (69, "1.4", "the list of seven values", INJECTED),
            *(
                (line, name, "one of the seven", by(_NAMED))
                for line, name in enumerate(
                    (
                        "appId",
                        "merchantId",
                        "apiV3Key",
                        "merchantSerialNumber",
                        "privateKey",
                        "wxPayPublicKey",
                        "wxPayPublicKeyId",
                    ),
                    73,
                )
            ),
        ],
        "Step 2": [(80, "Step 2", "an integration is made", DEPLOY)],
        "2.1": [(81, "2.1", "where it is made", CONSOLE)],
        "2.2": [
            (83, "2.2", "the form", CONSOLE),
            (85, "Integration name", "its name, and the seven values; the integration keeps them", INJECTED),
        ],
        "2.3": [
            (89, "2.3", "a function and addresses come of it", DEPLOY),
            (
                91,
                "HTTP cloud function",
                "the function's name has a random end",
                apart("the front ends name whatever the function is called"),
            ),
            (
                95,
                "base domain",
                "the host of the notifications",
                by("test_step_2_3_wechat_pay_is_told_the_integration_centers_addresses"),
            ),
            (96, "/wechatpay/order", "where payments are reported", by(_FORWARD)),
            (97, "/wechatpay/refund", "where refunds are reported", by(_FORWARD)),
            (
                98,
                "/wechatpay/transfer",
                "transfers are not reported by the Integration Center yet",
                differs(
                    "mini program 3.2, transfer callback",
                    _FORWARD,
                    "test_step_3_2_a_transfer_without_its_callback_address_is_asked_about",
                ),
            ),
            (
                99,
                "notify_url",
                "the payment address is entered at the merchant platform; refunds carry theirs",
                by("test_step_2_3_wechat_pay_is_told_the_integration_centers_addresses"),
            ),
        ],
        "Step 3": [
            (100, "Step 3", "all values are in the environment, none in the code", INJECTED),
            (
                102,
                "Edit",
                "values are changed at the integration, which deploys anew",
                differs("usage flow, Edit the integration"),
            ),
        ],
        "3.1": [
            (103, "3.1", "how to download the source", SOURCE),
            (
                105,
                "pay-common/",
                "what file does what, and which ports",
                differs(
                    "mini program 3.1, source structure",
                    "test_step_3_1_a_file_of_the_original_has_its_counterpart",
                    "test_step_3_1_the_bootstrap_listens_on_9000_and_the_local_start_on_3000",
                ),
            ),
        ],
        "3.2": [
            (
                129,
                "3.2",
                "routes are paths below /wx-pay/, the openid comes by itself",
                by("test_step_3_2_a_route_answers_at_its_path", _OPENID),
            ),
            (
                131,
                "legacy",
                "the gateway with _action works too",
                by("test_step_3_2_the_legacy_dispatch_by_action_through_the_gateway_answers_alike"),
            ),
            (135, "wxpay_order", "places a JSAPI order", _ROUTE),
            (136, "out_trade_no", "an order by the merchant's number", _ROUTE),
            (137, "transaction_id", "an order by WeChat Pay's number", _ROUTE),
            (138, "close", "closes an order", _ROUTE),
            (139, "wxpay_refund", "asks for a refund", differs(OPERATOR, *_ROUTE.tests, _RIGHT)),
            (140, "wxpay_refund_query", "a refund by its number", _ROUTE),
            (
                141,
                "wxpay_transfer",
                "a transfer; its callback is one's own affair",
                differs(OPERATOR, *_ROUTE.tests, _RIGHT),
            ),
            (142, "bill_query", "a transfer by the merchant's number", differs(OPERATOR, *_ROUTE.tests, _RIGHT)),
            (143, "by_no", "a transfer by WeChat Pay's number", differs(OPERATOR, *_ROUTE.tests, _RIGHT)),
            (144, "/wx-pay/", "the form of the path", by(_PLAY)),
        ],
        "3.3": [
            (
                145,
                "3.3",
                "the handlers only log until the merchant writes them",
                by("test_step_3_3_by_default_a_handler_only_logs_and_says_so"),
            ),
            (
                149,
                "handlerUnified",
                "after an order: keep it as pending",
                differs("mini program 3.3, handlers", _HANDLER),
            ),
            (
                150,
                "handlerUnifiedTrigger",
                "a payment: seen before, amount, paid, effects",
                differs("mini program 3.3, handlers", _HANDLER),
            ),
            (151, "handlerRefund", "after a refund was accepted", differs("mini program 3.3, handlers", _HANDLER)),
            (
                152,
                "refund_status",
                "a refund ended: SUCCESS, CHANGE, REFUNDCLOSE",
                differs("mini program 3.3, handlers", _HANDLER, _STATES),
            ),
            (
                153,
                "handlerTransfer",
                "after a transfer was accepted: both numbers and the amount",
                differs("mini program 3.3, handlers", _HANDLER),
            ),
            (154, "handlerTransferTrigger", "a transfer ended", differs("mini program 3.3, handlers", _HANDLER)),
            (
                156,
                "Return as early",
                "SUCCESS within 5 seconds, else WeChat Pay repeats; effects elsewhere",
                differs("callbacks are answered SUCCESS before the handler ran", _LOST),
            ),
        ],
        "Step 4": [
            (158, "Step 4", "three ways for the front end", TITLE),
            (160, "Option 1", "code of one's own, the sample project, or WeDa", by(_PLAY, *_WEDA.tests)),
        ],
        "4.1": [
            (164, "4.1", "what the front end needs", TITLE),
            (165, "base library", "libVersion in project.config.json", PHONE),
            (
                167,
                "Initialize",
                "wx.cloud.init at the start",
                by("test_step_4_1_the_app_initialises_cloud_development"),
            ),
            (169, "App({", "the code of it", by("test_step_4_1_the_app_initialises_cloud_development")),
            (177, "💡", "no identity provider, no SDK, no npm", by(_PLAY)),
        ],
        "4.2": [
            (179, "4.2", "a mini program of one's own", by(_PLAY)),
            (
                182,
                "ENV_ID",
                "environment and function name are replaced; at least three fields",
                by(
                    "test_step_4_2_an_order_needs_its_three_fields",
                    "test_step_4_3_a_function_name_that_was_not_replaced_is_not_found",
                ),
            ),
            (
                183,
                "amount.total",
                "cents; a number of one's own",
                by("tests/guides/test_native_qr_pay.py::test_step_4_3_the_fields_have_the_guides_limits"),
            ),
            (184, "x-wx-openid", "payer.openid is filled in from the header", by(_OPENID)),
            (185, "timeStamp", "the shape of the answer", by(_SHAPE)),
            (
                186,
                "app.js",
                "the code: start, order, payment",
                by(
                    _PLAY,
                    "test_step_4_2_without_an_env_id_the_app_says_so_and_does_not_start",
                    "test_step_4_2_a_user_who_cancels_leaves_the_order_unpaid",
                ),
            ),
            (271, "path", "standard paths, no _action; the number is kept for the query", by(_PLAY)),
            (272, "prepay_id", "package is used as it is", by(_SHAPE)),
            (272, "final payment state", "the notification decides, not the page", by(_PLAY)),
            (
                273,
                "success",
                "after a refusal of WeChat Pay the page behaves otherwise",
                differs(
                    "mini program 4.2, `wx.requestPayment`",
                    "test_step_4_2_what_wechat_pay_refuses_never_reaches_the_payment_sheet",
                ),
            ),
        ],
        "4.3": [
            (274, "4.3", "the published sample project", differs("mini program 4.3, sample project")),
            (276, "Configuration", "once, in the developer tools", TITLE),
            (277, "Import", "the project is imported", PHONE),
            (
                279,
                "FUNCTION_NAME",
                "four values are replaced, or calls are not found",
                by("test_step_4_3_a_function_name_that_was_not_replaced_is_not_found"),
            ),
            (280, "💡", "no packages", by(_PLAY)),
            (282, "Simulator", "the simulator shows the start and prepay_id, and cannot pay", PHONE),
            (286, "Real-device", "the test on a phone", TITLE),
            (287, "scan", "debugging on a phone", PHONE),
            (288, "password", "payment on a phone", PHONE),
        ],
        "4.4": [
            (289, "4.4", "WeDa calls the same function", _WEDA),
            (292, "callHTTPFunction", "the openid, the path, the sheet", _WEDA),
            (296, "No need", "no token, no openid; name and base library as above", _WEDA),
            (301, "/**", "the page method", by(*_WEDA.tests, "test_step_4_4_the_weda_method_shows_what_was_refused")),
            (
                353,
                "If",
                "callHTTPFunction is missing: base library",
                by("test_faq_1_an_old_base_library_lacks_the_call"),
            ),
            (
                355,
                "appid and openid",
                "another AppID than the integration's",
                by("test_faq_4_an_openid_of_another_app_is_refused_with_wechat_pays_words"),
            ),
            (356, "path", "404: name or path are wrong", by("test_step_4_4_a_wrong_route_is_not_found")),
        ],
        "FAQ": [
            (357, "FAQ", "questions", TITLE),
            (
                358,
                "Q1",
                "callHTTPFunction is not a function: the base library is too old",
                by("test_faq_1_an_old_base_library_lacks_the_call"),
            ),
            (
                361,
                "Q2",
                "MISSING_CREDENTIALS: one of the seven is missing",
                differs("mini program Q2, MISSING_CREDENTIALS", _NAMED),
            ),
            (
                363,
                "Q3",
                "DECODER routines unsupported: the key was bent by pasting",
                differs(
                    "mini program Q3, DECODER routines unsupported", "test_faq_3_a_key_that_pasting_has_bent_is_mended"
                ),
            ),
            (
                365,
                "complete",
                "first and last line, line breaks, blanks around it",
                differs(
                    "mini program Q3, DECODER routines unsupported",
                    "test_faq_3_a_key_that_pasting_has_bent_is_mended",
                    "test_faq_3_a_key_that_cannot_be_mended_is_named_and_never_shown",
                ),
            ),
            (
                368,
                "normalizePem",
                "literal line breaks are mended",
                by("test_faq_3_a_key_that_pasting_has_bent_is_mended"),
            ),
            (
                369,
                "Q4",
                "an openid that is not of this AppID",
                by("test_faq_4_an_openid_of_another_app_is_refused_with_wechat_pays_words"),
            ),
            (
                371,
                "When using",
                "the platform's openid is right; AppID and merchant are bound",
                by(_OPENID, "test_faq_6_an_app_id_that_is_not_bound_is_told"),
            ),
            (374, "Q5", "no notification comes", TITLE),
            (
                376,
                "notify URL",
                "the address at the merchant platform; the APIv3 key",
                by(
                    "test_step_2_3_wechat_pay_is_told_the_integration_centers_addresses",
                    "test_faq_5_without_an_apiv3_key_at_wechat_pay_nothing_is_sent_and_a_query_tells",
                ),
            ),
            (378, "Active", "the integration's state", CONSOLE),
            (379, "Whether", "handlerUnifiedTrigger shows in the log", by("test_faq_5_a_callback_shows_in_the_log")),
            (381, "Q6", "the sheet does not open", TITLE),
            (383, "merchant ID", "the AppID is not bound", by("test_faq_6_an_app_id_that_is_not_bound_is_told")),
            (
                384,
                "capability",
                "the product is not enabled",
                by("test_step_4_2_what_wechat_pay_refuses_never_reaches_the_payment_sheet"),
            ),
            (385, "Personal", "a person's mini program cannot take payments", CONSOLE),
            (386, "Q7", "the simulator does not pay", PHONE),
            (388, "Q8", "WeChat Pay's risk limits, after all worked", THEIRS),
            (390, "small", "too small amounts", ADVICE),
            (391, "count", "too many payments of one user", ADVICE),
            (392, "New merchant", "limits of new merchants", THEIRS),
            (393, "category", "another business than registered", THEIRS),
            (394, "review", "the mini program's review", CONSOLE),
            (396, "merchant platform", "where risk messages stand", CONSOLE),
            (397, "Transaction", "where failed payments stand", CONSOLE),
            (398, "another", "try another account", ADVICE),
            (
                399,
                "Q9",
                "anonymous users cannot place JSAPI orders",
                by("test_faq_9_without_an_openid_there_is_no_jsapi_order"),
            ),
            (
                401,
                "Q10",
                "NOT_ENOUGH: the platform certificate is no longer to be had",
                differs("mini program Q10, NOT_ENOUGH", "test_faq_10_with_a_public_key_certificates_are_never_fetched"),
            ),
            (
                408,
                "public key ID",
                "use the public key; it must be a PEM; or fetch a new certificate",
                by(
                    "test_faq_10_a_value_that_is_no_public_key_is_named",
                    "test_step_1_3_without_a_public_key_platform_certificates_are_fetched",
                ),
            ),
            (411, "mode", "where to see which mode is on", CONSOLE),
        ],
        "Appendix": [
            (412, "Appendix", "the variables that are injected", INJECTED),
            (416, "signMode", "gateway unless set", by(_READ.tests[0], "test_appendix_an_unset_sign_mode_is_gateway")),
            *(
                (line, name, "read under this name", _READ)
                for line, name in enumerate(
                    (
                        "appId",
                        "merchantId",
                        "apiV3Key",
                        "merchantSerialNumber",
                        "privateKey",
                        "wxPayPublicKey",
                        "wxPayPublicKeyId",
                        "notifyURLPayURL",
                        "notifyURLRefundsURL",
                    ),
                    417,
                )
            ),
            (
                426,
                "transferNotifyUrl",
                "may be left out",
                by(
                    _READ.tests[0],
                    "test_step_3_the_ten_variables_alone_are_a_complete_configuration",
                    "test_step_3_2_a_transfer_without_its_callback_address_is_asked_about",
                ),
            ),
        ],
        "Further Reading": [
            (427, "Further", "pages of others", TITLE),
            *((line, "http", "a link", LINK) for line in range(430, 434)),
        ],
    },
)

_QR = "test_step_4_3_order_code_payment_and_result"
_QR_ROUTE = by("test_step_4_1_a_route_answers_by_its_action")
_QR_PLAIN = "test_step_4_3_openid_appid_and_notify_url_are_not_needed"
_QR_CALLBACK = "test_step_4_2_the_callback_of_a_qr_order_has_the_fields_of_a_mini_programs"
_ANONYMOUS = "test_step_4_3_an_anonymous_token_may_not_order"
_LIMITS = "test_step_4_3_the_fields_have_the_guides_limits"
_WAY = "test_appendix_each_way_to_pay_has_its_endpoint_and_answer"
_SEVEN = ("appId", "merchantId", "apiV3Key", "merchantSerialNumber", "privateKey", "wxPayPublicKey", "wxPayPublicKeyId")

NATIVE = _guide(
    "native-qr-pay",
    {
        "Introduction": [
            (1, "Native", "payments by a code on a screen, with the function of an integration", DEPLOY),
            (3, "Applicable", "where this way fits, and where another does", ADVICE),
            (5, "Outbound", "from the page through the gateway and the function to WeChat Pay", by(_QR)),
            (
                7,
                "polls",
                "notifications, and a page that asks or is told",
                by(_QR, "test_faq_6_the_server_may_tell_the_page_by_an_answer_that_waits"),
            ),
        ],
        "Architecture Overview": [
            (8, "Architecture", "who talks to whom", by(_QR)),
            (9, "┌", "the same as a drawing", by(_QR)),
            (37, "/v3/pay/transactions/native", "an endpoint of its own", by(_WAY)),
            (38, "code_url", "the answer is what the code holds", by("test_step_4_3_the_answer_is_nested_as_printed")),
            (39, "openid", "no openid", by(_QR_PLAIN)),
            (40, "appid", "any AppID that is associated", by("test_step_1_an_app_id_of_any_kind_orders")),
            (41, "awareness", "no callback in the page: ask, or be told", by(_QR)),
            (42, "Runtime", "any browser", by(_QR)),
            (
                43,
                "server-side",
                "the same function; only _action is another",
                by("test_faq_7_one_function_serves_codes_and_mini_programs"),
            ),
        ],
        "Prerequisites": [
            (45, "Prerequisites", "what has to be there before", TITLE),
            (48, "Official Account", "one verified app", CONSOLE),
            (49, "Product Center", "the product is enabled", by("test_faq_4_a_merchant_without_the_product_is_told")),
            (50, "merchant ID", "bound to the AppID", by(_MINI + "test_faq_6_an_app_id_that_is_not_bound_is_told")),
            (51, "super-admin", "the right to fetch certificate and key", CONSOLE),
            (52, "QR Code", "something that draws codes", by(_QR)),
        ],
        "Step 1": [
            (53, "Step 1", "the merchant's values", INJECTED),
            *((line, name, "one of the seven", by(_MINI + _NAMED)) for line, name in enumerate(_SEVEN, 56)),
            (63, "Native", "the AppID may be of any kind", by("test_step_1_an_app_id_of_any_kind_orders")),
        ],
        "Step 2": [
            (65, "Step 2", "as in the mini program's guide", DEPLOY),
            (67, "HTTP cloud function", "function, host and paths of notifications", by(_MINI + _FORWARD)),
            (72, "callback URL", "the address is entered at the merchant platform", CONSOLE),
        ],
        "Step 3": [
            (
                73,
                "Step 3",
                "as in the mini program's guide; _action wxpay_order_native",
                by("test_step_4_3_the_answer_is_nested_as_printed"),
            )
        ],
        "Step 4": [(75, "Step 4", "four things: order, draw, ask, go on", by(_QR))],
        "4.1": [
            (77, "4.1", "the same routes; one is another", _QR_ROUTE),
            (81, "wxpay_order_native", "places a QR order", _QR_ROUTE),
            (82, "out_trade_no", "an order by the merchant's number", _QR_ROUTE),
            (83, "transaction_id", "an order by WeChat Pay's number", _QR_ROUTE),
            (84, "close", "closes an order", _QR_ROUTE),
            (
                85,
                "wxpay_refund",
                "asks for a refund",
                differs(OPERATOR, *_QR_ROUTE.tests, "test_step_4_1_a_refund_by_a_signed_in_user_needs_an_operator"),
            ),
            (86, "wxpay_refund_query", "a refund by its number", _QR_ROUTE),
            (
                87,
                "difference",
                "code_url instead of invocation parameters",
                by("test_step_4_3_the_answer_is_nested_as_printed"),
            ),
            (
                89,
                "Bearer",
                "_action in the body; a token, but not for notifications",
                by("test_step_4_1_without_a_token_the_gateway_refuses", "test_step_4_2_a_forward_needs_no_token"),
            ),
        ],
        "4.2": [
            (90, "4.2", "the same handlers", by(_QR)),
            (92, "identical", "the same notification, whatever the way to pay", by(_QR_CALLBACK)),
        ],
        "4.3": [
            (94, "4.3", "a whole page", by(_QR)),
            (97, "ENV_ID", "environment and function name are replaced", by(_QR)),
            (
                98,
                "description",
                "three fields and their limits",
                by("test_step_4_3_a_qr_order_needs_its_three_fields", _LIMITS),
            ),
            (99, "payer.openid", "openid, appid and notify_url are filled in", by(_QR_PLAIN)),
            (100, "signInAnonymously", "anonymous tokens may not call", by(_ANONYMOUS)),
            (
                100,
                "Three-layer",
                "where the layers of the answer come from",
                differs("QR 4.3, three layers", "test_step_4_3_the_answer_is_nested_as_printed"),
            ),
            (102, "code_url", "drawn as it is; the notification decides", by(_QR)),
            (
                103,
                "pc-cashier.html",
                "the page: order, code, polling, result",
                differs(
                    "QR 4.3, the cashier's script",
                    _QR,
                    "test_step_4_3_without_a_sign_in_of_ones_own_the_page_orders_nothing",
                    "test_step_4_3_a_refused_order_is_shown",
                    "test_step_4_3_an_order_that_was_closed_elsewhere_ends_the_polling",
                ),
            ),
            (
                223,
                "code_url",
                "not encoded, not wrapped",
                by("test_faq_2_a_code_that_was_changed_is_not_known_to_the_phone"),
            ),
            (
                224,
                "unwrap",
                "the layers are always the same",
                by("test_step_4_3_the_answer_is_nested_as_printed", "test_step_4_1_a_route_answers_by_its_action"),
            ),
            (
                224,
                "Polling",
                "ask every 2 to 3 seconds, close after 10 minutes",
                by("test_step_4_3_after_ten_minutes_the_page_closes_the_order"),
            ),
            (
                225,
                "Better UX",
                "the server may tell the page",
                by("test_faq_6_the_server_may_tell_the_page_by_an_answer_that_waits"),
            ),
            (226, "side effects", "effects follow the notification", by(_QR)),
        ],
        "Multi-AppID": [
            (
                228,
                "Multi-AppID",
                "useServiceAccount takes service_app_id",
                by("test_several_app_ids_with_service_app_id_the_order_is_that_apps"),
            ),
            (
                230,
                "useServiceAccount",
                "the code of it",
                by("test_several_app_ids_with_service_app_id_the_order_is_that_apps"),
            ),
            (
                238,
                "service_app_id",
                "the error without that variable, word by word",
                by("test_several_app_ids_without_service_app_id_the_printed_error"),
            ),
        ],
        "4.4": [
            (239, "4.4", "trying it", TITLE),
            (241, "Open", "a browser shows the code, a phone pays", by(_QR)),
            (243, "redirect", "the page goes on within a poll", by(_QR)),
            (244, "logs", "the log line of the notification", by(_QR)),
            (246, "amount", "amounts for trying", ADVICE),
        ],
        "FAQ": [
            (247, "FAQ", "questions", TITLE),
            (248, "Q1", "code_url is no picture: draw it", by(_QR)),
            (
                250,
                "Q2",
                "an encoded or wrapped code cannot be opened",
                by("test_faq_2_a_code_that_was_changed_is_not_known_to_the_phone"),
            ),
            (
                252,
                "Q3",
                "a code ends after 2 hours; order again",
                by("test_faq_3_a_code_ends_after_two_hours_and_ordering_again_makes_a_new_one"),
            ),
            (254, "Q4", "the phone shows nothing", TITLE),
            (256, "capability", "the product is not enabled", by("test_faq_4_a_merchant_without_the_product_is_told")),
            (
                257,
                "The",
                "the AppID is not bound; the code was spoilt",
                by(
                    _MINI + "test_faq_6_an_app_id_that_is_not_bound_is_told",
                    "test_faq_2_a_code_that_was_changed_is_not_known_to_the_phone",
                ),
            ),
            (
                259,
                "Q5",
                "a token ends after 2 hours",
                by("test_faq_5_an_expired_token_is_refused_before_the_function_sees_it"),
            ),
            (
                261,
                "Q6",
                "without polling",
                differs("QR Q6, without polling", "test_faq_6_the_server_may_tell_the_page_by_an_answer_that_waits"),
            ),
            (
                263,
                "WebSocket",
                "the backend or a database tells the page",
                differs("QR Q6, without polling", "test_faq_6_the_server_may_tell_the_page_by_an_answer_that_waits"),
            ),
            (
                267,
                "Q7",
                "one function serves codes and mini programs",
                by("test_faq_7_one_function_serves_codes_and_mini_programs"),
            ),
            (
                269,
                "The",
                "one AppID for both, or two integrations",
                differs(
                    "JSAPI Q8 and QR Q7, two AppIDs", "test_several_app_ids_with_service_app_id_the_order_is_that_apps"
                ),
            ),
            (271, "Q8", "notifications do not differ", by(_QR_CALLBACK)),
        ],
        "Appendix": [
            (273, "Appendix", "the ways to pay side by side", by(_WAY)),
            (276, "_action", "the action of each", by(_WAY)),
            (277, "Order API", "the endpoint of each", by(_WAY)),
            (
                278,
                "openid",
                "who needs an openid",
                by(_QR_PLAIN, _MINI + "test_faq_9_without_an_openid_there_is_no_jsapi_order"),
            ),
            (279, "code_url", "what is answered", by(_WAY)),
            (
                280,
                "Invocation",
                "how payment is begun",
                by(_QR, _MINI + _PLAY, "tests/guides/test_jsapi_web_pay.py::test_step_4_5_order_payment_and_result"),
            ),
            (
                281,
                "awareness",
                "how the page learns of it",
                by(_QR, _MINI + _PLAY, "tests/guides/test_jsapi_web_pay.py::test_step_4_5_order_payment_and_result"),
            ),
            (282, "Runtime", "where it runs", by(_QR)),
            (283, "TRANSACTION.SUCCESS", "one structure for all", by(_QR_CALLBACK)),
        ],
        "Further Reading": [
            (284, "Further", "pages of others", TITLE),
            *((line, "http", "a link", LINK) for line in range(287, 293)),
        ],
    },
)

_WEB = "test_step_4_5_order_payment_and_result"
_WEB_ROUTE = by("test_step_4_3_a_route_answers_by_its_action")
_WEB_OPENID = "test_step_3_the_openid_must_be_one_of_the_official_account"
_WEB_APP = by("test_faq_1_another_app_id_at_the_bridge_than_in_the_order_is_refused")
_WEB_BRIDGE = by("test_faq_5_outside_wechat_there_is_no_bridge_and_the_page_waits_for_it")
_WEB_TWO = differs("JSAPI Q8 and QR Q7, two AppIDs", "test_faq_8_one_function_serves_both_apps_with_service_app_id")
_OAUTH = apart("between the page, a backend of its own and WeChat's sign-in; the function has no part in it")

JSAPI = _guide(
    "jsapi-web-pay",
    {
        "Introduction": [
            (1, "JSAPI", "payments in an official account's page, with the function of an integration", DEPLOY),
            (3, "Applicable", "where this way fits, and where another does", ADVICE),
            (5, "Outbound", "from the page through sign-in, gateway and function to WeChat Pay", by(_WEB)),
            (7, "business side", "notifications come through the Integration Center", by(_WEB)),
        ],
        "Architecture Overview": [
            (8, "Architecture", "who talks to whom", by(_WEB)),
            (9, "┌", "the same as a drawing", by(_WEB)),
            (44, "/v3/pay/transactions/jsapi", "the same endpoint", by(_WEB_OPENID)),
            (45, "appid", "the official account's AppID", _WEB_APP),
            (46, "openid", "the openid comes by OAuth", _OAUTH),
            (47, "WeixinJSBridge", "the bridge opens the sheet", by(_WEB)),
            (48, "Runtime", "WeChat's own browser", _WEB_BRIDGE),
            (
                49,
                "identical",
                "the function is the same",
                by(_WEB, "test_faq_8_one_function_serves_both_apps_with_service_app_id"),
            ),
            (53, "Official Account web", "the page orders with a token and opens the sheet", by(_WEB)),
            (54, "AppSecret", "a backend trades code for openid", _OAUTH),
            (
                55,
                "gateway",
                "the gateway checks the token and passes on",
                by("test_step_4_3_without_a_token_the_gateway_refuses", _WEB),
            ),
            (56, "pay-common", "the function orders, queries, refunds and takes notifications", _WEB_ROUTE),
            (57, "WeChat Pay API", "WeChat Pay carries payments out", THEIRS),
            (
                58,
                "Integration Center",
                "it verifies, decrypts and forwards",
                by("test_step_4_4_the_callback_is_that_of_a_mini_program"),
            ),
        ],
        "Prerequisites": [
            (59, "Prerequisites", "what has to be there before", TITLE),
            *(
                (line, mark, "set up on a console", CONSOLE)
                for line, mark in (
                    (62, "Service Account"),
                    (63, "capability"),
                    (64, "merchant ID"),
                    (65, "authorization directory"),
                    (66, "authorization domain"),
                    (67, "super-admin"),
                )
            ),
            (68, "backend", "a backend for the openid", _OAUTH),
        ],
        "Step 1": [
            (69, "Step 1", "the merchant's values", INJECTED),
            *((line, name, "one of the seven", by(_MINI + _NAMED)) for line, name in enumerate(_SEVEN, 73)),
            (
                80,
                "⚠️",
                "the AppID is the official account's, and bound",
                by("test_faq_2_an_app_id_that_is_not_bound_is_told"),
            ),
        ],
        "Step 2": [
            (82, "Step 2", "as in the mini program's guide", DEPLOY),
            (84, "HTTP cloud function", "function, host and paths of notifications", by(_MINI + _FORWARD)),
            (89, "callback URL", "the address is entered at the merchant platform", CONSOLE),
        ],
        "Step 3": [
            (90, "Step 3", "as in the mini program's guide", INJECTED),
            (92, "openid", "the openid is one of the official account", by(_WEB_OPENID)),
        ],
        "Step 4": [(93, "Step 4", "four things: openid, order, sheet, notification", by(_WEB))],
        "4.1": [(95, "4.1", "directory and domain of the page are registered", CONSOLE)],
        "4.2": [
            (101, "4.2", "the openid comes by OAuth, traded on a backend", _OAUTH),
            (103, "Recommended", "another integration trades it", _OAUTH),
            (106, "AppSecret", "where the secret stays then", _OAUTH),
            (107, "Alternative", "or a backend of one's own", _OAUTH),
            (109, "oauth2", "the requests for it", _OAUTH),
            (125, "snsapi_base", "a scope without a question to the user", _OAUTH),
        ],
        "4.3": [
            (126, "4.3", "the same routes", _WEB_ROUTE),
            (130, "wxpay_order", "places the order", _WEB_ROUTE),
            (131, "out_trade_no", "an order by the merchant's number", _WEB_ROUTE),
            (132, "transaction_id", "an order by WeChat Pay's number", _WEB_ROUTE),
            (133, "close", "closes an order", _WEB_ROUTE),
            (134, "wxpay_refund", "asks for a refund", differs(OPERATOR, *_WEB_ROUTE.tests)),
            (135, "wxpay_refund_query", "a refund by its number", _WEB_ROUTE),
            (
                136,
                "Bearer",
                "_action in the body, and a token",
                by("test_step_4_3_without_a_token_the_gateway_refuses"),
            ),
        ],
        "4.4": [
            (137, "4.4", "the same handlers", by("test_step_4_4_the_callback_is_that_of_a_mini_program")),
            (139, "identical", "the same notification", by("test_step_4_4_the_callback_is_that_of_a_mini_program")),
        ],
        "4.5": [
            (141, "4.5", "a whole page", by(_WEB)),
            (
                144,
                "FN_NAME",
                "environment and function name are replaced; WeChat's browser",
                by(_WEB, *_WEB_BRIDGE.tests),
            ),
            (
                146,
                "payer.openid",
                "the openid travels in the body",
                differs("JSAPI 4.5, `payer.openid`", _WEB, "test_step_4_2_a_user_who_signed_in_by_wechat_pays_himself"),
            ),
            (
                147,
                "signInAnonymously",
                "anonymous tokens may not call",
                by("test_step_4_5_an_anonymous_token_may_not_order"),
            ),
            (
                148,
                "pay.html",
                "the page: order, sheet, result",
                by(
                    _WEB,
                    "test_step_4_5_a_payment_that_is_not_made_is_told",
                    "test_step_4_5_a_refused_order_is_told_and_the_sheet_stays_shut",
                    "test_step_4_5_without_a_sign_in_of_ones_own_nothing_is_ordered",
                ),
            ),
            (239, "WeixinJSBridge", "outside WeChat H5 is the way", by("test_faq_5_h5_pay_is_the_way_outside_wechat")),
            (240, "appId", "the bridge's AppID is the order's", _WEB_APP),
            (241, "package", "package is used as it is; the notification decides", by(_WEB)),
        ],
        "4.6": [
            (243, "4.6", "trying it", TITLE),
            (245, "WeChat built-in", "only WeChat's own browser opens the sheet", _WEB_BRIDGE),
            (247, "real device", "before trying on a phone", PHONE),
            (248, "Domain", "the domain is registered", CONSOLE),
            (249, "prefix", "the directory is registered", CONSOLE),
            (252, "amount", "amounts for trying", ADVICE),
        ],
        "FAQ": [
            (253, "FAQ", "questions", TITLE),
            (254, "Q1", "appid and openid do not match: three AppIDs are to be one", _WEB_APP),
            (
                257,
                "Integration Center",
                "the integration has the official account's AppID",
                by("test_faq_2_an_app_id_that_is_not_bound_is_told"),
            ),
            (258, "OAuth2", "so has the backend", _OAUTH),
            (259, "frontend", "and the page", _WEB_APP),
            (261, "Q2", "APPID_MCHID_NOT_MATCH", by("test_faq_2_an_app_id_that_is_not_bound_is_told")),
            (263, "Q3", "the page's directory is not registered", CONSOLE),
            (265, "Q4", "the redirect brings no code", _OAUTH),
            (
                267,
                "Q5",
                "no bridge outside WeChat; H5 there",
                by(*_WEB_BRIDGE.tests, "test_faq_5_h5_pay_is_the_way_outside_wechat"),
            ),
            (269, "Q6", "pretending to be WeChat does not help", _WEB_BRIDGE),
            (271, "Q7", "wx.config is not needed", by(_WEB)),
            (273, "Q8", "one integration for both kinds of app", _WEB_TWO),
            (
                275,
                "two independent",
                "two integrations",
                by("tests/guides/test_faq.py::test_q4_two_functions_serve_two_merchants_side_by_side"),
            ),
            (276, "Modify", "or change the code", _WEB_TWO),
        ],
        "Appendix": [
            (278, "Appendix", "mini program and page side by side", TITLE),
            (281, "appId", "whose AppID", _WEB_APP),
            (282, "openid", "where the openid comes from", _OAUTH),
            (283, "invocation", "what opens the sheet", by(_WEB, _MINI + _PLAY)),
            (284, "Runtime", "where it runs", _WEB_BRIDGE),
            (285, "allowlist", "what is registered", CONSOLE),
            (286, "wxpay_order", "the same action", by(_WEB)),
            (
                287,
                "TRANSACTION.SUCCESS",
                "the same notification",
                by("test_step_4_4_the_callback_is_that_of_a_mini_program"),
            ),
        ],
        "Further Reading": [
            (288, "Further", "pages of others", TITLE),
            *((line, "http", "a link", LINK) for line in range(291, 296)),
        ],
    },
)

_CALL = "test_invoke_the_printed_call_orders_once_it_has_its_parameters"
_COUNTERPART = (
    "test_handle_callbacks_its_counterpart_is_idempotent",
    "test_handle_callbacks_its_counterpart_cross_checks_the_amount",
)
_EDIT = "usage flow, Edit the integration"
_LOGS = "usage flow, callback logs"
_LOG_LINES = "test_view_runtime_logs_each_request_is_a_line_on_standard_output"

USAGE_FLOW = _guide(
    "usage-flow",
    {
        "Introduction": [(1, "Usage Flow", "how integrations are used", TITLE)],
        "Prerequisites": [
            (3, "Prerequisites", "what has to be there before", TITLE),
            (5, "environment", "a CloudBase environment", CONSOLE),
            (6, "permissions", "the rights in it", CONSOLE),
            (7, "credentials", "the third party's values", by(_MINI + _NAMED)),
        ],
        "Create an Integration": [
            (8, "Create", "an integration is made", DEPLOY),
            (9, "1.", "where", CONSOLE),
            (12, "2.", "which", CONSOLE),
            (14, "Capability", "what its page says", CONSOLE),
            (15, "doc link", "what its page links to", CONSOLE),
            (16, "button", "where it is begun", CONSOLE),
            (17, "3.", "the form", CONSOLE),
            (19, "name", "name and values", INJECTED),
            (21, "Optional", "paths and switches of one's own", differs(_EDIT)),
            (22, "PEM", "pasting bends a PEM", by(_MINI + "test_faq_3_a_key_that_pasting_has_bent_is_mended")),
            (23, "4.", "what comes of it", DEPLOY),
            (27, "HTTP cloud function", "a function with a template", DEPLOY),
            (28, "Environment variables", "values and addresses in its environment", INJECTED),
            (
                29,
                "Callback domain",
                "a host for notifications",
                by(_MINI + "test_step_2_3_wechat_pay_is_told_the_integration_centers_addresses"),
            ),
            (30, "routes", "paths for notifications", by(_MINI + _FORWARD)),
            (31, "detail page", "where the values are shown", CONSOLE),
        ],
        "Invoke the Integration Function": [
            (32, "Invoke", "callHTTPFunction is the way of mini programs", by(_CALL)),
            (
                34,
                "wx.cloud.init",
                "the code of it",
                by(_CALL, "test_invoke_without_parameters_every_missing_field_is_named"),
            ),
            (
                45,
                "3.15.2",
                "base library; the identity is added",
                by(_MINI + _OPENID, _MINI + "test_faq_1_an_old_base_library_lacks_the_call"),
            ),
            (
                47,
                "other invocation",
                "web pages and servers",
                by(
                    "tests/guides/test_faq.py::test_q7_everybody_else_needs_a_token",
                    "tests/guides/test_faq.py::test_q6_another_cloud_function_calls_it_by_its_action",
                ),
            ),
        ],
        "Handle Callbacks": [
            (
                48,
                "Callbacks",
                "notifications arrive as plaintext on a path",
                by(_MINI + _FORWARD, "test_handle_callbacks_the_plaintext_has_the_named_fields"),
            ),
            (
                51,
                "orderService",
                "a handler: seen before, amount, state, effects",
                differs(
                    "mini program 3.3, handlers",
                    "test_handle_callbacks_the_printed_handler_acknowledges",
                    *_COUNTERPART,
                ),
            ),
            (65, "5 seconds", "SUCCESS within 5 seconds", by(_MINI + _LOST)),
            (66, "Idempotency", "the same may come again", by(_COUNTERPART[0])),
            (67, "cross-checks", "compare what matters", by(_COUNTERPART[1])),
            (68, "async", "slow work elsewhere", by("tests/orders/test_outbox.py")),
        ],
        "View and Manage Integrations": [(69, "Manage", "the console's pages", CONSOLE)],
        "View the Integration List": [
            (70, "List", "all integrations", CONSOLE),
            (72, "name", "what the list shows", CONSOLE),
            (73, "status", "what the list shows", CONSOLE),
            (74, "Associated", "what the list shows", CONSOLE),
        ],
        "View Integration Details": [
            (75, "Details", "one integration", CONSOLE),
            (77, "Basic info", "what its page shows", CONSOLE),
            (78, "resources", "what its page shows", CONSOLE),
            (
                79,
                "masked",
                "its variables, secrets hidden",
                by("tests/guides/test_faq.py::test_q1_credentials_come_from_variables_and_are_never_shown"),
            ),
            (80, "Callback logs", "its notifications", differs(_LOGS)),
        ],
        "Modify Integration Configuration": [
            (81, "Modify", "values are changed, and the function deployed anew", differs(_EDIT)),
            (
                84,
                "rotation",
                "another APIv3 key",
                by("test_modify_configuration_another_apiv3_key_takes_effect_with_the_restart"),
            ),
            (85, "Switching", "certificates or public key", by("test_modify_configuration_either_key_mode_orders")),
            (
                86,
                "optional",
                "service_app_id and the like",
                by(
                    "tests/guides/test_native_qr_pay.py::test_several_app_ids_with_service_app_id_the_order_is_that_apps"
                ),
            ),
            (88, "flight", "requests under way may suffer", ADVICE),
        ],
        "View Runtime Logs": [
            (89, "Logs", "the function's log", by(_LOG_LINES)),
            (91, "Console", "on the console", CONSOLE),
            (92, "CLI", "by the CLI", by(_LOG_LINES)),
            (
                94,
                "callback logs",
                "notifications have a page of their own",
                differs(
                    _LOGS,
                    "tests/guides/test_faq.py::test_q10_a_forwarded_callback_shows_in_the_log_and_so_does_a_refused_one",
                ),
            ),
        ],
        "Modify the Integration Function Code": [
            (
                95,
                "Modify",
                "the template is to be filled in",
                by("test_modify_the_code_a_class_of_ones_own_takes_the_handlers_place"),
            ),
            (97, "Method 1", "by the CLI", SOURCE),
            (98, "Download", "its commands", SOURCE),
            (102, "Method 2", "on the console", CONSOLE),
            (
                104,
                "env vars",
                "only business code is to be changed",
                by("test_modify_the_code_a_class_of_ones_own_takes_the_handlers_place"),
            ),
        ],
        "Delete an Integration": [
            (106, "Delete", "an integration is taken away", CONSOLE),
            (108, "released", "its host and paths are gone", CONSOLE),
            (109, "💡", "the function stays", CONSOLE),
            (111, "dependency", "nothing notifies it any more", ADVICE),
            (112, "stopped", "nothing calls it any more", ADVICE),
            (113, "logs", "its logs are kept", ADVICE),
        ],
        "Next Steps": [
            (114, "Next", "where to go on", TITLE),
            *(
                (line, mark, "where to go on", LINK)
                for line, mark in ((115, "guide"), (116, "Create"), (117, "Learn"), (118, "FAQ"))
            ),
        ],
    },
)

_OWN = "test_q5_an_order_service_of_ones_own_extends_it_without_touching_the_rest"
_TOKEN = "test_q9_without_a_valid_token_the_gateway_answers_401"
_TOLD = "test_q10_a_forwarded_callback_shows_in_the_log_and_so_does_a_refused_one"

FAQ = _guide(
    "faq",
    {
        "Introduction": [
            (1, "Skip", "a link of the web page", TITLE),
            (3, "FAQ", "questions", TITLE),
            *(
                (line, mark, "which questions are about it", TITLE)
                for line, mark in ((8, "Basics"), (9, "Usage"), (10, "Calling"), (11, "Common"))
            ),
        ],
        "Basics": [
            (13, "Basics", "what an integration is", TITLE),
            (15, "Q1", "integration or template", DEPLOY),
            (20, "Nature", "the platform runs it, or you do", DEPLOY),
            (
                21,
                "Credentials",
                "the platform keeps the values and injects them",
                differs("all, Wait for resources", "test_q1_credentials_come_from_variables_and_are_never_shown"),
            ),
            (
                22,
                "Callbacks",
                "the platform verifies and decrypts, or you do",
                by(_MINI + _FORWARD, "tests/http/test_callbacks_genuine.py"),
            ),
            (23, "Upgrades", "the platform upgrades it", differs("FAQ Q1, upgrades by the platform")),
            (24, "Customization", "the source may be extended", by(_OWN)),
            (25, "Typical", "what each is for", ADVICE),
            (29, "Integration", "who wants no keys and no verifying takes an integration", ADVICE),
            (30, "codebase", "who wants freedom takes a template", ADVICE),
            (32, "Q2", "the function's name has a random end and stays", CONSOLE),
            (36, "naming", "so that names differ", THEIRS),
            (37, "callback subdomain", "it belongs to the host of the notifications", THEIRS),
            (
                39,
                "FN_NAME",
                "front ends keep the name in one constant",
                by(_MINI + "test_step_4_3_a_function_name_that_was_not_replaced_is_not_found"),
            ),
        ],
        "Usage and Limits": [
            (41, "Usage", "limits", TITLE),
            (43, "Q3", "deleting the function breaks the notifications", CONSOLE),
            (
                51,
                "Q4",
                "several integrations side by side",
                by("test_q4_two_functions_serve_two_merchants_side_by_side"),
            ),
            (55, "Q5", "the function may be extended", by(_OWN)),
            (
                59,
                "credential",
                "not the reading of the values",
                by(_MINI + "test_step_3_the_ten_variables_alone_are_a_complete_configuration"),
            ),
            (60, "callback paths", "not the paths", by("test_q5_the_built_in_callback_paths_are_there")),
        ],
        "Calling Integrations": [
            (64, "Calling", "who calls", TITLE),
            (66, "Q6", "other functions may call it", by("test_q6_another_cloud_function_calls_it_by_its_action")),
            (70, "Q7", "a token is needed", by("test_q7_everybody_else_needs_a_token")),
            (77, "Mini Program", "mini programs need none", by("test_q7_a_mini_program_needs_no_token")),
            (78, "Bearer", "everybody else needs one", by("test_q7_everybody_else_needs_a_token")),
            (80, "access_token", "how to get one, with or without the SDK", LINK),
        ],
        "Common Errors": [
            (84, "Errors", "what goes wrong", TITLE),
            (86, "Q8", "the values are refused", by(_MINI + _READ.tests[0])),
            (
                90,
                "PEM",
                "an incomplete PEM",
                by(_MINI + "test_faq_3_a_key_that_cannot_be_mended_is_named_and_never_shown"),
            ),
            (
                91,
                "credential type",
                "certificate and public-key mode mixed up",
                by("test_q8_a_public_key_without_its_id_is_named", "test_q8_keys_of_the_two_sides_are_not_mixed_up"),
            ),
            (92, "AppID", "an AppID that is not bound", by(_MINI + "test_faq_6_an_app_id_that_is_not_bound_is_told")),
            (94, "Q9", "401", by(_TOKEN, "test_q9_off_the_platform_a_caller_without_any_sign_is_answered_401")),
            (
                98,
                "wx.cloud.init",
                "a mini program that did not start the cloud",
                by(_MINI + "test_step_4_2_without_an_env_id_the_app_says_so_and_does_not_start"),
            ),
            (99, "anonymous", "an anonymous token", by("tests/guides/test_native_qr_pay.py::" + _ANONYMOUS)),
            (100, "HTTP scenario", "a token that has ended", by(_TOKEN)),
            (102, "Q10", "a notification reaches no handler", TITLE),
            (
                106,
                "callback URL",
                "the address at the third party",
                by(_MINI + "test_step_2_3_wechat_pay_is_told_the_integration_centers_addresses"),
            ),
            (107, "Callback Logs", "a record at the integration", differs(_LOGS, _TOLD)),
            (
                108,
                "signature",
                "values that do not belong together",
                by(
                    "tests/guides/test_usage_flow.py::test_modify_configuration_another_apiv3_key_takes_effect_with_the_restart"
                ),
            ),
            (
                109,
                "function logs",
                "the handler's own fault",
                by(_TOLD, "test_q10_a_handler_that_throws_is_in_the_log_and_the_callback_comes_again"),
            ),
        ],
    },
)

STEPS: tuple[Step, ...] = (*MINI_PROGRAM, *NATIVE, *JSAPI, *USAGE_FLOW, *FAQ)
