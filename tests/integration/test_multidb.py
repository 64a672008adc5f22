"""Several databases in one migration directory: ``flask db init --multidb`` and bind keys."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import typing as t

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from harness import normal
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import DriftError
from flask_dbmigrate import MigrationError
from flask_dbmigrate import PendingRevisionsError
from flask_dbmigrate import RevisionError


class Place(t.NamedTuple):
    """An application with two databases, its context pushed."""

    app: Flask
    db: t.Any
    project: Project
    second: str


@pytest.fixture(params=["reports", "user-data", "2nd", "class"])
def key(request: pytest.FixtureRequest) -> str:
    """A bind key; most are no name in Python."""
    found: str = request.param
    return found


def place(
    make_application: Callable[..., t.Any], folder: Path, url: str, second: str, key: str
) -> Iterator[Place]:
    """Make an application whose second database has this key."""
    application = make_application(url=url, binds={key: second})
    with application.app.app_context():
        flask_dbmigrate.init(multidb=True)
        yield Place(application.app, application.db, Project(folder, url), second)


@pytest.fixture
def ready(
    make_application: Callable[..., t.Any], tmp_path: Path, sqlite_url: str
) -> Iterator[Place]:
    """Two SQLite databases, the second with the key ``reports``."""
    second = f"sqlite:///{tmp_path / 'second.db'}"
    yield from place(make_application, tmp_path, sqlite_url, second, "reports")


@pytest.fixture
def servers_ready(
    make_application: Callable[..., t.Any], tmp_path: Path, postgresql_server: servers.PostgreSQL
) -> Iterator[Place]:
    """Two PostgreSQL databases, the second with the key ``reports``."""
    with (
        postgresql_server.database("psycopg") as url,
        postgresql_server.database("psycopg") as second,
    ):
        yield from place(make_application, tmp_path, url, second, "reports")


def tables(ready: Place) -> tuple[set[str], set[str]]:
    """The tables of both databases."""
    return ready.project.tables(), ready.project.tables(ready.second)


def test_main_job_with_any_bind_key(
    make_application: Callable[..., t.Any], tmp_path: Path, sqlite_url: str, key: str
) -> None:
    """Whatever the bind key is, both databases are migrated, checked and taken back."""
    second = f"sqlite:///{tmp_path / 'second.db'}"
    for ready in place(make_application, tmp_path, sqlite_url, second, key):
        (written,) = flask_dbmigrate.migrate(message="all").revisions
        compile(Path(written.path).read_text(), written.path, "exec")
        done = flask_dbmigrate.upgrade()
        assert [(found.key, found.after) for found in done.databases] == [
            ("default", (written.revision,)),
            (key, (written.revision,)),
        ]
        assert tables(ready) == ({"user"}, {"item"})
        assert str(flask_dbmigrate.check()) == "No new upgrade operations detected."
        assert flask_dbmigrate.migrate().revisions == ()
        flask_dbmigrate.downgrade()
        assert tables(ready) == (set(), set())


def test_current(ready: Place) -> None:
    """``current()`` says where each database stands."""
    flask_dbmigrate.revision(rev_id="aaa")
    assert str(flask_dbmigrate.current()) == (
        "Database 'default':\n<base>\nDatabase 'reports':\n<base>"
    )
    flask_dbmigrate.upgrade()
    result = flask_dbmigrate.current(check_heads=True)
    assert [(found.key, found.url) for found in result.databases] == [
        ("default", ready.project.url),
        ("reports", ready.second),
    ]
    assert str(result) == ("Database 'default':\naaa (head)\nDatabase 'reports':\naaa (head)")


def test_result_of_upgrade(ready: Place) -> None:
    """``upgrade()`` has a line for each database."""
    flask_dbmigrate.revision(rev_id="aaa")
    assert normal(str(flask_dbmigrate.upgrade())).splitlines() == [
        "Database 'default' is at 'aaa' now: 1 revision with 0 statements in 0.01 s.",
        "Database 'reports' is at 'aaa' now: 1 revision with 0 statements in 0.01 s.",
    ]


def test_differences_name_their_database(ready: Place) -> None:
    """``check()`` says for each difference which database it is in."""
    with pytest.raises(DriftError, match="differ: 2 differences") as caught:
        flask_dbmigrate.check()
    assert [(found.database, found.kind, found.table) for found in caught.value.differences] == [
        ("default", "add_table", "user"),
        ("reports", "add_table", "item"),
    ]
    assert ready.project.inspect() == ready.project.inspect(ready.second) == []


def test_change_in_the_second_database_only(ready: Place) -> None:
    """A revision with changes for one database leaves the other alone."""
    flask_dbmigrate.migrate()
    flask_dbmigrate.upgrade()
    ready.db.Table("more", sa.Column("id", sa.Integer), bind_key="reports")
    (written,) = flask_dbmigrate.migrate(message="more").revisions
    source = Path(written.path).read_text()
    assert source.count("op.create_table(") == 1
    flask_dbmigrate.upgrade()
    assert tables(ready) == ({"user"}, {"item", "more"})


def test_one_database_is_behind(ready: Place) -> None:
    """A database that is behind is named, and ``upgrade()`` runs what it lacks."""
    flask_dbmigrate.migrate(rev_id="aaa")
    flask_dbmigrate.upgrade()
    engine = sa.create_engine(ready.second, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")
        connection.exec_driver_sql("DROP TABLE item")
    with pytest.raises(PendingRevisionsError, match="Database 'reports' is not up to") as caught:
        flask_dbmigrate.check()
    assert (caught.value.database, caught.value.pending) == ("reports", ("aaa",))
    done = flask_dbmigrate.upgrade()
    assert [(found.key, len(found.steps)) for found in done.databases] == [
        ("default", 0),
        ("reports", 1),
    ]
    assert tables(ready) == ({"user"}, {"item"})


def test_bind_that_is_added_later(
    make_application: Callable[..., t.Any], ready: Place, tmp_path: Path
) -> None:
    """Old scripts have nothing to do for a bind key that was added later."""
    flask_dbmigrate.migrate(rev_id="aaa")
    flask_dbmigrate.upgrade()
    third = f"sqlite:///{tmp_path / 'third.db'}"
    application = make_application("second", binds={"reports": ready.second, "third": third})
    with application.app.app_context():
        done = flask_dbmigrate.upgrade()
        assert [(found.key, found.after) for found in done.databases] == [
            ("default", ("aaa",)),
            ("reports", ("aaa",)),
            ("third", ("aaa",)),
        ]
        flask_dbmigrate.migrate(rev_id="bbb")
        flask_dbmigrate.upgrade()
    assert ready.project.tables(third) == {"item"}


def test_sql_has_a_heading_for_each(ready: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """``upgrade(sql=True)`` writes the SQL of each database under a heading, to stdout."""
    flask_dbmigrate.migrate()
    before = sorted(path.name for path in Path().iterdir())
    flask_dbmigrate.upgrade(sql=True)
    text = capsys.readouterr().out
    first, _, second = text.partition("-- Database 'reports'")
    assert first.startswith("-- Database 'default'")
    assert ("CREATE TABLE user" in first, "CREATE TABLE item" in first) == (True, False)
    assert ("CREATE TABLE user" in second, "CREATE TABLE item" in second) == (False, True)
    assert sorted(path.name for path in Path().iterdir()) == before


FAILS_ON_THE_SECOND = """
from alembic import op
import sqlalchemy as sa
revision = "aaa"
down_revision = None

