"""What the doctor sees without asking anybody: the settings by themselves and beside each other.

Shapes are judged by `config.rules` and `config.pem` alone, when the settings are read. Here their verdicts get a
reason and a remedy, and what is well-formed but cannot be meant is looked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from config import certificate, defaults, env_file, likeness, pem, rules
from config.advice import ADVICE, ERROR, WARNING, Row
from config.settings import API_BACKUP, API_BASE, FIELDS, SANDBOX_MARK, Settings

BUDGET, NARROW = 4096, 3600  # bytes of all variables of a function together, names and values
_PEMS = ("privateKey", "wxPayPublicKey")
_OFFICIAL = {API_BASE, API_BACKUP, "https://api.wechatpay.cn", "https://api2.wechatpay.cn"}
# Variable -> what is reported there, the last part of the path behind the Integration Center and of our own.
_CALLBACKS = {
    "notifyURLPayURL": ("payments", "wechatpay/order", "wx-pay/unifiedOrderTrigger"),
    "notifyURLRefundsURL": ("refunds", "wechatpay/refund", "wx-pay/refundTrigger"),
    "transferNotifyUrl": ("transfers", "wechatpay/transfer", "wx-pay/transferTrigger"),
}


@dataclass(frozen=True)
class Subject:
    """What is examined.

    `needed` are the variables that some action cannot do without; `own_rights` tells that the order service decides
    itself who may refund; `certificate` is the name and the text of the merchant API certificate's file, if there is
    one, `env_file` the text of the `.env`; `online` tells that WeChat Pay will be asked too.
    """

    settings: Settings
    needed: Collection[str]
    own_rights: bool = False
    certificate: tuple[str, str] | None = None
    env_file: str | None = None
    online: bool = False

    def text(self, name: str) -> str:
        return self.settings.given.get(name, "").strip()

    @property
    def with_sandbox(self) -> bool:
        """A WeChat Pay on this machine, which is no mistake as long as its own credentials are used."""
        return rules.is_on_loopback(self.settings.api_base) and self.text("apiV3Key").startswith(SANDBOX_MARK)


def examine(subject: Subject) -> list[Row]:
    """Every finding, in the order in which they are best seen to."""
    checks = (_env_file, _unset, _broken, _samples, _names, _keys, _urls, _callers, _operators, _orders, _hosts, _size)
    rows = [row for check in checks for row in check(subject)]
    if subject.certificate:
        rows += certificate.examine(subject.settings, *subject.certificate)
    return rows


def scope(subject: Subject) -> tuple[list[str], list[str]]:
    """What `examine` looks at, and what it could not."""
    checked = ["every variable by itself, and beside the others"]
    not_checked = []
    if subject.env_file is not None and env_file.can_be_read():
        checked.append("`.env`, as the CloudBase CLI reads it")
    elif subject.env_file is not None:
        not_checked.append("`.env`: it was not read at all without python-dotenv, which requirements-dev.txt installs")
    if subject.certificate:
        checked.append(f"privateKey, merchantSerialNumber and merchantId against {subject.certificate[0]}")
    else:
        not_checked.append("privateKey against its certificate: no apiclient_cert.pem beside `.env`, nor --certificate")
    return checked, not_checked


def _env_file(subject: Subject) -> Iterator[Row]:
    if subject.env_file is not None and env_file.can_be_read():
        yield from env_file.examine(subject.env_file, subject.settings.given)


def _unset(subject: Subject) -> Iterator[Row]:
    """What is missing; a refund address only warns, because orders do without."""
    instead = likeness.misspelt(subject.settings.given, FIELDS)
    for lack in subject.settings.lacking(subject.needed):
        if lack in FIELDS:
            fix = ADVICE[lack].fix
            if lack in instead:
                fix = f"{instead[lack]} is set: write its name exactly as {lack}. {fix}"
            level = WARNING if lack == "notifyURLRefundsURL" else ERROR
            yield Row(level, lack, "is not set", ADVICE[lack].why, fix)
    names = ("wxPayPublicKey", "wxPayPublicKeyId")
    if not subject.online and not any(subject.text(name) or name in instead for name in names):
        yield Row(
            WARNING,
            "wxPayPublicKey",
            "is not set, nor is wxPayPublicKeyId",
            "Platform certificates are downloaded instead; newer merchants have none, and WeChat Pay then answers"
            " RESOURCE_NOT_EXISTS or NOT_ENOUGH.",
            f"{ADVICE['wxPayPublicKey'].fix} Set wxPayPublicKeyId beside it. Whether this merchant still has"
            " certificates, --online tells.",
        )


def _broken(subject: Subject) -> Iterator[Row]:
    for name, reason in subject.settings.problems.items():
        advice = ADVICE[name]
        text = subject.text(name)
        fix = f"{_hint(subject, name, text)}{advice.fix}"
        yield Row(ERROR, name, f"{reason}{_length(name, text)}", advice.why, fix)


def _length(name: str, text: str) -> str:
    return f" (it has {len(text)})" if name in ("apiV3Key", "operatorKey") and text and len(text) < 100 else ""


def _hint(subject: Subject, name: str, text: str) -> str:
    """What was pasted there, where that can be told; no part of it."""
    if "{{" in text:
        return "An unfilled template of the CloudBase CLI stands there: give the variable a value in `.env`. "
    if name in _PEMS and (found := _pem_hint(subject, text)):
        return found
    if likeness.is_placeholder(text):
        return "The sample value of a guide or form stands there. "
    phrase, owner = likeness.looks_like(text)
    if owner == name:
        return "Write it in hex, without separators. " if name == "merchantSerialNumber" else ""
    if not phrase or (name == "wxPayPublicKeyId" and owner == "merchantSerialNumber"):  # the reason has told
        return ""
    belongs = f", which belongs into {owner}" if owner else ""
    return f"What stands there looks like {phrase}{belongs}. "


def _pem_hint(subject: Subject, text: str) -> str:
    for found in pem.certificates(text):
        owner = certificate.common_name(found)
        if certificate.belongs_to(found, subject.settings.private_key) or owner.isdigit():
            return "The merchant API certificate (apiclient_cert.pem) stands there: no variable takes it. "
        return "A platform certificate of WeChat Pay stands there: no variable takes it. "
    if text.startswith("-----BEGIN") and len(text) < 64:
        return "Only the first line of the file has arrived: write the whole of it into one line. "
    return ""


def _samples(subject: Subject) -> Iterator[Row]:
    for name in FIELDS:
        if name not in subject.settings.problems and likeness.is_placeholder(subject.text(name)):
            yield Row(ERROR, name, "holds the sample value of a guide or form", ADVICE[name].why, ADVICE[name].fix)


def _names(subject: Subject) -> Iterator[Row]:
    """Optional variables that are set under a name that nobody reads."""
    unset = {lack for lack in subject.settings.lacking(subject.needed) if lack in FIELDS}
    for name, other in likeness.misspelt(subject.settings.given, FIELDS).items():
        if name in unset or (name == "appId" and subject.settings.service_app_id):
            continue
        same = likeness.plain(other) == likeness.plain(name)
        yield Row(
            ERROR if same else WARNING,
            name,
            f"is not set, but {other} is, which nothing reads",
            ADVICE[name].why,
            f"Write the name exactly as {name}, capitals included, if that is what is meant.",
        )


def _keys(subject: Subject) -> Iterator[Row]:
    settings = subject.settings
    v3_key = subject.text("apiV3Key")
    if settings.api_v3_key and likeness.is_guessable(v3_key) and not likeness.is_placeholder(v3_key):
        yield Row(
            WARNING,
            "apiV3Key",
            "can be guessed: it repeats itself or is made of very few characters",
            "Whoever guesses it can make up callbacks that this function believes.",
            "Set 32 random letters and digits on the merchant platform, as from `openssl rand -hex 16`, and here.",
        )
    if v3_key and v3_key == subject.text("operatorKey"):
        yield Row(
            ERROR,
            "operatorKey",
            "is the same as apiV3Key",
            "Whoever refunds with it could also make up callbacks that this function believes.",
            "Make a key of its own with `openssl rand -hex 32`.",
        )
    for name in _of_another_kind(settings.given) if v3_key else ():
        if settings.given[name].strip() == v3_key:
            yield Row(
                ERROR,
                "apiV3Key",
                f"is the same as {name}",
                "The APIv2 key, the AppSecret and the APIv3 key are three different things of 32 characters each.",
                ADVICE["apiV3Key"].fix,
            )
    if settings.operator_key and likeness.is_guessable(settings.operator_key):
        yield Row(
            WARNING,
            "operatorKey",
            "can be guessed: it repeats itself or is made of very few characters",
            "Whoever guesses it refunds and transfers your money.",
            ADVICE["operatorKey"].fix,
        )


def _of_another_kind(given: Mapping[str, str]) -> list[str]:
    """Variables, of whatever program, that are called after an AppSecret or an APIv2 key."""
    return [
        name
        for name in given
        if name not in FIELDS and any(word in likeness.plain(name) for word in ("appsecret", "v2key", "mchkey"))
    ]


def _urls(subject: Subject) -> Iterator[Row]:
    settings = subject.settings
    urls = {name: url for name in _CALLBACKS if (url := getattr(settings, FIELDS[name]))}
    at_center = [name for name, url in urls.items() if is_center(url)]
    if "signMode" not in settings.problems:
        yield from _mode(settings, urls, at_center)
    for name, url in urls.items():
        yield from _url(name, url)
        if not subject.with_sandbox and _is_reserved(urlsplit(url).hostname or ""):
            yield Row(
                ERROR, name, "leads to a host that exists in documents only", ADVICE[name].why, ADVICE[name].fix
            )
    if "transferNotifyUrl" in at_center:
        yield Row(
            WARNING,
            "transferNotifyUrl",
            "leads to the Integration Center, which does not handle transfer callbacks yet",
            "Transfers would be known by queries only.",
            "Leave it out and query (wxpay_reconcile does), or set a public route of this function's own,"
            " https://<your route>/wx-pay/transferTrigger.",
        )


def _mode(settings: Settings, urls: Mapping[str, str], at_center: list[str]) -> Iterator[Row]:
    if settings.sign_mode == "sdk" and at_center:
        yield Row(
            ERROR,
            "signMode",
            f"is sdk, but {' and '.join(at_center)} lead{'s' if len(at_center) == 1 else ''} to the Integration Center",
            "Its forwards carry no signature of WeChat Pay's, and with sdk everything without one is refused.",
            "Set signMode=gateway; or keep sdk and set a public route of this function's own,"
            " https://<your route>/wx-pay/unifiedOrderTrigger and …/refundTrigger.",
        )
    # With callerHeaders=trusted no public route leads here, so a twin of this function takes the callbacks.
    elif settings.sign_mode == "gateway" and urls and not at_center and settings.caller_headers != "trusted":
        yield Row(
            WARNING,
            "signMode",
            "is gateway, but no callback address leads to the Integration Center",
            "WeChat Pay calls this function itself then, and forwards without a signature need not be taken at all.",
            "Set signMode=sdk: then only what WeChat Pay has signed is believed.",
        )


def _url(name: str, url: str) -> Iterator[Row]:
    what, center_path, own_path = _CALLBACKS[name]
    end = "/".join(urlsplit(url).path.strip("/").split("/")[-2:])
    if end in (center_path, own_path) and not (is_center(url) and end == own_path):
        return
    right = center_path if is_center(url) else own_path
    other = next((that for that, center, own in _CALLBACKS.values() if end in (center, own) and that != what), "")
    if other:
        yield Row(
            ERROR,
            name,
            f"is the address for {other}, not for {what}",
            f"WeChat Pay would report {what} where {other} are expected.",
            f"Let it end in /{right}.",
        )
    else:
        yield Row(
            ERROR if is_center(url) else WARNING,
            name,
            f"does not end in /{right}",
            f"Only there is a report of {what} understood; elsewhere it is answered 404, and WeChat Pay gives up.",
            f"Let it end in /{right}"
            + ("." if is_center(url) else ", unless something in front of the function rewrites paths."),
        )


def is_center(url: str) -> bool:
    """Whether a callback address is the Integration Center's own."""
    host = urlsplit(url).hostname or ""
    return ".integration-callback." in host or (host.startswith("integration-") and host.endswith(".tcloudbase.com"))


