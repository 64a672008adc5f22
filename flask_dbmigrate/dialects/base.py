"""The facts that are asked of every dialect, and the answers that hold everywhere."""

from __future__ import annotations

from dataclasses import dataclass
import enum
import os
import socket

import sqlalchemy as sa

from .locks import MigrationLock


class ConnectionProblem(enum.Enum):
    """Why a connection could not be made."""

    UNREACHABLE = "unreachable"
    CREDENTIALS = "credentials"
    NO_DATABASE = "no database"


@dataclass(frozen=True)
class ExtensionObjects:
    """What of a database belongs to an extension of the DBMS, not to an application.

    :param schemas: Schemas.
    :param tables: Tables, and what else has columns, with their schemas; once more with None as
        the schema, if they are found without it.
    """

    schemas: frozenset[str] = frozenset()
    tables: frozenset[tuple[str | None, str]] = frozenset()


class DialectFacts:
    """What one DBMS is like.

    Errors are the driver's own: ``DBAPIError.orig``, or what SQLAlchemy did not wrap.
    """

    remedy = "Start it"
    """What helps when a database cannot be reached."""

    leftovers = "may have stayed"
    """What becomes of a revision that fails half-way, where DDL is not transactional."""

    two_phase = False
    """Whether changes of the schema can be prepared and then committed."""

    creates_schemas = True
    """Whether ``CREATE SCHEMA`` is known."""

    def identity(self, connection: sa.Connection) -> str | None:
        """Tell what the server itself calls the database, to recognise it under another URL.

        :returns: The same for two connections if they see the same tables; None if unknown.
        """
        return None

    def connection_problem(self, error: BaseException) -> ConnectionProblem:
        """Tell why a connection could not be made."""
        return ConnectionProblem.UNREACHABLE

    def is_transient(self, error: BaseException) -> bool:
        """Tell whether waiting may help: the server is not there yet, or its name is not."""
        return isinstance(error.__cause__ or error, ConnectionError | socket.gaierror)

    def message(self, error: BaseException) -> str:
        """Extract what the DBMS itself said, in one line; where none answered, what the system did.

        A driver that chains the operating system's error puts less into its own.
        """
        system = error if isinstance(error, OSError) else error.__cause__
        said = _system_words(system) if isinstance(system, OSError) else self.words(error)
        return " ".join(said.split())

    def words(self, error: BaseException) -> str:
        """Extract what the DBMS itself said."""
        return str(error)

    def lock(self, engine: sa.Engine, *name: str | None) -> MigrationLock | None:
        """Make the migration lock of a database, not yet acquired; None if the DBMS has none.

        :param name: What tells it from other locks in this database.
        """
        return None

    def extension_objects(self, connection: sa.Connection) -> ExtensionObjects:
        """Look up what belongs to an extension."""
        return ExtensionObjects()


def _system_words(error: OSError) -> str:
    if isinstance(error, ConnectionError) and error.errno:  # asyncio has words of its own
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
