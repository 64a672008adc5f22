"""What MySQL itself does in another way than MariaDB, and what both ask of their drivers."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
import re
import sys
import tempfile
import typing as t

from harness import Application
from harness import execute
from harness import LEGACY_ENV_PY
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import DatabaseAccessError
from flask_dbmigrate import HalfAppliedError
from flask_dbmigrate import Listener

Start = Callable[..., Application]
TABLE = "op.create_table('t', sa.Column('id', sa.Integer))"


@pytest.fixture
def url(oracle_mysql_server: servers.MySQL) -> Iterator[str]:
    """A new database of MySQL itself."""
    with oracle_mysql_server.database("mysqlclient") as found:
        yield found


def test_version(oracle_mysql_server: servers.MySQL) -> None:
    """It is really MySQL."""
    with sa.create_engine(oracle_mysql_server.url, poolclass=sa.NullPool).connect() as connection:
        assert not getattr(connection.dialect, "is_mariadb", True)
        assert (connection.dialect.server_version_info or ()) >= (9, 7)


@pytest.mark.parametrize("multidb", [False, True])
def test_first_upgrade_without_a_log(start: Start, url: str, tmp_path: Path, multidb: bool) -> None:
    """Nobody can create a table there before the transaction ends that has looked for it."""
    application = start(url=url)
    application.app.config["DBMIGRATE_LOG"] = False
    if multidb:  # in a transaction of env.py's
        Path("migrations/env.py").write_text(
            LEGACY_ENV_PY.replace(
                "with db.engine.connect() as connection", "with db.engine.begin() as connection"
            )
        )
    project = Project(tmp_path, url)
    project.revision("aaa", upgrade=[TABLE])
    assert flask_dbmigrate.upgrade().databases[0].after == ("aaa",)
    assert flask_dbmigrate.downgrade().databases[0].after == ()


class Awaiting(Listener):
    """Notes which statements are awaited."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def statement_awaited(self, database: str, statement: str) -> None:
        self.statements.append(statement)


def test_rollback_after_the_client_is_gone(
    start: Start, oracle_mysql_server: servers.MySQL, tmp_path: Path
) -> None:
    """A run waits until what another one has not committed is rolled back: MariaDB shows that."""
    with oracle_mysql_server.database("pymysql") as found:
        url = oracle_mysql_server.url.set(database=sa.make_url(found).database).render_as_string(
            False
        )
        execute(
            url,
            "CREATE TABLE big (id INTEGER AUTO_INCREMENT PRIMARY KEY, a VARCHAR(100))",
            "INSERT INTO big (a) VALUES ('x'), ('y')",
            *["INSERT INTO big (a) SELECT REPEAT('x', 100) FROM big"] * 16,
        )
        start(url=url)
        project = Project(tmp_path, url)
        update = "UPDATE big SET a = CONCAT('y', id)"
        project.revision("aaa", upgrade=[TABLE, f"op.execute({update!r})", f"op.execute({GONE!r})"])
        with client_gone_at(GONE), pytest.raises(HalfAppliedError):
            flask_dbmigrate.upgrade()
        listener = Awaiting()
        flask_dbmigrate.upgrade(listener=listener)
    (awaited,) = listener.statements
    assert re.fullmatch(r"the rollback of connection \d+|connection \d+ .*", awaited)


GONE = "SELECT 'the client is gone'"


@contextmanager
def client_gone_at(statement: str) -> Iterator[None]:
    """Cut a connection of PyMySQL off before a statement, as the end of its process does."""

    def cut_off(connection: sa.Connection, _: object, executed: str, *__: object) -> None:
        if executed == statement:
            t.cast(t.Any, connection.connection.driver_connection)._force_close()

    sa.event.listen(sa.Engine, "before_cursor_execute", cut_off)
    yield
    sa.event.remove(sa.Engine, "before_cursor_execute", cut_off)


@pytest.mark.parametrize(
    ("driver", "query"), [("pymysql", "?ssl_disabled=true"), ("aiomysql", ""), ("asyncmy", "")]
)
@pytest.mark.parametrize("env_py", [None, LEGACY_ENV_PY], ids=["ours", "legacy"])
def test_driver_that_lacks_a_package(
    start: Start,
    oracle_mysql_server: servers.MySQL,
    monkeypatch: pytest.MonkeyPatch,
    driver: str,
    query: str,
    env_py: str | None,
) -> None:
    """Which one is said at once: no waiting brings it, and the script is not at fault."""
    for module in ("pymysql._auth", "asyncmy.auth"):
        monkeypatch.setattr(import_module(module), "_have_cryptography", False)
    with oracle_mysql_server.database(driver) as url:
        oracle_mysql_server.execute("FLUSH PRIVILEGES")  # or it knows the password already
        start(url=url + query)
        if env_py is not None:
            Path("migrations/env.py").write_text(env_py)
        with pytest.raises(DatabaseAccessError, match="'cryptography' package") as caught:
            flask_dbmigrate.upgrade(wait=600)
    assert caught.value.hint.startswith(
        "Install the package 'cryptography', which the driver needs"
    )
    assert caught.value.exit_code == 2


@pytest.fixture(scope="module")
def ed25519_server(request: pytest.FixtureRequest) -> Iterator[servers.MySQL]:
    """A MariaDB server with a plugin for passwords."""
    with tempfile.TemporaryDirectory() as folder, servers.own_mysql(Path(folder)) as server:
        server.execute("INSTALL SONAME 'auth_ed25519'")
        yield server


@contextmanager
def signing(server: servers.MySQL, driver: str) -> Iterator[str]:
    """Create a database for a user of that plugin."""
    with server.database(driver) as found:
        server.execute(
            "CREATE OR REPLACE USER signer@localhost IDENTIFIED VIA ed25519 "
            "USING PASSWORD('secret')"
        )
        url = sa.make_url(found).set(username="signer", password="secret")
        yield url.render_as_string(hide_password=False)


@pytest.mark.parametrize("driver", ["pymysql", "asyncmy"])
def test_driver_that_lacks_a_package_on_mariadb(
    start: Start, ed25519_server: servers.MySQL, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    """The same where MariaDB wants 'ed25519'."""
    monkeypatch.setitem(sys.modules, "nacl", None)  # it cannot be imported
    with signing(ed25519_server, driver) as url:
        start(url=url)
        with pytest.raises(DatabaseAccessError, match="'pynacl' package is required") as caught:
            flask_dbmigrate.upgrade(wait=600)
    assert caught.value.hint.startswith("Install the package 'pynacl'")


def test_driver_that_does_not_know_the_plugin(start: Start, ed25519_server: servers.MySQL) -> None:
    """aiomysql does not know 'ed25519' at all."""
    with signing(ed25519_server, "aiomysql") as url:
        start(url=url)
        with pytest.raises(DatabaseAccessError, match="not configured") as caught:
            flask_dbmigrate.upgrade(wait=600)
    assert caught.value.hint.startswith("Use a driver that knows it, or correct")
