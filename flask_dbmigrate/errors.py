"""The error tree: one class for each situation, so that nobody has to match text.

::

    DBMigrateError                       exit code
    ├── ConfigurationError               2    a wrong setting, a missing extension, no directory
    │   ├── NotRegisteredError                the application has no 'Migrate'
    │   ├── NoDatabaseError                   'Migrate' has no database
    │   ├── MigrationDirectoryError           no migration directory, or a damaged one
    │   ├── DatabaseAccessError               the server refuses the user or the database name,
    │   │                                     or a file of SQLite is none
    │   └── ReadOnlyDatabaseError             a replica, or what else cannot be written to
    ├── RevisionError                    1    what lies in the migration directory
    │   ├── RevisionNotFoundError
    │   ├── AmbiguousRevisionError
    │   ├── MultipleHeadsError
    │   ├── ScriptError                       a script that Python cannot load
    │   └── UnknownDatabaseRevisionError      the database is at a revision that no script has
    ├── MigrationError                   1    a revision failed
    ├── CheckFailedError                 3    the answer is "no"; nothing broke
    │   ├── PendingRevisionsError
    │   ├── DriftError
    │   ├── DataLossError                     a downgrade would drop data, and nobody agreed to it
    │   └── EditedRevisionError               an applied revision was edited since
    ├── HalfAppliedError                 4    a revision is half-applied; resume or resolve it
    ├── DatabaseUnavailableError         69   the database cannot be reached
    └── LockNotAcquiredError             75   another run holds the database; safe to try again
"""

from __future__ import annotations

from contextlib import suppress
import os
import typing as t

import click


class DBMigrateError(click.ClickException):
    """Something that stops a command, in one sentence, and what to do about it.

    A command of the application that does not catch it ends as ours do.

    :param message: What happened: one full sentence, names in single quotes.
    :param hint: What to do next; a command that can be pasted where there is one.
    """

    exit_code: t.ClassVar[int] = 1
    """What the command line exits with."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def show(self, file: t.IO[t.Any] | None = None) -> None:
        """Print it as the command line does.

        :param file: Where to; by default stderr.
        """
        colour = None if os.environ.get("NO_COLOR") else "red"
        with suppress(OSError):  # where nobody can hear it, the exit code says that it has failed
            click.secho("Error: ", file, fg=colour, reset=colour is not None, nl=False, err=True)
            for text in filter(None, (self.message, self.hint)):
                click.echo(text, file, err=True)


class ConfigurationError(DBMigrateError):
    """A setting is wrong, or something that has to be there is missing."""

    exit_code = 2


class NotRegisteredError(ConfigurationError):
    """There is no application, or ``Migrate`` was never bound to it."""


class NoDatabaseError(ConfigurationError):
    """``Migrate`` is bound to the application, but to no database."""


class MigrationDirectoryError(ConfigurationError):
    """The migration directory is missing or damaged.

    :param looked_in: The places where a missing directory was looked for.
    """

    def __init__(self, message: str, *, hint: str = "", looked_in: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.looked_in = looked_in


class DatabaseAccessError(ConfigurationError):
    """The server answers, but refuses the user, the password or the database name.

    Or the file of an SQLite database cannot be opened or is none, or a disk is full.

    :param url: The database's URL, without its password.
    """

    def __init__(self, message: str, *, hint: str = "", url: str = "") -> None:
        super().__init__(message, hint=hint)
        self.url = url


class ReadOnlyDatabaseError(ConfigurationError):
    """A database is a replica, or cannot be written to for another reason.

    :param database: The database's key.
    """

    def __init__(self, message: str, *, hint: str = "", database: str = "") -> None:
        super().__init__(message, hint=hint)
        self.database = database


class RevisionError(DBMigrateError):
    """Something about the revisions in the migration directory."""


class RevisionNotFoundError(RevisionError):
    """No revision or branch has this name.

    :param revision: What was asked for.
    :param matches: Names that are close to it.
    """

    def __init__(
        self, message: str, *, hint: str = "", revision: str = "", matches: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.revision = revision
        self.matches = matches


class AmbiguousRevisionError(RevisionNotFoundError):
    """Several revisions begin with this prefix; they are the ``matches``."""


class MultipleHeadsError(RevisionError):
    """One head was asked for and there are several.

    :param heads: The heads.
    """

    def __init__(self, message: str, *, hint: str = "", heads: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.heads = heads


class ScriptError(RevisionError):
    """A revision script that Python cannot load.

    :param path: The script.
    :param line: The line, where it is known.
    """

    def __init__(
        self, message: str, *, hint: str = "", path: str = "", line: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.line = line


class UnknownDatabaseRevisionError(RevisionError):
    """A database is at a revision that no script has.

    :param database: The database's key.
    :param revision: The revision in its version table.
    """

    def __init__(
        self, message: str, *, hint: str = "", database: str = "", revision: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.database = database
        self.revision = revision


class MigrationError(DBMigrateError):
    """A revision failed while it ran.

    :param database: The database's key.
    :param revision: The revision that failed.
    :param path: Its script.
    :param line: The line of the script that failed, where it is known.
    :param statement: The SQL statement that failed, if it was one.
    :param heads: Where the database stands now; None if that could not be read.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        database: str = "",
        revision: str = "",
        path: str = "",
        line: int | None = None,
        statement: str | None = None,
        heads: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.database = database
        self.revision = revision
        self.path = path
        self.line = line
        self.statement = statement
        self.heads = heads


