"""What commands print: where it cannot be written, how long it is, and in whose words."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import redirect_stderr
from contextlib import redirect_stdout
from importlib import metadata
import io
import logging
from pathlib import Path
import re
import resource
import subprocess
import sys
import typing as t

from flask.cli import FlaskGroup
from flask.cli import ScriptInfo
from harness import Application
from harness import environment
from harness import Project
import pytest
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError

Start = Callable[..., Application]

FULL = Path("/dev/full")
needs_full_device = pytest.mark.skipif(not FULL.exists(), reason="the system has no '/dev/full'")

PRINTING = [
    *("--help", "--version", "upgrade --help", "heads", "history", "show", "branches --json"),
    *("list-templates", "current -v", "current --json", "status", "status --json", "log --json"),
    *("upgrade --plan", "upgrade --sql", "upgrade --json", "resume --help", "check --json"),
    *("downgrade --plan", "stamp --json", "ensure-version --json", "migrate --json --rev-id bbb"),
    *("revision --rev-id ccc", "merge --help", "init -d other", "downgrade --json"),
]


def run(application: Application, *arguments: str) -> object:
    """Run ``flask db`` as a process does, and return its exit code."""
    with pytest.raises(SystemExit) as caught:
        FlaskGroup().main(
            args=["db", *arguments],
            prog_name="flask",
            obj=ScriptInfo(create_app=lambda: application.app),
        )
    return caught.value.code


def work(start: Start, folder: Path, **arguments: t.Any) -> Application:
    """Start an application with one revision."""
    application = start(**arguments)
    create = "op.create_table('thing', sa.Column('id', sa.Integer))"
    Project(folder, "sqlite://").revision("aaa", upgrade=[create])
    return application


@needs_full_device
def test_stdout_that_is_full(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command whose output cannot be written says so in a sentence, and exits with 2."""
    application = work(start, tmp_path)
    for arguments in PRINTING:
        with FULL.open("w") as stream, redirect_stdout(stream):
            code = run(application, *arguments.split())
        said = capsys.readouterr().err
        message = "Error: The output cannot be written: No space left on device.\n"
        assert (code, message in said) == (2, True), f"{arguments}: {said}"
        assert "Traceback" not in said
    assert flask_dbmigrate.run_log().databases[0].entries  # what was done is done


@needs_full_device
def test_process_whose_stdout_is_full(start: Start, tmp_path: Path) -> None:
    """Python itself has nothing left to write in the end, about which it would complain."""
    project = Project(tmp_path / "project", "sqlite://")
    with FULL.open("w") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "flask", "db", "list-templates"],
            cwd=project.folder,
            env={**environment(), "PYTHONUNBUFFERED": ""},
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: The output cannot be written: No space left on device.\n")
    assert len(done.stderr.splitlines()) == 2


@needs_full_device
def test_stderr_that_is_full(start: Start, tmp_path: Path) -> None:
    """Nobody hears what a run says, and it goes on; the exit code is the same."""
    application = work(start, tmp_path)
    stream = io.TextIOWrapper(FULL.open("wb", buffering=0), write_through=True)
    with redirect_stderr(stream):
        assert run(application, "upgrade") == 0
        assert run(application, "upgrade", "zzz") == 1
    assert str(flask_dbmigrate.current()) == "aaa (head)"


