"""``current`` and ``check``: where the databases stand, and whether they fit the models."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field

from flask_dbmigrate import _alembic
from flask_dbmigrate.autogenerate.drift import Difference
from flask_dbmigrate.autogenerate.drift import differences
from flask_dbmigrate.autogenerate.pipeline import compare
from flask_dbmigrate.config import read_settings
from flask_dbmigrate.data import Data
from flask_dbmigrate.databases import key_of
from flask_dbmigrate.databases import safe_url
from flask_dbmigrate.errors import CheckFailedError
from flask_dbmigrate.errors import DriftError
from flask_dbmigrate.runtime.edited import report_edited
from flask_dbmigrate.runtime.result import Listener
from flask_dbmigrate.runtime.result import SILENT
from flask_dbmigrate.runtime.settings import RunSettings
from flask_dbmigrate.runtime.visit import Visit
from flask_dbmigrate.script.directory import clear_errors
from flask_dbmigrate.script.identifiers import as_tuple
from flask_dbmigrate.script.revisions import describe
from flask_dbmigrate.script.revisions import Revision

from .workspace import Directory
from .workspace import Keys
from .workspace import open_workspace
from .workspace import XArg


@dataclass(frozen=True)
class DatabaseRevisions(Data):
    """Where one database stands.

    :param key: ``default``, or the bind key.
    :param url: Its URL, without the password.
    :param revisions: The revisions it is at; none at base.
    """

    key: str
    url: str
    revisions: tuple[Revision, ...]


@dataclass(frozen=True)
class CurrentResult(Data):
    """Where the databases stand.

    :param databases: One entry for each database.
    :param verbose: Whether ``str()`` shows the revisions in full.
    """

    databases: tuple[DatabaseRevisions, ...]
    verbose: bool = field(default=False, repr=False, compare=False, metadata={"json": False})

    def __str__(self) -> str:
        return "\n".join(line for database in self.databases for line in self._lines(database))

    def _lines(self, database: DatabaseRevisions) -> list[str]:
        show = str if self.verbose else _name
        lines = [show(revision) for revision in database.revisions]
        if self.verbose:
            return [f"Current revision(s) for {database.url}:", *lines]
        if len(self.databases) > 1:
            return [f"Database '{database.key}':", *(lines or ["<base>"])]
        return lines


def _name(revision: Revision) -> str:
    return f"{revision.revision}{revision.marks}"


def current(
    directory: Directory = None,
    verbose: bool = False,
    *,
    check_heads: bool = False,
    x_arg: XArg = None,
    command: str | None = None,
    database: Keys = (),
    listener: Listener = SILENT,
) -> CurrentResult:
    """Tell which revisions the databases are at.

    :param directory: The migration directory; by default the application's.
    :param verbose: Show the revisions in full, and the URL of each database.
    :param check_heads: Fail unless all databases are at the heads of the directory.
    :param x_arg: What ``context.get_x_argument()`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :param database: The key of the database to look at, or several keys; by default all of them.
    :param listener: Is told about databases that are skipped.
    :raises CheckFailedError: if one is not at the heads.
    :raises UnknownDatabaseRevisionError: if one is at a revision that no script has.
    """
    settings = RunSettings(as_tuple(database), two_phase=False)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)
    expected = set(workspace.directory.get_heads())
    found: list[DatabaseRevisions] = []

    def look(visit: Visit) -> tuple[()]:
        if check_heads and set(visit.before) != expected:
            place = " and ".join(f"'{head}'" for head in visit.before) or "base"
            wanted = " and ".join(f"'{head}'" for head in sorted(expected)) or "base"
            raise CheckFailedError(
                f"Database '{visit.key}' is at {place}, not at {wanted}.",
                hint="Run 'flask db upgrade'.",
            )
        with clear_errors(workspace.directory):
            scripts = _alembic.current_scripts(workspace.directory.revision_map, visit.before)
        url = "" if visit.engine is None else safe_url(visit.engine.url)
        revisions = sorted(map(describe, scripts), key=lambda revision: revision.revision)
        found.append(DatabaseRevisions(visit.key, url, tuple(revisions)))
        return ()

    workspace.run(look, listener=listener, dont_mutate=True)
    return CurrentResult(tuple(found), verbose)


@dataclass(frozen=True)
class CheckResult(Data):
    """How the models and the databases differ.

    :param differences: None in what :func:`check` returns: it raises :class:`DriftError` for them.
    """

    differences: tuple[Difference, ...] = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self.differences)) or "No new upgrade operations detected."


def check(
    directory: Directory = None,
    *,
    x_arg: XArg = None,
    command: str | None = None,
    database: Keys = (),
    listener: Listener = SILENT,
) -> CheckResult:
    """Check that ``migrate`` would find nothing to do.

    The parameters are those of :func:`current`.

    :raises PendingRevisionsError: if a database is not at the head.
    :raises DriftError: if the models and a database differ.
    :raises CheckFailedError: if the migration directory leaves out bind keys that have models, and
        ``database`` does not choose.
    :raises EditedRevisionError: if a revision was edited after it was applied, and
        ``DBMIGRATE_EDITED`` is ``error``.
    """
    settings = RunSettings(as_tuple(database), two_phase=False)
    workspace = open_workspace(
        directory, x_arg=x_arg, command=command, settings=settings, opts=("autogenerate",)
    )
    edited = read_settings(workspace.state.app.config).edited
    compared = compare(
        workspace.state,
        workspace.config,
        workspace.directory,
        listener=listener,
        look=lambda visit: report_edited(visit, edited, listener),
    )
    found = tuple(
        difference
        for script in compared.revision.generated_revisions
        for operations in script.upgrade_ops_list
        for difference in differences(operations, _database_of(operations.upgrade_token))
    )
    unseen = compared.unseen
    if found:
        count = "1 difference" if len(found) == 1 else f"{len(found)} differences"
        rest = f" {unseen} {unseen.hint}" if unseen else ""
        raise DriftError(
            f"The models and the database differ: {count}.{rest}",
            hint="Write a revision with 'flask db migrate'.",
            differences=found,
        )
    if unseen is not None:
        raise CheckFailedError(
            str(unseen), hint=f"{unseen.hint} To leave them out, add '--database default'."
        )
    return CheckResult()


def _database_of(token: str) -> str:
    """Tell the database from the token under which env.py has its operations rendered."""
    return key_of(token.removesuffix("upgrades").removesuffix("_"))
