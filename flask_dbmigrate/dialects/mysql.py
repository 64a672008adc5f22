"""MySQL and MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import re
import typing as t

import sqlalchemy as sa

from flask_dbmigrate.wording import words_of

from . import mysql_statements
from .base import Blocker
from .base import Cancellation
from .base import ConnectionProblem
from .base import described
from .base import DialectFacts
from .base import driver_connection
from .base import is_about_encryption
from .base import Refusal
from .connections import separate_connection
from .locks import digest
from .locks import MigrationLock
from .statements import Kind

# MariaDB Server documentation, "MariaDB Error Code Reference".
_PROBLEMS = {
    1044: ConnectionProblem.CREDENTIALS,  # ER_DBACCESS_DENIED_ERROR
    1045: ConnectionProblem.CREDENTIALS,  # ER_ACCESS_DENIED_ERROR
    1698: ConnectionProblem.CREDENTIALS,  # ER_ACCESS_DENIED_NO_PASSWORD_ERROR
    1049: ConnectionProblem.NO_DATABASE,  # ER_BAD_DB_ERROR
}

# MariaDB Server documentation, "MariaDB Error Code Reference", and the clients' own codes.
_NOT_YET = {
    1053,  # ER_SERVER_SHUTDOWN
    2002,  # CR_CONNECTION_ERROR
    2003,  # CR_CONN_HOST_ERROR
    2005,  # CR_UNKNOWN_HOST
    2006,  # CR_SERVER_GONE_ERROR
    2013,  # CR_SERVER_LOST
}


_LOCK_CONFLICTS = {
    1205,  # ER_LOCK_WAIT_TIMEOUT
    1213,  # ER_LOCK_DEADLOCK
}

_FULL = {
    1021,  # ER_DISK_FULL
    1114,  # ER_RECORD_FILE_FULL
}

_STATEMENT_TIMEOUTS = {
    1969,  # ER_STATEMENT_TIMEOUT of MariaDB
    3024,  # ER_QUERY_TIMEOUT of MySQL
}

# MariaDB tells who holds a metadata lock only with a plugin: any open transaction may be the one.
# This needs the privilege 'PROCESS'.
_OPEN_TRANSACTIONS = """
SELECT p.id, p.user, p.command, TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) AS seconds,
    COALESCE(t.trx_query, p.info) AS query
