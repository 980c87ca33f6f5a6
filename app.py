"""The application: settings in, parts put together, one Flask app out. `app` is what gunicorn serves."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from flask import Flask

from config.settings import Settings
from controllers import errors
from controllers.components import Components
from controllers.pay_controller import Action
from routes import commands, dispatch, web
from routes.actions import ACTIONS, ALL_NEEDS, CREDENTIALS, MERCHANT, RIGHTS
from services.handler_pool import HandlerPool
from services.merchant_code import contained
from services.order_service import OrderService
from services.pay_service import Merchant, PayService
from services.self_test import SelfTest
from services.strategies.base import PAYMENT, REFUND, TRANSFER, Strategy
from services.strategies.confirmation import Confirmation
from services.strategies.gateway_strategy import GatewayStrategy
from services.strategies.sdk_strategy import SdkStrategy
from services.wechatpay.client import Client
from services.wechatpay.signer import Signer
from services.wechatpay.transport import Network, Transport
from utils import logs
from utils.cloudbase_auth import FETCH_TIMEOUT, KEY_SET, CallerPolicy, TokenVerifier

if TYPE_CHECKING:
    from services.doctor.report import Case, Report
    from services.orders.desk import OrderDesk
    from services.orders.service import SqlOrderService

__version__ = "1.0.0"
USER_AGENT = f"pay-common-python/{__version__}"
HANDLER_THREADS = 20  # gunicorn.conf.py counts them

log = logging.getLogger("pay.start")


def create_app(
    settings: Settings | None = None,
    *,
    transport: Network | None = None,
    order_service: OrderService | None = None,
) -> Flask:
    """Build the application; it starts with missing or broken settings too, and says so in one log line.

    `settings` default to the environment, `transport` replaces the network towards WeChat Pay, and
    `order_service` goes before the setting `orderService`.
    """
    settings = settings or Settings.from_env()
    logs.setup("info", settings.secrets(), to_stderr=settings.command_line)
    settings = _with_unknown_actions_reported(settings)
    if order_service is None:
        settings, order_service = _load_order_service(settings)
    if settings.order_database_url:
        settings, order_service = _with_database(settings, order_service)
    elif "orderDatabaseUrl" not in settings.problems and (
        settings.price_list or (order_service and order_service.needs_database)
    ):
        reason = "is unset although priceList or orderService builds on it: set it, or unset those"
        settings = settings.with_problem("orderDatabaseUrl", reason)
    order_service = order_service or OrderService()
    order_service.rights = RIGHTS
    unusable = _unusable(settings)
    _announce(settings, unusable)  # whatever logLevel says
    logs.setup(settings.log_level, settings.secrets(), to_stderr=settings.command_line)

    app = Flask(__name__, static_folder=None)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False
    # One byte more, because a chunked body is cut there instead of refused.
    app.config["MAX_CONTENT_LENGTH"] = dispatch.MAX_FORWARD + 1
    pay, desk = _services(settings, transport, order_service)
    app.extensions["pay"] = Components(
        pay=pay,
        desk=desk,
        orders=order_service,
        self_test=_self_test(settings),
        lacking=settings.lacking,
        caller_policy=_caller_policy(settings),
        public_actions=settings.public_actions,
        allowed_origins=settings.cors_allow_origins,
        fixed={
            "appid": tuple(filter(None, (settings.app_id, settings.service_app_id))),
            "mchid": (settings.merchant_id,),
            "notifyURLPayURL": (settings.notify_url_pay,),
            "notifyURLRefundsURL": (settings.notify_url_refunds,),
            "transferNotifyUrl": tuple(filter(None, (settings.transfer_notify_url,))),
        },
        callback_timeout=settings.callback_timeout,
    )
    errors.init_app(app)
    web.init_app(app, __version__, settings.sign_mode, unusable)
    app.register_blueprint(dispatch.blueprint)
    if settings.command_line:  # a cold start has no time for what no request can reach
        diagnose = partial(_diagnosis, settings, transport, order_service)
        commands.init_app(app, with_database=bool(settings.order_database_url), diagnose=diagnose)
    return app


def _services(
    settings: Settings, network: Network | None, orders: OrderService
) -> tuple[PayService | None, OrderDesk | None]:
    """What is built on the credentials: neither without them, no desk without an order database."""
    if settings.lacking(CREDENTIALS) or settings.private_key is None or settings.api_v3_key is None:
        return None, None
    client = _client(settings, Transport(network), settings.private_key, settings.api_v3_key)
    direct = SdkStrategy(client.keys, settings.api_v3_key)
    forwarded = GatewayStrategy(
        settings.api_v3_key,
        Confirmation(client, settings.merchant_id),
        direct,
        trust_platform=settings.callback_trust == "platform",
    )
    merchant = Merchant(
        merchant_id=settings.merchant_id,
        app_id=settings.app_id,
        service_app_id=settings.service_app_id,
        notify_url_pay=settings.notify_url_pay,
        notify_url_refunds=settings.notify_url_refunds,
        transfer_notify_url=settings.transfer_notify_url,
        handler_timeout=settings.handler_timeout,
    )
    strategy = Strategy(client, direct if settings.sign_mode == "sdk" else forwarded)
    desk = None
    if settings.order_database_url:
        from services.orders import setup  # noqa: PLC0415 - as above

        desk = setup.desk(orders, client, settings.merchant_id)
    pool = HandlerPool(HANDLER_THREADS)
    return PayService(strategy, merchant, orders, pool, desk.actions() if desk else {}), desk


def _client(
    settings: Settings, transport: Transport, private_key: RSAPrivateKey, api_v3_key: bytes, host: str = ""
) -> Client:
    """The client of the configured hosts, or of this one alone."""
    return Client(
        transport=transport,
        signer=Signer(settings.merchant_id, settings.merchant_serial_number, private_key),
        api_v3_key=api_v3_key,
        public_key_id=settings.wxpay_public_key_id,
        public_key=settings.wxpay_public_key,
        hosts=(host, host) if host else (settings.api_base, settings.api_backup),
        timeout=settings.wxpay_timeout,
        user_agent=USER_AGENT,
    )


def _caller_policy(settings: Settings) -> CallerPolicy:
    tokens = None
    if settings.cloudbase_env_id:
        get = partial(Transport(connections=1).get, timeout=FETCH_TIMEOUT)
        tokens = TokenVerifier(settings.cloudbase_env_id, settings.cloudbase_auth_url, get)
    return CallerPolicy(
        caller_headers=settings.caller_headers,
        in_runtime=settings.on_platform,
        operator_key=settings.operator_key,
        operator_ids=settings.operator_ids,
        tokens=tokens,
    )


def _self_test(settings: Settings) -> SelfTest | None:
    if settings.api_v3_key is None:
        return None
    return SelfTest(settings.api_v3_key, dict(_callbacks(settings).values()))


def _callbacks(settings: Settings) -> dict[str, tuple[str, str]]:
    """Variable -> what is reported there, and the address, "" where there is none."""
    return {
        "notifyURLPayURL": (PAYMENT.name, settings.notify_url_pay),
        "notifyURLRefundsURL": (REFUND.name, settings.notify_url_refunds),
        "transferNotifyUrl": (TRANSFER.name, settings.transfer_notify_url),
    }


def _diagnosis(
    settings: Settings,
    network: Network | None,
    orders: OrderService,
    *,
    certificate: tuple[str, str] | None,
    env_file: str | None,
    online: bool,
) -> Report:
    """What the doctor command reports; `certificate` is the name and text of the merchant API certificate's file,
    `env_file` the text of the `.env`.
    """
    from config import examination  # noqa: PLC0415 - no request needs it
    from services.doctor import callbacks, merchant  # noqa: PLC0415
    from services.doctor.report import Finding, Report  # noqa: PLC0415

    own_rights = type(orders).authorize.__module__ not in ("services.order_service", "services.orders.service")
    subject = examination.Subject(settings, ALL_NEEDS, own_rights, certificate, env_file, online)
    report = Report([Finding(*row) for row in examination.examine(subject)], *examination.scope(subject))
    if online:
        case = _case(settings, network, examination.is_center)
        merchant.examine(case, report)
        callbacks.tokens(case, report)
        callbacks.examine(case, report)
        if settings.order_database_url and "orderDatabaseUrl" not in settings.problems:
            from services.orders import checkup  # noqa: PLC0415

            checkup.examine(cast("SqlOrderService", orders).parts.store.database, report)
    return report


def _case(settings: Settings, network: Network | None, is_center: Callable[[str], bool]) -> Case:
    """The settings as those see them who ask WeChat Pay and the callback addresses."""
    from services.doctor.report import Case  # noqa: PLC0415 - as above

    private_key, api_v3_key, lacking = settings.private_key, settings.api_v3_key, settings.lacking(MERCHANT)
    client = None
    if private_key and api_v3_key and not lacking:
        def client(transport: Transport, host: str) -> Client:
            return _client(settings, transport, private_key, api_v3_key, host)

    places = {name: place for name, place in _callbacks(settings).items() if place[1]}
    app_ids = {"appId": settings.app_id, "service_app_id": settings.service_app_id}
    return Case(
        client=client,
        lacking=lacking,
        hosts={"wxPayApiBase": settings.api_base, "wxPayApiBackup": settings.api_backup},
        merchant_id=settings.merchant_id,
        app_ids={name: app_id for name, app_id in app_ids.items() if app_id},
        api_v3_key=api_v3_key,
        has_public_key=settings.wxpay_public_key is not None,
        public_key_id=settings.wxpay_public_key_id,
        callbacks=places,
        forwarded=frozenset(name for name, (_, url) in places.items() if is_center(url)),
        token_keys=f"{settings.cloudbase_auth_url}{KEY_SET}" if settings.cloudbase_env_id else "",
        user_agent=f"{USER_AGENT} doctor",
        network=network,
    )


def _load_order_service(settings: Settings) -> tuple[Settings, OrderService | None]:
    """The merchant's class; one that cannot be had is a problem, never a silent default that keeps nothing."""
    if not settings.order_service:
        return settings, None
    try:
        order_service = contained(_function(settings.order_service))
        if not isinstance(order_service, OrderService):
            raise TypeError("not a subclass of services.order_service.OrderService")
        return settings, order_service
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the merchant's module does wrong
        return _not_loaded(settings, "orderService", settings.order_service, error), None


