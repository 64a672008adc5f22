"""Compares models and databases; ``migrate`` and ``check`` do it exactly the same way."""

from __future__ import annotations

from dataclasses import dataclass
import typing as t

from alembic.autogenerate import RevisionContext
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask

from flask_dbmigrate.runtime.result import Listener
from flask_dbmigrate.runtime.result import SILENT
from flask_dbmigrate.runtime.runner import run_environment
from flask_dbmigrate.runtime.settings import settings_of
from flask_dbmigrate.runtime.visit import Visit
from flask_dbmigrate.script.pending import pending_error
from flask_dbmigrate.script.pending import pending_revisions
from flask_dbmigrate.script.pending import PendingRevisions
from flask_dbmigrate.state import MigrateState

from .imports import import_types
from .indexes import create_once
from .reading import read_at_once
from .scope import KeptTable
from .scope import limit
from .scope import Scope
from .unseen import find_unseen
from .unseen import UnseenModels


@dataclass(frozen=True)
class Comparison:
    """How models and databases differ.

    :param revision: Alembic's revision context; the differences are in its
        ``generated_revisions``.
    :param kept_tables: The tables without a model that are no difference, because they are kept.
    :param unseen: The models that were not compared.
    """

    revision: RevisionContext
    kept_tables: tuple[KeptTable, ...] = ()
    unseen: UnseenModels | None = None


def prepare(context: MigrationContext, app: Flask, database: str) -> Scope:
    """Have Alembic compare what is ours, quickly, and write scripts that import what they name.

    :param database: The key of the database.
    """
    scope = limit(context, app, database)
    import_types(context)
    read_at_once(context)
    return scope


def compare(
    state: MigrateState,
    config: Config,
    directory: ScriptDirectory,
    arguments: dict[str, t.Any] | None = None,
    *,
    listener: Listener = SILENT,
    look: t.Callable[[Visit], object] | None = None,
) -> Comparison:
    """Compare the models with each database.

    Nothing is written to a database, not even the version table.

    :param arguments: What the new revision is to be: those of Alembic's ``revision`` command.
    :param listener: Is told about databases that are skipped.
    :param look: Is called with each database first.
    :raises PendingRevisionsError: if a database is not at the head.
    """
    revision = RevisionContext(config, directory, {**new_revision(), **(arguments or {})})
    kept: list[KeptTable] = []

    def find_differences(visit: Visit) -> tuple[()]:
        if look is not None:
            look(visit)
        require_up_to_date(visit)
        scope = prepare(visit.context, state.app, visit.key)
        revision.run_autogenerate(visit.before, visit.context)
        for script in revision.generated_revisions:
            create_once(script.upgrade_ops_list[-1], visit.context)
            create_once(script.downgrade_ops_list[-1], visit.context)
        kept.extend(sorted(scope.kept))
        return ()

    visits = run_environment(
        state,
        config,
        directory,
        find_differences,
        listener=listener,
        dont_mutate=True,
        template_args=revision.template_args,
        revision_context=revision,
    )
    is_whole = not settings_of(config).databases
    unseen = find_unseen(state, directory, visits) if is_whole else None
    return Comparison(revision, tuple(kept), unseen)


def new_revision() -> dict[str, t.Any]:
    """The arguments of Alembic's ``revision`` command, with their defaults."""
    return {
        "message": None,
        "autogenerate": True,
        "sql": False,
        "head": "head",
        "splice": False,
        "branch_label": None,
        "version_path": None,
        "rev_id": None,
        "depends_on": None,
    }


def require_up_to_date(visit: Visit) -> None:
    """Check that a database is at the head.

    :raises PendingRevisionsError: if it is not.
    """
    directory = visit.directory
    if set(directory.get_revisions(visit.before)) == set(directory.get_revisions("heads")):
        return
    pending = pending_revisions(directory, visit.before)
    raise pending_error(PendingRevisions(visit.key, visit.result.url, pending))
