"""`python -m sandbox`: a WeChat Pay of one's own, until interrupted. `python -m sandbox play`: stories."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from sandbox import journal, stories
from sandbox.core import SIGN_MODES, Sandbox
from sandbox.credentials import write_private
from sandbox.keys import KEY_MODES
from sandbox.server import is_loopback

TOLD_TWICE = "--i-know-this-is-not-loopback"


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["play"]:
        return stories.main(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    if not is_loopback(options.host) and not options.not_loopback:
        parser.error(
            f"--host {options.host} is reachable by others, who could then do anything here; "
            f"give {TOLD_TWICE} as well if that is meant"
        )
    if options.journal:
        os.environ[journal.VARIABLE] = str(options.journal)
    try:
        sandbox = Sandbox(
            options.function,
            options.sign_mode,
            options.key_mode,
            options.state,
            address=options.host,
            port=options.port,
            backup_port=options.port and options.backup_port,
            https_port=options.port and options.https_port,
            forward_path=options.forward_path or None,
            running=not options.manual_clock,
            limits=not options.no_limits,
        )
    except (OSError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    env_file = options.state / "function.env"
    write_private(env_file, _shell(sandbox.whole_env()))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with sandbox:
        print(_welcome(sandbox, env_file), flush=True)
        stop.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="The other side of WeChat Pay APIv3 on this machine: it checks every signature, keeps "
        "orders, refunds and transfers, signs its answers, notifies the function, plays CloudBase's "
        "Integration Center and API gateway, and misbehaves on request. No money, no account, no network. "
        "`python -m sandbox play` tells stories instead.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--port", type=_port, default=8900, help="main host and control API; 0 takes free ones for all")
    parser.add_argument("--backup-port", type=_port, default=8901, help="backup host; 0 takes a free one")
    parser.add_argument("--https-port", type=_port, default=8943, help="both hosts over TLS; 0 takes a free one")
    parser.add_argument("--function", default="http://127.0.0.1:9000", help="base URL of the function")
    parser.add_argument(
        "--sign-mode",
        choices=SIGN_MODES,
        default="gateway",
        help="who notifies the function: the Integration Center, or WeChat Pay itself",
    )
    parser.add_argument("--key-mode", choices=KEY_MODES, default="public_key", help="how WeChat Pay signs")
    parser.add_argument(
        "--forward-path",
        default="/",
        metavar="PATH",
        help="where the Integration Center posts; empty: the path of the notify_url",
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(".sandbox"),
        metavar="DIR",
        help="folder of the generated credentials and of function.env",
    )
    parser.add_argument(
        "--journal", type=Path, metavar="FILE", help="append every exchange with WeChat Pay, one JSON object a line"
    )
    parser.add_argument(
        "--manual-clock", action="store_true", help="what is due happens only when the clock is advanced"
    )
    parser.add_argument("--no-limits", action="store_true", help="never refuse calls for being too fast")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on")
    parser.add_argument(
        TOLD_TWICE,
        dest="not_loopback",
        action="store_true",
        help="needed with a --host that others can reach",
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is 0 to 65535, not {text}")
    return int(text)


def _shell(variables: dict[str, str]) -> str:
    lines = []
    for name, value in variables.items():
        one_line = value.strip().replace("\n", "\\n")
        quoted = one_line.replace("'", "'\\''")
        lines.append(f"{name}='{quoted}'\n")
    return "".join(lines)


def _welcome(sandbox: Sandbox, env_file: Path) -> str:
    return "\n".join(
        (
            "WeChat Pay sandbox: invented merchant, no real money.",
            f"  WeChat Pay, main host    {sandbox.url}",
            f"  WeChat Pay, backup host  {sandbox.backup_url}",
            f"  both over TLS            {sandbox.https_url}, vouched for by {sandbox.ca}",
            f"  as a proxy               {sandbox.url}, for api.mch.weixin.qq.com and its like only",
            f"  API gateway              {sandbox.url}/v1/functions/<name>?webfn=true",
            f"  page                     {sandbox.url}/",
            f"  control API              {sandbox.url}/sandbox/state",
            f"  notifies the function at {sandbox.function}",
            f"  modes                    {sandbox.sign_mode}, {sandbox.keys.key_mode}",
            f"  merchant                 {sandbox.credentials.merchant_id}, app {sandbox.credentials.app_id}",
            f"  the function's variables {env_file}",
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
