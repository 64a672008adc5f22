"""``resume`` and ``resolve``: what leads on from a half-applied revision."""

from __future__ import annotations

from dataclasses import dataclass
import typing as t

import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.data import Data
from flask_dbmigrate.databases import safe_url
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import MigrationError
from flask_dbmigrate.errors import RevisionError
from flask_dbmigrate.errors import RevisionNotFoundError
from flask_dbmigrate.runtime.result import Listener
from flask_dbmigrate.runtime.result import MigrationResult
from flask_dbmigrate.runtime.result import SILENT
from flask_dbmigrate.runtime.settings import RunOptions
from flask_dbmigrate.runtime.settings import RunSettings
from flask_dbmigrate.runtime.visit import Visit
from flask_dbmigrate.script.directory import shorten

from .workspace import Directory
from .workspace import open_workspace
from .workspace import XArg

_TEMPORARY = "_alembic_tmp_"
"""How the names of tables begin that Alembic's batch operations make."""


@dataclass(frozen=True)
class ResolvedDatabase(Data):
    """What was resolved on one database.

    :param key: ``default``, or the bind key.
    :param url: Its URL, without the password.
    :param revision: The revision that is no longer half-applied; None if none was.
    :param is_applied: Whether it counts as applied now.
    :param dropped: The tables of an interrupted batch operation that were dropped.
    """

    key: str
    url: str
    revision: str | None = None
    is_applied: bool = False
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.revision is not None:
            counts = "applied" if self.is_applied else "not applied"
            return f"Revision '{self.revision}' counts as {counts} on database '{self.key}' now."
        listed = ", ".join(f"'{name}'" for name in self.dropped)
        return f"Dropped from database '{self.key}': {listed or 'nothing'}."


@dataclass(frozen=True)
class ResolveResult(Data):
    """What was resolved.

    :param databases: One entry for each database on which something was.
    """

    databases: tuple[ResolvedDatabase, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.databases))


def resume(
    directory: Directory = None,
    *,
    tag: str | None = None,
    x_arg: XArg = None,
    command: str | None = None,
    listener: Listener = SILENT,
    **options: t.Unpack[RunOptions],
) -> MigrationResult:
    """Complete the revisions that are half-applied, in the direction in which they were begun.

    What is done is skipped. Where no revision is half-applied, nothing is done.

    :param directory: The migration directory; by default the application's.
    :param tag: Anything; env.py can read it.
    :param x_arg: What ``context.get_x_argument()`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :param listener: Is told about each revision.
    :param options: Those of :class:`flask_dbmigrate.RunOptions`: ``database``, ``lock`` …
    :raises HalfAppliedError: if one cannot be resumed, or fails again.
    :raises DatabaseUnavailableError: if a database cannot be reached.
    """
    options["resume"] = True
    settings = RunSettings.of(options, sql=False)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)

    def plan(visit: Visit) -> t.Sequence[_alembic.Step]:
        entries = visit.journal.read()
        if not entries:
            return ()
        step = _alembic.revision_step(
            visit.directory, entries[0].revision, is_upgrade=entries[0].direction == "upgrade"
        )
        return () if step is None else (step,)

    visits = workspace.run_locked(
        plan, listener=listener, command="resume", resumes_unlocked=True, tag=tag
    )
    return MigrationResult(tuple(visit.result for visit in visits))


def resolve(
    directory: Directory = None,
    *,
    applied: str | None = None,
    rolled_back: str | None = None,
    drop_temp: bool = False,
    x_arg: XArg = None,
    command: str | None = None,
    listener: Listener = SILENT,
    **options: t.Unpack[RunOptions],
) -> ResolveResult:
    """Say how a half-applied revision was completed by hand, or clean up after a batch operation.

    One of the three is to be given. What is said is believed: nothing is compared.

    :param directory: The migration directory; by default the application's.
    :param applied: The half-applied revision that counts as applied from now on.
    :param rolled_back: The one that counts as not applied.
    :param drop_temp: Drop the tables ``_alembic_tmp_...`` that an interrupted batch operation has
        left beside the table that it was to rebuild.
    :param x_arg: What ``context.get_x_argument()`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :param listener: Is told about databases that are skipped.
    :param options: Those of :class:`flask_dbmigrate.RunOptions`: ``database``, ``lock`` …
    :raises RevisionError: if the revision is not half-applied on any database.
    :raises MigrationError: if a table is not dropped because it holds the only copy of the rows.
    """
    if sum((applied is not None, rolled_back is not None, drop_temp)) != 1:
        raise ConfigurationError(
            "'resolve' needs to know what is to be resolved: one thing at a time.",
            hint="Give one of '--applied REVISION', '--rolled-back REVISION' and '--drop-temp'.",
        )
    settings = RunSettings.of(options, sql=False)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)
    resolved: list[ResolvedDatabase] = []

    def plan(visit: Visit) -> t.Iterator[_alembic.Step]:
        url = "" if visit.engine is None else safe_url(visit.engine.url)
        if drop_temp:
            resolved.append(ResolvedDatabase(visit.key, url, dropped=_drop_temporary(visit)))
            return
        entries = visit.journal.read()
        if not entries or not entries[0].revision.startswith(applied or rolled_back or " "):
            return
        revision, is_upgrade = entries[0].revision, entries[0].direction == "upgrade"
        is_applied = applied is not None
        visit.log.status = f"resolved as {'applied' if is_applied else 'rolled back'}"
        step = _step_of(visit, revision, is_upgrade=is_upgrade)
        if is_applied == is_upgrade:
            yield step
        else:
            _forget(visit, step)
        resolved.append(ResolvedDatabase(visit.key, url, revision, is_applied))

    workspace.run_locked(plan, listener=listener, always=True, heeds_journal=False)
    if not resolved and not drop_temp:
        raise RevisionError(
            f"Revision '{applied or rolled_back}' is not half-applied on any database.",
            hint="See what is with 'flask db status'.",
        )
    return ResolveResult(tuple(resolved))


def _step_of(visit: Visit, revision: str, *, is_upgrade: bool) -> _alembic.Step:
    """Make a step that only moves the version."""
    step = _alembic.revision_step(visit.directory, revision, is_upgrade=is_upgrade, is_empty=True)
    if step is None:
        raise RevisionNotFoundError(
            f"Revision '{revision}' is half-applied on database '{visit.key}', and no script in "
            f"'{shorten(visit.directory.dir)}' has it.",
            hint="Deploy the code that has it, and run the command again.",
            revision=revision,
        )
    return step


def _forget(visit: Visit, step: _alembic.Step) -> None:
    """Forget a half-applied revision, and leave the version as it is."""
    visit.log.begin(step.info)
    visit.log.applied(0)
    visit.journal.clear()
    connection = visit.context.connection
    assert connection is not None
    if not _alembic.is_in_transaction(visit.context):
        connection.commit()


def _drop_temporary(visit: Visit) -> tuple[str, ...]:
    """Drop what an interrupted batch operation has left, where it is not all there is."""
    connection = visit.context.connection
    assert connection is not None
    names = set(sa.inspect(connection).get_table_names())
    found = sorted(name for name in names if name.startswith(_TEMPORARY))
    for name in found:
        original = name.removeprefix(_TEMPORARY)
        if original not in names:
            raise MigrationError(
                f"Table '{name}' of database '{visit.key}' holds the rows of '{original}', which "
                "is gone: nothing was dropped.",
                hint=f"Give it its name back: ALTER TABLE {name} RENAME TO {original}",
                database=visit.key,
            )
    for name in found:
        sa.Table(name, sa.MetaData()).drop(connection)
    return tuple(found)
