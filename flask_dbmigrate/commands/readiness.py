"""What is pending, asked by an application that starts or serves."""

from __future__ import annotations

from collections.abc import Iterable

from flask_dbmigrate.runtime.result import DatabaseResult
from flask_dbmigrate.runtime.runner import TurnTakenError
from flask_dbmigrate.runtime.visit import Visit
from flask_dbmigrate.script.pending import pending_error
from flask_dbmigrate.script.pending import pending_revisions
from flask_dbmigrate.script.pending import PendingRevisions
from flask_dbmigrate.state import MigrateState

from .workspace import open_workspace
from .workspace import Workspace

_PATIENCE = 1.0
"""Seconds to wait while another thread runs env.py."""


def pending(state: MigrateState) -> tuple[PendingRevisions, ...]:
    """List what is pending, for each database on which something is.

    A thread that migrates has env.py for itself, for minutes perhaps. Where the databases stood
    when it began is the answer then.
    """
    workspace = open_workspace(command=state.command)
    found = (
        PendingRevisions(seen.key, seen.url, pending_revisions(workspace.directory, seen.after))
        for seen in _look(workspace)
    )
    return tuple(database for database in found if database.revisions)


def require_current(state: MigrateState) -> None:
    """Check that nothing is pending.

    :raises PendingRevisionsError: if something is.
    """
    found = pending(state)
    if found:
        error = pending_error(*found, command=state.command)
        error.add_note(error.hint)  # a server that starts shows the traceback
        raise error


def _look(workspace: Workspace) -> Iterable[DatabaseResult]:
    while True:
        try:
            visits = workspace.run(_glance, is_known=False, patience=_PATIENCE, dont_mutate=True)
        except TurnTakenError:
            if workspace.state.seen:
                return workspace.state.seen.values()
        else:
            return [visit.result for visit in visits]


def _glance(visit: Visit) -> tuple[()]:
    """Look at nothing but where the database stands."""
    return ()
