"""What `make package` makes and refuses, on two small packages; test_platform.py has the whole one."""

from __future__ import annotations

import base64
import datetime
import importlib.metadata
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.config.test_pem import SHAPES
from tests.deploy import interpreters, package

ROOT = package.ROOT
PINS = package.locked(ROOT / "requirements.txt")
SMALL = {name: PINS[name] for name in ("markupsafe", "itsdangerous")}
HASHES = package.locked_files(ROOT / "requirements.txt")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> list[Path]:
    try:
        return package.download(SMALL, HASHES, tmp_path_factory.mktemp("down") / "wheels")
    except package.Failed as failure:
        pytest.skip(f"not run: packages cannot be downloaded ({str(failure).splitlines()[-1]})")


@pytest.fixture(scope="module")
def python310() -> Path:
    python = interpreters.find("3.10")
    if python is None:
        pytest.skip("not run: CPython 3.10")
    return python


@pytest.fixture
def source(tmp_path, wheels, monkeypatch) -> Path:
    """A project that has the function's rooms and needs two small packages, which are here already."""
    folder = copy_of_the_project(tmp_path / "project")
    (folder / "requirements.txt").write_text("".join(map(line_for, SMALL)))

    def downloaded(pins, hashes, target):
        assert hashes == {name: HASHES[name] for name in pins}
        return [wheel for wheel in wheels if package.canonical(wheel.name.partition("-")[0]) in pins]

    monkeypatch.setattr(package, "download", downloaded)
    return folder


def line_for(name: str) -> str:
    return " \\\n    ".join([f"{name}=={PINS[name]}", *(f"--hash=sha256:{each}" for each in HASHES[name])]) + "\n"


def copy_of_the_project(folder: Path) -> Path:
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tests" / "deploy", folder / "tests" / "deploy", ignore=unwanted)
    for name in (*package.FILES, "requirements-orders.txt", ".gitattributes"):
        shutil.copy2(ROOT / name, folder / name)
    for room in package.ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=unwanted)
    return folder


def content(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as made:
        return {name: made.read(name) for name in made.namelist() if not name.endswith("/")}


def mode(archive: Path, name: str) -> int:
    with zipfile.ZipFile(archive) as made:
        return made.getinfo(name).external_attr >> 16


def put(source: Path, *names: str) -> None:
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("# 中\n")


def test_it_holds_the_rooms_with_what_the_merchant_put_there_and_no_more(source, tmp_path, capsys):
    mine = ["services/shop_orders.py", "services/prices/tea.json", "services/prices/tea.csv", "config/shop.txt"]
    not_mine = [
        ".env", "apiclient_key.pem", "notes.py", "services/.env", "services/.DS_Store", "utils/.idea/x.py",
        "services/__pycache__/shop_orders.cpython-313.pyc", "vendor/stale.py",
    ]
    put(source, *mine, *not_mine)
    made = content(package.make(source, tmp_path / "build"))
    assert set(mine) <= made.keys()
    assert not set(not_mine) & made.keys()
    tops = {name.partition("/")[0] for name in made}
    assert tops == {*package.FILES, *package.ROOMS, "vendor"}
    told = capsys.readouterr().out.splitlines()
    assert "left out: services/.env" in told
    assert "left out: utils/.idea" in told
    assert not [line for line in told if "__pycache__" in line or line == "left out: .env"]


STRANGE = [
    "config/apiclient_key.pem", "config/apiclient_key.der", "config/apiclient_cert.p12", "config/apiclient_cert.pfx",
    "config/wxp_pub.PEM", "config/my.key", "config/my.crt", "config/id_rsa", "services/prod.env",
    "services/1900000001_cert.zip", "services/orders.db", "services/orders.sqlite", "services/orders.sqlite-wal",
    "services/orders.sqlite3", "services/backup.sql", "services/shop_orders.py~", "services/shop_orders.py.bak",
    "utils/stray.pyc", "routes/deep/er/notes.docx", "config/SHOP.JSON",
]


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_not_of_the_kinds_that_the_rooms_may_hold_is_refused_by_name(source, tmp_path, name):
    put(source, name)
    with pytest.raises(package.Failed) as refusal:
        package.make(source, tmp_path / "build")
    told = str(refusal.value)
    assert f"the rooms hold {name}, but may hold .py, .mako, .json, .csv, .txt only" in told
    assert "SUFFIXES in tests/deploy/package.py" in told
    assert list((tmp_path / "build").iterdir()) == []


def test_all_of_them_are_named_at_once_and_one_constant_lets_a_kind_in(source, tmp_path, monkeypatch):
    put(source, "services/logo.svg", "config/my.key")
    with pytest.raises(package.Failed, match=r"the rooms hold config/my\.key, services/logo\.svg, but"):
        package.make(source, tmp_path / "build")
    (source / "config" / "my.key").unlink()
    monkeypatch.setattr(package, "SUFFIXES", (*package.SUFFIXES, ".svg"))
    assert "services/logo.svg" in content(package.make(source, tmp_path / "build"))


def test_the_folder_and_the_zip_hold_the_same_with_the_same_modes_whatever_the_umask(source, tmp_path):
    (source / "scf_bootstrap").chmod(0o600)
    before = os.umask(0o077)
    try:
        archive = package.make(source, tmp_path / "build")
    finally:
        os.umask(before)
    folder = tmp_path / "build" / "pay-common"
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in files.items()} == content(archive)
    for name, path in files.items():
        wanted = 0o100755 if name == "scf_bootstrap" else 0o100644
        assert (path.stat().st_mode, mode(archive, name)) == (wanted, wanted), name
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*")) if path.is_dir()} == {0o755}


