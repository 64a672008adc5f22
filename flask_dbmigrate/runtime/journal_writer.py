"""Keeps the journal of a database while steps run on it, and skips what it says is done."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
import dataclasses
from datetime import datetime
from datetime import UTC
import threading
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script import Script
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import is_autocommit
from flask_dbmigrate.dialects import is_definition
from flask_dbmigrate.dialects import Kind
from flask_dbmigrate.dialects import OWN_TEXT
from flask_dbmigrate.wording import MASK

from .journal import Journal
from .journal import JournalEntry
from .journal import State
from .journal_entries import StatementDescriber
from .repetition import Repetition

BYPASS = "it works through 'op.get_bind()' or a session"
"""Why a revision cannot be resumed that executes statements past the operations."""

_SEVERAL = "it executes several statements at once"

_NOTED_BEFORE = {
    Kind.BOUND: State.BOUND,
    Kind.COMMITTING: State.DONE,
    Kind.SEVERAL: State.UNKNOWN,
}
"""What is noted of statements before they are executed, because they may end the transaction."""


class JournalWriter:
    """Notes the statements of each step, as far as they cannot be rolled back.

    A statement that is part of a transaction waits in memory for whatever commits it: where
    nothing does before the end of the revision, nothing is written.

    :param context: Alembic's context for the database.
    :param journal: Its journal.
    :param is_on: Whether to write at all.
    :param tell: Is told what was dropped that a statement left when it failed.
    """

    def __init__(
        self,
        context: MigrationContext,
        journal: Journal,
        *,
        is_on: bool,
        tell: t.Callable[[str], None],
    ) -> None:
        self.is_on = is_on and facts_of(context.dialect.name).is_journaled
        self._can_resume = self.is_on
        self._context = context
        self._facts = facts_of(context.dialect.name)
        self._journal = journal
        self._tell = tell
        self._has_intercepted = False
        self._is_running = False
        self._insider: int | None = None
        self._repetition = Repetition()
        self._kept = 0
        self._is_stale = False
        self._doubtful: JournalEntry | None = None
        self._failed: JournalEntry | None = None

    def resume(
        self, repetition: Repetition, doubtful: JournalEntry | None, *, kept: int, is_stale: bool
    ) -> None:
        """Have the next step skip what is done.

        :param repetition: What is.
        :param doubtful: A statement that was begun after that, and was not executed.
        :param kept: The number of the last entry that stays in the journal.
        :param is_stale: Whether there are others.
        """
        self._repetition = repetition
        self._doubtful = doubtful
        self._kept, self._is_stale = kept, is_stale

    def before_step(self, step: _alembic.Step, script: Script | None) -> None:
        """Get ready to note the statements of a step."""
        if not self.is_on or script is None:
            return
        if not self._has_intercepted:
            _alembic.intercept_statements(self._context, self._around)
            self._has_intercepted = True
        self._statements = StatementDescriber(step.info, script, self._connection, self._session())
        self._pending: list[JournalEntry] = []
        self._obstacle = ""
        self._has_failed = False
        self._is_ordinary = True
        self._failed = None
        self._number = self._kept
        _alembic.surround_function(step, self._following)

    def _session(self) -> int:
        with suppress(Exception):  # a driver that nobody has tried
            driver: t.Any = self._connection.connection.driver_connection
            return self._facts.session_of(driver) or 0
        return 0

    @property
    def _connection(self) -> sa.Connection:
        connection = self._context.connection
        assert connection is not None
        return connection

    @contextmanager
    def listening(self) -> t.Iterator[None]:
        """Notice meanwhile the commits."""
        connection = self._context.connection
        if not self.is_on or connection is None:
            yield
            return
        sa.event.listen(connection, "commit", self._on_commit)
        try:
            yield
        finally:
            sa.event.remove(connection, "commit", self._on_commit)

    @contextmanager
    def _following(self) -> t.Iterator[None]:
        """Follow the function of a script while it runs."""
        self._is_running = True
        try:
            yield
            self._repetition.end()
        finally:
            self._is_running = False

    @property
    def can_go_on(self) -> bool:
        """Whether another pass can take over from where this one has failed."""
        return self._can_resume or (self.is_on and not self._journal.has_entries)

    @property
    def covers_all(self) -> bool:
        """Whether all steps can be resumed, should their versions be rolled back."""
        return self._can_resume

    def failed(self, connection: sa.Connection) -> None:
        """Note that the step has failed.

        :param connection: As for :meth:`.Journal.note_failure`.
        """
        self._journal.note_failure(connection, self._failed)

    def applied(self) -> None:
        """Forget the step that is complete, in the transaction that writes the version."""
        self.resume(Repetition(), None, kept=0, is_stale=False)
        self._journal.clear()

    def _around(self, construct: t.Any, values: t.Any, execute: _alembic.Execute) -> t.Any:
        """Execute a statement of the script and note it, or skip it."""
        if not self._is_running:
            return execute()
        entry = self._statements.of_operation(construct, values)
        known = self._repetition.again(entry)
        if known is not None:
            return self._again(known, execute)
        entry = self._numbered(entry)
        if self._has_failed:
            self._obstruct("it goes on after an error", entry.line)
        with self._inside():
            try:
                return self._run(entry, execute)
            except Exception:
                self._has_failed = True
                raise

    def _again(self, known: JournalEntry, execute: _alembic.Execute) -> t.Any:
        """Skip a statement that is done, unless it is about the session."""
        if known.state != State.SESSION:
            return None
        with self._inside():
            return execute()

    def _numbered(self, entry: JournalEntry) -> JournalEntry:
        self._number += 1
        return dataclasses.replace(entry, number=self._number)

    def _run(self, entry: JournalEntry, execute: _alembic.Execute) -> t.Any:
        """Execute a statement, and note it in the way that suits its kind."""
        autocommits = is_autocommit(self._connection)
        kind = self._facts.kind(self._statements.text)
        if kind is Kind.COMMITTING and autocommits:
            kind = Kind.BOUND  # a transaction that we know nothing of begins or ends
        if kind is Kind.ALONE and (autocommits or not self._context.impl.transactional_ddl):
            return self._alone(entry, execute)
        if kind in (Kind.MIXED, Kind.SEVERAL):
            self._obstruct(_SEVERAL, entry.line)
        if kind is Kind.BOUND:
            self._obstruct(f"it needs its session ({entry.statement[:40]})", entry.line)
        if kind in _NOTED_BEFORE:
            self._note(entry, state=_NOTED_BEFORE[kind])
            self._flush()
            self._is_ordinary = self._is_ordinary and kind is Kind.COMMITTING
            return execute()
        if autocommits and kind is not Kind.SESSION and not self._obstacle:
            return self._in_transaction(entry, execute)
        result = execute()
        self._note(entry, state=State.SESSION if kind is Kind.SESSION else State.DONE)
        if autocommits or not self._is_ordinary:
            self._flush()
        return result

    def _alone(self, entry: JournalEntry, execute: _alembic.Execute) -> t.Any:
        """Execute a statement that commits: note before it that it may have been executed."""
        fingerprint = ""
        if self._is_ordinary and MASK not in entry.statement:  # or it would be of something else
            fingerprint = self._facts.fingerprint(self._connection, entry.statement)
        before = self._doubtful.fingerprint or None if self._doubtful else None
        left = self._facts.unfinished(self._connection, entry.statement, before, fingerprint)
        for name, statement in left.items():
            self._own(statement)
            self._tell(name)
        entry = dataclasses.replace(entry, state=State.STARTED, fingerprint=fingerprint)
        self._note(entry)
        self._flush()
        try:
            return execute()
        except sa.exc.DBAPIError as error:
            if not error.connection_invalidated:
                self._failed = entry
            raise

    def _in_transaction(self, entry: JournalEntry, execute: _alembic.Execute) -> t.Any:
        """Execute a statement of an ``autocommit_block()`` together with its note."""
        self._own("BEGIN")
        try:
            result = execute()
            self._note(entry)
            self._flush()
        except BaseException as error:
            with suppress(sa.exc.DBAPIError):
                self._own("ROLLBACK")
            original = error.orig if isinstance(error, sa.exc.DBAPIError) else None
            if original is not None and self._facts.is_refused_in_transaction(original):
                return self._alone(entry, execute)
            raise
        self._own("COMMIT")
        return result

    def _own(self, statement: str) -> None:
        self._connection.exec_driver_sql(statement, execution_options=OWN_TEXT)

    def _obstruct(self, reason: str, line: int) -> None:
        """Note with the next statement why the revision cannot be resumed."""
        if not self._obstacle:
            self._obstacle = f"{reason} (line {line})" if line else reason
            self._can_resume = False

    def _note(self, entry: JournalEntry, **changes: t.Any) -> None:
        changes.setdefault("obstacle", self._obstacle)
        noted = datetime.now(UTC).replace(microsecond=0)
        self._pending.append(dataclasses.replace(entry, noted=noted, **changes))

    def _flush(self) -> None:
        """Write what waits, in the transaction that is going to be committed."""
        if not self._pending:
            return
        if self._is_stale:
            self._journal.forget_from(self._kept + 1)
            self._is_stale, self._doubtful = False, None
        # with an obstacle nothing is lost: it is not resumed
        if self._journal.write(self._pending, is_essential=not self._obstacle):
            self._pending.clear()

    @contextmanager
    def _inside(self) -> t.Iterator[None]:
        """Know what this thread executes meanwhile for an operation's."""
        before, self._insider = self._insider, threading.get_ident()
        try:
            yield
        finally:
            self._insider = before

    def _on_commit(self, connection: sa.Connection) -> None:
        if self._is_running:
            with self._inside():
                self._flush()

    @property
    def _is_bypass(self) -> bool:
        return self._is_running and self._insider != threading.get_ident()

    def bypassed(self, statement: str) -> None:
        """Note a statement that goes past the operations: it is executed, whatever is done.

        It may be for another connection, and comes before it is executed.
        """
        if not self._is_bypass:
            return
        with self._inside():
            entry = self._numbered(self._statements.of_text(statement))
            kind, state = self._facts.kind(statement), State.DONE
            self._can_resume = False
            if kind is Kind.SESSION:
                state = State.SESSION
            elif kind is not Kind.BOUND and self._facts.is_look(statement):
                state = State.READ
            else:
                if kind is Kind.BOUND or not is_definition(statement):
                    self._obstruct(BYPASS, entry.line)
                self._repetition.go_beyond(entry)
            self._note(entry, state=state)
            if kind is not Kind.TRANSACTIONAL or is_autocommit(self._connection):
                self._flush()

    def bypassed_below(self) -> None:
        """Note that a connection of the driver is asked for: what it executes is not seen."""
        if not self._is_bypass:
            return
        with self._inside():
            text = "what was executed with the driver's connection"
            entry = self._numbered(self._statements.of_text(text))
            self._obstruct("it works with the driver's connection", entry.line)
            self._repetition.go_beyond(entry)
            self._note(entry, state=State.UNKNOWN)
            self._flush()
            self._is_ordinary = False
