"""Every block of docs/deploy.md is run, or, where it needs the cloud or root, held against what is known of it."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from config.settings import Settings
from routes.actions import ACTIONS
from sandbox import Sandbox
from tests.deploy import cloudbase_cli, package
from tests.not_run import PREFIX
from tests.support import OPERATOR_KEY, ROOT, in_process

TEXT = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
CLAIM = "<!-- checked: tests/deploy/test_deploy_docs.py -->"
BLOCKS = [
    (kind, re.sub(r"^ {3}", "", body, flags=re.M) if indent else body)
    for indent, kind, body in re.findall(r"^( *)```(\w+)\n(.*?)^ *```$", TEXT, re.M | re.S)
]
COMMANDS = [line.split("  #")[0].rstrip() for kind, body in BLOCKS if kind == "sh" for line in body.splitlines()]


def block(words: str) -> str:
    (found,) = [body for _, body in BLOCKS if words in body]
    return found


def commands(program: str) -> list[str]:
    found = [line for line in COMMANDS if re.match(rf"(sudo )?{re.escape(program)}\b", line)]
    assert found, program
    return found


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> tuple[Path, rsa.RSAPrivateKey, rsa.RSAPublicKey]:
    """A folder with the two files as they are downloaded, the second one from Windows."""
    folder = tmp_path_factory.mktemp("keys")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    theirs = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = theirs.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "apiclient_key.pem").write_bytes(private)
    (folder / "wxp_pub.pem").write_bytes(public.replace(b"\n", b"\r\n"))
    return folder, key, theirs


def test_every_block_is_claimed_and_no_command_is_of_a_program_that_nobody_checks():
    assert TEXT.count(CLAIM) == len(BLOCKS) == len(re.findall(r"^ *```\w+$", TEXT, re.M))
    assert len(re.findall(rf"{re.escape(CLAIM)}\n *```", TEXT)) == len(BLOCKS)
    known = {
        "echo", "python", "npm", "tcb", "make", "docker", "git", "rm", "useradd", "mkdir", "python3", "chown", "chmod",
        "cp", "systemctl", "curl", "nginx", "journalctl", "-u", "/opt/pay-common/.venv/bin/pip", "flask",
    }
    bare = [re.sub(r"^(?:sudo |\w+=\S* )*", "", line) for line in COMMANDS if not re.match(r"\w+='", line)]
    programs = {line.split()[0] for line in bare}
    assert programs == known


# What stands in the page for a value of one's own, and such a value.
OWN_VALUES = {
    "your-env-id": "tea-house-1a2b3c",
    "wx0123456789abcdef": "wx8f3a2b9c4d5e6f70",
    "1900000001": "1623847591",
    "0123456789ABCDEF0123456789ABCDEF01234567": "5E9A3C71D04B8F26A1C7E3925D60F8B4A7132C9E",
    "0123456789abcdef0123456789abcdef": "q7Zc2Lw9Xf4Rt8Yb3Nm6Kd1Hs5Jg0PvE",
    "PUB_KEY_ID_0119000000012026010100000000000000": "PUB_KEY_ID_0116238475912026031400382900001200",
    "pay.shop.example": "pay.tea-house.cn",
    "shop.example": "tea-house.cn",
    "shop:password": "shop:Tr0ub4d%40r-and-3",
    "operatorKey='…'": "operatorKey='9c41f07be2d85a6310ffb7c9e4a2d85631f07be2c941da6385b7ce4a2d9f0e13'",
}


def with_own_values(text: str) -> str:
    for sample, own in OWN_VALUES.items():
        text = text.replace(sample, own)
    return text


def doctor(folder: Path, line: str, env: dict[str, str] | None = None) -> dict[str, list]:
    """What the doctor says to a line of the page, in a folder where a `.env` may be; no other variable is set."""
    command = line.replace("flask --app app", f"{shlex.quote(sys.executable)} -m flask --app app") + " --json"
    clean = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
    run = subprocess.run(["sh", "-c", command], cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert run.stdout.startswith("{"), run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def shop(keys) -> Path:
    """A folder with the `.env` of the page: its block with own values, then its lines, run."""
    if shutil.which("openssl") is None:
        pytest.skip(f"{PREFIX}openssl is not installed")
    folder, *_ = keys
    (folder / ".env").write_text(with_own_values(block("ENV_ID=your-env-id")))
    subprocess.run(["sh", "-ec", block("apiclient_key.pem | tr")], cwd=folder, check=True)
    return folder


def test_no_line_of_the_page_empties_the_file():
    assert [line for line in COMMANDS if re.search(r"(?<!>)> *\.env", line)] == []


def test_the_whole_file_arrives_by_the_cli_and_is_the_shops(keys, shop):
    _, key, theirs = keys
    variables = cloudbase_cli.dotenv((shop / ".env").read_text())
    config = cloudbase_cli.rendered((ROOT / "cloudbaserc.json").read_text(), variables)
    assert config["envId"] == variables.pop("ENV_ID") == OWN_VALUES["your-env-id"]
    given = {name: value for name, value in config["functions"][0]["envVariables"].items() if value}
    assert given == variables
    assert len(given) == 13
    assert "The fourteen above need about 3." in TEXT
    # A deploy sends the names of the others too.
    assert 2700 < sum(len(name) + len(value) for name, value in config["functions"][0]["envVariables"].items()) < 3300
    settings = Settings.from_env(given)
    assert dict(settings.problems) == {}
    assert settings.private_key is not None
    assert settings.private_key.private_numbers() == key.private_numbers()
    assert settings.wxpay_public_key is not None
    assert settings.wxpay_public_key.public_numbers() == theirs.public_numbers()


def test_the_doctor_has_nothing_to_say_of_that_file(shop):
    assert doctor(shop, "flask --app app doctor")["findings"] == []


def test_the_doctor_has_nothing_to_say_of_either_of_two_functions(shop):
    """With what they need, and with what the private one has not to see in the same file."""
    more = "publicActions=wxpay_order_native\ncorsAllowOrigin=https://tea-house.cn\n"
    folder = shop / "two"
    folder.mkdir()
    (folder / ".env").write_text((shop / ".env").read_text() + more)
    private, public = block("callerHeaders=trusted flask").splitlines()
    assert doctor(folder, private)["findings"] == []
    assert public.endswith(" --online")  # asks the network: what it says offline is what is fixed for it
    assert doctor(folder, public.removesuffix(" --online"))["findings"] == []
    # What the lines set is what the configuration fixes, and leaves out.
    text = (ROOT / "examples" / "two-functions" / "cloudbaserc.json").read_text()
    for line, function in zip((private, public), json.loads(text)["functions"], strict=True):
        set_here = dict(word.split("=") for word in shlex.split(line) if "=" in word)
        for name, value in set_here.items():
            assert function["envVariables"].get(name, "") == value, name


def test_the_doctor_sees_what_the_lines_are_for(shop):
    without = doctor(shop, "callerHeaders=trusted flask --app app doctor")
    assert [finding["variable"] for finding in without["findings"]] == ["callerHeaders"]


def test_the_line_in_python_prints_the_same(keys):
    folder, *_ = keys
    line = block("python -c").replace("python ", f"{shlex.quote(sys.executable)} ", 1)
    printed = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=True).stdout
    body = "".join((folder / "apiclient_key.pem").read_text().splitlines()[1:-1])
    assert printed == f"privateKey={body}\n"


def test_the_table_of_shapes_is_what_the_cli_does():
    """Each row's claim by the model, which test_cloudbaserc.py holds against what was found."""
    config = (ROOT / "cloudbaserc.json").read_text()

    def arrives(line):
        return cloudbase_cli.rendered(config, cloudbase_cli.dotenv(line))["functions"][0]["envVariables"]

    key = "-----BEGIN-----\\nMIIE\\n-----END-----\\n"
    for quote in ("", "'"):
        assert arrives(f"privateKey={quote}{key}{quote}")["privateKey"] == key.replace("\\n", "\n")
    several = key.replace("\\n", "\n")
    for broken in (f'privateKey="{key}"', f'privateKey="{several}"'):
        with pytest.raises(ValueError, match="line 1"):
            arrives(broken)
    for quote in ("", "'"):
        assert arrives(f"privateKey={quote}{several}{quote}")["privateKey"] == f"{quote}-----BEGIN-----"
    for value in ("abc#def", "'abc#def'", "abc # def"):
        assert arrives(f"apiV3Key={value}")["apiV3Key"] == value.strip("'")
    assert arrives('apiV3Key=a\\"b\\\\c')["apiV3Key"] == 'a"b\\c'
    for line in ("export apiV3Key=abc", "apiV3Key: abc"):
        assert arrives(line)["apiV3Key"] == ""
    assert arrives("apiV3Key=null")["apiV3Key"] is None
    rows = re.findall(r"^\| (.*?) \| .* \|$", TEXT[TEXT.index("| in `.env` |") :].partition("\n\n")[0], re.M)
    assert len(rows) == 9  # a header and what is tried above; its rule has no spaces


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("tcb ")])
def test_the_cli_has_each_command_with_these_options(line):
    words = shlex.split(line)[1:]
    assert cloudbase_cli.refusal(words) is None
    for option, value in itertools.pairwise(words):
        if option == "--config-file":
            named = {function["name"] for function in json.loads((ROOT / value).read_text())["functions"]}
            assert {word for word in words if word.startswith("pay-")} <= named
            assert len(named & set(words)) == 1
        if option == "--dir":
            assert Path(value) == Path("build", package.NAME)