def test_an_archiver_that_knows_modes_unpacks_it_as_it_has_to_be(source, tmp_path):
    if shutil.which("unzip") is None:
        pytest.skip("not run: unzip")
    archive = package.make(source, tmp_path / "build")
    subprocess.run(["unzip", "-q", archive, "-d", tmp_path / "user"], check=True)
    assert os.access(tmp_path / "user" / "scf_bootstrap", os.X_OK)
    assert stat.S_IMODE((tmp_path / "user" / "config").stat().st_mode) == 0o755


def test_a_checkout_with_crlf_and_without_modes_gives_the_same_bytes(source, tmp_path, python310):
    if shutil.which("git") is None:
        pytest.skip("not run: git")
    first = package.make(source, tmp_path / "build", python=python310)
    other = windows_checkout(source, tmp_path / "Program Files" / "Ümlaut request")
    assert b"\r\n" in (other / "app.py").read_bytes()
    assert b"\r\n" in (other / "scf_bootstrap").read_bytes()
    assert not os.access(other / "scf_bootstrap", os.X_OK)
    second = package.make(other, other / "build" / "flask", python=python310)
    assert content(second) == content(first)
    assert second.read_bytes() == first.read_bytes()


def windows_checkout(project: Path, folder: Path) -> Path:
    """As `git -c core.autocrlf=true clone` makes it; .gitattributes, which forbids that, is overruled."""

    def git(*arguments: str, where: Path) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "core.autocrlf=false"]
        subprocess.run(["git", *who, *arguments], cwd=where, check=True, capture_output=True)

    git("init", "--quiet", where=project)
    git("add", "--all", where=project)
    git("commit", "--quiet", "--message=all", where=project)
    folder.parent.mkdir(parents=True)
    git("clone", "--quiet", "--no-checkout", str(project), str(folder), where=folder.parent)
    (folder / ".git" / "info" / "attributes").write_text("* text=auto eol=crlf\n")
    git("-c", "core.fileMode=false", "checkout", "--quiet", where=folder)
    (folder / "scf_bootstrap").chmod(0o644)
    return folder


def test_no_carriage_return_is_left_in_a_text(source, tmp_path):
    (source / "services" / "prices.csv").write_bytes("茶,20\r\n".encode())
    (source / "services" / "utf16.csv").write_bytes("茶,20\r\n".encode("utf-16"))
    made = content(package.make(source, tmp_path / "build"))
    assert made["services/prices.csv"] == "茶,20\n".encode()
    assert made["services/utf16.csv"] == "茶,20\r\n".encode("utf-16")