def _is_reserved(host: str) -> bool:
    """RFC 2606: for documents, and nobody's."""
    labels = host.lower().rstrip(".").split(".")
    return labels[-1] in ("example", "test", "invalid") or labels[-2:] in (
        ["example", "com"],
        ["example", "net"],
        ["example", "org"],
    )


def _callers(subject: Subject) -> Iterator[Row]:
    settings = subject.settings
    if settings.caller_headers == "trusted" and settings.sign_mode == "sdk":
        yield Row(
            ERROR,
            "callerHeaders",
            "is trusted although signMode=sdk means a public route for WeChat Pay's callbacks",
            "By a public route anybody can send an x-wx-openid of his choice, and would be believed.",
            "Leave callerHeaders out, or set ignored. If another function takes the callbacks and none leads here, "
            "leave signMode out instead.",
        )
    if settings.public_actions and settings.caller_headers != "ignored":
        yield Row(
            WARNING,
            "publicActions",
            "has no effect without callerHeaders=ignored",
            "It names what needs no token where identity headers are not read.",
            "Set callerHeaders=ignored, or leave publicActions out.",
        )
    if settings.callback_trust == "platform":
        yield _trusting(settings)


def _trusting(settings: Settings) -> Row:
    if settings.sign_mode == "sdk":
        return Row(
            WARNING,
            "callbackTrust",
            "has no effect with signMode=sdk",
            "Only what WeChat Pay has signed is taken then, which is better.",
            "Leave callbackTrust out.",
        )
    return Row(
        ERROR if settings.caller_headers == "ignored" else WARNING,
        "callbackTrust",
        "is platform: a forwarded callback is believed without proof",
        "Whoever reaches the function can report any order as paid.",
        "Leave callbackTrust out: forwards are then proved by WeChat Pay's ciphertext or its answer to a query.",
    )


