"""`flask --app app doctor`: what is wrong with the settings, for a person, or with `--json` for machines."""

from __future__ import annotations

import json
import logging
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import click

from services.doctor.report import ERROR, Finding, Report
from utils.logs import redact

CERTIFICATE = "apiclient_cert.pem"
WIDTH = 100


class Diagnose(Protocol):
    def __call__(self, *, certificate: tuple[str, str] | None, env_file: str | None, online: bool) -> Report: ...


def command(diagnose: Diagnose) -> click.Command:
    """The command; `certificate` is the name and the text of a file, `env_file` a text."""

    @click.command()
    @click.option("--online", is_flag=True, help="Ask WeChat Pay and your own callback addresses too.")
    @click.option(
        "--certificate",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"Compare the settings with this file; by default {CERTIFICATE} beside .env or here, if it is there.",
    )
    @click.option("--json", "json_", is_flag=True, help="JSON instead of text.")
    def doctor(online: bool, certificate: Path | None, json_: bool) -> None:
        """Say what is wrong with the settings, why it matters, and what to do. Exit code 1 when there is an error."""
        logging.getLogger("pay").setLevel(logging.CRITICAL)  # what its lines would tell is told here
        env_file = _env_file()
        file = certificate or _certificate(env_file)
        report = diagnose(
            certificate=(file.name, _text(file)) if file else None,
            env_file=_text(env_file) if env_file else None,
            online=online,
        )
        report = _without_secrets(report)
        click.echo(_json(report) if json_ else _encodable("\n".join(_lines(report))))
        if report.is_ill:
            sys.exit(1)

    return doctor


def _env_file() -> Path | None:
    """The one that the flask command has read."""
    here = Path.cwd()
    return next((file for folder in (here, *here.parents) if (file := folder / ".env").is_file()), None)


def _certificate(env_file: Path | None) -> Path | None:
    folders = [env_file.parent, Path.cwd()] if env_file else [Path.cwd()]
    return next((file for folder in folders if (file := folder / CERTIFICATE).is_file()), None)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise click.FileError(str(file), error.strerror) from error


def _without_secrets(report: Report) -> Report:
    """No finding holds one; what WeChat Pay and a database driver say is not ours."""
    return Report(
        [Finding(*map(redact, finding)) for finding in report.findings],
        [redact(sentence) for sentence in report.checked],
        [redact(sentence) for sentence in report.not_checked],
    )


def _json(report: Report) -> str:
    return json.dumps(
        {
            "findings": [finding._asdict() for finding in report.findings],
            "checked": report.checked,
            "not_checked": report.not_checked,
        },
        indent=2,
    )


def _encodable(text: str) -> str:
    """Whatever encoding a console or file has: better a question mark than no report."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _lines(report: Report) -> Iterator[str]:
    errors = [finding for finding in report.findings if finding.level == ERROR]
    warnings = [finding for finding in report.findings if finding.level != ERROR]
    for title, findings in (("Errors", errors), ("Warnings", warnings)):
        if findings:
            yield title
        for finding in findings:
            yield from _finding(finding)
    for title, sentences in (("Checked", report.checked), ("Not checked", report.not_checked)):
        if sentences:
            yield title
            for sentence in sentences:
                yield from _wrapped(sentence, "  ", "    ")
            yield ""
    yield f"{len(errors)} error{'s' * (len(errors) != 1)}, {len(warnings)} warning{'s' * (len(warnings) != 1)}"


def _finding(finding: Finding) -> Iterator[str]:
    yield from _wrapped(f"{finding.variable} {finding.what}", "  ", "    ")
    yield from _wrapped(finding.why, "    why: ", "         ")
    yield from _wrapped(finding.fix, "    fix: ", "         ")
    yield ""


def _wrapped(text: str, first: str, others: str) -> list[str]:
    """Commands and addresses stay in one piece."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
