"""A database that cannot be written to is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import Application
from harness import LEGACY_ENV_PY
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import ReadOnlyDatabaseError

Start = Callable[..., Application]

QUESTIONS = ("transaction_read_only", "pg_is_in_recovery", "SHOW GRANTS")

COMMANDS: dict[str, Callable[[], object]] = {
    "upgrade": flask_dbmigrate.upgrade,
    "upgrade without a lock": lambda: flask_dbmigrate.upgrade(lock=False),
    "downgrade": flask_dbmigrate.downgrade,
    "stamp": flask_dbmigrate.stamp,
    "ensure_version": flask_dbmigrate.ensure_version,
}


@contextmanager
def questions() -> Iterator[list[str]]:
    """Notes what is asked to find out whether a database can be written to."""
    asked: list[str] = []

    def note(_: object, cursor: object, statement: str, *rest: object) -> None:
        if any(question in statement for question in QUESTIONS):
            asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def begin(start: Start, url: sa.URL | str, folder: Path, *revisions: str) -> Project:
    """Make a migration directory with these revisions, one after the other."""
    text = sa.make_url(url).render_as_string(hide_password=False)
    start(url=text)
    project = Project(folder, text)
    for before, revision in zip([None, *revisions], revisions, strict=False):
        project.revision(revision, before)
    return project


@pytest.mark.parametrize("env_py", [None, LEGACY_ENV_PY], ids=["ours", "legacy"])
@pytest.mark.parametrize("command", COMMANDS)
def test_replica(
    start: Start, replica_url: sa.URL, tmp_path: Path, command: str, env_py: str | None
) -> None:
    """A replica of PostgreSQL is refused with a sentence, and the setting is named."""
    begin(start, replica_url, tmp_path, "aaa", "bbb")
    if env_py is not None:
        Path("migrations/env.py").write_text(env_py)
    with pytest.raises(ReadOnlyDatabaseError, match="'default' is a replica: it cannot") as caught:
        COMMANDS[command]()
    assert caught.value.hint == (
        "Let 'SQLALCHEMY_DATABASE_URI' lead to the primary, or set 'DBMIGRATE_URL', "
        "which is for migrations only."
    )
    assert caught.value.database == "default"


@pytest.mark.parametrize("driver", servers.drivers_of("postgresql"))
def test_drivers(
    start: Start,
    replica_url: sa.URL,
    tmp_path: Path,
    driver: str,
    require_driver: Callable[[str], None],
) -> None:
    """Each driver hears of it; ``DBMIGRATE_URL`` is named where it leads there."""
    require_driver(driver)
    url = replica_url.set(drivername=servers.DRIVERS[driver]).render_as_string(False)
    begin(start, "sqlite://", tmp_path, "aaa", "bbb")
    flask_dbmigrate.state.current_state().app.config["DBMIGRATE_URL"] = url
    with pytest.raises(ReadOnlyDatabaseError, match="is a replica") as caught:
        flask_dbmigrate.upgrade()
    assert caught.value.hint == "Let 'DBMIGRATE_URL' lead to the primary."


def test_nothing_pending_on_a_replica(start: Start, replica_url: sa.URL, tmp_path: Path) -> None:
    """A replica at the head needs no change: that is no error, and looking works."""
    migrate = start(url=replica_url.render_as_string(False)).migrate
    Project(tmp_path, "sqlite://").revision("aaa")
    with questions() as asked:
        assert flask_dbmigrate.upgrade().databases[0].steps == ()
    assert asked == []
    assert flask_dbmigrate.status().is_ok
    migrate.require_current()


def test_role_that_only_reads(start: Start, postgresql_url: str, tmp_path: Path) -> None:
    """A session of PostgreSQL that is read-only is refused although its server is none."""
    begin(start, f"{postgresql_url}?options=-c default_transaction_read_only=on", tmp_path, "aaa")
    with pytest.raises(ReadOnlyDatabaseError, match="'default' is read-only: it cannot") as caught:
        flask_dbmigrate.upgrade()
    assert caught.value.hint.startswith("Let 'SQLALCHEMY_DATABASE_URI' lead to one that can, or ")


@pytest.mark.parametrize("driver", servers.drivers_of("mysql"))
def test_read_only_server(
    start: Start,
    read_only_mysql_server: servers.MySQL,
    tmp_path: Path,
    driver: str,
    require_driver: Callable[[str], None],
) -> None:
    """MariaDB with ``read_only`` is refused for a user for whom that holds."""
    require_driver(driver)
    with read_only_mysql_server.database(driver) as url:
        begin(start, url, tmp_path, "aaa")
        with pytest.raises(ReadOnlyDatabaseError, match="'default' is read-only: it cannot"):
            flask_dbmigrate.upgrade()
        assert not flask_dbmigrate.status().is_ok


PRIVILEGE = "GRANT READ_ONLY ADMIN ON *.* TO"
WAYS = {
    "privilege": ([f"{PRIVILEGE} {{user}}"], ["REVOKE READ_ONLY ADMIN ON *.* FROM {user}"]),
    "role": (
        [
            "CREATE OR REPLACE ROLE writer",
            f"{PRIVILEGE} writer",
            "GRANT writer TO {user}",
            "SET DEFAULT ROLE writer FOR {user}",
        ],
        ["DROP ROLE IF EXISTS writer"],
    ),
}
"""How a user gets and loses the right to write to a server with ``read_only``."""


@pytest.mark.parametrize("way", WAYS)
def test_user_who_writes_anyway(
    start: Start, read_only_mysql_server: servers.MySQL, tmp_path: Path, way: str
) -> None:
    """Who may write in spite of ``read_only`` is not refused."""
    server = read_only_mysql_server
    users = [f"'{servers.USER}'@'{host}'" for host in ("localhost", "127.0.0.1")]
    given, taken = (
        [statement.format(user=user) for user in users for statement in statements]
        for statements in WAYS[way]
    )
    with server.database("pymysql") as url:
        server.execute(*given)
        try:
            begin(start, url, tmp_path, "aaa")
            assert flask_dbmigrate.upgrade().databases[0].after == ("aaa",)
        finally:
            server.execute(*taken)


def test_administrator_writes_anyway(
    start: Start, read_only_mysql_server: servers.MySQL, tmp_path: Path
) -> None:
    """Who has all privileges is not refused."""
    with read_only_mysql_server.database("pymysql") as url:
        database = sa.make_url(url).database
        begin(start, read_only_mysql_server.url.set(database=database), tmp_path, "aaa")
        assert flask_dbmigrate.upgrade().databases[0].after == ("aaa",)


@pytest.mark.parametrize("backend", ["postgresql", "mysql"])
def test_costs(start: Start, request: pytest.FixtureRequest, tmp_path: Path, backend: str) -> None:
    """It is one statement where something is pending, and none where nothing is."""
    begin(start, request.getfixturevalue(f"{backend}_url"), tmp_path, "aaa", "bbb")
    with questions() as asked:
        flask_dbmigrate.upgrade()
        assert len(asked) == 1
        flask_dbmigrate.upgrade()
        assert len(asked) == 1


def test_nothing_is_done_to_other_databases(
    start: Start, replica_url: sa.URL, tmp_path: Path, sqlite_url: str
) -> None:
    """Where one of several databases is a replica, the others are not touched."""
    start(binds={"other": replica_url.render_as_string(False)}, directory="two")
    flask_dbmigrate.init(directory="several", multidb=True)
    Project(tmp_path, sqlite_url).revision("bbb", directory="several")
    Project(tmp_path, sqlite_url).revision("aaa", directory="several")
    Project(tmp_path, sqlite_url).revision("bbb", "aaa", directory="several")
    with pytest.raises(ReadOnlyDatabaseError, match="Database 'other' is a replica") as caught:
        flask_dbmigrate.upgrade(directory="several")
    assert caught.value.hint == "Let 'SQLALCHEMY_BINDS' lead to the primary."
    assert Project(tmp_path, sqlite_url).inspect() == []
