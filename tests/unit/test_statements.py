"""What is told of a statement from its words."""

from __future__ import annotations

import pytest

from flask_dbmigrate.dialects import facts_of


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLESPACE fast LOCATION '/ssd'",
        "DROP TABLESPACE fast",
        "ALTER DATABASE shop SET TABLESPACE fast",
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=a' PUBLICATION p",
        "ALTER SUBSCRIPTION s REFRESH PUBLICATION",
        "DROP SUBSCRIPTION s",
        "create unique index concurrently i on t (n)",
        "-- tidy\nREINDEX (CONCURRENTLY, VERBOSE) TABLE t",
        "REINDEX DATABASE shop",
        "CLUSTER VERBOSE;",
        "ROLLBACK PREPARED 'p'",
        "DISCARD ALL",
    ],
)
def test_needs_autocommit_on_postgresql(statement: str) -> None:
    """PostgreSQL refuses these in a transaction."""
    assert facts_of("postgresql").needs_autocommit(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX i ON t (n)",
        "DROP INDEX i",
        "REINDEX TABLE t",
        "CLUSTER t USING i",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "ALTER DATABASE shop SET work_mem = '8MB'",
        "ALTER TYPE mood RENAME VALUE 'a' TO 'b'",
        "ALTER TABLE parts DETACH PARTITION part",
        "DO $$ BEGIN UPDATE t SET n = 1; END $$",
        "ANALYZE t",
        "DISCARD TEMP",
    ],
)
def test_needs_no_autocommit_on_postgresql(statement: str) -> None:
    """These are part of their revision's transaction."""
    assert not facts_of("postgresql").needs_autocommit(statement)
