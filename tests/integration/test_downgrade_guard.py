"""``downgrade`` says what it drops, and asks before it drops data where somebody can answer."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import subprocess
import typing as t

from click.testing import Result
from flask import Flask
from harness import execute
from harness import Project
from harness import QuickProject
import pytest
from terminal import on_a_terminal

import flask_dbmigrate
from flask_dbmigrate import DataLossError
from flask_dbmigrate import Listener
from flask_dbmigrate import Loss

DROPS = [
    "op.drop_table('full')",
    "with op.batch_alter_table('kept') as batch_op:",
    "    batch_op.drop_column('name')",
    "op.drop_table('empty')",
]
CREATES = [
    f"op.create_table('{table}', sa.Column('id', sa.Integer), sa.Column('name', sa.String(9)))"
    for table in ("full", "kept", "empty")
]
LISTED = """\
This drops from database 'default':
    table 'full', which holds data
    column 'kept.name', which holds data
    table 'empty'
"""


class Place(t.NamedTuple):
    """An application on a database with two tables that hold data."""

    app: Flask
    project: Project

    def downgrade(self, *arguments: str) -> Result:
        """Type ``flask db downgrade``, without a terminal."""
        return self.app.test_cli_runner().invoke(args=["db", "downgrade", *arguments])

    def is_untouched(self) -> bool:
        """Tell whether the data is still there."""
        return self.project.tables() == {"full", "kept", "empty"}


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def ready(
    make_application: Callable[..., t.Any], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Place]:
    """A database that is at the head."""
    url = request.getfixturevalue(f"{request.param}_url")
    application = make_application(url=url)
    with application.app.app_context():
        flask_dbmigrate.init()
        project = Project(tmp_path, url)
        project.revision("aaa", upgrade=CREATES, downgrade=DROPS)
        flask_dbmigrate.upgrade()
        for table in ("full", "kept"):
            execute(url, f"INSERT INTO \"{table}\" VALUES (1, 'x')")
        yield Place(application.app, project)


def test_without_a_terminal(ready: Place) -> None:
    """Without a terminal ``downgrade`` says what it drops and goes on, as scripts expect."""
    done = ready.downgrade()
    assert done.exit_code == 0, done.stderr
    assert done.stderr.startswith(LISTED + "Running downgrade aaa -> , revision aaa")
    assert ready.project.tables() == {"kept"}


def test_protected_without_a_terminal(ready: Place) -> None:
    """``DBMIGRATE_PROTECTED`` demands ``--yes`` there, too."""
    ready.app.config["DBMIGRATE_PROTECTED"] = True
    done = ready.downgrade()
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == LISTED + (
        "Error: This would drop data, and nothing was done: table 'full' of database 'default', "
        "column 'kept.name' of database 'default'.\n"
        "See the whole of it with 'flask db downgrade --plan'. "
        "If the data may go, add '--yes'; in Python, 'yes=True'.\n"
    )
    assert ready.is_untouched()
    assert ready.downgrade("--yes").exit_code == 0
    assert ready.project.tables() == {"kept"}


class Listening(Listener):
    """Notes what is dropped."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bool | None]] = []

    def losses_found(self, database: str, losses: tuple[Loss, ...]) -> None:
        self.told += [(database, str(loss), loss.holds_data) for loss in losses]


def test_api(ready: Place) -> None:
    """The API never asks; where the application is protected it needs ``yes=True``."""
    ready.app.config["DBMIGRATE_PROTECTED"] = True
    listening = Listening()
    with pytest.raises(DataLossError, match="This would drop data, and nothing was done") as caught:
        flask_dbmigrate.downgrade(listener=listening)
    assert [(loss.database, str(loss)) for loss in caught.value.losses] == [
        ("default", "table 'full'"),
        ("default", "column 'kept.name'"),
    ]
    assert listening.told == [
        ("default", "table 'full'", True),
        ("default", "column 'kept.name'", True),
        ("default", "table 'empty'", False),
    ]
    assert ready.is_untouched()
    flask_dbmigrate.downgrade(yes=True)
    assert ready.project.tables() == {"kept"}


def test_api_unprotected(ready: Place) -> None:
    """Without protection the API goes on, as Flask-Migrate's does."""
    flask_dbmigrate.downgrade()
    assert ready.project.tables() == {"kept"}


@pytest.mark.parametrize("answer", [True, False])
def test_somebody_to_ask(ready: Place, answer: bool) -> None:
    """Whoever calls the API can hand in somebody to ask, who is shown what holds data."""
    asked: list[str] = []

    def agrees(losses: tuple[Loss, ...]) -> bool:
        asked.extend(map(str, losses))
        return answer

    ready.app.config["DBMIGRATE_PROTECTED"] = True
    if answer:
        flask_dbmigrate.downgrade(agrees=agrees)
    else:
        with pytest.raises(DataLossError, match="table 'full' of database 'default'"):
            flask_dbmigrate.downgrade(agrees=agrees)
    assert asked == ["table 'full'", "column 'kept.name'"]
    assert ready.is_untouched() is not answer