def test_nothing_of_this_machine_is_in_it(source, tmp_path, python310):
    made = content(package.make(source, tmp_path / "build", python=python310))
    compiled = [name for name in made if name.endswith(".pyc")]
    assert len(compiled) == len([name for name in made if name.endswith(".py")])
    for name, each in made.items():
        assert str(tmp_path).encode() not in each, name
        assert str(ROOT).encode() not in each, name
    assert b"/var/user/services/pay_service.py" in made["services/__pycache__/pay_service.cpython-310.pyc"]


def test_byte_code_of_packages_is_taken_unseen_and_of_the_function_only_for_its_source(source, tmp_path, python310):
    made = content(package.make(source, tmp_path / "build", python=python310))
    flags = {name: each[4] for name, each in made.items() if name.endswith(".pyc")}
    assert {flag for name, flag in flags.items() if name.startswith("vendor/")} == {1}
    assert {flag for name, flag in flags.items() if not name.startswith("vendor/")} == {3}
    # An edit in the console counts.
    folder = tmp_path / "build" / "pay-common"
    (folder / "config" / "defaults.py").write_text('DEFAULTS = {"edited": "yes"}\n')
    run = [python310, "-B", "-c", "from config import defaults; print(defaults.DEFAULTS)"]
    told = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert told == "{'edited': 'yes'}\n"


def test_packages_keep_what_importlib_metadata_reads_and_their_licences(source, tmp_path):
    package.make(source, tmp_path / "build")
    vendor = tmp_path / "build" / "pay-common" / "vendor"
    found = importlib.metadata.distributions(path=[str(vendor)])
    assert {each.metadata["Name"].lower(): each.version for each in found} == SMALL
    for folder in vendor.glob("*.dist-info"):
        assert re.search("LICENSE", " ".join(str(path) for path in folder.rglob("*")))
    assert not list(vendor.rglob("*.pyi")) + list(vendor.rglob("*.c"))


def test_what_an_earlier_run_left_is_not_mixed_in(source, tmp_path):
    folder = tmp_path / "build" / "pay-common"
    folder.mkdir(parents=True)
    (folder / "old.py").write_text("")
    archive = package.make(source, tmp_path / "build")
    assert "old.py" not in content(archive)
    assert not (folder / "old.py").exists()


def test_after_a_refusal_nothing_is_left_that_could_be_deployed(source, tmp_path):
    package.make(source, tmp_path / "build")
    (source / "requirements.txt").write_text("flask>=3\n")
    with pytest.raises(package.Failed, match=r"requirements.txt, line 1: expected name==version, found 'flask>=3'"):
        package.make(source, tmp_path / "build")
    assert list((tmp_path / "build").iterdir()) == []


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def dump(key, encoding: str = "PEM", form: str = "PKCS8", password: bytes | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    to, of = getattr(serialization.Encoding, encoding), getattr(serialization.PrivateFormat, form)
    return key.private_bytes(to, of, how)


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_private_key_is_found_in_every_shape_that_the_settings_read(rsa_key, shape, form):
    pasted = SHAPES[shape](dump(rsa_key, form=form).decode())
    for encoding in ("utf-8", "utf-16", "utf-16-be", "utf-32"):
        assert package.holds_private_key(pasted.encode(encoding)), encoding
        for before in ("k", "ke", "key", "keys"):
            assert package.holds_private_key(f"{before} = ({pasted})".encode(encoding)), (encoding, before)


def test_a_private_key_is_found_in_other_forms_too(rsa_key):
    elliptic = [ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)]
    keys = [rsa_key, rsa.generate_private_key(public_exponent=65537, key_size=4096), *elliptic]
    forms = [dump(key, "DER", form) for key in keys for form in ("PKCS8", "TraditionalOpenSSL")]
    forms += [dump(key, "DER", password=b"secret") for key in keys]
    forms += [dump(rsa_key, "PEM", form, b"secret") for form in ("PKCS8", "TraditionalOpenSSL")]
    forms += [dump(ed25519.Ed25519PrivateKey.generate(), "DER")]
    forms += [pkcs12.serialize_key_and_certificates(b"a", rsa_key, None, None, serialization.NoEncryption())]
    for form in forms:
        assert package.holds_private_key(form)
        assert package.holds_private_key(b"\x01\x02" + form)
        assert package.holds_private_key(b"x = '" + base64.b64encode(form) + b"'")
        assert package.holds_private_key(form[: len(form) * 2 // 3])


def test_a_public_key_and_what_only_speaks_of_keys_are_no_private_key(rsa_key):
    for form in (serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1):
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER):
            assert not package.holds_private_key(rsa_key.public_key().public_bytes(encoding, form))
    assert not package.holds_private_key(certificate(rsa_key))
    assert not package.holds_private_key(b"privateKey = settings.private_key  # MIIE")
    assert not package.holds_private_key(random.Random(1).randbytes(1 << 20))


def certificate(key) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "1900000001")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def bare(key) -> bytes:
    return base64.b64encode(dump(key, "DER"))