def _operators(subject: Subject) -> Iterator[Row]:
    settings = subject.settings
    if settings.operator_ids == {"*"}:
        yield Row(
            WARNING,
            "operatorIds",
            "is *: every caller may refund and transfer",
            "It is your money.",
            "Set operatorKey for your servers, or list the operators' openids or uids.",
        )
    elif settings.operator_ids and not settings.cloudbase_env_id and settings.caller_headers != "trusted":
        yield Row(
            ERROR,
            "operatorIds",
            "has no effect, because no identity can be verified",
            "An identity that is only claimed is never an operator's: they all get 403.",
            "Set cloudbaseEnvId, so that tokens are verified; or callerHeaders=trusted, if no public route leads to the"
            " function.",
        )
    callbacks_only = settings.caller_headers == "ignored" and not settings.public_actions
    names_one = settings.operator_key or settings.operator_ids or settings.cloudbase_env_id
    broken = {"operatorKey", "operatorIds", "cloudbaseEnvId"} & settings.problems.keys()
    if settings.notify_url_refunds and not (names_one or broken or subject.own_rights or callbacks_only):
        yield Row(
            WARNING,
            "operatorKey",
            "is not set, and nothing else makes anybody an operator",
            "wxpay_refund, wxpay_transfer and wxpay_reconcile answer 403 to everybody.",
            ADVICE["operatorKey"].fix,
        )


