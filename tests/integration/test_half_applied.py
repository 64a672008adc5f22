"""A half-applied revision: what is said of it, and what leads on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
import json
from pathlib import Path
import re
import shutil
import sqlite3
import typing as t

from harness import Application
from harness import execute
from harness import LEGACY_ENV_PY
from harness import normal
from harness import Project
from harness import QuickProject
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import HalfAppliedError
from flask_dbmigrate import MigrationError

MAKE = [
    "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True),",
    "    sa.Column('n', sa.Integer))",
    "op.execute('INSERT INTO t VALUES (1, 100)')",
]
COUNT = "op.execute('UPDATE t SET n = n + 1')"
ADD = "op.add_column('t', sa.Column('a', sa.Integer))"
ADD_MORE = "op.add_column('t', sa.Column('b', sa.Integer))"
FAIL = "op.execute('INSERT INTO missing VALUES (1)')"

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC by \S+"


def begin(folder: Path, url: str, env_py: str | None = None) -> QuickProject:
    """Make a project at the revision ``aaa``, which has made a table with one row."""
    project = QuickProject(folder, url)
    project.db("init")
    if env_py is not None:
        (folder / "migrations/env.py").write_text(env_py)
    project.revision("aaa", upgrade=MAKE)
    project.db("upgrade")
    return project


@pytest.fixture(params=[None, LEGACY_ENV_PY], ids=["ours", "legacy"])
def project(request: pytest.FixtureRequest, tmp_path: Path, mysql_url: str) -> QuickProject:
    """A project on MariaDB, with an env.py of ours or an old one."""
    return begin(tmp_path, mysql_url, request.param)


@pytest.fixture
def place(tmp_path: Path, mysql_url: str) -> QuickProject:
    """A project on MariaDB."""
    return begin(tmp_path, mysql_url)


@pytest.fixture
def on_postgresql(tmp_path: Path, postgresql_url: str) -> QuickProject:
    """A project on PostgreSQL."""
    return begin(tmp_path, postgresql_url)


def half_apply(project: Project, *more: str) -> Path:
    """Run a revision that fails after two statements."""
    path = project.revision("bbb", "aaa", upgrade=[COUNT, ADD, FAIL, *more])
    project.fails("upgrade", exit_code=4)
    return path


def at(project: Project) -> list[tuple[t.Any, ...]]:
    """Where the database is."""
    return project.query("SELECT version_num FROM alembic_version")


def journal(project: Project) -> list[tuple[t.Any, ...]]:
    """How many statements the journal has."""
    return project.query("SELECT count(*) FROM alembic_version_journal")


def test_picture(project: QuickProject) -> None:
    """A revision that fails half-way says what is done and what is not, and exits with 4."""
    project.revision("bbb", "aaa", upgrade=[COUNT, ADD, FAIL, ADD_MORE])
    said = project.fails("upgrade", exit_code=4).splitlines()
    assert said == [
        "Error: Revision 'bbb' failed on database 'default' (migrations/versions/bbb_.py, line "
        f"10): Table '{sa.make_url(project.url).database}.missing' doesn't exist. The statement "
        "was: INSERT INTO missing VALUES (1). The database is at 'aaa' now. The revision is "
        "half-applied:",
        "    done       UPDATE t SET n = n + 1 (line 8)",
        "    done       ALTER TABLE t ADD COLUMN a INTEGER (line 9)",
        "    not done   execute INSERT INTO missing VALUES (1) (line 10)",
        "    not done   add column 't.b' (line 11)",
        "Correct 'migrations/versions/bbb_.py' and run the command again. It goes on after what "
        "is done. If the revision is wrong as a whole, undo what is done, say so with 'flask db "
        "resolve --rolled-back bbb', and correct it then.",
    ]


def test_it_goes_on(project: QuickProject) -> None:
    """When the script is corrected, the same command completes it; nothing is done twice."""
    half_apply(project)
    project.revision("bbb", "aaa", upgrade=[COUNT, ADD, ADD_MORE, COUNT])
    done = project.flask("db", "upgrade")
    assert (done.returncode, normal(done.stderr).splitlines()) == (
        0,
        [
            "Resuming the upgrade of revision 'bbb': 2 statements are done.",
            "Running upgrade aaa -> bbb, revision bbb (0.01 s)",
            "Database 'default' is at 'bbb' now: 1 revision with 2 statements in 0.01 s.",
        ],
    )
    assert project.query("SELECT * FROM t") == [(1, 102, None, None)]
    assert journal(project) == [(0,)]


def test_failing_ddl(project: QuickProject) -> None:
    """A DDL statement that the server has refused is not done; the next try begins with it."""
    project.revision("bbb", "aaa", upgrade=[COUNT, ADD, ADD, COUNT])
    said = project.fails("upgrade", exit_code=4)
    assert "    not done   ALTER TABLE t ADD COLUMN a INTEGER (line 10)\n" in said
    project.revision("bbb", "aaa", upgrade=[COUNT, ADD, ADD_MORE, COUNT])
    project.db("upgrade")
    assert project.query("SELECT * FROM t") == [(1, 102, None, None)]


@pytest.mark.parametrize("before", [[], [COUNT], ["op.get_bind().exec_driver_sql('SELECT 1')"]])
def test_nothing_done(project: QuickProject, before: list[str]) -> None:
    """Where the first change of the schema fails, only what came before it may be done."""
    project.revision("bbb", "aaa", upgrade=[*before, "op.add_column('t', sa.Column('n', sa.Date))"])
    is_committed = before == [COUNT]  # DDL that fails has committed what was before it
    said = project.fails("upgrade", exit_code=4 if is_committed else 1)
    assert ("half-applied" in said) is is_committed
    assert (project.flask("db", "status").stdout.startswith("Revision 'bbb'")) is is_committed


def test_status(place: QuickProject) -> None:
    """``status`` shows a half-applied revision first, with who ran it and when."""
    half_apply(place)
    first, *lines = place.db("status").splitlines()
    assert re.fullmatch(
        r"Revision 'bbb' is half-applied on database 'default': its upgrade, begun on "
        rf"{TIME}, is not complete\.",
        first,
    )
    assert lines[:4] == [
        "    done       UPDATE t SET n = n + 1 (line 8)",
        "    done       ALTER TABLE t ADD COLUMN a INTEGER (line 9)",
        "    not done   execute INSERT INTO missing VALUES (1) (line 10)",
        "Go on with 'flask db resume'. Or finish it by hand and say so with 'flask db resolve "
        "--applied bbb', or undo it by hand and say so with 'flask db resolve --rolled-back bbb'.",
    ]
    assert lines[4].endswith("is at 'aaa', with 1 revision pending:")
    (database,) = json.loads(place.db("status", "--json"))["databases"]
    assert database["half_applied"]["revision"] == "bbb"
    assert database["half_applied"]["obstacle"] == ""
    assert place.flask("db", "status", "--exit-code").returncode == 3


def test_no_resume(place: QuickProject) -> None:
    """``--no-resume`` leaves it to ``flask db resume``."""
    half_apply(place)
    place.revision("bbb", "aaa", upgrade=[COUNT, ADD, COUNT])
    place.revision("ccc", "bbb", upgrade=[COUNT])
    said = place.fails("upgrade", "--no-resume", exit_code=4)
    assert "Go on with 'flask db resume'." in said
    assert place.query("SELECT n FROM t") == [(101,)]
    done = place.flask("db", "resume")
    assert (done.returncode, normal(done.stderr).splitlines()) == (
        0,
        [
            "Resuming the upgrade of revision 'bbb': 2 statements are done.",
            "Running upgrade aaa -> bbb, revision bbb (0.01 s)",
            "Database 'default' is at 'bbb' now: 1 revision with 1 statement in 0.01 s.",
        ],
    )
    assert (at(place), place.query("SELECT n FROM t")) == ([("bbb",)], [(102,)])


def test_nothing_to_resume(place: QuickProject) -> None:
    """``resume`` does nothing where nothing is half-applied, whatever is pending."""
    place.revision("bbb", "aaa", upgrade=[COUNT])
    done = place.flask("db", "resume")
    assert (done.returncode, done.stderr) == (0, "Database 'default' is at 'aaa': nothing to do.\n")


def test_setting(place: QuickProject) -> None:
    """``DBMIGRATE_RESUME = False`` is the same for all runs."""
    half_apply(place)
    app = (place.folder / "app.py").read_text()
    config = "app.config['DBMIGRATE_RESUME'] = False\n    db.init_app"
    (place.folder / "app.py").write_text(app.replace("db.init_app", config))
    place.revision("bbb", "aaa", upgrade=[COUNT, ADD])
    place.fails("upgrade", exit_code=4)
    place.db("upgrade", "--resume")
    assert at(place) == [("bbb",)]


def test_edited(place: QuickProject) -> None:
    """A script that does something else where it was done already is refused."""
    half_apply(place)
    place.revision("bbb", "aaa", upgrade=["op.execute('UPDATE t SET n = n + 2')", ADD])
    said = place.fails("upgrade", exit_code=4).splitlines()
    assert said[1] == (
        "Error: Revision 'bbb' is half-applied on database 'default', and its script does not do "
        "the same again: in line 8 it differs from statement 1, which is done."
    )
    assert said[-1].startswith(
        "Write 'migrations/versions/bbb_.py' so that it does again what is done, as it was when it "
        "was run, and go on with 'flask db resume'. Or finish it by hand"
    )
    place.revision("bbb", "aaa", upgrade=[COUNT])
    assert "where it ends it differs from statement 2" in place.fails("upgrade", exit_code=4)
    assert place.query("SELECT * FROM t") == [(1, 101, None)]


def test_edit_that_the_script_hides(place: QuickProject) -> None:
    """A script that catches errors does not become applied by it."""
    half_apply(place)
    other = "op.execute('UPDATE t SET n = n + 2')"
    lines = ["try:", f"    {other}", "except Exception:", "    pass", ADD]
    place.revision("bbb", "aaa", upgrade=lines)
    assert "does not do the same again" in place.fails("upgrade", exit_code=4)
    assert at(place) == [("aaa",)]


BYPASSES = {
    "connection": ["op.get_bind().exec_driver_sql('UPDATE t SET n = n + 1')"],
    "procedure": ["op.get_bind().exec_driver_sql('SELECT sleep(0)')"],
    "temporary table": ["op.get_bind().exec_driver_sql('CREATE TEMPORARY TABLE x (id INTEGER)')"],
    "session": [
        "from flask import current_app",
        "current_app.extensions['sqlalchemy'].session.execute(sa.text('SELECT 1'))",
    ],
}


@pytest.mark.parametrize("how", BYPASSES)
def test_bypass(place: QuickProject, how: str) -> None:
    """What does not go through an operation is not guessed at."""
    place.revision("bbb", "aaa", upgrade=[ADD, *BYPASSES[how], ADD_MORE, FAIL])
    said = place.fails("upgrade", exit_code=4)
    line = 7 + 1 + len(BYPASSES[how])
    assert (
        "\nIt cannot be resumed, because it works through 'op.get_bind()' or a session "
        f"(line {line}).\nFinish it by hand and say so with 'flask db resolve --applied bbb', or "
        "undo it by hand and say so with 'flask db resolve --rolled-back bbb'. A script that "
        "checks for itself what is done can be run again after 'flask db resolve --rolled-back "
        "bbb' without undoing anything; 'rerunnable = True' at its top says so beforehand.\n"
        in said
    )
    place.revision("bbb", "aaa", upgrade=[ADD, *BYPASSES[how], ADD_MORE])
    for command in ("upgrade", "resume"):
        assert "It cannot be resumed" in place.fails(command, exit_code=4)


def test_wrong_as_a_whole(place: QuickProject) -> None:
    """A rename that was written as create and drop is undone and corrected, as the error says."""
    place.query("CREATE TABLE child (t_id INTEGER, FOREIGN KEY (t_id) REFERENCES t (id))")
    make = "op.create_table('u', sa.Column('id', sa.Integer, primary_key=True))"
    place.revision("bbb", "aaa", upgrade=[make, "op.drop_table('t')"])
    said = place.fails("upgrade", exit_code=4)
    assert "undo what is done, say so with 'flask db resolve --rolled-back bbb', and" in said
    place.query("DROP TABLE u")
    place.db("resolve", "--rolled-back", "bbb")
    place.revision("bbb", "aaa", upgrade=["op.rename_table('t', 'u')"])
    place.db("upgrade")
    assert place.query("SELECT n FROM u") == [(100,)]


@pytest.mark.parametrize("url", ["sqlite_url", "postgresql_url", "mysql_url"])
@pytest.mark.parametrize("kind", ["unique", "foreignkey", "check"])
def test_constraint_without_a_name(
    request: pytest.FixtureRequest, tmp_path: Path, url: str, kind: str
) -> None:
    """A constraint without a name is no traceback of SQLAlchemy's."""
    place = begin(tmp_path / "project", request.getfixturevalue(url))
    batch = "with op.batch_alter_table('t') as batch:"
    drop = f"    batch.drop_constraint(None, type_='{kind}')"
    place.revision("bbb", "aaa", upgrade=[batch, drop])
    said = place.fails("upgrade", exit_code=1)
    assert "(migrations/versions/bbb_.py, line " in said
    assert "): A constraint has no name, and needs one there. The database is at 'aaa' now." in said
    assert "\nWrite the name that the database gives it into 'migrations/versions/bbb_.py'," in said


