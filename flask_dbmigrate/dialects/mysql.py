"""MySQL and MariaDB."""

from __future__ import annotations

import sqlalchemy as sa

from .base import ConnectionProblem
from .base import DialectFacts

# MariaDB Server documentation, "MariaDB Error Code Reference".
_PROBLEMS = {
    1044: ConnectionProblem.CREDENTIALS,  # ER_DBACCESS_DENIED_ERROR
    1045: ConnectionProblem.CREDENTIALS,  # ER_ACCESS_DENIED_ERROR
    1698: ConnectionProblem.CREDENTIALS,  # ER_ACCESS_DENIED_NO_PASSWORD_ERROR
    1049: ConnectionProblem.NO_DATABASE,  # ER_BAD_DB_ERROR
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

    def words(self, error: BaseException) -> str:
        message = error.args[1] if len(error.args) > 1 else error
        return str(getattr(error, "msg", None) or message)


FACTS = MySQL()
