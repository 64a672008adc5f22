"""Follows a run: which databases env.py visits, and what is run on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
import time
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.runtime.migration import MigrationInfo
from alembic.script import Script
from alembic.script import ScriptDirectory
from alembic.util import CommandError
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.config import Settings
from flask_dbmigrate.databases import key_of
from flask_dbmigrate.script.functions import require_functions
from flask_dbmigrate.script.functions import require_nothing_left

from .bypasses import Bypasses
from .journal import Journal
from .journal import JournalEntry
from .journal_writer import JournalWriter
from .log import direction_of
from .log_writer import LogWriter
from .log_writer import NotLoggedError
from .preparation import Conflict
from .preparation import Preparation
from .result import Listener
from .result import StepResult
from .retry import Retries
from .settings import RunSettings
from .statements import StatementCounter
from .version_rows import explain_line
from .version_rows import require_distinct
from .version_rows import require_known
from .version_table import require_visible
from .visit import Plan
from .visit import Visit
from .writable import require_writable


class HeadsMovedError(Exception):
    """What another run has left was committed while this one looked where the database stands."""


class Recorder:
    """Follows a run from database to database and from step to step.

    :param plan: What to run; None to run nothing.
    :param run_settings: What the command was told.
    :param is_known: Whether each database must be at revisions that the directory has.
    :param urls: What to correct if the URL of a database is wrong, by its key.
    """

    def __init__(
        self,
        plan: Plan | None,
        directory: ScriptDirectory,
        listener: Listener,
        settings: Settings,
        run_settings: RunSettings,
        *,
        is_known: bool = True,
        urls: t.Mapping[str, str],
    ) -> None:
        self.plan = plan
        self.directory = directory
        self.listener = listener
        self.settings = settings
        self.run_settings = run_settings
        self.is_known = is_known
        self.urls = urls
        self.is_look = False
        self.heeds_journal = False
        self.may_resume = False
        self.retries = Retries(run_settings.ddl_retries or 0, listener)
        self.before_step: t.Callable[[str], None] = lambda key: None
        self.after_commit: t.Callable[[str, StepResult], None] = lambda key, step: None
        self.compiled = sa.util.LRUCache[t.Any, t.Any](100)
        """The statements that SQLAlchemy has compiled for this run."""
        self.visits: list[Visit] = []
        self._skipped: set[str] = set()
        self._unlogged: set[str] = set()
        self._earlier: dict[t.Hashable, Visit] = {}
        self._writable: set[str] = set()
        self._applied: MigrationInfo
        self._statements = 0
        self._started = self._seconds = 0.0

    def look(self, *, without_plan: bool = False) -> Recorder:
        """Make the recorder that only notes what is pending, for a pass before this one.

        :param without_plan: Do not ask the plan: it is not to be evaluated twice.
        """
        plan = None if without_plan else self.plan
        look = Recorder(
            plan,
            self.directory,
            self.listener,
            self.settings,
            self.run_settings,
            urls=self.urls,
        )
        look.is_look = True
        look.heeds_journal = self.heeds_journal
        look.compiled = self.compiled
        look._skipped = self._skipped
        look._writable = self._writable
        return look

    def skip(self, key: str, reason: str) -> None:
        """Tell the listener once that nothing is done with a database."""
        if key not in self._skipped:
            self._skipped.add(key)
            self.listener.database_skipped(key, reason)

    def _go_on_unlogged(self, key: str, reason: str) -> None:
        self._unlogged.add(key)
        self.listener.log_unavailable(key, reason)

    @property
    def script(self) -> Script | None:
        """The script that is running."""
        return self.visits[-1].script if self.visits else None

    def begin(
        self,
        context: MigrationContext,
        arguments: t.Mapping[str, t.Any],
        preparation: Preparation,
    ) -> Visit:
        """Begin the visit to a database."""
        key = key_of(arguments.get("engine_name"))
        statements = StatementCounter(context)
        is_logged = self.settings.log and key not in self._unlogged
        log = LogWriter(
            context,
            statements,
            is_on=is_logged and not context.as_sql and not self.is_look,
            tell=partial(self._go_on_unlogged, key),
        )
        journal = Journal(context)
        journal_writer = JournalWriter(
            context,
            journal,
            is_on=self.settings.journal and preparation.knows_commits and not self.is_look,
            tell=lambda name: self.listener.leftover_dropped(key, name),
        )
        visit = Visit(
            key,
            context,
            self.directory,
            arguments,
            statements,
            log,
            journal,
            journal_writer,
            preparation,
            Bypasses(None if context.as_sql else context.connection, journal_writer, preparation),
        )
        self.visits.append(visit)
        return visit

    def steps(self, heads: tuple[str, ...], context: MigrationContext) -> t.Iterator[_alembic.Step]:
        """Hand the planned steps to Alembic, one by one.

        Code after a ``yield`` runs when Alembic comes for the next step: the one before is
        recorded in the version table then.
        """
        visit = self.visits[-1]
        visit.before = visit.heads = tuple(dict.fromkeys(heads))
        visit.go_on_from(self._earlier.pop(visit.place, None))
        if not heads and not context.as_sql:
            require_visible(context, visit.key)
        if self.plan is None:
            self._require_writable(visit)
            return
        if self.is_known:
            require_known(visit)
        entries = self._read_journal(visit)
        steps = self._planned(self.plan, visit)
        if isinstance(steps, Sequence):  # nothing is run yet, on any database
            require_functions(steps, visit.arguments)
        if self.is_look:
            half_applied = {f"{entry.direction} of {entry.revision}" for entry in entries}
            visit.pending = (*half_applied, *map(str, steps))
            if visit.pending:
                self._require_writable(visit)
            return
        done: t.Sequence[_alembic.Step] = ()
        if isinstance(steps, Sequence):  # others go on from where the database is now
            done, steps = steps[: len(visit.steps)], steps[len(visit.steps) :]
        if entries:
            from .resumption import resumed_first  # few runs need it

            steps = resumed_first(
                visit,
                entries[-1],
                steps,
                is_allowed=self.may_resume,
                timeout=self.run_settings.lock_timeout or 0,
                listener=self.listener,
            )
        if steps and isinstance(steps, Sequence):
            planned = map(_alembic.description_of, (*done, *steps))
            self.listener.steps_planned(visit.key, tuple(planned))
        for step in steps:
            require_distinct(visit, heads)
            self.before_step(visit.key)
            self._begin(visit, step)
            visit.running = description = _alembic.description_of(step)
            self.listener.step_started(visit.key, description)
            self._started = time.monotonic()
            yield step
            self._finish(visit, description)

    def _planned(self, plan: Plan, visit: Visit) -> t.Iterable[_alembic.Step]:
        try:
            return plan(visit)
        except CommandError as error:
            explained = explain_line(error, visit)
            if explained is None:
                raise
            raise explained from error

    def _read_journal(self, visit: Visit) -> tuple[JournalEntry, ...]:
        """Read what of a revision is done that is not complete.

        :raises HeadsMovedError: if the revision is complete by now.
        """
        if not self.heeds_journal or not self.settings.journal or visit.context.as_sql:
            return ()
        if self.is_look:
            return visit.journal.read()
        heads = visit.journal.settle()
        if heads is not None and heads != set(visit.heads):
            raise HeadsMovedError
        return visit.journal.read(for_update=True)

    def _require_writable(self, visit: Visit) -> None:
        """Check once that a database can be written to."""
        if visit.key not in self._writable:
            require_writable(visit, self.urls.get(visit.key, "its URL"))
            self._writable.add(visit.key)

    def _begin(self, visit: Visit, step: _alembic.Step) -> None:
        self._require_writable(visit)
        script = _alembic.script_of(step)
        visit.journal.complete()
        visit.log.begin(step.info)
        visit.preparation.before_step(script, visit.context)
        visit.statements.count = 0
        visit.script = script
        check = partial(require_nothing_left, direction_of(step.info))
        _alembic.check_result(step, check)
        _alembic.adapt_function(step, visit.arguments, is_default=visit.bind_key is None)
        visit.bypasses.before_step(step)
        visit.journal_writer.before_step(step, script)
        visit.preparation.surround(visit.context)

    def _finish(self, visit: Visit, description: str) -> None:
        step = self._applied
        result = StepResult(
            direction_of(step), step.up_revision_ids, description, self._seconds, self._statements
        )
        visit.script = None
        visit.steps.append(result)
        self.listener.step_finished(visit.key, result)
        if not _alembic.is_in_transaction(visit.context):
            visit.preparation.is_final = False
            self._committed(visit)

    def all_committed(self) -> None:
        """Tell of the steps that were run in a transaction of env.py's, which has ended."""
        for visit in self.visits:
            self._committed(visit)

    def _committed(self, visit: Visit) -> None:
        for step in visit.steps[visit.announced :]:
            visit.announced += 1
            self.after_commit(visit.key, step)

    def applied(self, *, step: MigrationInfo, heads: t.Collection[str], **context: t.Any) -> None:
        """Note where the database is; Alembic calls it when the version table was written."""
        visit = self.visits[-1]
        visit.heads = tuple(sorted(heads))
        self._applied, self._statements = step, visit.statements.count
        self._seconds = round(time.monotonic() - self._started, 3)  # as the log has it
        visit.log.applied(self._seconds, spares_savepoint=visit.preparation.spares_savepoint)
        visit.journal_writer.applied()

    def try_again(self, conflict: Conflict) -> bool:
        """Wait until a step that a lock stopped may be tried again; False if it has failed."""
        visit = self.visits[-1]
        return self.retries.again(visit.key, visit.running, conflict)

    def repeats(self, error: BaseException) -> bool:
        """Wait, and forget what was rolled back, if env.py is to be run once more."""
        if not self.visits or self.is_look:
            return False
        if isinstance(error, (HeadsMovedError, NotLoggedError)):
            self.start_over()
            return True
        visit = self.visits[-1]
        conflict = visit.preparation.conflict(error)
        if conflict is None or any(
            visit.is_half_undone or visit.preparation.is_final for visit in self.visits
        ):
            return False
        if visit.journal_writer.can_go_on:
            conflict = replace(conflict, is_repeatable=True)
        if not self.try_again(conflict):
            return False
        self.start_over()
        return True

    def start_over(self) -> None:
        """Keep in mind what was run in a pass that has failed; it may not have got to all."""
        for visit in self.visits:
            self._earlier.setdefault(visit.place, visit)
        self.visits = []

    def failed(self, message: str, urls: t.Iterable[sa.URL]) -> None:
        """Write to the log that the running revision has failed, if one is running.

        :param message: Why.
        :param urls: URLs whose secrets must not be written.
        """
        if self.script is not None:
            self.visits[-1].log.failed(message, urls)
