"""Keys and certificates made by the openssl command line, once per session."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, repr=False)
class Pems:
    folder: Path
    private_pkcs8: str
    private_pkcs1: str
    public_spki: str
    public_pkcs1: str
    other_private: str
    other_public: str
    certificate: str
    encrypted_pkcs8: str
    encrypted_pkcs1: str
    ec_private: str
    ec_public: str
    sm2_private: str
    small_private: str
    small_public: str
    pkcs12_dump: str       # attributes, certificate, attributes, private key
    modulus: int           # as openssl prints it

    def openssl(self, *arguments: str) -> str:
        return _openssl(self.folder, *arguments)


def _openssl(folder: Path, *arguments: str) -> str:
    command = ["openssl", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="session")
def pems(tmp_path_factory) -> Pems:
    folder = tmp_path_factory.mktemp("pems")

    def run(*arguments: str) -> str:
        return _openssl(folder, *arguments)

    for name, bits in (("key", "2048"), ("other", "2048"), ("small", "1024")):
        run("genrsa", "-out", f"{name}.pem", bits)
    run("ecparam", "-name", "prime256v1", "-genkey", "-out", "ec.pem")
    run("ecparam", "-name", "SM2", "-genkey", "-out", "sm2.pem")
    run("req", "-x509", "-key", "key.pem", "-subj", "/CN=Tenpay.com sign", "-days", "30", "-out", "cert.pem")
    run("pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem", "-name", "Tenpay Certificate",
        "-passout", "pass:1900000001", "-out", "cert.p12")
    return Pems(
        folder=folder,
        private_pkcs8=run("pkcs8", "-topk8", "-nocrypt", "-in", "key.pem"),
        private_pkcs1=run("rsa", "-in", "key.pem", "-traditional"),
        public_spki=run("rsa", "-in", "key.pem", "-pubout"),
        public_pkcs1=run("rsa", "-in", "key.pem", "-RSAPublicKey_out"),
        other_private=run("pkcs8", "-topk8", "-nocrypt", "-in", "other.pem"),
        other_public=run("rsa", "-in", "other.pem", "-pubout"),
        certificate=(folder / "cert.pem").read_text(),
        encrypted_pkcs8=run("pkcs8", "-topk8", "-in", "key.pem", "-passout", "pass:secret"),
        encrypted_pkcs1=run("rsa", "-in", "key.pem", "-traditional", "-aes128", "-passout", "pass:secret"),
        ec_private=(folder / "ec.pem").read_text(),
        ec_public=run("ec", "-in", "ec.pem", "-pubout"),
        sm2_private=(folder / "sm2.pem").read_text(),
        small_private=(folder / "small.pem").read_text(),
        small_public=run("rsa", "-in", "small.pem", "-pubout"),
        pkcs12_dump=run("pkcs12", "-in", "cert.p12", "-nodes", "-passin", "pass:1900000001"),
        modulus=int(run("rsa", "-in", "key.pem", "-modulus", "-noout").removeprefix("Modulus="), 16),
    )
