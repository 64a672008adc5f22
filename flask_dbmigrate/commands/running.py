"""``upgrade``, ``downgrade``, ``stamp`` and ``ensure-version``: what writes to a database."""

from __future__ import annotations

from functools import partial
import typing as t

from flask_dbmigrate import _alembic
from flask_dbmigrate.config import read_settings
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.runtime.edited import report_edited
from flask_dbmigrate.runtime.result import Listener
from flask_dbmigrate.runtime.result import MigrationResult
from flask_dbmigrate.runtime.result import SILENT
from flask_dbmigrate.runtime.settings import RunOptions
from flask_dbmigrate.runtime.settings import RunSettings
from flask_dbmigrate.runtime.visit import Visit

from .losses import Agrees
from .losses import find_losses
from .losses import nobody
from .losses import require_agreement
from .targets import same_downgrade
from .targets import same_upgrade
from .targets import stamp_targets
from .workspace import Directory
from .workspace import open_workspace
from .workspace import split_range
from .workspace import XArg


def upgrade(
    directory: Directory = None,
    revision: str = "head",
    sql: bool = False,
    tag: str | None = None,
    x_arg: XArg = None,
    *,
    command: str | None = None,
    listener: Listener = SILENT,
    **options: t.Unpack[RunOptions],
) -> MigrationResult:
    """Apply pending revisions.

    :param directory: The migration directory; by default the application's.
    :param revision: The target: a revision, ``head``, ``heads``, ``+2``, ``branch@head``;
        with ``sql`` also ``start:end``.
    :param sql: Write the SQL to stdout instead of running it.
    :param tag: Anything; env.py can read it.
    :param x_arg: What ``context.get_x_argument()`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :param listener: Is told about each revision.
    :param database: The key of the database to run on, or several keys; by default all of them.
    :param two_phase: Let all databases commit or none, which PostgreSQL can.
    :param output: With ``sql``: the folder to write ``<key>.sql`` to.
    :param lock: Wait until no other run is at work on a database.
    :param lock_timeout: How long to wait for that, in seconds.
    :param wait: How long to wait for a database that is starting, in seconds.
    :param single_transaction: Run all revisions of a database in one transaction.
    :param ddl_lock_timeout: How long DDL waits for a lock, in seconds.
    :param ddl_retries: How often it is tried again then.
    :param resume: Go on with a half-applied revision where that is safe.
    :param statement_timeout: How long a statement may run, in seconds.
    :raises RevisionError: if the target cannot be found or reached, a script cannot be loaded, or
        a database is at a revision that no script has.
    :raises EditedRevisionError: if a revision was edited after it was applied, and
        ``DBMIGRATE_EDITED`` is ``error``.
    :raises MigrationError: if a revision fails.
    :raises HalfAppliedError: if a revision is half-applied, by this run or by an earlier one whose
        revision cannot be resumed.
    :raises DatabaseUnavailableError: if a database cannot be reached.
    :raises LockNotAcquiredError: if another run is at work for too long, or the lock was lost.
    :raises ConfigurationError: if there is no application, no database or no directory, if an
        option or a setting is wrong, if a server refuses the user, or a database is read-only.

    What is not given is as the application's ``DBMIGRATE_...`` settings say. All errors are a
    :class:`flask_dbmigrate.DBMigrateError`.
    """
    start, target = split_range(revision, sql=sql)
    settings = RunSettings.of(options, sql=sql)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)
    if not sql:
        target = same_upgrade(workspace, target)
    edited = read_settings(workspace.state.app.config).edited
    compared = set()

    def plan(visit: Visit) -> t.Iterable[_alembic.Step]:
        steps = _alembic.upgrade_steps(visit.directory, target, visit.before)
        if visit.place not in compared:
            report_edited(visit, edited, listener)
            compared.add(visit.place)
        return steps

    visits = workspace.run_locked(
        plan,
        listener=listener,
        command="upgrade",
        as_sql=sql,
        starting_rev=start,
        destination_rev=target,
        tag=tag,
    )
    return _result(visits)


