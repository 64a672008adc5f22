"""Keeps the journal of a database while steps run on it, and skips what it says is done."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
import dataclasses
from datetime import datetime
from datetime import UTC
import hashlib
import sys
import threading
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script import Script
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.databases import MASK
from flask_dbmigrate.databases import without_secrets
from flask_dbmigrate.dialects import beginning_with
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import in_one_line
from flask_dbmigrate.dialects import Kind
from flask_dbmigrate.dialects import OWN
from flask_dbmigrate.dialects import OWN_TEXT
from flask_dbmigrate.dialects import separate_connection
from flask_dbmigrate.errors import ConfigurationError

from .journal import has_journal
from .journal import journal_table
from .journal import journal_table_found_here
from .journal import JournalEntry
from .journal import read_journal
from .journal import State
from .log import direction_of
from .origin import Origin
from .preparation.base import is_own

_READS = beginning_with("SELECT|SHOW|DESC|DESCRIBE|EXPLAIN")

_SHOWN = 2000
"""How many characters of a statement are kept."""


class ScriptChangedError(Exception):
    """A script does not do again what the journal says it did.

    :param number: The number of the first statement that differs.
    :param line: Where it is in the script; 0 if the script ends before it.
    """

    def __init__(self, number: int, line: int) -> None:
        super().__init__(number, line)
        self.number = number
        self.line = line


class JournalWriter:
    """Notes the statements of each step, as far as they cannot be rolled back.

    A statement that is part of a transaction waits in memory for whatever commits it: where
    nothing does before the end of the revision, nothing is written.

    :param context: Alembic's context for the database.
    :param is_on: Whether to write at all.
    :param tell: Is told what was dropped that a statement left when it failed.
    """

    def __init__(
        self, context: MigrationContext, *, is_on: bool, tell: t.Callable[[str], None]
    ) -> None:
        self.is_on = is_on and facts_of(context.dialect.name).is_journaled
        self._can_resume = self.is_on
        self._context = context
        self._facts = facts_of(context.dialect.name)
        self._table = journal_table(context)
        self._tell = tell
        self._has_table = self._is_placed = False
        self._has_rows = False
        self._has_intercepted = False
        self._is_running = self._is_inside = False
        self._thread = threading.get_ident()
        self._known: tuple[JournalEntry, ...] = ()
        self._doubtful: JournalEntry | None = None

    def read(self, *, for_update: bool = False) -> tuple[JournalEntry, ...]:
        """Read what the journal says.

        :param for_update: As for :func:`.journal.read_journal`.
        """
        if not self._facts.is_journaled:
            return ()
        self._has_table = self._has_table or has_journal(self._context)
        if not self._has_table:
            return ()
        entries = read_journal(self._context, for_update=for_update)
        self._has_rows = bool(entries)
        return entries

    def settle(self) -> set[str] | None:
        """Wait until what a process that is gone has left is committed or rolled back.

        A server may be about to commit when its client is killed.

        :returns: The heads; None where there is no journal, so that nothing can be left.
        """
        if not self._facts.is_journaled or not has_journal(self._context):
            return None
        self._has_table = True
        version = _alembic.version_table(self._context)
        for table in (version, self._table):
            self._facts.wait_for_writers(self._connection, table)
        query = sa.select(version.c.version_num).with_for_update()
        return set(self._connection.execute(query, execution_options=OWN).scalars())

    def resume(self, known: tuple[JournalEntry, ...], doubtful: JournalEntry | None) -> None:
        """Have the next step skip what is done.

        :param known: The statements that were executed.
        :param doubtful: One that was begun after them, and was not executed.
        """
        self._known = known
        self._doubtful = doubtful

    def before_step(self, step: _alembic.Step, script: Script | None) -> None:
        """Get ready to note the statements of a step."""
        if not self.is_on or script is None:
            return
        if not self._has_intercepted:
            _alembic.intercept_statements(self._context, self._around)
            self._has_intercepted = True
        self._globals = vars(script.module)
        self._template = JournalEntry(
            number=0,
            revision=script.revision,
            direction=direction_of(step.info),
            statement="",
            line=0,
            digest="",
            state=State.DONE,
            fingerprint="",
            obstacle="",
            noted=datetime.now(UTC),
            session=self._session(),
            **dataclasses.asdict(Origin.here()),
        )
        self._number = 0
        self._pending: list[JournalEntry] = []
        self._obstacle = ""
        self._has_failed = False
        self._is_ordinary = True
        self._failed: JournalEntry | None = None
        self._change: ScriptChangedError | None = None
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
        """Notice meanwhile the commits, and the statements that no operation has emitted."""
        connection = self._context.connection
        if not self.is_on or connection is None:
            yield
            return
        engine = connection.engine  # the one of 'db.session', too
        sa.event.listen(engine, "before_cursor_execute", self._notice)
        sa.event.listen(connection, "commit", self._on_commit)
        try:
            yield
        finally:
            sa.event.remove(engine, "before_cursor_execute", self._notice)
            sa.event.remove(connection, "commit", self._on_commit)

    @contextmanager
    def _following(self) -> t.Iterator[None]:
        """Follow the function of a script while it runs."""
        self._is_running = True
        try:
            yield
            if self._number < len(self._known):
                self._refuse(self._number + 1, 0)
            if self._change is not None:  # the script may have caught it
                raise self._change
        finally:
            self._is_running = False

    @property
    def can_go_on(self) -> bool:
        """Whether another pass can take over from where this one has failed."""
        return self._can_resume or (self.is_on and not self._has_rows)

    @property
    def covers_all(self) -> bool:
        """Whether all steps can be resumed, should their versions be rolled back."""
        return self._can_resume

    def failed(self, connection: sa.Connection) -> None:
        """Note that the database has refused a statement, or forget it if it was the first.

        Whether it has done nothing is decided now: later somebody may have changed its table.

        :param connection: Another one: that of the step has rolled back, so that what is in the
            journal now is committed.
        """
        if not self._has_rows:
            return
        number, state = self._table.c.number, self._table.c.state
        if self._failed is not None and self._has_done_nothing(connection, self._failed):
            this = (number == self._failed.number) & (state == State.STARTED)
            connection.execute(self._table.update().where(this).values(state=State.FAILED))
        harmless = (State.SESSION, State.READ, State.FAILED)
        done = sa.select(number).where(state.not_in(harmless))
        if connection.execute(done.limit(1)).first() is None:
            connection.execute(self._table.delete())
        connection.commit()

    def _has_done_nothing(self, connection: sa.Connection, failed: JournalEntry) -> bool:
        """Tell whether a statement that was refused has changed nothing: some drop a few tables."""
        statement, before = failed.statement, failed.fingerprint
        if not self._facts.fails_as_a_whole(statement):
            return False
        if not before or self._facts.fingerprint(connection, statement) == before:
            return True
        return self._facts.has_happened(connection, statement, before) is False

    def applied(self) -> None:
        """Forget the step that is complete, in the transaction that writes the version."""
        self._known, self._doubtful = (), None
        if self._has_rows:
            self._connection.execute(self._table.delete(), execution_options=OWN)
            self._has_rows = False

    def _around(self, construct: t.Any, values: t.Any, execute: _alembic.Execute) -> t.Any:
        """Execute a statement of the script and note it, or skip it."""
        if not self._is_running:
            return execute()
        entry = self._entry(construct, values)
        if entry.number <= len(self._known):
            return self._again(entry, execute)
        if self._has_failed:
            self._obstruct("it goes on after an error", entry.line)
        with self._inside():
            try:
                return self._run(entry, execute)
            except Exception:
                self._has_failed = True
                raise

    def _again(self, entry: JournalEntry, execute: _alembic.Execute) -> t.Any:
        """Skip a statement that is done, if the script has not changed."""
        known = self._known[entry.number - 1]
        if known.digest != entry.digest:
            self._refuse(entry.number, entry.line)
        if known.state != State.SESSION:
            return None
        with self._inside():
            return execute()

    def _refuse(self, number: int, line: int) -> t.NoReturn:
        self._change = self._change or ScriptChangedError(number, line)
        raise self._change

    def _run(self, entry: JournalEntry, execute: _alembic.Execute) -> t.Any:
        """Execute a statement, and note it in the way that suits its kind."""
        is_autocommit = _is_autocommit(self._connection)
        kind = self._facts.kind(entry.statement)
        if kind is Kind.COMMITTING and is_autocommit:
            kind = Kind.BOUND  # a transaction that we know nothing of begins or ends
        if kind is Kind.ALONE and (is_autocommit or not self._context.impl.transactional_ddl):
            return self._alone(entry, execute)
        if kind is Kind.BOUND:
            self._obstruct(f"it needs its session ({entry.statement[:40]})", entry.line)
        if kind in (Kind.BOUND, Kind.COMMITTING):
            self._note(entry, state=State.BOUND if kind is Kind.BOUND else State.DONE)
            self._flush()
            self._is_ordinary = self._is_ordinary and kind is not Kind.BOUND
            return execute()
        if is_autocommit and kind is not Kind.SESSION and not self._obstacle:
            return self._in_transaction(entry, execute)
        result = execute()
        self._note(entry, state=State.SESSION if kind is Kind.SESSION else State.DONE)
        if is_autocommit or not self._is_ordinary:
            self._flush()
        return result

    def _alone(self, entry: JournalEntry, execute: _alembic.Execute) -> t.Any:
        """Execute a statement that commits: note before it that it may have been executed."""
        fingerprint = ""
        if self._is_ordinary and MASK not in entry.statement:  # or it would be of something else
            fingerprint = self._facts.fingerprint(self._connection, entry.statement)
        before = None if self._doubtful is None else self._doubtful.fingerprint
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

    def _entry(self, construct: t.Any, values: t.Any) -> JournalEntry:
        """Describe a statement."""
        self._number += 1
        text, parameters = _compiled(construct, self._context.dialect)
        digest = hashlib.sha256(repr((in_one_line(text), parameters, values)).encode())
        shown = without_secrets(in_one_line(text), self._connection.engine.url)
        return dataclasses.replace(
            self._template,
            number=self._number,
            statement=shown[:_SHOWN],
            line=self._line(),
            digest=digest.hexdigest()[:32],
        )

    def _line(self) -> int:
        """Find out which line of the script is running."""
        frame = sys._getframe()
        while frame is not None:
            if frame.f_globals is self._globals:
                return frame.f_lineno
            frame = frame.f_back  # type: ignore[assignment]
        return 0

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
        if not self._is_placed:  # before the script can look in another schema
            self._table, self._is_placed = journal_table_found_here(self._context), True
        if not self._has_table:
            self._create_table()
        if self._doubtful is not None:
            known = len(self._known)
            self._execute(self._table.delete().where(self._table.c.number > known))
            self._doubtful = None
        rows = [
            {**dataclasses.asdict(entry), "noted": entry.noted.replace(tzinfo=None)}
            for entry in self._pending
        ]
        has_savepoint = bool(self._obstacle) and self._set_savepoint()
        try:
            self._execute(self._table.insert().inline(), rows)
        except sa.exc.DBAPIError:
            if not self._obstacle:  # under LOCK TABLES there is no other table to write to
                raise
            if has_savepoint:  # after SET ROLE it may be refused: the script's own work is to stay
                self._own("ROLLBACK TO SAVEPOINT dbmigrate_journal")
            return
        self._pending.clear()
        self._has_rows = True

    def _set_savepoint(self) -> bool:
        """Set a savepoint, if there is a transaction that an error would end."""
        if not self._context.impl.transactional_ddl or _is_autocommit(self._connection):
            return False
        try:
            self._own("SAVEPOINT dbmigrate_journal")
        except sa.exc.DBAPIError:
            return False
        return True

    def _execute(self, statement: sa.Executable, *rows: t.Any) -> None:
        self._connection.execute(statement, *rows, execution_options=OWN)

    def _create_table(self) -> None:
        """Create the journal, where that commits on a connection of its own: here nothing may."""
        connection = self._connection
        try:
            if self._context.impl.transactional_ddl:
                self._table.create(connection, checkfirst=True)
            else:
                with separate_connection(connection.engine) as separate:
                    self._table.create(separate, checkfirst=True)
                    separate.commit()
        except sa.exc.DBAPIError as error:
            said = self._facts.message(error.orig or error).rstrip(".")
            raise ConfigurationError(
                f"The journal '{self._table.name}' cannot be created: {said}.",
                hint="Create it as a user who may, or set 'DBMIGRATE_JOURNAL = False': a revision "
                "that is stopped half-way cannot be resumed then.",
            ) from error
        self._has_table = True

    @contextmanager
    def _inside(self) -> t.Iterator[None]:
        """Know what is executed meanwhile for an operation's."""
        self._is_inside = True
        try:
            yield
        finally:
            self._is_inside = False

    def _on_commit(self, connection: sa.Connection) -> None:
        if self._is_running:
            with self._inside():
                self._flush()

    def _notice(
        self,
        connection: sa.Connection,
        cursor: t.Any,
        statement: str,
        parameters: t.Any,
        context: sa.engine.ExecutionContext | None,
        *_: t.Any,
    ) -> None:
        """Note that a statement goes past the operations: nobody can tell what it leads to."""
        is_ours = self._is_inside or is_own(context) or threading.get_ident() != self._thread
        if not self._is_running or is_ours:
            return
        with self._inside():
            line = self._line()
            self._obstruct("it works through 'op.get_bind()' or a session", line)
            self._number += 1
            if self._number <= len(self._known):
                self._refuse(self._number, line)
            entry = dataclasses.replace(
                self._template,
                number=self._number,
                state=State.READ if _READS.match(statement) else State.DONE,
                statement=without_secrets(in_one_line(statement), connection.engine.url)[:_SHOWN],
                line=line,
            )
            self._note(entry)
            is_transactional = self._facts.kind(statement) is Kind.TRANSACTIONAL
            if not is_transactional or _is_autocommit(self._connection):
                self._flush()


def _compiled(construct: t.Any, dialect: sa.Dialect) -> tuple[str, t.Any]:
    """Write a statement as the dialect does, and tell the parameters that are part of it."""
    if not isinstance(construct, sa.ClauseElement):
        return str(construct), None
    compiled = construct.compile(dialect=dialect)
    return str(compiled), compiled.params


def _is_autocommit(connection: sa.Connection) -> bool:
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