def upgrade(engine_name):
    op.create_table("one", sa.Column("id", sa.Integer))
    if engine_name == "reports":
        op.execute("INSERT INTO missing VALUES (1)")

def downgrade(engine_name):
    op.drop_table("one")
"""


def test_all_or_nothing(servers_ready: Place) -> None:
    """Where DDL is transactional, a failure on the second database undoes the first."""
    path = Path("migrations/versions/aaa_.py")
    path.write_text(FAILS_ON_THE_SECOND)
    with pytest.raises(MigrationError, match="'aaa' failed on database 'reports'") as caught:
        flask_dbmigrate.upgrade()
    error = caught.value
    line = FAILS_ON_THE_SECOND.splitlines().index(
        '        op.execute("INSERT INTO missing VALUES (1)")'
    )
    assert error.message == (
        f"Revision 'aaa' failed on database 'reports' ({path}, line {line + 1}): "
        'relation "missing" does not exist. The statement was: INSERT INTO missing VALUES (1). '
        "Database 'default' is at base now. Database 'reports' is at base now."
    )
    assert (error.database, error.heads) == ("reports", ())
    project = servers_ready.project
    assert project.inspect() == []
    assert project.inspect(servers_ready.second) == ["alembic_version_log"]


def test_main_job_on_servers(servers_ready: Place) -> None:
    """Two databases on PostgreSQL are migrated and taken back together."""
    flask_dbmigrate.migrate(rev_id="aaa")
    flask_dbmigrate.upgrade()
    assert tables(servers_ready) == ({"user"}, {"item"})
    flask_dbmigrate.check()
    flask_dbmigrate.downgrade()
    assert tables(servers_ready) == (set(), set())


LEGACY_ENV_PY = """
import logging
from logging.config import fileConfig

from alembic import context
from flask import current_app
from sqlalchemy import MetaData

config = context.config
fileConfig(config.config_file_name)
log = logging.getLogger("alembic.env")
ours = current_app.extensions["migrate"]
keys = list(current_app.config.get("SQLALCHEMY_BINDS") or {{}})


def engine_of(key):
    return {get_engine}