def test_a_command_that_the_cli_has_not_is_noticed():
    assert cloudbase_cli.refusal(["fn", "publish", "pay-common"]) == "no such command: fn publish pay-common"
    assert cloudbase_cli.refusal(["fn", "log", "pay-common", "--tail"]) == "fn log has no option --tail"
    assert cloudbase_cli.refusal(["fn", "code", "update"]) == "fn code update takes ['<name>']"
    assert cloudbase_cli.refusal(["fn", "log", "x", "--limit"]) == "fn log --limit needs a value"


def test_the_version_that_is_installed_is_the_one_that_was_looked_at():
    (line,) = commands("npm")
    assert line == f"npm install -g {cloudbase_cli.COMMANDS['program']}@{cloudbase_cli.COMMANDS['version']}"


@pytest.mark.parametrize("line", sorted(set(commands("make"))))
def test_make_knows_the_target(line):
    if shutil.which("make") is None:
        pytest.skip("not run: make")
    run = subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "tests.deploy.package" in run.stdout


def test_the_image_is_built_with_arguments_that_the_dockerfile_has():
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", (ROOT / "Dockerfile").read_text(), re.M))
    given = re.findall(r"--build-arg (\w+)=(\S+)", TEXT)
    assert {name for name, _ in given} == set(arguments) == {"PORT", "REQUIREMENTS"}
    assert dict(given)["PORT"] == "9000"
    assert all((ROOT / value).is_file() for name, value in given if name == "REQUIREMENTS")
    tags = set(re.findall(r"ccr\.ccs\.tencentyun\.com/\S+?:[\w.]+", TEXT))
    assert len(tags) == 1
    image = json.loads(block("CustomImage"))
    assert image["imageConfig"]["imageUri"] in tags
    assert image["imageConfig"]["imagePort"] == 9000


