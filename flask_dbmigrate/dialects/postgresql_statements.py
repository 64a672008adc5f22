"""The statements of PostgreSQL: how they commit, and whether one was executed.

Nearly all of them can be part of a transaction, so there is little to be told apart.
"""

from __future__ import annotations

import re

import sqlalchemy as sa

from .connections import OWN
from .splitting import POSTGRESQL
from .splitting import split
from .statements import beginning_with
from .statements import COMMENTS
from .statements import Kind
from .statements import kind_of_all

_SESSION = beginning_with(r"SET|RESET|SELECT\s+(?:pg_catalog\.)?set_config\s*\(.*")
_BOUND = beginning_with(
    r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:GLOBAL|LOCAL)\s+)?TEMP(?:ORARY)?"
    r"|PREPARE(?!\s+TRANSACTION)|DECLARE"
    # psycopg2 and asyncpg do not notice: what follows is in no transaction
    r"|COMMIT(?!\s+PREPARED)|END|BEGIN|START\s+TRANSACTION|ROLLBACK(?!\s+(?:TO|\w+\s+TO|PREPARED))|ABORT"
    # names mean something else then, or the journal cannot be written
    r"|(?:SET|RESET)\s+(?:(?:SESSION|LOCAL)\s+)?(?:SEARCH_PATH|SCHEMA|ROLE|SESSION\s+AUTHORIZATION|ALL)"
    r"|DISCARD"
    r"|SELECT\s+(?:pg_catalog\.)?set_config\s*\(\s*'(?:search_path|role)"
)
_HARMLESS = beginning_with(r"VACUUM|REINDEX|ALTER\s+SYSTEM")
"""To execute one of these twice is the same as once."""

_PROGRAM = beginning_with("CALL|DO")
"""One of these may commit some of what it does, and fail then."""

# PostgreSQL 15 documentation, part VI "Reference", section I "SQL Commands": what "cannot be
# executed inside a transaction block". A new value of a type cannot be used before it is committed.
_NEEDS_AUTOCOMMIT = beginning_with(
    r"VACUUM|ALTER\s+SYSTEM|(?:CREATE|DROP)\s+(?:DATABASE|TABLESPACE|SUBSCRIPTION)"
    r"|(?:CREATE\s+(?:UNIQUE\s+)?|DROP\s+)INDEX\s+CONCURRENTLY"
    r"|REINDEX\s+(?:\([^)]*\)\s*)?(?:\w+\s+CONCURRENTLY|SCHEMA|DATABASE|SYSTEM)"
    r"|REINDEX\s*\([^)]*\bCONCURRENTLY|CLUSTER(?=[\s;]*$)|CLUSTER\s+VERBOSE(?=[\s;]*$)"
    r"|ALTER\s+TABLE\b.*\bDETACH\s+PARTITION\b.*\bCONCURRENTLY"
    r"|ALTER\s+DATABASE\b.*\bSET\s+TABLESPACE|ALTER\s+SUBSCRIPTION\b.*\b(?:REFRESH|PUBLICATION)"
    r"|(?:COMMIT|ROLLBACK)\s+PREPARED|DISCARD\s+ALL|CALL|DO\b.*\b(?:COMMIT|ROLLBACK)"
    r"|ALTER\s+TYPE\b.*\bADD\s+VALUE"
)

_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_NAME = rf"{_IDENTIFIER}(?:\s*\.\s*{_IDENTIFIER})?"
_CREATE_INDEX = re.compile(
    rf"{COMMENTS}CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+"
    rf"(?:(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{_IDENTIFIER})\s*)?\bON\b\s*(?:\bONLY\b\s*)?(?P<table>{_NAME})",
    flags=re.IGNORECASE | re.DOTALL,
)
_DROP_INDEX = re.compile(
    rf"{COMMENTS}DROP\s+INDEX\s+CONCURRENTLY\s+(?:IF\s+EXISTS\s+)?(?P<name>{_NAME})",
    flags=re.IGNORECASE | re.DOTALL,
)