def metadata_of(key):
    whole = MetaData()
    for table in ours.db.metadatas[key].tables.values():
        table.to_metadata(whole)
    return whole


def drop_empty(context, revision, directives):
    if getattr(config.cmd_opts, "autogenerate", False):
        script = directives[0]
        if len(script.upgrade_ops_list) == len(keys) + 1:
            if all(ops.is_empty() for ops in script.upgrade_ops_list):
                directives[:] = []
                log.info("nothing to do")


def online():
    opened = []
    for key in [None, *keys]:
        connection = engine_of(key).connect()
        opened.append((key, connection, connection.begin()))
    try:
        for key, connection, _ in opened:
            name = key or ""
            context.configure(
                connection=connection,
                upgrade_token=name + "_upgrades",
                downgrade_token=name + "_downgrades",
                target_metadata=metadata_of(key),
                process_revision_directives=drop_empty,
                **ours.configure_args,
            )
            context.run_migrations(engine_name=name)
        for _, _, transaction in opened:
            transaction.commit()
    except BaseException:
        for _, _, transaction in opened:
            transaction.rollback()
        raise
    finally:
        for _, connection, _ in opened:
            connection.close()


online()
"""

LEGACY_SCRIPT = """<%!
from flask import current_app
%>\"\"\"${message}\"\"\"
from alembic import op
import sqlalchemy as sa
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
def upgrade(engine_name):
    globals()["upgrade_" + engine_name]()
def downgrade(engine_name):
    globals()["downgrade_" + engine_name]()
% for name in [""] + list(current_app.config.get("SQLALCHEMY_BINDS")):
def upgrade_${name}():
    ${context.get(name + "_upgrades", "pass")}
def downgrade_${name}():
    ${context.get(name + "_downgrades", "pass")}
% endfor
"""


@pytest.mark.parametrize(
    "get_engine",
    [
        "ours.db.get_engine(key)",
        "ours.db.get_engine(bind=key)",
        "ours.db.get_engine(bind_key=key)",
        "ours.db.get_engine(current_app, key)",
        "ours.db.get_engine(current_app, bind=key)",
        "ours.db.get_engine(app=current_app, bind=key)",
        "ours.db.engines[key]",
    ],
)
def test_legacy_env_py(ready: Place, get_engine: str) -> None:
    """A directory in Flask-Migrate's style works with every form of ``get_engine``."""
    Path("migrations/env.py").write_text(LEGACY_ENV_PY.format(get_engine=get_engine))
    Path("migrations/script.py.mako").write_text(LEGACY_SCRIPT)
    flask_dbmigrate.migrate(rev_id="aaa")
    done = flask_dbmigrate.upgrade()
    assert [(found.key, found.after) for found in done.databases] == [
        ("default", ("aaa",)),
        ("reports", ("aaa",)),
    ]
    assert tables(ready) == ({"user"}, {"item"})
    flask_dbmigrate.check()
    assert flask_dbmigrate.migrate().revisions == ()
    flask_dbmigrate.downgrade()
    assert tables(ready) == (set(), set())


def test_template_asks_the_extension_that_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two extensions on one application, a script has the bind keys of the one called."""
    monkeypatch.chdir(tmp_path)
    app = Flask("two", root_path=str(tmp_path))
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'a.db'}"
    flask_dbmigrate.Migrate(app, SQLAlchemy(app))
    other = Flask("other", root_path=str(tmp_path))
    other.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'b.db'}"
    other.config["SQLALCHEMY_BINDS"] = {"only-here": f"sqlite:///{tmp_path / 'c.db'}"}

    class SecondDatabase(SQLAlchemy):
        """Another object on the same application, whose engines are those of ``other``."""

        @property
        def engines(self) -> t.Any:
            return self._app_engines[other]

    db = SecondDatabase(other)
    flask_dbmigrate.Migrate(app, db, directory="second", command="db2")
    with app.app_context():
        flask_dbmigrate.init(multidb=True, command="db2")
        (written,) = flask_dbmigrate.revision(message="x", command="db2").revisions
        for engine in db.engines.values():
            engine.dispose()
    assert "def upgrade_only_here() -> None:" in Path(written.path).read_text()


def test_script_for_one_database(ready: Place) -> None:
    """A script from before there were bind keys runs on the default database only."""
    ready.project.revision(
        "aaa",
        upgrade=["op.create_table('old', sa.Column('id', sa.Integer))"],
        downgrade=["op.drop_table('old')"],
    )
    flask_dbmigrate.upgrade()
    assert tables(ready) == ({"old"}, set())
    assert [found.after for found in flask_dbmigrate.downgrade().databases] == [(), ()]
    assert tables(ready) == (set(), set())


FLASK_MIGRATE_STYLE = """
revision = "aaa"
down_revision = None

from alembic import op
import sqlalchemy as sa

