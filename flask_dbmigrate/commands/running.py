"""``upgrade``, ``downgrade``, ``stamp`` and ``ensure-version``: what writes to a database."""

from __future__ import annotations

from dataclasses import dataclass
import itertools
import os
import re
import typing as t

from flask_dbmigrate import _alembic
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import RevisionError
from flask_dbmigrate.runtime.environment import Visit
from flask_dbmigrate.runtime.result import DatabaseResult
from flask_dbmigrate.runtime.result import Listener
from flask_dbmigrate.runtime.result import SILENT
from flask_dbmigrate.runtime.settings import RunSettings
from flask_dbmigrate.script.directory import clear_errors
from flask_dbmigrate.script.revisions import as_tuple

from .workspace import Directory
from .workspace import Keys
from .workspace import open_workspace
from .workspace import split_range
from .workspace import Workspace
from .workspace import XArg


@dataclass(frozen=True)
class MigrationResult:
    """What a run did.

    :param databases: One result for each database, in the order they were run.
    """

    databases: tuple[DatabaseResult, ...]

    def __str__(self) -> str:
        return "\n".join(str(database) for database in self.databases)


def upgrade(
    directory: Directory = None,
    revision: str = "head",
    sql: bool = False,
    tag: str | None = None,
    x_arg: XArg = None,
    *,
    command: str | None = None,
    database: Keys = (),
    two_phase: bool | None = None,
    output: str | os.PathLike[str] | None = None,
    listener: Listener = SILENT,
) -> MigrationResult:
    """Apply pending revisions.

    :param directory: The migration directory; by default the application's.
    :param revision: The target: a revision, ``head``, ``heads``, ``+2``, ``branch@head``;
        with ``sql`` also ``start:end``.
    :param sql: Write the SQL to stdout instead of running it.
    :param tag: Anything; env.py can read it.
    :param x_arg: What ``context.get_x_argument()`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :param database: The key of the database to run on, or several keys; by default all of them.
    :param two_phase: Let all databases commit, or none, which PostgreSQL can; by default what
        ``DBMIGRATE_TWO_PHASE`` says.
    :param output: With ``sql``: the folder to write ``<key>.sql`` to, instead of stdout.
    :param listener: Is told about each revision.
    :raises RevisionError: if the target cannot be found or reached.
    :raises EditedRevisionError: if a revision was edited after it was applied, and
        ``DBMIGRATE_EDITED`` is ``error``.
    :raises MigrationError: if a revision fails.
    :raises DatabaseUnavailableError: if a database cannot be reached.
    """
    start, target = split_range(revision, sql=sql)
    settings = _settings(database, two_phase, sql, output)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)

    def plan(visit: Visit) -> t.Iterable[_alembic.Step]:
        return _alembic.upgrade_steps(visit.directory, target, visit.before)

    visits = workspace.run(
        plan, listener=listener, as_sql=sql, starting_rev=start, destination_rev=target, tag=tag
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
    database: Keys = (),
    two_phase: bool | None = None,
    output: str | os.PathLike[str] | None = None,
    listener: Listener = SILENT,
) -> MigrationResult:
    """Take revisions back.

    :param revision: The target: a revision, ``base``, ``-1``, ``branch@base``; with ``sql``
        ``start:end``, or ``-1`` from the head.
    :param sql: Write the SQL to stdout instead of running it.

    The other parameters and the errors are those of :func:`upgrade`.
    """
    if sql and revision == "-1":
        revision = "head:-1"
    start, target = split_range(revision, sql=sql)
    if sql and start is None:
        raise ConfigurationError(
            "'downgrade --sql' needs to know where to start.",
            hint=f"Give a range, such as 'flask db downgrade --sql head:{target}'.",
        )
    settings = _settings(database, two_phase, sql, output)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)
    if re.fullmatch(r"-\d+", target) and not sql:
        target = _same_for_all(workspace, target)

    def plan(visit: Visit) -> t.Iterable[_alembic.Step]:
        return _alembic.downgrade_steps(visit.directory, target, visit.before)

    visits = workspace.run(
        plan, listener=listener, as_sql=sql, starting_rev=start, destination_rev=target, tag=tag
    )
    return _result(visits)


