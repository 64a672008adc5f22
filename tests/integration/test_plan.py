"""``upgrade --plan`` and ``downgrade --plan``: what a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import json
from pathlib import Path
import typing as t

from click.testing import Result
from flask import Flask
from harness import Project
import pytest

import flask_dbmigrate
from flask_dbmigrate import DatabasePlan
from flask_dbmigrate import MigrationPlan
from flask_dbmigrate import Operation
from flask_dbmigrate import PlannedStep
from flask_dbmigrate import RevisionError
from flask_dbmigrate import RevisionNotFoundError
from flask_dbmigrate import UnknownDatabaseRevisionError

UPGRADE_BBB = [
    "open('executed', 'w').close()",
    "with op.batch_alter_table('aaa') as batch_op:",
    "    batch_op.add_column(sa.Column('name', sa.String(10)))",
]
DOWNGRADE_BBB = ["op.drop_column('aaa', 'name')", "open('executed', 'w').close()"]


class Place(t.NamedTuple):
    """An application with two revisions, its context pushed."""

    app: Flask
    project: Project

    def invoke(self, *arguments: str) -> Result:
        """Type a command."""
        return self.app.test_cli_runner().invoke(args=["db", *arguments], prog_name="flask")

    def shows(self, *arguments: str) -> str:
        """Type a command that succeeds, and return its stdout."""
        done = self.invoke(*arguments)
        assert (done.exit_code, done.stderr) == (0, "")
        return done.stdout


def place(make_application: Callable[..., t.Any], folder: Path, url: str) -> Iterator[Place]:
    """Make an application on a database."""
    application = make_application(url=url)
    with application.app.app_context():
        flask_dbmigrate.init()
        project = Project(folder, url)
        project.revision(
            "aaa",
            upgrade=["op.create_table('aaa', sa.Column('id', sa.Integer))"],
            downgrade=["op.drop_table('aaa')"],
        )
        project.revision("bbb", "aaa", upgrade=UPGRADE_BBB, downgrade=DOWNGRADE_BBB)
        yield Place(application.app, project)


@pytest.fixture
def ready(
    make_application: Callable[..., t.Any], tmp_path: Path, sqlite_url: str
) -> Iterator[Place]:
    """An application on SQLite."""
    yield from place(make_application, tmp_path, sqlite_url)


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def anywhere(
    make_application: Callable[..., t.Any], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Place]:
    """The same on each DBMS."""
    yield from place(make_application, tmp_path, request.getfixturevalue(f"{request.param}_url"))


BOTH = """\
Database 'default' is at base, with 2 revisions to apply:
upgrade  -> aaa, revision aaa
    create table 'aaa' (line 8)
upgrade aaa -> bbb, revision bbb
    runs Python (migrations/versions/bbb_.py:8)
    add column 'aaa.name' (line 10)
"""
SECOND = """\
Database 'default' is at 'aaa', with 1 revision to apply:
upgrade aaa -> bbb, revision bbb
    runs Python (migrations/versions/bbb_.py:8)
    add column 'aaa.name' (line 10)
"""
NOTHING = "Database 'default' is at 'bbb': nothing to do.\n"
BACK = """\
Database 'default' is at 'bbb', with 2 revisions to take back:
downgrade bbb -> aaa, revision bbb
    drop column 'aaa.name' (line 12)
    runs Python (migrations/versions/bbb_.py:13)
downgrade aaa -> , revision aaa
    drop table 'aaa' (line 10)