@contextmanager
def file_size(limit: int) -> Iterator[None]:
    """Let files of this process not get larger, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_files_of_output_on_a_full_disk(start: Start, tmp_path: Path) -> None:
    """Where SQL cannot be written completely, nothing of it is left, and what was there stays."""
    start()
    Project(tmp_path, "sqlite://").revision("aaa", upgrade=["op.execute('x' * 100_000)"])
    folder = tmp_path / "sql"
    folder.mkdir()
    (folder / "default.sql").write_text("before")
    with file_size(50_000), pytest.raises(ConfigurationError, match=r"/default\.sql': File too l"):
        flask_dbmigrate.upgrade(sql=True, output=folder)
    assert [path.name for path in folder.iterdir()] == ["default.sql"]
    assert (folder / "default.sql").read_text() == "before"


def test_version(start: Start) -> None:
    """``flask db --version`` names what a report of a fault has to name."""
    result = start().app.test_cli_runner().invoke(args=["db", "--version"])
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            f"{name} {metadata.version(name)}"
            for name in ("Flask-DBMigrate", "Alembic", "SQLAlchemy")
        ],
    )


def test_words_for_a_stamp(start: Start, tmp_path: Path) -> None:
    """A stamp is called by the name of its command."""
    application = work(start, tmp_path)
    result = application.app.test_cli_runner().invoke(args=["db", "stamp"])
    assert re.search(r"^Running stamp  -> aaa \(\d\.\d\d s\)$", result.stderr, re.MULTILINE)
    assert flask_dbmigrate.stamp(revision="base").databases[0].steps[0].description == (
        "stamp aaa -> "
    )


def test_nothing_to_take_back(start: Start, tmp_path: Path) -> None:
    """A database at base is called so."""
    work(start, tmp_path)
    with pytest.raises(flask_dbmigrate.RevisionError) as caught:
        flask_dbmigrate.downgrade(revision="aaa")
    assert caught.value.message == ("There is nothing to take back: base is not above the target.")


MESSAGE = " ".join(["word"] * 100)


def test_long_message(start: Start, tmp_path: Path) -> None:
    """A message that is a paragraph is shortened in lines; ``show`` and JSON have all of it."""
    application = start()
    script = Project(tmp_path, "sqlite://").revision("aaa")
    script.write_text(f'"""{MESSAGE}\n"""\n' + script.read_text().replace('"""', "#"))
    runner = application.app.test_cli_runner()
    for arguments in ("status", "upgrade --plan", "history", "upgrade", "status", "log"):
        result = runner.invoke(args=["db", *arguments.split()])
        assert "word word …" in result.output, arguments
        assert max(map(len, result.output.splitlines())) < 250, arguments
    assert MESSAGE in runner.invoke(args=["db", "show"]).stdout
    assert flask_dbmigrate.run_log().databases[0].entries[0].message == MESSAGE


def test_durations_are_those_of_the_log(start: Start, tmp_path: Path) -> None:
    """What a run says of its steps is what the log says, however long the commit takes."""
    application = work(start, tmp_path)

    def slow(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
            "SELECT max(i) FROM n"
        )

    sa.event.listen(application.db.engine, "commit", slow)
    (step,) = flask_dbmigrate.upgrade().databases[0].steps
    (entry,) = flask_dbmigrate.run_log().databases[0].entries
    assert round(step.seconds * 1000) == entry.duration_ms


def test_serial_columns_are_no_news(
    start: Start, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """That PostgreSQL's SERIAL columns have sequences is not told with each ``migrate``."""
    application = start(url=postgresql_url)
    runner = application.app.test_cli_runner()
    runner.invoke(args=["db", "migrate", "--rev-id", "aaa"])
    runner.invoke(args=["db", "upgrade"])
    application.db.Table("more", sa.Column("id", sa.Integer, primary_key=True))
    caplog.clear()
    runner.invoke(args=["db", "migrate"])
    assert caplog.messages == ["Detected added table 'more'"]


WARNING = """
def upgrade():
    import warnings, sqlalchemy.exc
    warnings.warn("two\\n  lines", {category}, stacklevel=1)
"""


@pytest.mark.parametrize("category", ["UserWarning", "sqlalchemy.exc.SAWarning"])
@pytest.mark.filterwarnings("default")
def test_warnings(start: Start, tmp_path: Path, category: str) -> None:
    """What Alembic and SQLAlchemy warn of is a line, without the place in their code."""
    application = start()
    script = Project(tmp_path, "sqlite://").revision("aaa")
    script.write_text(script.read_text() + WARNING.format(category=category))
    result = application.app.test_cli_runner().invoke(args=["db", "upgrade"])
    assert result.stderr.splitlines()[0] == "Warning: two lines"
    assert "warnings.warn" not in result.stderr


@pytest.mark.filterwarnings("default")
def test_warnings_that_the_application_logs(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An application that has warnings logged has them logged."""
    application = start()
    script = Project(tmp_path, "sqlite://").revision("aaa")
    script.write_text(script.read_text() + WARNING.format(category="UserWarning"))
    logging.captureWarnings(True)
    try:
        result = application.app.test_cli_runner().invoke(args=["db", "upgrade"])
    finally:
        logging.captureWarnings(False)
    assert "Warning: two lines" not in result.stderr
    assert [record.name for record in caplog.records].count("py.warnings") == 1


@pytest.mark.parametrize(
    ("command", "forms"),
    [
        ("upgrade", ["'heads'", "'+2'", "'BRANCH@head'", "'a1b2:head'"]),
        ("downgrade", ["'-1'", "'base'", "'-2'", "'BRANCH@base'", "'head:a1b2'"]),
        ("stamp", ["'heads'", "'base'", "'BRANCH@head'"]),
    ],
)
def test_help_names_the_forms_of_a_revision(start: Start, command: str, forms: list[str]) -> None:
    """``--help`` says what a revision may be."""
    text = start().app.test_cli_runner().invoke(args=["db", command, "--help"]).stdout
    assert [form for form in forms if form not in " ".join(text.split())] == []
