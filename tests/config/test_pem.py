"""Keys made by openssl, bent into every shape that a form or a shell leaves behind."""

import base64
import json
import random
import shlex
import textwrap
import time
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from config.pem import PemProblem, bare, certificates, private_key, public_key, secret_parts


def lines(pem):
    return pem.strip().splitlines()


def body(pem):
    return "".join(lines(pem)[1:-1])


def rewrapped(pem, width):
    first, *_, last = lines(pem)
    return "\n".join([first, *textwrap.wrap(body(pem), width), last])


def relabelled(pem):
    if "RSA " in pem:
        return pem.replace("RSA ", "")
    return pem.replace("BEGIN ", "BEGIN RSA ").replace("END ", "END RSA ")


SHAPES = {
    "as openssl prints it": lambda pem: pem,
    "without the final newline": str.strip,
    "CRLF": lambda pem: pem.replace("\n", "\r\n"),
    "CR alone": lambda pem: pem.replace("\n", "\r"),
    "literal backslash n": lambda pem: pem.replace("\n", r"\n"),
    "literal backslash n without the last": lambda pem: pem.strip().replace("\n", r"\n"),
    "literal backslash r backslash n": lambda pem: pem.replace("\n", r"\r\n"),
    "literal backslash n twice escaped": lambda pem: pem.replace("\n", r"\\n"),
    "literal backslash n before real newlines": lambda pem: pem.replace("\n", "\\n\n"),
    "backslash at every line's end": lambda pem: pem.replace("\n", "\\\n"),
    "a JSON string": json.dumps,
    "a JSON string with escaped slashes": lambda pem: json.dumps(pem).replace("/", r"\/"),
    "a JSON string within a JSON string": lambda pem: json.dumps(json.dumps(pem)),
    "a member of a JSON object": lambda pem: json.dumps({"privateKey": pem, "n": 1}),
    "a line of an .env file": lambda pem: 'privateKey="' + pem.replace("\n", r"\n") + '"',
    "quoted for a shell": shlex.quote,
    "single quotes": lambda pem: f"'{pem}'",
    "double quotes": lambda pem: f'"{pem}"',
    "curly quotes": lambda pem: f"“{pem}”",
    "back quotes": lambda pem: f"`{pem}`",
    "spaces for newlines": lambda pem: pem.replace("\n", " "),
    "spaces for newlines, quoted": lambda pem: '"' + pem.strip().replace("\n", " ") + '"',
    "tabs for newlines": lambda pem: pem.replace("\n", "\t"),
    "no-break spaces for newlines": lambda pem: pem.replace("\n", "\u00a0"),
    "no newlines": lambda pem: "".join(lines(pem)),
    "no blanks at all": lambda pem: "".join(pem.split()),
    "newlines for every blank": lambda pem: "\n".join(pem.split()),
    "empty lines between": lambda pem: pem.replace("\n", "\n\n"),
    "indented": lambda pem: textwrap.indent(pem, "      "),
    "blanks at line ends": lambda pem: pem.replace("\n", "  \n"),
    "blanks around": lambda pem: f"\n\t  {pem}  \n\n",
    "a BOM": lambda pem: "\ufeff" + pem,
    "zero-width spaces": lambda pem: pem.replace("\n", "\u200b\n"),
    "a missing last line": lambda pem: "\n".join(lines(pem)[:-1]),
    "a missing last line, spaces for newlines": lambda pem: " ".join(lines(pem)[:-1]),
    "a missing first line": lambda pem: "\n".join(lines(pem)[1:]),
    "a missing first line, no newlines": lambda pem: "".join(lines(pem)[1:]),
    "a cut last line": lambda pem: pem.strip()[:-9],
    "a last line cut to its dashes": lambda pem: pem[: pem.rindex("END")],
    "a last line cut within END": lambda pem: pem[: pem.rindex("END") + 2],
    "a cut first line": lambda pem: pem[8:],
    "a first line cut after BEGIN": lambda pem: pem[pem.index(" ") :],
    "armour without dashes": lambda pem: pem.replace("-", ""),
    "four dashes": lambda pem: pem.replace("-----", "----"),
    "em dashes": lambda pem: pem.replace("-----", "\u2014\u2014-"),
    "bare base64": body,
    "bare base64 in lines": lambda pem: "\n".join(lines(pem)[1:-1]),
    "bare base64 in lines, literal backslash n": lambda pem: r"\n".join(lines(pem)[1:-1]),
    "bare base64 in lines, spaces": lambda pem: " ".join(lines(pem)[1:-1]),
    "bare base64, quoted": lambda pem: f"'{body(pem)}'",
    "bare base64 without padding": lambda pem: body(pem).rstrip("="),
    "wrapped at 1": lambda pem: rewrapped(pem, 1),
    "wrapped at 7": lambda pem: rewrapped(pem, 7),
    "wrapped at 76": lambda pem: rewrapped(pem, 76),
    "wrapped at 500": lambda pem: rewrapped(pem, 500),
    "pasted twice": lambda pem: pem + pem,
    "the other encoding's label": relabelled,
    "attributes before": lambda pem: f"Bag Attributes\n    localKeyID: 54 69\nKey Attributes: <None>\n{pem}",
    "words around": lambda pem: f"商户私钥如下：\n{pem}\nbest regards - the shop",
}
KINDS = {
    "private_pkcs8": private_key,
    "private_pkcs1": private_key,
    "public_spki": public_key,
    "public_pkcs1": public_key,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_key_is_read_in_every_shape_that_people_paste(pems, shape, kind):
    pasted = SHAPES[shape](getattr(pems, kind))

    key = KINDS[kind](pasted)

    public = key.public_key() if kind.startswith("private") else key
    assert public.public_numbers().n == pems.modulus
    assert public.public_numbers().e == 65537


def test_the_private_key_is_the_one_that_openssl_knows(pems, tmp_path):
    signature = private_key(body(pems.private_pkcs8)).sign(b"message", padding.PKCS1v15(), hashes.SHA256())
    (tmp_path / "public.pem").write_text(pems.public_spki)
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "message").write_bytes(b"message")

    said = pems.openssl("dgst", "-sha256", "-verify", str(tmp_path / "public.pem"),
                        "-signature", str(tmp_path / "signature"), str(tmp_path / "message"))

    assert said.strip() == "Verified OK"


