"""What fails says so in a sentence with a remedy, and without a traceback."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from pathlib import Path
import re
import typing as t

from click.testing import Result
from flask import Flask
from harness import Project
import pytest

import flask_dbmigrate
from flask_dbmigrate import AmbiguousRevisionError
from flask_dbmigrate import CheckFailedError
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import DatabaseAccessError
from flask_dbmigrate import DBMigrateError
from flask_dbmigrate import Migrate
from flask_dbmigrate import MigrationDirectoryError
from flask_dbmigrate import MigrationError
from flask_dbmigrate import MultipleHeadsError
from flask_dbmigrate import NoDatabaseError
from flask_dbmigrate import PendingRevisionsError
from flask_dbmigrate import RevisionError
from flask_dbmigrate import RevisionNotFoundError
from flask_dbmigrate import ScriptError
from flask_dbmigrate import UnknownDatabaseRevisionError


class Place(t.NamedTuple):
    """A folder with an initialised application."""

    app: Flask
    project: Project

    def invoke(self, *arguments: str, **options: t.Any) -> Result:
        """Run a command."""
        return self.app.test_cli_runner().invoke(args=arguments, prog_name="flask", **options)

    def db(self, *arguments: str) -> None:
        """Run a command that succeeds."""
        result = self.invoke("db", *arguments)
        assert result.exit_code == 0, result.output

    def raises(self, *arguments: str) -> DBMigrateError:
        """Run a command that fails, and return the error."""
        raised = self.invoke("db", *arguments, standalone_mode=False).exception
        assert isinstance(raised, DBMigrateError), repr(raised)
        return raised

    def fails(self, *arguments: str) -> tuple[DBMigrateError, int, str]:
        """Run a command that fails twice: the error, the exit code and stderr."""
        error = self.raises(*arguments)
        result = self.invoke("db", *arguments)
        return error, result.exit_code, result.stderr


@pytest.fixture
def place(application: t.Any, tmp_path: Path, sqlite_url: str) -> Place:
    """An application in its folder, before ``flask db init``."""
    return Place(application.app, Project(tmp_path, sqlite_url))


@pytest.fixture
def ready(place: Place) -> Place:
    """An application in its folder, after ``flask db init``."""
    place.db("init")
    return place


@dataclasses.dataclass(frozen=True)
class Case:
    """How something goes wrong, and what is said."""

    arguments: str
    error: type[DBMigrateError]
    exit_code: int
    message: str
    hint: str
    arrange: Callable[[Place], object] = lambda place: None


def write(path: str, text: str) -> Callable[[Place], object]:
    """Overwrite a file."""

    def arrange(place: Place) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)

    return arrange


def two_heads(place: Place) -> None:
    """Have two heads."""
    place.project.revision("aaa")
    place.project.revision("bbb")


def chain(place: Place) -> None:
    """Have two revisions, the database at the second."""
    place.project.revision("abcd1")
    place.project.revision("abcd2", "abcd1")
    place.db("upgrade")


def gone(place: Place) -> None:
    """Have a database at a revision whose script was deleted."""
    path = place.project.revision("aaa")
    place.db("upgrade")
    path.unlink()


def behind(place: Place) -> None:
    """Have two revisions, the database at the first."""
    chain(place)
    place.db("downgrade")


def not_writable(place: Place) -> None:
    """Have a folder of revisions that even root cannot write to."""
    Path("migrations/versions").rmdir()
    Path("migrations/versions").symlink_to("/sys/kernel")


def circle(place: Place) -> None:
    """Have two revisions that come after one another."""
    place.project.revision("aaa", "bbb")
    place.project.revision("bbb", "aaa")


SEE_HISTORY = "List them with 'flask db history'."

CASES: dict[str, Case] = {
    "empty directory": Case(
        "upgrade -d empty",
        MigrationDirectoryError,
        2,
        "The migration directory '{cwd}/empty' is empty.",
        "Fill it with 'flask db init', or restore it from version control.",
        lambda place: Path("empty").mkdir(),
    ),
    "damaged directory": Case(
        "upgrade",
        MigrationDirectoryError,
        2,
        "'{cwd}/migrations' is not a migration directory: it has no 'env.py'.",
        "Restore 'env.py' from version control, or name another one with '--directory'.",
        lambda place: Path("migrations/env.py").unlink(),
    ),
    "a file": Case(
        "upgrade -d file",
        MigrationDirectoryError,
        2,
        "'{cwd}/file' is a file, not a migration directory.",
        "Move it away, or name the directory with '--directory'.",
        write("file", ""),
    ),
    "init where something is": Case(
        "init",
        MigrationDirectoryError,
        2,
        "'migrations' exists already and is not empty.",
        "Name another one with '--directory'.",
    ),
    "unreadable alembic.ini": Case(
        "upgrade",
        ConfigurationError,
        2,
        "'{cwd}/migrations/alembic.ini' cannot be read: File contains no section headers. "
        "file: 'alembic.ini', line: 1 'no section'.",
        "Correct the file, or restore it from version control.",
        write("migrations/alembic.ini", "no section"),
    ),
    "pyproject.toml that is none": Case(
        "upgrade",
        ConfigurationError,
        2,
        "'{cwd}/pyproject.toml' is not valid TOML: *",
        "Correct the file.",
        write("pyproject.toml", "[tool.alembic\n"),
    ),
    "unknown revision": Case(
        "upgrade abcd3",
        RevisionNotFoundError,
        1,
        "There is no revision or branch 'abcd3'.",
        "Did you mean 'abcd2', 'abcd1'?",
        chain,
    ),
    "unknown revision, nothing close": Case(
        "downgrade nonsense",
        RevisionNotFoundError,
        1,
        "There is no revision or branch 'nonsense'.",
        SEE_HISTORY,
        chain,
    ),
    "unknown branch": Case(
        "upgrade shop@head",
        RevisionNotFoundError,
        1,
        "There is no revision or branch 'shop'.",
        SEE_HISTORY,
        chain,
    ),
    "ambiguous prefix": Case(
        "show abcd",
        AmbiguousRevisionError,
        1,
        "Several revisions begin with 'abcd': 'abcd1', 'abcd2'.",
        "Give more characters.",
        chain,
    ),
    "several heads": Case(
        "upgrade",
        MultipleHeadsError,
        1,
        "There are 2 heads: 'aaa', 'bbb'.",
        "Join them with 'flask db merge', or say 'heads' or '<branch>@head'.",
        two_heads,
    ),
    "several heads, new revision": Case(
        "revision",
        MultipleHeadsError,
        1,
        "There are 2 heads: 'aaa', 'bbb'.",
        "Join them with 'flask db merge', or say 'heads' or '<branch>@head'.",
        two_heads,
    ),
    "not up to date": Case(
        "migrate",
        PendingRevisionsError,
        3,
        "Database 'default' is not up to date: 2 revisions are pending ('aaa', 'bbb').",
        "Run 'flask db upgrade' first.",
        lambda place: (place.project.revision("aaa"), place.project.revision("bbb", "aaa")),
    ),
    "check, not up to date": Case(
        "check",
        PendingRevisionsError,
        3,
        "Database 'default' is not up to date: 1 revision is pending ('aaa').",
        "Run 'flask db upgrade' first.",
        lambda place: place.project.revision("aaa"),
    ),
    "current, not up to date": Case(
        "current --check-heads",
        CheckFailedError,
        3,
        "Database 'default' is at base, not at 'aaa'.",
        "Run 'flask db upgrade'.",
        lambda place: place.project.revision("aaa"),
    ),
    **{
        f"script is gone, {command}": Case(
            command,
            UnknownDatabaseRevisionError,
            1,
            "Database 'default' is at revision 'aaa', which no script in '{cwd}/migrations' has. "
            "It was applied on * UTC by *@*.",
            "Deploy the code that has it. If it is gone for good, say where the database stands "
            "with 'flask db stamp --purge REVISION'.",
            gone,
        )
        for command in ("upgrade", "downgrade", "current", "check", "migrate", "stamp head")
    },
    "downgrade at base": Case(
        "downgrade",
        RevisionError,
        1,
        "Database 'default' is at base: there is nothing to downgrade.",
        "See where the databases stand with 'flask db current'.",
    ),
    "downgrade too far": Case(
        "downgrade -5",
        RevisionError,
        1,
        "'-5' goes further than there are revisions.",
        "Look at 'flask db history --indicate-current'.",
        chain,
    ),
    "upgrade too far": Case(
        "upgrade +5",
        RevisionError,
        1,
        "'+5' goes further than there are revisions.",
        "Look at 'flask db history --indicate-current'.",
        chain,
    ),
    "downgrade to a later revision": Case(
        "downgrade abcd2",
        RevisionError,
        1,
        "There is nothing to take back: 'abcd1' is not above the target.",
        "*",
        behind,
    ),
    "script with a SyntaxError": Case(
        "upgrade",
        ScriptError,
        1,
        "The script 'migrations/versions/bad.py' cannot be loaded: SyntaxError: '(' was never "
        "closed (line 2).",
        "Correct the script.",
        write("migrations/versions/bad.py", "revision = 'bad'\nx = ("),
    ),
    "script with an ImportError": Case(
        "history",
        ScriptError,
        1,
        "The script 'migrations/versions/bad.py' cannot be loaded: ModuleNotFoundError: No module "
        "named 'no_such_module' (line 2).",
        "Correct the script.",
        write("migrations/versions/bad.py", "revision = 'bad'\nimport no_such_module"),
    ),
    "script without a revision": Case(
        "history",
        ScriptError,
        1,
        "*wrong.py*",
        "*",
        write("migrations/versions/wrong.py", "x = 1"),
    ),
    "script without a down revision": Case(
        "history",
        ScriptError,
        1,
        "The script 'migrations/versions/wrong.py' *down_revision*.",
        "*",
        write("migrations/versions/wrong.py", "revision = 'aaa'"),
    ),
    "script after one that is missing": Case(
        "heads",
        RevisionError,
        1,
        "Revision 'bbb' in 'migrations/versions/bbb_.py' comes after 'aaa', which no script has.",
        "Restore the script of 'aaa', or correct 'down_revision'.",
        lambda place: place.project.revision("bbb", "aaa"),
    ),
    "circle": Case(
        "heads",
        RevisionError,
        1,
        "These revisions come after one another in a circle: 'aaa', 'bbb'.",
        "Correct 'down_revision' or 'depends_on' in one of them.",
        circle,
    ),
    "edit without an editor": Case(
        "edit abcd1",
        ConfigurationError,
        2,
        "There is no editor: the environment variable 'EDITOR' is not set.",
        "Set it, for example 'export EDITOR=nano'.",
        chain,
    ),
    "env.py with a SyntaxError": Case(
        "upgrade",
        ConfigurationError,
        2,
        "'migrations/env.py' failed in line 2: SyntaxError: *",
        "Add '--traceback' to see where.",
        write("migrations/env.py", "x = 1\ny = (\n"),
    ),
    "env.py that raises": Case(
        "current",
        ConfigurationError,
        2,
        "'migrations/env.py' failed in line 2: KeyError: 'SETTING'.",
        "Add '--traceback' to see where.",
        write("migrations/env.py", "import os\nos.environ['SETTING']\n"),
    ),
    "unknown version path": Case(
        "revision -m new --version-path /proc",
        RevisionError,
        1,
        "*/proc*",
        "*version_locations*",
    ),
    "read-only directory, init": Case(
        "init -d /proc/migrations",
        MigrationDirectoryError,
        2,
        "'/proc/migrations' cannot be written: No such file or directory.",
        "Name a directory that is writable with '--directory'.",
    ),
    "init below a file": Case(
        "init -d file/migrations",
        MigrationDirectoryError,
        2,
        "'file/migrations' cannot be written: Not a directory.",
        "Name a directory that is writable with '--directory'.",
        write("file", ""),
    ),
    "read-only versions": Case(
        "revision -m new --rev-id aaa",
        ConfigurationError,
        2,
        "The script cannot be written to '{cwd}/migrations/versions/aaa_new.py': *.",
        "Make the directory writable, or name another one with '--directory'.",
        not_writable,
    ),
}


def like(text: str, pattern: str) -> bool:
    """Compare, where ``*`` stands for anything that is not empty."""
    return re.fullmatch(".+".join(map(re.escape, pattern.split("*"))), text) is not None


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_sentence_and_a_remedy(
    ready: Place, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    """What goes wrong is an error of its class, a sentence and a remedy, and an exit code."""
    for name in ("EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    case.arrange(ready)
    error, exit_code, stderr = ready.fails(*case.arguments.split())
    expected = case.message.replace("{cwd}", str(ready.project.folder))
    assert like(error.message, expected), error.message
    assert like(error.hint, case.hint), error.hint
    assert (type(error), exit_code) == (case.error, case.exit_code)
    assert stderr == f"Error: {error.message}\n{error.hint}\n"


def test_no_directory(place: Place) -> None:
    """A missing directory is named with all places where it was looked for."""
    error, exit_code, _ = place.fails("upgrade")
    cwd = place.project.folder
    assert isinstance(error, MigrationDirectoryError)
    assert exit_code == 2
    places = (f"{cwd}/migrations", f"{cwd}/application/migrations")
    assert error.looked_in == places
    assert error.message == (
        "There is no migration directory 'migrations'; looked for "
        f"'{places[0]}', then '{places[1]}'."
    )
    assert error.hint == "Create it with 'flask db init', or name it with '--directory'."


def test_hint_names_the_command_that_was_typed(place: Place) -> None:
    """A hint has the group's own name where it is another one."""
    Migrate(place.app, directory="other", command="database")
    result = place.invoke("database", "upgrade")
    assert "Create it with 'flask database init'" in result.stderr


