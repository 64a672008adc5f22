"""``flask db`` as it is typed: options, the group, users' own commands, the environment."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import json
import logging
from pathlib import Path
import typing as t

import click
from click.testing import Result
from flask import Flask
from flask import g
from flask.cli import with_appcontext
from harness import normal
from harness import Project
import pytest

from flask_dbmigrate import Migrate
from flask_dbmigrate.cli import db as group
from flask_dbmigrate.commands import FAMILIES

COMMANDS = sorted(
    name.removeprefix("run_").replace("_", "-") for names in FAMILIES.values() for name in names
)

EVERY_COMMAND = [
    "branches",
    "check",
    "current",
    "downgrade",
    "edit",
    "ensure-version",
    "heads",
    "history",
    "init",
    "list-templates",
    "log",
    "merge",
    "migrate",
    "resolve",
    "resume",
    "revision",
    "show",
    "stamp",
    "status",
    "upgrade",
]

# Flask-Migrate 4.1.0, flask_migrate/cli.py: the arguments and options of each command
FLASK_MIGRATE: dict[str, set[str]] = {
    "list-templates": set(),
    "init": {"-d", "--directory", "--multidb", "-t", "--template", "--package"},
    "revision": {
        "-d",
        "--directory",
        "-m",
        "--message",
        "--autogenerate",
        "--sql",
        "--head",
        "--splice",
        "--branch-label",
        "--version-path",
        "--rev-id",
    },
    "migrate": {
        "-d",
        "--directory",
        "-m",
        "--message",
        "--sql",
        "--head",
        "--splice",
        "--branch-label",
        "--version-path",
        "--rev-id",
        "-x",
        "--x-arg",
    },
    "edit": {"-d", "--directory", "revision"},
    "merge": {
        "-d",
        "--directory",
        "-m",
        "--message",
        "--branch-label",
        "--rev-id",
        "revisions",
    },
    "upgrade": {"-d", "--directory", "--sql", "--tag", "-x", "--x-arg", "revision"},
    "downgrade": {"-d", "--directory", "--sql", "--tag", "-x", "--x-arg", "revision"},
    "show": {"-d", "--directory"},
    "history": {
        "-d",
        "--directory",
        "-r",
        "--rev-range",
        "-v",
        "--verbose",
        "-i",
        "--indicate-current",
    },
    "heads": {"-d", "--directory", "-v", "--verbose", "--resolve-dependencies"},
    "branches": {"-d", "--directory", "-v", "--verbose"},
    "current": {"-d", "--directory", "-v", "--verbose"},
    "stamp": {"-d", "--directory", "--sql", "--tag", "--purge"},
    "check": {"-d", "--directory"},
}

BEYOND: dict[str, set[str]] = {
    "revision": {"--depends-on", "--json"},
    "migrate": {"--depends-on", "--json"},
    "merge": {"--splice", "--json"},
    "current": {"--check-heads", "--json"},
    "check": {"--json"},
    "heads": {"--json"},
    "branches": {"--json"},
    "history": {"--json"},
    "show": {"revisions", "--json"},
    "stamp": {"revisions", "--json"},
    "upgrade": {"--plan", "--json"},
    "downgrade": {"-y", "--yes", "--plan", "--json"},
    "ensure-version": {"--sql", "--json"},
    "init": {"--json"},
    "list-templates": {"--json"},
}


def command(name: str) -> click.Command:
    """A command of the group."""
    found = group.get_command(click.Context(group), name)
    assert found is not None
    return found


def names(parameter: click.Parameter) -> set[str]:
    """What a parameter is called on the command line."""
    return {*parameter.opts, *parameter.secondary_opts}


def test_list_of_commands() -> None:
    """The group has every command, and lists them by name."""
    assert group.list_commands(click.Context(group)) == EVERY_COMMAND == COMMANDS


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_every_command_has_a_help_text(application: t.Any, name: str) -> None:
    """``--help`` begins with a sentence, and every option says what it does."""
    found = command(name)
    assert (found.help or "").partition("\n")[0].endswith(".")
    silent = [
        parameter.name
        for parameter in found.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []
    result = application.app.test_cli_runner().invoke(args=["db", name, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_group_lists_its_commands(application: t.Any) -> None:
    """``flask db`` and ``flask db --help`` list all commands with their help."""
    result = application.app.test_cli_runner().invoke(args=["db", "--help"])
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.stdout.partition("Commands:\n")[2].splitlines()]
    assert listed == EVERY_COMMAND
    bare = application.app.test_cli_runner().invoke(args=["db"])
    assert "Commands:\n" in bare.output


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_options_of_flask_migrate(name: str) -> None:
    """A command has all options and arguments of Flask-Migrate's, and those that are new."""
    found = {called for parameter in command(name).params for called in names(parameter)}
    assert (FLASK_MIGRATE.get(name, set()) | BEYOND.get(name, set())) - found == set()


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_options_that_every_command_has(name: str) -> None:
    """``-d``, ``-x`` and ``--traceback`` are options of each command."""
    found = {called for parameter in command(name).params for called in names(parameter)}
    expected = {"-d", "--directory", "-x", "--x-arg", "--traceback", "--raiseerr"}
    assert expected - found == set()


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_unknown_option(application: t.Any, name: str) -> None:
    """An option that a command has not is a usage error."""
    result = application.app.test_cli_runner().invoke(args=["db", name, "--no-such-option"])
    assert result.exit_code == 2
    assert "No such option" in result.stderr


