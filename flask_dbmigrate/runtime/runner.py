"""Runs env.py once, with a plan for each database it opens."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
import os
import threading
import typing as t

from alembic.config import Config
from alembic.script import ScriptDirectory

from flask_dbmigrate.config import read_settings
from flask_dbmigrate.databases import Database
from flask_dbmigrate.databases import databases_of
from flask_dbmigrate.dialects import closed_when_returned
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import DBMigrateError
from flask_dbmigrate.errors import LockNotAcquiredError
from flask_dbmigrate.script.directory import require_complete
from flask_dbmigrate.script.directory import runs_event_loop
from flask_dbmigrate.state import answering
from flask_dbmigrate.state import MigrateState
from flask_dbmigrate.state import on_command_line
from flask_dbmigrate.state import running

from .announcer import Announcer
from .connection import run_with_event_loop
from .environment import RunEnvironment
from .failure import describe_stop
from .failure import explain_failure
from .interruption import Stopped
from .interruption import stops_raised
from .locking import locked
from .locking import Patience
from .locking import require_held
from .offline import nothing_executed
from .recorder import Recorder
from .result import Listener
from .result import SILENT
from .settings import SETTINGS
from .settings import settings_of
from .visit import Plan
from .visit import Visit
from .waiting import until_available

_env_py = threading.Lock()  # Alembic's context is a module global


def _forget_threads() -> None:
    """Let a process that was forked while a thread migrated not wait for that: it has none."""
    global _env_py
    _env_py = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


class TurnTakenError(Exception):
    """Another thread is running env.py."""


def run_environment(
    state: MigrateState,
    config: Config,
    directory: ScriptDirectory,
    plan: Plan,
    *,
    listener: Listener = SILENT,
    is_known: bool = True,
    patience: float | None = None,
    **context_options: t.Any,
) -> list[Visit]:
    """Run env.py once.

    :param plan: Says what to run on each database.
    :param is_known: Whether each database must be at revisions that the directory has.
    :param patience: How long to wait while another thread runs env.py, in seconds; by default
        as long as it takes.
    :param context_options: As for Alembic's ``EnvironmentContext``: ``as_sql``, ``tag`` …
    :returns: The databases that were visited.
    :raises TurnTakenError: if another thread runs env.py for longer than that.
    :raises DBMigrateError: whatever went wrong, explained.
    """
    run = _Run(state, config, directory, context_options)
    recorder = run.recorder(plan, listener, is_known=is_known)
    turn = None if patience is None else Patience(patience)
    return run.in_turn(lambda: run.visit(recorder), patience=turn)


def run_locked(
    state: MigrateState,
    config: Config,
    directory: ScriptDirectory,
    plan: Plan,
    *,
    listener: Listener = SILENT,
    command: str | None = None,
    always: bool = False,
    heeds_journal: bool = True,
    resumes_unlocked: bool = False,
    **context_options: t.Any,
) -> list[Visit]:
    """Look what is to be done, and do it while no other run is at work on these databases.

    Where nothing is to be done, nothing is locked. Parameters and errors are those of
    :func:`run_environment`.

    :param command: What the signals of the run say it is; None to send none.
    :param always: Whether there is something to do even if the plan has no steps.
    :param heeds_journal: Whether a half-applied revision is resumed, or an error.
    :param resumes_unlocked: Whether it is resumed even if another run may be at work on it.
    :raises LockNotAcquiredError: if another run holds a database for too long.
    :raises HalfAppliedError: if a revision is half-applied and cannot or may not be resumed.
    """
    run = _Run(state, config, directory, context_options)
    settings = settings_of(config)
    recorder = run.recorder(plan, listener)
    recorder.heeds_journal = heeds_journal
    recorder.may_resume = resumes_unlocked
    visit = partial(run.visit, recorder)
    patience = Patience(settings.lock_timeout or 0)
    announcer = Announcer(state.app, None if run.is_offline else command)
    recorder.after_commit = announcer.revision_done

    def lock_and_run(looked: list[Visit]) -> list[Visit]:
        with locked(looked, patience=patience, listener=listener) as locks:
            recorder.before_step = partial(require_held, locks)
            recorder.may_resume = bool(settings.resume)
            return unlocked()

    def unlocked() -> list[Visit]:
        if not announcer.is_heard:
            return visit()
        # another run may have been at work while this one waited: what is due now is announced
        return run.if_due(recorder, partial(announcer.around, work=visit), always=always)

    is_guarded = settings.lock and not run.is_left_to_env
    guarded = partial(run.if_due, recorder, lock_and_run, always=always)
    work = guarded if is_guarded else unlocked
    until_done = partial(until_available, work, seconds=settings.wait or 0, listener=listener)
    try:
        return run.in_turn(until_done, patience=patience)
    except TurnTakenError as error:
        raise LockNotAcquiredError(
            "Another thread of this process is still at work on a database, after "
            f"{settings.lock_timeout:.0f} s of waiting.",
            hint="Try again when it has finished, or raise '--lock-timeout'.",
        ) from error


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
        return Recorder(
            plan,
            self.directory,
            listener,
            read_settings(self.state.app.config),
            settings_of(self.config),
            is_known=is_known,
            urls={database.key: database.setting for database in self.databases},
        )

    def in_turn(
        self, work: t.Callable[[], list[Visit]], *, patience: Patience | None = None
    ) -> list[Visit]:
        """Do some work when no other thread runs env.py, and where asyncio engines connect."""
        if running.get() is not None:
            raise ConfigurationError(
                "A command is running already, and this call comes from inside of it.",
                hint="In a revision use 'op.get_context()' and 'op.get_bind()' instead.",
            )
        state = self.state
        engines = [] if self.is_left_to_env else [found.engine for found in self.databases]
        with (
            _turn(patience),
            answering(state),
            _options_kept(state),
            _application_logging_kept(),
            closed_when_returned(engines),
        ):
            return run_with_event_loop(work, engines)

    def if_due(
        self, recorder: Recorder, work: t.Callable[[list[Visit]], list[Visit]], *, always: bool
    ) -> list[Visit]:
        """Look, and do some work with what was seen unless nothing is pending.

        :param always: Whether there is something to do even if the plan has no steps.
        """
        looked = self.look(recorder.look(without_plan=always))
        return work(looked) if always or any(visit.pending for visit in looked) else looked

    def look(self, recorder: Recorder) -> list[Visit]:
        """See where the databases stand and what is pending, and change nothing."""
        settings = settings_of(self.config)
        self.config.attributes[SETTINGS] = replace(settings, two_phase=False)
        try:
            return self.visit(recorder, dont_mutate=True, purge=False)
        finally:
            self.config.attributes[SETTINGS] = settings

    def visit(self, recorder: Recorder, **more_options: t.Any) -> list[Visit]:
        """Run env.py, once more if a lock was in the way."""
        recorder.start_over()  # after a pass that has failed
        is_through = False
        while not is_through:
            environment = RunEnvironment(
                self.config,
                self.directory,
                recorder=recorder,
                options=dict(self.state.configure_args),
                databases=self.databases,
                **{**self.context_options, **more_options},
            )
            with self._nothing_executed_offline(recorder):
                is_through = self._run_env(environment, recorder)
        recorder.all_committed()
        environment.write_sql()
        if not recorder.visits:
            require_complete(self.directory)
        settings_of(self.config).require_visited(visit.key for visit in recorder.visits)
        if not self.is_left_to_env:
            results = {visit.key: visit.result for visit in recorder.visits}
            self.state.seen = {**self.state.seen, **results}
        return recorder.visits

    def _run_env(self, environment: RunEnvironment, recorder: Recorder) -> bool:
        """Run env.py; False if it is to be run again."""
        urls = [database.engine.url for database in self.databases]
        try:
            with stops_raised(), environment:
                self.directory.run_env()
            return True
        except DBMigrateError as error:
            recorder.failed(error.message, urls)
            raise
        except Stopped as stopped:
            recorder.failed(str(stopped), urls)
            stopped.where = describe_stop(recorder)
            raise
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise
        except BaseException as error:
            if not isinstance(error, (Exception, SystemExit)) and recorder.script is None:
                raise  # nobody knows what it means to whoever called
            if recorder.repeats(error):
                return False
            explained = explain_failure(error, self.state, recorder)
            recorder.failed(explained.message, urls)
            raise explained from error

    def _nothing_executed_offline(self, recorder: Recorder) -> t.ContextManager[None]:
        if not self.is_offline:
            return nullcontext()
        engines = [database.engine for database in self.databases]
        return nothing_executed(engines, lambda: recorder.script is not None)


@contextmanager
def _turn(patience: Patience | None) -> t.Iterator[None]:
    """Have env.py for this thread alone."""
    turn = _env_py  # a process that is forked meanwhile has another one
    with nullcontext() if patience is None else patience.spent():
        seconds = -1 if patience is None else min(patience.seconds, threading.TIMEOUT_MAX)
        is_ours = turn.acquire(timeout=seconds)
    if not is_ours:
        raise TurnTakenError
    try:
        yield
    finally:
        turn.release()


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
    import logging.config  # the command line does without it

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
