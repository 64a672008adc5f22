"""Each kind of operation is killed before and after its statements, and the next run completes it.

Each of them is between two changes of data, which must happen once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import typing as t

from crashes import CrashPlace
from crashes import kill
from crashes import moments_of
from crashes import snapshot
from harness import Killer
import pytest
import servers

COUNT = "op.execute('UPDATE counter SET n = n + 1')"
BLOCK = "with op.get_context().autocommit_block():"
COUNTER = ("CREATE TABLE counter (n INTEGER)", "INSERT INTO counter VALUES (100)")

MYSQL_BEFORE = (
    *COUNTER,
    "CREATE TABLE t (id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY, n INTEGER NOT NULL, "
    "s VARCHAR(20) DEFAULT 'x', m INTEGER NOT NULL, KEY ix_n (n), CONSTRAINT ck_n "
    "CHECK (n > 0), UNIQUE KEY uq_s (s))",
    "INSERT INTO t VALUES (1, 10, 'a', 11), (2, 20, 'b', 21)",
    "CREATE TABLE child (t_id INTEGER, CONSTRAINT fk_t FOREIGN KEY (t_id) REFERENCES t (id))",
    "CREATE TABLE plain (id INTEGER NOT NULL, t_id INTEGER)",
    "INSERT INTO plain VALUES (1, 1), (2, 2)",
    "CREATE TABLE keyed (id INTEGER NOT NULL PRIMARY KEY)",
    "CREATE TABLE commented (a INTEGER, b INTEGER) COMMENT 'c'",
    "INSERT INTO commented VALUES (1, 2)",
    "CREATE TABLE twin_a (id INTEGER)",
    "INSERT INTO twin_a VALUES (1)",
    "CREATE TABLE twin_b (id INTEGER)",
    "INSERT INTO twin_b VALUES (2)",
    "CREATE TABLE other (name TEXT)",
    "CREATE VIEW v AS SELECT n FROM t",
    "CREATE TRIGGER g BEFORE INSERT ON plain FOR EACH ROW SET NEW.t_id = 1",
    "CREATE PROCEDURE p() SELECT 1",
    'CREATE INDEX "a ON b" ON plain (id)',
)

POSTGRESQL_BEFORE = (
    *COUNTER,
    "CREATE TYPE mood AS ENUM ('good')",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, s TEXT, e mood)",
    "INSERT INTO t VALUES (1, 10, 'a', 'good'), (2, 20, 'b', 'good')",
    "CREATE INDEX ix_n ON t (n)",
)


def sql(*statements: str) -> list[str]:
    """Operations that execute statements."""
    return [f"op.execute({statement!r})" for statement in statements]


def alter(arguments: str) -> list[str]:
    """An operation that alters a column."""
    return [f"op.alter_column('t', {arguments})"]


INTEGER = "existing_type=sa.Integer(), existing_nullable=False"
STRING = "existing_type=sa.String(20), existing_server_default='x'"

MYSQL = {
    "add column": ["op.add_column('t', sa.Column('a', sa.Integer, server_default='7'))"],
    "drop column": ["op.drop_column('t', 'n')"],
    "column rename": alter(f"'n', new_column_name='o', {INTEGER}"),
    "type": alter("'n', type_=sa.BigInteger(), existing_nullable=False"),
    "nullable": alter("'n', nullable=True, existing_type=sa.Integer()"),
    "default": alter("'s', server_default='y', existing_type=sa.String(20)"),
    "no default": alter("'s', server_default=None, existing_type=sa.String(20)"),
    "column comment": alter(f"'s', comment='it''s # 1', {STRING}"),
    "create primary key": ["op.create_primary_key(None, 'plain', ['id'])"],
    "drop primary key": ["op.drop_constraint('PRIMARY', 'keyed', type_='primary')"],
    "create index": ["op.create_index('ix', 't', ['n', 's'])"],
    "create index once": ["op.create_index('ix', 't', ['n', 's'], if_not_exists=True)"],
    "index on": ["op.create_index('ix ON other', 't', ['n'])"],
    "drop index": ["op.drop_index('ix_n', 't')"],
    "drop index on": ["op.drop_index('a ON b', 'plain', if_exists=True)"],
    "index using": sql("CREATE UNIQUE INDEX ix USING BTREE ON t (n, s) COMMENT ' ON other (a)'"),
    "index rename": sql("ALTER TABLE t RENAME INDEX ix_n TO ix_m"),
    "unnamed index": sql("ALTER TABLE t ADD INDEX (n)"),
    "unnamed unique constraint": ["op.create_unique_constraint(None, 't', ['n'])"],
    "unnamed foreign key": ["op.create_foreign_key(None, 'plain', 't', ['t_id'], ['id'])"],
    "drop foreign key": ["op.drop_constraint('fk_t', 'child', type_='foreignkey')"],
    "drop unique constraint": ["op.drop_constraint('uq_s', 't', type_='unique')"],
    "create check": ["op.create_check_constraint('ck', 't', sa.text('n < 99'))"],
    "unnamed check": sql("ALTER TABLE t ADD CHECK (n < 99)"),
    "drop check": ["op.drop_constraint('ck_n', 't', type_='check')"],
    "rename table": ["op.rename_table('t', 'renamed')"],
    "create table": [
        "op.create_table('u', sa.Column('id', sa.Integer, primary_key=True),",
        "    sa.Column('x', sa.Integer, index=True), comment='u')",
    ],
    "create table as": sql("CREATE TABLE u AS SELECT n FROM t"),
    "drop table": ["op.drop_table('plain')"],
    "table comment": ["op.create_table_comment('t', 'it is #1 -- or /* 2')"],
    "drop table comment": ["op.drop_table_comment('commented')"],
    "create view": sql("CREATE VIEW w AS SELECT s FROM t"),
    "replace view": sql("CREATE OR REPLACE VIEW v AS SELECT s FROM t"),
    "drop view": sql("DROP VIEW v"),
    "create trigger": sql("CREATE TRIGGER h BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 1"),
    "drop trigger": sql("DROP TRIGGER g"),
    "create procedure": sql("CREATE PROCEDURE q() BEGIN UPDATE t SET n = 1; COMMIT; END"),
    "drop procedure": sql("DROP PROCEDURE IF EXISTS p"),
    "batch": [
        "with op.batch_alter_table('t') as batch:",
        "    batch.add_column(sa.Column('a', sa.Integer))",
        "    batch.alter_column('n', new_column_name='o', existing_type=sa.Integer())",
        "    batch.create_index('ix', ['a'])",
        "    batch.drop_constraint('uq_s', type_='unique')",
    ],
    "batch copy": [
        "table = sa.Table('plain', sa.MetaData(), sa.Column('id', sa.Integer),",
        "    sa.Column('t_id', sa.Integer))",
        "with op.batch_alter_table('plain', recreate='always', copy_from=table) as batch:",
        "    batch.add_column(sa.Column('a', sa.Integer))",
    ],
    "bulk insert": [
        "plain = sa.table('plain', sa.column('id'), sa.column('t_id'))",
        "op.bulk_insert(plain, [{'id': 8, 't_id': 1}, {'id': 9, 't_id': 2}])",
    ],
    "rename two tables": sql("RENAME TABLE twin_a TO a, twin_b TO b"),
    "columns changed": sql("ALTER TABLE t CHANGE n n BIGINT, DROP INDEX uq_s, ADD INDEX uq_s (n)"),
    "commented": sql("ALTER TABLE /* t ON u */ t # t\n ADD -- a\n a INTEGER COMMENT '#'\n"),
    "hash": sql("CREATE TABLE `a#b` (\n id INTEGER,\n `c` INTEGER)"),
}
"""What is completed by the next run."""

UNKNOWN = "nothing tells whether statement 2 was executed"

MYSQL_REFUSED = {
    "truncate": (sql("TRUNCATE TABLE plain"), [4, 0], UNKNOWN),
    "equal twins": (
        sql("RENAME TABLE twin_a TO tmp, twin_b TO twin_a, tmp TO twin_b"),
        [4, 4],
        UNKNOWN,
    ),
    "exchange": (sql("RENAME TABLE plain TO tmp, twin_a TO plain, tmp TO twin_a"), [4, 0], UNKNOWN),
    "columns exchanged": (
        sql("ALTER TABLE t CHANGE n m INTEGER, CHANGE m n BIGINT"),
        [4, 0],
        UNKNOWN,
    ),
    "equal columns": (
        sql("ALTER TABLE commented CHANGE b a INTEGER FIRST, CHANGE a b INTEGER"),
        [4, 4],
        UNKNOWN,
    ),
    "column made anew": (
        sql("ALTER TABLE plain DROP t_id, ADD (t_id INTEGER)"),
        [4, 4],
        UNKNOWN,
    ),
    "table made anew": (
        sql("CREATE OR REPLACE TABLE twin_a (id INTEGER)"),
        [4, 4],
        UNKNOWN,
    ),
}
"""What is not: the exit codes of the next run when it was killed before it and after it."""

POSTGRESQL = {
    "create index": ["op.create_index('ix', 't', ['s'], postgresql_concurrently=True)"],
    "create index once": sql("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_n ON t (s)"),
    "quoted index": sql('CREATE INDEX CONCURRENTLY "a ON b" ON public."t" (s)'),
    "unnamed index": sql("CREATE INDEX CONCURRENTLY ON t (n)"),
    "unnamed index on only": sql("CREATE UNIQUE INDEX CONCURRENTLY ON ONLY t (n)"),
    "drop index": ["op.drop_index('ix_n', postgresql_concurrently=True)"],
    "drop index if it is there": sql("DROP INDEX CONCURRENTLY IF EXISTS public.ix_n"),
    "reindex": sql("REINDEX TABLE CONCURRENTLY t", "REINDEX INDEX CONCURRENTLY ix_n"),
    "vacuum": sql("VACUUM (ANALYZE) t"),
    "add value": sql("ALTER TYPE mood ADD VALUE 'bad'", "UPDATE t SET e = 'bad' WHERE id = 2"),
    "add column": ["op.add_column('t', sa.Column('a', sa.Integer))", "op.drop_column('t', 's')"],
    "create table": ["op.create_table('u', sa.Column('x', sa.Integer, index=True), comment='u')"],
    "rename table": ["op.rename_table('t', 'u')"],
    "view": sql("CREATE VIEW v AS SELECT n FROM t", "CREATE OR REPLACE VIEW v AS SELECT n FROM t"),
    "bulk insert": [
        "op.bulk_insert(sa.table('counter', sa.column('n')), [{'n': 8}, {'n': 9}])",
    ],
}


class Kill(t.NamedTuple):
    """When to kill a run."""

    moment: str
    is_sent: bool


class Rig(t.NamedTuple):
    """A place, and the process that kills its upgrades."""

    place: CrashPlace
    killer: Killer


@pytest.fixture(scope="module")
def mysql(tmp_path_factory: pytest.TempPathFactory, mysql_server: servers.MySQL) -> Iterator[Rig]:
    """A project on MariaDB."""
    with mysql_server.database("pymysql") as url:
        folder = tmp_path_factory.mktemp("mysql")
        place = CrashPlace(folder, mysql_server, url, MYSQL_BEFORE)
        with Killer(place.project) as killer:
            yield Rig(place, killer)


@pytest.fixture(scope="module")
def postgresql(
    tmp_path_factory: pytest.TempPathFactory, postgresql_server: servers.PostgreSQL
) -> Iterator[Rig]:
    """A project on PostgreSQL."""
    with postgresql_server.database("psycopg") as url:
        folder = tmp_path_factory.mktemp("postgresql")
        place = CrashPlace(folder, postgresql_server, url, POSTGRESQL_BEFORE)
        with Killer(place.project) as killer:
            yield Rig(place, killer)


DATA = "INSERT|UPDATE t"
SCHEMA = "ALTER|CREATE|DROP|RENAME|TRUNCATE|REINDEX|VACUUM|COMMENT"


def kills(rig: Rig, lines: list[str]) -> tuple[dict[str, t.Any], list[Kill]]:
    """Run a revision without an incident.

    :returns: What the database is like then, and what to do in order to kill it before and after
        each of its statements.
    """
    place, killer = rig
    place.write(lines)
    place.begin()
    whole = killer.run("upgrade")
    assert whole.code == 0, whole.output
    found = []
    for moment in moments_of(whole, f"{SCHEMA}|{DATA}"):
        is_schema = moment in moments_of(whole, SCHEMA)
        found.append(Kill(moment, is_sent=is_schema))
        found.append(Kill(moment.replace("before", "after", 1), is_sent=False))
    assert found
    return place.state(), found


def completes(rig: Rig, lines: list[str]) -> None:
    """Kill a revision before a statement, the next run after it, and so on until one completes."""
    expected, moments = kills(rig, lines)
    rig.place.begin()
    for moment, is_sent in moments:
        kill(rig.killer, moment, is_sent=is_sent)
    code, said = rig.place.again()
    assert code == 0, said
    assert rig.place.state() == expected, said


@pytest.mark.parametrize("name", MYSQL)
def test_operation_on_mysql(mysql: Rig, name: str) -> None:
    """Runs that were killed are completed, as if nothing had been."""
    completes(mysql, [COUNT, *MYSQL[name], COUNT])


@pytest.mark.parametrize("name", POSTGRESQL)
def test_operation_in_autocommit_block_on_postgresql(postgresql: Rig, name: str) -> None:
    """So are those that work outside of a transaction on PostgreSQL."""
    block = [COUNT, *POSTGRESQL[name], COUNT]
    completes(postgresql, [COUNT, BLOCK, *(f"    {line}" for line in block), COUNT])


@pytest.mark.parametrize("name", MYSQL_REFUSED)
def test_operation_that_leaves_no_trace_on_mysql(mysql: Rig, name: str) -> None:
    """Where nobody can tell what was executed, the next run refuses and does nothing."""
    lines, refused, reason = MYSQL_REFUSED[name]
    expected, moments = kills(mysql, [COUNT, *lines, COUNT])
    place = mysql.place
    codes = []
    for moment, is_sent in moments:
        place.begin()
        kill(mysql.killer, moment, is_sent=is_sent)
        killed = snapshot(place.url)
        code, said = place.again()
        codes.append(code)
        if code == 4:
            assert snapshot(place.url) == killed
            assert reason in said
            assert "    not known  " in said
        else:
            assert place.state() == expected, f"{moment}\n{said}"
    assert codes == refused


def test_rename_of_which_a_part_is_done(mysql: Rig) -> None:
    """A server that went down may have renamed one table only; that is not guessed at."""
    lines = [COUNT, *MYSQL["rename two tables"], COUNT]
    _, [(moment, _), *_] = kills(mysql, lines)
    mysql.place.begin()
    kill(mysql.killer, moment, is_sent=True)
    mysql.place.project.query("RENAME TABLE twin_a TO a")
    code, said = mysql.place.again()
    assert code == 4
    assert "    not known  RENAME TABLE twin_a TO a, twin_b TO b" in said


def test_batch_by_reflection(mysql: Rig) -> None:
    """It reads the table; where it would find another one now, what it does is not guessed at."""
    batch = "with op.batch_alter_table('plain', recreate='always') as batch:"
    lines = [batch, "    batch.add_column(sa.Column('a', sa.Integer))"]
    expected, moments = kills(mysql, lines)
    codes = []
    for moment, is_sent in moments:
        mysql.place.begin()
        kill(mysql.killer, moment, is_sent=is_sent)
        code, said = mysql.place.again()
        codes.append(code)
        if code == 0:
            assert mysql.place.state() == expected, f"{moment}\n{said}"
        else:
            assert "it works through 'op.get_bind()' or a session" in said
    assert codes == [0] * 4 + [4] * 6


ONE_MORE = "UPDATE counter SET n = n + 1"
SEVERAL = {
    "mysqlclient": f"{ONE_MORE}; ALTER TABLE t ADD COLUMN a INTEGER; {ONE_MORE}",
    "psycopg2": f"{ONE_MORE}; COMMIT; {ONE_MORE}",
}


@pytest.mark.parametrize("driver", SEVERAL)
def test_several_statements_at_once(
    driver: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    require_driver: t.Callable[[str], None],
) -> None:
    """Where one of them commits, what is done of them is never done twice."""
    require_driver(driver)
    backend = servers.backend_of(driver)
    server: servers.Server = request.getfixturevalue(f"{backend}_server")
    before = MYSQL_BEFORE if backend == "mysql" else POSTGRESQL_BEFORE
    with server.database(driver) as url:
        place = CrashPlace(tmp_path, server, url, before)
        place.write([*sql(SEVERAL[driver]), COUNT, COUNT])
        with Killer(place.project) as killer:
            place.begin()
            whole = killer.run("upgrade")
            expected = place.state()
            first = whole.moments.index(f"before {SEVERAL[driver]}") + 1
            codes = []
            for number in range(first, first + 5):
                place.begin()
                assert killer.run("upgrade", kill=number).code == -9
                codes.append(place.again()[0])
                assert codes[-1] == 4 or place.state() == expected
    assert codes == [0, 4, 4, 4, 4]
