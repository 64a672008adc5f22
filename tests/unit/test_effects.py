"""Whether a script may be run again from its start, read from it without running it."""

from __future__ import annotations

from pathlib import Path
import textwrap

import pytest

from flask_dbmigrate.dialects import is_definition
from flask_dbmigrate.dialects import is_look
from flask_dbmigrate.runtime.effects import Effects
from flask_dbmigrate.runtime.effects import read_effects

HEAD = """
import os
from alembic import op
from app import helper
import sqlalchemy as sa
from sqlalchemy.orm import Session
rerunnable{} = {}

def has(table, name):
    found = op.get_bind().execute(sa.text(f"SELECT count(*) FROM columns WHERE name = '{{name}}'"))
    return bool(found.scalar())

def add(table, name):
    if has(table, name):
        return
    op.add_column(table, sa.Column(name, sa.Integer))

def fill():
    op.bulk_insert(sa.table('t'), [])

def upgrade():
"""


def read(folder: Path, body: str, head: str = HEAD.format("", False)) -> Effects:
    """Read an ``upgrade()`` of these statements."""
    path = folder / "aaa_.py"
    path.write_text(head + textwrap.indent(textwrap.dedent(body).strip(), "    "))
    return read_effects(str(path), "upgrade")


HARMLESS = [
    "op.add_column('t', sa.Column('a', sa.String(3)))",
    "add('t', 'a')",
    "for name in ('a', 'b'):\n    add('t', name)",
    "if os.environ.get('X') and not has('t', 'a'):\n    print('a'.upper())",
    "with op.batch_alter_table('t') as batch:\n    batch.drop_column('a')",
    "with op.get_context().autocommit_block():\n    op.create_index('ix', 't', ['a'])",
    "sql = 'ALTER TABLE t ADD %s INT'\nop.execute(sql % 'a')",
    "op.execute(f'CREATE INDEX {1} ON t (a)')",
    "op.execute(sa.text('SET FOREIGN_KEY_CHECKS = 0'))",
    "op.get_bind().execute(sa.select(sa.column('a')).select_from(sa.table('t'))).all()",
    "names = {c['name'] for c in sa.inspect(op.get_bind()).get_columns('t') if c['nullable']}",
]

STEADY = [
    "op.execute('UPDATE t SET a = 1')",
    "op.execute('CREATE TABLE u AS SELECT * FROM t')",
    "op.execute('ALTER TABLE t ADD a INT; DELETE FROM t')",
    "op.execute('SELECT my_function()')",
    "op.get_bind().exec_driver_sql('INSERT INTO t VALUES (1)')",
    "with op.get_context().autocommit_block():\n    op.execute('DELETE FROM t')",
    "fill()",
]

UNKNOWN = [
    "if has('t', 'a'):\n    op.execute('UPDATE t SET a = 1')",
    "if has('t', 'a'):\n    return\nop.execute('UPDATE t SET a = 1')",
    "for name in 'ab':\n    fill()",
    "has('t', 'a') or fill()",
    "[fill() for name in 'ab']",
    "try:\n    pass\nexcept Exception:\n    fill()",
    "match 1:\n    case 1:\n        fill()",
    "list(map(op.execute, ['DELETE FROM t']))",
    "run = op.execute\nrun('DELETE FROM t')",
    "run = fill\nrun()",
    "helper()",
    "helper.run(op)",
    "Session(op.get_bind())",
    "helper.session.execute(sa.text('SELECT 1'))",
    "helper.row.name = 'b'",
    "getattr(op, 'bulk_insert')(sa.table('t'), [])",
    "globals()['fill']()",
    "op.get_bind().connection.cursor().execute('SELECT 1')",
    "op.get_bind().begin()",
    "def fill():\n    pass\nfill()",
    "print = fill\nprint()",
    "def again():\n    again()\nagain()",
]


@pytest.mark.parametrize("body", HARMLESS)
def test_harmless(tmp_path: Path, body: str) -> None:
    """What surely changes no rows is known."""
    assert not read(tmp_path, body).changes_data


