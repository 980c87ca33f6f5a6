"""Every target over its corpus and over ten seconds of random mutations of it, the same ones in each run.

Coverage-guided runs are commands: see README.md. A finding prints its input and the command that feeds it again.
"""

from __future__ import annotations

import pytest

from tests.fuzz import engine

SECONDS = 10.0
LARGEST, MOST = 200_000, 60  # bytes and files of one corpus


@pytest.mark.parametrize("name", engine.TARGETS)
def test_nothing_is_found(name: str):
    replayed = engine.execute(name, [*engine.corpus(name), *engine.target(name).seeds()])
    executions = engine.execute(name, engine.mutations(name, seed=1), seconds=SECONDS, executions=replayed)
    assert executions > replayed


@pytest.mark.parametrize("name", engine.TARGETS)
def test_the_corpus_is_there_and_small(name: str):
    kept = engine.corpus(name)
    assert 0 < len(kept) <= MOST
    assert sum(map(len, kept)) <= LARGEST


def test_mutations_are_the_same_in_every_run():
    first, again, other = (engine.mutations("strict_json", seed) for seed in (1, 1, 2))
    inputs = [next(first) for _ in range(50)]
    assert inputs == [next(again) for _ in range(50)]
    assert inputs != [next(other) for _ in range(50)]


def test_a_finding_names_its_input_and_how_to_feed_it_again(monkeypatch: pytest.MonkeyPatch):
    def run(data: bytes) -> None:
        assert data != b"\x01\xff", "broken"

    monkeypatch.setattr(engine.target("self_test"), "run", run)
    with pytest.raises(engine.Finding, match="broken") as found:
        engine.execute("self_test", [b"\x00", b"\x01\xff", b"\x02"])
    assert (found.value.data, found.value.executions) == (b"\x01\xff", 2)
    assert "python -m tests.fuzz self_test --hex 01ff" in str(found.value)


def test_an_input_that_takes_too_long_is_a_finding(monkeypatch: pytest.MonkeyPatch):
    def run(data: bytes) -> None:
        try:
            while True:
                pass
        except Exception:  # noqa: BLE001 - as a catch-all of the product would
            return

    monkeypatch.setattr(engine, "MAX_CPU", 0.2)
    monkeypatch.setattr(engine.target("self_test"), "run", run)
    with pytest.raises(engine.Finding) as found:
        engine.execute("self_test", [b"\x00"])
    assert isinstance(found.value.cause, engine.Hang)
