"""Characters that a connection or a database cannot carry: what the script does goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import json
from pathlib import Path
import typing as t

from harness import QuickProject
from harness import wait_until
import pytest
import servers
import sqlalchemy as sa

ROCKET = "🚀"
FLY = f"fly {ROCKET}"
MAKE = "op.create_table('tür', sa.Column('id', sa.Integer, primary_key=True))"
ADD = f"op.execute('ALTER TABLE tür ADD COLUMN a INTEGER /* {ROCKET} */')"
FAIL = "op.execute('INSERT INTO missing VALUES (1)')"
WAITING = """SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"""


def begin(folder: Path, url: str) -> QuickProject:
    """Make a project without revisions."""
    project = QuickProject(folder, url)
    project.db("init")
    return project


def log(project: QuickProject) -> list[tuple[t.Any, ...]]:
    """What the log says of each run."""
    (database,) = json.loads(project.db("log", "--json"))["databases"]
    return [(entry["message"], entry["status"], entry["error"]) for entry in database["entries"]]


def write(project: QuickProject, *upgrade: str) -> None:
    """Write a revision with a message that needs four bytes."""
    path = project.revision("aaa", upgrade=upgrade)
    path.write_text(path.read_text().replace("revision aaa", FLY, 1))


@pytest.mark.parametrize("driver", servers.drivers_of("mysql"))
def test_small_charset_on_mariadb(
    driver: str,
    tmp_path: Path,
    mysql_server: servers.MySQL,
    require_driver: t.Callable[[str], None],
) -> None:
    """Over a connection of three-byte characters a revision runs, and is resumed, and is logged."""
    require_driver(driver)
    with mysql_server.database(driver) as url:
        project = begin(tmp_path, f"{url}?charset=utf8")
        write(project, MAKE, ADD, FAIL)
        said = project.fails("upgrade", exit_code=4)
        assert f"done       ALTER TABLE tür ADD COLUMN a INTEGER /* {ROCKET} */ (line 9)" in said
        write(project, MAKE, ADD)
        project.db("upgrade")
        failed, applied = log(project)
        assert (failed[:2], applied) == ((FLY, "failed"), (FLY, "ok", ""))
        assert "missing' doesn't exist" in failed[2]


@pytest.mark.parametrize("driver", servers.drivers_of("postgresql"))
def test_small_encoding_on_postgresql(
    driver: str,
    tmp_path: Path,
    postgresql_server: servers.PostgreSQL,
    require_driver: t.Callable[[str], None],
) -> None:
    """A database in LATIN1 has a log, and a journal, of what it does not know all characters of."""
    require_driver(driver)
    with postgresql_server.database(driver) as url:
        name = f'"{sa.make_url(url).database}"'
        postgresql_server.execute(
            f"DROP DATABASE {name}",
            f"CREATE DATABASE {name} OWNER {servers.USER} ENCODING 'LATIN1' LC_COLLATE 'C' "
            "LC_CTYPE 'C' TEMPLATE template0",
        )
        project = begin(tmp_path, url)
        block = "with op.get_context().autocommit_block():"
        index = "    op.create_index('ümlaut', 'tür', ['id'], postgresql_concurrently=True)"
        write(project, MAKE, block, index, f"raise ValueError({ROCKET!r} + chr(0))")
        said = project.fails("upgrade", exit_code=4)
        assert 'done       CREATE INDEX CONCURRENTLY "ümlaut" ON "tür" (id) (line 10)' in said
        write(project, MAKE, block, index)
        project.db("upgrade")
        failed, applied = log(project)
        assert (failed[:2], applied) == ((FLY, "failed"), (FLY, "ok", ""))
        assert rf"ValueError: {ROCKET}\x00" in failed[2]


@pytest.mark.parametrize("url", ["sqlite_url", "mysql_url", "postgresql_url"])
def test_characters_of_no_database(
    url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """An error with NUL, or with half a character, is in the log."""
    project = begin(tmp_path, request.getfixturevalue(url))
    write(project, r"raise ValueError('\0\udc80\U0001f680')")
    project.fails("upgrade", exit_code=1)
    ((message, _, error),) = log(project)
    assert message == FLY
    assert rf"ValueError: \x00\udc80{ROCKET}" in error


def test_another_session_executes_what_the_connection_cannot_carry(
    tmp_path: Path, postgresql_url: str
) -> None:
    """A half-applied revision is resumed whatever others execute meanwhile."""
    project = begin(tmp_path, f"{postgresql_url}?client_encoding=latin1")
    block = [
        "with op.get_context().autocommit_block():",
        "    op.execute('CREATE TABLE t (n int)')",
    ]
    write(project, *block, FAIL)
    project.fails("upgrade", exit_code=4)
    engine = sa.create_engine(postgresql_url, poolclass=sa.NullPool)

    def wait() -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_lock(1) /* {ROCKET} */")

    with ThreadPoolExecutor() as pool, engine.connect() as holder:
        holder.exec_driver_sql("SELECT pg_advisory_lock(1)")
        waits = pool.submit(wait)
        wait_until(lambda: project.query(WAITING) == [(1,)])
        write(project, *block)
        project.db("upgrade")
    waits.result()


def test_a_message_in_quotation_marks(tmp_path: Path, sqlite_url: str) -> None:
    """A text that looks as one that is written for a small connection is in the log as it is."""
    project = begin(tmp_path, sqlite_url)
    path = project.revision("aaa")
    path.write_text(path.read_text().replace('"""revision aaa"""', "'\"fly\"'", 1))
    project.db("upgrade")
    assert log(project) == [('"fly"', "ok", "")]