def test_command_of_the_application(ready: Place) -> None:
    """An error that a command of the application's own does not catch is shown like one of ours."""
    ready.app.cli.command("own")(lambda: flask_dbmigrate.show(revision="zzz"))
    own, ours = ready.invoke("own"), ready.invoke("db", "show", "zzz")
    assert (own.exit_code, own.stderr) == (ours.exit_code, ours.stderr)
    assert own.stderr.startswith("Error: There is no revision or branch 'zzz'.")


def test_factory_that_fails(ready: Place) -> None:
    """Neither is an error of the factory a traceback, which is called before any command."""
    ready.project.write_app()
    app = ready.project.folder / "app.py"
    call = "    with app.app_context(): flask_dbmigrate.show(revision='zzz')\n    return app"
    app.write_text("import flask_dbmigrate\n" + app.read_text().replace("    return app", call))
    said = ready.project.fails("upgrade", exit_code=1)
    assert said.startswith("Error: There is no revision or branch 'zzz'.")


def test_no_db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``flask db`` on an application without a database says what to call."""
    monkeypatch.chdir(tmp_path)
    app = Flask("lonely")
    Migrate(app)
    place = Place(app, Project(tmp_path, "sqlite://"))
    place.db("init")
    error, exit_code, _ = place.fails("upgrade")
    assert (type(error), exit_code) == (NoDatabaseError, 2)
    assert error.message == "'Migrate' of application 'lonely' has no database."


def test_database_that_cannot_be_opened(
    make_application: Callable[..., t.Any], tmp_path: Path
) -> None:
    """An SQLite file in a folder that is missing is named, and what to do."""
    url = f"sqlite:///{tmp_path}/missing/test.db"
    app = make_application(url=url).app
    place = Place(app, Project(tmp_path, url))
    place.db("init")
    error, exit_code, _ = place.fails("upgrade")
    assert isinstance(error, DatabaseAccessError)
    assert (exit_code, error.url) == (2, url)
    assert error.message == (
        f"Database 'default' ('{url}') cannot be used: unable to open database file."
    )
    assert error.hint == (
        "Create its folder and make it writable, or correct 'SQLALCHEMY_DATABASE_URI'."
    )


def test_file_that_is_no_database(ready: Place) -> None:
    """A file that is no SQLite database is an error without a traceback."""
    (ready.project.folder / "test.db").write_text("this is no database, but it is long enough\n")
    error, exit_code, stderr = ready.fails("current")
    assert "file is not a database" in error.message
    assert exit_code != 0
    assert "Traceback" not in stderr


@pytest.mark.parametrize("where", ["group", "command", "raiseerr", "debug"])
def test_traceback_on_request(ready: Place, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The traceback is shown with ``--traceback``, also before the command, or in debug mode."""
    arguments = {
        "group": ["--traceback", "show", "zzz"],
        "command": ["show", "zzz", "--traceback"],
        "raiseerr": ["show", "zzz", "--raiseerr"],
        "debug": ["show", "zzz"],
    }[where]
    monkeypatch.setenv("FLASK_DEBUG", str(int(where == "debug")))
    result = ready.invoke("db", *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):\n") or (
        "\nTraceback (most recent call last):\n" in result.stderr
    )
    assert "RevisionNotFoundError: There is no revision or branch 'zzz'." in result.stderr
    assert "\nError: There is no revision or branch 'zzz'.\n" in result.stderr


