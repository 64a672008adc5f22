"""Who is to blame: an error names the script, the model or the setting that is at fault."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
import gc
from pathlib import Path
import sqlite3
import typing as t

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from harness import Application
from harness import LEGACY_ENV_PY
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import DBMigrateError
from flask_dbmigrate import MigrationError
from flask_dbmigrate import ScriptError

Start = Callable[..., Application]

BBB = Path("migrations/versions/bbb_.py")
COMMANDS = (flask_dbmigrate.upgrade, flask_dbmigrate.status, flask_dbmigrate.check)


@pytest.fixture
def project(start: Start, tmp_path: Path, sqlite_url: str) -> Project:
    """A database at the first of two revisions."""
    start()
    project = Project(tmp_path, sqlite_url)
    project.revision("aaa")
    flask_dbmigrate.upgrade()
    project.revision("bbb", "aaa")
    return project


def changed(old: str, new: str) -> Callable[[str], bytes]:
    """Make the source of a script by replacing a text in it."""
    return lambda source: source.replace(old, new).encode()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda source: source.encode("utf-16"), "SyntaxError: source code .* null bytes"),
        (lambda source: bytes(range(256)), "SyntaxError: source code .* null bytes"),
        (changed("'bbb'", "'b@b'"), "'@' not allowed in revision identifier 'b@b'"),
        (changed("down_revision = 'aaa'", "down_revision = 7"), "'down_revision' is neither"),
        (changed("def upgrade", "depends_on = [7]\ndef upgrade"), "'depends_on' is neither"),
        (changed("def upgrade", "branch_labels = 7\ndef upgrade"), "'branch_labels' is neither"),
        (changed("revision = 'bbb'", "revision = 'bb' + no"), "NameError: name 'no'"),
        (changed("import sqlalchemy", "raise BaseException('no')\nimport sqlalchemy"), "no"),
    ],
)
def test_script_that_cannot_be_read(
    project: Project, make: Callable[[str], bytes], said: str
) -> None:
    """The script is named, whatever is wrong with it, by each command."""
    BBB.write_bytes(make(BBB.read_text()))
    for command in COMMANDS:
        message = f"The script '{BBB}' cannot be loaded: .*{said}"
        with pytest.raises(ScriptError, match=message) as caught:
            command()
        assert caught.value.path.endswith(str(BBB))


def test_null_byte_after_the_head(project: Project) -> None:
    """A script that is read in part, and imported when it runs, is named then."""
    BBB.write_bytes(BBB.read_bytes() + b"\0")
    with pytest.raises(ScriptError, match=f"The script '{BBB}' cannot be loaded: SyntaxError"):
        flask_dbmigrate.upgrade()


@pytest.mark.parametrize("name", ["base", "head", "heads", "x';DROP"])
def test_name_that_no_revision_can_have(project: Project, name: str) -> None:
    """A word that means something else, or ends Alembic's SQL, is refused by its script."""
    BBB.write_text(BBB.read_text().replace("revision = 'bbb'", f"revision = {name!r}", 1))
    for command in COMMANDS:
        with pytest.raises(ScriptError, match=f"The revision in '{BBB}' cannot be called"):
            command()


@pytest.mark.parametrize("fault", ["x = (1,\n", "  x = 1\n y = 2\n", '"""\n', "\0"])
def test_applied_script_that_is_no_python_any_more(project: Project, fault: str) -> None:
    """An applied script with a bracket left open is an edited one."""
    flask_dbmigrate.upgrade()
    BBB.write_text(BBB.read_text() + fault)
    flask_dbmigrate.state.current_state().app.config["DBMIGRATE_EDITED"] = "error"
    for command in (flask_dbmigrate.upgrade, flask_dbmigrate.check):
        with pytest.raises(flask_dbmigrate.EditedRevisionError, match=f"'{BBB}'.* was edited"):
            command()
    (found,) = flask_dbmigrate.status().databases[0].edited
    assert found.revision == "bbb"


@pytest.mark.parametrize("error", ["BaseException('no')", "GeneratorExit"])
def test_error_that_is_no_exception(project: Project, error: str) -> None:
    """Whatever a revision raises is an error of the revision."""
    project.revision("bbb", "aaa", upgrade=[f"raise {error}"])
    with pytest.raises(MigrationError, match=rf"Revision 'bbb' failed .*{error[:10]}"):
        flask_dbmigrate.upgrade()
    assert [entry.status for entry in flask_dbmigrate.run_log().databases[0].entries] == [
        "ok",
        "failed",
    ]


def test_option_that_is_given_twice(project: Project) -> None:
    """An option that env.py gives beside those of ``Migrate`` is named, and which to remove."""
    Path("migrations/env.py").write_text(
        "from alembic import context\nfrom flask import current_app\n"
        "state = current_app.extensions['migrate']\n"
        "with state.db.engine.connect() as connection:\n"
        "    context.configure(\n"
        "        connection=connection, compare_type=True, **state.configure_args)\n"
    )
    with pytest.raises(ConfigurationError, match="gives 'compare_type' twice") as caught:
        flask_dbmigrate.upgrade()
    assert caught.value.hint == (
        "Remove 'compare_type' from 'context.configure()' there, and give it to 'Migrate'."
    )


