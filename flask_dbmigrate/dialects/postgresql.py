"""PostgreSQL."""

from __future__ import annotations

import re
import typing as t

import sqlalchemy as sa

from .base import ConnectionProblem
from .base import DialectFacts
from .base import ExtensionObjects
from .locks import close_own
from .locks import digest
from .locks import MigrationLock
from .locks import own_connection

# PostgreSQL 15 documentation, appendix A: "PostgreSQL Error Codes".
_PROBLEMS = {
    "28000": ConnectionProblem.CREDENTIALS,  # invalid_authorization_specification
    "28P01": ConnectionProblem.CREDENTIALS,  # invalid_password
    "42501": ConnectionProblem.CREDENTIALS,  # insufficient_privilege
    "3D000": ConnectionProblem.NO_DATABASE,  # invalid_catalog_name
}

# While connecting libpq, and so psycopg and psycopg2, does not pass the SQLSTATE on: what is left
# are the server's words (src/backend/libpq/auth.c and src/backend/utils/init/ of PostgreSQL 15)
# and those of libpq.
_WORDS = {
    r"authentication failed|role .* does not exist|is not permitted to log in|no pg_hba.conf entry"
    r"|permission denied for database|no password supplied": ConnectionProblem.CREDENTIALS,
    r"database .* does not exist": ConnectionProblem.NO_DATABASE,
}

_NOT_YET = (
    "Connection refused|No such file|the database system is|could not translate host name"
    "|server closed the connection|failed to resolve host|name or service not known"
)

# PostgreSQL 15 Documentation, section 53.18 "pg_depend": 'e' is for a member of an extension.
_EXTENSION_OBJECTS = """
SELECT n.nspname, c.relname, c.oid IS NOT NULL AND pg_catalog.pg_table_is_visible(c.oid)
FROM pg_catalog.pg_depend d
LEFT JOIN pg_catalog.pg_class c
    ON d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
JOIN pg_catalog.pg_namespace n
    ON n.oid = c.relnamespace
    OR (d.classid = 'pg_catalog.pg_namespace'::regclass AND n.oid = d.objid)
WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
"""


class PostgreSQL(DialectFacts):
    """psycopg, psycopg2, pg8000 and asyncpg were tried."""

    two_phase = True

    def identity(self, connection: sa.Connection) -> str | None:
        """A server is known by the microsecond it was started in, which needs no privilege.

        It is asked for as a text that no driver and no session has a time zone for.
        """
        row = connection.exec_driver_sql(
            "SELECT CAST(EXTRACT(epoch FROM pg_postmaster_start_time()) AS text), "
            "current_database(), current_schema()"
        ).one()
        return repr(tuple(row))

    def connection_problem(self, error: BaseException) -> ConnectionProblem:
        code = _report_of(error).sqlstate
        if code is not None:
            return _PROBLEMS.get(code, ConnectionProblem.UNREACHABLE)
        found = (problem for words, problem in _WORDS.items() if re.search(words, str(error)))
        return next(found, ConnectionProblem.UNREACHABLE)

    def is_transient(self, error: BaseException) -> bool:
        code = _report_of(error).sqlstate
        if code is not None:
            return code == "57P03"  # cannot_connect_now
        return super().is_transient(error) or re.search(_NOT_YET, str(error)) is not None

    def words(self, error: BaseException) -> str:
        report = _report_of(error)
        if report.message is None:  # no connection yet: the server's words come after libpq's
            said = str(error).rpartition("FATAL: ")[2]
            return re.split(r"\s+Is the server running", said)[0]
        return f"{report.message} ({report.detail})" if report.detail else report.message

    def extension_objects(self, connection: sa.Connection) -> ExtensionObjects:
        schemas, tables = set(), set()
        for schema, table, is_visible in connection.exec_driver_sql(_EXTENSION_OBJECTS):
            if table is None:
                schemas.add(schema)
            else:
                tables.update({(schema, table), (None if is_visible else schema, table)})
        return ExtensionObjects(frozenset(schemas), frozenset(tables))

    def lock(self, engine: sa.Engine, *name: str | None) -> MigrationLock | None:
        return AdvisoryLock(engine, *name)


class AdvisoryLock:
    """An advisory lock in a transaction of its own, which poolers keep on one connection.

    It is polled, never waited for: a session that waits in a transaction and the
    ``CREATE INDEX CONCURRENTLY`` of the holder would wait for each other.
    """

    def __init__(self, engine: sa.Engine, *name: str | None) -> None:
        self.connection = own_connection(engine, isolation_level="READ COMMITTED")
        database = self.connection.scalar(sa.text("SELECT current_database()"))
        self.connection.rollback()
        self.key = int.from_bytes(digest(database, *name), "big", signed=True)

    def acquire(self) -> bool:
        held = self.connection.scalar(
            sa.text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": self.key}
        )
        if held:
            self._stay()
        else:
            self.connection.rollback()
        return bool(held)

    def _stay(self) -> None:
        """Let the server keep the idle transaction, and no snapshot.

        The last statement must have no parameters: psycopg 3 keeps a snapshot for those, and
        ``CREATE INDEX CONCURRENTLY`` waits for all snapshots to end.
        """
        self.connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        if (self.connection.dialect.server_version_info or ()) >= (17,):
            self.connection.exec_driver_sql("SET LOCAL transaction_timeout = 0")

    def holder(self) -> str:
        row = self.connection.execute(
            sa.text(
                "SELECT a.pid, a.application_name, a.client_addr, a.xact_start "
                "FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
                "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
                "AND (l.classid::bigint << 32) | l.objid::bigint = :key"
            ),
            {"key": self.key},
        ).first()
        self.connection.rollback()
        if row is None:
            return "another run"
        place = f" on {row.client_addr}" if row.client_addr else ""
        name = f" '{row.application_name}'" if row.application_name else ""
        since = f", since {row.xact_start:%H:%M:%S}" if row.xact_start else ""
        return f"the server process {row.pid}{name}{place}{since}"

    def is_held(self) -> bool:
        try:
            self._stay()
        except sa.exc.DBAPIError:
            return False
        return True

    def release(self) -> None:
        close_own(self.connection)


class _Report(t.NamedTuple):
    """What the server reports of an error, as far as the driver passes it on."""

    sqlstate: str | None
    message: str | None
    detail: str | None


def _report_of(error: BaseException) -> _Report:
    if isinstance(error, AttributeError):  # pg8000 looks for a password where the URL has none
        return _Report("28P01", "no password supplied", None)
    if error.args and isinstance(error.args[0], dict):  # pg8000
        fields = error.args[0]
        return _Report(fields.get("C"), fields.get("M"), fields.get("D"))
    if diagnostic := getattr(error, "diag", None):  # psycopg, psycopg2
        return _Report(diagnostic.sqlstate, diagnostic.message_primary, diagnostic.message_detail)
    original = error.__cause__ or error  # asyncpg, behind SQLAlchemy's adapter
    names = ("sqlstate", "message", "detail")
    return _Report(*(getattr(original, name, None) for name in names))


FACTS = PostgreSQL()