PLACES = {
    "config/key.txt": bare,
    "services/mine.py": lambda key: b'KEY = """\n' + bare(key) + b'\n"""\n',
    "config/key.json": dump,
    "utils/key.csv": lambda key: dump(key).decode().encode("utf-16"),
    "config/der.txt": lambda key: dump(key, "DER"),
    "services/once_more.txt": lambda key: base64.b64encode(dump(key)),
    "app.py": lambda key: b"# " + bare(key),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_private_key_in_the_code_is_refused_by_the_files_name(source, tmp_path, rsa_key, name):
    (source / name).write_bytes(PLACES[name](rsa_key))
    with pytest.raises(package.Failed, match=rf"{re.escape(name)} holds a private key: keys belong") as refusal:
        package.make(source, tmp_path / "build")
    assert "MII" not in str(refusal.value)
    assert list((tmp_path / "build").iterdir()) == []


def test_a_folder_that_is_a_link_is_refused_and_not_forgotten(source, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (source / "services" / "shop").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(package.Failed, match="is a link to a folder"):
        package.make(source, tmp_path / "build")


def test_a_file_that_the_platforms_python_cannot_read_is_refused(source, tmp_path, python310):
    (source / "services" / "shop.py").write_text("def new[T](x: T) -> T: ...\n")
    with pytest.raises(package.Failed, match=r"CPython 3\.10 cannot read services/shop\.py: .*line 1"):
        package.make(source, tmp_path / "build", python=python310)


def test_a_zip_that_is_too_large_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "LARGEST", 10_000)
    with pytest.raises(package.Failed, match=r"pay-common\.zip has 0\.\d MB, 0 are allowed"):
        package.make(source, tmp_path / "build")
    assert not (tmp_path / "build" / "pay-common.zip").exists()


# --- interpreters


def test_byte_code_by_another_python_is_refused(tmp_path, python310, monkeypatch):
    (tmp_path / "app.py").write_text("")
    monkeypatch.setattr(package, "VERSION", "3.9")
    with pytest.raises(package.Failed, match=r"byte code has to be made by CPython 3\.9, this is 3\.10"):
        package.compile_all(tmp_path, python310)


def test_byte_code_that_is_not_3_10s_is_noticed_whatever_made_it(tmp_path):
    liar = tmp_path / "python3.10"
    liar.write_text('#!/bin/sh\nprintf "\\247\\r\\r\\n" > "$(dirname "$0")/app.cpython-310.pyc"\n')
    liar.chmod(0o755)
    with pytest.raises(package.Failed, match=r"app\.cpython-310\.pyc is not byte code of CPython 3\.10"):
        package.compile_all(tmp_path, liar)


def test_without_the_platforms_python_it_packs_and_says_what_that_costs(source, monkeypatch, capsys):
    monkeypatch.setattr(package, "ROOT", source)
    monkeypatch.setattr(package.interpreters, "find", lambda version: None)
    monkeypatch.setattr(sys, "argv", ["package"])
    assert package.main() == 0
    told = capsys.readouterr()
    assert "without byte code, for want of CPython 3.10 here" in told.err
    sizes = r"pay-common\.zip: \d\.\d MB zipped, \d\.\d MB unpacked, \d+ files\nSHA-256 [0-9a-f]{64}\n"
    assert re.search(sizes, told.out)
    assert not [name for name in content(source / "build" / "pay-common.zip") if name.endswith(".pyc")]


def test_a_refusal_is_one_line_and_a_status(source, monkeypatch, capsys):
    (source / "app.py").unlink()
    monkeypatch.setattr(package, "ROOT", source)
    monkeypatch.setattr(sys, "argv", ["package"])
    assert package.main() == 1
    assert capsys.readouterr().err == f"not packed: {source / 'app.py'} is missing\n"


def test_the_launcher_of_windows_finds_it_too(tmp_path, monkeypatch):
    launcher = tmp_path / "py"
    launcher.write_text(f'#!/bin/sh\n[ "$1" = -3.10 ] && echo {tmp_path}/python.exe\n')
    (tmp_path / "python.exe").write_text("#!/bin/sh\necho cpython 3.10\n")
    for file in tmp_path.iterdir():
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "base_prefix", "/nonexistent")
    assert interpreters.find("3.10") == tmp_path / "python.exe"


