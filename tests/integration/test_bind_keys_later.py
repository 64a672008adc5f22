"""Bind keys that come to a migration directory later, or go: one ``env.py`` serves all."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import re
import typing as t
import zipfile

from alembic import command
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from harness import Application
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import CheckFailedError
from flask_dbmigrate import DriftError
from flask_dbmigrate import NoDatabaseError
from flask_dbmigrate import PendingRevisionsError

(WHEEL,) = (Path(__file__).parent.parent / "compat" / "wheels").glob("flask_dbmigrate-0.1.*.whl")

Make = Callable[..., Application]


@pytest.fixture
def reports(tmp_path: Path) -> str:
    """The URL of a second database."""
    return f"sqlite:///{tmp_path / 'reports.db'}"


@contextmanager
def running(make: Make, name: str, **arguments: t.Any) -> Iterator[Application]:
    """Start an application with a release of its own."""
    application = make(name, **arguments)
    with application.app.app_context():
        yield application


def template_of_0_1(name: str) -> None:
    """Have the files that version 0.1 has written for one database or several."""
    with zipfile.ZipFile(WHEEL) as wheel:
        for file in ("env.py", "script.py.mako"):
            content = wheel.read(f"flask_dbmigrate/templates/{name}/{file}")
            Path("migrations", file).write_bytes(content)


FLASK_MIGRATE_ENV_PY = """
from alembic import context
from flask import current_app

db = current_app.extensions["migrate"].db
with db.engine.connect() as connection:
    context.configure(connection=connection, target_metadata=db.metadatas[None])
    with context.begin_transaction():
        context.run_migrations()
