"""One run at a time on each database."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import suppress
import random
import time

from alembic.runtime.migration import MigrationContext
import sqlalchemy as sa

from flask_dbmigrate.databases import Database
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import MigrationLock
from flask_dbmigrate.dialects import UnusableLockError
from flask_dbmigrate.errors import LockNotAcquiredError
from flask_dbmigrate.errors import ReadOnlyDatabaseError

from .connection import connection_error
from .connection import is_from_driver
from .own_tables import harmless
from .result import Listener
from .visit import Visit

_REMINDER = 30
"""Seconds between two reports on who holds a lock."""

Locks = Mapping[str, MigrationLock]
"""The locks that a run holds, by the keys of the databases."""


class Patience:
    """How long a run still waits for others, those of its own process included.

    :param seconds: How long from now on.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Have less of it in the end by what time has passed."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds = max(0, self.seconds - (time.monotonic() - began))


@contextmanager
def locked(visits: Iterable[Visit], *, patience: Patience, listener: Listener) -> Iterator[Locks]:
    """Hold the migration locks of these databases, as far as their DBMS have one.

    All runs lock them in the same order, so that no two wait for each other.

    :param visits: What was seen of the databases.
    :param patience: How long to wait.
    :raises LockNotAcquiredError: if one is not free in time.
    :raises DatabaseUnavailableError: if the connection is lost meanwhile.
    """
    with ExitStack() as stack:
        locks: dict[str, MigrationLock] = {}
        different = {visit.place: visit for visit in visits}.values()
        for visit in sorted(different, key=lambda visit: (visit.result.url, visit.key)):
            lock = _lock_of(visit, stack)
            if lock is None:
                listener.lock_missing(visit.key)
                continue
            if lock not in locks.values():  # on SQLite one may be for several version tables
                with patience.spent(), _errors_explained(visit):
                    _wait_for(lock, visit.key, patience.seconds, listener)
            locks[visit.key] = lock
        yield locks


def _lock_of(visit: Visit, stack: ExitStack) -> MigrationLock | None:
    engine, context = visit.engine, visit.context
    assert engine is not None
    try:
        with _errors_explained(visit):
            lock = facts_of(engine.dialect.name).lock(engine, *_name_of(context))
            return stack.enter_context(lock)
    except UnusableLockError as error:
        raise ReadOnlyDatabaseError(
            f"Database '{visit.key}' cannot be locked: {error}.",
            hint="Make the file and its folder writable. Or see yourself that no other run is at "
            "work, and use '--no-lock'.",
            database=visit.key,
        ) from error


@contextmanager
def _errors_explained(visit: Visit) -> Iterator[None]:
    engine = visit.engine
    assert engine is not None
    try:
        yield
    except Exception as error:
        if not is_from_driver(error, engine):
            raise
        raise connection_error(error, Database(visit.bind_key, engine, sa.MetaData())) from error


def _name_of(context: MigrationContext) -> tuple[str | None, str]:
    return context.version_table_schema, context.version_table


def holder_of(visit: Visit) -> str | None:
    """Tell who holds the migration lock of a database; None if nobody does, or nobody can tell."""
    context = visit.context
    assert context.connection is not None
    facts = facts_of(context.dialect.name)
    with suppress(sa.exc.SQLAlchemyError), harmless(context):
        return facts.lock_holder(context.connection, *_name_of(context))
    return None


def _wait_for(lock: MigrationLock, key: str, timeout: float, listener: Listener) -> None:
    started = time.monotonic()
    next_report = 0.0
    while not lock.acquire():
        waited = time.monotonic() - started
        if waited >= next_report:
            next_report = waited + _REMINDER
            listener.lock_awaited(key, lock.holder())
        if waited >= timeout:
            raise LockNotAcquiredError(
                f"Database '{key}' is still being migrated by {lock.holder()}, "
                f"after {waited:.0f} s of waiting.",
                hint="Try again when that run has finished, or raise '--lock-timeout'.",
                database=key,
            )
        time.sleep(random.uniform(0.2, 0.5))


def require_held(locks: Locks, key: str) -> None:
    """Check before a revision that the lock was not lost.

    :raises LockNotAcquiredError: if it was: another run may have begun.
    """
    if key in locks and not locks[key].is_held():
        raise LockNotAcquiredError(
            f"The connection that held the migration lock of database '{key}' was lost.",
            hint="What is done is recorded: run the command again.",
            database=key,
        )
