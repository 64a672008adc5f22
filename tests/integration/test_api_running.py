"""``upgrade``, ``downgrade``, ``stamp`` and ``ensure_version`` from Python."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
import typing as t

from flask import current_app
from harness import normal
from harness import Project
import pytest

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import DatabaseResult
from flask_dbmigrate import MigrationResult
from flask_dbmigrate import RevisionError
from flask_dbmigrate import RevisionNotFoundError
from flask_dbmigrate import StepResult
from flask_dbmigrate import UnknownDatabaseRevisionError


@pytest.fixture
def ready(application: t.Any, tmp_path: Path, sqlite_url: str) -> Iterator[Project]:
    """The folder of an application with two revisions, its context pushed."""
    with application.app.app_context():
        flask_dbmigrate.init()
        project = Project(tmp_path, sqlite_url)
        for name, down in (("aaa", None), ("bbb", "aaa")):
            project.revision(
                name,
                down,
                upgrade=[f"op.create_table('{name}', sa.Column('id', sa.Integer))"],
                downgrade=[f"op.drop_table('{name}')"],
            )
        yield project


@pytest.fixture
def branched(ready: Project) -> Project:
    """The same with a second branch and a merge of both."""
    ready.revision("ccc", "aaa")
    ready.revision("ddd", ("bbb", "ccc"))
    return ready


def step(direction: str, description: str, *revisions: str) -> StepResult:
    """A step, however long it took."""
    return StepResult(direction, revisions, description, 0)


def result(url: str, before: t.Any, after: t.Any, *steps: StepResult) -> MigrationResult:
    """The result of a run on the default database."""
    return MigrationResult((DatabaseResult("default", url, before, after, steps),))


def test_upgrade_returns_what_it_did(ready: Project) -> None:
    """``upgrade()`` returns where the database was, where it is, and each step."""
    done = flask_dbmigrate.upgrade()
    assert done == result(
        ready.url,
        (),
        ("bbb",),
        step("upgrade", "upgrade  -> aaa, revision aaa", "aaa"),
        step("upgrade", "upgrade aaa -> bbb, revision bbb", "bbb"),
    )
    assert normal(str(done)) == (
        "Database 'default' is at 'bbb' now: 2 revisions with 2 statements in 0.01 s."
    )
    assert ready.tables() == {"aaa", "bbb"}


def test_facts_of_a_run(ready: Project) -> None:
    """A result says how long a run took and how many statements it executed, log or no log."""
    current_app.config["DBMIGRATE_LOG"] = False
    ready.revision("ccc", "bbb", upgrade=["for _ in 'three':", "    op.execute('SELECT 1')"])
    (done,) = flask_dbmigrate.upgrade().databases
    assert [step.statements for step in done.steps] == [1, 1, 5]
    assert done.statements == 7
    assert done.seconds == sum(step.seconds for step in done.steps) > 0


def test_upgrade_with_nothing_to_do(ready: Project) -> None:
    """``upgrade()`` at the head says so and has no steps."""
    flask_dbmigrate.upgrade()
    again = flask_dbmigrate.upgrade()
    assert again == result(ready.url, ("bbb",), ("bbb",))
    assert str(again) == "Database 'default' is at 'bbb': nothing to do."


def test_results_cannot_be_changed(ready: Project) -> None:
    """A result is frozen, down to its steps."""
    done = flask_dbmigrate.upgrade()
    for value, name in (
        (done, "databases"),
        (done.databases[0], "after"),
        (done.databases[0].steps[0], "direction"),
    ):
        with pytest.raises(FrozenInstanceError, match="cannot assign to field"):
            setattr(value, name, ())


@pytest.mark.parametrize(
    ("target", "tables"),
    [
        ("head", {"aaa", "bbb"}),
        ("heads", {"aaa", "bbb"}),
        ("+1", {"aaa"}),
        ("aaa", {"aaa"}),
        ("aaa+1", {"aaa", "bbb"}),
    ],
)
def test_targets_of_upgrade(ready: Project, target: str, tables: set[str]) -> None:
    """``upgrade()`` takes every form of target that Alembic has."""
    flask_dbmigrate.upgrade(revision=target)
    assert ready.tables() == tables


@pytest.mark.parametrize(
    ("target", "tables"),
    [("-1", {"aaa"}), ("-2", set()), ("base", set()), ("aaa", {"aaa"}), ("bbb-1", {"aaa"})],
)
def test_targets_of_downgrade(ready: Project, target: str, tables: set[str]) -> None:
    """``downgrade()`` takes every form of target that Alembic has."""
    flask_dbmigrate.upgrade()
    flask_dbmigrate.downgrade(revision=target)
    assert ready.tables() == tables


def test_downgrade_returns_what_it_did(ready: Project) -> None:
    """``downgrade()`` takes back one revision by default and says which."""
    flask_dbmigrate.upgrade()
    done = flask_dbmigrate.downgrade()
    assert done == result(
        ready.url,
        ("bbb",),
        ("aaa",),
        step("downgrade", "downgrade bbb -> aaa, revision bbb", "bbb"),
    )
    assert normal(str(done)) == (
        "Database 'default' is at 'aaa' now: 1 revision with 1 statement in 0.01 s."
    )


def test_downgrade_to_base_says_base(ready: Project) -> None:
    """A database without revisions is 'at base'."""
    flask_dbmigrate.upgrade()
    done = flask_dbmigrate.downgrade(revision="base")
    assert done.databases[0].after == ()
    assert normal(str(done)) == (
        "Database 'default' is at base now: 2 revisions with 2 statements in 0.01 s."
    )


def test_functions_take_positional_arguments(ready: Project) -> None:
    """``upgrade`` and ``downgrade`` take Flask-Migrate's parameters by position."""
    flask_dbmigrate.upgrade("migrations", "aaa", False, None, None)
    flask_dbmigrate.downgrade("migrations", "base", False, None, None)
    flask_dbmigrate.stamp("migrations", "bbb", False, None, False)
    (database,) = flask_dbmigrate.current("migrations", False).databases
    assert [found.revision for found in database.revisions] == ["bbb"]