LOOKS = """
def has(table, name):
    return name in [column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)]
"""
BREAK = "op.drop_column('t', 'missing')"


def guarded(name: str, *more: str) -> list[str]:
    """Add a column unless it is there, and do something more with it."""
    add = f"    op.add_column('t', sa.Column('{name}', sa.Integer))"
    return [f"if not has('t', '{name}'):", add, *(f"    {line}" for line in more)]


def test_script_that_looks(project: QuickProject) -> None:
    """A script that looks what there is, and changes no rows, is run again from its start."""
    lines = [*guarded("a"), *guarded("b"), "op.create_index('ix', 't', ['a'])"]
    project.revision("bbb", "aaa", upgrade=[*lines, BREAK], extra=LOOKS)
    said = project.fails("upgrade", exit_code=4)
    assert [line for line in said.splitlines() if line.startswith("    ")] == [
        "    done       ALTER TABLE t ADD COLUMN a INTEGER (line 12)",
        "    done       ALTER TABLE t ADD COLUMN b INTEGER (line 14)",
        "    done       CREATE INDEX ix ON t (a) (line 15)",
        "    not done   ALTER TABLE t DROP COLUMN missing (line 16)",
    ]
    project.revision("bbb", "aaa", upgrade=[*lines, *guarded("c")], extra=LOOKS)
    done = project.flask("db", "upgrade")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        0,
        "Resuming the upgrade of revision 'bbb': 3 statements are done.",
    )
    assert project.query("SELECT * FROM t") == [(1, 100, None, None, None)]
    assert journal(project) == [(0,)]


