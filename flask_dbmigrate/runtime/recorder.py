"""Follows a run: which databases env.py visits, and what is run on each."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
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
from flask_dbmigrate.databases import safe_url
from flask_dbmigrate.errors import DBMigrateError
from flask_dbmigrate.errors import UnknownDatabaseRevisionError

from .edited import report_edited
from .log import applied_entries
from .log import direction_of
from .log_writer import LogWriter
from .preparation import Preparation
from .result import DatabaseResult
from .result import Listener
from .result import StepResult


@dataclass
class Visit:
    """env.py's visit to one database: what is known while it lasts.

    :param key: ``default``, or the bind key.
    :param context: Alembic's context, with env.py's connection in it.
    :param directory: The revisions on disk.
    :param arguments: What env.py gives to the functions of scripts.
    :param log: Writes what is run.
    :param preparation: What is done to env.py's connection.
    :param before: The heads the database was at when the visit began.
    :param heads: The heads it is at after the steps run so far.
    :param pending: The steps that are to be run, if somebody looked.
    :param script: The script that is running.
    """

    key: str
    context: MigrationContext
    directory: ScriptDirectory
    arguments: t.Mapping[str, t.Any]
    log: LogWriter
    preparation: Preparation
    before: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    steps: list[StepResult] = field(default_factory=list)
    pending: tuple[str, ...] = ()
    script: Script | None = None
    is_done: bool = False
    file: str | None = None

    @property
    def bind_key(self) -> str | None:
        """The bind key; None for the default database."""
        return self.arguments.get("engine_name") or None

    @property
    def engine(self) -> sa.Engine | None:
        """The engine of env.py's connection; None offline."""
        return None if self.context.as_sql else getattr(self.context.connection, "engine", None)

    @property
    def result(self) -> DatabaseResult:
        """What was done to the database."""
        url = "" if self.engine is None else safe_url(self.engine.url)
        return DatabaseResult(self.key, url, self.before, self.heads, tuple(self.steps), self.file)


Plan = t.Callable[[Visit], t.Iterable[_alembic.Step]]
"""Decides what to run on a database, given where it stands."""


class Recorder:
    """Follows a run from database to database and from step to step.

    :param plan: What to run; None to run nothing.
    :param is_known: Whether each database must be at revisions that the directory has.
    """

    def __init__(
        self,
        plan: Plan | None,
        directory: ScriptDirectory,
        listener: Listener,
        settings: Settings,
        *,
        is_known: bool = True,
    ) -> None:
        self.plan = plan
        self.directory = directory
        self.listener = listener
        self.settings = settings
        self.is_known = is_known
        self.is_look = False
        self.before_step: t.Callable[[str], None] = lambda key: None
        self.visits: list[Visit] = []
        self._skipped: set[str] = set()
        self._applied: MigrationInfo

    def look(self, *, without_plan: bool = False) -> Recorder:
        """Make the recorder that only notes what is pending, for a pass before this one.

        :param without_plan: Do not ask the plan: it is not to be evaluated twice.
        """
        plan = None if without_plan else self.plan
        look = Recorder(plan, self.directory, self.listener, self.settings)
        look.is_look = True
        look._skipped = self._skipped
        return look

    def skip(self, key: str, reason: str) -> None:
        """Tell the listener once that nothing is done with a database."""
        if key not in self._skipped:
            self._skipped.add(key)
            self.listener.database_skipped(key, reason)

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
        log = LogWriter(
            context,
            is_on=self.settings.log and not context.as_sql and not self.is_look,
            tell=lambda reason: self.listener.log_unavailable(key, reason),
        )
        visit = Visit(key, context, self.directory, arguments, log, preparation)
        self.visits.append(visit)
        return visit

    def steps(self, heads: tuple[str, ...], context: MigrationContext) -> t.Iterator[_alembic.Step]:
        """Hand the planned steps to Alembic, one by one.

        Code after a ``yield`` runs when Alembic comes for the next step: the one before is
        recorded in the version table then.
        """
        visit = self.visits[-1]
        visit.before = visit.heads = heads
        if self.plan is None:
            return
        if self.is_known:
            require_known(visit)
        if self.is_look:
            visit.pending = tuple(map(str, self.plan(visit)))
            return
        for step in self.plan(visit):
            self.before_step(visit.key)
            self._begin(visit, step)
            description = str(step)
            self.listener.step_started(visit.key, description)
            started = time.monotonic()
            yield step
            self._finish(visit, description, time.monotonic() - started)

    def _begin(self, visit: Visit, step: _alembic.Step) -> None:
        if direction_of(step.info) == "upgrade" and not visit.steps:
            report_edited(visit, self.settings.edited, self.listener)
        script = _alembic.script_of(step)
        visit.preparation.before_step(script, visit.context)
        visit.log.begin(step.info)
        visit.script = script
        _alembic.adapt_function(step, visit.arguments, is_default=visit.bind_key is None)

    def _finish(self, visit: Visit, description: str, seconds: float) -> None:
        step = self._applied
        result = StepResult(direction_of(step), step.up_revision_ids, description, seconds)
        visit.script = None
        visit.steps.append(result)
        self.listener.step_finished(visit.key, result)

    def applied(self, *, step: MigrationInfo, heads: t.Collection[str], **context: t.Any) -> None:
        """Note where the database is; Alembic calls it when the version table was written."""
        visit = self.visits[-1]
        visit.heads = tuple(sorted(heads))
        visit.log.applied()
        self._applied = step

    def failed(self, error: DBMigrateError, urls: t.Iterable[sa.URL]) -> None:
        """Write to the log that the running revision has failed, if one is running.

        :param urls: URLs whose secrets must not be written.
        """
        if self.script is not None:
            self.visits[-1].log.failed(error.message, urls)


def require_known(visit: Visit) -> None:
    """Check that the revisions in the version table exist on disk.

    :raises UnknownDatabaseRevisionError: if one does not.
    """
    for head in visit.before:
        try:
            visit.directory.get_revision(head)
        except CommandError as error:
            applied = applied_entries(visit.context).get(head)
            raise UnknownDatabaseRevisionError(
                f"Database '{visit.key}' is at revision '{head}', "
                f"which no script in '{visit.directory.dir}' has."
                + (f" It was applied {applied.origin}." if applied else ""),
                hint="Deploy the code that has it. If it is gone for good, say where the "
                "database stands with 'flask db stamp --purge REVISION'.",
                database=visit.key,
                revision=head,
            ) from error
