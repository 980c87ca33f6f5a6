"""What enters an image: .dockerignore read as builders read it, and the Dockerfile's own refusal."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy import package
from tests.deploy.test_package import STRANGE

ROOT = package.ROOT
LINES = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COPIED = [name for names in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.M) for name in names.split()]
FOLDERS = [*package.ROOMS, "services/orders/migrations/versions", "services/shop", "config/shop/deep"]
HIDDEN = [".env", ".git/config", "config/.env", "services/.env.json", "services/shop/.idea/x.json", "utils/.a/b/c.py"]
ELSEWHERE = [
    "apiclient_key.pem", "prod.env", "notes.txt", "cloudbaserc.json", "build/pay-common/app.py", "docs/openapi.json",
    "tests/deploy/package.py", ".venv/lib/x.py", "configs/x.py", "examples/two-functions/cloudbaserc.json",
]


def matches(pattern: str, path: str) -> bool:
    """As Docker's reference has it: `**` stands for any number of folders, `*` for anything within one name."""
    parts = re.split(r"(\*\*/|\*\*|\*)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return re.fullmatch("".join(meaning.get(part) or re.escape(part) for part in parts), path) is not None


def by_any_parent(pattern: str, path: str) -> bool:
    """BuildKit: what is excluded with a folder is all that is in it."""
    parts = path.split("/")
    return any(matches(pattern, "/".join(parts[:length])) for length in range(1, len(parts) + 1))


def by_one_parent(pattern: str, path: str) -> bool:
    """The older matcher, which others still use: of the folders above only the one as deep as the pattern counts."""
    parts, depth = path.split("/"), pattern.count("/") + 1
    return matches(pattern, path) or matches(pattern, "/".join(parts[:depth]))


@pytest.fixture(params=[by_any_parent, by_one_parent])
def enters(request: pytest.FixtureRequest) -> Callable[[str], bool]:
    def decide(path: str) -> bool:
        """The last line that fits counts."""
        fitting = [line for line in LINES if request.param(line.lstrip("!"), path)]
        return not fitting or fitting[-1].startswith("!")

    return decide


def with_suffixes() -> list[str]:
    return [f"{folder}/mine{suffix}" for folder in FOLDERS for suffix in package.SUFFIXES]


def test_what_the_package_takes_enters_the_image(enters):
    found = [path for room in package.ROOMS for path in package._room_files(ROOT, ROOT / room)]
    ours = [path.relative_to(ROOT).as_posix() for path in found]
    assert len(ours) > 50
    assert [name for name in (*ours, *with_suffixes()) if not enters(name)] == []


def test_the_files_that_are_copied_enter_and_there_are_no_others(enters):
    files = [name for name in COPIED if name not in package.ROOMS]
    assert set(files) == {*package.FILES, "requirements-orders.txt"} - {"scf_bootstrap"}
    assert [name for name in files if not enters(name) or not (ROOT / name).is_file()] == []
    there = [path.relative_to(ROOT).as_posix() for path in ROOT.iterdir() if path.is_file()]
    assert {name for name in there if enters(name)} == set(files)


@pytest.mark.parametrize("name", [*STRANGE, *HIDDEN, *ELSEWHERE])
def test_what_the_package_does_not_take_stays_out(enters, name):
    if Path(name).name == "id_rsa":
        assert enters(name), "no pattern tells it from a folder: the Dockerfile refuses it, see below"
    else:
        assert not enters(name)


def test_no_folder_of_a_room_is_excluded_because_some_builders_do_not_look_into_it(enters):
    assert [folder for folder in FOLDERS if not enters(folder)] == []


def test_each_suffix_is_named_once_for_each_room_and_no_other_is():
    named = re.findall(r"^!(\w+)/\*\*/\*(\.\w+)$", "\n".join(LINES), re.M)
    assert named == [(room, suffix) for room in package.ROOMS for suffix in package.SUFFIXES]


# --- the Dockerfile


def refusal(folder: Path) -> subprocess.CompletedProcess[str]:
    (command,) = re.findall(r"^RUN (! find .*?[^\\])$", DOCKERFILE, re.M | re.S)
    return subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def rooms(tmp_path):
    for name in with_suffixes():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    for room in package.ROOMS:
        (tmp_path / room).mkdir(exist_ok=True)
    return tmp_path


def test_rooms_with_nothing_else_are_built(rooms):
    done = refusal(rooms)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", STRANGE)
def test_a_room_with_anything_else_ends_the_build_by_its_name(rooms, name):
    (rooms / name).parent.mkdir(parents=True, exist_ok=True)
    (rooms / name).write_text("secret")
    done = refusal(rooms)
    assert (done.returncode, done.stdout) == (1, f"{name}\n")


def test_a_link_to_a_key_ends_it_too(rooms):
    (rooms / "config" / "id_rsa").symlink_to("/etc/hostname")
    assert refusal(rooms).returncode == 1
