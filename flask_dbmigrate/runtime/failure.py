"""Says what went wrong while env.py ran, and where the database stands now."""

from __future__ import annotations

import os
from pathlib import Path
import re
import traceback
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script.revision import RevisionError as AlembicRevisionError
from alembic.util import CommandError
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.databases import Database
from flask_dbmigrate.databases import databases_of
from flask_dbmigrate.databases import key_of
from flask_dbmigrate.databases import without_secrets
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import separate_connection
from flask_dbmigrate.dialects import was_lost
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import DatabaseUnavailableError
from flask_dbmigrate.errors import DBMigrateError
from flask_dbmigrate.errors import MigrationError
from flask_dbmigrate.script.directory import explain
from flask_dbmigrate.script.directory import shorten
from flask_dbmigrate.script.functions import NothingDoneError
from flask_dbmigrate.state import MigrateState
from flask_dbmigrate.wording import shortened
from flask_dbmigrate.wording import words_of

from .connection import connection_error
from .connection import connection_lost
from .connection import is_from_driver
from .connection import lacks_greenlet
from .journal import Journal
from .offline import explain_offline
from .preparation import RefusedError
from .recorder import Recorder
from .repetition import ScriptChangedError
from .visit import Visit

if t.TYPE_CHECKING:
    from .half_applied import HalfApplied

_LEFT_BY_BATCH = r"_alembic_tmp_.*already exists"


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
    if visit is not None and visit.engine is not None and was_lost(error):
        is_unchanged = recorder.is_look or not visit.is_done
        if is_unchanged and not _remedy(error, visit):  # of a pooler that closes what it refuses
            return connection_lost(error, visit.key, visit.engine)
    if isinstance(error, (sa.exc.DBAPIError, RefusedError)):
        statement = error.statement if isinstance(error, sa.exc.DBAPIError) else None
        if visit is None and isinstance(error, sa.exc.DBAPIError) and statement is None:
            return _not_connected(error, state)
        if visit is not None and not visit.steps and not visit.is_done and _remedy(error, visit):
            return _not_usable(error, visit, recorder)
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
    if isinstance(error, sa.exc.NoSuchTableError):
        return MigrationError(
            f"Table '{error}' is gone since the tables were listed: somebody else drops it.",
            hint="Run the command again.",
            database=visit.key if visit else key_of(None),
        )
    if visit is None and (gives_bytes := _gives_bytes(error, state)):
        return gives_bytes
    for database in databases_of(state.source) if isinstance(error, RuntimeError) else ():
        if visit is None and is_from_driver(error, database.engine):
            return connection_error(error, database)
    return _environment_failed(error, recorder)


def _revision_failed(error: BaseException, visits: list[Visit]) -> DBMigrateError:
    visit = visits[-1]
    half_applied = _half_applied(visit)
    script = visit.script
    assert script is not None
    if isinstance(error, ScriptChangedError) and half_applied is not None:
        return _script_changed(error, script.path, half_applied)
    line = _line_in(script.path, error)
    place = shorten(script.path) + (f", line {line}" if line else "")
    said = _said(error, visit)
    if visit.context.as_sql and (offline := explain_offline(error)):
        what, remedy = offline
        return MigrationError(
            f"Revision '{script.revision}' {what.format(place=place)}: {said}.",
            hint=f"{remedy}, run it online, or choose other databases with '--database'.",
            database=visit.key,
            revision=script.revision,
            path=script.path,
            line=line,
        )
    message = f"Revision '{script.revision}' failed on database '{visit.key}' ({place}): {said}."
    statement = error.statement if isinstance(error, sa.exc.StatementError) else None
    if statement:
        message += f" The statement was: {shortened(' '.join(statement.split()), 500)}."
    standing, heads = _standing(visits)
    if half_applied is not None:
        hint = _hint(error, visit) or (
            f"Correct '{shorten(script.path)}' and run the command again."
        )
        is_resumable = half_applied.is_resumable
        return half_applied.error(
            message=f"{message}{standing} The revision is half-applied:\n{half_applied.listing}",
            hint=f"{hint} {half_applied.continuation}" if is_resumable else half_applied.hint,
        )
    return MigrationError(
        message + standing + _leftovers(visit),
        hint=_hint(error, visit) or f"Correct '{shorten(script.path)}' and run the command again.",
        database=visit.key,
        revision=script.revision,
        path=script.path,
        line=line,
        statement=statement,
        heads=heads,
    )