def upgrade(engine_name):
    globals()["upgrade_%s" % engine_name]()

def downgrade(engine_name):
    globals()["downgrade_%s" % engine_name]()

def upgrade_():
    op.create_table("old", sa.Column("id", sa.Integer))

def downgrade_():
    op.drop_table("old")
"""


def test_bind_key_that_is_newer_than_a_script(ready: Place) -> None:
    """A script without a function for a bind key has nothing to do there."""
    (ready.project.folder / "migrations" / "versions" / "aaa_.py").parent.mkdir(exist_ok=True)
    (ready.project.folder / "migrations" / "versions" / "aaa_.py").write_text(FLASK_MIGRATE_STYLE)
    flask_dbmigrate.upgrade()
    assert tables(ready) == ({"old"}, set())
    assert [found.after for found in flask_dbmigrate.downgrade().databases] == [(), ()]


def test_key_error_of_a_script_is_an_error(ready: Place) -> None:
    """Any other KeyError in a script is one: the revision has failed."""
    script = FLASK_MIGRATE_STYLE.replace("upgrade_%s", "other_%s")
    (ready.project.folder / "migrations" / "versions").mkdir(exist_ok=True)
    (ready.project.folder / "migrations" / "versions" / "aaa_.py").write_text(script)
    with pytest.raises(MigrationError, match=r"Revision 'aaa' failed .* KeyError: 'other_'"):
        flask_dbmigrate.upgrade()


@pytest.fixture
def two_revisions(ready: Place) -> Place:
    """The first revision makes a table in both databases, the second does nothing."""
    table = ["op.create_table('kept', sa.Column('id', sa.Integer))"]
    path = ready.project.revision("aaa", upgrade=table, downgrade=["op.drop_table('kept')"])
    path.write_text(path.read_text().replace("grade():", "grade(engine_name):"))
    ready.project.revision("bbb", "aaa")
    return ready


def move(ready: Place, url: str, revision: str) -> None:
    """Say that one of the databases is at another revision."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")


@pytest.mark.parametrize("target", ["-1", "shop@-1"])
def test_relative_downgrade_of_a_database_that_is_behind(two_revisions: Place, target: str) -> None:
    """One step back is one step of the default database: one that is there already stays."""
    first = Path("migrations/versions/aaa_.py")
    first.write_text(first.read_text() + "\nbranch_labels = ('shop',)\n")
    flask_dbmigrate.upgrade()
    move(two_revisions, two_revisions.second, "aaa")
    done = flask_dbmigrate.downgrade(revision=target)
    assert [(found.before, found.after) for found in done.databases] == [
        (("bbb",), ("aaa",)),
        (("aaa",), ("aaa",)),
    ]
    assert tables(two_revisions) == ({"kept"}, {"kept"})


@pytest.fixture
def two_branches(ready: Place) -> Place:
    """Two branches of two revisions; both databases are at their ends."""
    for side in ("left", "right"):
        ready.project.revision(f"{side}1", extra=f"branch_labels = ({side!r},)")
        ready.project.revision(f"{side}2", f"{side}1")
    flask_dbmigrate.upgrade(revision="heads")
    return ready


def places() -> list[tuple[str, ...]]:
    """Where the databases are."""
    found = flask_dbmigrate.current().databases
    return [tuple(revision.revision for revision in database.revisions) for database in found]


@pytest.mark.parametrize(("target", "right"), [("right@-1", ("right1",)), ("right@-2", ())])
def test_relative_downgrade_of_one_branch(
    two_branches: Place, target: str, right: tuple[str, ...]
) -> None:
    """Steps back on one branch leave the others alone, also where they lead to its base."""
    flask_dbmigrate.downgrade(revision=target)
    assert places() == [("left2", *right)] * 2


def test_relative_upgrade_of_one_branch(two_branches: Place) -> None:
    """A step up on one branch is a step of the default database, too."""
    flask_dbmigrate.downgrade(revision="right@base")
    flask_dbmigrate.upgrade(revision="right1", database="reports")
    flask_dbmigrate.upgrade(revision="right@+1")
    assert places() == [("left2", "right1")] * 2


def test_relative_downgrade_of_a_database_that_is_elsewhere(two_revisions: Place) -> None:
    """A database that is below the target is named, and nothing is downgraded anywhere."""
    flask_dbmigrate.upgrade()
    flask_dbmigrate.stamp(revision="base")
    engine = sa.create_engine(two_revisions.project.url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('bbb')")
    with pytest.raises(RevisionError, match="Database 'reports' is at base, which is not above"):
        flask_dbmigrate.downgrade()
    assert tables(two_revisions) == ({"kept"}, {"kept"})
    assert str(flask_dbmigrate.current()) == (
        "Database 'default':\nbbb (head)\nDatabase 'reports':\n<base>"
    )
