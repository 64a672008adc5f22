"""A target that is a number of steps is counted on one database, and is the same for all."""

from __future__ import annotations

import re

from flask_dbmigrate import _alembic
from flask_dbmigrate.errors import RevisionError
from flask_dbmigrate.script.directory import clear_errors
from flask_dbmigrate.script.identifiers import as_tuple

from .workspace import Workspace


def same_upgrade(workspace: Workspace, target: str) -> str:
    """Resolve a number of steps up from where the first database stands, for all of them.

    :param target: The target; one that is no number of steps stays as it is.
    """
    visits = workspace.look() if re.fullmatch(r"\+\d+", target) else []
    if not visits:
        return target
    with clear_errors(workspace.directory):
        steps = _alembic.upgrade_steps(workspace.directory, target, visits[0].before)
    last = _alembic.script_of(steps[-1])
    return target if last is None else last.revision


def same_downgrade(workspace: Workspace, target: str) -> str:
    """Resolve a number of steps down from where the first database stands, for all of them.

    :param target: The target; one that is no number of steps stays as it is.
    :raises RevisionError: if a database is neither there already nor above it.
    """
    visits = workspace.look() if re.fullmatch(r"(.+@)?-\d+", target) else []
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
