"""A server that is down, refuses the password or lacks the database; a revision that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import re
import ssl
import typing as t

from flask import Flask
from harness import Project
import psycopg
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import DatabaseAccessError
from flask_dbmigrate import DatabaseUnavailableError
from flask_dbmigrate import DBMigrateError
from flask_dbmigrate import Migrate
from flask_dbmigrate.dialects import ConnectionProblem
from flask_dbmigrate.dialects import facts_of

MakeApplication = Callable[..., t.Any]


def fails(make_application: MakeApplication, url: sa.URL | str) -> tuple[DBMigrateError, str, int]:
    """Upgrade such a database: the error, and stderr and exit code of the command line."""
    if isinstance(url, sa.URL):
        url = url.render_as_string(hide_password=False)
    app = make_application(url=url).app
    with app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(DBMigrateError, match=r"^Database 'default' \(.*\.$") as caught:
            flask_dbmigrate.upgrade()
    result = app.test_cli_runner().invoke(args=["db", "upgrade", "--wait", "0"], prog_name="flask")
    assert result.stdout == ""
    return caught.value, result.stderr, result.exit_code


@pytest.mark.parametrize(
    "drivername",
    [
        *("postgresql+psycopg", "postgresql+psycopg2", "postgresql+pg8000", "postgresql+asyncpg"),
        *("postgres", "mysql+pymysql", "mariadb+pymysql", "mysql+aiomysql", "mysql+asyncmy"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_server_that_is_down(make_application: MakeApplication, drivername: str, host: str) -> None:
    """A server that does not answer is named by its URL without the password."""
    url = sa.URL.create(drivername, "user", servers.PASSWORD, host, servers.free_port(), "shop")
    error, stderr, exit_code = fails(make_application, url)
    options = "?charset=utf8mb4" if drivername.startswith("mysql") else ""  # Flask-SQLAlchemy's
    safe = f"{drivername}://user:***@{host}:{url.port}/shop{options}"
    assert isinstance(error, DatabaseUnavailableError)
    assert (exit_code, error.url) == (69, safe)
    assert error.message.startswith(f"Database 'default' ('{safe}') cannot be reached: ")
    assert "refused" in error.message
    assert error.hint == "Start it, or correct 'SQLALCHEMY_DATABASE_URI'."
    assert stderr == f"Error: {error.message}\n{error.hint}\n"


@pytest.mark.parametrize(
    "drivername",
    ["postgresql+psycopg", "postgresql+psycopg2", "postgresql+pg8000", "postgresql+asyncpg"],
)
def test_wrong_password_on_postgresql(
    make_application: MakeApplication, strict_postgresql_url: sa.URL, drivername: str
) -> None:
    """PostgreSQL's refusal of a password is quoted, and the setting is named."""
    url = strict_postgresql_url.set(drivername=drivername, password="wr0ng@")
    error, stderr, exit_code = fails(make_application, url)
    safe = f"{drivername}://admin:***@127.0.0.1:{url.port}/postgres"
    assert isinstance(error, DatabaseAccessError)
    assert (exit_code, error.url) == (2, safe)
    assert error.message == (
        f"Database 'default' ('{safe}') refuses the user or the password: "
        'password authentication failed for user "admin".'
    )
    assert error.hint == "Correct the user and the password in 'SQLALCHEMY_DATABASE_URI'."
    assert stderr == f"Error: {error.message}\n{error.hint}\n"


@pytest.mark.parametrize(
    "drivername",
    ["postgresql+psycopg", "postgresql+psycopg2", "postgresql+pg8000", "postgresql+asyncpg"],
)
def test_missing_password_on_postgresql(
    make_application: MakeApplication, strict_postgresql_url: sa.URL, drivername: str
) -> None:
    """A URL without the password that the server wants is a matter of credentials."""
    url = sa.URL.create(
        drivername,
        "admin",
        host="127.0.0.1",
        port=strict_postgresql_url.port,
        database="postgres",
    )
    error, _, exit_code = fails(make_application, url)
    assert (type(error), exit_code) == (DatabaseAccessError, 2)
    assert re.search("no password supplied|password authentication failed", error.message)