def test_script_that_begins_anew(place: QuickProject) -> None:
    """What it does after something that it has not done before is done, too."""
    clean = ["if sa.inspect(op.get_bind()).has_table('u'):", "    op.drop_table('u')"]
    make = [f"op.create_table('u', sa.Column('{name}', sa.Integer))" for name in "xy"]
    place.revision("bbb", "aaa", upgrade=[*clean, make[0], BREAK])
    place.fails("upgrade", exit_code=4)
    place.revision("bbb", "aaa", upgrade=[*clean, make[0], "op.drop_table('u')", make[1]])
    place.db("upgrade")
    assert place.query("SHOW COLUMNS FROM u LIKE 'y'") != []


@pytest.mark.parametrize(
    "rest",
    [COUNT, "op.create_index('ix', 't', ['a'])", "op.add_column('t', sa.Column('z', sa.Date))"],
)
@pytest.mark.parametrize("after", [[], [ADD_MORE]])
def test_rest_of_a_branch(place: QuickProject, rest: str, after: list[str]) -> None:
    """What comes after the last statement in a branch that is left out now is not forgotten."""
    broken = [*guarded("a", BREAK), *after]
    place.revision("bbb", "aaa", upgrade=broken, extra=LOOKS)
    place.fails("upgrade", exit_code=4)
    place.revision("bbb", "aaa", upgrade=[*guarded("a", rest), *after], extra=LOOKS)
    said = place.fails("upgrade", exit_code=4)
    assert "ALTER TABLE t ADD COLUMN a INTEGER (line 12)" in said
    assert "'flask db resolve --rolled-back bbb' without undoing anything" in said
    assert place.query("SELECT * FROM t") == [(1, 100, None)]


