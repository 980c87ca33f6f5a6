"""Makes what is deployed, on any machine with Python and pip: `python -m tests.deploy.package [--orders]`.

build/pay-common/ is the folder that the CloudBase CLI packs, build/pay-common.zip the same for the console. Both hold
the rooms of the function, the locked packages as wheels for the platform, and byte code for its interpreter, because
the platform installs nothing and writes nothing. The same input gives the same bytes, wherever it is made. What the
platform could not run is refused here: a wheel for another machine, a version that is not the locked one, a package
that another one needs and nobody locked. So is what must not leave the merchant's machine: private keys, and files of
other kinds than the rooms may hold.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from tests.deploy import interpreters

ROOT = Path(__file__).resolve().parents[2]
FILES = ("app.py", "gunicorn.conf.py", "scf_bootstrap", "requirements.txt")
ROOMS = ("config", "controllers", "routes", "services", "utils")
NAME = "pay-common"
VERSION = "3.10"
LARGEST = 25_000_000  # bytes of the zip; a cold start fetches it, and the platform's own limit is far above
NEWEST_GLIBC = 17  # the platform is CentOS 7: glibc 2.17, which is what manylinux2014 promises

# All that the rooms may hold: the function's own files, and data of a merchant's. Whoever needs another kind adds its
# suffix here, and to .dockerignore and the Dockerfile, which a test holds against this.
SUFFIXES = (".py", ".mako", ".json", ".csv", ".txt")

# What editors and systems leave behind: never deployed, like `.env`.
_LEFT_OUT = re.compile(r"\..*|__pycache__")
_ARMOUR = re.compile(rb"BEGIN[A-Z0-9\s]{0,30}PRIVATE\s*KEY")
# How the DER of a private key begins: PKCS#8, PKCS#1, EC's own form, PKCS#8 under a password, PKCS#12.
_DER = re.compile(
    rb"\x30(?:[\x20-\x7f]|\x81.|\x82..)(?:"
    rb"\x02\x01[\x00\x01]\x30.\x06|\x02\x01\x00\x02[\x40-\x82]|\x02\x01\x01\x04[\x14-\x48]"
    rb"|\x30(?:.|\x81.)\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05|\x02\x01\x03\x30(?:.|\x81.|\x82..)\x06\x09\x2a\x86\x48)",
    re.S,
)
_NOT_BASE64 = re.compile(rb"\\+[nrt]|[^A-Za-z0-9+/]")
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?\s*==\s*([^\s;#]+)")
_TIME = (1980, 1, 1, 0, 0, 0)
_EPOCH = 315_532_800  # the same moment, for the files on the disk: the CLI packs their times
_MAGIC = b"\x6f\x0d\x0d\x0a"  # how byte code of CPython 3.10 begins

# Run by the platform's version of Python. co_filename is where the platform has the file, so neither the bytes nor a
# trace tells of this machine. Marshal's version 2 has no references to what was written before: whether later ones
# write those hangs on which strings the process happens to hold, a folder's name among them. Packages never change and
# are not compared with their sources (flags 1); the function's own files are (flags 3): an edit in the console counts.
_COMPILER = """
import importlib.util, marshal, sys
from pathlib import Path
if sys.implementation.name != "cpython" or "%d.%d" % sys.version_info[:2] != sys.argv[2]:
    sys.exit("byte code has to be made by CPython " + sys.argv[2] + ", this is " + sys.version)
root = Path(sys.argv[1])
for path in sorted(root.rglob("*.py")):
    name, source = path.relative_to(root).as_posix(), path.read_bytes()
    flags = 1 if name.startswith("vendor/") else 3
    try:
        code = compile(source, "/var/user/" + name, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError) as error:
        sys.exit("CPython " + sys.argv[2] + " cannot read " + name + ": " + str(error))
    cache = Path(importlib.util.cache_from_source(str(path), optimization=""))
    cache.parent.mkdir(exist_ok=True)
    head = importlib.util.MAGIC_NUMBER + flags.to_bytes(4, "little") + importlib.util.source_hash(source)
    cache.write_bytes(head + marshal.dumps(code, 2))
