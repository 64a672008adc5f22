"""Choosing databases, leaving some out, and committing all or none."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
import signal
import typing as t

from flask import Flask
from harness import Holder
from harness import normal
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import CheckFailedError
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import DriftError
from flask_dbmigrate import Listener
from flask_dbmigrate import MigrationError
from flask_dbmigrate import Retry
from flask_dbmigrate import RevisionError

KEYS = ("default", "a", "b")

SCRIPT = """
from alembic import op
import sqlalchemy as sa
revision = {revision!r}
down_revision = {down!r}

def upgrade(engine_name):
    op.create_table("t_{revision}", sa.Column("id", sa.Integer))

def downgrade(engine_name):
    op.drop_table("t_{revision}")
"""


class Place(t.NamedTuple):
    """An application with three databases, its context pushed."""

    app: Flask
    db: t.Any
    urls: dict[str, str]

    def script(self, revision: str, down: str | None = None) -> Path:
        """Write a revision that makes a table in each database."""
        path = Path("migrations/versions", f"{revision}_.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(SCRIPT.format(revision=revision, down=down))
        return path

    def tables(self) -> dict[str, set[str]]:
        """The tables of each database."""
        return {key: Project(Path(), url).tables() for key, url in self.urls.items()}

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Type a command; return its exit code, stdout and stderr."""
        done = self.app.test_cli_runner().invoke(args=["db", *arguments])
        return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def make_place(make_application: Callable[..., t.Any], tmp_path: Path) -> Iterator[t.Any]:
    """Makes applications with some databases, by key."""
    with ExitStack() as stack:

        def make(urls: dict[str, str] | None = None, env_py: str | None = None) -> Place:
            urls = urls or {key: f"sqlite:///{tmp_path / key}.db" for key in KEYS}
            binds = {key: url for key, url in urls.items() if key != "default"}
            application = make_application(url=urls["default"], binds=binds)
            stack.enter_context(application.app.app_context())
            flask_dbmigrate.init(multidb=True)
            if env_py is not None:
                Path("migrations/env.py").write_text(env_py)
            return Place(application.app, application.db, urls)

        yield make


@pytest.fixture
def postgresql_urls(postgresql_server: servers.PostgreSQL) -> Iterator[dict[str, str]]:
    """Two PostgreSQL databases."""
    with ExitStack() as stack:
        yield {
            key: stack.enter_context(postgresql_server.database("psycopg"))
            for key in ("default", "a")
        }


LEGACY_ENV_PY = """
from alembic import context
from flask import current_app

config = context.config
db = current_app.extensions["migrate"].db
USE_TWOPHASE = {two_phase}

opened = []
for key in [None, *current_app.config["SQLALCHEMY_BINDS"]]:
    connection = db.get_engine(bind=key).connect()
    transaction = connection.begin_twophase() if USE_TWOPHASE else connection.begin()
    opened.append((key, connection, transaction))
try:
    for key, connection, _ in opened:
        name = key or ""
        context.configure(
            connection=connection,
            upgrade_token=name + "_upgrades",
            downgrade_token=name + "_downgrades",
            target_metadata=db.metadatas[key],
        )
        context.run_migrations(engine_name=name)
    for _, _, transaction in opened:
        if USE_TWOPHASE:
            transaction.prepare()
    for _, _, transaction in opened:
        transaction.commit()
finally:
    for _, connection, _ in opened:
        connection.close()
"""

ENV_PYS = [None, LEGACY_ENV_PY.format(two_phase=False)]