"""


def test_plan_is_shown_and_nothing_done(anywhere: Place) -> None:
    """A plan names the pending revisions and their operations; the database stays as it was."""
    assert anywhere.shows("upgrade", "--plan") == BOTH
    assert anywhere.project.inspect() == []
    flask_dbmigrate.upgrade(revision="aaa")
    assert anywhere.shows("upgrade", "--plan") == SECOND
    assert not Path("executed").exists()
    flask_dbmigrate.upgrade()
    Path("executed").unlink()
    assert anywhere.shows("upgrade", "--plan") == NOTHING
    assert anywhere.shows("downgrade", "--plan", "base") == BACK
    assert not Path("executed").exists()
    assert anywhere.project.query("SELECT version_num FROM alembic_version") == [("bbb",)]
    assert anywhere.project.tables() == {"aaa"}


def test_plan_as_a_value(ready: Place) -> None:
    """The API returns the plan as plain data, and it equals what a run then does."""
    flask_dbmigrate.upgrade(revision="aaa")
    path = str(Path("migrations/versions/bbb_.py").absolute())
    plan = flask_dbmigrate.plan_upgrade()
    python = "runs Python (migrations/versions/bbb_.py:8)"
    assert plan == MigrationPlan(
        (
            DatabasePlan(
                "default",
                ready.project.url,
                ("aaa",),
                (
                    PlannedStep(
                        "upgrade",
                        "bbb",
                        "upgrade aaa -> bbb, revision bbb",
                        (
                            Operation("python", None, None, None, python, path, 8),
                            Operation(
                                *("add_column", "aaa", None, "name", "add column 'aaa.name'"),
                                path=path,
                                line=10,
                            ),
                        ),
                    ),
                ),
            ),
        )
    )
    assert str(plan) + "\n" == SECOND
    (planned,), (done,) = plan.databases, flask_dbmigrate.upgrade().databases
    assert [step.description for step in planned.steps] == [step.description for step in done.steps]


def test_plan_as_json(ready: Place) -> None:
    """``--json`` has all facts of the plan."""
    (database,) = json.loads(ready.shows("upgrade", "--plan", "--json", "aaa"))["databases"]
    assert (database["key"], database["before"]) == ("default", [])
    (step,) = database["steps"]
    assert (step["direction"], step["revision"]) == ("upgrade", "aaa")
    assert step["operations"] == [
        {
            "kind": "create_table",
            "table": "aaa",
            "schema": None,
            "name": None,
            "text": "create table 'aaa'",
            "path": str(Path("migrations/versions/aaa_.py").absolute()),
            "line": 8,
            "contains": [],
        }
    ]


@pytest.mark.parametrize(
    ("target", "revisions"),
    [("head", ["aaa", "bbb"]), ("+1", ["aaa"]), ("aaa", ["aaa"]), ("heads", ["aaa", "bbb"])],
)
def test_targets(ready: Place, target: str, revisions: list[str]) -> None:
    """A plan takes the targets that the run takes."""
    (database,) = flask_dbmigrate.plan_upgrade(revision=target).databases
    assert [step.revision for step in database.steps] == revisions


@pytest.mark.parametrize(("target", "revisions"), [("-1", ["bbb"]), ("base", ["bbb", "aaa"])])
def test_targets_down(ready: Place, target: str, revisions: list[str]) -> None:
    """A plan of a downgrade does, too; ``-1`` needs no ``--``."""
    flask_dbmigrate.upgrade()
    (database,) = json.loads(ready.shows("downgrade", "--plan", "--json", target))["databases"]
    assert [step["revision"] for step in database["steps"]] == revisions


def test_plan_of_nothing_to_take_back(ready: Place) -> None:
    """A plan fails where the run would fail."""
    with pytest.raises(RevisionError, match="is at base: there is nothing to downgrade"):
        flask_dbmigrate.plan_downgrade()
    with pytest.raises(RevisionNotFoundError, match="There is no revision or branch 'zzz'"):
        flask_dbmigrate.plan_upgrade(revision="zzz")
    flask_dbmigrate.stamp()
    ready.project.query("UPDATE alembic_version SET version_num = 'gone'")
    with pytest.raises(UnknownDatabaseRevisionError, match="is at revision 'gone'"):
        flask_dbmigrate.plan_upgrade()


@pytest.mark.parametrize("option", ["--sql", "--output=folder"])
def test_plan_or_sql(ready: Place, option: str) -> None:
    """``--plan`` and ``--sql`` exclude one another."""
    done = ready.invoke("upgrade", "--plan", option)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "'--plan' shows operations and '--sql' shows statements" in done.stderr


OURS = """
from alembic import op
import sqlalchemy as sa
revision = {revision!r}
down_revision = {down!r}

def upgrade(engine_name):
    run = {{"": upgrade_, "a": upgrade_a}}
    if engine_name in run:
        run[engine_name]()

def downgrade(engine_name):
    globals()["downgrade_%s" % engine_name]()

def upgrade_():
    op.create_table("{revision}", sa.Column("id", sa.Integer))

def downgrade_():
    op.drop_table("{revision}")

def upgrade_a():
    pass

def downgrade_a():
    pass
"""


@pytest.fixture
def several(
    make_application: Callable[..., t.Any], tmp_path: Path, sqlite_url: str
) -> Iterator[Place]:
    """An application with two databases and two revisions, the second database empty."""
    application = make_application(binds={"a": f"sqlite:///{tmp_path / 'a.db'}"})
    with application.app.app_context():
        flask_dbmigrate.init(multidb=True)
        Path("migrations/versions").mkdir(exist_ok=True)
        for revision, down in (("aaa", None), ("bbb", "aaa")):
            path = Path("migrations/versions", f"{revision}_.py")
            path.write_text(OURS.format(revision=revision, down=down))
        yield Place(application.app, Project(tmp_path, sqlite_url))


def test_plan_of_several_databases(several: Place) -> None:
    """Each database has its own plan: where it stands, and the operations that are for it."""
    flask_dbmigrate.upgrade(revision="aaa", database="default")
    assert several.shows("upgrade", "--plan") == (
        "Database 'default' is at 'aaa', with 1 revision to apply:\n"
        "upgrade aaa -> bbb\n"
        "    create table 'bbb' (line 16)\n"
        "\n"
        "Database 'a' is at base, with 2 revisions to apply:\n"
        "upgrade  -> aaa\n"
        "    nothing to do here\n"
        "upgrade aaa -> bbb\n"
        "    nothing to do here\n"
    )
    plan = flask_dbmigrate.plan_upgrade(database="a")
    assert [database.key for database in plan.databases] == ["a"]


def test_plan_of_steps_down_of_several_databases(several: Place) -> None:
    """A number of steps has one target for all databases, as in a run."""
    flask_dbmigrate.upgrade(database="default")
    flask_dbmigrate.upgrade(revision="aaa", database="a")
    plan = flask_dbmigrate.plan_downgrade()
    steps = {found.key: [step.revision for step in found.steps] for found in plan.databases}
    assert steps == {"default": ["bbb"], "a": []}
