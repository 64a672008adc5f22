"""Runs that write SQL (``--sql``) instead of executing it."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import suppress
from io import StringIO
import os
from pathlib import Path
import re
import sys
import threading
import typing as t
from urllib.parse import quote

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.errors import ConfigurationError


class SqlOutput:
    """Collects the SQL for each database until all of it is there.

    :param folder: Where to write ``<key>.sql``; None for stdout.
    """

    def __init__(self, folder: str | None) -> None:
        self.folder = folder
        self._texts: dict[str, StringIO] = {}
        self._latest = StringIO()

    def begin(self) -> StringIO:
        """Make the buffer for the next database."""
        self._latest = StringIO()
        return self._latest

    def keep(self, key: str) -> None:
        """Keep what is written to the latest buffer as the SQL for a database."""
        self._texts[key] = self._latest

    def write(self) -> dict[str, str]:
        """Write what was collected.

        :returns: The files, by key.
        :raises ConfigurationError: if a file cannot be written.
        """
        if self.folder is None:
            if sql := "".join(text.getvalue() for text in self._texts.values()):
                sys.stdout.write(sql)
                sys.stdout.flush()
            return {}
        files = {}
        for key, text in self._texts.items():
            path = Path(self.folder, f"{quote(key, safe=' ')}.sql")
            part = path.with_suffix(".part")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                part.write_text(text.getvalue(), "utf-8")
                part.replace(path)
            except OSError as error:
                with suppress(OSError):
                    part.unlink()
                raise ConfigurationError(
                    f"The SQL cannot be written to '{path}': {error.strerror}.",
                    hint="Name a folder that is writable with '--output'.",
                ) from error
            files[key] = os.fspath(path)
        return files


@contextmanager
def nothing_executed(
    engines: t.Iterable[sa.Engine], is_in_revision: t.Callable[[], bool]
) -> t.Iterator[None]:
    """Refuse what a revision executes with the application's own engines, its session for one.

    :param is_in_revision: Tells whether a revision is running: env.py may ask the database.
    """
    thread = threading.get_ident()

    def refuse(*_: t.Any) -> None:
        if threading.get_ident() == thread and is_in_revision():
            raise sa.exc.UnboundExecutionError("'--sql' has no connection")

    with ExitStack() as stack:
        for engine in engines:
            sa.event.listen(engine, "before_cursor_execute", refuse)
            stack.callback(sa.event.remove, engine, "before_cursor_execute", refuse)
        yield


def require_values(context: MigrationContext) -> None:
    """Have each value written into the SQL, as the DBMS would get it, or the revision fail."""
    _alembic.refuse_parameters(context)
    dialect, facts = context.dialect, facts_of(context.dialect.name)

    class Compiler(dialect.statement_compiler):  # type: ignore[name-defined,misc]
        def visit_bindparam(self, bindparam: sa.BindParameter[t.Any], **options: t.Any) -> str:
            """Refuse a parameter without a value, such as a ':b' in a text: it would be NULL."""
            if bindparam.required:
                raise sa.exc.CompileError(f"'{bindparam.key}' has no renderable value")
            return str(super().visit_bindparam(bindparam, **options))

        def render_literal_value(self, value: t.Any, type_: sa.types.TypeEngine[t.Any]) -> str:
            """Write bytes, of which SQLAlchemy makes a text."""
            to_driver = type_.dialect_impl(dialect).bind_processor(dialect)
            sent = to_driver(value) if to_driver else value
            literal = facts.binary_literal(bytes(sent)) if isinstance(sent, _Bytes) else None
            return literal or str(super().render_literal_value(value, type_))

    dialect.statement_compiler = Compiler
    if dialect.name == "postgresql":  # SQLAlchemy 2.0.16 takes it for an old one
        t.cast(t.Any, dialect)._backslash_escapes = False


_Bytes = bytes | bytearray | memoryview


def explain_offline(error: BaseException) -> tuple[str, str] | None:
    """Tell what a revision does that cannot be done offline, and what helps; None if it is else."""
    if _has_no_sql(error):
        return (
            "has a value that cannot be written as SQL ({place})",
            "Write it into the statement of 'op.execute()' as SQL; a colon in a text as '\\:'",
        )
    if _needs_connection(error):
        return (
            "needs a connection to the database ({place}), and with '--sql' there is none",
            "Let it do its work with 'op.execute()' of a statement",
        )
    return None


def _has_no_sql(error: BaseException) -> bool:
    """Tell whether a value is of a type without literals, or beside the statement."""
    if isinstance(error, TypeError):
        return "SQL parameters not allowed" in str(error)
    return isinstance(error, sa.exc.CompileError) and bool(
        re.search("literal value|renderable value", str(error))
    )


def _needs_connection(error: BaseException) -> bool:
    """Tell whether a revision failed because it has no results and no connection offline.

    Statements are written by a mock of a connection, and the result of each is None.
    """
    if isinstance(error, AttributeError | TypeError | sa.exc.NoInspectionAvailable):
        return "NoneType" in str(error) or "MockConnection" in str(error)
    if isinstance(error, CommandError):
        return "--sql mode" in str(error)
    return isinstance(error, sa.exc.UnboundExecutionError)