def test_the_private_key_is_found_among_what_openssl_prints_of_a_pkcs12_file(pems):
    assert "Bag Attributes" in pems.pkcs12_dump
    assert pems.pkcs12_dump.index("BEGIN CERTIFICATE") < pems.pkcs12_dump.index("BEGIN PRIVATE KEY")
    for text in (pems.pkcs12_dump, " ".join(pems.pkcs12_dump.split()), pems.pkcs12_dump.replace("\n", r"\n")):
        assert private_key(text).public_key().public_numbers().n == pems.modulus


def test_the_same_key_in_both_encodings_is_one_key(pems):
    private = private_key(pems.private_pkcs8 + pems.private_pkcs1)
    assert private.public_key().public_numbers().n == pems.modulus
    assert public_key(pems.public_spki + pems.public_pkcs1).public_numbers().n == pems.modulus


def test_a_public_key_is_found_beside_a_certificate(pems):
    assert public_key(pems.certificate + pems.public_spki).public_numbers().n == pems.modulus


def cut(pem, share=0.6):
    return pem[: int(len(pem) * share)]


def without_first_body_line(pem):
    return "\n".join(line for number, line in enumerate(lines(pem)) if number != 1)


def encoded(hexadecimal):
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


REFUSED_AS_PRIVATE = {
    "a certificate": (lambda p: p.certificate, "holds a certificate"),
    "a bare certificate": (lambda p: body(p.certificate), "holds a certificate"),
    "a public key": (lambda p: p.public_spki, "holds a public key"),
    "a PKCS#1 public key": (lambda p: p.public_pkcs1, "holds a public key"),
    "a certificate and a public key": (
        lambda p: p.certificate + p.public_spki, "holds a public key and a certificate"),
    "an encrypted key": (lambda p: p.encrypted_pkcs8, "holds an encrypted private key"),
    "a bare encrypted key": (lambda p: body(p.encrypted_pkcs8), "holds an encrypted private key"),
    "an encrypted PKCS#1 key": (lambda p: p.encrypted_pkcs1, "holds an encrypted private key"),
    "an encrypted PKCS#1 key in one line": (
        lambda p: p.encrypted_pkcs1.replace("\n", " "), "holds an encrypted private key"),
    "an EC key": (lambda p: p.ec_private, "holds a key that is not RSA"),
    "an SM2 key": (lambda p: p.sm2_private, "holds a key that is not RSA"),
    "1024 bits": (lambda p: p.small_private, "holds an RSA key of fewer than 2048 bits"),
    "two different keys": (lambda p: p.private_pkcs8 + p.other_private, "holds several different keys"),
    "a cut key": (lambda p: cut(p.private_pkcs8), "holds base64 text that is cut off before its end"),
    "a cut PKCS#1 key": (lambda p: cut(p.private_pkcs1), "holds base64 text that is cut off before its end"),
    "a key cut by one character": (
        lambda p: body(p.private_pkcs8).rstrip("=")[:-1], "holds base64 text that is cut off before its end"),
    "a key without a line": (
        lambda p: without_first_body_line(p.private_pkcs8), "holds base64 text that is damaged or not a key"),
    "nothing": (lambda p: "", "holds nothing that looks like a key"),
    "armour alone": (
        lambda p: "-----BEGIN PRIVATE KEY----- -----END PRIVATE KEY-----", "holds nothing that looks like a key"),
    "an encrypted key that is damaged": (
        lambda p: without_first_body_line(p.encrypted_pkcs8), "holds an encrypted private key"),
    "one letter": (lambda p: "A", "holds base64 text that is damaged or not a key"),
    "one byte of a sequence": (lambda p: encoded("30"), "holds base64 text that is damaged or not a key"),
    "the head of a short sequence": (lambda p: encoded("3005"), "holds base64 text that is cut off before its end"),
    "a short sequence that is cut": (
        lambda p: encoded("3010000000"), "holds base64 text that is cut off before its end"),
    "a sequence without a length": (
        lambda p: encoded("3080" + "00" * 20), "holds base64 text that is damaged or not a key"),
    "something else that states a length": (
        lambda p: encoded("04050000"), "holds base64 text that is damaged or not a key"),
    "a file name": (lambda p: "/var/user/certs/shop.key", "holds nothing that looks like a key"),
    "percent encoding": (lambda p: quote(p.private_pkcs8), "holds nothing that looks like a key"),
}
REFUSED_AS_PUBLIC = {
    "a certificate": (lambda p: p.certificate, "holds a certificate"),
    "a certificate in one line": (lambda p: p.certificate.replace("\n", r"\n"), "holds a certificate"),
    "a bare certificate": (lambda p: body(p.certificate), "holds a certificate"),
    "a private key": (lambda p: p.private_pkcs8, "holds a private key"),
    "a bare PKCS#1 private key": (lambda p: body(p.private_pkcs1), "holds a private key"),
    "a public key with its private half": (lambda p: p.public_spki + p.private_pkcs8, "holds a private key"),
    "an encrypted private key": (lambda p: p.encrypted_pkcs8, "holds an encrypted private key"),
    "an EC key": (lambda p: p.ec_public, "holds a key that is not RSA"),
    "1024 bits": (lambda p: p.small_public, "holds an RSA key of fewer than 2048 bits"),
    "two different keys": (lambda p: p.public_spki + p.other_public, "holds several different keys"),
    "a cut key": (lambda p: cut(p.public_spki), "holds base64 text that is cut off before its end"),
    "a cut certificate": (lambda p: cut(p.certificate), "holds base64 text that is cut off before its end"),
    "a key's id": (lambda p: "PUB_KEY_ID_0114232134912410000000000000", "holds nothing that looks like a key"),
    "an ssh key": (lambda p: "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB a@shop", "holds nothing that looks like a key"),
}