@pytest.mark.parametrize(
    ("downgrade", "is_refused"),
    [
        (["pass"], False),
        (["op.drop_table('empty')"], False),
        (["op.drop_table('absent', if_exists=True)"], False),
        (["op.execute('DELETE FROM kept')"], False),
        (["for name in ('full', 'empty'):", "    op.drop_table(name)"], True),
        (["if op.get_bind():", "    op.drop_table('full')"], True),
    ],
)
def test_what_is_guarded(ready: Place, downgrade: list[str], is_refused: bool) -> None:
    """Tables and columns with data are guarded, and those that only the script's code names."""
    ready.project.revision("bbb", "aaa", downgrade=downgrade)
    flask_dbmigrate.upgrade()
    ready.app.config["DBMIGRATE_PROTECTED"] = True
    if is_refused:
        with pytest.raises(DataLossError, match="This would drop data"):
            flask_dbmigrate.downgrade()
    else:
        flask_dbmigrate.downgrade()


def test_sql_is_not_guarded(ready: Place) -> None:
    """``--sql`` drops nothing, so it says nothing."""
    ready.app.config["DBMIGRATE_PROTECTED"] = True
    ready.project.revision("bbb", "aaa", downgrade=["op.drop_table('full')"])
    done = ready.downgrade("--sql")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "DROP TABLE" in done.stdout


def test_schema(
    make_application: Callable[..., t.Any], tmp_path: Path, postgresql_url: str
) -> None:
    """A table is looked at in its own schema."""
    create = ["op.create_table('one', sa.Column('id', sa.Integer), schema='sales')"]
    drop = ["op.drop_table('one', schema='sales')"]
    execute(postgresql_url, "CREATE SCHEMA sales", "CREATE TABLE one AS SELECT 1")
    application = make_application(url=postgresql_url)
    application.app.config["DBMIGRATE_PROTECTED"] = True
    with application.app.app_context():
        flask_dbmigrate.init()
        Project(tmp_path, postgresql_url).revision("aaa", upgrade=create, downgrade=drop)
        flask_dbmigrate.upgrade()
        flask_dbmigrate.downgrade()
        flask_dbmigrate.upgrade()
        execute(postgresql_url, "INSERT INTO sales.one VALUES (1)")
        with pytest.raises(DataLossError, match=r"table 'sales\.one' of database 'default'"):
            flask_dbmigrate.downgrade()


def test_table_that_may_not_be_read(
    make_application: Callable[..., t.Any], tmp_path: Path, postgresql_url: str
) -> None:
    """A table whose rows we may not see may hold data; the others are looked at all the same."""
    application = make_application(url=postgresql_url)
    application.app.config["DBMIGRATE_PROTECTED"] = True
    with application.app.app_context():
        flask_dbmigrate.init()
        project = Project(tmp_path, postgresql_url)
        project.revision("aaa", upgrade=CREATES, downgrade=["op.drop_table('empty')", *DROPS[:1]])
        flask_dbmigrate.upgrade()
        execute(postgresql_url, 'REVOKE ALL ON "empty" FROM CURRENT_USER')
        with pytest.raises(DataLossError, match="would drop data") as caught:
            flask_dbmigrate.downgrade()
        assert [(str(loss), loss.holds_data) for loss in caught.value.losses] == [
            ("table 'empty'", None)
        ]


@pytest.fixture(params=["sqlite", "postgresql"])
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    """A project whose database is at the head, and holds data."""
    project = QuickProject(tmp_path / "project", request.getfixturevalue(f"{request.param}_url"))
    project.db("init")
    project.revision("aaa", upgrade=CREATES, downgrade=DROPS)
    project.db("upgrade")
    for table in ("full", "kept"):
        execute(project.url, f"INSERT INTO \"{table}\" VALUES (1, 'x')")
    return project


QUESTION = LISTED + "Drop it, with its data? [y/N] "


@pytest.mark.parametrize(
    ("types", "exit_code", "said"),
    [
        ("y\n", 0, "y\nRunning downgrade aaa -> , revision aaa"),
        ("n\n", 3, "n\nError: This would drop data, and nothing was done: table 'full'"),
        ("\n", 3, "\nError: This would drop data"),
        ("\x04", 3, "\nError: This would drop data"),
        ("\x03", 130, "^C\nInterrupted.\n"),
    ],
    ids=["yes", "no", "return", "end of input", "Ctrl-C"],
)
def test_question_on_a_terminal(project: Project, types: str, exit_code: int, said: str) -> None:
    """On a terminal there is a question, and only a yes drops anything."""
    code, seen = on_a_terminal(project, "downgrade", types=types)
    assert seen.startswith(QUESTION + said), seen
    assert code == exit_code
    assert project.tables() == ({"kept"} if exit_code == 0 else {"full", "kept", "empty"})


def test_no_question_on_a_terminal(project: Project) -> None:
    """There is none with ``--yes``, nor where nothing that is dropped holds data."""
    code, seen = on_a_terminal(project, "downgrade", "--yes")
    assert (code, seen.startswith(LISTED), "[y/N]" in seen) == (0, True, False), seen
    execute(project.url, 'DROP TABLE "kept"')
    project.db("upgrade")
    code, seen = on_a_terminal(project, "downgrade")
    assert (code, "table 'full'\n" in seen, "[y/N]" in seen) == (0, True, False), seen


def test_no_question_with_input_from_elsewhere(project: Project) -> None:
    """A terminal for what is printed is not enough: nothing waits for an answer."""
    code, seen = on_a_terminal(project, "downgrade", stdin=subprocess.DEVNULL)
    assert (code, seen.startswith(LISTED), "[y/N]" in seen) == (0, True, False), seen
