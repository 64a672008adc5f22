"""Several statements in one ``op.execute()``, and several results of one."""

from __future__ import annotations

from pathlib import Path
import typing as t

from harness import execute
from harness import QuickProject
import pytest
import servers

COUNT = "UPDATE counter SET n = n + 1"
MISSING = "INSERT INTO missing VALUES (1)"
ADD = "ALTER TABLE counter ADD COLUMN a INTEGER"
TABLES = ("CREATE TABLE counter (n INTEGER)", "INSERT INTO counter VALUES (0)")
WITH_SEVERAL = ["mysqlclient", "mysqlconnector", "aiomysql", "asyncmy"]
"""The drivers that take several by default."""


def begin(folder: Path, url: str, *statements: str) -> QuickProject:
    """Begin a project with a counter, and a revision that executes these."""
    project = QuickProject(folder / "project", url)
    project.db("init")
    execute(url, *TABLES)
    project.revision("aaa", upgrade=[f"op.execute({statement!r})" for statement in statements])
    return project


def counter(project: QuickProject) -> list[tuple[t.Any, ...]]:
    """The counter, and the columns beside it."""
    return project.query("SELECT * FROM counter")


@pytest.mark.parametrize("driver", WITH_SEVERAL)
def test_an_error_after_the_first_result(
    tmp_path: Path,
    mysql_server: servers.MySQL,
    require_driver: t.Callable[[str], None],
    driver: str,
) -> None:
    """An error of a later statement, which drivers lose with the cursor, is one of the revision."""
    require_driver(driver)
    with mysql_server.database(driver) as url:
        project = begin(tmp_path, url, f"{COUNT}; {COUNT}; {MISSING}")
        said = project.fails("upgrade", exit_code=1)
        assert "missing' doesn't exist. The statement was: UPDATE" in said
        assert counter(project) == [(0,)]
        project.revision("aaa", upgrade=[f"op.execute('SELECT 1; {COUNT}; SELECT 2; {COUNT}')"])
        project.db("upgrade")
        assert counter(project) == [(2,)]


@pytest.mark.parametrize("driver", ["pymysql", "mysqlclient"])
def test_an_error_after_rows(
    tmp_path: Path,
    mysql_server: servers.MySQL,
    require_driver: t.Callable[[str], None],
    driver: str,
) -> None:
    """So is that of a procedure that has returned rows before."""
    require_driver(driver)
    with mysql_server.database(driver) as url:
        project = begin(tmp_path, url, "CALL p()")
        execute(url, f"CREATE PROCEDURE p() BEGIN SELECT 1; {COUNT}; {MISSING}; END")
        said = project.fails("upgrade", exit_code=1)
        assert "missing' doesn't exist. The statement was: CALL p()." in said
        assert counter(project) == [(0,)]


def test_one_that_fails_is_not_tried_again(tmp_path: Path, mysql_server: servers.MySQL) -> None:
    """Where some of them are committed and one has failed, nobody guesses which."""
    with mysql_server.database("mysqlclient") as url:
        project = begin(tmp_path, url, f"{COUNT}; {ADD}; {MISSING}")
        for _ in range(2):
            said = project.fails("upgrade", exit_code=4)
            assert f"not known  {COUNT}; {ADD}; " in said
            assert "because it executes several statements at once (line 8)." in said
        assert counter(project) == [(1, None)]


def test_those_that_are_one_transaction(tmp_path: Path, mysql_server: servers.MySQL) -> None:
    """Changes of rows alone are resumed as one statement."""
    with mysql_server.database("mysqlclient") as url:
        project = begin(tmp_path, url, f"{COUNT}; {COUNT}", ADD, MISSING)
        project.fails("upgrade", exit_code=4)
        more = [f"op.execute({statement!r})" for statement in (f"{COUNT}; {COUNT}", ADD, COUNT)]
        project.revision("aaa", upgrade=more)
        project.db("upgrade")
        assert counter(project) == [(3, None)]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pg8000"])
def test_a_commit_among_them(
    tmp_path: Path,
    postgresql_server: servers.PostgreSQL,
    require_driver: t.Callable[[str], None],
    driver: str,
) -> None:
    """On PostgreSQL a COMMIT among them leaves the revision half-applied if it fails."""
    require_driver(driver)
    with postgresql_server.database(driver) as url:
        project = begin(tmp_path, url, f"{COUNT}; COMMIT; {COUNT}", MISSING)
        said = project.fails("upgrade", exit_code=4)
        assert "because it executes several statements at once (line 8)." in said
        before = counter(project)
        project.fails("upgrade", exit_code=4)
        assert counter(project) == before


def test_a_setting_among_them(tmp_path: Path, postgresql_url: str) -> None:
    """What sets something for the rest costs nothing: it is undone with its transaction."""
    project = begin(tmp_path, postgresql_url, f"SET LOCAL lock_timeout = '5s'; {ADD}")
    project.db("upgrade")
    assert "alembic_version_journal" not in project.inspect()
