"""Side effects that happen once: an event is a row of the transaction that caused it, and delivered from there.

Whoever delivers has leased the row: one that is to be delivered at once is born with its lease, so that nothing is
written between its transaction and its hook. A delivery that failed comes again after a growing pause, and after the
last try the event is dead, which is an incident, until somebody replays it. A crash between a hook and its mark makes
the hook run again, with the same event id: at least once, and once for whoever looks at the id.
"""

from __future__ import annotations

import contextvars
import json
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, select, update

from services.merchant_code import DatabaseFailed, contained, is_kept
from services.orders.columns import now
from services.orders.database import Transaction
from services.orders.facts import Incident, Row
from services.orders.schema import events
from services.orders.states import PENDING
from services.orders.store import Store
from services.pay_service import protect_people
from utils import processor
from utils.logs import protect, redact

DONE, DEAD = "DONE", "DEAD"
LEASE = 60.0  # seconds for one hook; another instance may run a longer one again
MAX_TRIES = 24
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0  # seconds; about 14 hours for all tries: a night
FURTHEST = timedelta(seconds=2 * LONGEST_PAUSE)  # ahead; what is due later was put off by a wrong clock
BATCH = 10
MARK_TRIES = 3
AT_ONCE = 32  # hooks of callbacks; of a slow one the others are left to the next run

_BORN = select(events).where(
    events.c.id.in_(bindparam("identifiers", expanding=True)),
    events.c.lease == bindparam("token"),
    events.c.next_at > bindparam("soonest"),
)

Hook = Callable[[dict[str, Any]], Any]

log = logging.getLogger("pay.orders")


class NotDelivered(Exception):
    """A hook that did not return None, True or a mapping whose `code` is SUCCESS."""


