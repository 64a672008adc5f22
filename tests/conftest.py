"""What all tests share: servers, databases, projects, applications in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import nullcontext
from pathlib import Path
import ssl
import tempfile
import typing as t

from flask import Flask
from flask import has_app_context
from flask_sqlalchemy import SQLAlchemy
from harness import Application
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate.cli import garbage

CHECKOUT = Path(__file__).parent.parent
SLOW = {
    *("compat", "e2e", "packaging"),
    "integration/test_asyncio.py",
    "integration/test_autocommit.py",
    "integration/test_beside_other_runs.py",
    "integration/test_characters.py",
    "integration/test_check.py",
    "integration/test_downgrade_guard.py",
    "integration/test_edited.py",
    "integration/test_environment.py",
    "integration/test_error_words.py",
    "integration/test_foreign_tables.py",
    "integration/test_half_applied.py",
    "integration/test_journal_hostile.py",
    "integration/test_lock_timeouts.py",
    "integration/test_log.py",
    "integration/test_lost_connections.py",
    "integration/test_main_job.py",
    "integration/test_memory.py",
    "integration/test_own_tables.py",
    "integration/test_read_only.py",
    "integration/test_same_differences.py",
    "integration/test_separate_connection.py",
    "integration/test_several_databases.py",
    "integration/test_several_migrates.py",
    "integration/test_statement_counts.py",
    "integration/test_waiting.py",
}
"""The folders and modules whose tests get the mark ``slow``: without them it takes a minute."""
EXPENSIVE = (
    *("releases", "replica_url", "strict_postgresql_url"),
    *("read_only_mysql_server", "oracle_mysql_server"),
)
"""Fixtures of a session or module; where tests run in several processes, one of them has it."""
DRIVERS = [driver for driver in servers.DRIVERS if driver != "heroku"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-databases",
        action="store_true",
        help="fail where a server or a driver is missing, or where the checkout itself is tested",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--require-databases"):
        package = Path(flask_dbmigrate.__file__)
        if CHECKOUT / "flask_dbmigrate" in package.parents:
            raise pytest.UsageError(f"install the package: it is imported from '{package}'")


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = item.path.relative_to(CHECKOUT / "tests")
        if SLOW & {path.parts[0], path.as_posix()}:
            item.add_marker("slow")
        for name in EXPENSIVE:
            if isinstance(item, pytest.Function) and name in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(autouse=True)
def _no_context_left_behind() -> Iterator[None]:
    yield
    assert not has_app_context(), "the test left an application context pushed"


@pytest.fixture(scope="session", autouse=True)
def _no_authorities() -> Iterator[None]:
    """No server has a certificate of theirs, and PyMySQL loads all for each connection: 25 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)
        yield


@pytest.fixture(autouse=True)
def _garbage_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command in this process does not look at the objects of all tests: that takes 70 ms."""
    monkeypatch.setattr(garbage, "out_of_the_way", nullcontext)


ServerT = t.TypeVar("ServerT")


@contextmanager
def _required(request: pytest.FixtureRequest) -> Iterator[None]:
    try:
        yield
    except (servers.NoServerError, servers.NoDriverError) as error:
        if request.config.getoption("--require-databases"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def _server(
    request: pytest.FixtureRequest,
    open_server: t.Callable[[Path], t.ContextManager[ServerT]],
) -> Iterator[ServerT]:
    # not below pytest's own folder: another session closes that to the server's account
    with (
        _required(request),
        tempfile.TemporaryDirectory() as folder,
        open_server(Path(folder)) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def postgresql_server(request: pytest.FixtureRequest) -> Iterator[servers.PostgreSQL]:
    """A PostgreSQL server."""
    yield from _server(request, servers.postgresql)


@pytest.fixture(scope="session")
def strict_postgresql_url(request: pytest.FixtureRequest) -> Iterator[sa.URL]:
    """An administrator's URL of a PostgreSQL server that checks passwords."""
    yield from _server(request, servers.own_postgresql)


@pytest.fixture(scope="session")
def pgbouncer_port(
    request: pytest.FixtureRequest, postgresql_server: servers.PostgreSQL
) -> Iterator[int]:
    """The port of a PgBouncer in transaction mode before the PostgreSQL server."""
    yield from _server(request, lambda folder: servers.pgbouncer(folder, postgresql_server))


@pytest.fixture(scope="session")
def statement_mode_port(
    request: pytest.FixtureRequest, postgresql_server: servers.PostgreSQL
) -> Iterator[int]:
    """The port of a PgBouncer in statement mode before the PostgreSQL server."""
    yield from _server(
        request,
        lambda folder: servers.pgbouncer(folder, postgresql_server, pool_mode="statement"),
    )