def test_directory_may_be_a_path(ready: Project) -> None:
    """A directory is a string or a path, relative or absolute."""
    flask_dbmigrate.upgrade(ready.folder / "migrations")
    flask_dbmigrate.downgrade(Path("migrations"))
    assert ready.tables() == {"aaa"}


class Listening(flask_dbmigrate.Listener):
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def step_started(self, database: str, description: str) -> None:
        self.told.append(f"{database} starts {description}")

    def step_finished(self, database: str, step: StepResult) -> None:
        assert step.seconds >= 0
        self.told.append(f"{database} finished {step.description}")


def test_listener_is_told_each_step(ready: Project) -> None:
    """A listener hears of each step when it starts and when it is in the version table."""
    listening = Listening()
    flask_dbmigrate.upgrade(listener=listening)
    assert listening.told == [
        "default starts upgrade  -> aaa, revision aaa",
        "default finished upgrade  -> aaa, revision aaa",
        "default starts upgrade aaa -> bbb, revision bbb",
        "default finished upgrade aaa -> bbb, revision bbb",
    ]


def test_api_prints_nothing(ready: Project, capfd: pytest.CaptureFixture[str]) -> None:
    """Functions that return values leave stdout and stderr alone."""
    flask_dbmigrate.upgrade()
    flask_dbmigrate.current(verbose=True)
    flask_dbmigrate.history(verbose=True)
    flask_dbmigrate.downgrade()
    flask_dbmigrate.stamp()
    flask_dbmigrate.revision(message="more")
    flask_dbmigrate.list_templates()
    flask_dbmigrate.init("other")
    assert capfd.readouterr() == ("", "")