# PostgreSQL 15 documentation, sections 53.26 "pg_index" and 28.4.2 "CREATE INDEX Progress
# Reporting".
_INDEXES = """
SELECT c.oid, c.relname AS name, i.indisvalid AS is_valid,
    format('%I.%I', n.nspname, c.relname) AS full_name,
    EXISTS (
        SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = c.oid
    ) AS is_being_built
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = to_regclass(CAST(:table AS text)) AND c.relkind = 'i'
ORDER BY c.oid
"""

_INVALID = "!"
"""Marks an index in a fingerprint."""


def kind(statement: str) -> Kind:
    """Tell how a statement takes part in a transaction; ``ALONE`` is what is refused in one."""
    return kind_of_all(map(_kind, statements(statement)))


def statements(text: str) -> list[str]:
    """List the statements in a text."""
    return split(text, POSTGRESQL)


def _kind(statement: str) -> Kind:
    for pattern, found in (
        (_BOUND, Kind.BOUND),
        (_SESSION, Kind.SESSION),
        (_CREATE_INDEX, Kind.ALONE),
        (_DROP_INDEX, Kind.ALONE),
        (_HARMLESS, Kind.ALONE),
    ):
        if pattern.match(statement):
            return found
    return Kind.TRANSACTIONAL


def needs_autocommit(statement: str) -> bool:
    """Tell whether a statement cannot be part of a transaction, or what follows it not of its."""
    return _NEEDS_AUTOCOMMIT.match(statement) is not None


def fingerprint(connection: sa.Connection, statement: str) -> str:
    """List the indexes of the table for which a statement creates one; otherwise empty."""
    if (found := _CREATE_INDEX.match(statement)) is None:
        return ""
    indexes = _indexes(connection, found["table"])
    return " ".join(f"{index.oid}{'' if index.is_valid else _INVALID}" for index in indexes) or "-"


def has_happened(connection: sa.Connection, statement: str, before: str) -> bool | None:
    """Tell whether a statement was executed; None if nobody knows.

    :param before: The fingerprint from before it.
    """
    if _HARMLESS.match(statement):
        return False
    if found := _CREATE_INDEX.match(statement):
        name = found["name"] and _plain(found["name"])
        return any(
            index.is_valid and str(index.oid) not in _oids(before) and name in (None, index.name)
            for index in _indexes(connection, found["table"])
        )
    if found := _DROP_INDEX.match(statement):
        query = sa.text("SELECT to_regclass(CAST(:name AS text)) IS NULL")
        values = {"name": found["name"]}
        return bool(connection.scalar(query, values, execution_options=OWN))
    return None


def fails_as_a_whole(statement: str) -> bool:
    """Tell whether a statement that fails has surely done nothing that does not show."""
    return _PROGRAM.match(statement) is None


def unfinished(
    connection: sa.Connection, statement: str, before: str | None, now: str
) -> dict[str, str]:
    """Find the INVALID indexes that a failed ``CREATE INDEX CONCURRENTLY`` has left.

    :param before: The fingerprint from before that, if it is known.
    :param now: The present one.
    :returns: Their names, and for each the statement that drops it.
    """
    found = _CREATE_INDEX.match(statement)
    if found is None or _INVALID not in now:
        return {}
    name = _plain(found["name"] or "")
    return {
        index.name: f"DROP INDEX CONCURRENTLY {index.full_name}"
        for index in _indexes(connection, found["table"])
        if not index.is_valid
        and not index.is_being_built
        and (index.name == name or (before is not None and str(index.oid) not in _oids(before)))
    }


def _indexes(connection: sa.Connection, table: str) -> list[sa.Row[tuple[object, ...]]]:
    return list(connection.execute(sa.text(_INDEXES), {"table": table}, execution_options=OWN))


def _oids(listed: str) -> set[str]:
    return {oid.rstrip(_INVALID) for oid in listed.split()}


def _plain(name: str) -> str:
    """Tell what an identifier in a statement is called in the catalogue."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