FROM information_schema.innodb_trx t
JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
WHERE p.db = DATABASE() AND p.id NOT IN (:session, CONNECTION_ID())
"""


# Without it, those that execute something; the others may have ended their transactions.
_BUSY = """
SELECT id, user, command, time AS seconds, info AS query
FROM information_schema.processlist
WHERE db = DATABASE() AND command <> 'Sleep' AND time >= 1 AND id NOT IN (:session, CONNECTION_ID())
"""

_ROLLING_BACK = """
SELECT 1 FROM information_schema.innodb_trx
WHERE trx_mysql_thread_id = :session
AND NOT EXISTS (SELECT 1 FROM information_schema.processlist WHERE id = :session)
"""

_HAS_TABLE = """
SELECT 1 FROM information_schema.tables WHERE table_schema = {schema} AND table_name = :name
"""

_EXECUTING = """
SELECT id, user, command, time AS seconds, info AS query
FROM information_schema.processlist
WHERE db = DATABASE() AND command <> 'Sleep' AND id = :session
"""


def _described(row: t.Any) -> str:
    doing = f"{row.command.lower()} for {row.seconds} s"
    return described(f"connection {row.id}", f"user '{row.user}'", doing, query=row.query)


class MySQL(DialectFacts):
    """PyMySQL, mysqlclient, MySQL Connector, aiomysql and asyncmy were tried.

    Their errors carry ``(code, message)``; MySQL Connector's message is in ``msg``, too, without
    the code.
    """

    leftovers = "has stayed"
    is_journaled = True
    present_schema = "SELECT DATABASE()"
    carries_unicode = (
        "SELECT @@character_set_client = 'utf8mb4' AND @@character_set_connection = 'utf8mb4'"
    )
    table_options: t.Mapping[str, t.Any] = {
        f"{name}_{option}": value
        for name in ("mysql", "mariadb")
        for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"))
    }

    def binary_literal(self, value: bytes) -> str:
        return f"X'{value.hex()}'"

    def identity(self, connection: sa.Connection) -> str | None:
        row = connection.exec_driver_sql("SELECT @@hostname, @@port, @@datadir, DATABASE()").one()
        return repr(tuple(row))

    def refusal(self, connection: sa.Connection) -> Refusal | None:
        """``read_only`` is not for everybody; who may write in spite of it is not refused.

        A replica is not told from another server: that needs a privilege of its own.
        """
        rows = connection.exec_driver_sql(
            "SHOW VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only', "
            "'innodb_read_only', 'tx_read_only', 'transaction_read_only')"
        )
        variables = {str(name).lower(): str(value).upper() for name, value in rows}
        read_only = variables.pop("read_only", "OFF")
        if "ON" in variables.values() or read_only == "NO_LOCK_NO_ADMIN":
            return Refusal.READ_ONLY
        if read_only == "OFF" or _may_always_write(connection):
            return None
        return Refusal.READ_ONLY

    def connection_problem(self, error: BaseException) -> ConnectionProblem:
        if is_about_encryption(error):
            return ConnectionProblem.ENCRYPTION
        code = error.args[0] if error.args else 0
        return _PROBLEMS.get(code, ConnectionProblem.UNREACHABLE)

    def is_transient(self, error: BaseException) -> bool:
        code = error.args[0] if error.args else 0
        return code in _NOT_YET or super().is_transient(error)

    def remedy_for(self, error: BaseException) -> str:
        if (package := _required(error)) is not None:
            return f"Install the package '{package[1]}', which the driver needs for the password"
        if error.args[:1] == (2059,):  # CR_AUTH_PLUGIN_CANNOT_LOAD
            return "Use a driver that knows it"
        is_full = bool(error.args) and error.args[0] in _FULL
        return "Make room on the server's disk" if is_full else ""

    def words(self, error: BaseException) -> str:
        if (package := _required(error)) is not None:
            return package.string
        if len(error.args) < 2:
            return words_of(error)
        said = str(getattr(error, "msg", None) or error.args[1])
        return said or "the connection is closed"  # PyMySQL and mysqlclient give a number only

    def has_table(self, connection: sa.Connection, name: str, schema: str | None) -> bool:
        """Ask for the name alone.

        ``DESCRIBE`` fails on MariaDB while somebody creates the table, and on MySQL nobody can
        create it before the transaction ends that has asked.
        """
        query = sa.text(_HAS_TABLE.format(schema="DATABASE()" if schema is None else ":schema"))
        parameters = {"name": name} if schema is None else {"name": name, "schema": schema}
        return connection.execute(query, parameters).first() is not None

    def is_older_than_table(self, error: BaseException) -> bool:
        return bool(error.args) and error.args[0] == 1412  # ER_TABLE_DEF_CHANGED

    def is_lock_conflict(self, error: BaseException) -> bool:
        return bool(error.args) and error.args[0] in _LOCK_CONFLICTS

    def is_statement_timeout(self, error: BaseException) -> bool:
        return bool(error.args) and error.args[0] in _STATEMENT_TIMEOUTS

    def blockers(self, connection: sa.Connection, session: int) -> tuple[Blocker, ...]:
        parameters = {"session": session}
        try:
            rows = connection.execute(sa.text(_OPEN_TRANSACTIONS), parameters).all()
        except sa.exc.DBAPIError:
            rows = connection.execute(sa.text(_BUSY), parameters).all()
        return tuple(Blocker(row.id, _described(row)) for row in rows)

    def session_of(self, driver_connection: t.Any) -> int | None:
        if hasattr(driver_connection, "thread_id"):
            return t.cast(int, driver_connection.thread_id())
        return getattr(driver_connection, "connection_id", None)  # MySQL Connector

    def is_autocommit(self, dbapi_connection: t.Any) -> bool:
        driver = driver_connection(dbapi_connection)
        ask = getattr(driver, "get_autocommit", None)  # MySQL Connector has a property
        return bool(driver.autocommit if ask is None else ask())

    def set_isolation_level(
        self, dialect: sa.Dialect, dbapi_connection: t.Any, level: t.Any
    ) -> None:
        """For MySQL Connector older releases of SQLAlchemy know no AUTOCOMMIT."""
        cursor = dbapi_connection.cursor()
        cursor.execute(f"SET autocommit = {int(level == 'AUTOCOMMIT')}")
        cursor.close()

    def kind(self, statement: str) -> Kind:
        return mysql_statements.kind(statement)

    def statements(self, text: str) -> list[str]:
        return mysql_statements.statements(text)

    def fingerprint(self, connection: sa.Connection, statement: str) -> str:
        return mysql_statements.fingerprint(connection, statement)

    def has_happened(self, connection: sa.Connection, statement: str, before: str) -> bool | None:
        return mysql_statements.has_happened(connection, statement, before)

    def fails_as_a_whole(self, statement: str) -> bool:
        return mysql_statements.fails_as_a_whole(statement)

    def executing(
        self, connection: sa.Connection, session: int | None, statement: str
    ) -> Blocker | None:
        """MySQL does not list a session whose client is gone while it rolls back."""
        parameters = {"session": session or 0}
        row = connection.execute(sa.text(_EXECUTING), parameters).first()
        if row is not None:
            return Blocker(row.id, _described(row))
        with suppress(sa.exc.DBAPIError):  # this needs the privilege 'PROCESS'
            if connection.execute(sa.text(_ROLLING_BACK), parameters).first() is not None:
                return Blocker(parameters["session"], f"the rollback of connection {session}")
        return None

    def cancellation(self, dbapi_connection: t.Any) -> Cancellation:
        return f"KILL QUERY {self.session_of(driver_connection(dbapi_connection))}"

    @contextmanager
    def lock(self, engine: sa.Engine, *name: str | None) -> Iterator[MigrationLock]:
        with separate_connection(engine) as connection:
            yield NamedLock(connection, *name)

    def lock_holder(self, connection: sa.Connection, *name: str | None) -> str | None:
        return _holder(connection, _lock_name(connection, *name))


class NamedLock:
    """``GET_LOCK()``, on a connection of its own. Its names are the server's, not a database's."""

    def __init__(self, connection: sa.Connection, *name: str | None) -> None:
        self.connection = connection
        self.connection.exec_driver_sql(f"SET SESSION wait_timeout = {_LONGEST}")
        self.name = _lock_name(self.connection, *name)

    def acquire(self) -> bool:
        return bool(_ask(self.connection, "GET_LOCK(:name, 1)", self.name))

    def holder(self) -> str:
        return _holder(self.connection, self.name) or "another run"

    def is_held(self) -> bool:
        try:
            return bool(_ask(self.connection, "IS_USED_LOCK(:name) = CONNECTION_ID()", self.name))
        except sa.exc.DBAPIError:
            return False


def _required(error: BaseException) -> re.Match[str] | None:
    """Find which package PyMySQL, aiomysql or asyncmy wants for a way to send the password."""
    cause = error if isinstance(error, RuntimeError) else error.__cause__
    return re.match(r"'(\w+)' package is required for .* auth method", str(cause))


# MySQL 8.4 Reference Manual, "read_only"; MariaDB Server documentation, "READ_ONLY ADMIN", which
# older versions have as part of SUPER.
_WRITES_ANYWAY = re.compile(
    r"ALL PRIVILEGES ON \*\.\*|\b(SUPER|CONNECTION_ADMIN|READ[ _]ONLY ADMIN)\b"
)


def _may_always_write(connection: sa.Connection) -> bool:
    grants = connection.exec_driver_sql("SHOW GRANTS").scalars()
    return any(_WRITES_ANYWAY.search(str(grant)) for grant in grants)


def _lock_name(connection: sa.Connection, *name: str | None) -> str:
    database = connection.scalar(sa.text("SELECT DATABASE()"))
    return f"flask_dbmigrate:{digest(database, *name).hex()}"


def _holder(connection: sa.Connection, name: str) -> str | None:
    holder = _ask(connection, "IS_USED_LOCK(:name)", name)
    return None if holder is None else f"the server's connection {holder}"


def _ask(connection: sa.Connection, function: str, name: str) -> t.Any:
    return connection.scalar(sa.text(f"SELECT {function}"), {"name": name})


_LONGEST = 31536000  # MariaDB Server documentation, "wait_timeout": seconds


FACTS = MySQL()