ENV_PY = """
from pathlib import Path
from alembic import context
from flask import g
from flask_dbmigrate.env import run_migrations
seen = (context.get_x_argument(), g.directory, list(g.x_arg))
Path("seen").write_text(repr(seen))
run_migrations()
"""


class Place(t.NamedTuple):
    """An application in its folder."""

    app: Flask
    project: Project

    def invoke(self, *arguments: str) -> Result:
        """Run a command."""
        return self.app.test_cli_runner().invoke(args=arguments, prog_name="flask")

    def db(self, *arguments: str) -> str:
        """Run a command that succeeds, and return what it prints on stdout."""
        result = self.invoke("db", *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture
def ready(application: t.Any, tmp_path: Path, sqlite_url: str) -> Place:
    """An application after ``flask db init``, with two revisions."""
    place = Place(application.app, Project(tmp_path, sqlite_url))
    place.db("init")
    place.project.revision("aaa")
    place.project.revision("bbb", "aaa")
    return place


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["upgrade"], ([], None, [])),
        (["-x", "a=1", "upgrade"], (["a=1"], None, ["a=1"])),
        (["upgrade", "-x", "a=1"], (["a=1"], None, ["a=1"])),
        (["upgrade", "--x-arg", "a=1", "-x", "b"], (["a=1", "b"], None, ["a=1", "b"])),
        (["-x", "a=1", "upgrade", "-x", "b"], (["a=1", "b"], None, ["a=1", "b"])),
        (["current", "-x", "a=1"], (["a=1"], None, ["a=1"])),
        (["-d", "migrations", "upgrade"], ([], "migrations", [])),
        (["upgrade", "-d", "migrations"], ([], "migrations", [])),
        (["-d", "wrong", "upgrade", "--directory", "migrations"], ([], "migrations", [])),
        (
            ["-d", "migrations", "-x", "a", "check", "-x", "b"],
            (["a", "b"], "migrations", ["a", "b"]),
        ),
    ],
)
def test_options_on_group_and_command(
    ready: Place, arguments: list[str], expected: tuple[t.Any, ...]
) -> None:
    """``-d`` and ``-x`` work on the group and on the command, and each is passed on once."""
    Path("migrations/env.py").write_text(ENV_PY)
    ready.invoke("db", *arguments)
    assert Path("seen").read_text() == repr(expected)


@pytest.fixture
def own_command() -> Iterator[Callable[[click.Command], None]]:
    """Adds commands to the group that all applications share, and removes them again."""
    added: list[str] = []

    def add(own: click.Command) -> None:
        assert own.name is not None
        added.append(own.name)

    before = {name: group.commands.get(name) for name in EVERY_COMMAND}
    yield add
    for name in added:
        ours = before.get(name)
        if ours is None:
            del group.commands[name]
        else:
            group.commands[name] = ours


def test_command_of_ones_own(ready: Place, own_command: Callable[..., None]) -> None:
    """A user's command in the group runs with the application, and is listed."""

    @group.command("where")
    @with_appcontext
    def where() -> None:
        """Say where."""
        click.echo(f"{g.directory} {g.x_arg}")

    own_command(where)
    result = ready.invoke("db", "-d", "there", "-x", "a=1", "where")
    assert (result.exit_code, result.stdout) == (0, "there ('a=1',)\n")
    assert "  where " in ready.invoke("db", "--help").stdout