LOOK = "sa.inspect(op.get_bind()).get_columns('t')"


@pytest.mark.parametrize("count", [COUNT, "op.get_bind().execute(sa.text('UPDATE t SET n = 101'))"])
def test_script_that_looks_and_does_the_same(place: QuickProject, count: str) -> None:
    """One that changes rows, whatever it sees, goes on after what is done."""
    place.revision("bbb", "aaa", upgrade=[LOOK, ADD, ADD_MORE, FAIL])
    place.fails("upgrade", exit_code=4)
    place.revision("bbb", "aaa", upgrade=[LOOK, ADD, ADD_MORE, count])
    place.db("upgrade")
    assert place.query("SELECT * FROM t") == [(1, 101, None, None)]


@pytest.mark.parametrize(
    "lines",
    [
        ["new = not has('t', 'a')", "{}", "if new:", f"    {COUNT}"],
        [LOOK, "{}", "for n in (1, 2):", f"    {COUNT}"],
        [LOOK, COUNT, "{}"],
    ],
)
def test_script_that_looks_and_changes_rows(place: QuickProject, lines: list[str]) -> None:
    """One whose changes of rows may depend on what it sees is not guessed at."""
    first = [line.format(ADD) for line in lines]
    place.revision("bbb", "aaa", upgrade=[*first[: first.index(ADD) + 1], BREAK], extra=LOOKS)
    place.fails("upgrade", exit_code=4)
    before = place.query("SELECT * FROM t")
    place.revision("bbb", "aaa", upgrade=first, extra=LOOKS)
    said = place.fails("upgrade", exit_code=4)
    assert "because it works through 'op.get_bind()' or a session (line " in said
    assert place.query("SELECT * FROM t") == before


def test_rerunnable(project: QuickProject) -> None:
    """A script that says so is run again from its start, whatever it does."""
    lines = [*guarded("a"), "op.get_bind().exec_driver_sql('UPDATE t SET n = 7')", ADD_MORE]
    extra = f"{LOOKS}rerunnable = True"
    project.revision("bbb", "aaa", upgrade=[*lines, BREAK], extra=extra)
    assert project.fails("upgrade", exit_code=4).endswith("It runs again from its start.\n")
    project.revision("bbb", "aaa", upgrade=[*guarded("a"), *guarded("b"), COUNT], extra=extra)
    done = project.flask("db", "upgrade")
    assert done.stderr.splitlines()[0] == (
        "Running the upgrade of revision 'bbb' again from its start."
    )
    assert project.query("SELECT * FROM t") == [(1, 8, None, None)]
    assert journal(project) == [(0,)]