def test_stamp_returns_what_it_did(ready: Project) -> None:
    """``stamp()`` sets the version and runs nothing."""
    done = flask_dbmigrate.stamp(revision="aaa")
    assert done == result(
        ready.url, (), ("aaa",), step("stamp", done.databases[0].steps[0].description, "aaa")
    )
    assert str(done) == "Database 'default' is at 'aaa' now."
    assert ready.tables() == set()
    assert ready.query("SELECT version_num FROM alembic_version") == [("aaa",)]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("head", {"ddd"}),
        ("base", set()),
        (["bbb"], {"bbb"}),
        (["bbb", "ccc"], {"bbb", "ccc"}),
        (("ccc", "bbb"), {"bbb", "ccc"}),
    ],
)
@pytest.mark.parametrize("start", ["base", "aaa", "bbb", "ddd"])
def test_stamp_of_several(
    branched: Project, start: str, targets: str | list[str], expected: set[str]
) -> None:
    """``stamp()`` sets one revision or two branches, wherever the database was."""
    flask_dbmigrate.stamp(revision=start)
    done = flask_dbmigrate.stamp(revision=targets)
    stamped = {row[0] for row in branched.query("SELECT version_num FROM alembic_version")}
    assert stamped == expected
    assert set(done.databases[0].after) == expected


def test_stamp_with_purge(ready: Project) -> None:
    """``stamp(purge=True)`` replaces a version that no script has."""
    flask_dbmigrate.stamp()
    ready.query("UPDATE alembic_version SET version_num = 'gone'")
    with pytest.raises(UnknownDatabaseRevisionError, match="is at revision 'gone'") as caught:
        flask_dbmigrate.stamp(revision="aaa")
    assert (caught.value.database, caught.value.revision) == ("default", "gone")
    flask_dbmigrate.stamp(revision="aaa", purge=True)
    assert ready.query("SELECT version_num FROM alembic_version") == [("aaa",)]


def test_failing_stamp_changes_nothing(branched: Project) -> None:
    """``stamp()`` of several revisions, one of them unknown, sets none of them."""
    flask_dbmigrate.stamp(revision="aaa")
    with pytest.raises(RevisionNotFoundError, match="There is no revision or branch 'zzz'"):
        flask_dbmigrate.stamp(revision=["bbb", "zzz"])
    assert branched.query("SELECT version_num FROM alembic_version") == [("aaa",)]


def test_ensure_version(ready: Project) -> None:
    """``ensure_version()`` creates an empty version table, and says where the database is."""
    done = flask_dbmigrate.ensure_version()
    assert done == result(ready.url, (), ())
    assert ready.inspect() == ["alembic_version"]
    assert ready.query("SELECT * FROM alembic_version") == []


@pytest.mark.parametrize("command", ["upgrade", "downgrade", "stamp"])
def test_unknown_target(ready: Project, command: str) -> None:
    """A target that does not exist is named, with those that are close."""
    flask_dbmigrate.upgrade()
    with pytest.raises(RevisionNotFoundError, match="There is no revision or branch 'aab'") as got:
        getattr(flask_dbmigrate, command)(revision="aab")
    assert (got.value.revision, got.value.matches) == ("aab", ("aaa",))


def test_upgrade_below_is_refused(ready: Project) -> None:
    """``upgrade()`` beyond the head says that there are not so many revisions."""
    with pytest.raises(RevisionError, match=r"'\+3' goes further than there are revisions"):
        flask_dbmigrate.upgrade(revision="+3")


def test_range_without_sql(ready: Project) -> None:
    """A range is for ``sql`` only."""
    with pytest.raises(ConfigurationError, match="The range 'aaa:bbb' needs '--sql'") as caught:
        flask_dbmigrate.upgrade(revision="aaa:bbb")
    assert caught.value.hint == "Give the target only: 'bbb'."


