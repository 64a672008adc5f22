"""The journal where a script, or somebody beside it, does something that is easy to misjudge."""

from __future__ import annotations

from pathlib import Path
import typing as t

from harness import QuickProject
import pytest
import servers
import sqlalchemy as sa

TABLE = (
    "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True),"
    " sa.Column('n', sa.Integer))",
    "op.execute('INSERT INTO t VALUES (1, 100)')",
)
BLOCK = "with op.get_context().autocommit_block():"


def add(column: str) -> str:
    """An operation that adds a column to the table."""
    return f"op.add_column('t', sa.Column('{column}', sa.Integer))"


def execute(statement: str) -> str:
    """An operation that executes a statement."""
    return f"op.execute({statement!r})"


@pytest.fixture
def begin(tmp_path: Path) -> t.Callable[[str], QuickProject]:
    """Begins a project whose database is at ``aaa``, which has made a table with a row."""

    def make(url: str) -> QuickProject:
        project = QuickProject(tmp_path / "project", url)
        project.db("init")
        project.revision("aaa", upgrade=TABLE)
        project.db("upgrade")
        return project

    return make


@pytest.fixture
def mysql_project(begin: t.Callable[[str], QuickProject], mysql_url: str) -> QuickProject:
    """Such a project on MariaDB or MySQL."""
    return begin(mysql_url)


@pytest.fixture
def postgresql_project(begin: t.Callable[[str], QuickProject], postgresql_url: str) -> QuickProject:
    """Such a project on PostgreSQL."""
    return begin(postgresql_url)


def rows(project: QuickProject, columns: str = "*") -> list[tuple[t.Any, ...]]:
    """The rows of the table."""
    return project.query(f"SELECT {columns} FROM t ORDER BY id")


def journal(project: QuickProject) -> list[tuple[t.Any, ...]]:
    """What the journal says, as far as it matters here."""
    return project.query("SELECT number, state FROM alembic_version_journal ORDER BY number")


def version(project: QuickProject) -> str:
    """The revision that the database is at."""
    ((found,),) = project.query("SELECT version_num FROM alembic_version")
    return str(found)


def test_a_refused_statement_is_executed_after_its_table_was_changed_by_hand(
    mysql_project: QuickProject,
) -> None:
    """What was in the way is removed by hand: the statement did not happen, and happens now."""
    mysql_project.query("ALTER TABLE t ADD COLUMN b INTEGER")
    mysql_project.revision("bbb", "aaa", upgrade=[add("a"), add("b")])
    assert "Duplicate column name 'b'" in mysql_project.fails("upgrade", exit_code=4)
    mysql_project.query("ALTER TABLE t DROP COLUMN b, ADD COLUMN other INTEGER")
    mysql_project.db("upgrade")
    assert rows(mysql_project, "id, n, a, b, other") == [(1, 100, None, None, None)]


def test_a_procedure_that_commits_and_fails_is_not_called_again(
    mysql_project: QuickProject,
) -> None:
    """Nobody knows how far it has got, so the run is not resumed."""
    mysql_project.query(
        "CREATE PROCEDURE p() BEGIN UPDATE t SET n = n + 1; COMMIT; UPDATE t SET wrong = 1; END"
    )
    mysql_project.revision("bbb", "aaa", upgrade=[execute("CALL p()")])
    for _ in range(2):
        message = mysql_project.fails("upgrade", exit_code=4)
        assert "not known  CALL p()" in message
        assert rows(mysql_project) == [(1, 101)]


def test_a_procedure_that_fails_before_it_commits_is_called_again(
    mysql_project: QuickProject,
) -> None:
    """Nothing of it is left, so nothing is half-applied."""
    mysql_project.query(
        "CREATE PROCEDURE p() BEGIN UPDATE t SET n = n + 1; UPDATE t SET wrong = 1; END"
    )
    mysql_project.revision("bbb", "aaa", upgrade=[execute("CALL p()")])
    for _ in range(2):
        mysql_project.fails("upgrade", exit_code=1)
        assert rows(mysql_project) == [(1, 100)]