def test_the_exported_folder_has_what_the_dockerfile_copies_and_no_key(tmp_path):
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not run: git, and a clone")
    clone = tmp_path / "clone"
    made = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--depth=1", f"file://{ROOT}", str(clone)]
    subprocess.run(made, check=True, capture_output=True)
    for name in (".env", "apiclient_key.pem"):
        (clone / name).write_text("secret")
    export = block("git archive HEAD | tar").splitlines()
    assert export[-1].endswith("--source build/image")
    subprocess.run(["sh", "-ec", "\n".join(export[:-1])], cwd=clone, check=True)
    there = {path.name for path in (clone / "build" / "image").iterdir()}
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    assert {name for line in copied for name in line.split()} | {"Dockerfile"} <= there
    assert not {".env", "apiclient_key.pem", ".git"} & there


def test_the_variables_of_the_server_are_complete_and_mean_the_same_to_the_shell(keys, tmp_path):
    folder, key, _ = keys
    text = block("callerHeaders='ignored'")
    for name, file in (("MIIE…", "apiclient_key.pem"), ("MIIB…", "wxp_pub.pem")):
        text = text.replace(name, "".join((folder / file).read_text().splitlines()[1:-1]))
    # Left as it stands, the operator's key of the page is nobody's.
    assert "operatorKey" in Settings.from_env(dict(re.findall(r"^(\w+)='([^']*)'$", text, re.M))).problems
    text = with_own_values(text)
    (tmp_path / "env").write_text(text)
    shell = ["env", "-i", "sh", "-ec", f"set -a; . {tmp_path}/env; exec {sys.executable} -c 'import os, json;"]
    shell[-1] += " print(json.dumps(dict(os.environ)))'"
    told = json.loads(subprocess.run(shell, capture_output=True, text=True, check=True).stdout)
    assert doctor(tmp_path, "flask --app app doctor", told)["findings"] == []
    settings = Settings.from_env(told)
    assert dict(settings.problems) == {}
    assert settings.lacking({"appId", "merchantId", "privateKey", "apiV3Key", "notifyURLPayURL"}) == []
    assert settings.private_key is not None
    assert settings.private_key.private_numbers() == key.private_numbers()
    assert settings.public_actions <= ACTIONS.keys()
    # systemd: a value in single quotes is what stands between them.
    by_systemd = dict(re.findall(r"^(\w+)='([^']*)'$", text, re.M))
    assert by_systemd == {name: told[name] for name in by_systemd}
    assert len(by_systemd) == len(text.splitlines())