class HalfAppliedError(DBMigrateError):
    """A revision is half-applied on a database.

    :param database: The database's key.
    :param half_applied: A :class:`flask_dbmigrate.HalfApplied`: what is done, and what is not.
    """

    exit_code = 4

    def __init__(
        self, message: str, *, hint: str = "", database: str = "", half_applied: t.Any = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.database = database
        self.half_applied = half_applied


class CheckFailedError(DBMigrateError):
    """The answer to a question is "no"; nothing broke."""

    exit_code = 3


class PendingRevisionsError(CheckFailedError):
    """A database is not at the head of the migration directory.

    :param database: The database's key.
    :param pending: The revisions it lacks, oldest first.
    """

    def __init__(
        self, message: str, *, hint: str = "", database: str = "", pending: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.database = database
        self.pending = pending


class DriftError(CheckFailedError):
    """The models and the database differ.

    :param differences: One :class:`flask_dbmigrate.Difference` for each.
    """

    def __init__(
        self, message: str, *, hint: str = "", differences: tuple[t.Any, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.differences = differences


class DataLossError(CheckFailedError):
    """A downgrade would drop tables or columns that hold data, and nobody agreed to it.

    :param losses: One :class:`flask_dbmigrate.Loss` for each that holds data, or may.
    """

    def __init__(self, message: str, *, hint: str = "", losses: tuple[t.Any, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.losses = losses


class EditedRevisionError(CheckFailedError):
    """A revision was edited after it was applied, and ``DBMIGRATE_EDITED`` calls that an error.

    :param database: The database's key.
    :param edited: One :class:`flask_dbmigrate.EditedRevision` for each.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        database: str = "",
        edited: tuple[t.Any, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.database = database
        self.edited = edited


class DatabaseUnavailableError(DBMigrateError):
    """The database cannot be reached.

    :param url: Its URL, without its password.
    :param is_transient: Whether it may be there in a moment: the connection was refused, the
        server is starting, or its name is not known yet.
    :param was_connected: Whether it was there, and the connection was lost.
    """

    exit_code = 69  # EX_UNAVAILABLE of sysexits.h

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        url: str = "",
        is_transient: bool = False,
        was_connected: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.url = url
        self.is_transient = is_transient
        self.was_connected = was_connected


class LockNotAcquiredError(DBMigrateError):
    """Another run holds the migration lock of a database, or ours was lost. Safe to try again.

    :param database: The database's key.
    """

    exit_code = 75  # EX_TEMPFAIL of sysexits.h

    def __init__(self, message: str, *, hint: str = "", database: str = "") -> None:
        super().__init__(message, hint=hint)
        self.database = database
