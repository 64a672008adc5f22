"""A password appears in no output, no log and no error."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import io
import logging
from pathlib import Path
import pickle
import typing as t
import urllib.parse

from alchemical.flask import Alchemical
from click.testing import Result
from flask import Flask
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import DBMigrateError

SECRET = "s3cr3t-p@ss"
FORMS = (SECRET, urllib.parse.quote(SECRET), urllib.parse.quote_plus(SECRET, safe="@"), "s3cr3t")

Commands = list[list[str]]

SUCCEEDING: Commands = [
    ["init"],
    ["current", "-v"],
    ["current", "-v", "--json"],
    ["migrate", "-m", "one", "--rev-id", "aaa", "--json"],
    ["upgrade", "--sql"],
    ["upgrade", "--json"],
    ["check", "--json"],
    ["current", "--verbose", "--check-heads"],
    ["history", "-i", "-v"],
    ["show", "current"],
    ["downgrade", "--json"],
    ["stamp", "head", "--json"],
    ["stamp", "head", "--sql"],
    ["ensure-version", "--json"],
    ["log", "--json"],
    ["status"],
    ["status", "--json"],
    ["list-templates"],
]

FAILING: Commands = [
    ["upgrade"],
    ["downgrade"],
    ["current", "-v"],
    ["check"],
    ["migrate"],
    ["stamp"],
    ["ensure-version"],
    ["log"],
    ["status"],
    ["history", "-i"],
    ["edit", "current"],
]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, at every level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def is_silent(text: str) -> bool:
    """Whether the secret is in no form in it."""
    return not any(form in text for form in FORMS)


def assert_silent(result: Result, what: t.Any) -> None:
    """Look for the secret in all that a command writes."""
    assert is_silent(result.stdout), what
    assert is_silent(result.stderr), what


@pytest.fixture
def secret_url(strict_postgresql_url: sa.URL) -> Iterator[str]:
    """A PostgreSQL database whose owner has the secret password."""
    engine = sa.create_engine(
        strict_postgresql_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE keeper LOGIN PASSWORD '{SECRET}'")
        connection.exec_driver_sql("CREATE DATABASE kept OWNER keeper")
    url = strict_postgresql_url.set(username="keeper", password=SECRET, database="kept")
    yield url.render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE kept WITH (FORCE)")
        connection.exec_driver_sql("DROP ROLE keeper")


def test_commands_that_succeed(
    make_application: Callable[..., t.Any], secret_url: str, log: io.StringIO
) -> None:
    """No command that succeeds shows the password, however much it is asked to show."""
    runner = make_application(url=secret_url).app.test_cli_runner()
    for arguments in SUCCEEDING:
        result = runner.invoke(args=["db", "--traceback", *arguments])
        assert result.exit_code == 0, result.output
        assert_silent(result, arguments)
    assert is_silent(log.getvalue())
    written = [path for path in Path("migrations").rglob("*") if path.is_file()]
    assert all(is_silent(path.read_text()) for path in written if path.suffix != ".pyc")


def test_revision_that_fails(
    make_application: Callable[..., t.Any], secret_url: str, log: io.StringIO, tmp_path: Path
) -> None:
    """A revision that fails shows no password, not even in its traceback."""
    app = make_application(url=secret_url).app
    runner = app.test_cli_runner()
    runner.invoke(args=["db", "init"])
    Project(tmp_path, secret_url).revision("aaa", upgrade=["op.drop_table('missing')"])
    for arguments in (["upgrade"], ["upgrade", "--traceback"], ["upgrade", "--json"]):
        result = runner.invoke(args=["db", *arguments])
        assert result.exit_code == 1
        assert_silent(result, arguments)
    with app.app_context(), pytest.raises(DBMigrateError, match="Revision 'aaa'") as caught:
        flask_dbmigrate.upgrade()
    assert is_silent(repr(caught.value) + str(caught.value) + repr(vars(caught.value)))
    assert is_silent(log.getvalue())


@pytest.mark.parametrize("what", ["url.render_as_string(hide_password=False)", "url.password"])
def test_log_of_a_revision_that_fails(
    make_application: Callable[..., t.Any], secret_url: str, tmp_path: Path, what: str
) -> None:
    """A password in an error does not get into the log table."""
    make_application(url=secret_url).app.test_cli_runner().invoke(args=["db", "init"])
    project = Project(tmp_path, secret_url)
    project.revision("aaa", upgrade=["url = op.get_bind().engine.url", f"raise OSError({what})"])
    app = make_application(url=secret_url).app
    app.test_cli_runner().invoke(args=["db", "upgrade"])
    ((error,),) = project.query("SELECT error FROM alembic_version_log")
    assert "***" in error
    assert is_silent(error)


def broken_urls() -> dict[str, str]:
    """URLs with the secret in them that lead nowhere."""
    quoted = urllib.parse.quote(SECRET)
    port = servers.free_port()
    place = f"127.0.0.1:{port}/shop"
    return {
        "psycopg": f"postgresql+psycopg://user:{quoted}@{place}",
        "psycopg2": f"postgresql+psycopg2://user:{quoted}@{place}",
        "heroku": f"postgres://user:{quoted}@{place}",
        "in the query": f"postgresql+psycopg://user@{place}?password={quoted}",
        "pymysql": f"mysql+pymysql://user:{quoted}@{place}",
    }


@pytest.mark.parametrize("name", broken_urls())
def test_server_that_is_down(
    make_application: Callable[..., t.Any], name: str, log: io.StringIO
) -> None:
    """No command shows the password of a database that it cannot reach."""
    app = make_application(url=broken_urls()[name]).app
    app.config["DBMIGRATE_WAIT"] = 0
    runner = app.test_cli_runner()
    runner.invoke(args=["db", "init"])
    for arguments in FAILING:
        result = runner.invoke(args=["db", *arguments, "--traceback"])
        assert result.exit_code == 69, result.output
        assert "Traceback" in result.stderr
        assert_silent(result, arguments)
    with app.app_context(), pytest.raises(DBMigrateError, match="cannot be reached") as caught:
        flask_dbmigrate.current()
    error = pickle.loads(pickle.dumps(caught.value))
    assert is_silent(repr(error) + str(error) + repr(vars(error)))
    assert is_silent(log.getvalue())


def test_wrong_password(
    make_application: Callable[..., t.Any], strict_postgresql_url: sa.URL, log: io.StringIO
) -> None:
    """A password that is refused is not shown either."""
    url = strict_postgresql_url.set(password=SECRET).render_as_string(hide_password=False)
    runner = make_application(url=url).app.test_cli_runner()
    runner.invoke(args=["db", "init"])
    for arguments in FAILING:
        result = runner.invoke(args=["db", *arguments, "--traceback"])
        assert result.exit_code == 2, result.output
        assert_silent(result, arguments)
    assert is_silent(log.getvalue())


def test_url_that_is_none(make_application: Callable[..., t.Any], log: io.StringIO) -> None:
    """A URL with an unknown driver is explained without its password."""
    quoted = urllib.parse.quote(SECRET)
    app = make_application().app
    db = app.extensions["sqlalchemy"]
    with app.app_context():
        flask_dbmigrate.init()
        Path("migrations/env.py").write_text(
            "import sqlalchemy as sa\n"
            f"sa.create_engine('postgresql+psycopg://user:{quoted}@localhost:port/shop')\n"
        )
        with pytest.raises(DBMigrateError, match="failed in line 2") as caught:
            flask_dbmigrate.upgrade()
        db.session.remove()
    assert is_silent(caught.value.message)


WITH_TWO = "s3cr3t-p@ss@host"
"""What comes after the user and the first part of a password that is not quoted."""


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ("SQLALCHEMY_DATABASE_URI", f"{WITH_TWO}/shop"),
        ("SQLALCHEMY_DATABASE_URI", "s3cr3t-p/ss@host/shop"),
        ("SQLALCHEMY_DATABASE_URI", "s3cr3t-p?ss@host/shop?sslmode=disable"),
        ("DBMIGRATE_URL", f"{WITH_TWO}/shop"),
    ],
)
def test_password_that_is_not_quoted(
    make_application: Callable[..., t.Any], log: io.StringIO, given: str, end: str
) -> None:
    """A password with a '@' is not shown as the host, and the error says how to write it."""
    url = f"postgresql+psycopg://user:it@{end}"
    if given == "DBMIGRATE_URL":
        app = make_application().app
        app.config[given] = url
    else:
        app = make_application(url=url).app
    runner = app.test_cli_runner()
    runner.invoke(args=["db", "init"])
    for arguments in FAILING:
        result = runner.invoke(args=["db", *arguments, "--traceback"])
        assert result.exit_code == 2, result.output
        assert f"The password in '{given}' has a '@' that is not quoted" in result.stderr
        assert "Write it as '%40'." in result.stderr
        assert_silent(result, arguments)
    assert is_silent(log.getvalue())


@pytest.mark.parametrize("end", ["localhost:5432/x", f"//user:it@{WITH_TWO}:port/shop", ""])
def test_url_that_is_no_url(make_application: Callable[..., t.Any], end: str) -> None:
    """A URL that SQLAlchemy cannot read is an error without a traceback, and without its text."""
    app = make_application().app
    app.config["DBMIGRATE_URL"] = f"postgresql:{end}"
    runner = app.test_cli_runner()
    runner.invoke(args=["db", "init"])
    result = runner.invoke(args=["db", "upgrade", "--traceback"])
    assert result.exit_code == 2
    assert "is not that of a database" in result.stderr
    assert_silent(result, end)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:5432/x", "The URL of the application is not that of a database."),
        (f"postgresql://user:it@{WITH_TWO}:x/shop", "The URL of the application is not that"),
        (f"nosuch://user:{SECRET}@host/shop", "No engine can be made of the URL of the app"),
        (f"oracle+cx_oracle://user:{SECRET}@host/shop", "No module named 'cx_Oracle'"),
    ],
)
def test_url_of_an_object_that_makes_its_engines_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    """An engine that is made when a command asks for it is an error without a traceback, too."""
    monkeypatch.chdir(tmp_path)
    app = Flask("late", root_path=str(tmp_path))
    app.config["ALCHEMICAL_DATABASE_URL"] = url
    flask_dbmigrate.Migrate(app, Alchemical(app))
    runner = app.test_cli_runner()
    runner.invoke(args=["db", "init"])
    result = runner.invoke(args=["db", "upgrade"])
    assert result.exit_code == 2
    assert said in result.stderr
    assert_silent(result, url)


def test_url_of_env_py(new_project: Project) -> None:
    """An env.py whose URL SQLAlchemy cannot read fails without what SQLAlchemy quotes of it."""
    url = f"postgresql://user:it@so:{SECRET}/shop"
    env_py = new_project.folder / "migrations/env.py"
    env_py.write_text(f"import sqlalchemy\nsqlalchemy.create_engine({url!r})\n")
    said = new_project.fails("upgrade", exit_code=2)
    assert "'migrations/env.py' failed in line 2: a URL is not that of a database." in said
    assert is_silent(said)