def test_the_files_that_are_copied_are_there_and_go_where_they_say_themselves():
    for line in commands("cp"):
        _, _, source, target = line.split()
        first = (ROOT / source).read_text().partition("\n")[0]
        assert first.startswith(f"# {target}{Path(source).name}:"), line


def test_the_servers_paths_are_the_units():
    unit = (ROOT / "examples" / "nginx" / "pay-common.service").read_text()
    assert "WorkingDirectory=/opt/pay-common\n" in unit
    assert "EnvironmentFile=/etc/pay-common.env\n" in unit
    assert "User=pay-common\n" in unit
    (line,) = commands("/opt/pay-common/.venv/bin/pip")
    assert line.endswith(" -r requirements-orders.txt")
    assert "sqlite:////var/lib/pay-common/" in block("callerHeaders='ignored'")
    assert "StateDirectory=pay-common\n" in unit


def test_the_lines_for_the_database_make_its_tables_reconcile_and_ask_the_doctor(tmp_path):
    (tmp_path / "opt").symlink_to(ROOT)
    with Sandbox(sign_mode="sdk") as sandbox:
        values = sandbox.env(orderDatabaseUrl=f"sqlite:///{tmp_path}/orders.sqlite3", operatorKey=OPERATOR_KEY)
        # As a process the doctor has no way to callback addresses that are the sandbox's.
        values = {name: value for name, value in values.items() if "otify" not in name}
        (tmp_path / "env").write_text("".join(f"{name}='{value}'\n" for name, value in values.items()))

        def run(line):
            here = line.replace("/etc/pay-common.env", f"{tmp_path}/env").replace("/opt/pay-common", f"{tmp_path}/opt")
            here = here.replace(".venv/bin/flask", f"{sys.executable} -m flask")
            command = ["env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", here]
            return subprocess.run(command, capture_output=True, text=True, check=False)

        made, asked = commands("-u")
        for line in (made, asked):
            words = shlex.split(line)
            assert words[:-1] == ["sudo", "-u", "pay-common", "sh", "-c"]
        done = run(shlex.split(made)[-1])
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "orders.sqlite3").exists()
        schedule = block("* * * * *").split(maxsplit=6)
        assert schedule[:6] == [*"*****", "pay-common"]
        done = run(schedule[6])
        assert done.returncode == 0, done.stderr
        assert "checked" in done.stdout
        told = run(shlex.split(asked)[-1]).stdout
    assert re.findall(r"^  (\w+) is not set$", told, re.M) == ["notifyURLPayURL", "notifyURLRefundsURL"]
    assert told.rstrip().endswith("1 error, 1 warning")
    for asked_about in ("WeChat Pay accepts the signature", "orderDatabaseUrl: the tables are there"):
        assert asked_about in told


ROLLED_BACK = """
package:
\tmkdir -p build/pay-common && cp version build/pay-common/ && test "$$(cat version)" != broken
"""