@pytest.mark.parametrize("case", REFUSED_AS_PRIVATE)
def test_what_is_no_private_key_is_named_and_refused(pems, case):
    make, reason = REFUSED_AS_PRIVATE[case]
    with pytest.raises(PemProblem) as refused:
        private_key(make(pems))
    paste = "paste the whole content of apiclient_key.pem (the merchant's private key)"
    assert refused.value.reason == f"{reason}; {paste}"
    assert str(refused.value) == refused.value.reason


@pytest.mark.parametrize("case", REFUSED_AS_PUBLIC)
def test_what_is_no_public_key_is_named_and_refused(pems, case):
    make, reason = REFUSED_AS_PUBLIC[case]
    with pytest.raises(PemProblem) as refused:
        public_key(make(pems))
    paste = "paste the whole content of wxp_pub.pem (WeChat Pay's public key) from the merchant platform"
    assert refused.value.reason == f"{reason}; {paste}"


@pytest.mark.parametrize("share", [0.03, 0.2, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["private_pkcs1", "private_pkcs8"])
def test_a_private_key_with_one_altered_byte_is_refused(pems, kind, share):
    der = bytearray(base64.b64decode(body(getattr(pems, kind))))
    der[int(len(der) * share)] ^= 0x04
    with pytest.raises(PemProblem):
        private_key(base64.b64encode(bytes(der)).decode())


def pieces(text, size=8):
    return {text[start : start + size] for start in range(len(text) - size + 1)}


def test_no_reason_holds_a_part_of_what_was_pasted(pems):
    for cases, read in ((REFUSED_AS_PRIVATE, private_key), (REFUSED_AS_PUBLIC, public_key)):
        for make, _ in cases.values():
            text = make(pems)
            with pytest.raises(PemProblem) as refused:
                read(text)
            assert not {piece for piece in pieces(text) if piece in refused.value.reason}
            assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_nothing_but_a_pem_problem_comes_of_damaged_text(pems):
    chance = random.Random(2026)
    alphabet = "AMI/+=-\\n \n\u2014\udc80BEGIN\x00"
    refused = 0
    for number in range(400):
        pem = list((pems.private_pkcs1, pems.public_spki, pems.certificate, pems.ec_private)[number % 4])
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(pem))
            pem[place : place + chance.randint(0, 3)] = chance.choice(alphabet)
        for read in (private_key, public_key):
            try:
                assert read("".join(pem)).key_size >= 2048
            except PemProblem:
                refused += 1
    assert refused > 400