@pytest.fixture(scope="session")
def replica_url(request: pytest.FixtureRequest) -> Iterator[sa.URL]:
    """An administrator's URL of a PostgreSQL replica whose database is at the revision ``aaa``."""
    statements = (
        "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('aaa')",
    )
    yield from _server(request, lambda folder: servers.postgresql_replica(folder, *statements))


@pytest.fixture(scope="session")
def read_only_mysql_server(request: pytest.FixtureRequest) -> Iterator[servers.MySQL]:
    """A MariaDB server with ``read_only``, which does not hold for its administrator."""
    yield from _server(request, lambda folder: servers.own_mysql(folder, "--read-only"))


@pytest.fixture(scope="session")
def own_mysql_server(request: pytest.FixtureRequest) -> Iterator[servers.MySQL]:
    """A MariaDB server for a test that locks all of it."""
    yield from _server(request, servers.own_mysql)


@pytest.fixture(scope="session")
def mysql_server(request: pytest.FixtureRequest) -> Iterator[servers.MySQL]:
    """A MariaDB or MySQL server."""
    yield from _server(request, servers.mysql)


@pytest.fixture(scope="session")
def oracle_mysql_server(request: pytest.FixtureRequest) -> Iterator[servers.MySQL]:
    """A server of MySQL itself; it cannot be had everywhere, so it is never required."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        try:
            server = stack.enter_context(servers.oracle_mysql(Path(folder)))
        except servers.NoServerError as error:
            pytest.skip(str(error))
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A new SQLite database, in a file."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def postgresql_url(postgresql_server: servers.PostgreSQL) -> Iterator[str]:
    """A new PostgreSQL database."""
    with postgresql_server.database("psycopg") as url:
        yield url


@pytest.fixture
def mysql_url(mysql_server: servers.MySQL) -> Iterator[str]:
    """A new MariaDB database."""
    with mysql_server.database("pymysql") as url:
        yield url


@pytest.fixture
def require_driver(request: pytest.FixtureRequest) -> t.Callable[[str], None]:
    """Skips the test if a driver is not installed."""

    def require(driver: str) -> None:
        with _required(request):
            servers.require_driver(driver)

    return require


@pytest.fixture(params=DRIVERS)
def database_url(
    request: pytest.FixtureRequest, require_driver: t.Callable[[str], None]
) -> Iterator[str]:
    """A new database, once for each driver."""
    driver: str = request.param
    require_driver(driver)
    backend = servers.backend_of(driver)
    if backend == "sqlite":
        url: str = request.getfixturevalue("sqlite_url")
        yield url.replace("sqlite", servers.DRIVERS[driver], 1)
        return
    server: servers.Server = request.getfixturevalue(f"{backend}_server")
    with server.database(driver) as url:
        yield url


@pytest.fixture
def project(tmp_path: Path, sqlite_url: str) -> Project:
    """A project on SQLite with one model, before ``flask db init``."""
    return Project(tmp_path / "project", sqlite_url)


@pytest.fixture
def new_project(project: Project) -> Project:
    """A project on SQLite with one model, after ``flask db init``."""
    project.db("init")
    return project


@pytest.fixture
def make_application(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[t.Callable[..., Application]]:
    """Builds applications with one model, and makes a new folder the working directory."""
    monkeypatch.chdir(tmp_path)
    made: list[Application] = []

    def make(
        name: str = "application",
        *,
        url: str = sqlite_url,
        binds: dict[str, str] | None = None,
        **arguments: t.Any,
    ) -> Application:
        app = Flask(name, root_path=str(tmp_path / name))
        app.config["SQLALCHEMY_DATABASE_URI"] = url
        app.config["SQLALCHEMY_BINDS"] = binds or {}
        db = SQLAlchemy(app)
        db.Table(
            "user", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(128))
        )
        for key in binds or {}:
            db.Table("item", sa.Column("id", sa.Integer, primary_key=True), bind_key=key)
        made.append(Application(app, db, flask_dbmigrate.Migrate(app, db, **arguments)))
        return made[-1]

    yield make
    for application in made:
        with application.app.app_context():
            for engine in application.db.engines.values():
                engine.dispose()


@pytest.fixture
def application(make_application: t.Callable[..., Application]) -> Application:
    """An application on SQLite with one model."""
    return make_application()


@pytest.fixture
def start(make_application: t.Callable[..., Application]) -> Iterator[t.Callable[..., Application]]:
    """Starts an application, pushes its context, and makes its migration directory."""
    with ExitStack() as stack:

        def begin(**arguments: t.Any) -> Application:
            application = make_application(**arguments)
            stack.enter_context(application.app.app_context())
            flask_dbmigrate.init()
            return application

        yield begin