def test_own_command_beats_ours(ready: Place, own_command: Callable[..., None]) -> None:
    """A user's command of the same name as one of ours is the one that runs."""

    @group.command("upgrade")
    def upgrade() -> None:
        """Say so."""
        click.echo("mine")

    own_command(upgrade)
    assert ready.db("upgrade") == "mine\n"
    assert ready.db("current") == ""


def test_ours_is_back_afterwards(ready: Place) -> None:
    """After the test before this one the group is as it was."""
    ready.db("upgrade")
    assert ready.db("current") == "bbb (head)\n"


def test_group_mounted_elsewhere(ready: Place) -> None:
    """The group can be mounted under another group of the application."""
    admin = click.Group("admin")
    admin.add_command(group, "database")
    ready.app.cli.add_command(admin)
    result = ready.invoke("admin", "database", "history")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "at"),
    [
        (["downgrade", "-1"], "aaa"),
        (["downgrade", "--", "-1"], "aaa"),
        (["downgrade", "-2"], ""),
        (["downgrade"], "aaa"),
        (["downgrade", "-1", "--yes"], "aaa"),
        (["downgrade", "--yes", "-1"], "aaa"),
        (["downgrade", "-y"], "aaa"),
        (["downgrade", "base"], ""),
        (["downgrade", "-x", "-5", "-1"], "aaa"),
        (["upgrade", "+0"], "bbb (head)"),
    ],
)
def test_relative_revisions(ready: Place, arguments: list[str], at: str) -> None:
    """``flask db downgrade -1`` needs no ``--`` before the number."""
    ready.db("upgrade")
    ready.invoke("db", *arguments)
    assert ready.db("current").strip() == at


JSON: dict[str, list[str]] = {
    "branches": [],
    "check": [],
    "current": [],
    "downgrade": [],
    "ensure-version": [],
    "heads": [],
    "history": ["-i"],
    "init": ["-d", "other"],
    "list-templates": [],
    "log": [],
    "merge": ["aaa", "ccc", "--splice"],
    "migrate": [],
    "resolve": ["--drop-temp"],
    "resume": [],
    "revision": [],
    "show": ["current", "aaa"],
    "stamp": ["aaa"],
    "status": [],
    "upgrade": ["heads"],
}


def test_every_json_option_is_tested() -> None:
    """The table of this module has every command with ``--json``."""
    found = [
        name
        for name in EVERY_COMMAND
        if any("--json" in parameter.opts for parameter in command(name).params)
    ]
    assert found == sorted(JSON)


@pytest.mark.parametrize("name", JSON)
def test_json_parses(ready: Place, name: str) -> None:
    """``--json`` prints one JSON document on stdout, and nothing else."""
    ready.project.revision("ccc")
    ready.db("stamp", "heads")
    if name in ("check", "migrate", "revision"):
        Path("migrations/versions/ccc_.py").unlink()
        ready.db("stamp", "--purge", "head")
    if name == "downgrade":
        ready.db("stamp", "--purge", "bbb")
    result = ready.invoke("db", name, "--json", *JSON[name])
    assert isinstance(json.loads(result.stdout), dict), result.output


def test_json_of_upgrade(ready: Place) -> None:
    """``upgrade --json`` prints the result that the API returns."""
    found = json.loads(ready.db("upgrade", "--json"))
    (database,) = found.pop("databases")
    steps = database.pop("steps")
    assert found == {}
    assert database == {"key": "default", "url": ready.project.url, "before": [], "after": ["bbb"]}
    assert [step.pop("seconds") >= 0 for step in steps] == [True, True]
    assert steps == [
        {
            "direction": "upgrade",
            "revisions": ["aaa"],
            "description": "upgrade  -> aaa, revision aaa",
            "statements": 0,
        },
        {
            "direction": "upgrade",
            "revisions": ["bbb"],
            "description": "upgrade aaa -> bbb, revision bbb",
            "statements": 0,
        },
    ]