def downgrade(
    directory: Directory = None,
    revision: str = "-1",
    sql: bool = False,
    tag: str | None = None,
    x_arg: XArg = None,
    *,
    command: str | None = None,
    yes: bool = False,
    agrees: Agrees = nobody,
    listener: Listener = SILENT,
    **options: t.Unpack[RunOptions],
) -> MigrationResult:
    """Take revisions back.

    :param revision: The target: a revision, ``base``, ``-1``, ``branch@base``; with ``sql``
        ``start:end``, or ``-1`` from the head.
    :param sql: Write the SQL to stdout instead of running it.
    :param yes: Drop tables and columns that hold data, even where ``DBMIGRATE_PROTECTED`` is set.
    :param agrees: Is asked about them otherwise; by default there is nobody to ask.

    The other parameters and the errors are those of :func:`upgrade`.

    :raises DataLossError: if tables or columns would be dropped that hold data, and the answer is
        no, or ``DBMIGRATE_PROTECTED`` is set and there is nobody to ask.
    """
    if sql and revision == "-1":
        revision = "head:-1"
    start, target = split_range(revision, sql=sql)
    if sql and start is None:
        raise ConfigurationError(
            "'downgrade --sql' needs to know where to start.",
            hint=f"Give a range, such as 'flask db downgrade --sql head:{target}'.",
        )
    settings = RunSettings.of(options, sql=sql)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)
    if not sql:
        target = same_downgrade(workspace, target)
        losses = find_losses(workspace, target, listener=listener, tag=tag)
        if not yes:
            require_agreement(workspace, losses, agrees)

    def plan(visit: Visit) -> t.Iterable[_alembic.Step]:
        return _alembic.downgrade_steps(visit.directory, target, visit.before)

    visits = workspace.run_locked(
        plan,
        listener=listener,
        command="downgrade",
        as_sql=sql,
        starting_rev=start,
        destination_rev=target,
        tag=tag,
    )
    return _result(visits)


def stamp(
    directory: Directory = None,
    revision: str | t.Sequence[str] = "head",
    sql: bool = False,
    tag: str | None = None,
    purge: bool = False,
    *,
    x_arg: XArg = None,
    command: str | None = None,
    listener: Listener = SILENT,
    **options: t.Unpack[RunOptions],
) -> MigrationResult:
    """Say where a database stands, without running anything.

    :param revision: The revision or revisions it is at; ``base`` for none.
    :param sql: Write the SQL to stdout instead of running it.
    :param purge: Empty the version table first, whatever is in it.

    The other parameters and the errors are those of :func:`upgrade`.
    """
    if sql and purge:
        raise ConfigurationError(
            "'--purge' cannot be used with '--sql': what is in the table is not known.",
            hint="Use one of them.",
        )
    names = (revision,) if isinstance(revision, str) else tuple(revision)
    ranges = [split_range(name, sql=sql) for name in names]
    starts = {start for start, _ in ranges if start is not None}
    if len(starts) > 1:
        raise ConfigurationError(
            f"'stamp --sql' can start from one revision only, not from {len(starts)}.",
            hint="Give the same start in each range.",
        )
    targets = tuple(target for _, target in ranges)
    settings = RunSettings.of(options, sql=sql)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)

    resolved = stamp_targets(workspace.directory, targets)  # before '--purge' empties the table

    visits = workspace.run_locked(
        partial(_stamp_steps, resolved),
        listener=listener,
        command="stamp",
        always=True,
        as_sql=sql,
        starting_rev=next(iter(starts), None),
        destination_rev=targets,
        tag=tag,
        purge=purge,
    )
    return _result(visits)


def _stamp_steps(targets: list[str], visit: Visit) -> t.Iterator[_alembic.Step]:
    for target in targets:  # one after the other: Alembic fails where two of them split a merge
        yield from _alembic.stamp_steps(visit.directory, (target,), visit.heads)


def ensure_version(
    directory: Directory = None,
    sql: bool = False,
    *,
    x_arg: XArg = None,
    command: str | None = None,
    listener: Listener = SILENT,
    **options: t.Unpack[RunOptions],
) -> MigrationResult:
    """Create the version table of each database unless it exists.

    :param sql: Write the SQL to stdout instead of running it.

    The other parameters and the errors are those of :func:`upgrade`.
    """

    def plan(visit: Visit) -> t.Iterable[_alembic.Step]:
        _alembic.ensure_version_table(visit.context)
        return ()

    settings = RunSettings.of(options, sql=sql)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)
    visits = workspace.run_locked(
        plan, listener=listener, always=True, heeds_journal=False, as_sql=sql
    )
    return _result(visits)


def _result(visits: list[Visit]) -> MigrationResult:
    return MigrationResult(tuple(visit.result for visit in visits))
