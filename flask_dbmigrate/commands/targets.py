"""Which revisions a target means: a number of steps is counted once for all databases."""

from __future__ import annotations

import itertools
import re

from alembic.script import Script
from alembic.script import ScriptDirectory

from flask_dbmigrate import _alembic
from flask_dbmigrate.errors import RevisionError
from flask_dbmigrate.script.directory import clear_errors
from flask_dbmigrate.script.identifiers import as_tuple

from .workspace import Workspace


def named_scripts(directory: ScriptDirectory, name: str | tuple[str, ...]) -> tuple[Script, ...]:
    """Find the scripts that a name stands for: none for ``base``.

    :raises RevisionError: if there are none, and it does not mean the base.
    """
    with clear_errors(directory):
        scripts = directory.get_revisions(name)
    if not all(isinstance(script, Script) for script in scripts):  # None, or the word 'base'
        raise RevisionError(
            f"'{name}' goes further than there are revisions.",
            hint="Look at 'flask db history'.",
        )
    return scripts


def stamp_targets(directory: ScriptDirectory, targets: tuple[str, ...]) -> list[str]:
    """Resolve what a database is to be stamped with, in the order in which that has to be done.

    :returns: What goes to base, then revisions none of which comes after another one.
    :raises RevisionError: if one is not found, or is a number of steps.
    """
    for target in targets:
        if re.search(r"[+-]\d+$", target):
            raise RevisionError(
                f"'stamp' cannot count a number of steps, such as in '{target}'.",
                hint="Name the revision: 'flask db history' lists them.",
            )
    found = {target: named_scripts(directory, target) for target in targets}
    bases = [target for target, scripts in found.items() if not scripts]
    scripts = dict.fromkeys(itertools.chain(*found.values()))
    return bases + _alembic.uppermost(directory, scripts)


def same_upgrade(workspace: Workspace, target: str) -> str:
    """Resolve a number of steps up from where the first database stands, for all of them.

    :param target: The target; one that is no number of steps stays as it is.
    """
    visits = workspace.look() if re.fullmatch(r"(.+@)?\+\d+", target) else []
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
    assert last is not None
    # the base of its own branch: others stay
    resolved = ", ".join(as_tuple(last.down_revision)) or f"{last.revision}@base"
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
