"""The faults that `tests.fuzz.planted` plants: small, and such as somebody might make."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """`old` in `file` becomes `new`; `target` is the one that must notice."""

    name: str
    target: str
    what: str
    file: str
    old: str
    new: str


FAULTS = (
    Fault(
        "first_key",
        "verification",
        "a signature is checked with the first key, whatever Wechatpay-Serial says",
        "services/wechatpay/keys.py",
        "        if key := self.fixed.get(serial):\n            return key\n",
        "        if self.fixed:\n            return next(iter(self.fixed.values()))\n",
    ),
    Fault(
        "future_time",
        "verification",
        "a timestamp of the future is never too far",
        "services/wechatpay/keys.py",
        "abs(now - int(timestamp)) >= TOLERANCE",
        "now - int(timestamp) >= TOLERANCE",
    ),
    Fault(
        "unsigned_answer",
        "verification",
        "an answer without a signature header is taken as it is",
        "services/wechatpay/client.py",
        "            self.keys.verify(answer.headers, answer.body, deadline)\n",
        '            if "Wechatpay-Signature" in answer.headers:\n'
        "                self.keys.verify(answer.headers, answer.body, deadline)\n",
    ),
    Fault(
        "another_answer",
        "verification",
        "an answer to another question counts as one to this",
        "services/wechatpay/client.py",
        "        if data.get(name) != value:\n",
        "        if name not in data:\n",
    ),
    Fault(
        "no_tag",
        "decryption",
        "AES-GCM without its tag: nothing is authenticated",
        "services/wechatpay/cipher.py",
        "        return AESGCM(api_v3_key).decrypt(nonce.encode(), ciphertext, associated.encode())\n",
        "        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes\n"
        '        counter = nonce.encode()[:12].ljust(12) + b"\\x00\\x00\\x00\\x02"\n'
        "        return Cipher(algorithms.AES(api_v3_key), modes.CTR(counter)).decryptor().update(ciphertext[:-16])\n",
    ),
    Fault(
        "no_associated_data",
        "decryption",
        "associated_data is not authenticated where it is empty in another type",
        "services/wechatpay/cipher.py",
        "    if associated is None:\n",
        "    if not associated:\n",
    ),
    Fault(
        "stated_serial",
        "decryption",
        "a platform certificate counts under the serial that is stated beside it",
        "services/wechatpay/certificates.py",
        '    if serial != str(entry["serial_no"]).upper().lstrip("0"):\n',
        "    if not serial:\n",
    ),
    Fault(
        "alg_none",
        "tokens",
        "a token may say that it is not signed",
        "utils/cloudbase_auth.py",
        '        if algorithm != "RS256" or not kid:\n',
        '        if algorithm == "none":\n'
        '            return unverified["payload"]\n'
        '        if algorithm != "RS256" or not kid:\n',
    ),
    Fault(
        "any_environment",
        "tokens",
        "the audience of a token is not compared",
        "utils/cloudbase_auth.py",
        '            "audience": env_id,\n',
        '            "audience": None,\n',
    ),
    Fault(
        "anonymous_server",
        "tokens",
        "an anonymous token with a server's role is a server",
        "utils/cloudbase_auth.py",
        "    return not _is_anonymous(claims) and (\n",
        "    return (\n",
    ),
    Fault(
        "acknowledged_failure",
        "notifications",
        "a fault of our own is acknowledged, so that it does not come again",
        "controllers/errors.py",
        "            return refused(status, message)\n",
        "            if status >= 500:\n"
        '                return current_app.json.response(code="SUCCESS", message="OK")\n'
        "            return refused(status, message)\n",
    ),
    Fault(
        "everything_kept",
        "notifications",
        "whatever a handler returns counts as kept",
        "services/merchant_code.py",
        "    return outcome is None or outcome is True or",
        "    return True or",
    ),
    Fault(
        "compared_as_text",
        "notifications",
        "leaves of ParsedContent are compared by str()",
        "services/strategies/gateway_strategy.py",
        "    elif isinstance(proved, bool) != isinstance(stated, bool) or proved != stated:",
        "    elif str(proved) != str(stated):",
    ),
    Fault(
        "broken_envelope",
        "notifications",
        "an envelope that does not open falls back on the plaintext beside it",
        "services/strategies/gateway_strategy.py",
        "        plaintext = read_plaintext(decrypt_resource(self._api_v3_key, resource), kind)\n",
        "        try:\n"
        "            plaintext = read_plaintext(decrypt_resource(self._api_v3_key, resource), kind)\n"
        "        except Exception:\n"
        "            return dict(content)\n",
    ),
    Fault(
        "unsigned_callback",
        "notifications",
        "a callback without a signature header is not verified",
        "services/strategies/sdk_strategy.py",
        "        self._verify(incoming)\n",
        '        if incoming.headers.get("Wechatpay-Signature"):\n            self._verify(incoming)\n',
    ),
    Fault(
        "another_merchant",
        "notifications",
        "a notification of another merchant is taken",
        "services/pay_service.py",
        "        if merchant != self._merchant.merchant_id and not (kind is None and merchant is None):\n",
        "        if merchant is None and kind is not None:\n",
    ),
    Fault(
        "any_case",
        "dispatch",
        "the operator's key is compared without regard to case",
        "utils/cloudbase_auth.py",
        'given.encode(errors="surrogatepass"), expected.encode(errors="surrogatepass"))\n',
        'given.lower().encode(errors="replace"), expected.lower().encode(errors="replace"))\n',
    ),
    Fault(
        "full_width_digits",
        "dispatch",
        "int() makes an amount of the text '１２'",
        "utils/fields.py",
        "        if type(value) is not int or value < self.least:\n",
        "        if isinstance(value, str) and value.isdecimal():\n"
        "            value = int(value)\n"
        "        if type(value) is not int or value < self.least:\n",
    ),
    Fault(
        "asked_first",
        "dispatch",
        "WeChat Pay is asked before the right is looked at",
        "controllers/pay_controller.py",
        "    authorize(parts.orders, action.name, copy.deepcopy(body), caller)\n",
        "",
    ),
    Fault(
        "fault_of_a_form",
        "dispatch",
        "a form that is not UTF-8 is a fault of the function",
        "routes/dispatch.py",
        "    except ValueError as error:\n        raise BadRequest",
        "    except KeyError as error:\n        raise BadRequest",
    ),
    Fault(
        "quoted_key",
        "pem",
        "the problem's text quotes what was pasted",
        "config/pem.py",
        'fullmatch(body):\n        raise PemProblem("nothing that looks like a key")\n',
        'fullmatch(body):\n        raise PemProblem(f"nothing that looks like a key: {body[:60]}")\n',
    ),
    Fault(
        "slow_armour",
        "pem",
        "a regular expression that takes exponential time",
        "config/pem.py",
        r"([A-Z0-9\s]{0,30}?(?:PRIVATE",
        r"((?:[A-Z0-9]+\s*)*(?:PRIVATE",
    ),
    Fault(
        "private_for_public",
        "pem",
        "a private key beside WeChat Pay's public one is not noticed",
        "config/pem.py",
        "    if len(found) < len(keys):\n",
        "    if not found and keys:\n",
    ),
    Fault(
        "broken_line",
        "env_file",
        "a value that is no JSON text ends the doctor",
        "config/env_file.py",
        "    except ValueError:\n        outcome",
        "    except KeyError:\n        outcome",
    ),
    Fault(
        "quoted_value",
        "env_file",
        "a row quotes the value",
        "config/env_file.py",
        '    return Row(ERROR, name, f"{shape} in `.env`: {outcome}", _WHY, fix)\n',
        '    return Row(ERROR, name, f"{shape} in `.env`: {outcome}: {line}", _WHY, fix)\n',
    ),
    Fault(
        "last_key_wins",
        "strict_json",
        "of a key that comes twice the last one counts",
        "utils/json_body.py",
        "    if len(members) != len(pairs):\n",
        "    if len(members) > len(pairs):\n",
    ),
    Fault(
        "one_level_more",
        "strict_json",
        "brackets behind an escaped backslash are not counted",
        "utils/json_body.py",
        'raw.replace(b"\\\\\\\\", b"").replace(b\'\\\\"\', b"")',
        'raw.replace(b\'\\\\"\', b"")',
    ),
    Fault(
        "half_a_pair",
        "strict_json",
        "half of a surrogate pair in capitals passes",
        "utils/json_body.py",
        '    if b"\\\\ud" in raw or b"\\\\uD" in raw:',
        '    if b"\\\\ud" in raw:',
    ),
    Fault(
        "cents_by_float",
        "bills",
        "yuan become cents by floating point",
        "services/wechatpay/bills.py",
        '    value = int(whole) * 100 + int((part or "").ljust(2, "0"))\n',
        '    value = int(float(f"{whole}.{part or 0}") * 100)\n',
    ),
    Fault(
        "any_digits",
        "bills",
        "digits of any script are an amount",
        "services/wechatpay/bills.py",
        r'(r"(-?)([0-9]{1,13})(?:\.([0-9]{1,2}))?")',
        r'(r"(-?)(\d{1,13})(?:\.(\d{1,2}))?")',
    ),
    Fault(
        "unchecked_sum",
        "bills",
        "a bill need not add up",
        "services/wechatpay/bills.py",
        "            if title in summary and cents(summary[title]) != total:\n",
        "            if title in summary and cents(summary[title]) < total:\n",
    ),
    Fault(
        "less_is_alike",
        "bills",
        "a bill of less than what is stored matches",
        "services/orders/compare.py",
        "    if amount != billed.amount:\n",
        "    if amount < billed.amount:\n",
    ),
    Fault(
        "empty_mac",
        "self_test",
        "the beginning of a MAC is enough",
        "services/self_test.py",
        "hmac.compare_digest(expected, given)",
        "expected.startswith(given)",
    ),
    Fault(
        "any_address",
        "self_test",
        "a question about another address is answered",
        "services/self_test.py",
        '            and question.get("url") == (self.urls.get(kind) or question.get("url"))\n',
        "",
    ),
)
