"""MySQL and MariaDB: DDL does not wait long for a lock, and is tried again, one by one.

They commit before and after each DDL statement, so that is what can be repeated, and nothing more.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script import Script
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.dialects import beginning_with
from flask_dbmigrate.dialects import Blocker
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import Kind
from flask_dbmigrate.dialects import OWN
from flask_dbmigrate.dialects.mysql_statements import has_several_results
from flask_dbmigrate.dialects.mysql_statements import kind
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.runtime.settings import RunSettings

from .autocommit import Autocommit
from .base import Conflict
from .base import is_own
from .base import Preparation
from .blockers import sessions_of_this_process
from .blocks import Blocks
from .statements import DDL
from .statements import Housekeeping

ResultT = t.TypeVar("ResultT")


_TEMPORARY = beginning_with(r"(?:CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?TEMPORARY")


def _commits(statement: str) -> bool:
    """Tell whether what came before a statement is committed, so that it can be run alone."""
    return _is_ddl(statement) and _TEMPORARY.match(statement) is None


def _is_ddl(text: str) -> bool:
    """Tell whether a text is one statement of DDL."""
    return DDL.match(text) is not None and kind(text) is not Kind.SEVERAL


class _Conflict(Conflict):
    @property
    def hint(self) -> str:
        is_known = self.blockers or self.is_own
        return super().hint + ("" if is_known else " The privilege 'PROCESS' lets us name it.")


class MySQLTimeouts(Preparation):
    """Limits how long DDL waits for metadata locks, and how long a statement runs if wished.

    The limits are the session's, so what it had before is restored in the end.

    :param connection: env.py's own.
    :param options: Those of Alembic's ``configure()``.
    :param settings: The limits, in seconds.
    :param try_again: Waits for the next try of a statement, or says that there is none.
    :raises ConfigurationError: if a single transaction is wanted.
    """

    knows_commits = True

    def __init__(
        self,
        connection: sa.Connection,
        options: t.Mapping[str, t.Any],
        settings: RunSettings,
        try_again: t.Callable[[Conflict], bool],
    ) -> None:
        if settings.single_transaction:
            raise ConfigurationError(
                f"'{connection.dialect.name}' commits each change of the schema by itself: it "
                "cannot run all revisions in a single transaction.",
                hint="Leave '--single-transaction' and 'DBMIGRATE_SINGLE_TRANSACTION' out.",
            )
        self.connection = connection
        self._autocommit = Autocommit(connection)
        self._blocks = Blocks(connection, self._autocommit, is_allowed=True)
        self.facts = facts_of(connection.dialect.name)
        self._lock_timeout = settings.ddl_lock_timeout or 0
        self._statement_timeout = settings.statement_timeout or 0
        self._try_again = try_again
        self._housekeeping = Housekeeping(options.get("version_table", "alembic_version"))
        self._is_limited = False
        self._has_intercepted = False
        self._is_text = False

    def start(self) -> None:
        self._autocommit.start()
        name, limit = self._statement_limit()
        row = self.connection.exec_driver_sql(
            f"SELECT CONNECTION_ID(), @@lock_wait_timeout, @@{name}", execution_options=OWN
        ).one()
        self._session = row[0]
        self._found = {"lock_wait_timeout": row[1], name: row[2]}
        # as SQLAlchemy itself restores an isolation level; an event of the pool is not for one only
        fairy: t.Any = self.connection.connection
        fairy._connection_record.finalize_callback.append(self._restore)
        if self._statement_timeout:
            self._set(name, limit)
        sa.event.listen(self.connection, "after_cursor_execute", self._read_on)
        if self._lock_timeout:
            sa.event.listen(self.connection, "before_cursor_execute", self._before)

    def _statement_limit(self) -> tuple[str, str]:
        """Tell the variable that limits statements, on MySQL SELECT only, and its value."""
        if getattr(self.connection.dialect, "is_mariadb", False):
            return "max_statement_time", f"{self._statement_timeout:.3f}"
        return "max_execution_time", f"{self._statement_timeout * 1000:.0f}"

    def before_step(self, script: Script | None, context: MigrationContext) -> None:
        self._autocommit.follow(script)
        if not self._has_intercepted:
            _alembic.intercept_statements(context, self._persist)
            self._has_intercepted = True

    def listening(self) -> t.ContextManager[None]:
        return self._blocks.listening()

    def finish(self) -> None:
        sa.event.remove(self.connection, "after_cursor_execute", self._read_on)
        if self._lock_timeout:
            sa.event.remove(self.connection, "before_cursor_execute", self._before)
        self._restore(self.connection.connection)
        self._autocommit.finish()

    def _restore(self, dbapi: t.Any) -> None:
        """Hand the session back as the application knows it."""
        assignments = ", ".join(f"SESSION {name} = {value}" for name, value in self._found.items())
        with suppress(Exception):  # the connection may be lost
            dbapi.cursor().execute(f"SET {assignments}")

    def _before(
        self,
        connection: sa.Connection,
        cursor: t.Any,
        statement: str,
        parameters: t.Any,
        context: sa.engine.ExecutionContext | None,
        *_: t.Any,
    ) -> None:
        """Set the limit for DDL, and take it away for all else: DDL that is done is recorded."""
        if is_own(context):
            return
        is_limited = _is_ddl(statement) and not self._housekeeping.match(statement)
        if is_limited != self._is_limited:
            self._is_limited = is_limited
            whole_seconds = max(1, round(self._lock_timeout))  # the least that the server takes
            value = whole_seconds if is_limited else self._found["lock_wait_timeout"]
            try:
                self._set("lock_wait_timeout", value)
            except sa.exc.DBAPIError as error:  # the driver's own tells SQLAlchemy of a lost one
                raise error.orig or error from None

    def _read_on(
        self,
        connection: sa.Connection,
        cursor: t.Any,
        statement: str,
        parameters: t.Any,
        context: sa.engine.ExecutionContext | None,
        *_: t.Any,
    ) -> None:
        """Read the results after the first one: an error among them is lost with the cursor."""
        is_read_elsewhere = cursor.description is not None and not self._is_text
        if is_own(context) or is_read_elsewhere or not has_several_results(statement):
            return
        if not connection.dialect.is_async:
            while cursor.nextset():
                pass
            return
        adapter: t.Any = connection.connection.dbapi_connection
        while adapter.run_async(lambda _: cursor._cursor.nextset()):  # its own tells nothing
            pass

    def _set(self, name: str, value: t.Any) -> None:
        self.connection.exec_driver_sql(f"SET SESSION {name} = {value}", execution_options=OWN)

    def _persist(
        self, construct: object, values: object, execute: t.Callable[[], ResultT]
    ) -> ResultT:
        """Execute a statement, again and again if it is DDL and waits for a lock."""
        self._is_text = isinstance(construct, str | sa.TextClause)  # nobody reads its rows
        try:
            while True:
                try:
                    return execute()
                except sa.exc.DBAPIError as error:
                    conflict = self._conflict(error)
                    if conflict is None or not self._try_again(conflict):
                        raise
        finally:
            self._is_text = False

    def _conflict(self, error: BaseException) -> Conflict | None:
        if not isinstance(error, sa.exc.DBAPIError) or error.orig is None:
            return None
        if not self.facts.is_lock_conflict(error.orig):
            return None
        blockers: tuple[Blocker, ...] = ()
        if not self.connection.closed:
            blockers = self.facts.blockers(self.connection, self._session)
        own = sessions_of_this_process(self.connection)
        return _Conflict(
            blockers,
            is_own=bool(own) and own.issuperset(blocker.session for blocker in blockers),
            is_repeatable=_commits(error.statement or ""),
        )

    def conflict(self, error: BaseException) -> Conflict | None:
        conflict = self._conflict(error)  # what could be tried again was
        return None if conflict is None else replace(conflict, is_repeatable=False)
