"""A version table in which there is what nobody should have written there."""

from __future__ import annotations

from pathlib import Path
import typing as t

from harness import execute
from harness import QuickProject
import pytest

URLS = ["sqlite_url", "postgresql_url", "mysql_url"]


@pytest.fixture(params=URLS)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> QuickProject:
    """A project with two revisions, and a version table that takes anything, on each DBMS."""
    return begin(tmp_path, request.getfixturevalue(request.param))


def begin(folder: Path, url: str, column: str = "VARCHAR(32)") -> QuickProject:
    project = QuickProject(folder / "project", url)
    project.db("init")
    project.write_app("")
    project.revision("aaa")
    project.revision("bbb", "aaa")
    execute(url, f"CREATE TABLE alembic_version (version_num {column})")
    return project


def write(project: QuickProject, *rows: str) -> None:
    """Have these rows in the version table."""
    execute(project.url, "DELETE FROM alembic_version", *map(insert, rows))


def insert(row: str) -> str:
    return f"INSERT INTO alembic_version VALUES ({row})"


def rows(project: QuickProject) -> list[t.Any]:
    """What is in the version table."""
    return sorted(
        (row for (row,) in project.query("SELECT version_num FROM alembic_version")),
        key=lambda row: row or "",
    )


@pytest.mark.parametrize("empty", ["NULL", "''"])
def test_empty_row(project: QuickProject, empty: str) -> None:
    """A row with nothing in it is passed over."""
    nothing = None if empty == "NULL" else ""
    write(project, empty)
    assert project.db("current") == ""
    assert "at base, with 2 revisions pending" in project.db("status")
    assert "2 revisions are pending" in project.fails("check", exit_code=3)
    assert "at base: there is nothing to downgrade" in project.fails("downgrade", exit_code=1)
    project.db("upgrade", "aaa")
    assert rows(project) == [nothing, "aaa"]
    project.db("stamp", "bbb")
    project.db("check")
    project.db("downgrade")
    assert rows(project) == [nothing, "aaa"]
    assert project.db("current") == "aaa\n"


def test_empty_row_beside_a_failure(project: QuickProject) -> None:
    """Where the database stands is said without it."""
    project.revision("bbb", "aaa", upgrade=["raise ValueError"])
    write(project, "NULL", "'aaa'")
    assert "The database is at 'aaa' now." in project.fails("upgrade", exit_code=1)


def test_row_twice(project: QuickProject) -> None:
    """A row that is there twice is an error before a revision is run, and not sooner."""
    write(project, "'aaa'", "'aaa'")
    assert project.db("current") == "aaa\n"
    assert "is at 'aaa', with 1 revision pending" in project.db("status")
    for command in (["upgrade"], ["downgrade"], ["stamp", "bbb"]):
        assert project.fails(*command, exit_code=1) == (
            "Error: The version table 'alembic_version' of database 'default' has 2 rows with "
            "'aaa'.\nLeave one of them with 'flask db stamp --purge aaa'.\n"
        )
    project.db("stamp", "--purge", "aaa")
    project.db("upgrade")
    assert rows(project) == ["bbb"]
    write(project, "'bbb'", "'bbb'")
    project.db("upgrade")


def test_two_rows_of_one_line(project: QuickProject) -> None:
    """Of two rows of which one comes after the other both are named."""
    write(project, "'aaa'", "'bbb'")
    for command in ("status", "check", "upgrade"):
        assert project.fails(command, exit_code=1) == (
            "Error: The version table 'alembic_version' of database 'default' has 'aaa' and "
            "'bbb', which comes after it.\n"
            "Leave the later one with 'flask db stamp --purge bbb'.\n"
        )
    assert project.db("current") == "bbb (head)\n"
    project.db("stamp", "--purge", "bbb")
    project.db("check")
    assert rows(project) == ["bbb"]


@pytest.mark.parametrize("row", ["'AAA'", "' aaa'"])
def test_another_spelling(project: QuickProject, row: str) -> None:
    """What is a revision but for blanks and capitals is called so."""
    write(project, row)
    for command in ("current", "check", "upgrade", "downgrade"):
        said = project.fails(command, exit_code=1)
        assert f"is at revision {row}, which no script in" in said
        assert said.endswith("\nIt is to be 'aaa': write that with 'flask db stamp --purge aaa'.\n")
    project.db("stamp", "--purge", "aaa")
    project.db("upgrade")


def test_column_of_type_char(tmp_path: Path, postgresql_url: str) -> None:
    """PostgreSQL fills a CHAR with blanks; the error says how to change it."""
    project = begin(tmp_path, postgresql_url, "CHAR(32)")
    write(project, "'aaa'")
    said = project.fails("upgrade", exit_code=1)
    statement = "ALTER TABLE alembic_version ALTER COLUMN version_num TYPE VARCHAR(32)"
    assert f"as in a column of type CHAR: '{statement} USING rtrim(version_num)'." in said
    execute(project.url, f"{statement} USING rtrim(version_num)")
    project.db("upgrade")


def test_column_of_type_char_elsewhere(tmp_path: Path, mysql_url: str) -> None:
    """MariaDB leaves them out."""
    project = begin(tmp_path, mysql_url, "CHAR(32)")
    write(project, "'aaa'")
    project.db("upgrade")
    assert rows(project) == ["bbb"]