def _script_changed(
    error: ScriptChangedError, path: str, half_applied: HalfApplied
) -> DBMigrateError:
    return half_applied.error(
        message=f"Revision '{half_applied.revision}' is half-applied on database "
        f"'{half_applied.database}', and its script does not do the same again: {error}.\n"
        f"{half_applied.listing}",
        hint=f"Write '{shorten(path)}' so that it does again what is done, as it was when it was "
        f"run, and go on with 'flask db resume'. Or {half_applied.by_hand} "
        f"{half_applied.without_undoing}",
    )


def describe_stop(recorder: Recorder) -> str:
    """Say which revision a signal has stopped, and where the databases stand if any has run."""
    script = recorder.script
    if script is None and not any(visit.steps for visit in recorder.visits):
        return ""
    standing, _ = _standing(recorder.visits)
    if script is None:
        return standing.lstrip()
    visit = recorder.visits[-1]
    half_applied = _half_applied(visit)
    rest = _leftovers(visit)
    if half_applied is not None:
        rest = f" It is half-applied:\n{half_applied.listing}\n{half_applied.hint}"
    return f"Revision '{script.revision}' did not finish.{standing}{rest}"


def _leftovers(visit: Visit) -> str:
    """Say that a part of a revision may be done, where that is so."""
    beside = ""
    if visit.preparation.is_final:
        beside = (
            " What it has committed on another connection, or with the driver's own, stays, and "
            "would be done once more."
        )
    if visit.context.impl.transactional_ddl or visit.context.as_sql or visit.journal_writer.is_on:
        return beside
    name = visit.context.dialect.name
    return (
        f"{beside} '{name}' commits changes of the schema by itself: what the revision did "
        f"before this point {facts_of(name).leftovers}."
    )


def _remedy(error: BaseException, visit: Visit | None) -> str:
    """Tell what helps where nothing of the revision is at fault, as with a full disk."""
    if visit is None or not isinstance(error, sa.exc.DBAPIError) or error.orig is None:
        return ""
    return facts_of(visit.context.dialect.name).remedy_for(error.orig)


def _hint(error: BaseException, visit: Visit | None) -> str:
    if was_lost(error):
        return "Run the command again."
    if remedy := _remedy(error, visit):
        return f"{remedy}, and run the command again."
    if isinstance(error, sa.exc.DBAPIError) and re.search(_LEFT_BY_BATCH, str(error.orig)):
        return (
            "A batch operation was interrupted: 'flask db resolve --drop-temp' drops what it has "
            "left."
        )
    if _alembic.lacks_constraint_name(error) and visit is not None and visit.script is not None:
        return (
            f"Write the name that the database gives it into '{shorten(visit.script.path)}', and "
            "run the command again. A 'naming_convention' gives one to each, that of your metadata "
            "from now on, that of 'op.batch_alter_table()' to those of SQLite that have none."
        )
    return visit.preparation.hint(error) if visit else ""


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


def _place_of(error: BaseException) -> traceback.FrameSummary:
    return traceback.extract_tb(error.__traceback__)[-1]