@pytest.mark.parametrize("env_py", ENV_PYS, ids=["ours", "legacy"])
def test_commands_on_some_databases(make_place: Callable[..., Place], env_py: str | None) -> None:
    """``--database`` chooses, in every command that has it, with any env.py."""
    place = make_place(env_py=env_py)
    place.script("aaa")
    place.script("bbb", "aaa")
    both = {"t_aaa", "t_bbb"}
    code, _, said = place.run("upgrade", "--database", "a", "--database", "default")
    assert (code, place.tables()) == (0, {"default": both, "a": both, "b": set()}), said
    assert normal(said).splitlines()[-2:] == [
        "Database 'default' is at 'bbb' now: 2 revisions with 2 statements in 0.01 s.",
        "Database 'a' is at 'bbb' now: 2 revisions with 2 statements in 0.01 s.",
    ]
    assert place.run("current", "--database", "a")[:2] == (0, "bbb (head)\n")
    assert place.run("current", "--database", "a", "--check-heads")[0] == 0
    code, _, said = place.run("current", "--check-heads")
    assert (code, said.splitlines()[0]) == (3, "Error: Database 'b' is at base, not at 'bbb'.")
    assert place.run("downgrade", "--database", "a")[0] == 0
    assert place.tables() == {"default": both, "a": {"t_aaa"}, "b": set()}
    assert place.run("stamp", "--database", "b", "aaa")[0] == 0
    assert place.run("current")[1].splitlines() == [
        "Database 'default':",
        "bbb (head)",
        "Database 'a':",
        "aaa",
        "Database 'b':",
        "aaa",
    ]


@pytest.mark.parametrize("env_py", ENV_PYS, ids=["ours", "legacy"])
def test_check_of_some_databases(make_place: Callable[..., Place], env_py: str | None) -> None:
    """``check`` looks at all databases, or at those that are named."""
    place = make_place(env_py=env_py)
    flask_dbmigrate.migrate(message="all")
    flask_dbmigrate.upgrade()
    place.db.Table("more", sa.Column("id", sa.Integer), bind_key="b")
    assert place.run("check", "--database", "a", "--database", "default")[0] == 0
    with pytest.raises(DriftError) as caught:
        flask_dbmigrate.check()
    assert [found.database for found in caught.value.differences] == ["b"]
    with pytest.raises(DriftError):
        flask_dbmigrate.check(database="b")


@pytest.mark.parametrize("name", ["upgrade", "downgrade", "current", "stamp", "check"])
def test_unknown_database(make_place: Callable[..., Place], name: str) -> None:
    """A key that the application has not is refused, and the known ones are listed."""
    code, _, said = make_place().run(name, "--database", "a", "--database", "c")
    assert (code, said) == (
        2,
        "Error: The application has no database 'c'.\nUse one of these: 'default', 'a', 'b'.\n",
    )