"""


class Failed(Exception):
    """Nothing was made; the text says what to change."""


def make(source: Path, target: Path, *, orders: bool = False, python: Path | None = None) -> Path:
    """Make `target`/pay-common and its zip out of the project at `source`; returns the zip. Raises Failed.

    `python` is a CPython 3.10 that makes the byte code; without one there is none.
    """
    folder, archive = target / NAME, target / f"{NAME}.zip"
    target.mkdir(parents=True, exist_ok=True)
    # First of all, so that what an earlier run left is never deployed for what this one refuses to make.
    shutil.rmtree(folder, ignore_errors=True)
    archive.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".making-") as making:
        made = Path(making, NAME)
        copy_function(source, made)
        requirements = source / ("requirements-orders.txt" if orders else "requirements.txt")
        pins = locked(requirements)
        wheels = download(pins, locked_files(requirements), Path(making, "wheels"))
        unpack(wheels, made / "vendor")
        check_packages(made / "vendor", pins)
        if python is not None:
            compile_all(made, python)
        settle(made)
        made.rename(folder)
    write_zip(folder, archive)
    if archive.stat().st_size > LARGEST:
        size = archive.stat().st_size
        archive.unlink()
        raise Failed(f"{archive.name} has {size / 1e6:.1f} MB, {LARGEST / 1e6:.0f} are allowed: look into {folder}")
    return archive


def copy_function(source: Path, target: Path) -> None:
    """The rooms, with everything that a merchant put into them, and LF at the line ends whatever the checkout did."""
    for path in _function_files(source):
        content = path.read_bytes()
        if holds_private_key(content):
            raise Failed(
                f"{path.relative_to(source)} holds a private key: keys belong into variables of the function, never"
                " into its code. Take it out; if others could read it, replace the merchant API certificate"
            )
        if _is_text(content):
            content = content.replace(b"\r\n", b"\n")
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)


def _function_files(source: Path) -> Iterator[Path]:
    for name in FILES:
        if not (source / name).is_file():
            raise Failed(f"{source / name} is missing")
        yield source / name
    found = [path for room in ROOMS for path in _room_files(source, source / room)]
    strange = [path.relative_to(source).as_posix() for path in found if path.suffix not in SUFFIXES]
    if strange:
        raise Failed(
            f"the rooms hold {', '.join(sorted(strange))}, but may hold {', '.join(SUFFIXES)} only. Keys and"
            " certificates belong into variables of the function, databases and backups elsewhere: move them. For a"
            " file that your code reads, add its suffix to SUFFIXES in tests/deploy/package.py"
        )
    yield from found


def _room_files(source: Path, room: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(room):
        for name in [name for name in (*folders, *files) if _LEFT_OUT.fullmatch(name)]:
            if name != "__pycache__":
                print(f"left out: {Path(folder, name).relative_to(source)}")
        for name in folders:
            if Path(folder, name).is_symlink():
                raise Failed(f"{Path(folder, name)} is a link to a folder: put the folder itself there")
        folders[:] = [name for name in folders if not _LEFT_OUT.fullmatch(name)]
        yield from (Path(folder, name) for name in files if not _LEFT_OUT.fullmatch(name))


def holds_private_key(content: bytes) -> bool:
    """In PEM, DER or bare base64, in whatever encoding, wherever it begins and however its lines are broken."""
    plain = content.replace(b"\0", b"")  # UTF-16 and UTF-32 become ASCII
    run = _NOT_BASE64.sub(b"", plain)
    decoded = (base64.b64decode(run[start : start + (len(run) - start) // 4 * 4]) for start in range(4))
    return any(_ARMOUR.search(each) or _DER.search(each) for each in (content, plain, *decoded))


def _is_text(content: bytes) -> bool:
    if b"\0" in content:
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def locked(file: Path) -> dict[str, str]:
    """Package to version. The files hold the whole resolved set for the platform, so markers do not count here."""
    pins: dict[str, str] = {}
    for number, text in logical_lines(file):
        line = re.split(r"[#;]|\s--hash=", text)[0].strip()
        if line.startswith("-r "):
            pins |= locked(file.with_name(line[3:].strip()))
        elif line:
            pin = _PIN.fullmatch(line)
            if pin is None:
                raise Failed(f"{file.name}, line {number}: expected name==version, found {line!r}")
            pins[canonical(pin[1])] = pin[2]
    return pins


def locked_files(file: Path) -> dict[str, list[str]]:
    """Package to the SHA-256 of each of its files. Raises Failed for one that is pinned by its version alone."""
    hashes: dict[str, list[str]] = {}
    for number, text in logical_lines(file):
        if text.startswith("-r "):
            hashes |= locked_files(file.with_name(text[3:].strip()))
        elif pin := _PIN.match(text):
            found = re.findall(r"\s--hash=sha256:([0-9a-f]{64})(?=\s|$)", text)
            if not found:
                raise Failed(
                    f"{file.name}, line {number}: {pin[1]} has no --hash=sha256:..., so any file of that name would be"
                    " packed: pip install uv, then python -m tests.deploy.lock, which adds it"
                )
            hashes[canonical(pin[1])] = found
    return hashes


def logical_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Lines as pip reads them, joined where one ends in a backslash, each with the number of its first."""
    whole, first = "", 0
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        whole, first = whole + text.rstrip("\\"), first or number
        if not text.endswith("\\"):
            yield first, whole
            whole, first = "", 0


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def download(pins: dict[str, str], hashes: dict[str, list[str]], folder: Path) -> list[Path]:
    """The wheels for CPython 3.10 on manylinux2014, whatever this machine is; none but those that are locked."""
    folder.mkdir()
    wanted = folder / "wanted.txt"
    allowed = {name: "".join(f" --hash=sha256:{digest}" for digest in hashes[name]) for name in pins}
    wanted.write_text("".join(f"{name}=={version}{allowed[name]}\n" for name, version in sorted(pins.items())))
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--require-hashes"]
    platform = ["--only-binary=:all:", "--platform=manylinux2014_x86_64", "--implementation=cp"]
    command += [*platform, f"--python-version={VERSION}", f"--dest={folder}", f"--requirement={wanted}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"pip does not get the packages for the platform:\n{done.stderr.strip()}")
    return sorted(folder.glob("*.whl"))


def unpack(wheels: list[Path], vendor: Path) -> None:
    """The packages as their wheels hold them, without what no running function reads."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                name = None if member.is_dir() else _place(member.filename)
                if name is None:
                    continue
                path = vendor / name
                if path.exists() and path.read_bytes() != archive.read(member):
                    raise Failed(f"{wheel.name} and another wheel both bring {name}")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(member))


def _place(name: str) -> PurePosixPath | None:
    """Where a wheel's file goes, or None for what is left out: commands, headers, stubs, tests, installers' notes."""
    parts = PurePosixPath(name).parts
    if parts[0].endswith(".data"):
        if parts[1] not in ("purelib", "platlib"):
            return None
        parts = parts[2:]
    if ".." in parts or PurePosixPath(*parts).is_absolute():
        raise Failed(f"a wheel holds the path {name}")
    if parts[0].endswith(".dist-info"):
        # importlib.metadata reads the first two; licences stay with what they license.
        kept = parts[1] in ("METADATA", "entry_points.txt") or re.match(
            r"(licenses/|licen[cs]e|copying|notice|authors)", "/".join(parts[1:]), re.I
        )
        return PurePosixPath(*parts) if kept else None
    if "tests" in parts[:-1] or parts[-1].endswith((".c", ".cpp", ".h", ".hpp", ".pyx", ".pxd", ".pyi", ".pyc")):
        return None
    return PurePosixPath(*parts)


def check_packages(vendor: Path, pins: dict[str, str]) -> None:
    """Exactly the locked packages, each with what it needs, and machine code that the platform can load."""
    found, needed = {}, []
    for file in sorted(vendor.glob("*.dist-info/METADATA")):
        metadata = HeaderParser().parsestr(file.read_text(encoding="utf-8"))
        found[canonical(metadata["Name"])] = metadata["Version"]
        needed += [(metadata["Name"], line) for line in metadata.get_all("Requires-Dist") or []]
    if found != pins:
        differing = sorted(name for name in found.keys() | pins.keys() if found.get(name) != pins.get(name))
        told = (f"{name}: locked {pins.get(name, 'not')}, there is {found.get(name, 'none')}" for name in differing)
        raise Failed("the packages are not those that are locked: " + "; ".join(told))
    _check_needs(needed, pins)
    for file in sorted(vendor.rglob("*")):
        if file.suffix in (".pyd", ".dll", ".dylib"):
            raise Failed(f"{file.relative_to(vendor)} is not for Linux")
        if re.search(r"\.so(\.|$)", file.name):
            _check_library(file, file.relative_to(vendor))


def _check_needs(needed: list[tuple[str, str]], pins: dict[str, str]) -> None:
    # pip's own, which is there because pip has just been used: nothing else here reads markers as pip does.
    from pip._vendor.packaging.requirements import Requirement  # noqa: PLC0415

    platform = {
        "implementation_name": "cpython", "implementation_version": f"{VERSION}.13", "os_name": "posix",
        "platform_machine": "x86_64", "platform_python_implementation": "CPython", "platform_system": "Linux",
        "python_full_version": f"{VERSION}.13", "python_version": VERSION, "sys_platform": "linux", "extra": "",
    }
    for package, line in needed:
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate(platform):
            continue
        have = pins.get(canonical(need.name))
        if have is None:
            raise Failed(f"{package} needs {line}, which is not locked: add {need.name}==VERSION to the requirements")
        if not need.specifier.contains(have, prereleases=True):
            raise Failed(f"{package} needs {line}, but {need.name}=={have} is locked")


def _check_library(file: Path, name: Path) -> None:
    content = file.read_bytes()
    # The ELF header: 64 bits, little endian, and at offset 18 the machine, 62 for x86-64.
    if content[:6] != b"\x7fELF\x02\x01" or content[18:20] != b"\x3e\x00":
        raise Failed(f"{name} is not for Linux on x86-64: the wheel is one for another machine")
    other = re.search(r"\.cpython-(\d+)", file.name)
    if other and other[1] != VERSION.replace(".", ""):
        raise Failed(f"{name} is not for CPython {VERSION}")
    glibc = max((int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", content)), default=0)
    if glibc > NEWEST_GLIBC:
        raise Failed(f"{name} needs glibc 2.{glibc}, the platform has 2.{NEWEST_GLIBC}")


def compile_all(folder: Path, python: Path) -> None:
    """Byte code beside every source."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"  # sets of constants are written in the order of their hashes
    command = [str(python), "-s", "-S", "-B", "-c", _COMPILER, str(folder), VERSION]
    done = subprocess.run(
        command, cwd=folder.parent, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failed(f"{python}: {done.stderr.strip()}")
    for file in folder.rglob("*.pyc"):
        if file.read_bytes()[:4] != _MAGIC:
            raise Failed(f"{file.name} is not byte code of CPython {VERSION}: {python} made it")


def settle(folder: Path) -> None:
    """Modes and times that depend on nothing here. The CLI packs them as they are."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(0o755 if path.is_dir() or path == folder / "scf_bootstrap" else 0o644)
        os.utime(path, (_EPOCH, _EPOCH))
    folder.chmod(0o755)
    os.utime(folder, (_EPOCH, _EPOCH))


def write_zip(folder: Path, archive: Path) -> None:
    """The folder, sorted, with its executable marked as such even where the file system knows no modes."""
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
            name = path.relative_to(folder).as_posix()
            member = zipfile.ZipInfo(name + "/" * path.is_dir(), _TIME)
            member.create_system = 3  # Unix, which is what makes the modes count
            mode = 0o040755 if path.is_dir() else 0o100755 if name == "scf_bootstrap" else 0o100644
            member.external_attr = mode << 16 | 0x10 * path.is_dir()
            member.compress_type = zipfile.ZIP_STORED if path.is_dir() else zipfile.ZIP_DEFLATED
            out.writestr(member, b"" if path.is_dir() else path.read_bytes(), compresslevel=9)


def summary(archive: Path) -> str:
    """Sizes and hash, as printed."""
    with zipfile.ZipFile(archive) as made:
        members = [member for member in made.infolist() if not member.is_dir()]
    unpacked = sum(member.file_size for member in members)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    return (
        f"{archive.name}: {archive.stat().st_size / 1e6:.1f} MB zipped, {unpacked / 1e6:.1f} MB unpacked, "
        f"{len(members)} files\nSHA-256 {digest}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.package", description=__doc__.partition("\n")[0])
    parser.add_argument("--orders", action="store_true", help="with the packages of requirements-orders.txt")
    options = parser.parse_args()
    python = interpreters.find(VERSION)
    try:
        archive = make(ROOT, ROOT / "build", orders=options.orders, python=python)
    except Failed as failure:
        print(f"not packed: {failure}", file=sys.stderr)
        return 1
    print(summary(archive))
    if python is None:
        print(f"without byte code, for want of CPython {VERSION} here: every cold start compiles", file=sys.stderr)
    if os.name == "nt":
        print("upload the zip in the console: on Windows the CLI loses the mode of scf_bootstrap", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