def _said(error: BaseException, visit: Visit | None) -> str:
    """Quote the DBMS's own message, or name the Python error."""
    if isinstance(error, sa.exc.StatementError) and error.orig is not None:
        name = visit.context.dialect.name if visit else ""
        return facts_of(name).message(error.orig).rstrip(".")
    if _alembic.lacks_constraint_name(error):
        return "A constraint has no name, and needs one there"
    if was_lost(error):
        return "the connection was lost"
    text = words_of(error).rstrip(".")
    if isinstance(error, ValueError) and _place_of(error).filename == sa.engine.url.__file__:
        return "a URL is not that of a database"  # what SQLAlchemy quotes may be of its password
    if isinstance(error, RefusedError | NothingDoneError):
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
    try:
        with separate_connection(visit.engine) as connection:  # the script may have left its mark
            context = _context_on(connection, visit)
            _alembic.pass_over_empty_rows(context)
            return context.get_current_heads()
    except sa.exc.SQLAlchemyError:
        return None


def _half_applied(visit: Visit) -> HalfApplied | None:
    """Read what is left of the revision that has failed, now that its transaction has ended."""
    if not visit.journal_writer.is_on or visit.engine is None:
        return None
    if visit.context.connection is None or not visit.context.connection.closed:
        return None
    try:
        with separate_connection(visit.engine) as connection:
            visit.journal_writer.failed(connection)
            context = _context_on(connection, visit)
            entries = Journal(context).read()
            if not entries:
                return None
            from .half_applied import examine  # few runs need it

            return examine(visit, context, entries).half_applied
    except sa.exc.SQLAlchemyError:
        return None


def _context_on(connection: sa.Connection, visit: Visit) -> MigrationContext:
    """Make a context for the same version table on another connection."""
    options = {
        name: visit.context.opts[name]
        for name in ("version_table", "version_table_schema")
        if name in visit.context.opts
    }
    return MigrationContext.configure(connection, opts=options)


def _not_usable(error: Exception, visit: Visit, recorder: Recorder) -> DBMigrateError:
    assert visit.engine is not None
    setting = recorder.urls.get(visit.key, "its URL")
    return connection_error(error, Database(visit.bind_key, visit.engine, sa.MetaData(), setting))


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


def _gives_bytes(error: BaseException, state: MigrateState) -> ConfigurationError | None:
    """Explain what becomes of text where psycopg does not know its encoding."""
    for database in databases_of(state.source):
        if database.engine.dialect.driver == "psycopg" and "bytes-like object" in str(error):
            return ConfigurationError(
                f"Database '{database.key}' has the encoding SQL_ASCII, in which psycopg gives "
                "bytes instead of text.",
                hint=f"Add 'client_encoding=utf8' to the query of {database.setting}.",
            )
    return None


def _is_from_run(error: BaseException, path: str) -> bool:
    """Tell whether an error comes from what env.py runs, and not from its own code.

    :param path: env.py.
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if os.path.realpath(frame.filename) == os.path.realpath(path):
            return False
        if frame.name == "run_migrations" and _PACKAGE in Path(frame.filename).parents:
            return True
    return False


_PACKAGE = Path(__file__).parents[1]


def _environment_failed(error: BaseException, recorder: Recorder) -> DBMigrateError:
    path = recorder.directory.env_py_location
    twice = re.search(r"multiple values for keyword argument ('\w+')", str(error))
    if isinstance(error, TypeError) and twice and not _is_from_run(error, path):
        return ConfigurationError(
            f"'{shorten(path)}' gives {twice[1]} twice: 'Migrate' has it, too.",
            hint=f"Remove {twice[1]} from 'context.configure()' there, and give it to 'Migrate'.",
        )
    if isinstance(error, ImportError | ValueError) and "greenlet" in str(error):
        return lacks_greenlet(words_of(error))  # env.py has an event loop of its own
    if _is_from_run(error, path):
        place = _place_of(error)
        return MigrationError(
            f"What was to be done could not be done: {_said(error, None)} "
            f"('{shorten(place.filename)}', line {place.lineno}).",
            hint="Add '--traceback' to see how it came to that.",
        )
    line = error.lineno if isinstance(error, SyntaxError) else _line_in(path, error)
    return ConfigurationError(
        f"'{shorten(path)}' failed"
        + (f" in line {line}" if line else "")
        + f": {_said(error, None)}.",
        hint="Add '--traceback' to see where.",
    )