# --- packages


def wheel(folder: Path, name: str, version: str, files: dict[str, bytes], needs: tuple[str, ...] = ()) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    lines += [f"Requires-Dist: {need}\n" for need in needs]
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(f"{name}-{version}.dist-info/METADATA", "".join(lines))
        for file, each in files.items():
            out.writestr(file, each)
    return path


def checked(tmp_path: Path, pins: dict[str, str], *made: Path) -> Path:
    vendor = tmp_path / "vendor"
    package.unpack(list(made), vendor)
    package.check_packages(vendor, pins)
    return vendor


def elf(machine: int = 62, bits: int = 2, text: bytes = b"") -> bytes:
    return b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little") + text


def test_a_package_for_the_platform_is_taken(tmp_path):
    library = elf(text=b"GLIBC_2.17\0GLIBC_2.2.5\0")
    files = {"a/__init__.py": b"", "a/_a.cpython-310-x86_64-linux-gnu.so": library, "a/_b.abi3.so": elf()}
    assert (checked(tmp_path, {"a": "1"}, wheel(tmp_path, "a", "1", files)) / "a" / "_b.abi3.so").exists()


@pytest.mark.parametrize(
    ("name", "library", "told"),
    [
        ("a/_a.cpython-310-darwin.so", b"\xcf\xfa\xed\xfe" + bytes(40), "not for Linux on x86-64"),
        ("a/_a.cpython-310-aarch64-linux-gnu.so", elf(machine=183), "not for Linux on x86-64"),
        ("a/_a.cpython-310-i386-linux-gnu.so", elf(machine=3, bits=1), "not for Linux on x86-64"),
        ("a/_a.cpython-312-x86_64-linux-gnu.so", elf(), r"not for CPython 3\.10"),
        ("a.libs/libpq.so.5.17", elf(text=b"GLIBC_2.28\0"), r"needs glibc 2\.28, the platform has 2\.17"),
        ("a/_a.cp310-win_amd64.pyd", b"MZ", "not for Linux"),
        ("a/.dylibs/libssl.3.dylib", b"\xcf\xfa\xed\xfe", "not for Linux"),
    ],
)
def test_machine_code_that_the_platform_cannot_load_is_refused(tmp_path, name, library, told):
    with pytest.raises(package.Failed, match=told):
        checked(tmp_path, {"a": "1"}, wheel(tmp_path, "a", "1", {name: library}))


@pytest.mark.parametrize(
    ("pins", "told"),
    [
        ({"a": "2"}, "a: locked 2, there is 1"),
        ({}, "a: locked not, there is 1"),
        ({"a": "1", "b": "1"}, "b: locked 1, there is none"),
    ],
)
def test_what_is_not_the_locked_set_is_refused(tmp_path, pins, told):
    with pytest.raises(package.Failed, match=told):
        checked(tmp_path, pins, wheel(tmp_path, "a", "1", {}))


@pytest.mark.parametrize(
    ("need", "told"),
    [
        ("b", "a needs b, which is not locked: add b==VERSION"),
        ("b ; python_version < '3.11'", "which is not locked"),
        ("b ; sys_platform == 'linux'", "which is not locked"),
        ("c>=2", "a needs c>=2, but c==1 is locked"),
    ],
)
def test_a_package_that_another_needs_has_to_be_locked_too(tmp_path, need, told):
    made = wheel(tmp_path, "a", "1", {}, (need,)), wheel(tmp_path, "c", "1", {})
    with pytest.raises(package.Failed, match=re.escape(told)):
        checked(tmp_path, {"a": "1", "c": "1"}, *made)