@pytest.mark.parametrize("legacy", [False, True])
def test_fault_of_nobody(
    project: Project, monkeypatch: pytest.MonkeyPatch, *, legacy: bool
) -> None:
    """What our own code raises is not described as a failure of env.py."""
    if legacy:
        Path("migrations/env.py").write_text(LEGACY_ENV_PY)

    def fail(*_: object) -> t.NoReturn:
        raise ZeroDivisionError

    monkeypatch.setattr("flask_dbmigrate.runtime.recorder.require_known", fail)
    with pytest.raises(DBMigrateError, match="ZeroDivisionError") as caught:
        flask_dbmigrate.upgrade()
    assert "env.py" not in caught.value.message
    assert Path(__file__).name in caught.value.message


def test_fault_of_a_function_in_env_py(project: Project) -> None:
    """What a function of env.py raises while we run is one."""
    flask_dbmigrate.upgrade()
    path = Path("migrations/env.py")
    source = path.read_text().replace("run_migrations()", "run_migrations(include_name=fail)")
    path.write_text(f"def fail(*_):\n    return 1 / 0\n\n\n{source}")
    with pytest.raises(ConfigurationError, match=r"env.py' failed in line 2: ZeroDivisionError"):
        flask_dbmigrate.check()


@pytest.mark.parametrize("kind", ["index", "constraint"])
def test_what_cannot_be_written(start: Start, postgresql_url: str, kind: str) -> None:
    """An expression that makes no SQL is not blamed on the template."""

    class Unknown(sa.ColumnElement[bool]):
        inherit_cache = False

    db = start(url=postgresql_url).db
    user = db.metadata.tables["user"]
    if kind == "index":
        sa.Index("ix_odd", user.c.name, Unknown())
    else:
        user.append_constraint(sa.CheckConstraint(Unknown(), name="odd"))
    what = "Index 'ix_odd' of table 'user'" if kind == "index" else "Table 'user'"
    with pytest.raises(MigrationError, match=f"{what} cannot be written into a revision"):
        flask_dbmigrate.migrate()
    assert not list(Path("migrations/versions").glob("*.py"))


def test_table_that_is_dropped_meanwhile(start: Start, sqlite_url: str) -> None:
    """``check`` says that a table is gone which somebody drops while it looks."""
    db = start().db
    db.create_all()
    file = sa.make_url(sqlite_url).database
    assert file is not None

    def drop(_: object, __: object, statement: str, *___: object) -> None:
        if "table_xinfo" in statement and "user" in statement:
            with closing(sqlite3.connect(file)) as other:
                other.execute('DROP TABLE IF EXISTS "user"')

    sa.event.listen(sa.Engine, "before_cursor_execute", drop)
    try:
        with pytest.raises(MigrationError, match="Table 'user' is gone since") as caught:
            flask_dbmigrate.check()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", drop)
    assert caught.value.hint == "Run the command again."


@pytest.fixture
def ascii_url(postgresql_server: servers.PostgreSQL) -> Iterator[str]:
    """A PostgreSQL database whose encoding is SQL_ASCII."""
    with postgresql_server.database("psycopg") as url:
        name = sa.make_url(url).database
        postgresql_server.execute(
            f'DROP DATABASE "{name}"',
            f"CREATE DATABASE \"{name}\" ENCODING 'SQL_ASCII' TEMPLATE template0 "
            "LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        yield url


@pytest.mark.filterwarnings("ignore:<psycopg.Connection:ResourceWarning")
def test_sql_ascii(start: Start, ascii_url: str) -> None:
    """psycopg gives bytes for text there: the encoding is named, and how to set another one."""
    start(url=ascii_url)
    with pytest.raises(ConfigurationError, match="has the encoding SQL_ASCII") as caught:
        flask_dbmigrate.current()
    assert caught.value.hint == (
        "Add 'client_encoding=utf8' to the query of 'SQLALCHEMY_DATABASE_URI'."
    )
    del caught
    gc.collect()  # SQLAlchemy leaves open what it could not get to know


@pytest.mark.parametrize("late", [False, True])
def test_database_in_place_of_the_application(*, late: bool) -> None:
    """``Migrate(db, app)`` says which comes first."""
    app, db = Flask(__name__), SQLAlchemy()
    bind: t.Any = flask_dbmigrate.Migrate().init_app if late else flask_dbmigrate.Migrate
    with pytest.raises(ConfigurationError, match=r"takes the application first, .* 'SQLAlchemy'"):
        bind(db, app)


def test_run_without_stdout(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that has no SQL to show writes nothing to stdout."""
    monkeypatch.setattr("sys.stdout", None)
    assert flask_dbmigrate.upgrade().databases[0].after == ("bbb",)
