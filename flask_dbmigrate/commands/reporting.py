"""``run_log`` and ``status``: what was run on the databases, and what is to be done."""

from __future__ import annotations

from dataclasses import dataclass

from flask_dbmigrate.config import read_settings
from flask_dbmigrate.data import Data
from flask_dbmigrate.databases import safe_url
from flask_dbmigrate.inspection.status import database_status
from flask_dbmigrate.inspection.status import DatabaseStatus
from flask_dbmigrate.inspection.status import StatusResult
from flask_dbmigrate.runtime.log import LogEntry
from flask_dbmigrate.runtime.log import read_log
from flask_dbmigrate.runtime.result import Listener
from flask_dbmigrate.runtime.result import SILENT
from flask_dbmigrate.runtime.settings import RunSettings
from flask_dbmigrate.runtime.visit import Visit
from flask_dbmigrate.script.identifiers import as_tuple

from .workspace import Directory
from .workspace import Keys
from .workspace import open_workspace
from .workspace import XArg


@dataclass(frozen=True)
class DatabaseLog(Data):
    """What was run on one database.

    :param key: ``default``, or the bind key.
    :param url: Its URL, without the password.
    :param entries: The last entries of its log, the newest one last.
    """

    key: str
    url: str
    entries: tuple[LogEntry, ...]


@dataclass(frozen=True)
class LogResult(Data):
    """What was run on the databases.

    :param databases: One log for each database.
    """

    databases: tuple[DatabaseLog, ...]

    def __str__(self) -> str:
        lines = []
        for database in self.databases:
            if len(self.databases) > 1:
                lines.append(f"Database '{database.key}':")
            lines.extend(map(str, database.entries))
        return "\n".join(lines)


def run_log(
    directory: Directory = None,
    number: int = 20,
    *,
    x_arg: XArg = None,
    command: str | None = None,
    database: Keys = (),
    listener: Listener = SILENT,
) -> LogResult:
    """Tell what was run on the databases: when, by whom, and how it ended.

    A database on which nothing was run with a log has an empty one.

    :param directory: The migration directory; by default the application's.
    :param number: How many entries of each database.
    :param x_arg: What ``context.get_x_argument()`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :param database: The key of the database to look at, or several keys; by default all of them.
    :param listener: Is told about databases that are skipped.
    """
    settings = RunSettings(as_tuple(database), two_phase=False)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)
    found: list[DatabaseLog] = []

    def look(visit: Visit) -> tuple[()]:
        url = "" if visit.engine is None else safe_url(visit.engine.url)
        found.append(DatabaseLog(visit.key, url, read_log(visit.context, number)))
        return ()

    # where the directory has no script of a revision, the log is what one wants to read
    workspace.run(look, listener=listener, is_known=False, dont_mutate=True)
    return LogResult(tuple(found))


def status(
    directory: Directory = None,
    *,
    x_arg: XArg = None,
    command: str | None = None,
    database: Keys = (),
    listener: Listener = SILENT,
) -> StatusResult:
    """Tell for each database what is pending, unknown or edited, and who is migrating it.

    Nothing is written or locked, and no other run is waited for.

    :param directory: The migration directory; by default the application's.
    :param x_arg: What ``context.get_x_argument()`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :param database: The key of the database to look at, or several keys; by default all of them.
    :param listener: Is told about databases that are skipped.
    :raises DatabaseUnavailableError: if a database cannot be reached.
    """
    settings = RunSettings(as_tuple(database), two_phase=False)
    workspace = open_workspace(directory, x_arg=x_arg, command=command, settings=settings)
    edited_mode = read_settings(workspace.state.app.config).edited
    found: list[DatabaseStatus] = []

    def look(visit: Visit) -> tuple[()]:
        found.append(database_status(visit, edited_mode=edited_mode))
        return ()

    workspace.run(look, listener=listener, is_known=False, dont_mutate=True)
    return StatusResult(tuple(found))
