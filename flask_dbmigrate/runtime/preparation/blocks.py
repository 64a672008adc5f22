"""Keeps what worked in AUTOCOMMIT and does not in a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import threading
import typing as t

from alembic.runtime.migration import MigrationContext
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import is_autocommit

from .autocommit import Autocommit


class Blocks:
    """Commits before statements that cannot be part of a transaction, and those of ``db.session``.

    The former are executed as in an ``autocommit_block()``; Alembic's own fails in a transaction
    that env.py has begun.

    :param connection: env.py's own.
    :param autocommit: Whether it was found in AUTOCOMMIT; others behave as they always did.
    :param is_allowed: Whether anything may commit.
    """

    def __init__(
        self, connection: sa.Connection, autocommit: Autocommit, *, is_allowed: bool
    ) -> None:
        self._connection = connection
        self._autocommit = autocommit
        self._is_on = autocommit.was_on and is_allowed
        self._facts = facts_of(connection.dialect.name)
        self._thread = threading.get_ident()
        self._has_intercepted = self._has_made_way = False
        self._cursor: t.Any = None

    def need(self, statement: str) -> bool:
        """Tell whether a statement is to be put into one."""
        is_outside = self._is_on and not is_autocommit(self._connection)
        return is_outside and self._facts.needs_autocommit(statement)

    def intercept(self, context: MigrationContext) -> None:
        """Get around all that looks at the statements of operations."""
        if self._is_on and not self._has_intercepted:
            _alembic.intercept_statements(context, self._around)
            self._has_intercepted = True

    def _around(self, construct: t.Any, values: object, execute: _alembic.Execute) -> t.Any:
        if isinstance(construct, sa.ClauseElement):
            construct = construct.compile(dialect=self._connection.dialect)
        if not self.need(str(construct)):
            return execute()
        self._autocommit.enter()
        try:
            result = execute()
        except BaseException:
            self._leave_after_error()
            raise
        self._autocommit.leave()
        return result

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Look meanwhile at what is executed past the operations, after all others that do."""
        if not self._is_on:
            yield
            return
        engine = self._connection.engine  # its listeners come after those of the connection
        events: dict[str, t.Any] = {
            "before_cursor_execute": self._before,
            "after_cursor_execute": self._after,
            "handle_error": self._after_error,
        }
        for name, function in events.items():
            sa.event.listen(engine, name, function)
        try:
            yield
        finally:
            for name, function in events.items():
                sa.event.remove(engine, name, function)

    def _before(self, connection: sa.Connection, cursor: t.Any, statement: str, *_: t.Any) -> None:
        if connection is not self._connection:
            self._make_way()
            return
        if self._has_made_way:
            self._has_made_way = False
            self._autocommit.begin()
        if self.need(statement):
            self._autocommit.enter()
            self._cursor = cursor

    def _make_way(self) -> None:
        """Commit for another connection of the script's, which would wait for this one for ever."""
        is_of_script = threading.get_ident() == self._thread
        if is_of_script and self._connection.in_transaction() and not self._has_made_way:
            self._autocommit.commit()
            self._has_made_way = True

    def _after(self, connection: sa.Connection, cursor: t.Any, *_: t.Any) -> None:
        if cursor is self._cursor:
            self._cursor = None
            self._autocommit.leave()

    def _after_error(self, context: sa.engine.ExceptionContext) -> None:
        if context.connection is self._connection and self._cursor is not None:
            self._cursor = None
            self._leave_after_error()

    def _leave_after_error(self) -> None:
        with suppress(Exception):  # the connection may be lost
            self._autocommit.leave()
