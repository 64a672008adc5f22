"""Counts what a revision executes."""

from __future__ import annotations

from contextlib import contextmanager
import typing as t

from alembic.runtime.migration import MigrationContext
import sqlalchemy as sa

from .preparation.base import is_own


class StatementCounter:
    """Counts the statements that are executed, those on the version table and log left out.

    :param context: Alembic's context for the database; offline nothing is executed.
    """

    def __init__(self, context: MigrationContext) -> None:
        self.count = 0
        self._context = context

    @contextmanager
    def listening(self) -> t.Iterator[None]:
        """Count meanwhile."""
        connection = self._context.connection
        if connection is None or self._context.as_sql:
            yield
            return

        def count(
            _: t.Any, cursor: t.Any, statement: str, values: t.Any, context: t.Any, *rest: t.Any
        ) -> None:
            if self._context.version_table not in statement and not is_own(context):
                self.count += 1

        sa.event.listen(connection, "before_cursor_execute", count)
        try:
            yield
        finally:
            sa.event.remove(connection, "before_cursor_execute", count)