def _same_for_all(workspace: Workspace, target: str) -> str:
    """Resolve a number of steps from where the first database stands, for all of them.

    :raises RevisionError: if a database is neither there already nor above it.
    """
    visits = workspace.look()
    if not visits:
        return target
    first = visits[0]
    if not first.before:
        raise RevisionError(
            f"Database '{first.key}' is at base: there is nothing to downgrade.",
            hint="See where the databases stand with 'flask db current'.",
        )
    if len(visits) == 1:
        return target
    with clear_errors(workspace.directory):
        steps = _alembic.downgrade_steps(workspace.directory, target, first.before)
    last = _alembic.script_of(steps[-1])
    resolved = "base" if last is None else ", ".join(as_tuple(last.down_revision)) or "base"
    for visit in visits:
        try:
            with clear_errors(workspace.directory):
                _alembic.downgrade_steps(workspace.directory, resolved, visit.before)
        except RevisionError as error:
            place = " and ".join(f"'{head}'" for head in visit.before) or "base"
            raise RevisionError(
                f"Database '{visit.key}' is at {place}, which is not above '{resolved}', where "
                f"'{target}' takes database '{first.key}'; nothing was downgraded.",
                hint="Bring the databases to one revision first; see 'flask db current'.",
            ) from error
    return resolved


def stamp(
    directory: Directory = None,
    revision: str | t.Sequence[str] = "head",
    sql: bool = False,
    tag: str | None = None,
    purge: bool = False,
    *,
    x_arg: XArg = None,
    command: str | None = None,
    database: Keys = (),
    two_phase: bool | None = None,
    output: str | os.PathLike[str] | None = None,
    listener: Listener = SILENT,
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
    settings = _settings(database, two_phase, sql, output)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)

    def plan(visit: Visit) -> t.Iterable[_alembic.Step]:
        with clear_errors(visit.directory):
            scripts = [visit.directory.get_revisions(target) or (None,) for target in targets]
        for script in itertools.chain(*scripts):
            # one after the other: Alembic fails where two of them split a merge
            name = script.revision if script else "base"
            yield from _alembic.stamp_steps(visit.directory, (name,), visit.heads)

    visits = workspace.run(
        plan,
        listener=listener,
        as_sql=sql,
        starting_rev=next(iter(starts), None),
        destination_rev=targets,
        tag=tag,
        purge=purge,
    )
    return _result(visits)


def ensure_version(
    directory: Directory = None,
    sql: bool = False,
    *,
    x_arg: XArg = None,
    command: str | None = None,
    database: Keys = (),
    output: str | os.PathLike[str] | None = None,
    listener: Listener = SILENT,
) -> MigrationResult:
    """Create the version table of each database unless it exists.

    :param sql: Write the SQL to stdout instead of running it.

    The other parameters and the errors are those of :func:`upgrade`.
    """

    def plan(visit: Visit) -> t.Iterable[_alembic.Step]:
        _alembic.ensure_version_table(visit.context)
        return ()

    settings = _settings(database, False, sql, output)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)
    return _result(workspace.run(plan, listener=listener, as_sql=sql))


def _settings(
    database: Keys, two_phase: bool | None, sql: bool, output: str | os.PathLike[str] | None
) -> RunSettings:
    if output is not None and not sql:
        raise ConfigurationError(
            "'--output' is the folder for the files of '--sql', which is missing.",
            hint="Add '--sql', or leave '--output' out.",
        )
    return RunSettings(
        as_tuple(database),
        False if sql else two_phase,
        None if output is None else os.fspath(output),
    )


def _result(visits: list[Visit]) -> MigrationResult:
    return MigrationResult(tuple(visit.result for visit in visits))
