"""MySQL and MariaDB."""

from __future__ import annotations

import typing as t

import sqlalchemy as sa

from .base import ConnectionProblem
from .base import DialectFacts
from .locks import close_own
from .locks import digest
from .locks import MigrationLock
from .locks import own_connection

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
}


class MySQL(DialectFacts):
    """PyMySQL, mysqlclient, MySQL Connector, aiomysql and asyncmy were tried.

    Their errors carry ``(code, message)``; MySQL Connector's message is in ``msg``, too, without
    the code.
    """

    leftovers = "has stayed"

    def identity(self, connection: sa.Connection) -> str | None:
        row = connection.exec_driver_sql("SELECT @@hostname, @@port, @@datadir, DATABASE()").one()
        return repr(tuple(row))

    def connection_problem(self, error: BaseException) -> ConnectionProblem:
        code = error.args[0] if error.args else 0
        return _PROBLEMS.get(code, ConnectionProblem.UNREACHABLE)

    def is_transient(self, error: BaseException) -> bool:
        code = error.args[0] if error.args else 0
        return code in _NOT_YET or super().is_transient(error)

    def words(self, error: BaseException) -> str:
        message = error.args[1] if len(error.args) > 1 else error
        return str(getattr(error, "msg", None) or message)

    def lock(self, engine: sa.Engine, *name: str | None) -> MigrationLock | None:
        return NamedLock(engine, *name)


class NamedLock:
    """``GET_LOCK()``, on a connection of its own. Its names are the server's, not a database's."""

    def __init__(self, engine: sa.Engine, *name: str | None) -> None:
        self.connection = own_connection(engine)
        self.connection.exec_driver_sql(f"SET SESSION wait_timeout = {_LONGEST}")
        database = self.connection.scalar(sa.text("SELECT DATABASE()"))
        self.name = f"flask_dbmigrate:{digest(database, *name).hex()}"

    def _ask(self, function: str) -> t.Any:
        return self.connection.scalar(sa.text(f"SELECT {function}"), {"name": self.name})

    def acquire(self) -> bool:
        return bool(self._ask("GET_LOCK(:name, 1)"))

    def holder(self) -> str:
        connection = self._ask("IS_USED_LOCK(:name)")
        return f"the server's connection {connection}" if connection else "another run"

    def is_held(self) -> bool:
        try:
            return bool(self._ask("IS_USED_LOCK(:name) = CONNECTION_ID()"))
        except sa.exc.DBAPIError:
            return False

    def release(self) -> None:
        close_own(self.connection)


_LONGEST = 31536000  # MariaDB Server documentation, "wait_timeout": seconds


FACTS = MySQL()
