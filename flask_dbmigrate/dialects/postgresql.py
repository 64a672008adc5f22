"""PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import re
import typing as t

import sqlalchemy as sa

from flask_dbmigrate.wording import words_of

from . import postgresql_sequences
from . import postgresql_statements
from .base import Blocker
from .base import Cancellation
from .base import ConnectionProblem
from .base import described
from .base import DialectFacts
from .base import driver_connection
from .base import ExtensionObjects
from .base import is_about_encryption
from .base import Refusal
from .connections import OWN_TEXT
from .connections import separate_connection
from .locks import digest
from .locks import MigrationLock
from .statements import in_one_line
from .statements import Kind

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

_LOCK_CONFLICTS = {
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available
}

_REFUSED_IN_TRANSACTION = {
    "25001",  # active_sql_transaction
    "2D000",  # invalid_transaction_termination
}

_POOLS_STATEMENTS = "statement pooling mode"
"""PgBouncer says that it allows no transactions, and closes the connection.

psycopg2 and pg8000 do not pass it on, and with psycopg another error may follow it.
"""

_GOING_DOWN = {
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
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


# What others execute may be in characters that this connection cannot carry.
_QUERY = """
CASE current_setting('client_encoding') WHEN 'UTF8' THEN query
ELSE regexp_replace(query, '[^\\x01-\\x7f]', '?', 'g') END AS query
"""

# PostgreSQL 15 documentation, section 9.26: "System Information Functions and Operators".
_BLOCKERS = f"""
SELECT pid, application_name, usename, state, {_QUERY},
    CAST(EXTRACT(epoch FROM clock_timestamp() - xact_start) AS integer) AS seconds
FROM pg_catalog.pg_stat_activity
WHERE pid = ANY(pg_catalog.pg_blocking_pids(CAST(:session AS integer)))
"""


# The same section: a prepared transaction, which has no session, is number 0 there.
_PREPARED = """
SELECT gid FROM pg_catalog.pg_prepared_xacts
WHERE database = current_database()
AND 0 = ANY(pg_catalog.pg_blocking_pids(CAST(:session AS integer)))
"""

_ACTIVE = f"""
SELECT pid, application_name, usename, state, {_QUERY},
    CAST(EXTRACT(epoch FROM clock_timestamp() - query_start) AS integer) AS seconds