"""


def old_directory(kind: str) -> None:
    """Have a directory for one database as it was written once."""
    template_of_0_1("flask")
    if kind == "flask-migrate":
        Path("migrations/env.py").write_text(FLASK_MIGRATE_ENV_PY)


def migrated(name: str) -> str:
    """Write a revision and return its source."""
    (written,) = flask_dbmigrate.migrate(rev_id=name).revisions
    return Path(written.path).read_text()


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def urls(
    request: pytest.FixtureRequest, tmp_path: Path, sqlite_url: str, reports: str
) -> Iterator[tuple[str, str]]:
    """Two databases of each DBMS."""
    if request.param == "sqlite":
        yield sqlite_url, reports
        return
    server: servers.Server = request.getfixturevalue(f"{request.param}_server")
    driver = {"postgresql": "psycopg", "mysql": "pymysql"}[request.param]
    with server.database(driver) as one, server.database(driver) as two:
        yield one, two


def test_bind_key_that_comes_and_goes(make_application: Make, urls: tuple[str, str]) -> None:
    """A directory for one database is one for several when a bind key has models, and back."""
    url, second = urls
    with running(make_application, "one", url=url):
        flask_dbmigrate.init()
        assert "def upgrade() -> None:\n    # ### commands" in migrated("aaa")
        flask_dbmigrate.upgrade()
    with running(make_application, "two", url=url, binds={"user-data": second}):
        with pytest.raises(PendingRevisionsError, match="'user-data' is not up to date"):
            flask_dbmigrate.migrate()
        flask_dbmigrate.upgrade()
        with pytest.raises(DriftError) as caught:
            flask_dbmigrate.check()
        assert [(found.database, found.table) for found in caught.value.differences] == [
            ("user-data", "item")
        ]
        assert "def upgrade_user_data() -> None:\n    # ### commands" in migrated("bbb")
        flask_dbmigrate.upgrade()
        flask_dbmigrate.check()
        assert flask_dbmigrate.migrate() == flask_dbmigrate.NewRevisions(())
        assert "item" in Project(Path(), url).inspect(second)
        flask_dbmigrate.downgrade(revision="base")
        flask_dbmigrate.upgrade()
        plan = str(flask_dbmigrate.plan_downgrade())
        assert ("drop table 'item'" in plan, "runs Python" in plan) == (True, False)
    with running(make_application, "three", url=url):
        (done,) = flask_dbmigrate.downgrade(revision="base").databases
        assert (done.key, done.before, done.after) == ("default", ("bbb",), ())
        plan = str(flask_dbmigrate.plan_upgrade())
        assert ("create table 'user'" in plan, "runs Python" in plan) == (True, False)
        flask_dbmigrate.upgrade()
        assert "def upgrade() -> None:\n    pass" in empty_revision("ccc")


def empty_revision(name: str) -> str:
    """Write a revision that nobody has compared for, and return its source."""
    (written,) = flask_dbmigrate.revision(rev_id=name).revisions
    return Path(written.path).read_text()


@pytest.mark.parametrize("is_empty", [True, False])
def test_script_for_one_database_is_as_it_was(start: Make, is_empty: bool) -> None:
    """A project with one database gets the script that version 0.1 has written, to the byte."""
    start()
    write = empty_revision if is_empty else migrated
    new = write("aaa")
    Path("migrations/versions/aaa_.py").unlink()
    template_of_0_1("flask")
    assert undated(write("aaa")) == undated(new)


@pytest.mark.parametrize("is_empty", [True, False])
def test_script_for_several_databases_is_as_it_was(
    make_application: Make, reports: str, is_empty: bool
) -> None:
    """A project with bind keys gets the script that version 0.1 has written with ``--multidb``."""
    write = empty_revision if is_empty else migrated
    with running(make_application, "two", binds={"reports": reports}):
        flask_dbmigrate.init()
        new = write("aaa")
        flask_dbmigrate.init("other", multidb=True)
        for file in ("env.py", "script.py.mako"):
            Path("other", file).replace(Path("migrations", file))
        Path("migrations/versions/aaa_.py").unlink()
        assert undated(write("aaa")) == undated(new)
        Path("migrations/versions/aaa_.py").unlink()
        template_of_0_1("flask-multidb")
        assert undated(write("aaa")) == undated(new)
        assert "def upgrade_reports() -> None:" in new


def undated(source: str) -> str:
    """Leave out when a script was written."""
    return re.sub("Create Date: .*", "", source)


OLD = pytest.mark.parametrize(
    ("kind", "file", "files"),
    [
        ("0.1", "script.py.mako", ["script.py.mako"]),
        ("flask-migrate", "env.py", ["env.py", "script.py.mako"]),
    ],
)


@OLD
def test_old_directory_leaves_out_a_bind_key(
    make_application: Make, reports: str, kind: str, file: str, files: list[str]
) -> None:
    """``migrate`` and ``check`` say that they do not look at its models; the remedy helps."""
    with running(make_application, "two", binds={"reports": reports}) as application:
        flask_dbmigrate.init()
        old_directory(kind)
        sentence = (
            "The models of bind key 'reports' are not looked at: "
            f"'migrations/{file}' is for the default database only."
        )
        names = " and ".join(f"'{name}'" for name in files)
        hint = f"Copy {names} from a fresh 'flask db init -d fresh' into 'migrations'."
        with pytest.raises(DriftError, match=f"1 difference. {re.escape(sentence)}"):
            flask_dbmigrate.check()
        written = flask_dbmigrate.migrate(rev_id="aaa")
        assert written.unseen is not None
        assert (written.unseen.databases, str(written.unseen)) == (("reports",), sentence)
        flask_dbmigrate.upgrade()
        with pytest.raises(CheckFailedError, match=re.escape(sentence)) as caught:
            flask_dbmigrate.check()
        assert caught.value.hint.startswith(hint)
        assert str(flask_dbmigrate.check(database="default"))
        runner = application.app.test_cli_runner()
        done = runner.invoke(args=["db", "migrate"])
        assert (done.exit_code, done.stdout) == (0, "")
        assert done.stderr == f"{sentence} {hint}\nNo changes in schema detected.\n"
        assert runner.invoke(args=["db", "check"]).exit_code == 3
        flask_dbmigrate.init("fresh")
        for name in files:
            Path("fresh", name).replace(Path("migrations", name))
        flask_dbmigrate.upgrade()
        assert "def upgrade_reports() -> None:\n    # ### commands" in migrated("bbb")
        flask_dbmigrate.upgrade()
        flask_dbmigrate.check()


def test_directory_that_is_for_one_database_by_choice(make_application: Make, reports: str) -> None:
    """``multidb=False`` in env.py leaves bind keys out, and nobody complains."""
    with running(make_application, "two", binds={"reports": reports}):
        flask_dbmigrate.init()
        env_py = Path("migrations/env.py")
        env_py.write_text(env_py.read_text().replace("migrations()", "migrations(multidb=False)"))
        assert "def upgrade() -> None:\n    # ### commands" in migrated("aaa")
        flask_dbmigrate.upgrade()
        flask_dbmigrate.check()
        assert "def upgrade() -> None:\n    pass" in empty_revision("bbb")
        assert Project(Path(), reports).inspect() == []


def test_directory_of_another_bind_key(make_application: Make, reports: str) -> None:
    """A directory whose env.py is for a bind key alone has looked at it; so has another Migrate."""
    with running(make_application, "two", binds={"reports": reports}) as application:
        flask_dbmigrate.init()
        old_directory("flask-migrate")
        env_py = Path("migrations/env.py")
        source = env_py.read_text()
        env_py.write_text(
            source.replace("db.engine", "db.engines['reports']").replace("[None]", "['reports']")
        )
        written = flask_dbmigrate.migrate()
        assert written.unseen is None
        Path(written.revisions[0].path).unlink()
        env_py.write_text(source)
        written = flask_dbmigrate.migrate()
        assert written.unseen is not None
        Path(written.revisions[0].path).unlink()
        flask_dbmigrate.Migrate(application.app, application.db, "other", command="other")
        assert flask_dbmigrate.migrate(command="db").unseen is None


def test_bind_key_without_models(make_application: Make) -> None:
    """Where no bind key has models, nobody connects to their databases, and scripts are plain."""
    binds = {"replica": "postgresql+psycopg://nobody@127.0.0.1:9/replica"}
    with running(make_application, "two", binds=binds) as application:
        application.db.metadatas["replica"].clear()
        flask_dbmigrate.init()
        assert "def upgrade() -> None:\n    # ### commands" in migrated("aaa")
        assert [found.key for found in flask_dbmigrate.upgrade().databases] == ["default"]
        flask_dbmigrate.check()


@pytest.mark.parametrize("name", ["reports", ""])
def test_plain_alembic(make_application: Make, reports: str, name: str) -> None:
    """Alembic's own commands run scripts for one database and for several, as ours do."""
    binds = {"reports": reports}
    with running(make_application, "two", binds=binds):
        flask_dbmigrate.init()
        Project(Path(), "").revision(
            "aaa",
            upgrade=["op.execute('CREATE TABLE old (id INT)')"],
            downgrade=["op.execute('DROP TABLE old')"],
        )
    with running(make_application, "both", binds=binds if name else {}) as application:
        flask_dbmigrate.upgrade()
        migrated("bbb")
        flask_dbmigrate.downgrade(revision="base")
    with running(make_application, "last", binds={} if name else binds) as application:
        config = application.migrate.get_config()
        command.upgrade(config, "head")
        assert "user" in Project(Path(), str(application.db.engine.url)).inspect()


