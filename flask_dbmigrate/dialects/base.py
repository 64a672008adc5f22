"""The facts that are asked of every dialect, and the answers that hold everywhere."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
import enum
import os
import re
import socket
import typing as t

import sqlalchemy as sa

from flask_dbmigrate.wording import quoted
from flask_dbmigrate.wording import words_of

from .locks import MigrationLock
from .statements import is_look
from .statements import Kind


class Refusal(enum.Enum):
    """Why a database cannot be written to."""

    REPLICA = "is a replica"
    READ_ONLY = "is read-only"


class ConnectionProblem(enum.Enum):
    """Why a connection could not be made."""

    UNREACHABLE = "unreachable"
    CREDENTIALS = "credentials"
    NO_DATABASE = "no database"
    ENCRYPTION = "encryption"


# libpq, asyncpg, pg8000, Python's ssl, PostgreSQL's refusals, PyMySQL and MySQL Connector, MySQL's
_ENCRYPTION = re.compile(
    r"SSL (is|was) required|(support|refuses|rejected) SSL|\[SSL: (CERTIFICATE|WRONG)"
    r"|certificate (verify failed|file)|, no encryption|SSL off|insecure transport"
)


def is_about_encryption(error: BaseException) -> bool:
    """Tell whether server and client do not agree on whether, or how, to encrypt."""
    said = words_of(error)  # of two tries the first may have been encrypted, and refused as well
    return bool(_ENCRYPTION.search(said)) and "SSL encryption" not in said


@dataclass(frozen=True)
class Blocker:
    """A session of the server that others wait for.

    :param session: The number that the server gives to it.
    :param text: What it is and does, for a sentence: "server process 7 (idle in transaction)".
    """

    session: int
    text: str = field(compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ExtensionObjects:
    """What of a database belongs to an extension of the DBMS, not to an application.

    :param schemas: Schemas.
    :param tables: Tables, and what else has columns, with their schemas; once more with None as
        the schema, if they are found without it.
    """

    schemas: frozenset[str] = frozenset()
    tables: frozenset[tuple[str | None, str]] = frozenset()


Cancellation = str | t.Callable[[], object] | None
"""A statement for another connection, or a function for another thread; None if there is no way."""


class DialectFacts:
    """What one DBMS is like.

    Errors are the driver's own: ``DBAPIError.orig``, or what SQLAlchemy did not wrap.
    """

    remedy = "Start it"
    """What helps when a database cannot be reached."""

    write_remedy = ""
    """What helps when a database cannot be written to; empty: take one that can."""

    leftovers = "may have stayed"
    """What becomes of a revision that fails half-way, where DDL is not transactional."""

    two_phase = False
    """Whether changes of the schema can be prepared and then committed."""

    creates_schemas = True
    """Whether ``CREATE SCHEMA`` is known."""

    survives_errors = False
    """Whether a transaction is as it was after a statement that has failed, without a savepoint."""

    is_journaled = False
    """Whether it is known which statements commit, and how to tell if one was executed."""

    present_schema = ""
    """A query for the schema in which a name without one is looked up now."""

    carries_unicode = ""
    """A query for whether each character gets to the database as it is; where empty, it does."""

    table_options: t.Mapping[str, t.Any] = {}
    """Options of ``sqlalchemy.Table`` for tables of our own."""

    def binary_literal(self, value: bytes) -> str | None:
        """Write bytes as SQL; None where it is not known how."""
        return None

    def identity(self, connection: sa.Connection) -> str | None:
        """Tell what the server itself calls the database, to recognise it under another URL.

        :returns: The same for two connections if they see the same tables; None if unknown.
        """
        return None

    def refusal(self, connection: sa.Connection) -> Refusal | None:
        """Tell why nothing can be written through a connection; None if it can, as far as known."""
        return None

    def connection_problem(self, error: BaseException) -> ConnectionProblem:
        """Tell why a connection could not be made."""
        return ConnectionProblem.UNREACHABLE

    def hidden_schema(
        self, connection: sa.Connection, table: str, schema: str | None
    ) -> str | None:
        """Tell in which schema a table is that the role may not look into; None if in none.

        :param schema: None for those in which it is looked for.
        """
        return None

    def is_transient(self, error: BaseException) -> bool:
        """Tell whether waiting may help: the server is not there yet, or its name is not."""
        return isinstance(error.__cause__ or error, ConnectionError | socket.gaierror)

    def remedy_for(self, error: BaseException) -> str:
        """Tell what helps with an error that is no statement's fault, as with a full disk.

        :returns: The beginning of a sentence; empty for all other errors.
        """
        return ""

    def message(self, error: BaseException) -> str:
        """Extract what the DBMS itself said, in one line; where none answered, what the system did.

        A driver that chains the operating system's error puts less into its own.
        """
        system = error if isinstance(error, OSError) else error.__cause__
        said = _system_words(system) if isinstance(system, OSError) else self.words(error)
        return quoted(said) or type(error).__name__

    def words(self, error: BaseException) -> str:
        """Extract what the DBMS itself said."""
        return words_of(error)

    def lock(self, engine: sa.Engine, *name: str | None) -> t.ContextManager[MigrationLock | None]:
        """Make the migration lock of a database, not yet acquired; None if the DBMS has none.

        It is free again in the end.

        :param name: What tells it from other locks in this database.
        """
        return nullcontext()

    def has_table(self, connection: sa.Connection, name: str, schema: str | None) -> bool:
        """Tell whether there is a table, which another process may be creating just now."""
        return sa.inspect(connection).has_table(name, schema)

    def is_older_than_table(self, error: BaseException) -> bool:
        """Tell whether a transaction cannot read a table because that is newer."""
        return False

    def is_lock_conflict(self, error: BaseException) -> bool:
        """Tell whether somebody else's lock was in the way: a timeout, or a deadlock."""
        return False

    def is_statement_timeout(self, error: BaseException) -> bool:
        """Tell whether a statement was stopped because it took too long."""
        return False

    def blockers(self, connection: sa.Connection, session: int) -> tuple[Blocker, ...]:
        """Look up whom a session waits for, on another one.

        :param session: Its number, which the server knows.
        """
        return ()

    def session_of(self, driver_connection: t.Any) -> int | None:
        """Tell the number of a connection's session, without asking the server."""
        return None

    def is_autocommit(self, dbapi_connection: t.Any) -> bool:
        """Tell whether a connection was put into AUTOCOMMIT, as far as its driver knows that."""
        return False

    def without_prepared_statements(self, connection: sa.Connection) -> t.ContextManager[None]:
        """Keep a driver from preparing statements that a run repeats.

        Behind a pooler another client's statement of the same name may be there already.
        """
        return nullcontext()

    def set_isolation_level(
        self, dialect: sa.Dialect, dbapi_connection: t.Any, level: t.Any
    ) -> None:
        """Set the isolation level of a connection, whatever it executes; AUTOCOMMIT is one."""
        dialect.set_isolation_level(dbapi_connection, level)

    def kind(self, statement: str) -> Kind:
        """Tell how a statement takes part in a transaction."""
        return Kind.TRANSACTIONAL

    def needs_autocommit(self, statement: str) -> bool:
        """Tell whether a statement cannot be part of a transaction, or what follows it not of its.

        That is looked for only where a statement was in none before.
        """
        return False

    def statements(self, text: str) -> list[str]:
        """List the statements in a text, as the server finds them; without what they quote."""
        return [text]

    def is_look(self, text: str) -> bool:
        """Tell whether a text surely changes nothing, however many statements it is."""
        return all(map(is_look, self.statements(text)))

    def fingerprint(self, connection: sa.Connection, statement: str) -> str:
        """Describe what a statement of the kind ``ALONE`` is going to change.

        :returns: Empty where nothing can be told.
        """
        return ""

    def has_happened(self, connection: sa.Connection, statement: str, before: str) -> bool | None:
        """Tell whether a statement of the kind ``ALONE`` was executed; None if nobody knows.

        :param before: The fingerprint from before it.
        """
        return None

    def fails_as_a_whole(self, statement: str) -> bool:
        """Tell whether a statement of the kind ``ALONE`` that fails has surely done nothing.

        What it has changed nevertheless shows in its fingerprint, where it has one.
        """
        return True

    def unfinished(
        self, connection: sa.Connection, statement: str, before: str | None, now: str
    ) -> dict[str, str]:
        """Find what a statement of the kind ``ALONE`` has left if it was executed and failed.

        :param before: The fingerprint from before it, if it is known.
        :param now: The present fingerprint.
        :returns: The names of what is left, and for each the statement that drops it.
        """
        return {}

    def is_refused_in_transaction(self, error: BaseException) -> bool:
        """Tell whether a statement failed only because it was part of a transaction."""
        return False

    def executing(
        self, connection: sa.Connection, session: int | None, statement: str
    ) -> Blocker | None:
        """Tell whether the server still executes what a process began that is gone.

        :param session: The number of its session, if it is known.
        :param statement: What it executed, or the beginning of that, in one line.
        """
        return None

    def wait_for_writers(self, connection: sa.Connection, table: sa.Table) -> None:
        """Wait for transactions that have written to a table, where ``FOR UPDATE`` does not."""

    def lock_holder(self, connection: sa.Connection, *name: str | None) -> str | None:
        """Tell who holds that lock, as :meth:`MigrationLock.holder` does, without asking for it.

        :param connection: Any connection to the database.
        :returns: None if nobody does, or if the DBMS has none.
        """
        return None

    def cancellation(self, dbapi_connection: t.Any) -> Cancellation:
        """Tell how to stop what a connection executes; nothing happens where it executes nothing.

        :param dbapi_connection: The driver's connection, or SQLAlchemy's adapter for asyncio.
        """
        return None

    def extension_objects(self, connection: sa.Connection) -> ExtensionObjects:
        """Look up what belongs to an extension."""
        return ExtensionObjects()

    def sequence_owners(
        self, connection: sa.Connection, schema: str | None
    ) -> dict[str, str | None]:
        """Tell the name of the column that owns each sequence of a schema, if one does.

        :param schema: None for the sequences that are found without a schema.
        """
        return {}


def described(name: str, *details: str | None, query: str | None) -> str:
    """Describe a session in one line.

    :param details: What is known of it.
    :param query: Its last statement; it may be long.
    """
    known = ", ".join(filter(None, details))
    line = " ".join((query or "").split())
    shown = f": {line if len(line) <= 100 else f'{line[:100]} …'}" if line else ""
    return f"{name} ({known}){shown}"


def _system_words(error: OSError) -> str:
    if isinstance(error, ConnectionError) and error.errno:  # asyncio has words of its own
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


def driver_connection(dbapi_connection: t.Any) -> t.Any:
    """Take the driver's own connection out of SQLAlchemy's adapter for asyncio."""
    return getattr(dbapi_connection, "driver_connection", dbapi_connection)
