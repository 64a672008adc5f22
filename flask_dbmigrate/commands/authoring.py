"""``revision``, ``migrate`` and ``merge``: what writes revision scripts."""

from __future__ import annotations

from dataclasses import dataclass
import os
import typing as t

from alembic.autogenerate import RevisionContext

from flask_dbmigrate.autogenerate.pipeline import compare
from flask_dbmigrate.autogenerate.pipeline import Comparison
from flask_dbmigrate.autogenerate.pipeline import new_revision
from flask_dbmigrate.autogenerate.scope import KeptTable
from flask_dbmigrate.autogenerate.unseen import UnseenModels
from flask_dbmigrate.data import Data
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import RevisionError
from flask_dbmigrate.runtime.result import Listener
from flask_dbmigrate.runtime.result import SILENT
from flask_dbmigrate.runtime.visit import Visit
from flask_dbmigrate.script.directory import shorten
from flask_dbmigrate.script.revisions import describe
from flask_dbmigrate.script.revisions import Revision
from flask_dbmigrate.script.scaffold import all_or_nothing
from flask_dbmigrate.script.scaffold import escape
from flask_dbmigrate.script.scaffold import FailedHook
from flask_dbmigrate.script.scaffold import free_id
from flask_dbmigrate.script.scaffold import require_template

from .targets import named_scripts
from .workspace import Directory
from .workspace import open_workspace
from .workspace import Workspace
from .workspace import XArg


@dataclass(frozen=True)
class NewRevisions(Data):
    """The revision scripts that were written; none if there was nothing to write.

    :param kept_tables: The tables without a model that autogenerate found and does not drop.
    :param unseen: The models that it did not compare; None if it has seen all.
    :param failed_hooks: The post-write hooks that have failed.
    """

    revisions: tuple[Revision, ...]
    kept_tables: tuple[KeptTable, ...] = ()
    unseen: UnseenModels | None = None
    failed_hooks: tuple[FailedHook, ...] = ()

    def __str__(self) -> str:
        paths = "\n".join(shorten(revision.path) for revision in self.revisions)
        return paths or "No changes in schema detected."


def revision(
    directory: Directory = None,
    message: str | None = None,
    autogenerate: bool = False,
    sql: bool = False,
    head: str = "head",
    splice: bool = False,
    branch_label: str | None = None,
    version_path: str | os.PathLike[str] | None = None,
    rev_id: str | None = None,
    *,
    depends_on: str | t.Sequence[str] | None = None,
    x_arg: XArg = None,
    command: str | None = None,
    listener: Listener = SILENT,
) -> NewRevisions:
    """Write a new revision script.

    :param directory: The migration directory; by default the application's.
    :param message: What the revision does, in a few words.
    :param autogenerate: Fill it with what the models have and the database has not.
    :param sql: Alembic's ``--sql``, for directories with ``revision_environment = true``.
    :param head: The revision it comes after; ``branch@head`` for that of a branch.
    :param splice: Allow a ``head`` that is no head, which makes a new branch.
    :param branch_label: A name for the branch that begins here.
    :param version_path: The folder to write to, if ``version_locations`` has several.
    :param rev_id: Its identifier; by default a random one.
    :param depends_on: Revisions that must be applied before it.
    :param x_arg: What ``context.get_x_argument()`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :param listener: Is told about databases that are skipped.
    :raises MultipleHeadsError: if there are several heads and ``head`` does not choose.
    :raises PendingRevisionsError: with ``autogenerate``, if a database is not at the head.
    :raises ConfigurationError: if the script cannot be written.
    """
    if autogenerate and sql:
        raise ConfigurationError(
            "'--sql' cannot be used with autogenerate: comparing needs a live database.",
            hint="Leave one of them out.",
        )
    opts = ("autogenerate",) if autogenerate else ()
    workspace = open_workspace(directory, x_arg=x_arg, command=command, opts=opts)
    arguments = {
        "message": escape(message),
        "head": head,
        "splice": splice,
        "branch_label": branch_label,
        "version_path": version_path,
        "rev_id": free_id(workspace.directory, rev_id),
        "depends_on": depends_on,
        "autogenerate": autogenerate,
        "sql": sql,
    }
    require_template(workspace.directory)
    named_scripts(workspace.directory, head)  # a bad head is found before the comparison
    found = (_differences if autogenerate else _empty_revision)(workspace, arguments, listener)
    context = found.revision
    with all_or_nothing(workspace.state, workspace.directory) as failed:
        scripts = [script for script in context.generate_scripts() if script is not None]
    return NewRevisions(
        tuple(map(describe, scripts)), found.kept_tables, found.unseen, tuple(failed)
    )


