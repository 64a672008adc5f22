"""Says what went wrong while env.py ran, and where the database stands now."""

from __future__ import annotations

import os
import traceback

from alembic.runtime.migration import MigrationContext
from alembic.script.revision import RevisionError as AlembicRevisionError
from alembic.util import CommandError
import sqlalchemy as sa

from flask_dbmigrate.databases import databases_of
from flask_dbmigrate.databases import key_of
from flask_dbmigrate.databases import without_secrets
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import DatabaseUnavailableError
from flask_dbmigrate.errors import DBMigrateError
from flask_dbmigrate.errors import MigrationError
from flask_dbmigrate.script.directory import explain
from flask_dbmigrate.script.directory import shorten
from flask_dbmigrate.state import MigrateState

from .connection import connection_error
from .offline import needs_connection
from .preparation import RefusedError
from .recorder import Recorder
from .recorder import Visit


def explain_failure(
    error: BaseException, state: MigrateState, recorder: Recorder
) -> DBMigrateError:
    """Build our error for whatever env.py or a revision raised."""
    visit = recorder.visits[-1] if recorder.visits else None
    if visit is not None and visit.script is not None:
        return _revision_failed(error, recorder.visits)
    if isinstance(error, (CommandError, AlembicRevisionError)):
        return explain(error, recorder.directory)
    if isinstance(error, sa.exc.TimeoutError):
        return DatabaseUnavailableError(
            f"All connections to the database are in use: {error}.",
            hint="Close those that this process holds, or enlarge its pool.",
        )
    if isinstance(error, (sa.exc.DBAPIError, RefusedError)):
        statement = error.statement if isinstance(error, sa.exc.DBAPIError) else None
        if visit is None and isinstance(error, sa.exc.DBAPIError) and statement is None:
            return _not_connected(error, state)
        key = visit.key if visit else key_of(None)
        standing, heads = _standing(recorder.visits)
        is_commit = visit is not None and visit.is_done
        what = "The changes could not be committed" if is_commit else f"Database '{key}' reports"
        return MigrationError(
            f"{what}: {_said(error, visit)}.{standing}",
            hint=_hint(error, visit) or "Add '--traceback' to see where.",
            database=key,
            statement=statement,
            heads=heads,
        )
    return _environment_failed(error, recorder)


def _revision_failed(error: BaseException, visits: list[Visit]) -> MigrationError:
    visit = visits[-1]
    script = visit.script
    assert script is not None
    line = _line_in(script.path, error)
    place = shorten(script.path) + (f", line {line}" if line else "")
    said = _said(error, visit)
    if visit.context.as_sql and needs_connection(error):
        return MigrationError(
            f"Revision '{script.revision}' needs a connection to the database ({place}), and with "
            f"'--sql' there is none: {said}.",
            hint="Let it do its work with 'op.execute()' of a statement, run it online, or choose "
            "other databases with '--database'.",
            database=visit.key,
            revision=script.revision,
            path=script.path,
            line=line,
        )
    message = f"Revision '{script.revision}' failed on database '{visit.key}' ({place}): {said}."
    statement = error.statement if isinstance(error, sa.exc.StatementError) else None
    if statement:
        message += f" The statement was: {_shortened(statement)}."
    standing, heads = _standing(visits)
    message += standing
    if not visit.context.impl.transactional_ddl and not visit.context.as_sql:
        name = visit.context.dialect.name
        message += (
            f" '{name}' commits changes of the schema by itself: what the revision did "
            f"before this point {facts_of(name).leftovers}."
        )
    return MigrationError(
        message,
        hint=_hint(error, visit) or f"Correct '{shorten(script.path)}' and run the command again.",
        database=visit.key,
        revision=script.revision,
        path=script.path,
        line=line,
        statement=statement,
        heads=heads,
    )


def _hint(error: BaseException, visit: Visit | None) -> str:
    return visit.preparation.hint(error) if visit else ""


def _shortened(statement: str) -> str:
    """Show a statement in one line that can be read."""
    line = " ".join(statement.split())
    return line if len(line) <= 500 else f"{line[:500]} …"


def _standing(visits: list[Visit]) -> tuple[str, tuple[str, ...] | None]:
    """Say where each database that was visited stands, and return the heads of the last one."""
    sentences, heads = "", None
    for visit in visits:
        heads = _heads_now(visit)
        if heads is not None:
            name = "The database" if len(visits) == 1 else f"Database '{visit.key}'"
            place = " and ".join(f"'{head}'" for head in heads) or "base"
            sentences += f" {name} is at {place} now."
    return sentences, heads


def _said(error: BaseException, visit: Visit | None) -> str:
    """Quote the DBMS's own message, or name the Python error."""
    if isinstance(error, sa.exc.StatementError) and error.orig is not None:
        name = visit.context.dialect.name if visit else ""
        return facts_of(name).message(error.orig).rstrip(".")
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, RefusedError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line_in(path: str, error: BaseException) -> int | None:
    """Find the last line of a script that took part in an error."""
    real_path = os.path.realpath(path)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if os.path.realpath(frame.filename) == real_path]
    return lines[-1] if lines else None


def _heads_now(visit: Visit) -> tuple[str, ...] | None:
    """Read the version table again, now that env.py's transaction has ended."""
    if visit.engine is None or visit.context.connection is None:
        return None
    if not visit.context.connection.closed:  # it was handed in: its owner decides what stays
        return None
    options = {
        name: visit.context.opts[name]
        for name in ("version_table", "version_table_schema")
        if name in visit.context.opts
    }
    try:
        with visit.engine.connect() as connection:
            return MigrationContext.configure(connection, opts=options).get_current_heads()
    except sa.exc.SQLAlchemyError:
        return None


def _not_connected(error: sa.exc.DBAPIError, state: MigrateState) -> DBMigrateError:
    """Explain that env.py got no connection; which database it tried is known if there is one."""
    database, *others = databases_of(state.source)
    if not others and isinstance(error.orig, database.engine.dialect.loaded_dbapi.Error):
        return connection_error(error, database)
    said = " ".join(str(error.orig).split()).rstrip(".")
    for known in (database, *others):
        said = without_secrets(said, known.engine.url)
    return DatabaseUnavailableError(
        f"A database that env.py opens cannot be reached: {said}.",
        hint="Start it, or correct its URL.",
        is_transient=any(
            facts_of(known.engine.dialect.name).is_transient(error.orig or error)
            for known in (database, *others)
        ),
    )


def _environment_failed(error: BaseException, recorder: Recorder) -> ConfigurationError:
    path = recorder.directory.env_py_location
    line = error.lineno if isinstance(error, SyntaxError) else _line_in(path, error)
    return ConfigurationError(
        f"'{shorten(path)}' failed"
        + (f" in line {line}" if line else "")
        + f": {_said(error, None)}.",
        hint="Add '--traceback' to see where.",
    )