def test_rerunnable_script_that_fails_again(place: QuickProject) -> None:
    """It is half-applied until it is complete, even if the next run does nothing."""
    extra = f"{LOOKS}rerunnable = True"
    place.revision("bbb", "aaa", upgrade=[*guarded("a"), BREAK], extra=extra)
    for _ in range(3):
        said = place.fails("upgrade", exit_code=4)
        assert "    done       ALTER TABLE t ADD COLUMN a INTEGER (line 12)\n" in said
    assert place.flask("db", "status").stdout.startswith("Revision 'bbb' is half-applied")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            ["op.execute('CREATE TEMPORARY TABLE x (id INTEGER)')"],
            "it needs its session (CREATE TEMPORARY TABLE x (id INTEGER)) (line 9)",
        ),
        (["op.execute('SET @x = 1')"], "it needs its session (SET @x = 1) (line 9)"),
        (
            ["try:", f"    {FAIL}", "except Exception:", "    pass", COUNT],
            "it goes on after an error (line 13)",
        ),
    ],
)
def test_obstacle(place: QuickProject, lines: list[str], reason: str) -> None:
    """What a new session cannot repeat is an obstacle."""
    place.revision("bbb", "aaa", upgrade=[ADD, *lines, ADD_MORE, FAIL])
    assert f"because {reason}." in place.fails("upgrade", exit_code=4)


def test_session_is_told_again(place: QuickProject) -> None:
    """What is about the session is executed again when a revision is resumed."""
    variable = "op.execute(\"SET SESSION sql_mode = 'PIPES_AS_CONCAT'\")"
    ten = "op.execute(\"UPDATE t SET n = n + ('1' || '0')\")"
    place.revision("bbb", "aaa", upgrade=[variable, ADD, ten, FAIL])
    place.fails("upgrade", exit_code=4)
    place.revision("bbb", "aaa", upgrade=[variable, ADD, ten, ten])
    place.db("upgrade")
    assert place.query("SELECT n FROM t") == [(120,)]


@pytest.mark.parametrize("command", ["downgrade", "stamp"])
def test_other_commands(place: QuickProject, command: str) -> None:
    """Nothing else is run on a database with a half-applied revision."""
    half_apply(place)
    place.fails(command, exit_code=4)
    assert at(place) == [("aaa",)]


def test_downgrade(place: QuickProject) -> None:
    """A downgrade is half-applied and resumed just so; an upgrade does not hide it."""
    place.revision("bbb", "aaa", upgrade=[ADD], downgrade=[COUNT, "op.drop_column('t', 'a')", FAIL])
    place.db("upgrade")
    place.fails("downgrade", exit_code=4)
    said = place.fails("upgrade", exit_code=4)
    assert "Revision 'bbb' is half-applied on database 'default': its downgrade, begun" in said
    assert "with 'flask db resolve --rolled-back bbb', or undo it by hand" in said
    downgrade = [COUNT, "op.drop_column('t', 'a')", COUNT]
    place.revision("bbb", "aaa", upgrade=[ADD], downgrade=downgrade)
    place.db("downgrade")
    assert (at(place), place.query("SELECT * FROM t")) == ([("aaa",)], [(1, 102)])


@pytest.mark.parametrize("direction", ["upgrade", "downgrade"])
@pytest.mark.parametrize("answer", ["applied", "rolled-back"])
def test_resolve(place: QuickProject, direction: str, answer: str) -> None:
    """Who has finished or undone it by hand says so; that is believed, and logged."""
    place.revision("bbb", "aaa", upgrade=[ADD], downgrade=["op.drop_column('t', 'a')", FAIL])
    if direction == "upgrade":
        half_apply(place)
    else:
        place.db("upgrade")
        place.fails("downgrade", exit_code=4)
    done = place.flask("db", "resolve", f"--{answer}", "bbb")
    counts = "applied" if answer == "applied" else "not applied"
    assert (done.returncode, done.stderr) == (
        0,
        f"Revision 'bbb' counts as {counts} on database 'default' now.\n",
    )
    assert at(place) == [("bbb" if answer == "applied" else "aaa",)]
    assert journal(place) == [(0,)]
    entry = json.loads(place.db("log", "--json"))["databases"][0]["entries"][-1]
    status = f"resolved as {answer.replace('-', ' ')}"
    assert (entry["direction"], entry["revision"], entry["status"]) == (direction, "bbb", status)