def test_rolling_back_sends_the_older_package_or_nothing(tmp_path):
    """The line itself, in a repository of three commits, with a `tcb` that notes what it is given."""
    if not all(map(shutil.which, ("git", "make"))):
        pytest.skip(f"{PREFIX}git or make is not installed")
    line = block("git checkout COMMIT").strip()
    shop, programs = tmp_path / "shop", tmp_path / "bin"
    for folder in (shop, programs):
        folder.mkdir()
    (programs / "tcb").write_text('#!/bin/sh\necho "$@" $(cat build/pay-common/version) >> ../sent\n')
    (programs / "tcb").chmod(0o755)
    env = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path)}

    def run(*command):
        return subprocess.run(command, cwd=shop, env=env, capture_output=True, text=True, check=False)

    git = ("git", "-c", "user.name=shop", "-c", "user.email=shop@shop.example")
    assert run(*git, "init", "--quiet", "--initial-branch=main").returncode == 0
    (shop / "Makefile").write_text(ROLLED_BACK)
    (shop / ".gitignore").write_text("build/\n")
    commits = {}
    for version in ("broken", "old", "new"):
        (shop / "version").write_text(version)
        run(*git, "add", ".")
        assert run(*git, "commit", "--quiet", "-m", version).returncode == 0
        commits[version] = run("git", "rev-parse", "HEAD").stdout.strip()
    assert run("make", "package").returncode == 0
    assert run("sh", "-c", line.replace("COMMIT", commits["broken"])).returncode != 0
    assert run("sh", "-c", line.replace("COMMIT", "0" * 40)).returncode != 0
    assert not (tmp_path / "sent").exists()
    assert run("sh", "-c", line.replace("COMMIT", commits["old"])).returncode == 0
    sent = (tmp_path / "sent").read_text().split()
    assert sent[-1] == "old"
    assert cloudbase_cli.refusal(sent[:-1]) is None
    assert run("git", "switch", "--quiet", "main").returncode == 0
    assert "`git switch main`" in TEXT


def test_the_timer_gets_its_variables_from_the_same_file_and_its_folder_alone_is_sent(shop):
    (noted, deployed, logged) = block("pay-timer --config-file").splitlines()
    folder = shop / "timer"
    folder.mkdir()
    (folder / ".env").write_text((shop / ".env").read_text())
    subprocess.run(["sh", "-ec", noted], cwd=folder, check=True)
    variables = cloudbase_cli.dotenv((folder / ".env").read_text())
    file = deployed.split()[-1]
    config = cloudbase_cli.rendered((ROOT / file).read_text(), variables)
    (function,) = config["functions"]
    assert function["name"] == deployed.split()[3] == logged.split()[3]
    assert function["envVariables"] == {
        "PAY_OPERATOR_KEY": variables["operatorKey"],
        "CLOUDBASE_APIKEY": "your-server-api-key",
        "PAY_FUNCTION": json.loads((ROOT / "cloudbaserc.json").read_text())["functions"][0]["name"],
    }
    assert config["envId"] == variables["ENV_ID"]
    # The CLI takes `dir` from where it is called, not from where the file is.
    assert ROOT / cloudbase_cli.code_folder(config, function["name"], "fn deploy") == (ROOT / file).parent
    assert {".env", ".env.*"} <= set(function["ignore"])
    # The line more is none of the function's variables, and the doctor does not mind it.
    assert doctor(folder, "flask --app app doctor")["findings"] == []


def test_the_doctor_takes_the_options_that_are_given_here():
    named = set(re.findall(r"`flask --app app doctor (--\w+)", TEXT))
    assert named == {"--online"}
    command = [sys.executable, "-m", "flask", "--app", "app", "doctor", "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert named <= set(re.findall(r"--\w+", told))


def test_the_private_network_is_given_as_the_cli_sends_it():
    assert json.loads(block("vpcId")).keys() == {"vpc"}
    assert json.loads(block("vpcId"))["vpc"].keys() == {"vpcId", "subnetId"}


def test_the_table_of_two_functions_is_their_configuration():
    text = (ROOT / "examples" / "two-functions" / "cloudbaserc.json").read_text()
    private, public = json.loads(text)["functions"]
    assert f"| | `{private['name']}` | `{public['name']}` |" in TEXT
    one, other = (each["envVariables"]["callerHeaders"] for each in (private, public))
    assert f"| `callerHeaders` | `{one}` | `{other}` |" in TEXT


def test_the_log_line_of_the_checklist_is_the_functions():
    code = (ROOT / "services" / "order_service.py").read_text()
    assert "payment result: " in TEXT
    assert "payment result: " in code
    assert "problems: %s" in (ROOT / "app.py").read_text()


@pytest.mark.parametrize("prefix", ["/wx-pay", "", "/x/wx-pay"])
def test_a_callback_is_known_as_one_with_the_routes_prefix_or_without(prefix):
    with Sandbox(sign_mode="sdk") as sandbox, in_process(sandbox.env()) as function:
        reply = function.post(f"{prefix}/unifiedOrderTrigger", {"id": "1", "event_type": "TRANSACTION.SUCCESS"})
        assert (reply.status // 100, reply.body["code"]) == (4, "FAIL")