@pytest.fixture
def without_default(
    urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Application]:
    """An application with bind keys alone, its context pushed."""
    monkeypatch.chdir(tmp_path)
    app = Flask("keys", root_path=str(tmp_path))
    app.config["SQLALCHEMY_BINDS"] = dict(zip(("a", "b-2"), urls, strict=True))
    db = SQLAlchemy(app)
    for key in app.config["SQLALCHEMY_BINDS"]:
        db.Table(f"t_{key[0]}", sa.Column("id", sa.Integer, primary_key=True), bind_key=key)
    migrate = flask_dbmigrate.Migrate(app, db)
    with app.app_context():
        yield Application(app, db, migrate)
        for engine in db.engines.values():
            engine.dispose()


def test_bind_keys_alone(without_default: Application, urls: tuple[str, str]) -> None:
    """An application whose models all have bind keys needs no default database."""
    flask_dbmigrate.init()
    source = migrated("aaa")
    assert "def upgrade_() -> None" not in source
    done = flask_dbmigrate.upgrade()
    assert [(found.key, found.after) for found in done.databases] == [
        ("a", ("aaa",)),
        ("b-2", ("aaa",)),
    ]
    assert [Project(Path(), url).tables() for url in urls] == [{"t_a"}, {"t_b"}]
    flask_dbmigrate.check()
    assert flask_dbmigrate.migrate().revisions == ()
    assert len(flask_dbmigrate.current().databases) == 2
    assert not flask_dbmigrate.status().databases[0].pending
    flask_dbmigrate.upgrade(sql=True)
    flask_dbmigrate.revision(rev_id="bbb")
    flask_dbmigrate.upgrade()
    flask_dbmigrate.downgrade()
    flask_dbmigrate.downgrade(revision="base")
    assert [Project(Path(), url).tables() for url in urls] == [set(), set()]


@pytest.mark.parametrize("kind", ["0.1", "flask-migrate", "a model", "a connection"])
def test_default_database_that_is_missing(
    without_default: Application, urls: tuple[str, str], kind: str
) -> None:
    """Where something is for the default database, one that is missing is an error."""
    flask_dbmigrate.init()
    if kind == "a model":
        without_default.db.Table("mine", sa.Column("id", sa.Integer))
    elif kind == "a connection":

        @without_default.migrate.configure
        def configure(config: t.Any) -> t.Any:
            config.attributes["connection"] = sa.create_engine("sqlite://")
            return config
    else:
        old_directory(kind)
    with pytest.raises(NoDatabaseError, match="bind keys, but no default database") as caught:
        flask_dbmigrate.migrate()
    assert "Set 'SQLALCHEMY_DATABASE_URI'" in caught.value.hint