def test_the_effort_for_a_large_text_does_not_run_away():
    start = time.perf_counter()
    for text in ("-" * 200_000, "BEGIN " * 40_000, "END PRIVATE " * 20_000, "\\" * 200_000, "A" * 200_001):
        with pytest.raises(PemProblem):
            private_key(text)
    assert time.perf_counter() - start < 10


def test_the_secret_parts_of_a_key_are_its_lines_and_its_whole_body(pems):
    pem = pems.private_pkcs8
    base64_lines = [line for line in lines(pem)[1:-1] if len(line) >= 16]
    for shape in ("as openssl prints it", "literal backslash n", "spaces for newlines", "bare base64"):
        parts = secret_parts(SHAPES[shape](pem))
        assert {*base64_lines, body(pem)} <= parts
    assert set(textwrap.wrap(body(pem), 76)[:-1]) <= secret_parts(SHAPES["wrapped at 76"](pem))


@pytest.mark.parametrize("kind", ["private_pkcs8", "public_spki", "certificate"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_shortest_text_that_is_read_is_the_base64_alone(pems, shape, kind):
    pem = getattr(pems, kind)
    assert bare(SHAPES[shape](pem)).rstrip("=") == body(pem).rstrip("=")


def test_of_several_parts_it_is_the_longest(pems):
    assert bare(pems.public_spki + pems.private_pkcs8 + pems.public_spki) == body(pems.private_pkcs8)


def test_the_longest_is_not_the_one_that_comes_last_in_the_alphabet(pems):
    short = "-----BEGIN PUBLIC KEY-----\nzzzz\n-----END PUBLIC KEY-----\n"
    assert bare(short + pems.public_spki) == body(pems.public_spki)


@pytest.mark.parametrize("more", ["=", "==", "A"], ids=repr)
def test_a_character_too_many_at_the_end_does_not_matter(pems, more):
    whole = body(pems.public_spki)
    assert len(whole) % 4 == 0
    assert whole[-1] != "="
    assert public_key(whole + more).public_numbers().n == pems.modulus


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("a003020102", "a003020107"),  # a version that does not exist
        ("2a864886f70d010101", "2a864886f70d010163"),  # a kind of key that nobody knows
        ("3082010a02820101", "3082010a04820101"),  # a key whose number is none
    ],
)
def test_a_certificate_that_is_damaged_inside_is_none(pems, good, bad):
    whole = base64.b64decode(body(pems.certificate)).hex()
    assert whole.count(good) == 1
    assert certificates(encoded(whole.replace(good, bad))) == []
    assert len(certificates(encoded(whole))) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_certificate_is_found_in_every_shape_too(pems, shape):
    (found,) = certificates(SHAPES[shape](pems.certificate))
    assert found.public_key().public_numbers().n == pems.modulus


def test_certificates_are_found_among_other_things_and_each_once(pems):
    damaged = pems.certificate.replace(lines(pems.certificate)[3], "A" * 64)
    others = pems.private_pkcs8 + damaged + pems.public_spki + cut(pems.certificate) + "\n"
    text = others + pems.certificate + others + pems.certificate
    (found,) = certificates(text)
    assert found.public_key().public_numbers().n == pems.modulus
    assert certificates(others) == []
    assert certificates("") == []


def test_a_file_name_has_no_secret_parts():
    assert secret_parts("apiclient_key.pem") == set()