def migrate(
    directory: Directory = None,
    message: str | None = None,
    sql: bool = False,
    head: str = "head",
    splice: bool = False,
    branch_label: str | None = None,
    version_path: str | os.PathLike[str] | None = None,
    rev_id: str | None = None,
    x_arg: XArg = None,
    *,
    depends_on: str | t.Sequence[str] | None = None,
    command: str | None = None,
    listener: Listener = SILENT,
) -> NewRevisions:
    """Write a revision that makes the database equal to the models.

    Parameters and errors are those of :func:`revision` with ``autogenerate``.
    """
    return revision(
        directory,
        message,
        True,
        sql,
        head,
        splice,
        branch_label,
        version_path,
        rev_id,
        depends_on=depends_on,
        x_arg=x_arg,
        command=command,
        listener=listener,
    )


def merge(
    directory: Directory = None,
    revisions: str | t.Sequence[str] = "",
    message: str | None = None,
    branch_label: str | None = None,
    rev_id: str | None = None,
    *,
    splice: bool = False,
    x_arg: XArg = None,
    command: str | None = None,
) -> NewRevisions:
    """Write a revision that joins several into one.

    :param revisions: The revisions to join; by default all heads.
    :param splice: Allow revisions that are no heads.

    The other parameters are those of :func:`revision`.

    :raises RevisionError: if there is nothing to join.
    """
    workspace = open_workspace(directory, x_arg=x_arg, command=command)
    require_template(workspace.directory)
    names = (revisions,) if isinstance(revisions, str) and revisions else tuple(revisions)
    if not names and len(names := tuple(workspace.directory.get_heads())) < 2:
        raise RevisionError(
            f"There is nothing to merge: the only head is '{names[0]}'."
            if names
            else "There is nothing to merge: there are no revisions.",
            hint="See the heads with 'flask db heads'.",
        )
    for name in names:
        named_scripts(workspace.directory, name)
    if workspace.is_set("revision_environment"):
        workspace.look()
    identifier = free_id(workspace.directory, rev_id)
    with all_or_nothing(workspace.state, workspace.directory) as failed:
        script = workspace.directory.generate_revision(
            identifier,
            escape(message),
            refresh=True,
            head=names,
            branch_labels=branch_label,
            splice=splice,
            config=workspace.config,
        )
    written = () if script is None else (describe(script),)
    return NewRevisions(written, failed_hooks=tuple(failed))


def _differences(
    workspace: Workspace, arguments: dict[str, t.Any], listener: Listener
) -> Comparison:
    """Compare models and databases; revisions without any operation are left out."""
    found = compare(
        workspace.state, workspace.config, workspace.directory, arguments, listener=listener
    )
    found.revision.generated_revisions[:] = [
        script
        for script in found.revision.generated_revisions
        if not all(operations.is_empty() for operations in script.upgrade_ops_list)
    ]
    return found


def _empty_revision(
    workspace: Workspace, arguments: dict[str, t.Any], listener: Listener
) -> Comparison:
    context = RevisionContext(
        workspace.config, workspace.directory, {**new_revision(), **arguments}
    )

    def prepare(visit: Visit) -> tuple[()]:
        context.run_no_autogenerate(visit.before, visit.context)
        return ()

    if workspace.is_set("revision_environment"):
        workspace.run(
            prepare,
            listener=listener,
            as_sql=arguments["sql"],
            template_args=context.template_args,
            revision_context=context,
        )
    elif arguments["sql"]:
        raise ConfigurationError(
            "'revision --sql' does nothing unless 'revision_environment' is set.",
            hint="Leave '--sql' out.",
        )
    return Comparison(context)