def _orders(subject: Subject) -> Iterator[Row]:
    settings = subject.settings
    broken = {"orderDatabaseUrl", "orderService"} & settings.problems.keys()
    if not (settings.order_database_url or settings.order_service or broken):
        yield Row(
            WARNING,
            "orderDatabaseUrl",
            "is not set, nor is orderService: orders and payments are only logged",
            "A payment that nobody keeps is acknowledged to WeChat Pay and then lost.",
            "Set orderDatabaseUrl, or name a class of your own in orderService.",
        )
    if settings.order_database_url.startswith("sqlite:") and not subject.with_sandbox:
        try:
            rules.database_url(on_platform=True)(settings.order_database_url)
        except rules.BadValue:
            yield Row(
                WARNING,
                "orderDatabaseUrl",
                "is a SQLite file that goes with its instance",
                "On CloudBase it is refused there: the code is read-only, and /tmp is neither kept nor shared.",
                "Set postgresql://… or mysql://…; on a machine of your own the absolute path of a kept folder.",
            )


def _hosts(subject: Subject) -> Iterator[Row]:
    settings = subject.settings
    for name, url in (("wxPayApiBase", settings.api_base), ("wxPayApiBackup", settings.api_backup)):
        if name in settings.problems or not subject.text(name) or url in _OFFICIAL or subject.with_sandbox:
            continue
        here = rules.is_on_loopback(url)
        yield Row(
            ERROR if here else WARNING,
            name,
            "leads to this machine itself, not to WeChat Pay" if here else "is none of WeChat Pay's hosts",
            "Every order, refund and transfer is sent there.",
            ADVICE[name].fix,
        )
    if subject.text("apiV3Key").startswith(SANDBOX_MARK) and not rules.is_on_loopback(settings.api_base):
        yield Row(
            ERROR,
            "apiV3Key",
            "belongs to the sandbox, but requests go to another WeChat Pay",
            "The real one does not know the sandbox's merchant.",
            "Set the credentials of the real merchant.",
        )


def _size(subject: Subject) -> Iterator[Row]:
    given = subject.settings.given
    sizes = {
        name: len(name) + len(given[name].encode())
        for name in FIELDS
        # What is broken will be replaced by something of another length.
        if given.get(name) and given[name] != defaults.DEFAULTS.get(name) and name not in subject.settings.problems
    }
    total = sum(sizes.values())
    if total <= NARROW:
        return
    largest = sorted(sizes, key=lambda name: -sizes[name])
    yield Row(
        ERROR if total > BUDGET else WARNING,
        largest[0],
        f"and the others hold {total} bytes together, of {BUDGET} that CloudBase takes; the largest are "
        + ", ".join(f"{name} ({sizes[name]})" for name in largest[:3]),
        "A function whose variables hold more cannot be deployed; names count too, and those of other programs.",
        _savings({name: given[name] for name in largest if name in _PEMS})
        + "Move what is not secret into config/defaults.py, and leave out what has its default value.",
    )


def _savings(pems: Mapping[str, str]) -> str:
    saved = {name: len(text.encode()) - len(pem.bare(text)) for name, text in pems.items()}
    names = [name for name, count in saved.items() if count > 0]
    if not names:
        return ""
    return (
        f"Write {' and '.join(names)} as bare base64, without the BEGIN and END lines and without line breaks: that"
        f" saves {sum(saved[name] for name in names)} bytes. "
    )
