"""PostgreSQL."""

from __future__ import annotations

import re

import sqlalchemy as sa

from .base import ConnectionProblem
from .base import DialectFacts
from .base import ExtensionObjects

# While connecting no driver passes the SQLSTATE on, so these are matched by the server's words
# (src/backend/libpq/auth.c and src/backend/utils/init/postinit.c of PostgreSQL 15).
_CREDENTIALS = re.compile(r"authentication failed|role .* does not exist|no password supplied")
_NO_DATABASE = re.compile(r"database .* does not exist")

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
    """psycopg and psycopg2 were tried."""

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
        text = str(error)
        if _CREDENTIALS.search(text):
            return ConnectionProblem.CREDENTIALS
        if _NO_DATABASE.search(text):
            return ConnectionProblem.NO_DATABASE
        return ConnectionProblem.UNREACHABLE

    def message(self, error: BaseException) -> str:
        diagnostic = getattr(error, "diag", None)
        primary = getattr(diagnostic, "message_primary", None)
        if primary is None:  # no connection yet: the server's words come after those of libpq
            said = super().message(error).rpartition("FATAL: ")[2]
            return said.partition(" Is the server running")[0]
        detail = getattr(diagnostic, "message_detail", None)
        return f"{primary} ({detail})" if detail else str(primary)

    def extension_objects(self, connection: sa.Connection) -> ExtensionObjects:
        schemas, tables = set(), set()
        for schema, table, is_visible in connection.exec_driver_sql(_EXTENSION_OBJECTS):
            if table is None:
                schemas.add(schema)
            else:
                tables.update({(schema, table), (None if is_visible else schema, table)})
        return ExtensionObjects(frozenset(schemas), frozenset(tables))


FACTS = PostgreSQL()
