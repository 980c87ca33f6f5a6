"""What the README says is run: its curl lines, its commands, its tables against the code."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from config.settings import Settings
from routes.actions import ACTIONS
from sandbox import Sandbox
from services import order_service
from tests.support import ROOT, gunicorn

README = (ROOT / "README.md").read_text()
CURL_LINES = re.findall(r"^curl .*$", README, re.MULTILINE)
# What a variable is called where it is read; PORT and the reserved ones are of the server.
FIRST_COLUMNS = re.findall(r"^\| (`[^|]*`) \|", README, re.MULTILINE)
VARIABLES = {name for row in FIRST_COLUMNS for name in re.findall(r"`(\w+)`", row)}


def test_the_curl_lines_order_pay_and_query(tmp_path):
    assert len(CURL_LINES) == 3
    with Sandbox() as sandbox, gunicorn(sandbox.env(), tmp_path / "log") as function:
        sandbox.function = function.url
        answers = []
        for line in CURL_LINES:
            here = line.replace("http://127.0.0.1:3000", function.url).replace("http://127.0.0.1:8900", sandbox.url)
            assert here != line
            run = subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=20, check=True)
            answers.append(json.loads(run.stdout))
        ordered, paid, queried = answers
        assert ordered["code"] == 0
        assert ordered["data"]["data"]["package"].startswith("prepay_id=")
        assert [delivery["status"] for delivery in paid["deliveries"]] == [200]
        assert queried["data"]["data"]["trade_state"] == "SUCCESS"
        assert "handlerUnifiedTrigger - payment result: TEA_000001 SUCCESS" in function.log_text()


def test_every_action_and_every_variable_stands_in_a_table():
    assert set(ACTIONS) <= VARIABLES
    documented = VARIABLES - set(ACTIONS)
    known = set(re.findall(r"(\w+)=(?:set|unset)", repr(Settings.from_env({}))))
    assert len(known) > 20
    assert known <= documented


def test_the_order_service_methods_of_the_table_exist():
    section = README.split("## Your order handlers")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    methods = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    own = {name for name in vars(order_service.OrderService) if not name.startswith("_")}
    own -= {"rights", "needs_database"}  # set by create_app, and told by the class
    assert methods == own


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make (\w+)", README))))
def test_every_make_target_that_it_names_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(((?!http|#)[^)]+)\)", README))))
def test_every_file_that_it_links_to_exists(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("anchor", sorted(set(re.findall(r"\]\(#([^)]+)\)", README))))
def test_every_heading_that_it_links_to_exists(anchor):
    headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