class Outbox:
    """`hooks` map an event's type to what is called with its payload and `event_id`."""

    def __init__(self, store: Store, hooks: Mapping[str, Hook]) -> None:
        self._store = store
        self._database = store.database
        self._hooks = hooks
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._held_now: set[str] = set()

    def run_and_deliver(self, work: Callable[[Transaction], None], deadline: float) -> None:
        """`work` in a transaction; then, until `deadline` (`time.monotonic()`), the hooks of what it brought about.

        What is not finished then goes on while it can; if it cannot, a later run finds it when its lease is over. What
        comes about in a transaction that is open already, too late, or when there is no place for it, is due at once
        for the next run. Raises what Database.run raises.
        """
        if self._database.in_transaction:
            self._database.run(work)
            return
        created: list[str] = []
        token, has_place = secrets.token_hex(16), False

        def lease() -> Mapping[str, Any]:
            nonlocal has_place
            has_place = has_place or (time.monotonic() < deadline and self._places.acquire(blocking=False))
            return {**_leased(token), "attempts": 1} if has_place else {}

        def leasing(tx: Transaction) -> None:
            nonlocal created
            created, tx.lease = tx.events, lease
            work(tx)

        try:
            self._database.run(leasing)
        except BaseException as error:
            if has_place:  # a COMMIT of which the answer was lost may have been made
                self._begin(created if isinstance(error, DatabaseFailed) else [], token)
            raise
        thread = self._begin(created, token) if has_place else None
        if thread:
            with processor.waiting():
                thread.join(max(0.0, deadline - time.monotonic()))

    def run(self, *, limit: int = 1000, seconds: float = 30.0) -> dict[str, int]:
        """Deliver what is due: at most `limit` events, none begun after `seconds`; returns counts by outcome."""
        counts = {"delivered": 0, "failed": 0, "dead": 0}
        self._database.run(_bring_back)
        until = time.monotonic() + seconds
        left = limit
        while left > 0 and time.monotonic() < until:
            claimed_at = time.monotonic()
            token, claimed = self._claim(min(BATCH, left))
            if not claimed:
                break
            left -= len(claimed)
            for outcome in self._deliver_all(claimed, token, min(until, claimed_at + LEASE / 2)):
                counts[outcome] += 1
        return counts

    def replay(self, identifier: str) -> bool:
        """Make a dead or delivered event due again, under the same id; False where there is none."""
        values = {"state": PENDING, "attempts": 0, "next_at": now(), "lease": None, "last_error": None, "done_at": None}
        statement = update(events).where(events.c.id == identifier).values(values)
        return bool(self._database.run(lambda tx: tx.connection.execute(statement).rowcount))

    def _begin(self, identifiers: Sequence[str], token: str) -> threading.Thread | None:
        """A thread that delivers what was born with this lease; the place taken for it is given back at its end."""
        if identifiers:
            run = contextvars.copy_context().run
            arguments = (self._deliver_new, identifiers, token)
            thread = threading.Thread(target=run, args=arguments, name="outbox", daemon=True)
            try:
                thread.start()
                return thread
            except RuntimeError:  # no thread to be had: a run delivers when the lease is over
                pass
        self._places.release()
        return None

    def _deliver_new(self, identifiers: Sequence[str], token: str) -> None:
        try:
            until = time.monotonic() + LEASE / 2
            self._deliver_all(self._born(identifiers, token), token, until)
        except Exception:
            log.exception("events could not be delivered at once; a delivery run does it when their lease is over")
        finally:
            self._places.release()

    def _born(self, identifiers: Sequence[str], token: str) -> list[Row]:
        with self._database.reading() as connection:
            # One that has come late to its hook, in an instance that stood still, leaves it to whoever leases it next.
            wanted = {"identifiers": identifiers, "token": token, "soonest": now() + timedelta(seconds=LEASE / 2)}
            found = connection.execute(_BORN, wanted).mappings()
            rows: list[Row] = [dict(row) for row in found]
        if len(rows) < len(identifiers):
            missing = len(identifiers) - len(rows)
            log.warning("%d of %d events are not there to be delivered at once", missing, len(identifiers))
        return rows

    @contextmanager
    def _held(self, rows: Sequence[Row]) -> Iterator[None]:
        """No other run of this process takes them meanwhile, although a clock that jumps may end their lease."""
        identifiers = {row["id"] for row in rows}
        self._held_now.update(identifiers)
        try:
            yield
        finally:
            self._held_now.difference_update(identifiers)

    def _claim(self, limit: int) -> tuple[str, list[Row]]:
        token = secrets.token_hex(16)

        def claim(tx: Transaction) -> list[Row]:
            due = (
                select(events.c.id)
                .where(events.c.state == PENDING, events.c.next_at <= now(), events.c.id.not_in(set(self._held_now)))
                .order_by(events.c.next_at)
                .limit(limit)
            )
            found = tx.connection.execute(self._database.locked(due, skip=True)).scalars().all()
            if not found:
                return []
            values = {**_leased(token), "attempts": events.c.attempts + 1}
            pending = [events.c.id.in_(found), events.c.state == PENDING]
            tx.connection.execute(update(events).where(*pending).values(values))
            taken = tx.connection.execute(select(events).where(events.c.lease == token, pending[0]))
            return [dict(row) for row in taken.mappings()]

        return token, self._database.run(claim)

    def _deliver_all(self, rows: Sequence[Row], token: str, until: float) -> list[str]:
        """How each went that was begun by `until`; the others' leases might end before their hooks do."""
        outcomes = []
        with self._held(rows):
            for row in rows:
                if time.monotonic() > until:
                    self._give_back(row, token)
                else:
                    outcomes.append(self._deliver(row, token))
        return outcomes

    def _deliver(self, row: Row, token: str) -> str:
        """Run the hook and write down how it went: delivered, failed or dead."""
        fields = {"event_id": row["id"], "event": row["type"], "number": row["number"], "attempt": row["attempts"]}
        payload = {**json.loads(row["payload"]), "event_id": row["id"]}
        protect_people(payload)
        protect(payload.get("owner"))
        try:
            outcome = contained(self._hooks[row["type"]], payload)
            if not is_kept(outcome):
                raise NotDelivered("the hook did not return None, True or code SUCCESS")
        except Exception as error:  # whatever the merchant's hook raises
            dead = row["attempts"] >= MAX_TRIES
            log.exception("event not delivered%s", ", for the last time" if dead else "", extra={"fields": fields})
            reason = redact(f"{type(error).__name__}: {error}")[:256]
            if dead:
                self._mark(row, token, {"state": DEAD}, reason, _buried(row, reason))
                return "dead"
            self._mark(row, token, {"next_at": now() + pause(row["attempts"])}, reason)
            return "failed"
        log.info("event delivered", extra={"fields": fields})
        self._mark(row, token, {"state": DONE, "done_at": now()}, None)
        return "delivered"

    def _give_back(self, row: Row, token: str) -> None:
        self._mark(row, token, {"next_at": now(), "attempts": row["attempts"] - 1}, row["last_error"])

    def _mark(
        self, row: Row, token: str, values: Mapping[str, Any], error: str | None, incident: Incident | None = None
    ) -> None:
        values = {**values, "lease": None, "last_error": error}

        def mark(tx: Transaction) -> None:
            if self._store.change(tx, events.c.id, row["id"], values, lease=token) and incident:
                self._store.record_incident(incident)

        # A hook that ran and is not marked runs again: a busy database is asked more than once.
        for attempt in range(1, MARK_TRIES + 1):
            try:
                self._database.run(mark)
                return
            except DatabaseFailed:
                if attempt == MARK_TRIES:
                    raise


def _leased(token: str) -> dict[str, Any]:
    return {"lease": token, "next_at": now() + timedelta(seconds=LEASE)}


def _bring_back(tx: Transaction) -> None:
    """What is due in a future that no pause reaches is due now: it would wait for as long as the clock was off."""
    stamp = now()
    far = [events.c.state == PENDING, events.c.next_at > stamp + FURTHEST]
    tx.connection.execute(update(events).where(*far).values(next_at=stamp))


def _buried(row: Row, reason: str) -> Incident:
    what = f"event {row['id']} ({row['type']} of {row['number']})"
    message = f"{what} was given up after {row['attempts']} tries: {reason}"
    return Incident("event_dead", row["number"], message, {"event_id": row["id"], "error": reason})


def pause(attempts: int) -> timedelta:
    """Before the next try: doubled each time, spread so that many failures do not come back at one moment."""
    seconds = min(FIRST_PAUSE * 2 ** (attempts - 1), LONGEST_PAUSE)
    return timedelta(seconds=seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