@pytest.mark.parametrize(
    ("call", "statements"),
    [
        (
            lambda: flask_dbmigrate.upgrade(sql=True),
            ["CREATE TABLE mine", "CREATE TABLE aaa", "INSERT INTO mine", "CREATE TABLE bbb"],
        ),
        (lambda: flask_dbmigrate.upgrade(revision="aaa:bbb", sql=True), ["CREATE TABLE bbb"]),
        (lambda: flask_dbmigrate.downgrade(sql=True), ["DROP TABLE bbb", "UPDATE mine"]),
        (
            lambda: flask_dbmigrate.downgrade(revision="bbb:base", sql=True),
            ["DROP TABLE bbb", "DROP TABLE aaa", "DELETE FROM mine"],
        ),
        (lambda: flask_dbmigrate.stamp(sql=True), ["INSERT INTO mine"]),
        (lambda: flask_dbmigrate.stamp(revision="aaa:bbb", sql=True), ["UPDATE mine"]),
        (lambda: flask_dbmigrate.ensure_version(sql=True), ["CREATE TABLE mine"]),
    ],
)
def test_sql_goes_to_stdout(
    make_application: Callable[..., t.Any],
    ready: Project,
    capsys: pytest.CaptureFixture[str],
    call: Callable[[], MigrationResult],
    statements: list[str],
) -> None:
    """With ``sql`` the SQL is on stdout, with the options of ``Migrate``; nothing is run."""
    with make_application("second", version_table="mine").app.app_context():
        call()
    written = capsys.readouterr().out
    assert [text for text in statements if text not in written] == []
    assert "alembic_version" not in written
    assert ready.inspect() == []


def test_options_of_migrate_online(make_application: Callable[..., t.Any], ready: Project) -> None:
    """An option of ``Migrate`` such as the version table's name counts online, too."""
    with make_application("second", version_table="mine").app.app_context():
        flask_dbmigrate.upgrade(revision="aaa")
        (database,) = flask_dbmigrate.current().databases
    assert sorted(ready.inspect()) == ["aaa", "mine", "mine_log"]
    assert [found.revision for found in database.revisions] == ["aaa"]


def test_downgrade_sql_needs_a_start(ready: Project) -> None:
    """``downgrade(sql=True)`` to a revision asks for a range."""
    with pytest.raises(ConfigurationError, match="needs to know where to start") as caught:
        flask_dbmigrate.downgrade(revision="aaa", sql=True)
    assert caught.value.hint == "Give a range, such as 'flask db downgrade --sql head:aaa'."


def test_stamp_sql_refuses_purge(ready: Project) -> None:
    """``stamp(sql=True, purge=True)`` is refused."""
    with pytest.raises(ConfigurationError, match="'--purge' cannot be used with '--sql'"):
        flask_dbmigrate.stamp(sql=True, purge=True)


ENV_PY = """
from pathlib import Path
from alembic import context
from flask_dbmigrate.env import run_migrations
Path("seen").write_text(repr((context.get_x_argument(), context.get_tag_argument())))
run_migrations()
"""


@pytest.mark.parametrize(
    ("x_arg", "expected"),
    [(None, []), ("a=1", ["a=1"]), (["a=1", "b"], ["a=1", "b"]), (("a=1",), ["a=1"])],
)
def test_x_arg_and_tag_reach_env_py(ready: Project, x_arg: t.Any, expected: list[str]) -> None:
    """``x_arg`` is a string or several, and env.py reads it, and the tag."""
    Path("migrations/env.py").write_text(ENV_PY)
    flask_dbmigrate.upgrade(x_arg=x_arg, tag="mark")
    assert Path("seen").read_text() == repr((expected, "mark"))
    Path("seen").unlink()
    flask_dbmigrate.current(x_arg=x_arg)
    assert Path("seen").read_text() == repr((expected, None))


@pytest.mark.parametrize(
    "call",
    [
        lambda: flask_dbmigrate.init(),
        lambda: flask_dbmigrate.upgrade("nowhere"),
        lambda: flask_dbmigrate.downgrade(),
        lambda: flask_dbmigrate.show(revision="zzz"),
        lambda: flask_dbmigrate.history(rev_range="zzz:"),
        lambda: flask_dbmigrate.merge(),
        lambda: flask_dbmigrate.check(),
        lambda: flask_dbmigrate.current(check_heads=True),
    ],
)
def test_errors_are_no_system_exit(ready: Project, call: Callable[[], object]) -> None:
    """Whatever fails raises an error of the tree, with a sentence."""
    with pytest.raises(flask_dbmigrate.DBMigrateError, match=r"^\S.*\.$"):
        call()
