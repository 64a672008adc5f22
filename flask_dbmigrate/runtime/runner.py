"""Runs env.py once, with a plan for each database it opens."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
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
from .environment import RunEnvironment
from .failure import explain_failure
from .locking import locked
from .locking import require_held
from .offline import nothing_executed
from .recorder import Plan
from .recorder import Recorder
from .recorder import Visit
from .result import Listener
from .result import SILENT
from .settings import SETTINGS
from .settings import settings_of
from .waiting import until_available

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
    run = _Run(state, config, directory, context_options)
    recorder = run.recorder(plan, listener, is_known=is_known)
    return run.in_turn(lambda: run.visit(recorder))


def run_locked(
    state: MigrateState,
    config: Config,
    directory: ScriptDirectory,
    plan: Plan,
    *,
    listener: Listener = SILENT,
    always: bool = False,
    **context_options: t.Any,
) -> list[Visit]:
    """Look what is to be done, and do it while no other run is at work on these databases.

    Where nothing is to be done, nothing is locked. Parameters and errors are those of
    :func:`run_environment`.

    :param always: Whether there is something to do even if the plan has no steps.
    :raises LockNotAcquiredError: if another run holds a database for too long.
    """
    run = _Run(state, config, directory, context_options)
    settings = settings_of(config)
    recorder = run.recorder(plan, listener)

    def look_lock_run() -> list[Visit]:
        looked = run.look(recorder.look(without_plan=always))
        if not always and not any(visit.pending for visit in looked):
            return looked
        assert settings.lock_timeout is not None
        with locked(looked, timeout=settings.lock_timeout, listener=listener) as locks:
            recorder.before_step = partial(require_held, locks)
            return run.visit(recorder)

    is_guarded = settings.lock and not run.is_left_to_env
    work = look_lock_run if is_guarded else lambda: run.visit(recorder)
    return run.in_turn(lambda: until_available(work, seconds=settings.wait or 0, listener=listener))


class _Run:
    """What all passes through env.py have in common.

    :param context_options: As for Alembic's ``EnvironmentContext``.
    """

    def __init__(
        self,
        state: MigrateState,
        config: Config,
        directory: ScriptDirectory,
        context_options: dict[str, t.Any],
    ) -> None:
        self.state = state
        self.config = config
        self.directory = directory
        self.context_options = context_options
        self.databases = _databases(state)
        self.is_offline = bool(context_options.get("as_sql"))
        self.is_left_to_env = (
            self.is_offline or "connection" in config.attributes or runs_event_loop(directory)
        )

    def recorder(self, plan: Plan, listener: Listener, *, is_known: bool = True) -> Recorder:
        """Make the recorder of a pass; see its parameters."""
        settings = read_settings(self.state.app.config)
        return Recorder(plan, self.directory, listener, settings, is_known=is_known)

    def in_turn(self, work: t.Callable[[], list[Visit]]) -> list[Visit]:
        """Do some work when no other thread runs env.py, and where asyncio engines connect."""
        if running.get() is not None:
            raise ConfigurationError(
                "A command is running already, and this call comes from inside of it.",
                hint="In a revision use 'op.get_context()' and 'op.get_bind()' instead.",
            )
        state = self.state
        engines = [] if self.is_left_to_env else [found.engine for found in self.databases]
        with _turn, answering(state), _options_kept(state), _application_logging_kept():
            return run_with_event_loop(work, engines)

    def look(self, recorder: Recorder) -> list[Visit]:
        """See where the databases stand and what is pending, and change nothing."""
        settings = settings_of(self.config)
        self.config.attributes[SETTINGS] = replace(settings, two_phase=False)
        try:
            return self.visit(recorder, dont_mutate=True, purge=False)
        finally:
            self.config.attributes[SETTINGS] = settings

    def visit(self, recorder: Recorder, **more_options: t.Any) -> list[Visit]:
        """Run env.py."""
        environment = RunEnvironment(
            self.config,
            self.directory,
            recorder=recorder,
            options=dict(self.state.configure_args),
            databases=self.databases,
            **{**self.context_options, **more_options},
        )
        with self._nothing_executed_offline(recorder):
            self._run_env(environment, recorder)
        environment.write_sql()
        if not recorder.visits:
            require_complete(self.directory)
        settings_of(self.config).require_visited(visit.key for visit in recorder.visits)
        return recorder.visits

    def _run_env(self, environment: RunEnvironment, recorder: Recorder) -> None:
        urls = [database.engine.url for database in self.databases]
        try:
            with environment:
                self.directory.run_env()
        except DBMigrateError as error:
            recorder.failed(error, urls)
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and recorder.script is None:
                raise
            explained = explain_failure(error, self.state, recorder)
            recorder.failed(explained, urls)
            raise explained from error

    def _nothing_executed_offline(self, recorder: Recorder) -> t.ContextManager[None]:
        if not self.is_offline:
            return nullcontext()
        engines = [database.engine for database in self.databases]
        return nothing_executed(engines, lambda: recorder.script is not None)


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