@pytest.mark.parametrize("body", STEADY)
def test_steady(tmp_path: Path, body: str) -> None:
    """So is what changes rows, once and in any case."""
    effects = read(tmp_path, body)
    assert (effects.changes_data, effects.is_steady) == (True, True)


@pytest.mark.parametrize("body", UNKNOWN)
def test_unknown(tmp_path: Path, body: str) -> None:
    """Anything else may change rows, or not."""
    effects = read(tmp_path, body)
    assert (effects.changes_data, effects.is_steady) == (True, False)


@pytest.mark.parametrize(
    ("body", "is_last"),
    [
        ("op.drop_table('{}')\nop.drop_table('b')", True),
        ("if has('t', 'a'):\n    op.drop_table('{}')\nop.drop_table('b')", True),
        ("if has('t', 'a'):\n    op.drop_table('{}')\nelse:\n    op.drop_table('b')", True),
        ("if has('t', 'a'):\n    op.drop_table('{}')\n    op.drop_table('b')", False),
        ("if has('t', 'a'):\n    op.drop_table('{}')\n    helper()", False),
        ("if has('t', 'a'):\n    return\nop.drop_table('{}')\nop.drop_table('b')", False),
        ("if has('t', 'a'):\n    for name in 'ab':\n        op.drop_table('{}')", False),
        ("for name in 'ab':\n    if has('t', name):\n        op.drop_table('{}')", True),
        (
            "for name in 'ab':\n    if has('t', name):\n        continue\n    op.drop_table('{}')",
            True,
        ),
        (
            "if has('t', 'a'):\n    if 1:\n        op.drop_table('{}')\n    op.drop_table('b')",
            False,
        ),
        ("if has('t', 'a'):\n    add('t', 'b')\n    op.drop_table('{}')", True),
        ("helper('{}')", True),
        ("pass  # {}", False),
    ],
)
def test_end_of_a_branch(tmp_path: Path, body: str, is_last: bool) -> None:
    """It is known what is left out with a branch in which a script was stopped."""
    effects = read(tmp_path, body.format("here_"))
    lines = (tmp_path / "aaa_.py").read_text().splitlines()
    (line,) = (number for number, text in enumerate(lines, 1) if "here_" in text)
    assert effects.ends_branch(line) is is_last


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [("", True, True), (": bool", True, True), ("", False, False), ("", 0, False)],
)
def test_rerunnable(tmp_path: Path, annotation: str, value: object, expected: bool) -> None:
    """A script says at its top that it can be run again."""
    head = HEAD.format(annotation, value)
    assert read(tmp_path, "pass", head).is_rerunnable is expected


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 FROM t WHERE a = 'DELETE'",
        "show tables",
        "DESCRIBE t",
        "SELECT count(*) FROM t",
        "SELECT a FROM t FOR UPDATE",
        "EXPLAIN SELECT 1",
        "SELECT pg_catalog.format_type(1, 2)",
    ],
)
def test_look(statement: str) -> None:
    """A query changes nothing."""
    assert is_look(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT f()",
        "SELECT nextval('s')",
        "SELECT s.f(1)",
        "SELECT 1 INTO t",
        "SELECT @a := 1",
        "WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x",
        "EXPLAIN ANALYZE DELETE FROM t",
        "SELECT pg_catalog.pg_advisory_lock(1)",
        "SELECT NEXT VALUE FOR s",
        "UPDATE t SET a = 1",
        "SELECT 1; DELETE FROM t",
        "CALL p()",
        "SELECT `f`()",
    ],
)
def test_no_look(statement: str) -> None:
    """Not all that begins like a query is one."""
    assert not is_look(statement)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("ALTER TABLE t ADD a VARCHAR(3) DEFAULT ';'", True),
        ("/* x */ create view v as select 1;", True),
        ("COMMENT ON TABLE t IS 'a SELECT'", True),
        ("CREATE TABLE u AS SELECT 1", False),
        ("ALTER TABLE t DROP PARTITION p", False),
        ("DROP TABLE t; DELETE FROM u", False),
        ("TRUNCATE t", False),
        ("GRANT ALL ON t TO u", False),
    ],
)
def test_definition(statement: str, expected: bool) -> None:
    """A change of the schema that changes no rows is known."""
    assert is_definition(statement) is expected