def test_output_of_upgrade(ready: Place) -> None:
    """``upgrade`` prints nothing on stdout, and a line for each revision on stderr."""
    result = ready.invoke("db", "upgrade")
    assert (result.exit_code, result.stdout) == (0, "")
    assert normal(result.stderr).splitlines() == [
        "Running upgrade  -> aaa, revision aaa (0.01 s)",
        "Running upgrade aaa -> bbb, revision bbb (0.01 s)",
        "Database 'default' is at 'bbb' now: 2 revisions with 0 statements in 0.01 s.",
    ]


def test_output_of_migrate(ready: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """``migrate`` prints the script on stdout, and what it detected on stderr."""
    ready.db("upgrade")
    with monkeypatch.context() as patch:
        patch.setattr(logging.root, "handlers", [])  # pytest's would say that an application logs
        result = ready.invoke("db", "migrate", "-m", "users", "--rev-id", "ccc")
    assert result.stdout == "migrations/versions/ccc_users.py\n"
    assert result.stderr == "Detected added table 'user'\n"


def test_output_of_migrate_without_changes(ready: Place) -> None:
    """``migrate`` that finds nothing says so on stderr, and exits with 0."""
    ready.db("upgrade")
    ready.project.query("CREATE TABLE user (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(128))")
    result = ready.invoke("db", "migrate")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "No changes in schema detected.\n"


def test_output_of_sql(ready: Place) -> None:
    """``--sql`` prints SQL on stdout and nothing on stderr."""
    result = ready.invoke("db", "upgrade", "--sql")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "INSERT INTO alembic_version (version_num) VALUES ('aaa')" in result.stdout
    assert ready.project.inspect() == []


@pytest.mark.parametrize(
    ("variable", "value", "arguments", "expected"),
    [
        ("FLASK_DB_UPGRADE_DIRECTORY", "migrations", ["upgrade"], "bbb (head)\n"),
        ("FLASK_DB_DIRECTORY", "migrations", ["upgrade"], "bbb (head)\n"),
        ("FLASK_DB_UPGRADE_SQL", "1", ["upgrade"], ""),
    ],
)
def test_options_from_the_environment(
    ready: Place,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    arguments: list[str],
    expected: str,
) -> None:
    """Every option can be given as ``FLASK_DB_<COMMAND>_<OPTION>``."""
    Path("migrations").rename("there")
    if "DIRECTORY" in variable:
        value = "there"
    else:
        monkeypatch.setenv("FLASK_DB_DIRECTORY", "there")
    monkeypatch.setenv(variable, value)
    result = ready.app.test_cli_runner().invoke(
        args=["db", *arguments], auto_envvar_prefix="FLASK", prog_name="flask"
    )
    assert result.exit_code == 0, result.output
    assert ready.db("-d", "there", "current") == expected


def test_options_from_the_environment_of_a_process(new_project: Project) -> None:
    """The ``flask`` command itself reads ``FLASK_DB_...``, several values split at spaces."""
    new_project.revision("aaa")
    new_project.revision("bbb", "aaa")
    env_py = new_project.folder / "migrations" / "env.py"
    env_py.write_text(ENV_PY)
    new_project.db("upgrade", env={"FLASK_DB_X_ARG": "a=1 b", "FLASK_DB_UPGRADE_X_ARG": "c"})
    assert (new_project.folder / "seen").read_text() == repr(
        (["a=1", "b", "c"], None, ["a=1", "b", "c"])
    )
    listed = new_project.db("history", env={"FLASK_DB_HISTORY_REV_RANGE": "bbb:"})
    assert listed == "aaa -> bbb (head), revision bbb\n"


def test_exit_code_of_success(ready: Place) -> None:
    """A command that finds nothing to do is a success."""
    ready.db("upgrade")
    result = ready.invoke("db", "upgrade")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "Database 'default' is at 'bbb': nothing to do.\n"


def test_two_groups(make_application: Callable[..., t.Any]) -> None:
    """Two ``Migrate``s on one application are two groups with their own directories."""
    application = make_application()
    Migrate(application.app, directory="second", command="db2")
    runner = application.app.test_cli_runner()
    assert "second/env.py" in runner.invoke(args=["db2", "init"]).stdout
    assert "migrations/env.py" in runner.invoke(args=["db", "init"]).stdout
    assert runner.invoke(args=["db2", "revision", "--rev-id", "aaa"]).exit_code == 0
    assert runner.invoke(args=["db2", "history"]).stdout == "<base> -> aaa (head), empty message\n"
    assert runner.invoke(args=["db", "history"]).stdout == ""