FROM pg_catalog.pg_stat_activity
WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
"""


# A schema without the privilege USAGE is passed over where a name is looked up: PostgreSQL 15
# documentation, section 5.9.3 "The Schema Search Path".
_HIDDEN = """
SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = :table AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND n.nspname IN (
    SELECT btrim(name, ' "') FROM unnest(string_to_array(COALESCE(
        CAST(:schema AS text), replace(current_setting('search_path'), '$user', current_user)
    ), ',')) AS name
)
"""


def _in_ascii(text: str) -> str:
    return re.sub(r"[^\x01-\x7f]", "?", text)


def _described(row: t.Any) -> str:
    since = "" if row.seconds is None else f", transaction open for {row.seconds} s"
    name = row.application_name or f"user '{row.usename}'"
    return described(f"server process {row.pid}", name, f"{row.state}{since}", query=row.query)


class PostgreSQL(DialectFacts):
    """psycopg, psycopg2, pg8000 and asyncpg were tried."""

    two_phase = True
    is_journaled = True
    present_schema = "SELECT current_schema()"
    carries_unicode = (
        "SELECT pg_catalog.current_setting('server_encoding') = 'UTF8' "
        "AND pg_catalog.current_setting('client_encoding') = 'UTF8'"
    )

    def binary_literal(self, value: bytes) -> str:
        return f"'\\x{value.hex()}'"

    def identity(self, connection: sa.Connection) -> str | None:
        """A server is known by the microsecond it was started in, which needs no privilege.

        It is asked for as a text that no driver and no session has a time zone for.
        """
        row = connection.exec_driver_sql(
            "SELECT CAST(EXTRACT(epoch FROM pg_postmaster_start_time()) AS text), "
            "current_database(), current_schema()"
        ).one()
        return repr(tuple(row))

    def refusal(self, connection: sa.Connection) -> Refusal | None:
        """A replica is always read-only, so one statement is enough for what is not."""
        if connection.exec_driver_sql("SHOW transaction_read_only").scalar() != "on":
            return None
        is_replica = connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar()
        return Refusal.REPLICA if is_replica else Refusal.READ_ONLY

    def hidden_schema(
        self, connection: sa.Connection, table: str, schema: str | None
    ) -> str | None:
        names = {"table": table, "schema": schema}
        found: str | None = connection.scalar(sa.text(_HIDDEN), names)
        return found

    def connection_problem(self, error: BaseException) -> ConnectionProblem:
        if is_about_encryption(error):
            return ConnectionProblem.ENCRYPTION
        code = _report_of(error).sqlstate
        if code is not None:
            return _PROBLEMS.get(code, ConnectionProblem.UNREACHABLE)
        found = (problem for words, problem in _WORDS.items() if re.search(words, str(error)))
        return next(found, ConnectionProblem.UNREACHABLE)

    def is_transient(self, error: BaseException) -> bool:
        code = _report_of(error).sqlstate
        if code is not None:
            return code in _GOING_DOWN
        return super().is_transient(error) or re.search(_NOT_YET, str(error)) is not None

    def remedy_for(self, error: BaseException) -> str:
        if _POOLS_STATEMENTS in f"{error} {error.__context__}":
            return "Set 'DBMIGRATE_URL' to a way past the pooler"
        is_full = _report_of(error).sqlstate == "53100"  # disk_full
        return "Make room on the server's disk" if is_full else ""

    def words(self, error: BaseException) -> str:
        report = _report_of(error)
        if report.message is None:  # no connection yet: the server's words come after libpq's
            said = words_of(error).rpartition("FATAL: ")[2]
            return re.split(r"\s+Is the server running", said)[0]
        more = " ".join(filter(None, (report.detail, report.hint)))
        return f"{report.message} ({more})" if more else report.message

    def is_lock_conflict(self, error: BaseException) -> bool:
        return _report_of(error).sqlstate in _LOCK_CONFLICTS

    def is_statement_timeout(self, error: BaseException) -> bool:
        return _report_of(error).sqlstate == "57014"  # query_canceled

    def blockers(self, connection: sa.Connection, session: int) -> tuple[Blocker, ...]:
        rows = connection.execute(sa.text(_BLOCKERS), {"session": session}).all()
        left = connection.execute(sa.text(_PREPARED), {"session": session}).all()
        return (
            *(Blocker(row.pid, _described(row)) for row in rows),
            *(Blocker(0, f"the prepared transaction '{row.gid}'") for row in left),
        )

    def is_autocommit(self, dbapi_connection: t.Any) -> bool:
        return bool(getattr(dbapi_connection, "autocommit", False))

    @contextmanager
    def without_prepared_statements(self, connection: sa.Connection) -> Iterator[None]:
        driver = driver_connection(connection.connection.dbapi_connection)
        if (threshold := getattr(driver, "prepare_threshold", None)) is None:  # psycopg has one
            yield
            return
        driver.prepare_threshold = None
        try:
            yield
        finally:
            driver.prepare_threshold = threshold

    def kind(self, statement: str) -> Kind:
        return postgresql_statements.kind(statement)

    def needs_autocommit(self, statement: str) -> bool:
        return postgresql_statements.needs_autocommit(statement)

    def statements(self, text: str) -> list[str]:
        return postgresql_statements.statements(text)

    def fingerprint(self, connection: sa.Connection, statement: str) -> str:
        return postgresql_statements.fingerprint(connection, statement)

    def has_happened(self, connection: sa.Connection, statement: str, before: str) -> bool | None:
        return postgresql_statements.has_happened(connection, statement, before)

    def fails_as_a_whole(self, statement: str) -> bool:
        return postgresql_statements.fails_as_a_whole(statement)

    def unfinished(
        self, connection: sa.Connection, statement: str, before: str | None, now: str
    ) -> dict[str, str]:
        return postgresql_statements.unfinished(connection, statement, before, now)

    def is_refused_in_transaction(self, error: BaseException) -> bool:
        return _report_of(error).sqlstate in _REFUSED_IN_TRANSACTION

    def executing(
        self, connection: sa.Connection, session: int | None, statement: str
    ) -> Blocker | None:
        """A pooler hides the numbers of sessions, so it is found by what it executes."""
        statement = _in_ascii(statement)
        for row in connection.execute(sa.text(_ACTIVE)):
            query = _in_ascii(in_one_line(row.query))
            if query and (statement.startswith(query) or query.startswith(statement)):
                return Blocker(row.pid, _described(row))
        return None

    def wait_for_writers(self, connection: sa.Connection, table: sa.Table) -> None:
        name = connection.dialect.identifier_preparer.format_table(table)
        connection.exec_driver_sql(f"LOCK TABLE {name} IN SHARE MODE", execution_options=OWN_TEXT)

    def session_of(self, driver_connection: t.Any) -> int | None:
        if hasattr(driver_connection, "get_server_pid"):  # asyncpg
            return t.cast(int, driver_connection.get_server_pid())
        # pg8000 does not make it public
        if (key := getattr(driver_connection, "_backend_key_data", None)) is not None:
            return int.from_bytes(key[:4], "big", signed=True)
        information = getattr(driver_connection, "info", None)  # psycopg, psycopg2
        return getattr(information, "backend_pid", None)

    def extension_objects(self, connection: sa.Connection) -> ExtensionObjects:
        schemas, tables = set(), set()
        for schema, table, is_visible in connection.exec_driver_sql(_EXTENSION_OBJECTS):
            if table is None:
                schemas.add(schema)
            else:
                tables.update({(schema, table), (None if is_visible else schema, table)})
        return ExtensionObjects(frozenset(schemas), frozenset(tables))

    def sequence_owners(
        self, connection: sa.Connection, schema: str | None
    ) -> dict[str, str | None]:
        return postgresql_sequences.sequence_owners(connection, schema)

    def cancellation(self, dbapi_connection: t.Any) -> Cancellation:
        """libpq has a way of its own, which leads through a pooler, too."""
        driver = driver_connection(dbapi_connection)
        if hasattr(driver, "cancel"):  # psycopg, psycopg2
            return driver.cancel  # type: ignore[no-any-return]
        return f"SELECT pg_cancel_backend({self.session_of(driver)})"

    @contextmanager
    def lock(self, engine: sa.Engine, *name: str | None) -> Iterator[MigrationLock]:
        with separate_connection(engine, isolation_level="READ COMMITTED") as connection:
            yield AdvisoryLock(connection, *name)

    def lock_holder(self, connection: sa.Connection, *name: str | None) -> str | None:
        return _holder(connection, _lock_key(connection, *name))


class AdvisoryLock:
    """An advisory lock in a transaction of its own, which poolers keep on one connection.

    It is polled, never waited for: a session that waits in a transaction and the
    ``CREATE INDEX CONCURRENTLY`` of the holder would wait for each other.
    """

    def __init__(self, connection: sa.Connection, *name: str | None) -> None:
        self.connection = connection
        self.key = _lock_key(connection, *name)
        self.connection.rollback()

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
        holder = _holder(self.connection, self.key)
        self.connection.rollback()
        return holder or "another run"

    def is_held(self) -> bool:
        try:
            self._stay()
        except sa.exc.DBAPIError:
            return False
        return True


# PostgreSQL 15 Documentation, section 54.12 "pg_locks": the key of one argument is in two halves.
_HOLDER = """
SELECT a.pid, a.application_name, a.client_addr, a.xact_start
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
AND (l.classid::bigint << 32) | l.objid::bigint = :key
"""


def _lock_key(connection: sa.Connection, *name: str | None) -> int:
    database = connection.scalar(sa.text("SELECT current_database()"))
    return int.from_bytes(digest(database, *name), "big", signed=True)


def _holder(connection: sa.Connection, key: int) -> str | None:
    row = connection.execute(sa.text(_HOLDER), {"key": key}).first()
    if row is None:
        return None
    place = f" on {row.client_addr}" if row.client_addr else ""
    name = f" '{row.application_name}'" if row.application_name else ""
    since = f", since {row.xact_start:%H:%M:%S}" if row.xact_start else ""
    return f"the server process {row.pid}{name}{place}{since}"


class _Report(t.NamedTuple):
    """What the server reports of an error, as far as the driver passes it on."""

    sqlstate: str | None
    message: str | None
    detail: str | None
    hint: str | None = None


def _report_of(error: BaseException) -> _Report:
    if isinstance(error, AttributeError):  # pg8000 looks for a password where the URL has none
        return _Report("28P01", "no password supplied", None)
    if error.args and isinstance(error.args[0], dict):  # pg8000
        fields = error.args[0]
        return _Report(*map(fields.get, "CMDH"))
    if found := getattr(error, "diag", None):  # psycopg, psycopg2
        more = (found.message_detail, found.message_hint)
        return _Report(found.sqlstate, found.message_primary, *more)
    original = error.__cause__ or error  # asyncpg, behind SQLAlchemy's adapter
    names = ("sqlstate", "message", "detail", "hint")
    return _Report(*(getattr(original, name, None) for name in names))


FACTS = PostgreSQL()
