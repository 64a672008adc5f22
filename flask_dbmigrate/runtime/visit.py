"""What is known of a database while env.py runs on it."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from alembic.script import ScriptDirectory
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.databases import safe_url

from .bypasses import Bypasses
from .journal import Journal
from .journal_writer import JournalWriter
from .log_writer import LogWriter
from .preparation import Preparation
from .result import DatabaseResult
from .result import StepResult
from .statements import StatementCounter


@dataclass
class Visit:
    """env.py's visit to one database: what is known while it lasts.

    :param key: ``default``, or the bind key.
    :param context: Alembic's context, with env.py's connection in it.
    :param directory: The revisions on disk.
    :param arguments: What env.py gives to the functions of scripts.
    :param statements: Counts what the running step executes.
    :param log: Writes what is run.
    :param journal: What of a revision was executed that cannot be rolled back.
    :param journal_writer: Writes it.
    :param preparation: What is done to env.py's connection.
    :param bypasses: Notices what a step does that is no part of its transaction.
    :param before: The heads the database was at when the visit began.
    :param heads: The heads it is at after the steps run so far.
    :param pending: The steps that are to be run, if somebody looked.
    :param announced: How many of the steps that were run are known to be committed.
    :param running: The step that is running.
    :param script: Its script.
    """

    key: str
    context: MigrationContext
    directory: ScriptDirectory
    arguments: t.Mapping[str, t.Any]
    statements: StatementCounter
    log: LogWriter
    journal: Journal
    journal_writer: JournalWriter
    preparation: Preparation
    bypasses: Bypasses
    before: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    steps: list[StepResult] = field(default_factory=list)
    announced: int = 0
    pending: tuple[str, ...] = ()
    running: str = ""
    script: Script | None = None
    is_done: bool = False
    file: str | None = None

    @property
    def bind_key(self) -> str | None:
        """The bind key; None for the default database."""
        return self.arguments.get("engine_name") or None

    def go_on_from(self, earlier: Visit | None) -> None:
        """Take over what an earlier visit of this run has committed, if it has."""
        if earlier is not None and earlier.steps and set(earlier.heads) == set(self.heads):
            self.before, self.steps = earlier.before, earlier.steps
            self.announced = earlier.announced

    @property
    def engine(self) -> sa.Engine | None:
        """The engine of env.py's connection; None offline."""
        return None if self.context.as_sql else getattr(self.context.connection, "engine", None)

    @property
    def is_half_undone(self) -> bool:
        """Whether env.py has rolled back what says that steps were run, but not the steps."""
        is_transactional = self.context.impl.transactional_ddl
        return (
            bool(self.steps)
            and not is_transactional
            and not self.journal_writer.covers_all
            and _alembic.is_in_transaction(self.context)
        )

    @property
    def place(self) -> t.Hashable:
        """What tells the version table from others that env.py visits, as far as we know."""
        url = None if self.engine is None else self.engine.url
        return self.key, url, self.context.version_table_schema, self.context.version_table

    @property
    def result(self) -> DatabaseResult:
        """What was done to the database."""
        url = "" if self.engine is None else safe_url(self.engine.url)
        return DatabaseResult(self.key, url, self.before, self.heads, tuple(self.steps), self.file)


Plan = t.Callable[[Visit], t.Iterable[_alembic.Step]]
"""Decides what to run on a database, given where it stands; a sequence is known beforehand."""