def test_a_procedure_of_postgresql_that_commits_and_fails_is_not_called_again(
    postgresql_project: QuickProject,
) -> None:
    """Nobody knows how far it has got, so the run is not resumed."""
    postgresql_project.query(
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN "
        "UPDATE t SET n = n + 1; COMMIT; UPDATE t SET wrong = 1; END $$"
    )
    postgresql_project.revision("bbb", "aaa", upgrade=[BLOCK, f"    {execute('CALL p()')}"])
    for _ in range(2):
        message = postgresql_project.fails("upgrade", exit_code=4)
        assert "not known  CALL p()" in message
        assert rows(postgresql_project) == [(1, 101)]


def test_a_drop_of_two_tables_that_has_dropped_one_is_half_applied(
    mysql_project: QuickProject,
) -> None:
    """MariaDB drops the tables that exist, and complains about the others."""
    if "MariaDB" not in mysql_project.query("SELECT version()")[0][0]:
        pytest.skip("MySQL 8 drops all tables or none")
    mysql_project.query("CREATE TABLE x (id INTEGER)")
    mysql_project.revision("bbb", "aaa", upgrade=[execute("DROP TABLE x, y"), add("a")])
    message = mysql_project.fails("upgrade", exit_code=4)
    assert "done       DROP TABLE x, y" in message
    mysql_project.db("upgrade")
    assert version(mysql_project) == "bbb"
    assert journal(mysql_project) == []


def test_another_index_made_meanwhile_is_not_taken_for_the_one_that_was_refused(
    postgresql_project: QuickProject,
) -> None:
    """An index is told by its name, where the script gives it one."""
    postgresql_project.query("INSERT INTO t VALUES (2, 100)")
    create = execute("CREATE UNIQUE INDEX CONCURRENTLY u ON t (n)")
    postgresql_project.revision(
        "bbb", "aaa", upgrade=[BLOCK, f"    {add('a')}", f"    {create}", add("b")]
    )
    assert 'could not create unique index "u"' in postgresql_project.fails("upgrade", exit_code=4)
    postgresql_project.query("DELETE FROM t WHERE id = 2")
    postgresql_project.query("CREATE INDEX other ON t (id)")
    postgresql_project.db("upgrade")
    assert postgresql_project.query(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid AND "
        "indrelid = 't'::regclass ORDER BY 1"
    ) == [("other",), ("t_pkey",), ("u",)]


def test_a_script_may_work_in_another_database_of_the_server(
    mysql_project: QuickProject, mysql_server: servers.MySQL
) -> None:
    """The journal is written where it is, not where the script has gone."""
    name = sa.make_url(mysql_project.url).database
    with mysql_server.database("pymysql") as url:
        other = sa.make_url(url).database
        there = [execute(f"USE {other}"), execute("CREATE TABLE x (id INTEGER)")]
        mysql_project.revision(
            "bbb", "aaa", upgrade=[add("a"), *there, execute(f"USE {name}"), add("b")]
        )
        mysql_project.db("upgrade")
        assert mysql_project.inspect(url) == ["x"]
    assert rows(mysql_project) == [(1, 100, None, None)]
    assert journal(mysql_project) == []


def test_a_script_that_stays_in_another_database_cannot_be_resumed(
    mysql_project: QuickProject, mysql_server: servers.MySQL
) -> None:
    """What a name meant can only be told where the script was."""
    with mysql_server.database("pymysql") as url:
        use = execute(f"USE {sa.make_url(url).database}")
        mysql_project.revision("bbb", "aaa", upgrade=[add("a"), use, add("b")])
        message = mysql_project.fails("upgrade", exit_code=4)
    assert "done       ALTER TABLE t ADD COLUMN a INTEGER" in message
    assert "not done   ALTER TABLE t ADD COLUMN b INTEGER" in message
    assert "It cannot be resumed, because it needs its session (USE " in message


def test_definitions_that_a_session_shows_differently_are_not_compared(
    mysql_project: QuickProject,
) -> None:
    """A script that asks for other quotes cannot be resumed."""
    mode = execute("SET SESSION sql_mode = 'ANSI_QUOTES'")
    mysql_project.revision("bbb", "aaa", upgrade=[mode, add("a"), add("a")])
    message = mysql_project.fails("upgrade", exit_code=4)
    assert "done       ALTER TABLE t ADD COLUMN a INTEGER (line 9)" in message
    assert "not done   ALTER TABLE t ADD COLUMN a INTEGER (line 10)" in message
    assert "It cannot be resumed, because it needs its session (SET " in message


