"""``upgrade --plan`` and ``downgrade --plan``: what a run would do."""

from __future__ import annotations

import typing as t

from flask_dbmigrate import _alembic
from flask_dbmigrate.databases import safe_url
from flask_dbmigrate.runtime.result import Listener
from flask_dbmigrate.runtime.result import SILENT
from flask_dbmigrate.runtime.settings import RunSettings
from flask_dbmigrate.runtime.visit import Visit
from flask_dbmigrate.script.functions import require_functions
from flask_dbmigrate.script.identifiers import as_tuple
from flask_dbmigrate.script.operations import read_operations
from flask_dbmigrate.script.plan import DatabasePlan
from flask_dbmigrate.script.plan import MigrationPlan
from flask_dbmigrate.script.plan import PlannedStep

from .targets import same_downgrade
from .targets import same_upgrade
from .workspace import Directory
from .workspace import Keys
from .workspace import open_workspace
from .workspace import split_range
from .workspace import Workspace
from .workspace import XArg

Planner = t.Callable[[Visit], DatabasePlan]


def plan_upgrade(
    directory: Directory = None,
    revision: str = "head",
    *,
    tag: str | None = None,
    x_arg: XArg = None,
    command: str | None = None,
    database: Keys = (),
    listener: Listener = SILENT,
) -> MigrationPlan:
    """Tell what :func:`upgrade` would do; nothing is written, and no revision is executed.

    The operations of each revision are read from its script.

    :param directory: The migration directory; by default the application's.
    :param revision: The target: a revision, ``head``, ``heads``, ``+2``, ``branch@head``.
    :param tag: Anything; env.py can read it.
    :param x_arg: What ``context.get_x_argument()`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :param database: The key of the database to look at, or several keys; by default all of them.
    :param listener: Is told about databases that are skipped.
    :raises RevisionError: if the target cannot be found or reached.
    :raises DatabaseUnavailableError: if a database cannot be reached.
    """
    workspace, target = _open(directory, revision, x_arg, command, database)
    target = same_upgrade(workspace, target)

    def plan(visit: Visit) -> DatabasePlan:
        steps = _alembic.upgrade_steps(visit.directory, target, visit.before)
        return _read(visit, "upgrade", steps)

    return _collect(workspace, plan, listener, tag)


def plan_downgrade(
    directory: Directory = None,
    revision: str = "-1",
    *,
    tag: str | None = None,
    x_arg: XArg = None,
    command: str | None = None,
    database: Keys = (),
    listener: Listener = SILENT,
) -> MigrationPlan:
    """Tell what :func:`downgrade` would do; nothing is written, and no revision is executed.

    :param revision: The target: a revision, ``base``, ``-1``, ``branch@base``.

    The other parameters and the errors are those of :func:`plan_upgrade`.
    """
    workspace, target = _open(directory, revision, x_arg, command, database)
    target = same_downgrade(workspace, target)
    return _collect(workspace, lambda visit: read_downgrade(visit, target), listener, tag)


def read_downgrade(visit: Visit, target: str) -> DatabasePlan:
    """Read what a downgrade would do to a database."""
    steps = _alembic.downgrade_steps(visit.directory, target, visit.before)
    return _read(visit, "downgrade", steps)


def _open(
    directory: Directory, revision: str, x_arg: XArg, command: str | None, database: Keys
) -> tuple[Workspace, str]:
    _, target = split_range(revision, sql=False)
    settings = RunSettings(as_tuple(database), two_phase=False)
    return open_workspace(directory, x_arg=x_arg, command=command, settings=settings), target


def _collect(
    workspace: Workspace, planner: Planner, listener: Listener, tag: str | None
) -> MigrationPlan:
    plans: list[DatabasePlan] = []

    def look(visit: Visit) -> tuple[()]:
        plans.append(planner(visit))
        return ()

    workspace.look(look, listener=listener, tag=tag)
    return MigrationPlan(tuple(plans))


def _read(visit: Visit, direction: str, steps: t.Sequence[_alembic.Step]) -> DatabasePlan:
    require_functions(steps, visit.arguments)
    planned = []
    for step in steps:
        script = _alembic.script_of(step)
        assert script is not None
        engine_name = (
            visit.arguments["engine_name"] if visit.arguments.keys() == {"engine_name"} else None
        )
        operations = read_operations(script.path, direction, engine_name=engine_name)
        planned.append(PlannedStep(direction, script.revision, str(step), operations))
    url = "" if visit.engine is None else safe_url(visit.engine.url)
    return DatabasePlan(visit.key, url, visit.before, tuple(planned))