def test_resolve_json(place: QuickProject) -> None:
    """``--json`` says the same."""
    half_apply(place)
    (found,) = json.loads(place.db("resolve", "--applied", "bbb", "--json"))["databases"]
    assert (found["key"], found["revision"], found["is_applied"]) == ("default", "bbb", True)


def test_resolve_nothing(place: QuickProject) -> None:
    """A revision that is not half-applied cannot be resolved, nor can two things at once."""
    assert place.fails("resolve", "--applied", "aaa", exit_code=1) == (
        "Error: Revision 'aaa' is not half-applied on any database.\n"
        "See what is with 'flask db status'.\n"
    )
    for options in ([], ["--applied", "aaa", "--drop-temp"]):
        assert "one thing at a time" in place.fails("resolve", *options, exit_code=2)
    half_apply(place)
    place.fails("resolve", "--rolled-back", "aaa", exit_code=1)
    assert journal(place) != [(0,)]


def test_script_that_is_gone(place: QuickProject) -> None:
    """Without its script a revision is neither resumed nor resolved."""
    half_apply(place).unlink()
    assert "because no script has this revision." in place.fails("upgrade", exit_code=4)
    assert "no script in 'migrations' has it" in place.fails(
        "resolve", "--applied", "bbb", exit_code=1
    )


def test_without_journal(place: QuickProject) -> None:
    """``DBMIGRATE_JOURNAL = False`` writes none; the error says what stays."""
    app = (place.folder / "app.py").read_text()
    config = "app.config['DBMIGRATE_JOURNAL'] = False\n    db.init_app"
    (place.folder / "app.py").write_text(app.replace("db.init_app", config))
    place.query("DROP TABLE alembic_version_journal")
    place.revision("bbb", "aaa", upgrade=[COUNT, ADD, FAIL])
    said = place.fails("upgrade", exit_code=1)
    assert "what the revision did before this point has stayed." in said
    assert "alembic_version_journal" not in place.inspect()


def test_journal_that_cannot_be_created(place: QuickProject, mysql_server: servers.MySQL) -> None:
    """Without the right to create its table nothing is begun that could be left half-applied."""
    place.query("DROP TABLE alembic_version_journal")
    name = sa.make_url(place.url).database
    user = f"{servers.USER}_without"
    mysql_server.execute(
        f"CREATE OR REPLACE USER '{user}'@'%' IDENTIFIED BY 'x'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE, ALTER ON `{name}`.* TO '{user}'@'%'",
    )
    url = sa.make_url(place.url).set(username=user, password="x")
    place.url = url.render_as_string(hide_password=False)
    place.write_app()
    place.revision("bbb", "aaa", upgrade=[COUNT, ADD])
    said = place.fails("upgrade", exit_code=2)
    mysql_server.execute(f"DROP USER '{user}'@'%'")
    assert said.startswith(
        "Error: The journal 'alembic_version_journal' cannot be created: CREATE command denied"
    )
    assert "or set 'DBMIGRATE_JOURNAL = False'" in said


def test_nothing_on_transactional_revisions(on_postgresql: QuickProject) -> None:
    """Where a revision is a transaction, there is no journal."""
    on_postgresql.revision("bbb", "aaa", upgrade=[COUNT, ADD])
    on_postgresql.db("upgrade")
    assert "alembic_version_journal" not in on_postgresql.inspect()


def test_nothing_on_changes_of_data(place: QuickProject) -> None:
    """Nor is there on MariaDB, until something of a revision cannot be undone."""
    place.query("DROP TABLE alembic_version_journal")
    place.revision("bbb", "aaa", upgrade=[COUNT, COUNT])
    place.revision("ccc", "bbb", upgrade=[COUNT, FAIL])
    place.fails("upgrade", exit_code=1)
    assert place.query("SELECT n FROM t") == [(102,)]
    assert "alembic_version_journal" not in place.inspect()


Start = Callable[..., Application]


def statements_of(start: Start, tmp_path: Path, url: str, *lines: str) -> list[str]:
    """List the statements that a revision sends, those of its beginning and end included."""
    db = start(url=url).db
    place = Project(tmp_path, url)
    place.revision("aaa", upgrade=MAKE)
    place.revision("bbb", "aaa", upgrade=["pass"])
    flask_dbmigrate.upgrade()
    place.revision("ccc", "bbb", upgrade=lines)
    sent: list[str] = []

    def note(connection: t.Any, cursor: t.Any, statement: str, *_: t.Any) -> None:
        sent.append(" ".join(statement.split()))

    sa.event.listen(db.engine, "before_cursor_execute", note)
    flask_dbmigrate.upgrade()
    return sent


