"""What a check of the traffic has to say at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence

from tests.openapi.check import Check, Difference
from tests.openapi.differences import Listed


class Report:
    """`lines` inform, `faults` fail the run. `is_whole`: all tests ran, so what did not occur is judged too."""

    def __init__(self, name: str, check: Check, listed: Sequence[Listed], *, is_whole: bool) -> None:
        sources = {Difference(*key, row.pointer, row.kind): row for row in listed for key in row.places()}
        self.title = f"traffic against {name}"
        self.lines = [_totals(check)]
        if is_whole:
            self.lines += _by_endpoint(check)
            self.lines += [f"nobody asked: {name}" for name in check.unexercised()]
        self.lines += [
            f"differs as listed: {_told(found)}: {count} times {sources[found].source}"
            for found, count in sorted(check.found.items())
            if found in sources
        ]
        self.faults = [
            f"difference that is not listed: {_told(found)}: {count} times, e.g. {check.examples[found]}"
            for found, count in sorted(check.found.items())
            if found not in sources
        ]
        if is_whole:
            self.faults += [
                f"listed difference that no longer occurs: {_told(key)}" for key in sources if key not in check.found
            ]
            if not check.requests or not check.answers:
                self.faults.append("a whole run without a request of the function or an answer of the sandbox")


def _totals(check: Check) -> str:
    return (
        f"checked: {check.requests.total()} requests of the function, {check.answers.total()} answers of the sandbox; "
        f"not checked: {check.spoilt.total()} answers spoilt on purpose, {check.others_requests} requests of others"
    )


def _by_endpoint(check: Check) -> list[str]:
    names = [endpoint.name for endpoint in check.description.endpoints]
    counts = (check.requests, check.answers, check.spoilt)
    return ["requests  answers  spoilt"] + [
        "{:8}  {:7}  {:6}  {}".format(*(count[name] for count in counts), name)
        for name in (*names, "elsewhere")
        if any(count[name] for count in counts)
    ]


def _told(difference: Difference) -> str:
    return f"{difference.endpoint}, {difference.part} {difference.pointer or '/'}: {difference.kind}"