def test_a_table_whose_name_contains_the_password_is_not_looked_up(
    begin: t.Callable[[str], QuickProject], mysql_server: servers.MySQL, mysql_url: str
) -> None:
    """A statement is kept without the password, and what is missing then is not guessed."""
    user = "dbmigrate_word"
    grants = [
        f"{words} '{user}'@'{host}'{more}"
        for host in ("localhost", "127.0.0.1")
        for words, more in (
            ("CREATE USER IF NOT EXISTS", " IDENTIFIED BY 'data'"),
            ("GRANT ALL ON *.* TO", ""),
        )
    ]
    mysql_server.execute(*grants)
    url = sa.make_url(mysql_url).set(username=user, password="data")
    project = begin(url.render_as_string(hide_password=False))
    project.query("CREATE TABLE user_data (id INTEGER)")
    index = execute("CREATE INDEX i ON user_data (id)")
    kill = "__import__('os').kill(__import__('os').getpid(), 9)"
    project.revision("bbb", "aaa", upgrade=[index, kill])
    with project.start("upgrade") as process:
        assert process.wait() == -9
    message = project.fails("upgrade", exit_code=4)
    assert "not known  CREATE INDEX i ON user_***" in message
    assert "nothing tells whether statement 1 was executed" in message


@pytest.mark.parametrize("driver", servers.drivers_of("postgresql"))
def test_a_script_may_work_in_another_schema(
    driver: str,
    begin: t.Callable[[str], QuickProject],
    postgresql_server: servers.PostgreSQL,
    require_driver: t.Callable[[str], None],
) -> None:
    """The journal is made and written where the version table is."""
    require_driver(driver)
    with postgresql_server.database(driver) as url:
        project = begin(url)
        project.query("CREATE SCHEMA tenant")
        project.query("CREATE TABLE tenant.t (id INTEGER)")
        there = ["INSERT INTO t VALUES (7)", "CREATE INDEX CONCURRENTLY i ON t (id)"]
        back = execute("SET search_path TO public")
        project.revision(
            "bbb",
            "aaa",
            upgrade=[
                execute("SET search_path TO tenant"),
                BLOCK,
                *(f"    {execute(statement)}" for statement in there),
                back,
                add("a"),
            ],
        )
        project.db("upgrade")
        assert project.query("SELECT id FROM tenant.t") == [(7,)]
        assert rows(project) == [(1, 100, None)]
        assert journal(project) == []


def test_a_role_that_may_not_write_the_journal_loses_nothing(
    postgresql_project: QuickProject, postgresql_server: servers.PostgreSQL
) -> None:
    """What the script does in the role's name is committed all the same."""
    postgresql_server.execute(
        "DO $$ BEGIN CREATE ROLE dbmigrate_role; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        f"GRANT dbmigrate_role TO {servers.USER}",
    )
    postgresql_project.query("GRANT ALL ON t TO dbmigrate_role")
    postgresql_project.revision(
        "bbb",
        "aaa",
        upgrade=[
            execute("SET ROLE dbmigrate_role"),
            execute("INSERT INTO t VALUES (2, 2)"),
            BLOCK,
            f"    {execute('INSERT INTO t VALUES (3, 3)')}",
            execute("RESET ROLE"),
        ],
    )
    postgresql_project.db("upgrade")
    assert rows(postgresql_project, "id") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("is_kept", [True, False], ids=["journal", "no journal"])
@pytest.mark.parametrize("driver", servers.drivers_of("postgresql"))
def test_an_autocommit_block_is_outside_of_a_transaction_with_each_driver(
    driver: str,
    is_kept: bool,
    begin: t.Callable[[str], QuickProject],
    postgresql_server: servers.PostgreSQL,
    require_driver: t.Callable[[str], None],
) -> None:
    """Its first statement may be one that a transaction refuses; pg8000 had one open."""
    require_driver(driver)
    with postgresql_server.database(driver) as url:
        project = begin(url)
        app = project.folder / "app.py"
        setting = f"    app.config['DBMIGRATE_JOURNAL'] = {is_kept}\n"
        app.write_text(app.read_text().replace("    db.init_app", f"{setting}    db.init_app"))
        create = execute("CREATE INDEX CONCURRENTLY i ON t (n)")
        project.revision("bbb", "aaa", upgrade=[BLOCK, f"    {create}"])
        project.db("upgrade")
        project.revision("ccc", "bbb", upgrade=[BLOCK, f"    {execute('VACUUM nothing')}"])
        message = project.fails("upgrade", exit_code=1)
        assert 'relation "nothing" does not exist' in message