def test_cost(start: Start, tmp_path: Path, mysql_url: str) -> None:
    """One write for each statement that commits, none for others, one look for each DDL."""
    sent = statements_of(start, tmp_path, mysql_url, COUNT, ADD, COUNT, COUNT, ADD_MORE, COUNT)
    writes = [
        one for one in sent if re.match(r"(INSERT INTO|DELETE FROM) \S*alembic_version_j", one)
    ]
    assert [one[:6] for one in writes] == ["INSERT", "INSERT", "DELETE"]
    assert len([one for one in sent if one.startswith("SHOW CREATE")]) == 2


def test_cost_on_postgresql(start: Start, tmp_path: Path, postgresql_url: str) -> None:
    """In an ``autocommit_block()`` that is one of each, too."""
    block = [
        COUNT,
        "with op.get_context().autocommit_block():",
        f"    {COUNT}",
        "    op.create_index('ix', 't', ['n'], postgresql_concurrently=True)",
        COUNT,
    ]
    sent = statements_of(start, tmp_path, postgresql_url, *block)
    writes = [
        one for one in sent if re.match(r"(INSERT INTO|DELETE FROM) \S*alembic_version_j", one)
    ]
    assert [one[:6] for one in writes] == ["INSERT", "INSERT", "INSERT", "DELETE"]
    assert len([one for one in sent if "pg_catalog.pg_index" in one]) == 1


UNIQUE = [
    "with op.get_context().autocommit_block():",
    "    op.create_index('ix', 't', ['n'], unique=True, postgresql_concurrently=True,",
    "        if_not_exists=True)",
]


def test_invalid_index(on_postgresql: QuickProject) -> None:
    """An INVALID index that a failed try has left is dropped and made anew."""
    on_postgresql.query("INSERT INTO t VALUES (2, 100)")
    on_postgresql.revision("bbb", "aaa", upgrade=[ADD, *UNIQUE])
    said = on_postgresql.fails("upgrade", exit_code=4)
    assert "could not create unique index" in said
    assert "    not done   CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ix ON t (n)" in said
    on_postgresql.query("DELETE FROM t WHERE id = 2")
    done = on_postgresql.flask("db", "upgrade")
    assert done.returncode == 0, done.stderr
    assert "Dropping the invalid index 'ix', which a failed try has left.\n" in done.stderr
    assert on_postgresql.query(
        "SELECT indisvalid FROM pg_index WHERE indrelid = 't'::regclass"
    ) == [
        (True,),
        (True,),
    ]


@pytest.mark.parametrize("name", ["Ix one", "ix"])
def test_invalid_index_of_another_tool(on_postgresql: QuickProject, name: str) -> None:
    """Whoever has left it."""
    on_postgresql.query("INSERT INTO t VALUES (2, 100)")
    engine = sa.create_engine(on_postgresql.url, isolation_level="AUTOCOMMIT")
    statement = f'CREATE UNIQUE INDEX CONCURRENTLY "{name}" ON t (n)'
    with engine.connect() as connection, pytest.raises(sa.exc.IntegrityError):
        connection.exec_driver_sql(statement)
    engine.dispose()
    on_postgresql.query("DELETE FROM t WHERE id = 2")
    block = "with op.get_context().autocommit_block():"
    on_postgresql.revision("bbb", "aaa", upgrade=[block, f"    op.execute('{statement}')"])
    on_postgresql.db("upgrade")
    assert on_postgresql.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


def test_type_in_autocommit_block(on_postgresql: QuickProject) -> None:
    """The CREATE TYPE of ``op.create_table`` goes past the operations: it cannot be resumed."""
    block = [
        "with op.get_context().autocommit_block():",
        "    op.create_table('u', sa.Column('e', sa.Enum('x', name='kind')))",
    ]
    on_postgresql.revision("bbb", "aaa", upgrade=[*block, FAIL])
    said = on_postgresql.fails("upgrade", exit_code=4)
    assert "because it works through 'op.get_bind()' or a session (line 9)." in said


def test_refused_in_transaction(on_postgresql: QuickProject) -> None:
    """A statement that only works outside of a transaction still does."""
    on_postgresql.query(
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS "
        "$$ BEGIN UPDATE t SET n = n + 1; COMMIT; UPDATE t SET n = n + 1; END $$"
    )
    block = "with op.get_context().autocommit_block():"
    on_postgresql.revision("bbb", "aaa", upgrade=[block, "    op.execute('CALL p()')", COUNT])
    on_postgresql.db("upgrade")
    assert on_postgresql.query("SELECT n FROM t") == [(103,)]


