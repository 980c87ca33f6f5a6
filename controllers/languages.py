"""The language of answers: English, or Chinese where the request's Accept-Language prefers it; and the one catalogue.

Names of fields, variables and actions, WeChat Pay's codes and tokens such as MISSING_CREDENTIALS stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from werkzeug.datastructures import LanguageAccept

from utils.texts import Message


def told(text: str, accepted: LanguageAccept) -> str:
    """`text` in the language that is asked for; one that is no Message stays as it is."""
    return _in_chinese(text) if isinstance(text, Message) and prefers_chinese(accepted) else str(text)


def prefers_chinese(accepted: LanguageAccept) -> bool:
    """Whether Chinese, in any script or region, is wanted more than English, or as much and named before it.

    `*` speaks for English, where that is not named itself.
    """
    ranges = [(re.split("[-_]", tag)[0].lower(), quality) for tag, quality in accepted]
    english = "en" if any(language == "en" for language, _ in ranges) else "*"
    ours = [found for found in ranges if found[0] in ("zh", english)]
    language, quality = max(ours, key=lambda found: found[1], default=("en", 1))
    return language == "zh" and quality > 0


def _in_chinese(message: Message) -> str:
    template = CHINESE.get(message.template)
    if template is None:
        return str(message)
    return template.format(**{name: _value_in_chinese(value) for name, value in message.values.items()})


def _value_in_chinese(value: object) -> object:
    if isinstance(value, tuple):
        return "；".join(map(_in_chinese, value))
    return _in_chinese(value) if isinstance(value, Message) else value


# English template -> Chinese one, with the same placeholders; tests/messages compares them with the sources.
CHINESE: Mapping[str, str] = {
    # What an answer is made of
    "{fields}": "{fields}",
    "{name} {problem}": "{name} {problem}",
    "{first} and {second}": "{first}，且{second}",
    "{first} or {second}": "{first} 或 {second}",
    "{text} ({unknown})": "{text}（{unknown}）",
    "{reason}; {unknown}": "{reason}；{unknown}",
    # One field
    "is required": "不能缺少",
    "must not be null; leave it out": "不能为 null，不需要时请不要传",
    "must be left out": "不能传",
    "must be the configured one, or be left out": "必须与商户配置一致，或不传",
    "must be a string of {lengths} {units}": "必须是{lengths} {units}的字符串",
    "1 to {most}": " 1 到 {most}",
    "at most {most}": "不超过 {most}",
    "characters": "个字符",
    "bytes in UTF-8": "个字节（UTF-8）",
    "{expected}, not blank": "{expected}，且不能为空白",
    "must not hold control characters or anything above U+FFFF, such as emoji": (
        "不能含控制字符或 U+FFFF 以上的字符，如表情符号"
    ),
    "must be a string of {least} to {most} {kinds}": "必须是 {least} 到 {most} 位的字符串，只含{kinds}",
    "letters and digits": "字母和数字",
    "letters, digits and {marks}": "字母、数字和 {marks}",
    "must be {words}": "必须是 {words}",
    "must be a time in RFC 3339 with offset, such as 2030-01-31T12:00:00+08:00": (
        "必须是带时区的 RFC 3339 时间，如 2030-01-31T12:00:00+08:00"
    ),
    "must be a day as YYYY-MM-DD": "必须是 YYYY-MM-DD 格式的日期",
    "must be an IPv4 or IPv6 address": "必须是 IPv4 或 IPv6 地址",
    "must be an integer {bound}{unit}": "必须是{bound} 的整数{unit}",
    "above 0": "大于 0",
    "of at least {least}": "不小于 {least}",
    "of at most {most}": "不大于 {most}",
    " (cents)": "（单位：分）",
    "must be true or false": "必须是 true 或 false",
    "must be an object": "必须是对象",
    "must be a list": "必须是数组",
    "must be a list of at least one item": "必须是至少有一项的数组",
    "must be a list of at most {most} items": "必须是不超过 {most} 项的数组",
    "must be at most {most} bytes as JSON without spaces": "去掉空格后的 JSON 不能超过 {most} 字节",
    "must be at most amount.total": "不能大于 amount.total",
    "or transaction_id is required": "和 transaction_id 必须传一个",
    "must not stand beside transaction_id; send one of the two": "不能与 transaction_id 同时传，只传其一",
    "must not stand beside out_trade_no; send one of the two": "不能与 out_trade_no 同时传，只传其一",
    "must be left out when transfer_amount is below {least} cents": "在 transfer_amount 小于 {least} 分时不能传",
    "is required when transfer_amount is {least} cents or more": "在 transfer_amount 不小于 {least} 分时必须传",
    # The body
    "the body must be UTF-8; byte {number} is not": "请求体必须是 UTF-8 编码，第 {number} 个字节不是",
    "the body must not start with a byte order mark": "请求体不能以 BOM 开头",
    "the body is empty; JSON is expected": "请求体为空，应为 JSON",
    "the body must not hold more than {most} values": "请求体不能超过 {most} 个值",
    "the body must not be nested deeper than {most} levels": "请求体嵌套不能超过 {most} 层",
    "the body is not valid JSON: {what} at line {line} column {column}": (
        "请求体不是合法的 JSON：第 {line} 行第 {column} 列，{what}"
    ),
    "the body holds half of a \\ud800-\\udfff surrogate pair: write the whole character": (
        "请求体含有不成对的 \\ud800-\\udfff 代理字符：请写出完整的字符"
    ),
    "the body holds an object with the same key twice: send it once": "请求体的某个对象有重复的键：每个键只传一次",
    "the body holds a number that is too large": "请求体含有过大的数",
    "the body holds a number of more than {most} characters": "请求体含有超过 {most} 个字符的数",
    "the body holds NaN or Infinity, which JSON does not know": "请求体含有 NaN 或 Infinity，JSON 中没有它们",
    "the body must be a JSON object": "请求体必须是 JSON 对象",
    "the body must be a JSON object or a form in UTF-8": "请求体必须是 JSON 对象，或 UTF-8 编码的表单",
    "the form repeats a field: send each once": "表单的字段重复：每个字段只传一次",
    "the body exceeds {most} bytes: send less": "请求体超过 {most} 字节：请减小",
    # What is asked for
    "nothing here: POST to /wx-pay/<action>, or name the action in the body's _action": (
        "此路径没有服务：请 POST 到 /wx-pay/<action>，或在请求体的 _action 中写明操作"
    ),
    "_action: unknown action {shown}; expected one of {known}": "_action：没有 {shown} 这个操作，可用的有 {known}",
    "{method} is not served here: every action is a POST": "不支持 {method}：所有操作都用 POST",
    "the request broke off or is not HTTP ({reason}): send it again": "请求中断或不是 HTTP（{reason}）：请重新发送",
    "useServiceAccount=true but service_app_id env var is not configured": (
        "useServiceAccount=true，但商户没有配置 service_app_id"
    ),
    # Who asks
    "unknown caller: use wx.cloud.callHTTPFunction, or send Authorization: Bearer <access token>": (
        "身份未知：请使用 wx.cloud.callHTTPFunction，或发送 Authorization: Bearer <access token>"
    ),
    "Authorization: a Bearer token of this CloudBase environment is needed": (
        "Authorization：需要本云开发环境的 Bearer token，请先登录"
    ),
    "Authorization: the token was refused ({reason}); sign in again": (
        "Authorization：登录凭证无效（{reason}），请重新登录"
    ),
    "Authorization: the token must be signed with RS256 and name its key (kid)": (
        "Authorization：登录凭证必须以 RS256 签名并写明密钥（kid）"
    ),
    "Authorization: the token names a key that the environment of cloudbaseEnvId does not have; sign in there": (
        "Authorization：登录凭证不属于 cloudbaseEnvId 的环境，请在该环境登录"
    ),
    "the keys that verify sign-in tokens cannot be fetched now: try again later": "暂时无法验证登录状态，请稍后再试",
    "Origin is not listed in corsAllowOrigin: list it there to order from this page": (
        "本页面的来源不在 corsAllowOrigin 中，加入后才能在此下单"
    ),
    "this transfer is not to you: only its payee or an operator may query it": (
        "这笔转账的收款人不是您：只有收款人或管理员可以查询"
    ),
    "{action} needs an operator: send x-operator-key (or _operatorKey) equal to operatorKey, use a server token"
    " verified by cloudbaseEnvId, or list your verified openid or uid in operatorIds{or_payee} (openids are verified by"
    " cloudbaseEnvId, or by callerHeaders=trusted without a public route)": (
        "{action} 只有管理员可以操作：请发送与 operatorKey 一致的 x-operator-key（或 _operatorKey），"
        "或使用经 cloudbaseEnvId"
        " 验证的服务端 token，"
        "或把已验证的 openid 或 uid 列入 operatorIds{or_payee}（openid 由 cloudbaseEnvId 验证，没有公开路由时"
        "也可由 callerHeaders=trusted 验证）"
    ),
    ", or be its payee with a verified openid": "，或以已验证的 openid 作为收款人查询",
    # The shop
    "MISSING_CREDENTIALS: {names}": "MISSING_CREDENTIALS: {names}（商户的支付配置不完整，请联系商户）",
    "MISSING_CREDENTIALS: orderDatabaseUrl (this action works on the order database: set it to one)": (
        "MISSING_CREDENTIALS: orderDatabaseUrl（商户没有配置订单数据库，此操作需要它）"
    ),
    "the order service failed; nothing was sent to WeChat Pay: try again later": (
        "商户系统出错，没有向微信支付发起请求，请稍后再试"
    ),
    "the order service could not record this {what}: send the same {what} again": (
        "商户系统未能记录这次{what}：请用相同内容再发一次"
    ),
    "order": "下单",
    "query": "查询",
    "close": "关单",
    "accepted by WeChat Pay, not recorded here: query, never a new number": (
        "微信支付已受理，但商户系统未能记录：请查询结果，绝不能换新单号重做"
    ),
    "the order database cannot be used now: try again later": "订单数据库暂时不可用，请稍后再试",
    "the order tables are missing: run `flask --app app orders init-db`, or the action wxpay_orders_init": (
        "订单表还没有建立：请商户运行 `flask --app app orders init-db`，或调用 wxpay_orders_init"
    ),
    "another init-db has been running for a minute: try again later": "另一个 init-db 已运行一分钟，请稍后再试",
    "too many requests at a time, nothing was sent to WeChat Pay: try again in {seconds} s": (
        "当前请求过多，未向微信支付发送任何内容，请 {seconds} 秒后重试"
    ),
    "too many callers wait already: ask again in 2 seconds": "等待的人太多，请 2 秒后再查",
    "internal error: the log holds its trace under this answer's X-Request-Id": (
        "系统内部错误：请把响应头 X-Request-Id 告诉商户，以便查日志"
    ),
    # Orders, refunds and transfers as they are stored
    "no such order": "没有这个订单",
    "whether WeChat Pay took order {number} is not known yet: send the same order again": (
        "还不知道微信支付是否受理了订单 {number}：请用相同内容再次下单"
    ),
    "amount.total is {asked}, but the price is {price} cents": "amount.total 是 {asked}，而价格是 {price} 分",
    "out_trade_no {number} is taken: use another one": "out_trade_no {number} 已被使用，请换一个",
    "{name} {number} is taken with other fields: use another one": "{name} {number} 已用于内容不同的请求，请换一个",
    "order {number} is {state}: query it, and use a new number for another order": (
        "订单 {number} 的状态是 {state}：请查询，另下新单请用新单号"
    ),
    "out_refund_no {number} is CLOSED: a new attempt needs a new number": (
        "out_refund_no {number} 已关闭（CLOSED）：再次退款请用新单号"
    ),
    "order {number} is {state} here: query it before you refund it": "订单 {number} 的状态是 {state}：退款前请先查询",
    "amount.total must be the order's {total} cents": "amount.total 必须是订单金额 {total} 分",
    "amount.refund is {refund}, but {left} of {total} cents are left: the rest is refunded or under way": (
        "amount.refund 是 {refund}，而 {total} 分中只剩 {left} 分可退：其余已退款或正在退款"
    ),
    "out_bill_no {number} is taken with another user_name: use another one": (
        "out_bill_no {number} 已用于另一个 user_name，请换一个"
    ),
    "out_bill_no {number} is {state}: another transfer needs a new number": (
        "out_bill_no {number} 的状态是 {state}：另一笔转账请用新单号"
    ),
    # WeChat Pay
    "WeChat Pay: {words}": "微信支付：{words}",
    "WeChat Pay: {words}, not signed by WeChat Pay": "微信支付：{words}（该应答没有微信支付的签名）",
    "outcome unknown: query before you retry, and use the same number": "结果未知：请先查询再重试，并使用原单号",
    "WeChat Pay refused this function's own signature (401): check that merchantSerialNumber belongs to privateKey and"
    " merchantId, and that this machine's clock is right": (
        "微信支付不接受商户的签名（401）：请商户检查 merchantSerialNumber 与 privateKey、merchantId 是否一致，"
        "以及服务器时钟是否准确"
    ),
    "no whole answer from WeChat Pay within {seconds:.1f} s": "微信支付在 {seconds:.1f} 秒内没有完整应答",
    "no answer from WeChat Pay ({reason})": "微信支付没有应答（{reason}）",
    "WeChat Pay answered {status}": "微信支付应答 {status}",
    "WeChat Pay accepted the call but has not processed it": "微信支付已收到请求，但尚未处理",
    "WeChat Pay's answer exceeds {most} bytes": "微信支付的应答超过 {most} 字节",
    "WeChat Pay's answer holds no {name}": "微信支付的应答缺少 {name}",
    "WeChat Pay's answer ({status}) is not a JSON object": "微信支付的应答（{status}）不是 JSON 对象",
    "WeChat Pay's answer is for another {name}": "微信支付的应答属于另一个 {name}",
    "WeChat Pay's answer cannot be verified: {reason}": "微信支付的应答无法验证：{reason}",
    "Wechatpay-Timestamp, -Nonce, -Signature or -Serial is missing": (
        "缺少 Wechatpay-Timestamp、-Nonce、-Signature 或 -Serial"
    ),
    "Wechatpay-Timestamp is not within 5 minutes of this machine's clock": (
        "Wechatpay-Timestamp 与服务器时钟相差超过 5 分钟"
    ),
    "Wechatpay-Signature does not fit the body under the key that Wechatpay-Serial names": (
        "用 Wechatpay-Serial 所指的公钥验签，Wechatpay-Signature 与应答不符"
    ),
    "Wechatpay-Serial names another key than wxPayPublicKeyId: set id and key as the merchant platform shows them": (
        "Wechatpay-Serial 不是 wxPayPublicKeyId：请商户按商户平台所示设置公钥及其 ID"
    ),
    "Wechatpay-Serial names no platform certificate of this merchant": "Wechatpay-Serial 不是本商户的平台证书",
    "Wechatpay-Serial is not among the certificates sent": "Wechatpay-Serial 不在所下发的证书之中",
    "nothing was sent to WeChat Pay: {reason}": "没有向微信支付发起请求：{reason}",
    "no time of wxPayTimeout is left": "wxPayTimeout 的时间已用完",
    "no platform certificate is valid at the time of this machine's clock": "按服务器时钟，没有有效的平台证书",
    "platform certificates are being downloaded by another request": "另一个请求正在下载平台证书",
    "no time is left to download platform certificates": "已没有时间下载平台证书",
    "the answer's status is {status}": "应答状态码为 {status}",
    "the last download of platform certificates failed": "最近一次下载平台证书失败",
    "platform certificates cannot be downloaded ({error}): a merchant to whom the merchant platform shows a WeChat Pay"
    " public key has none, and sets wxPayPublicKey and wxPayPublicKeyId": (
        "无法下载平台证书（{error}）：使用微信支付公钥的商户没有平台证书，请设置 wxPayPublicKey 和 wxPayPublicKeyId"
    ),
    "the platform certificates are not believed: {reason}": "平台证书不可信：{reason}",
    "the list of platform certificates cannot be read": "无法读取平台证书列表",
    "resource.algorithm must be {algorithm}": "resource.algorithm 必须是 {algorithm}",
    "resource.nonce, ciphertext and associated_data must be strings": (
        "resource 的 nonce、ciphertext 和 associated_data 必须是字符串"
    ),
    "the resource does not decrypt under apiV3Key: set the APIv3 key of the merchant platform": (
        "用 apiV3Key 解密失败：请设置商户平台上的 APIv3 密钥"
    ),
    # Bills
    "download_url leads to another host than wxPayApiBase: nothing was sent there": (
        "download_url 指向 wxPayApiBase 以外的主机，没有向它发送请求"
    ),
    "the bill of {day} is still being made: ask again in half an hour": "{day} 的账单还在生成，请半小时后再试",
    "the bill does not fit into the folder for temporary files ({reason}): make room in TMPDIR, else /tmp": (
        "临时文件目录放不下账单（{reason}）：请在 TMPDIR 或 /tmp 腾出空间"
    ),
    "the bill is not in UTF-8": "账单不是 UTF-8 编码",
    "the bill has no column {names}": "账单缺少列 {names}",
    "the bill has none of the columns {names}": "账单没有 {names} 中的任何一列",
    "the bill ends without its summary": "账单末尾没有汇总",
    "the bill has {count} rows, its summary says {said}": "账单有 {count} 行，汇总写的是 {said}",
    "the bill has a row of {values} values under {columns} columns": "账单有一行 {values} 个值，而列有 {columns} 个",
    "{title}: the bill's rows add up to {total} cents, not {said} yuan": (
        "{title}：账单各行合计 {total} 分，而不是 {said} 元"
    ),
    "the bill holds {found} where an amount in yuan is expected": "账单中应为金额（元）的地方是 {found}",
    "the bill's hash_type is not SHA1": "账单的 hash_type 不是 SHA1",
    "the bill's hash is not the announced one: it was cut or altered on its way": (
        "账单的摘要与所告知的不符：传输中被截断或改动"
    ),
    "the bill unpacks to more than {most} bytes": "账单解压后超过 {most} 字节",
    "the bill cannot be unpacked": "账单无法解压",
}