@pytest.mark.parametrize(
    "need", ["b ; sys_platform == 'win32'", "b ; python_version >= '3.11'", "b ; extra == 'x'", "C==1", "c<2"]
)
def test_what_the_platform_does_not_need_is_not_asked_for(tmp_path, need):
    made = wheel(tmp_path, "a", "1", {}, (need,)), wheel(tmp_path, "c", "1", {})
    checked(tmp_path, {"a": "1", "c": "1"}, *made)


def test_commands_headers_and_tests_of_packages_stay_out_and_their_modules_come(tmp_path):
    files = {
        "a-1.data/scripts/run": b"#!/usr/bin/python3",
        "a-1.data/headers/a.h": b"",
        "a-1.data/purelib/a/one.py": b"",
        "a-1.data/platlib/a/two.py": b"",
        "a/tests/test_one.py": b"",
        "a/testing.py": b"",
        "a/__pycache__/one.cpython-39.pyc": b"",
        "a-1.dist-info/RECORD": b"",
        "a-1.dist-info/licenses/sub/COPYING": b"",
        "a-1.dist-info/entry_points.txt": b"",
    }
    vendor = checked(tmp_path, {"a": "1"}, wheel(tmp_path, "a", "1", files))
    assert {path.relative_to(vendor).as_posix() for path in vendor.rglob("*") if path.is_file()} == {
        "a/one.py", "a/two.py", "a/testing.py", "a-1.dist-info/METADATA", "a-1.dist-info/licenses/sub/COPYING",
        "a-1.dist-info/entry_points.txt",
    }


def test_a_wheel_that_leaves_its_place_or_overwrites_another_is_refused(tmp_path):
    with pytest.raises(package.Failed, match="holds the path"):
        checked(tmp_path, {"a": "1"}, wheel(tmp_path, "a", "1", {"../app.py": b""}))
    both = wheel(tmp_path, "b", "1", {"same.py": b"1"}), wheel(tmp_path, "c", "1", {"same.py": b"2"})
    with pytest.raises(package.Failed, match=r"both bring same\.py"):
        checked(tmp_path, {"b": "1", "c": "1"}, *both)


def test_extras_comments_and_markers_of_a_requirement_are_understood(tmp_path):
    file = tmp_path / "more.txt"
    (tmp_path / "base.txt").write_text("Foo_Bar==1\n")
    file.write_text("# all\n-r base.txt\na.b[c]==2  # why\nd == 3 ; python_version < '3.11'\n\n")
    assert package.locked(file) == {"foo-bar": "1", "a-b": "2", "d": "3"}


def test_a_file_that_is_not_locked_is_not_packed(tmp_path, wheels):
    """The index holds another file of the right name and version: here the lock names another one."""
    others = {name: ["0" * 64] for name in SMALL}
    with pytest.raises(package.Failed, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        package.download(SMALL, others, tmp_path / "wheels")


@pytest.mark.parametrize("lock", ["", " --hash=sha256:12", " --hash=md5:" + "0" * 32, " # --hash=none"])
def test_a_pin_without_hashes_is_refused_with_the_command_that_adds_them(source, tmp_path, lock):
    (source / "requirements.txt").write_text(line_for("markupsafe") + f"itsdangerous=={SMALL['itsdangerous']}{lock}\n")
    told = r"requirements\.txt, line \d+: itsdangerous has no --hash=sha256:\.\.\..*python -m tests\.deploy\.lock"
    with pytest.raises(package.Failed, match=told):
        package.make(source, tmp_path / "build")
    assert list((tmp_path / "build").iterdir()) == []


def test_make_package_runs_it():
    if shutil.which("make") is None:
        pytest.skip("not run: make")
    for options, more in (([], ""), (["ORDERS=1"], " --orders")):
        run = ["make", "--no-print-directory", "--dry-run", "package", f"VENV={sys.prefix}", *options]
        recipe = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert recipe.rstrip().endswith(f"-m tests.deploy.package{more}".rstrip()), recipe