@pytest.mark.parametrize("driver", servers.drivers_of("postgresql"))
def test_what_follows_a_commit_in_a_script_is_never_executed_twice(
    driver: str,
    begin: t.Callable[[str], QuickProject],
    postgresql_server: servers.PostgreSQL,
    require_driver: t.Callable[[str], None],
) -> None:
    """Some drivers begin no transaction after it: nobody knows what stays, so it is not resumed."""
    require_driver(driver)
    with postgresql_server.database(driver) as url:
        project = begin(url)
        statements = [
            "INSERT INTO t VALUES (2, 2)",
            "COMMIT",
            "INSERT INTO t VALUES (3, 3)",
            "INSERT INTO t VALUES (1, 1)",
        ]
        project.revision("bbb", "aaa", upgrade=list(map(execute, statements)))
        message = project.fails("upgrade", exit_code=4)
        assert "It cannot be resumed, because it needs its session (COMMIT) (line 9)" in message
        is_done = "done       INSERT INTO t VALUES (3, 3)" in message
        assert is_done is ((3, 3) in rows(project))
        before = rows(project)
        project.fails("upgrade", exit_code=4)
        assert rows(project) == before


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
def test_a_value_can_be_added_to_a_type_after_a_commit(
    driver: str,
    begin: t.Callable[[str], QuickProject],
    postgresql_server: servers.PostgreSQL,
    require_driver: t.Callable[[str], None],
) -> None:
    """What scripts did before there was an ``autocommit_block()`` still works."""
    require_driver(driver)
    with postgresql_server.database(driver) as url:
        project = begin(url)
        statements = ["COMMIT", "CREATE INDEX CONCURRENTLY i ON t (n)"]
        project.revision("bbb", "aaa", upgrade=[*map(execute, statements), add("a")])
        project.db("upgrade")
        assert rows(project) == [(1, 100, None)]
        assert journal(project) == []


def test_what_is_done_while_the_journal_is_locked_is_not_called_undone(
    mysql_project: QuickProject,
) -> None:
    """Under LOCK TABLES there is no other table to write to, so nobody knows what was executed."""
    mysql_project.revision("bbb", "aaa", upgrade=[execute("LOCK TABLES t WRITE"), add("a"), "1/0"])
    message = mysql_project.fails("upgrade", exit_code=4)
    assert rows(mysql_project) == [(1, 100, None)]
    assert "done       LOCK TABLES t WRITE" in message
    assert "not known  add column 't.a'" in message


COUNT = "UPDATE t SET n = n + 1"
BELOW = {
    "mysql": [f"driver.cursor().execute({COUNT!r})", "driver.commit()"],
    "mysql in a thread": [
        "import threading",
        "bind = op.get_bind()",
        f"def work(): bind.connection.cursor().execute({COUNT!r}); bind.connection.commit()",
        "thread = threading.Thread(target=work)",
        "thread.start()",
        "thread.join()",
    ],
    "postgresql": [f"driver.cursor().execute({COUNT!r})", "driver.commit()"],
    "postgresql in a block": [BLOCK, f"    driver.cursor().execute({COUNT!r})"],
}


@pytest.mark.parametrize("how", BELOW)
def test_what_the_driver_commits_is_never_done_twice(
    how: str, begin: t.Callable[[str], QuickProject], request: pytest.FixtureRequest
) -> None:
    """Nobody sees it, so that it is noted before: a run that is killed then is not resumed."""
    project = begin(request.getfixturevalue(f"{how.partition(' ')[0]}_url"))
    kill = "import os, sys; 'pytest' in sys.modules or os.kill(os.getpid(), 9)"
    driver = [] if "thread" in how else ["driver = op.get_bind().connection"]
    project.revision("bbb", "aaa", upgrade=[*driver, *BELOW[how], kill, add("a")])
    with project.start("upgrade") as process:
        assert process.wait() == -9
    message = project.fails("upgrade", exit_code=4)
    assert "not known  what was executed with the driver's connection (line " in message
    assert "It cannot be resumed, because it works with the driver's connection (line " in message
    assert rows(project) == [(1, 101)]