TWO_STATEMENTS = [
    "op.create_table('good', sa.Column('id', sa.Integer))",
    "op.execute(",
    "    'INSERT INTO missing VALUES (1)'",
    ")",
]


def test_revision_that_fails(ready: Place) -> None:
    """A failure says file, line, statement, SQLite's message and the place."""
    ready.project.revision("aaa")
    path = ready.project.revision("bbb", "aaa", upgrade=TWO_STATEMENTS)
    error = ready.raises("upgrade")
    assert isinstance(error, MigrationError)
    line = path.read_text().splitlines().index("    op.execute(") + 1
    assert error.message == (
        f"Revision 'bbb' failed on database 'default' (migrations/versions/bbb_.py, line {line}): "
        "no such table: missing. The statement was: INSERT INTO missing VALUES (1). "
        "The database is at 'aaa' now."
    )
    expected = {
        "message": error.message,
        "hint": "Correct 'migrations/versions/bbb_.py' and run the command again.",
        "database": "default",
        "revision": "bbb",
        "path": str(path),
        "line": line,
        "statement": "INSERT INTO missing VALUES (1)",
        "heads": ("aaa",),
    }
    assert expected.items() <= vars(error).items()


def test_revision_that_raises(ready: Place) -> None:
    """An exception of the script's own is named with its class and its line."""
    ready.project.revision(
        "aaa", upgrade=["def deep():", "    raise RuntimeError('stop here')", "deep()"]
    )
    error, exit_code, _ = ready.fails("upgrade")
    assert isinstance(error, MigrationError)
    assert (exit_code, error.statement, error.heads) == (1, None, ())
    assert "): RuntimeError: stop here. The database is at base now." in error.message