def test_database_from_the_environment(
    make_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``FLASK_DB_UPGRADE_DATABASE`` names databases, too."""
    place = make_place()
    place.script("aaa")
    monkeypatch.setenv("FLASK_DB_UPGRADE_DATABASE", "a b")
    done = place.app.test_cli_runner().invoke(args=["db", "upgrade"], auto_envvar_prefix="FLASK")
    assert done.exit_code == 0, done.output
    assert place.tables() == {"default": set(), "a": {"t_aaa"}, "b": {"t_aaa"}}


def test_directory_for_one_database(make_application: Callable[..., t.Any], tmp_path: Path) -> None:
    """A directory for the default database only says so, and nothing is done."""
    second = f"sqlite:///{tmp_path / 'second.db'}"
    application = make_application(binds={"a": second})
    with application.app.app_context():
        flask_dbmigrate.init()
        env_py = Path("migrations/env.py")
        env_py.write_text(env_py.read_text().replace("migrations()", "migrations(multidb=False)"))
        Project(tmp_path, second).revision("aaa")
        with pytest.raises(ConfigurationError, match="does not run on database 'a'") as caught:
            flask_dbmigrate.upgrade(database=["default", "a"])
        assert "Copy 'env.py' and 'script.py.mako'" in caught.value.hint
        assert flask_dbmigrate.upgrade(database="default").databases[0].after == ("aaa",)


def test_from_one_to_several(make_application: Callable[..., t.Any], tmp_path: Path) -> None:
    """Going from one database to several is copying two files, as the README says."""
    application = make_application()
    with application.app.app_context():
        flask_dbmigrate.init()
        first = Path(flask_dbmigrate.migrate(rev_id="aaa").revisions[0].path)
        flask_dbmigrate.upgrade()
        before = first.read_bytes()
    second = f"sqlite:///{tmp_path / 'second.db'}"
    grown = make_application("grown", binds={"a": second})
    with grown.app.app_context():
        flask_dbmigrate.init("fresh", multidb=True)
        for name in ("env.py", "script.py.mako"):
            Path("fresh", name).replace(Path("migrations", name))
        flask_dbmigrate.upgrade()
        flask_dbmigrate.migrate(rev_id="bbb")
        flask_dbmigrate.upgrade()
        flask_dbmigrate.check()
        assert Project(tmp_path, second).tables() == {"item"}
        flask_dbmigrate.downgrade(revision="base")
        assert Project(tmp_path, second).tables() == set()
    assert first.read_bytes() == before


@pytest.mark.parametrize("env_py", ENV_PYS, ids=["ours", "legacy"])
def test_bind_without_models(make_place: Callable[..., Place], env_py: str | None) -> None:
    """Somebody else's database, a bind without models, is named and left alone."""
    place = make_place(env_py=env_py)
    place.db.metadatas["b"].clear()
    theirs = Project(Path(), place.urls["b"])
    theirs.query("CREATE TABLE theirs (id INTEGER)")
    sentence = "Database 'b' has no models: skipped.\n"
    code, _, said = place.run("migrate", "-m", "first")
    assert (code, said.count(sentence), "theirs" in said) == (0, 1, False), said
    for name in ("upgrade", "check", "current", "downgrade", "stamp"):
        code, out, said = place.run(name)
        assert (code, said.count(sentence) > 0) == (0, True), (name, said)
        assert "'b'" not in out
    assert theirs.inspect() == ["theirs"]


def plain_alembic(
    folder: Path, url: str, binds: dict[str, str], models: str = ""
) -> Callable[..., t.Any]:
    """Make a project with several databases; return what types ``alembic`` in it."""
    project = Project(folder, url)
    project.write_app(models, binds=binds)
    project.db("init", "--multidb")
    project.db("revision", "--rev-id", "aaa")
    return lambda *arguments: project.run("alembic", "-c", "migrations/alembic.ini", *arguments)


def test_bind_without_models_under_plain_alembic(tmp_path: Path) -> None:
    """The ``alembic`` command leaves somebody else's database alone, too."""
    theirs = Project(tmp_path, f"sqlite:///{tmp_path / 'theirs.db'}")
    theirs.query("CREATE TABLE theirs (id INTEGER)")
    alembic = plain_alembic(tmp_path, "sqlite:///ours.db", {"b": theirs.url})
    for command in (("upgrade", "head"), ("revision", "--autogenerate"), ("current",)):
        done = alembic(*command)
        said = done.stderr
        assert (done.returncode, said.count("Database 'b' has no models: skipped.")) == (0, 1), said
        assert "'theirs'" not in said
    assert theirs.inspect() == ["theirs"]


def test_same_database_twice_under_plain_alembic(tmp_path: Path, postgresql_url: str) -> None:
    """The ``alembic`` command refuses two keys of one database, instead of waiting for itself."""
    model = """
class Item(db.Model):
    __bind_key__ = "b"
    id = db.Column(db.Integer, primary_key=True)
"""
    done = plain_alembic(tmp_path, postgresql_url, {"b": postgresql_url}, model)("upgrade", "head")
    assert done.returncode != 0
    assert "FAILED: 'default' and 'b' are the same database" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("env_py", ENV_PYS[:1], ids=["ours"])
def test_bind_without_models_offline(make_place: Callable[..., Place], env_py: str | None) -> None:
    """There is no SQL for somebody else's database, unless it is named."""
    place = make_place(env_py=env_py)
    place.db.metadatas["b"].clear()
    place.script("aaa")
    code, out, said = place.run("upgrade", "--sql")
    assert (code, said) == (0, "Database 'b' has no models: skipped.\n")
    assert ("-- Database 'a'" in out, "-- Database 'b'" in out) == (True, False)
    assert "CREATE TABLE t_aaa" in place.run("upgrade", "--sql", "--database", "b")[1]


def test_relative_upgrade(make_place: Callable[..., Place]) -> None:
    """One step up is one step of the default database: one that is there already stays."""
    place = make_place()
    place.script("aaa")
    place.script("bbb", "aaa")
    flask_dbmigrate.upgrade(database="a")
    flask_dbmigrate.upgrade(revision="+1")
    both = {"t_aaa", "t_bbb"}
    assert place.tables() == {"default": {"t_aaa"}, "a": both, "b": {"t_aaa"}}
    flask_dbmigrate.upgrade(revision="+1")
    with pytest.raises(RevisionError, match=r"'\+1' goes further than there are revisions"):
        flask_dbmigrate.upgrade(revision="+1")
    assert place.tables() == {"default": both, "a": both, "b": both}


def test_bind_that_lost_its_last_model(make_place: Callable[..., Place]) -> None:
    """A bind that was migrated stays ours: its last table is dropped like any other."""
    place = make_place()
    flask_dbmigrate.migrate(message="first")
    flask_dbmigrate.upgrade()
    place.db.metadatas["b"].clear()
    flask_dbmigrate.migrate(message="second")
    flask_dbmigrate.upgrade()
    assert place.tables()["b"] == set()


def test_bind_without_models_that_is_named(make_place: Callable[..., Place]) -> None:
    """``--database`` says that a bind without models is ours all the same."""
    place = make_place()
    place.db.metadatas["b"].clear()
    place.script("aaa")
    done = flask_dbmigrate.upgrade(database=["default", "b"])
    assert [found.key for found in done.databases] == ["default", "b"]
    assert place.tables()["b"] == {"t_aaa"}


def test_default_database_without_models(make_place: Callable[..., Place]) -> None:
    """The default database is always ours."""
    place = make_place()
    place.db.metadatas[None].clear()
    place.script("aaa")
    assert [found.key for found in flask_dbmigrate.upgrade().databases] == ["default", "a", "b"]


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def url(request: pytest.FixtureRequest) -> str:
    """A database of each DBMS."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


def twin(url: str, tmp_path: Path) -> str:
    """Another URL of the same database."""
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    return url.replace("127.0.0.1", "localhost").replace(f"{tmp_path}/", f"{tmp_path}/link/")


@pytest.mark.parametrize("env_py", ENV_PYS, ids=["ours", "legacy"])
def test_same_database_twice(
    make_place: Callable[..., Place], url: str, tmp_path: Path, env_py: str | None
) -> None:
    """Two keys of one database are named, however their URLs differ; nothing hangs."""
    place = make_place({"default": url, "a": twin(url, tmp_path)}, env_py)
    place.script("aaa")
    code, _, said = place.run("upgrade")
    assert code == 2, said
    assert "Error: 'default' and 'a' are the same database, with the same version table." in said


@pytest.mark.parametrize("driver", ["psycopg2", "pg8000"])
def test_same_database_through_another_driver(
    make_place: Callable[..., Place], postgresql_url: str, driver: str
) -> None:
    """Two keys of one database are named, whatever their drivers make of the server's answers."""
    other = postgresql_url.replace("+psycopg:", f"+{driver}:")
    assert other != postgresql_url
    place = make_place({"default": postgresql_url, "a": other})
    place.script("aaa")
    with pytest.raises(ConfigurationError, match="'default' and 'a' are the same database"):
        flask_dbmigrate.upgrade()


def test_same_database_without_models(
    make_place: Callable[..., Place], postgresql_url: str
) -> None:
    """A second key for one database is no error where it has no models: a role that only reads."""
    place = make_place({"default": postgresql_url, "a": postgresql_url})
    place.db.metadatas["a"].clear()
    place.script("aaa")
    code, _, said = place.run("upgrade")
    assert (code, "Database 'a' has no models: skipped." in said) == (0, True), said


def test_bind_key_that_is_called_default(
    make_application: Callable[..., t.Any], tmp_path: Path
) -> None:
    """A bind key called ``default`` is told from the default database."""
    second = f"sqlite:///{tmp_path / 'second.db'}"
    application = make_application(binds={"default": second})
    with application.app.app_context():
        flask_dbmigrate.init(multidb=True)
        flask_dbmigrate.migrate(rev_id="aaa")
        done = flask_dbmigrate.upgrade()
        assert [found.key for found in done.databases] == ["default", "bind:default"]
        assert Project(tmp_path, second).tables() == {"item"}
        flask_dbmigrate.downgrade(database="bind:default")
        with pytest.raises(CheckFailedError, match="Database 'bind:default' is at base"):
            flask_dbmigrate.current(check_heads=True)


FAILS_AT_COMMIT = """
from alembic import op
revision = "aaa"
down_revision = None

def upgrade(engine_name):
    op.execute("CREATE TABLE parent (id int PRIMARY KEY)")
    op.execute(
        "CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
    )
    if engine_name == "":
        op.execute("INSERT INTO child VALUES (1)")

def downgrade(engine_name):
    pass
"""


def test_commit_that_fails(
    make_place: Callable[..., Place], postgresql_urls: dict[str, str]
) -> None:
    """If one database cannot commit, the report says exactly which did."""
    place = make_place(postgresql_urls)
    place.script("aaa").write_text(FAILS_AT_COMMIT)
    with pytest.raises(MigrationError) as caught:
        flask_dbmigrate.upgrade()
    assert caught.value.message == (
        'The changes could not be committed: insert or update on table "child" violates foreign '
        'key constraint "child_id_fkey" (Key (id)=(1) is not present in table "parent".). '
        "Database 'default' is at base now. Database 'a' is at 'aaa' now."
    )
    assert place.tables() == {"default": set(), "a": {"parent", "child"}}


@pytest.fixture
def prepared_urls(strict_postgresql_url: sa.URL) -> Iterator[dict[str, str]]:
    """Two databases of a PostgreSQL server that allows prepared transactions."""
    server = servers.PostgreSQL(strict_postgresql_url)
    with server.database("psycopg") as first, server.database("psycopg") as second:
        yield {"default": first, "a": second}


TWO_PHASE_PYS = [None, LEGACY_ENV_PY.format(two_phase=True)]


@pytest.mark.parametrize("env_py", TWO_PHASE_PYS, ids=["ours", "legacy"])
@pytest.mark.parametrize("is_setting", [False, True], ids=["option", "setting"])
def test_two_phase_commit(
    make_place: Callable[..., Place],
    prepared_urls: dict[str, str],
    is_setting: bool,
    env_py: str | None,
) -> None:
    """Databases can be committed in two phases, also by an env.py of Flask-Migrate."""
    place = make_place(prepared_urls, env_py)
    place.app.config["DBMIGRATE_TWO_PHASE"] = is_setting
    two_phase = None if is_setting else True
    place.script("aaa")
    place.script("bbb", "aaa")
    done = flask_dbmigrate.upgrade(two_phase=two_phase)
    assert [found.after for found in done.databases] == [("bbb",), ("bbb",)]
    flask_dbmigrate.downgrade(two_phase=two_phase)
    assert place.tables() == {"default": {"t_aaa"}, "a": {"t_aaa"}}
    flask_dbmigrate.stamp(two_phase=two_phase)
    assert Project(Path(), prepared_urls["a"]).query("SELECT * FROM pg_prepared_xacts") == []


@pytest.mark.parametrize("failing", ["default", "a"])
def test_two_phase_commit_of_which_one_cannot(
    make_place: Callable[..., Place], prepared_urls: dict[str, str], failing: str
) -> None:
    """If one database cannot commit, none does."""
    place = make_place(prepared_urls)
    name = "" if failing == "default" else failing
    source = FAILS_AT_COMMIT.replace('engine_name == ""', f"engine_name == {name!r}")
    place.script("aaa").write_text(source)
    with pytest.raises(MigrationError, match="could not be committed: insert or update") as caught:
        flask_dbmigrate.upgrade(two_phase=True)
    assert caught.value.message.endswith(
        "Database 'default' is at base now. Database 'a' is at base now."
    )
    assert place.tables() == {"default": set(), "a": set()}
    assert Project(Path(), prepared_urls["a"]).query("SELECT * FROM pg_prepared_xacts") == []


@pytest.mark.parametrize("driver", ["psycopg2", "pg8000"])
def test_revision_that_fails_before_a_two_phase_commit(
    make_place: Callable[..., Place], prepared_urls: dict[str, str], driver: str
) -> None:
    """The error is that of the revision, not that of a driver that cannot roll back."""
    urls = {key: url.replace("+psycopg:", f"+{driver}:") for key, url in prepared_urls.items()}
    place = make_place(urls)
    script = place.script("aaa")
    script.write_text(
        script.read_text().replace("op.create", "op.execute('nonsense')\n    op.create")
    )
    with pytest.raises(MigrationError, match='syntax error at or near "nonsense"') as caught:
        flask_dbmigrate.upgrade(two_phase=True)
    assert caught.value.line == 8
    assert place.tables() == {"default": set(), "a": set()}


def test_two_phase_commit_that_is_interrupted(
    make_place: Callable[..., Place], prepared_urls: dict[str, str]
) -> None:
    """What is prepared and cannot be committed is named, with the statement that commits it."""
    place = make_place(prepared_urls)
    place.script("aaa")
    administrator = Project(Path(), prepared_urls["a"])

    def break_connection(connection: sa.Connection, xid: object, is_prepared: bool) -> None:
        connection.exec_driver_sql("SELECT 1")
        connection.connection.dbapi_connection.close()  # type: ignore[union-attr]

    sa.event.listen(place.db.engines["a"], "commit_twophase", break_connection)
    with pytest.raises(
        MigrationError, match="All databases were ready to commit, but 'a'"
    ) as caught:
        flask_dbmigrate.upgrade(two_phase=True)
    statement = caught.value.hint.partition(": ")[2].rstrip(".")
    assert place.tables() == {"default": {"t_aaa"}, "a": set()}
    engine = sa.create_engine(prepared_urls["a"], poolclass=sa.NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)
    assert place.tables() == {"default": {"t_aaa"}, "a": {"t_aaa"}}
    assert administrator.query("SELECT * FROM pg_prepared_xacts") == []


@pytest.mark.parametrize("stopped", ["default", "a"])
def test_interrupt_between_the_two_phases(
    make_place: Callable[..., Place], prepared_urls: dict[str, str], stopped: str
) -> None:
    """Ctrl-C rolls back none of the databases that are ready to commit when others have."""
    place = make_place(prepared_urls)
    place.script("aaa")

    def interrupt(connection: sa.Connection, xid: object, is_prepared: bool) -> None:
        raise KeyboardInterrupt

    bind_key = None if stopped == "default" else stopped
    sa.event.listen(place.db.engines[bind_key], "commit_twophase", interrupt)
    with pytest.raises(MigrationError, match=f"'{stopped}' did not: KeyboardInterrupt") as caught:
        flask_dbmigrate.upgrade(two_phase=True)
    engine = sa.create_engine(prepared_urls[stopped], poolclass=sa.NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(caught.value.hint.partition(": ")[2].rstrip("."))
    assert place.tables() == {"default": {"t_aaa"}, "a": {"t_aaa"}}


@pytest.fixture
def listening() -> Iterator[None]:
    """Ctrl-C is not ignored, as it is where a shell runs the tests in the background."""
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, found)


@pytest.mark.parametrize("env_py", TWO_PHASE_PYS, ids=["ours", "legacy"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_between_the_two_phases(
    make_place: Callable[..., Place],
    prepared_urls: dict[str, str],
    number: signal.Signals,
    env_py: str | None,
    listening: None,
) -> None:
    """A signal on the command line waits until all databases have committed."""
    place = make_place(prepared_urls, env_py)
    place.script("aaa")

    def raise_signal(connection: sa.Connection, xid: object) -> None:
        if sa.inspect(connection).has_table("t_aaa"):  # the old env.py prepares a look, too
            signal.raise_signal(number)

    sa.event.listen(place.db.engines["a"], "prepare_twophase", raise_signal)
    code, _, said = place.run("upgrade", "--two-phase")
    assert code == 128 + number, said
    assert place.tables() == {"default": {"t_aaa"}, "a": {"t_aaa"}}
    assert Project(Path(), prepared_urls["a"]).query("SELECT * FROM pg_prepared_xacts") == []


@pytest.mark.parametrize("env_py", ENV_PYS, ids=["ours", "legacy"])
def test_no_two_phase_commit(make_place: Callable[..., Place], env_py: str | None) -> None:
    """A database or an env.py that cannot do it is refused before anything is run."""
    place = make_place(env_py=env_py)
    place.script("aaa")
    code, _, said = place.run("upgrade", "--two-phase")
    assert (code, said.splitlines()[0]) == (
        2,
        "Error: Database 'default' ('sqlite') takes no part in a two-phase commit.",
    )
    assert place.tables() == {"default": set(), "a": set(), "b": set()}


def test_two_phase_commit_of_one_database(
    make_place: Callable[..., Place], postgresql_urls: dict[str, str]
) -> None:
    """One database has nothing to agree about with others."""
    place = make_place(postgresql_urls)
    place.app.config["DBMIGRATE_TWO_PHASE"] = True
    place.script("aaa")
    flask_dbmigrate.upgrade(database="a")
    assert place.tables() == {"default": set(), "a": {"t_aaa"}}


def test_two_phase_commit_that_the_server_forbids(
    make_place: Callable[..., Place], postgresql_urls: dict[str, str]
) -> None:
    """A server without prepared transactions says so, and nothing stays."""
    place = make_place(postgresql_urls)
    place.script("aaa")
    with pytest.raises(MigrationError, match="could not be committed: prepared transactions are"):
        flask_dbmigrate.upgrade(two_phase=True)
    assert place.tables() == {"default": set(), "a": set()}


def test_prepared_transaction_that_was_left(
    make_place: Callable[..., Place], prepared_urls: dict[str, str]
) -> None:
    """What a process that was killed between the two phases holds is named, not waited for."""
    place = make_place(prepared_urls)
    place.script("aaa")
    left = sa.create_engine(prepared_urls["a"], isolation_level="AUTOCOMMIT")
    with left.connect() as connection:
        for statement in ("BEGIN", 'CREATE TABLE "t_aaa" ()', "PREPARE TRANSACTION 'left over'"):
            connection.exec_driver_sql(statement)

    class Helper(Listener):
        def step_blocked(self, database: str, retry: Retry) -> None:
            assert retry.blockers == ("the prepared transaction 'left over'",)
            with left.connect() as connection:
                connection.exec_driver_sql("ROLLBACK PREPARED 'left over'")

    done = flask_dbmigrate.upgrade(listener=Helper(), ddl_lock_timeout=2)
    left.dispose()
    assert [found.after for found in done.databases] == [("aaa",), ("aaa",)]


def test_lock_beside_what_cannot_be_undone(
    make_place: Callable[..., Place], mysql_url: str, postgresql_url: str
) -> None:
    """Where MySQL's changes stay and an old env.py rolls back their record, the journal knows."""
    env_py = LEGACY_ENV_PY.format(two_phase=False)
    place = make_place({"default": mysql_url, "a": postgresql_url}, env_py)
    place.script("aaa")
    with Holder(postgresql_url, 'CREATE TABLE "t_aaa" ()') as holder:
        with pytest.raises(MigrationError, match=r"on database 'a' .* lock timeout") as caught:
            flask_dbmigrate.upgrade(ddl_lock_timeout=2, ddl_retries=0)
        assert caught.value.hint.startswith("It was blocked by server process ")
        assert place.tables() == {"default": {"t_aaa"}, "a": set()}
        (default, _) = flask_dbmigrate.status().databases
        assert default.half_applied is not None
        assert default.half_applied.is_resumable

        class Helper(Listener):
            def step_blocked(self, database: str, retry: Retry) -> None:
                holder.release()

        done = flask_dbmigrate.upgrade(listener=Helper(), ddl_lock_timeout=0.4)
    assert [found.after for found in done.databases] == [("aaa",), ("aaa",)]