@pytest.mark.parametrize(
    "drivername",
    ["postgresql+psycopg", "postgresql+psycopg2", "postgresql+pg8000", "postgresql+asyncpg"],
)
def test_missing_database_on_postgresql(
    make_application: MakeApplication, strict_postgresql_url: sa.URL, drivername: str
) -> None:
    """A database that PostgreSQL has not is named, and how to go on."""
    url = strict_postgresql_url.set(drivername=drivername, database="missing")
    error, stderr, exit_code = fails(make_application, url)
    safe = f"{drivername}://admin:***@127.0.0.1:{url.port}/missing"
    assert isinstance(error, DatabaseAccessError)
    assert (exit_code, error.url) == (2, safe)
    assert error.message == (
        f"Database 'default' ('{safe}') does not exist on its server: "
        'database "missing" does not exist.'
    )
    assert error.hint == "Create it, or correct its name in 'SQLALCHEMY_DATABASE_URI'."
    assert stderr == f"Error: {error.message}\n{error.hint}\n"


def test_wrong_password_on_mariadb(make_application: MakeApplication, mysql_url: str) -> None:
    """MariaDB's refusal of a password is quoted, and the setting is named."""
    url = sa.make_url(mysql_url).set(password="wr0ng@")
    error, stderr, exit_code = fails(make_application, url)
    safe = f"{url.render_as_string(hide_password=True)}?charset=utf8mb4"
    assert isinstance(error, DatabaseAccessError)
    assert (exit_code, error.url) == (2, safe)
    assert error.message.startswith(
        f"Database 'default' ('{safe}') refuses the user or the password: "
        f"Access denied for user '{servers.USER}'@"
    )
    assert stderr == f"Error: {error.message}\n{error.hint}\n"


def test_missing_database_on_mariadb(
    make_application: MakeApplication, mysql_server: servers.MySQL
) -> None:
    """A database that MariaDB has not is named, and how to go on."""
    url = mysql_server.url.set(database="dbmigrate_missing")
    error, stderr, exit_code = fails(make_application, url)
    assert isinstance(error, DatabaseAccessError)
    assert exit_code == 2
    assert error.message == (
        f"Database 'default' ('{error.url}') does not exist on its server: "
        "Unknown database 'dbmigrate_missing'."
    )
    assert error.hint == "Create it, or correct its name in 'SQLALCHEMY_DATABASE_URI'."
    assert stderr == f"Error: {error.message}\n{error.hint}\n"


SAID = {
    "sqlite": "no such table: missing",
    "postgresql": 'relation "missing" does not exist',
    "mysql": "Table '{database}.missing' doesn't exist",
}
HALF_APPLIED = """ The revision is half-applied:
    done       CREATE TABLE two ( id INTEGER ) (line {before})
    not done   execute INSERT INTO missing VALUES (1) (line {line})"""


def test_revision_that_fails(
    make_application: MakeApplication, database_url: str, tmp_path: Path
) -> None:
    """A failure says the same on all drivers of a DBMS: where, its words, and what is done."""
    app = make_application(url=database_url).app
    project = Project(tmp_path, database_url)
    with app.app_context():
        flask_dbmigrate.init()
        project.revision("aaa", upgrade=["op.create_table('one', sa.Column('id', sa.Integer))"])
        path = project.revision(
            "bbb",
            "aaa",
            upgrade=[
                "op.create_table('two', sa.Column('id', sa.Integer))",
                "op.execute('INSERT INTO missing VALUES (1)')",
            ],
        )
        with pytest.raises(DBMigrateError, match=r"^Revision 'bbb' failed ") as caught:
            flask_dbmigrate.upgrade()
    url = sa.make_url(database_url)
    backend = url.get_backend_name()
    before = path.read_text().splitlines().index("    op.execute('INSERT INTO missing VALUES (1)')")
    line = before + 1
    said = SAID[backend].format(database=url.database)
    half_applied = HALF_APPLIED.format(before=before, line=line) if backend == "mysql" else ""
    assert caught.value.message == (
        f"Revision 'bbb' failed on database 'default' (migrations/versions/bbb_.py, "
        f"line {line}): {said}. The statement was: INSERT INTO missing VALUES (1). "
        f"The database is at 'aaa' now.{half_applied}"
    )
    assert project.query("SELECT version_num FROM alembic_version") == [("aaa",)]
    assert project.tables() == ({"one", "two"} if backend == "mysql" else {"one"})