def _with_database(settings: Settings, order_service: OrderService | None) -> tuple[Settings, OrderService | None]:
    """The order service on its database; without one that can keep, everything that needs it is refused."""
    price = None
    try:
        if settings.price_list:
            price = _function(settings.price_list)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the merchant's module does wrong
        return _not_loaded(settings, "priceList", settings.price_list, error), order_service
    secret = settings.event_webhook_secret
    try:
        from services.orders import setup  # noqa: PLC0415 - SQLAlchemy is an extra, and takes its time to load

        return settings, setup.connect(
            order_service,
            settings.order_database_url,
            merchant_id=settings.merchant_id,
            price=price,
            expire_minutes=settings.order_expire_minutes,
            webhook=(settings.event_webhook_url, secret) if secret else None,
            # A callback has 3 seconds, a person at the command line more.
            patience=30.0 if settings.command_line else 2.5,
        )
    except ImportError as error:
        log.error("orderDatabaseUrl cannot be used", exc_info=error)
        reason = "needs the packages of requirements-orders.txt: install them (make package ORDERS=1 ships them)"
    except TypeError as error:
        reason = f"has no effect, because the class in orderService is {error}: derive it from that, or unset this"
    return settings.with_problem("orderDatabaseUrl", reason), order_service


def _function(path: str) -> Callable[..., Any]:
    """The function or class that stands under `module:name`."""
    module, _, name = path.partition(":")
    found: object = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise TypeError(f"{name} is no function or class")
    return found


