"""The connection beside the application's pool: for the lock, and for the log of a failure."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import typing as t

from harness import wait_until
import pytest
import servers
import sqlalchemy as sa

from flask_dbmigrate.dialects import separate_connection
from flask_dbmigrate.runtime.connection import run_with_event_loop

SESSIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = :name",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = :name",
}


class Place(t.NamedTuple):
    """A new database on a server."""

    url: sa.URL
    server: servers.Server

    def sessions(self) -> int:
        """Count who is connected to it."""
        engine = sa.create_engine(self.server.url, poolclass=sa.NullPool)
        statement = sa.text(SESSIONS[self.url.get_backend_name()])
        with engine.connect() as connection:
            return int(connection.scalar(statement, {"name": self.url.database}))


@pytest.fixture(params=[driver for backend in SESSIONS for driver in servers.drivers_of(backend)])
def place(request: pytest.FixtureRequest, require_driver: Callable[[str], None]) -> Iterator[Place]:
    """A new database on a server, once for each driver."""
    require_driver(request.param)
    server: servers.Server = request.getfixturevalue(f"{servers.backend_of(request.param)}_server")
    with server.database(request.param) as url:
        yield Place(sa.make_url(url), server)


def test_beside_a_pool_with_one_place(place: Place) -> None:
    """It needs no place in the pool."""
    engine = sa.create_engine(place.url, pool_size=1, max_overflow=0, pool_timeout=0)

    def work() -> None:
        with engine.connect(), separate_connection(engine) as separate:
            assert (separate.scalar(sa.text("SELECT 1")), place.sessions()) == (1, 2)
        engine.dispose()

    run_with_event_loop(work, [engine])


def test_it_is_closed(place: Place) -> None:
    """It is closed in the end, also if it could not be made as it was asked for."""
    engine = sa.create_engine(place.url)

    def work() -> None:
        with separate_connection(engine):
            assert place.sessions() == 1
        wrong = separate_connection(engine, isolation_level="WRONG")
        with pytest.raises(sa.exc.ArgumentError, match="'WRONG'"), wrong:
            pass

    run_with_event_loop(work, [engine])
    wait_until(lambda: place.sessions() == 0)


def test_beside_a_pool_of_one_connection(postgresql_url: str) -> None:
    """Where all of an application share one connection, it is still another one."""
    engine = sa.create_engine(postgresql_url, poolclass=sa.StaticPool)
    statement = sa.text("SELECT pg_backend_pid()")
    with engine.connect() as connection, separate_connection(engine) as separate:
        assert connection.scalar(statement) != separate.scalar(statement)
    engine.dispose()
