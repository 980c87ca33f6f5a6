"""What a value looks like that stands in the wrong place, and which variable a misspelt name means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from config import pem

# Values that stand in documents and forms. They have the right shape, so only a list knows them.
_SAMPLES = {
    "wxc1546068399a59fc",
    "wxd678efh567hg6787",
    "wx8888888888888888",
    "1900000000",
    "1900000001",
    "1900000109",
    "1900007291",
    "1900006511",
    "1230000109",
    "1234567890",
    "36048761817F82958048330A6301E922AB28A04D",
    "PUB_KEY_ID_0000000000000024101100397200000006",
    "test-wxpay-5gy4ugzreef15cfe",
}
_PLACEHOLDER = re.compile(r"\byour[-_ ]|<[^<>]*>|x{8,}|\.\.\.|…|\bchange-?me\b", re.IGNORECASE)
# LOG_LEVEL is everybody's.
_COMMON = {"logLevel"}
_OTHER_NAMES = {
    "mchid": "merchantId",
    "mchno": "merchantId",
    "apikey": "apiV3Key",
    "v3key": "apiV3Key",
    "mchkey": "apiV3Key",
    "serialno": "merchantSerialNumber",
    "merchantserialno": "merchantSerialNumber",
    "certserialno": "merchantSerialNumber",
    "mchserialno": "merchantSerialNumber",
    "serialnumber": "merchantSerialNumber",
    "apiclientkey": "privateKey",
    "mchprivatekey": "privateKey",
    "publickey": "wxPayPublicKey",
    "pubkey": "wxPayPublicKey",
    "wechatpaypublickey": "wxPayPublicKey",
    "publickeyid": "wxPayPublicKeyId",
    "pubkeyid": "wxPayPublicKeyId",
    "wechatpaypublickeyid": "wxPayPublicKeyId",
    "notifyurl": "notifyURLPayURL",
    "notifyurlpay": "notifyURLPayURL",
    "paynotifyurl": "notifyURLPayURL",
    "refundnotifyurl": "notifyURLRefundsURL",
    "notifyurlrefund": "notifyURLRefundsURL",
    "notifyurlrefundurl": "notifyURLRefundsURL",
    "transfernotifyurl": "transferNotifyUrl",
}
_SHAPES = (
    (r"wx[0-9A-Za-z]{16}", "an AppID", "appId"),
    (r"gh_[0-9a-f]{8,}", "an account's original id (gh_…), which is not its AppID", ""),
    (r"[0-9]{8,10}", "a merchant number (mchid)", "merchantId"),
    (r"(?:[0-9A-Fa-f]{2}[:\s-]?){19}[0-9A-Fa-f]{2}", "a certificate's serial number", "merchantSerialNumber"),
    (r"[0-9]{44,50}", "a certificate's serial number in decimal", "merchantSerialNumber"),
    (r"PUB_KEY_ID_\w*", "the id of WeChat Pay's public key", "wxPayPublicKeyId"),
    (r"[0-9A-Za-z]{32}", "a key of 32 characters (APIv3 key, APIv2 key or AppSecret)", "apiV3Key"),
    (r"(?:postgres(?:ql)?|mysql|mariadb|sqlite)://.*", "a database's address", "orderDatabaseUrl"),
    (r"https?://.*/wechatpay/order/?|https?://.*/unifiedOrderTrigger/?", "a callback address", "notifyURLPayURL"),
    (r"https?://.*/wechatpay/refund/?|https?://.*/refundTrigger/?", "a callback address", "notifyURLRefundsURL"),
)


def looks_like(text: str) -> tuple[str, str]:
    """What the text is in the field's own words, and the variable that it belongs to; both empty if unknown."""
    for pattern, phrase, variable in _SHAPES:
        if re.fullmatch(pattern, text, re.DOTALL):
            return phrase, variable
    if _parses(pem.private_key, text):
        return "a private key", "privateKey"
    if _parses(pem.public_key, text):
        return "a public key", "wxPayPublicKey"
    return "", ""


def is_placeholder(text: str) -> bool:
    """Whether the text comes from a document or a form, and nobody has put the true value there."""
    characters = set(text.removeprefix("wx").removeprefix("PUB_KEY_ID_").lower())
    return (
        text in _SAMPLES
        or bool(_PLACEHOLDER.search(text))
        or (len(text) >= 8 and len(characters) <= 2 and text.isalnum())
    )


def is_guessable(key: str) -> bool:
    """Whether a key of 32 characters and more is one that a person typed instead of drawing it."""
    repeats = any(key[period:] == key[:-period] for period in range(1, len(key) // 2 + 1))
    return repeats or len(set(key)) < 8


def misspelt(given: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Our name -> another one that is set instead: of other case, with other separators, or nearly the same."""
    strangers = {plain(name): name for name in given if name not in names and given[name].strip()}
    found = {}
    for name in names:
        if given.get(name, "").strip() or name in _COMMON:
            continue
        near = {other: nearness for other in strangers if (nearness := _nearness(other, name))}
        if near:
            found[name] = strangers[max(near, key=lambda other: near[other])]
    return found


def _nearness(other: str, name: str) -> float:
    """Of another name, in its plain spelling, to one of ours: 1 for the same, 0 for one that means something else."""
    wanted = plain(name)
    if other == wanted or _OTHER_NAMES.get(other) == name:
        return 1.0
    if len(wanted) < 8 or other.endswith("id") != wanted.endswith("id"):
        return 0.0  # the key is not the key's id
    ratio = SequenceMatcher(None, other, wanted).ratio()
    return ratio if ratio >= 0.9 else 0.0


def plain(name: str) -> str:
    """Without separators, in lower case."""
    return re.sub(r"[_.-]", "", name).lower()


def _parses(parse: object, text: str) -> bool:
    try:
        return isinstance(parse(text), (RSAPrivateKey, RSAPublicKey))  # type: ignore[operator]
    except pem.PemProblem:
        return False
