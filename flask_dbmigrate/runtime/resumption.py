"""Goes on with a half-applied revision, or says why not."""

from __future__ import annotations

import time
import typing as t

import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import separate_connection
from flask_dbmigrate.errors import LockNotAcquiredError

from .half_applied import examine
from .half_applied import HalfApplied
from .journal import JournalEntry
from .log import direction_of
from .result import Listener
from .visit import Visit

_INTERVAL = 0.3
"""Seconds between two looks at what the server still executes."""

_REMINDER = 30
"""Seconds between two reports on it."""


def resumed_first(
    visit: Visit,
    last: JournalEntry,
    steps: t.Iterable[_alembic.Step],
    *,
    is_allowed: bool,
    timeout: float,
    listener: Listener,
) -> t.Sequence[_alembic.Step]:
    """Put the step that is half-applied before the others, and have it skip what is done.

    :param last: The last statement in the journal.
    :param steps: What is planned.
    :param is_allowed: Whether a revision may be resumed at all.
    :param timeout: How long to wait for what the server still executes, in seconds.
    :raises HalfAppliedError: if it is not among the steps, or cannot or may not be resumed.
    """
    await_dead_run(visit, last, timeout=timeout, listener=listener)
    found = examine(visit, visit.context, visit.journal.read(for_update=True))
    half_applied = found.half_applied
    these: list[_alembic.Step] = []
    others: list[_alembic.Step] = []
    for step in steps:
        (these if _is_step_of(step, half_applied) else others).append(step)
    if not (these and is_allowed and half_applied.is_resumable):
        raise half_applied.error()
    visit.journal_writer.resume(
        found.repetition, found.doubtful, kept=found.kept, is_stale=last.number > found.kept
    )
    listener.revision_resumed(visit.key, half_applied)
    return these + others


def _is_step_of(step: _alembic.Step, half_applied: HalfApplied) -> bool:
    script = _alembic.script_of(step)
    return (
        script is not None
        and script.revision == half_applied.revision
        and direction_of(step.info) == half_applied.direction
    )


def await_dead_run(visit: Visit, last: JournalEntry, *, timeout: float, listener: Listener) -> None:
    """Wait until the server no longer executes what a process began that is gone.

    MariaDB and PostgreSQL complete a long statement whose client was killed.

    :param last: The last statement in the journal.
    :raises LockNotAcquiredError: if it takes too long.
    """
    engine = visit.engine
    assert engine is not None
    started = time.monotonic()
    next_report = 0.0
    while (running := _running(engine, last)) is not None:
        waited = time.monotonic() - started
        if waited >= next_report:
            next_report = waited + _REMINDER
            listener.statement_awaited(visit.key, running)
        if waited >= timeout:
            raise LockNotAcquiredError(
                f"Database '{visit.key}' still executes what a run began that was stopped, after "
                f"{waited:.0f} s of waiting: {running}.",
                hint="Try again when it has ended, or raise '--lock-timeout'.",
                database=visit.key,
            )
        time.sleep(_INTERVAL)


def _running(engine: sa.Engine, last: JournalEntry) -> str | None:
    """Ask on a connection of its own: a transaction that is open may be what it waits for."""
    with separate_connection(engine) as connection:
        facts = facts_of(connection.dialect.name)
        blocker = facts.executing(connection, last.session, last.statement)
        return None if blocker is None else str(blocker)