def _not_loaded(settings: Settings, variable: str, named: str, error: BaseException) -> Settings:
    log.error("%s %s cannot be loaded", variable, named, exc_info=error)
    reason = f"cannot be loaded ({type(error).__name__}): the start-up log holds the trace"
    return settings.with_problem(variable, reason)


def _with_unknown_actions_reported(settings: Settings) -> Settings:
    known = {name for name, row in ACTIONS.items() if isinstance(row, Action)}
    if settings.public_actions <= known:
        return settings
    settings = replace(settings, public_actions=frozenset())
    reason = "names an action that does not exist: correct it; until then none is public"
    return settings.with_problem("publicActions", reason)


def _unusable(settings: Settings) -> list[str]:
    """Every setting that is missing or broken, as `name` or `name (reason)`."""
    lacking = settings.lacking(ALL_NEEDS)
    named = {lack.partition(" ")[0] for lack in lacking}
    return lacking + [f"{name} ({why})" for name, why in settings.problems.items() if name not in named]


def _announce(settings: Settings, unusable: list[str]) -> None:
    """One line at start with every problem and every setting that widens whom the function believes."""
    widened = _widened(settings)
    log.log(
        logging.WARNING if unusable or widened else logging.INFO,
        "pay-common %s starts: signMode=%s; problems: %s; widened trust: %s",
        __version__,
        settings.sign_mode,
        ", ".join(unusable) or "none",
        ", ".join(widened) or "none",
    )


def _widened(settings: Settings) -> Iterable[str]:
    return [
        text
        for text, applies in {
            "callbackTrust=platform": settings.callback_trust == "platform",
            "operatorIds=*": settings.operator_ids == {"*"},
            "callerHeaders=trusted": settings.caller_headers == "trusted",
        }.items()
        if applies
    ]


app = create_app()
