"""A `.env` that the CloudBase CLI reads in another way than the doctor does: found, named and mended.

tests/deploy/cloudbase_cli.py is how the CLI was found to read it, and the judge here.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from pathlib import Path

import hypothesis.strategies as st
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from dotenv import dotenv_values
from hypothesis import given, settings

from config import env_file
from config.settings import FIELDS, Settings
from sandbox import Credentials
from sandbox.credentials import private_pem
from tests.deploy import cloudbase_cli
from tests.doctor.clinic import API_V3_KEY, OPERATOR_KEY, production
from tests.doctor.test_command import WITHOUT, dotenv, run, told
from tests.support import ROOT

CONFIG = (ROOT / "cloudbaserc.json").read_text(encoding="utf-8")
SECRET = "mysql://shop:Tr0ub4dor-and-3-horses@10.0.0.3:3306/shop"


def here(text: str) -> dict[str, str]:
    """What the flask command reads: every variable that has a value."""
    values = dotenv_values(stream=io.StringIO(text))
    return {name: values[name] or "" for name in (*FIELDS, "ENV_ID") if values.get(name)}


def deployed(text: str) -> dict[str, object] | None:
    """What the CLI would deploy: every variable that has a value; None if it ends before."""
    try:
        config = cloudbase_cli.rendered(CONFIG, cloudbase_cli.dotenv(text))
    except ValueError:
        return None
    values = {**config["functions"][0]["envVariables"], "ENV_ID": config["envId"]}
    return {name: value for name, value in values.items() if value != ""}


def findings(text: str, given: Mapping[str, str] | None = None) -> dict[str, tuple[str, str, str]]:
    """Level, what is wrong and the remedy, by variable."""
    rows = list(env_file.examine(text, here(text) if given is None else given))
    assert len({row.variable for row in rows}) == len(rows)
    return {row.variable: (row.level, row.what, row.fix) for row in rows}


# The walk of a new user: what was passed with exit code 0, and what it is


def escaped(text: str) -> str:
    return text.strip().replace("\n", "\\n")


ENDS, ALONE = "would end with a JSON error", "Write its base64 alone, in one line, without quotes."
# Lines, the variable, what the CLI makes of it, and the remedy.
SHAPES = {
    "several lines in double quotes": ('privateKey="<key>"', "privateKey", ENDS, ALONE),
    "several lines in single quotes": ("privateKey='<key>'", "privateKey", "only the first would arrive", ALONE),
    r"\n in double quotes": ('privateKey="<escaped>"', "privateKey", ENDS, ALONE),
    "a comment behind a key": ("privateKey=<bare> # the shop's", "privateKey", "the comment would arrive", ALONE),
    "a comment": ("merchantId=1900000109  # shop", "merchantId", "the comment would arrive", "without quotes"),
    "a comment behind quotes": ('merchantId="1900000109" # shop', "merchantId", ENDS, "a comment behind it"),
    "a comment for a value": ("appId= # later", "appId", "the comment would arrive", "a comment behind it"),
    "export": (f"export apiV3Key={API_V3_KEY}", "apiV3Key", "nothing would arrive", "`export`"),
    "export of the environment": ("export ENV_ID=shop-1a2b3c", "ENV_ID", "nothing would arrive", "`export`"),
    "a name in quotes": (f"'apiV3Key'={API_V3_KEY}", "apiV3Key", "nothing would arrive", "apiV3Key=value alone"),
    'a "': (f'operatorKey={OPERATOR_KEY}"', "operatorKey", ENDS, "%22"),
    'a " in single quotes': (f"operatorKey='{OPERATOR_KEY}\"'", "operatorKey", ENDS, "%22"),
    "a lone \\": (f"operatorKey={OPERATOR_KEY}\\x", "operatorKey", ENDS, "%5C"),
    "a double \\": (f"operatorKey={OPERATOR_KEY}\\\\", "operatorKey", "not arrive as it stands", "%5C"),
    "a quote that is not closed": (f'operatorKey="{OPERATOR_KEY}', "operatorKey", ENDS, "%22"),
    "another variable": ("merchantId=19\noperatorIds=${merchantId}", "operatorIds", "just that", "value itself"),
    "JSON": ("operatorIds=[1]", "operatorIds", "not arrive as it stands", "alone in one line"),
    "nothing in JSON": ("operatorIds=null", "operatorIds", "not arrive as it stands", "alone in one line"),
    "a tab": ("operatorIds=a\tb", "operatorIds", ENDS, "alone in one line"),
}


def filled(line: str, pem: str) -> str:
    forms = {"<key>": pem.strip(), "<escaped>": escaped(pem), "<bare>": "".join(pem.splitlines()[1:-1])}
    for form, text in forms.items():
        line = line.replace(form, text)
    return line


@pytest.mark.parametrize("shape", SHAPES)
def test_what_the_cli_would_not_deploy_as_it_is_read_here(credentials: Credentials, shape: str) -> None:
    line, variable, outcome, fix = SHAPES[shape]
    text = "" if variable == "ENV_ID" else "ENV_ID=shop-1a2b3c\n"
    text += filled(line, private_pem(credentials.merchant.key)) + "\n"
    assert deployed(text) is None or deployed(text) != here(text)
    found = findings(text)
    assert list(found) == [variable]
    level, what, remedy = found[variable]
    assert level == "error"
    assert outcome in what
    assert fix in remedy


def test_a_value_of_five_thousand_brackets() -> None:
    level, what, _ = findings(f"ENV_ID=shop\noperatorIds={'[' * 5000}{']' * 5000}\n")["operatorIds"]
    assert (level, "not arrive as it stands" in what) == ("error", True)


def test_a_value_of_five_thousand_brackets_that_nobody_closes() -> None:
    """It is no JSON, so it arrives as the text it is."""
    assert findings(f"ENV_ID=shop\noperatorIds={'[' * 5000}\n") == {}


def test_without_the_environments_id() -> None:
    level, what, fix = findings("appId=wx0123456789abcdef\n")["ENV_ID"]
    assert (level, what) == ("warning", "is not in `.env`")
    assert "Environment Overview" in fix
    assert findings("appId=wx0123456789abcdef\n", {"ENV_ID": "shop-1a2b3c"}) == {}


def test_a_variable_given_twice() -> None:
    text = "ENV_ID=shop\nmerchantId=1900000001\nmerchantId={}\n"
    level, what, fix = findings(text.format("1900000109"))["merchantId"]
    assert (level, fix) == ("warning", "Leave one line of it.")
    assert "more than once" in what
    assert findings(text.format("1900000001")) == findings(text.format("'1900000001'")) == {}


def test_the_shell_goes_before_the_file() -> None:
    text = "ENV_ID=shop\nmerchantId=1900000001 # old\n"
    assert list(findings(text)) == ["merchantId"]
    assert findings(text, here(text) | {"merchantId": "1900000109"}) == {}


def test_what_no_template_asks_for_is_nobodys_business() -> None:
    assert findings('ENV_ID=shop\nNOTE="a\nb"\nexport EDITOR=vi # mine\n') == {}


# The model of the CLI and python-dotenv against the doctor

VALUES = [
    "1900000001", "a b", "a#b", "a #b", "#b", "a=b", "=", "", "中文", "a\tb", "a\nb", "a\r\nb", "{}", "[]", "null",
    'a"b', "a'b", r"a\"b", r"a\nb", r"a\\b", r"a\tb", "a\\", r"\u0041", "$appId", "${appId}", "{{env.appId}}",
]
LINES = [
    "{name}={value}", '{name}="{value}"', "{name}='{value}'", "{name}=`{value}`", " {name} = {value} ",
    "export {name}={value}", "{name}: {value}", "{name}={value} # c", '{name}="{value}" # c', "# {name}={value}",
]


def agree(text: str) -> bool:
    return deployed(text) == {name: value.strip() for name, value in here(text).items() if value.strip()}


def errors(text: str) -> list[str]:
    return [variable for variable, (level, _, _) in findings(text).items() if level == "error"]


@pytest.mark.parametrize("line", LINES)
def test_it_is_silent_exactly_where_both_read_the_same(line: str) -> None:
    different = 0
    for value, name, before in itertools.product(VALUES, ("merchantId", "ENV_ID"), ("", "\ufeff", "merchantId=1\n")):
        text = f"{before}appId=wx1\n{line.format(name=name, value=value)}\noperatorIds=o1\n"
        assert bool(errors(text)) is not agree(text), text
        different += not agree(text)
    assert different or line in ("{name}: {value}", "# {name}={value}")


assignments = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "export ", "# ", "\t", "'"]),
    st.sampled_from(["appId", "merchantId", "operatorIds", "ENV_ID", "other"]),
    st.sampled_from(["=", " = ", "= ", ":", "'="]),
    st.text("ab1 #'\"\\n\n\t$\r{}[],:=", max_size=8) | st.sampled_from(["null", '"a"', "'a'", "[1]", "`a`"]),
)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.lists(assignments, max_size=4).map("\n".join))
def test_whatever_stands_there(text: str) -> None:
    assert bool(errors(text)) is not agree(text)


def key_lines(pem: str) -> list[str]:
    bare = "".join(pem.strip().splitlines()[1:-1])
    forms = [pem, pem.strip(), escaped(pem), escaped(pem) + "\\n", bare, bare[:40] + "\n" + bare[40:], bare + "\\"]
    return [
        line.format(form)
        for form in forms
        for line in ("privateKey={}", 'privateKey="{}"', "privateKey='{}'", "privateKey={} # c", "export privateKey={}")
    ]


def test_a_key_is_right_exactly_where_it_arrives_as_the_key_that_is_read_here(credentials: Credentials) -> None:
    """Its line breaks may differ: the function mends them."""

    def parsed(values: Mapping[str, object] | None) -> RSAPrivateKey | None:
        return Settings.from_env({"privateKey": str((values or {}).get("privateKey", ""))}).private_key

    good = 0
    for line in key_lines(private_pem(credentials.merchant.key)):
        text = f"ENV_ID=shop\n{line}\n"
        mine, theirs = parsed(here(text)), parsed(deployed(text))
        if mine is None:  # the shape itself is wrong, as the doctor says elsewhere
            continue
        same = theirs is not None and mine.private_numbers() == theirs.private_numbers()
        assert bool(errors(text)) is not same, line[:40]
        good += same
    assert good >= 4


# The command


def test_a_good_file_has_no_finding(credentials: Credentials, tmp_path: Path) -> None:
    text = dotenv(production(credentials))
    (tmp_path / ".env").write_text(text)
    assert deployed(text) == here(text)
    process = run(tmp_path)
    assert process.stdout.endswith("\n0 errors, 0 warnings\n")
    assert "`.env`, as the CloudBase CLI reads it" in process.stdout
    assert "deploys" not in process.stderr


def test_the_command_finds_the_file_above_and_tells_no_secret(credentials: Credentials, tmp_path: Path) -> None:
    key = private_pem(credentials.merchant.key).strip()
    secrets = {"privateKey": key, "orderDatabaseUrl": SECRET, "apiV3Key": API_V3_KEY}
    good = production(credentials, operatorKey=OPERATOR_KEY, **dict.fromkeys(secrets))
    (tmp_path / ".env").write_text(
        f'{dotenv(good)}privateKey="{key}"\norderDatabaseUrl={SECRET} # Tr0ub4dor\nexport apiV3Key={API_V3_KEY}\n'
    )
    folder = tmp_path / "below"
    folder.mkdir()
    for arguments in ((), ("--json",)):
        process = run(folder, *arguments)
        assert process.returncode == 1
        output = process.stdout + process.stderr
        for secret in (*key.splitlines()[1:-1], "Tr0ub4dor", API_V3_KEY, OPERATOR_KEY):
            assert secret not in output
    found = told(process)
    assert [(finding["variable"], finding["level"]) for finding in found.findings] == [
        ("apiV3Key", "error"),
        ("privateKey", "error"),
        ("orderDatabaseUrl", "error"),
    ]


def test_a_key_cut_at_its_first_line_gets_the_same_remedy(credentials: Credentials, tmp_path: Path) -> None:
    """Without quotes both take the first line only, so the key itself is what is wrong."""
    variables = production(credentials)
    key = variables.pop("privateKey")
    (tmp_path / ".env").write_text(f"{dotenv(variables)}privateKey={key}")
    found = told(run(tmp_path, "--json")).the("privateKey")
    assert "Only the first line of the file has arrived" in found["fix"]
    assert "In `.env` write its base64 alone, in one line, without quotes." in found["fix"]


def test_variables_of_the_shell_alone(credentials: Credentials, tmp_path: Path) -> None:
    """A server's own environment is no `.env`: a key on several lines is right there."""
    found = told(run(tmp_path, "--json", env=production(credentials)))
    assert found.findings == []
    assert not [sentence for sentence in (*found.checked, *found.not_checked) if sentence.startswith("`.env`")]


def test_without_python_dotenv_the_file_is_not_read_and_that_is_said(credentials: Credentials, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("export ENV_ID=shop\n")
    launcher = ("-c", WITHOUT.replace('("sqlalchemy",', '("dotenv",'))
    variables = production(credentials, orderDatabaseUrl=None, orderService="services.order_service:OrderService")
    found = told(run(tmp_path, "--json", env=variables, launcher=launcher))
    assert found.findings == []
    assert [sentence for sentence in found.not_checked if "requirements-dev.txt" in sentence]
