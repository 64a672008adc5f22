"""Runs env.py once, with a plan for each database it opens."""

from __future__ import annotations

from contextlib import contextmanager
import logging.config
import threading
import typing as t

from alembic.config import Config
from alembic.script import ScriptDirectory

from flask_dbmigrate.config import read_settings
from flask_dbmigrate.databases import Database
from flask_dbmigrate.databases import databases_of
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import DBMigrateError
from flask_dbmigrate.script.directory import require_complete
from flask_dbmigrate.script.directory import runs_event_loop
from flask_dbmigrate.state import answering
from flask_dbmigrate.state import MigrateState
from flask_dbmigrate.state import on_command_line
from flask_dbmigrate.state import running

from .connection import run_with_event_loop
from .environment import Plan
from .environment import Recorder
from .environment import RunEnvironment
from .environment import Visit
from .failure import explain_failure
from .offline import nothing_executed
from .result import Listener
from .result import SILENT
from .settings import settings_of

_turn = threading.Lock()  # Alembic's context is a module global


def run_environment(
    state: MigrateState,
    config: Config,
    directory: ScriptDirectory,
    plan: Plan,
    *,
    listener: Listener = SILENT,
    is_known: bool = True,
    **context_options: t.Any,
) -> list[Visit]:
    """Run env.py once.

    :param plan: Says what to run on each database.
    :param is_known: Whether each database must be at revisions that the directory has.
    :param context_options: As for Alembic's ``EnvironmentContext``: ``as_sql``, ``tag`` …
    :returns: The databases that were visited.
    :raises DBMigrateError: whatever went wrong, explained.
    """
    if running.get() is not None:
        raise ConfigurationError(
            "A command is running already, and this call comes from inside of it.",
            hint="In a revision use 'op.get_context()' and 'op.get_bind()' instead.",
        )
    settings = read_settings(state.app.config)
    recorder = Recorder(plan, directory, listener, settings, is_known=is_known)
    databases = _databases(state)
    environment = RunEnvironment(
        config,
        directory,
        recorder=recorder,
        options=dict(state.configure_args),
        databases=databases,
        **context_options,
    )

    def run() -> None:
        try:
            with environment:
                directory.run_env()
        except DBMigrateError as error:
            recorder.failed(error, urls)
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and recorder.script is None:
                raise
            explained = explain_failure(error, state, recorder)
            recorder.failed(explained, urls)
            raise explained from error

    urls = [database.engine.url for database in databases]
    engines = [database.engine for database in databases]
    with _turn, answering(state), _options_kept(state), _application_logging_kept():
        if environment.is_offline_mode():
            with nothing_executed(engines, lambda: recorder.script is not None):
                run()
        elif "connection" in config.attributes or runs_event_loop(directory):
            run()
        else:
            run_with_event_loop(run, engines)
    environment.write_sql()
    if not recorder.visits:
        require_complete(directory)
    settings_of(config).require_visited(visit.key for visit in recorder.visits)
    return recorder.visits


def _databases(state: MigrateState) -> tuple[Database, ...]:
    """List the databases; none if something is wrong with them: env.py says so if it needs them."""
    try:
        return databases_of(state.source)
    except ConfigurationError:
        return ()


@contextmanager
def _options_kept(state: MigrateState) -> t.Iterator[None]:
    """Forget what env.py writes into ``configure_args``: it would be there in the next run."""
    before = dict(state.configure_args)
    try:
        yield
    finally:
        state.configure_args.clear()
        state.configure_args.update(before)


@contextmanager
def _application_logging_kept() -> t.Iterator[None]:
    """Make ``fileConfig()`` do nothing for this thread, unless the process is a command of ours.

    Old env.py files call it. It silences the application's loggers and closes their handlers,
    so putting things back afterwards would be too late.
    """
    if on_command_line.get():
        yield
        return
    original = logging.config.fileConfig
    this_thread = threading.get_ident()

    def file_config(*args: t.Any, **kwargs: t.Any) -> None:
        if threading.get_ident() != this_thread:
            original(*args, **kwargs)

    logging.config.fileConfig = file_config
    try:
        yield
    finally:
        logging.config.fileConfig = original