def test_downgrade_that_fails(ready: Place) -> None:
    """A downgrade that fails says where the database stands."""
    ready.project.revision("aaa", downgrade=["op.drop_table('missing')"])
    ready.db("upgrade")
    error, _, _ = ready.fails("downgrade")
    assert isinstance(error, MigrationError)
    assert error.heads == ("aaa",)
    assert "no such table: missing" in error.message
    assert "The database is at 'aaa' now." in error.message


def test_script_that_lacks_a_function(ready: Place) -> None:
    """A script without ``downgrade`` is named."""
    path = ready.project.revision("aaa")
    path.write_text(path.read_text().partition("def downgrade")[0])
    ready.db("upgrade")
    error, exit_code, _ = ready.fails("downgrade")
    assert "migrations/versions/aaa_.py" in error.message
    assert "downgrade" in error.message
    assert exit_code == 1


def test_script_that_exits_is_no_success(ready: Place) -> None:
    """A revision that calls ``sys.exit``, even with 0, has failed and is named."""
    ready.project.revision("aaa", upgrade=["import sys", "sys.exit(0)"])
    error, exit_code, _ = ready.fails("upgrade")
    assert (type(error), exit_code) == (MigrationError, 1)
    assert "Revision 'aaa' failed" in error.message
    assert "SystemExit" in error.message


def test_error_of_the_users_command_is_theirs(ready: Place) -> None:
    """A programming error in env.py is explained and its traceback is one option away."""
    Path("migrations/env.py").write_text("def f():\n    return undefined\nf()\n")
    error, exit_code, _ = ready.fails("upgrade")
    assert error.message == (
        "'migrations/env.py' failed in line 2: NameError: name 'undefined' is not defined."
    )
    assert exit_code == 2