def test_one_of_two_servers_is_down(
    make_application: MakeApplication, sqlite_url: str, tmp_path: Path
) -> None:
    """With several databases the message names the one that cannot be reached."""
    down = f"postgresql+psycopg://user:secret@127.0.0.1:{servers.free_port()}/shop"
    app = make_application(binds={"reports": down}).app
    with app.app_context():
        flask_dbmigrate.init(multidb=True)
        with pytest.raises(DatabaseUnavailableError, match=r"^Database 'reports' ") as caught:
            flask_dbmigrate.upgrade()
    assert caught.value.hint == "Start it, or correct 'SQLALCHEMY_BINDS'."


ENCRYPTED: dict[str, dict[str, t.Any]] = {
    "psycopg": {"sslmode": "require"},
    "psycopg2": {"sslmode": "require"},
    "pg8000": {"ssl_context": True},
    "asyncpg": {"ssl": "require"},
    "pymysql": {"ssl": {"ssl": True}},
    "mysqlconnector": {"ssl_disabled": False, "ssl_verify_cert": True},
    "asyncmy": {"ssl": ssl.create_default_context()},
}
"""What makes a driver insist on encryption, which the servers of the tests do not have."""


@pytest.mark.parametrize("driver", ENCRYPTED)
def test_encryption_that_the_server_has_not(
    make_application: MakeApplication,
    strict_postgresql_url: sa.URL,
    mysql_server: servers.MySQL,
    require_driver: Callable[[str], None],
    driver: str,
) -> None:
    """A server that does not encrypt is there: nothing is to be started or waited for."""
    require_driver(driver)
    is_mysql = servers.backend_of(driver) == "mysql"
    url = (mysql_server.url if is_mysql else strict_postgresql_url).set(
        drivername=servers.DRIVERS[driver]
    )
    application = make_application(url=url.render_as_string(False))
    with application.app.app_context():
        engine = application.db.engine
        sa.event.listen(engine, "do_connect", lambda *given: given[-1].update(ENCRYPTED[driver]))
        flask_dbmigrate.init()
        with pytest.raises(DatabaseAccessError, match="does not agree on encryption: ") as caught:
            flask_dbmigrate.upgrade(wait=600)
    assert "SSL" in caught.value.message
    assert caught.value.hint == (
        "Correct what 'SQLALCHEMY_DATABASE_URI' says of SSL, or how the server is set up."
    )


@pytest.mark.parametrize(
    ("said", "is_about_it"),
    [
        ('no pg_hba.conf entry for host "::1", user "a", database "b", no encryption', True),
        ('no pg_hba.conf entry for host "::1", user "a", database "b", SSL off', True),
        ('no pg_hba.conf entry for host "::1", user "a", database "b", SSL encryption', False),
        ("SSL error: certificate verify failed", True),
        ('root certificate file "/nowhere" does not exist', True),
        ("SSL connection has been closed unexpectedly", False),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", True),
        ("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol", False),
    ],
)
def test_words_about_encryption(said: str, is_about_it: bool) -> None:
    """Servers and libraries that the tests have not say it in these words."""
    problem = facts_of("postgresql").connection_problem(Exception(said))
    assert (problem is ConnectionProblem.ENCRYPTION) is is_about_it


SECRETS = [
    "cannot open postgresql://me:s3cr3t-p@ss@db/shop",
    "no answer with password=s3cr3t-p@ss&host=db",
    "no answer with user=me Password='s3cr3t-p@ss and more' host=db",
]


@pytest.mark.parametrize("text", SECRETS)
@pytest.mark.parametrize("kind", [RuntimeError, ConnectionError, psycopg.OperationalError])
def test_text_of_a_creator(
    make_application: MakeApplication, text: str, kind: type[Exception]
) -> None:
    """The password in what a ``creator`` says is not that of the URL, and is not shown either."""

    def create() -> None:
        raise kind(text)

    application = make_application()
    app = Flask("with a creator")
    engine = sa.create_engine("postgresql+psycopg://db/shop", creator=create)
    Migrate(app, metadata=application.db.metadata, engine=engine, directory="creating")
    with app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(DBMigrateError) as caught:
            flask_dbmigrate.upgrade()
    assert "***" in caught.value.message
    assert "s3cr3t" not in caught.value.message
    assert "db" in caught.value.message
