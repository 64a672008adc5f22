"""How many statements a text is."""

from __future__ import annotations

import pytest

from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import Kind

PROCEDURE = """CREATE OR REPLACE PROCEDURE p() BEGIN
    IF a THEN SET b = 1; ELSEIF c THEN SET d = 2; END IF;
    CASE x WHEN 1 THEN SET y = 1; END CASE;
    WHILE e DO SET f = CASE WHEN g THEN ';' END; END WHILE;
    lbl: LOOP BEGIN SET NEW.end = 1; END; LEAVE lbl; END LOOP lbl;
END"""

MYSQL = {
    "UPDATE a": 1,
    "UPDATE a; -- b; c\n": 1,
    "UPDATE a; # b; c": 1,
    "UPDATE a; /* b; c */ ;;": 1,
    "UPDATE a--b; c": 2,
    "UPDATE a SET b = 'c; d', e = \"f; 'g\", h = `i; j`": 1,
    "UPDATE a SET b = 'it''s; c'": 1,
    r"UPDATE a SET b = 'c\\'; COMMIT; UPDATE d": 3,
    r"UPDATE a SET b = 'it\'; COMMIT; -- '": 2,
    "UPDATE a; ALTER TABLE b ADD c INT; UPDATE d": 3,
    "/*! UPDATE a; */ UPDATE b": 2,
    "/*M! UPDATE a */; UPDATE b": 2,
    PROCEDURE: 1,
    f"{PROCEDURE}; UPDATE a": 2,
    "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW BEGIN SET NEW.a = 1; SET NEW.b = 2; END;": 1,
    "CREATE PROCEDURE p() UPDATE a; UPDATE b": 2,
    "BEGIN NOT ATOMIC UPDATE a; COMMIT; UPDATE b; END": 1,
    "BEGIN; UPDATE a; COMMIT": 3,
    "CREATE TABLE event (begin DATE); UPDATE a; COMMIT": 3,
    "XA BEGIN 'x'; UPDATE a; XA END 'x'": 3,
}

POSTGRESQL = {
    "UPDATE a; COMMIT; UPDATE b": 3,
    r"UPDATE a SET b = 'c\'; COMMIT": 2,
    r"UPDATE a SET b = E'c\'; COMMIT'": 1,
    "UPDATE a SET \"b; c\" = 'it''s; d'": 1,
    "DO $$ BEGIN UPDATE a; COMMIT; END $$": 1,
    "DO $b$ $$;$$ ; $b$; COMMIT": 2,
    "UPDATE a$b$; UPDATE c$b$": 2,
    "/* a /* b; */ c; */ UPDATE d": 1,
    "UPDATE a -- b; c": 1,
    "CREATE RULE r AS ON INSERT TO a DO ALSO (UPDATE b; UPDATE c)": 1,
    "CREATE FUNCTION f() RETURNS INT BEGIN ATOMIC SELECT CASE WHEN a THEN b END; SELECT 1; END": 1,
    "CREATE FUNCTION f() RETURNS INT BEGIN ATOMIC SELECT 1; END; UPDATE a": 2,
    'CREATE TABLE event (begin DATE, "end" DATE); UPDATE a; COMMIT': 3,
}


@pytest.mark.parametrize(
    ("dialect", "text", "expected"),
    [
        *(("mysql", text, number) for text, number in MYSQL.items()),
        *(("postgresql", text, number) for text, number in POSTGRESQL.items()),
    ],
)
def test_number(dialect: str, text: str, expected: int) -> None:
    """Quotes, comments and stored programs do not count; in doubt there is one more."""
    assert len(facts_of(dialect).statements(text)) == expected


@pytest.mark.parametrize(
    ("dialect", "text", "expected"),
    [
        ("mysql", "UPDATE a; UPDATE b", Kind.TRANSACTIONAL),
        ("mysql", "UPDATE a; ALTER TABLE b ADD c INT", Kind.SEVERAL),
        ("mysql", "ALTER TABLE b ADD c INT; ALTER TABLE b ADD d INT", Kind.SEVERAL),
        ("mysql", "SET SESSION sql_mode = ''; UPDATE a", Kind.MIXED),
        ("mysql", "SELECT 1; COMMIT", Kind.SEVERAL),
        ("postgresql", "UPDATE a; ALTER TABLE b ADD c INT", Kind.TRANSACTIONAL),
        ("postgresql", "UPDATE a; COMMIT; UPDATE b", Kind.SEVERAL),
        ("postgresql", "SET LOCAL lock_timeout = '5s'; UPDATE a", Kind.MIXED),
        ("postgresql", "UPDATE a; VACUUM a", Kind.SEVERAL),
    ],
)
def test_kind(dialect: str, text: str, expected: Kind) -> None:
    """Several statements that do not end together are of a kind of their own."""
    assert facts_of(dialect).kind(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT count(*) FROM a", True),
        ("WITH b AS (SELECT 1) SELECT * FROM b FOR UPDATE", True),
        ("SHOW server_version", True),
        ("SELECT 1; SELECT 2", True),
        ("SELECT 1; DELETE FROM a", False),
        ("WITH b AS (DELETE FROM a RETURNING *) SELECT * FROM b", False),
        ("SELECT * INTO b FROM a", False),
        ("SELECT sales.migrate(1)", False),
        ("SELECT * FROM migrate()", False),
        ("EXPLAIN ANALYZE UPDATE a SET b = 1", False),
        ("/* SELECT */ UPDATE a SET b = 1", False),
    ],
)
def test_reading(text: str, expected: bool) -> None:
    """A statement reads if nothing in it may change anything."""
    assert facts_of("postgresql").is_look(text) is expected