def test_several_databases(
    start: Start, tmp_path: Path, mysql_url: str, postgresql_url: str
) -> None:
    """Each database has its own journal."""
    start(url=postgresql_url, binds={"a": mysql_url})
    shutil.rmtree("migrations")
    flask_dbmigrate.init(multidb=True)
    project = Project(tmp_path, mysql_url)
    body = [
        "def upgrade(engine_name):",
        "    if engine_name == 'a':",
        "        op.create_table('v', sa.Column('id', sa.Integer))",
        "        op.execute('INSERT INTO v VALUES (1)')",
        "        op.create_table('w', sa.Column('id', sa.Integer))",
        "        {}",
        "def downgrade(engine_name): pass",
    ]
    script = (
        "from alembic import op\nimport sqlalchemy as sa\nrevision = 'aaa'\ndown_revision = None\n"
    )
    path = tmp_path / "migrations/versions/aaa_.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(script + "\n".join(body).format(FAIL))
    with pytest.raises(HalfAppliedError) as caught:
        flask_dbmigrate.upgrade()
    assert caught.value.database == "a"
    assert caught.value.half_applied.done == 3
    default, a = flask_dbmigrate.status().databases
    assert (default.half_applied, a.half_applied) == (None, caught.value.half_applied)
    path.write_text(script + "\n".join(body).format("op.execute('INSERT INTO w VALUES (1)')"))
    result = flask_dbmigrate.upgrade()
    assert [database.after for database in result.databases] == [("aaa",), ("aaa",)]
    assert project.query("SELECT * FROM v") == project.query("SELECT * FROM w") == [(1,)]


def leave_temporary(url: str, *statements: str) -> None:
    """Do what a batch operation has done when it is interrupted."""
    execute(url, 'CREATE TABLE "_alembic_tmp_t" (id INTEGER)', *statements)


@pytest.fixture(params=["sqlite_url", "mysql_url"])
def any_place(request: pytest.FixtureRequest, tmp_path: Path) -> QuickProject:
    """A project on a DBMS on which a batch operation may be interrupted."""
    return begin(tmp_path / "project", request.getfixturevalue(request.param))


def test_drop_temp(any_place: QuickProject) -> None:
    """What an interrupted batch operation has left is dropped, as the error it causes says."""
    leave_temporary(any_place.url)
    batch = "with op.batch_alter_table('t', recreate='always') as batch_op:"
    column = "    batch_op.add_column(sa.Column('a', sa.Integer))"
    any_place.revision("bbb", "aaa", upgrade=[batch, column])
    said = any_place.fails("upgrade", exit_code=1)
    assert "_alembic_tmp_t" in said
    assert said.endswith("'flask db resolve --drop-temp' drops what it has left.\n")
    done = any_place.flask("db", "resolve", "--drop-temp")
    assert done.stderr == "Dropped from database 'default': '_alembic_tmp_t'.\n"
    any_place.db("upgrade")
    assert any_place.query("SELECT * FROM t") == [(1, 100, None)]
    assert any_place.flask("db", "resolve", "--drop-temp").stderr == (
        "Dropped from database 'default': nothing.\n"
    )


def test_only_copy(any_place: QuickProject) -> None:
    """A table that holds the only copy of the rows is not dropped."""
    leave_temporary(any_place.url, "DROP TABLE t")
    assert any_place.fails("resolve", "--drop-temp", exit_code=1) == (
        "Error: Table '_alembic_tmp_t' of database 'default' holds the rows of 't', which is gone: "
        "nothing was dropped.\n"
        "Give it its name back: ALTER TABLE _alembic_tmp_t RENAME TO t\n"
    )
    assert "_alembic_tmp_t" in any_place.inspect()


def test_failure_on_sqlite(tmp_path: Path, sqlite_url: str) -> None:
    """On SQLite a revision that fails leaves nothing, so that nothing is half-applied."""
    project = begin(tmp_path / "project", sqlite_url)
    project.revision("bbb", "aaa", upgrade=[COUNT, ADD, FAIL])
    project.fails("upgrade", exit_code=1)
    with closing(sqlite3.connect(tmp_path / "test.db")) as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == [(1, 100)]


def test_python_api(start: Start, tmp_path: Path, mysql_url: str) -> None:
    """The functions raise the error with its facts, and lead on from it."""
    start(url=mysql_url)
    project = Project(tmp_path, mysql_url)
    project.revision("aaa", upgrade=[*MAKE, FAIL])
    with pytest.raises(HalfAppliedError) as caught:
        flask_dbmigrate.upgrade()
    found = caught.value.half_applied
    assert (found.revision, found.direction, found.done) == ("aaa", "upgrade", 1)
    assert found.is_resumable
    assert not isinstance(caught.value, MigrationError)
    (resolved,) = flask_dbmigrate.resolve(rolled_back="aaa").databases
    assert (resolved.revision, resolved.is_applied) == ("aaa", False)
    project.query("DROP TABLE t")
    project.revision("aaa", upgrade=MAKE)
    assert flask_dbmigrate.resume().databases[0].steps == ()
    assert flask_dbmigrate.upgrade().databases[0].after == ("aaa",)
