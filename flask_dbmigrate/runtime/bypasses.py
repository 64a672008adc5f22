"""Notices what a revision does where the transaction of the run does not reach.

That is on other connections, and below SQLAlchemy, with the driver's own. What another process
does, or a connection that the driver alone has made, cannot be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
import inspect
import threading
import typing as t
from weakref import WeakSet

import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import Kind

from .journal_writer import JournalWriter
from .preparation import Preparation
from .preparation.base import is_own

_INSIDERS = {"sqlalchemy", "alembic", "flask_dbmigrate"}
"""Packages that do not change rows with a driver's connection when they ask for it."""

Function = t.Callable[..., t.Any]


class Bypasses:
    """Tells of each way past the run's transaction before it is taken.

    What other threads of the process do on connections of their own does not count, unless the
    revision has started them.

    :param connection: env.py's own; None offline.
    :param journal_writer: Is told of each.
    :param preparation: Is told that a step must not be run again.
    """

    def __init__(
        self,
        connection: sa.Connection | None,
        journal_writer: JournalWriter,
        preparation: Preparation,
    ) -> None:
        self._connection = connection
        self._journal_writer = journal_writer
        self._preparation = preparation
        self._threads = WeakSet({threading.current_thread()})
        self._borrowed = preparation.borrowed = WeakSet()
        self._is_running = False

    def before_step(self, step: _alembic.Step) -> None:
        """Get ready to notice what the function of a step does."""
        _alembic.surround_function(step, self._following)

    @contextmanager
    def _following(self) -> Iterator[None]:
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Notice meanwhile."""
        if self._connection is None:
            yield
            return
        getter = t.cast("property", vars(sa.Connection)["connection"]).fget
        assert getter is not None
        sa.event.listen(sa.Engine, "before_cursor_execute", self._before_statement)
        with ExitStack() as stack:
            stack.callback(
                sa.event.remove, sa.Engine, "before_cursor_execute", self._before_statement
            )
            for owner, name, replacement in (
                (threading.Thread, "start", self._adopting(threading.Thread.start)),
                (sa.Connection, "connection", property(self._telling(getter))),
                (sa.Engine, "raw_connection", self._telling(sa.Engine.raw_connection)),
                (sa.Pool, "connect", self._telling(sa.Pool.connect)),
            ):
                stack.enter_context(_replaced(owner, name, replacement))
            yield

    def _adopting(self, start: Function) -> Function:
        """Make a ``Thread.start()`` that keeps in mind which threads the revision has started."""

        def adopt(thread: threading.Thread) -> None:
            if self._is_running and threading.current_thread() in self._threads:
                self._threads.add(thread)
            start(thread)

        return adopt

    def _telling(self, get: Function) -> Function:
        """Make a function that tells who asks for a driver's connection."""

        def tell(owner: t.Any) -> t.Any:
            frame = inspect.currentframe()
            is_bypass = self._concerns(owner) and _is_stranger(frame and frame.f_back)
            if is_bypass:
                self._journal_writer.bypassed_below()
                self._preparation.is_final = True
            connection = get(owner)
            if is_bypass:
                self._borrowed.add(connection)
            return connection

        return tell

    def _before_statement(
        self,
        connection: sa.Connection,
        cursor: t.Any,
        statement: str,
        parameters: t.Any,
        context: sa.engine.ExecutionContext | None,
        *_: t.Any,
    ) -> None:
        if not self._concerns(connection) or is_own(context):
            return
        self._journal_writer.bypassed(statement)
        if connection is not self._connection:
            facts = facts_of(connection.dialect.name)
            if not facts.is_look(statement) and facts.kind(statement) is not Kind.SESSION:
                self._preparation.is_final = True

    def _concerns(self, owner: object) -> bool:
        """Tell whether it is the revision that uses a connection, an engine or a pool now."""
        return self._is_running and (
            owner is self._connection or threading.current_thread() in self._threads
        )


def _is_stranger(frame: t.Any) -> bool:
    """Tell whether code that does not work for SQLAlchemy or for us is running."""
    name = str(frame.f_globals.get("__name__", "")) if frame else ""
    return name.partition(".")[0] not in _INSIDERS


@contextmanager
def _replaced(owner: type, name: str, replacement: object) -> Iterator[None]:
    """Replace an attribute of a class."""
    original = vars(owner)[name]
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)
