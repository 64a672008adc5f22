"""Waiting for a database that is not there yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re
import select
import socket
import socketserver
import threading
import typing as t

from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import DatabaseAccessError
from flask_dbmigrate import DatabaseUnavailableError
from flask_dbmigrate import Listener


class Waiting(Listener):
    """Notes what is awaited, and does something then."""

    def __init__(self, then: t.Callable[[], None] = lambda: None) -> None:
        self.reasons: list[str] = []
        self.then = then

    def database_awaited(self, reason: str) -> None:
        self.reasons.append(reason)
        self.then()


class Relay(socketserver.ThreadingTCPServer):
    """A port that refuses connections until it is opened, and then leads to a server."""

    allow_reuse_address = True

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.port = servers.free_port()
        super().__init__(("127.0.0.1", self.port), Pump, bind_and_activate=False)

    def open(self) -> None:
        self.server_bind()
        self.server_activate()
        threading.Thread(target=self.serve_forever, args=(0.05,)).start()


class Pump(socketserver.BaseRequestHandler):
    """One connection through the relay."""

    def handle(self) -> None:
        assert isinstance(self.server, Relay)
        with socket.create_connection(self.server.target) as server:
            pair = (self.request, server)
            while True:
                for ready in select.select(pair, [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    pair[ready is pair[0]].sendall(data)


@pytest.fixture(params=["psycopg", "psycopg2", "pg8000", "asyncpg", "pymysql", "asyncmy"])
def relay(request: pytest.FixtureRequest) -> Iterator[tuple[Relay, str]]:
    """A relay to a new database, and the URL through it."""
    driver: str = request.param
    name = "mysql_server" if "my" in driver else "postgresql_server"
    server: servers.Server = request.getfixturevalue(name)
    with server.database(driver) as found:
        url = sa.make_url(found)
        relay = Relay(url.host or "", url.port or 0)
        yield relay, url.set(host="127.0.0.1", port=relay.port).render_as_string(False)
        relay.server_close()


@pytest.mark.parametrize("lock", [True, False])
def test_server_that_comes_up(
    make_application: t.Any, tmp_path: Path, relay: tuple[Relay, str], lock: bool
) -> None:
    """An upgrade waits while connections are refused, says so once, and goes on."""
    application = make_application(url=relay[1])
    listener = Waiting(then=relay[0].open)
    with application.app.app_context():
        flask_dbmigrate.init()
        Project(tmp_path, relay[1]).revision("aaa")
        done = flask_dbmigrate.upgrade(wait=20, listener=listener, lock=lock)
        for engine in application.db.engines.values():
            if not engine.dialect.is_async:
                engine.dispose()
        relay[0].shutdown()
    assert done.databases[0].after == ("aaa",)
    (reason,) = listener.reasons
    assert re.match(r"Database 'default' \(.*\) cannot be reached: ", reason)


def test_server_that_stays_down(make_application: t.Any, relay: tuple[Relay, str]) -> None:
    """When the time is over, it is an error like any other."""
    application = make_application(url=relay[1])
    listener = Waiting()
    with application.app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
            flask_dbmigrate.upgrade(wait=0.6, listener=listener)
        assert len(listener.reasons) == 1
        with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
            flask_dbmigrate.upgrade(listener=listener)
        assert len(listener.reasons) == 1, "the Python API does not wait by itself"


def test_wrong_password_is_not_awaited(
    make_application: t.Any, strict_postgresql_url: sa.URL
) -> None:
    """What waiting does not change is an error at once."""
    url = strict_postgresql_url.set(password="wrong")
    application = make_application(url=url.render_as_string(False))
    listener = Waiting()
    with application.app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(DatabaseAccessError, match="refuses the user or the password"):
            flask_dbmigrate.upgrade(wait=600, listener=listener)
    assert listener.reasons == []


def test_file_that_cannot_be_opened_is_not_awaited(make_application: t.Any) -> None:
    """An SQLite file does not come up by itself."""
    application = make_application(url="sqlite:////no/such/folder/test.db")
    with application.app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(DatabaseAccessError, match="cannot be used"):
            flask_dbmigrate.upgrade(wait=600)


def test_command_line(tmp_path: Path) -> None:
    """The command says that it waits, in one line, and exits with 69; ``--wait 0`` does not."""
    url = f"postgresql+psycopg://me:secret@127.0.0.1:{servers.free_port()}/one"
    project = Project(tmp_path / "project", url)
    project.db("init")
    project.revision("aaa")
    said = project.fails("upgrade", "--wait", "0.1", exit_code=69)
    first, error, hint = said.splitlines()
    assert first.startswith("Waiting. Database 'default' (")
    assert error.startswith("Error: Database 'default' (")
    assert hint.startswith("Start it, or correct")
    assert "Waiting" not in project.fails("upgrade", "--wait", "0", exit_code=69)
    assert "secret" not in said
