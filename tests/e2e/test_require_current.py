"""``require_current()`` in a factory stops what serves, and never what brings the database up."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys
import typing as t
from urllib.error import HTTPError
from urllib.request import urlopen

from harness import environment
from harness import Project
from harness import wait_until
import pytest
import servers

APP = """
import click
from flask import Flask
from flask.cli import FlaskGroup
from flask_sqlalchemy import SQLAlchemy
from flask_dbmigrate import Migrate

db = SQLAlchemy()
migrate = Migrate()

def create_app():
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = {url!r}
    db.init_app(app)
    migrate.init_app(app, db, command={command!r})
    app.cli.command("hello")(lambda: click.echo("hello"))
    app.cli.command("ready")(migrate.require_current)
    migrate.require_current(app)
    return app

cli = FlaskGroup(create_app=create_app)
"""

SCRIPTS = {
    "manage": "from app import cli; cli(prog_name='manage')",
    "run": "from app import cli; cli(prog_name='run')",
    "serve": "from app import create_app; create_app()",
    "upgrade": """
from alembic import command
from alembic.config import Config

command.upgrade(Config("migrations/alembic.ini"), "head")
""",
}
"""Modules that are run as commands."""

ERROR = "Error: Database 'default' is not up to date: 1 revision is pending ('aaa')"


@pytest.fixture
def project(tmp_path: Path, sqlite_url: str) -> Project:
    """A project whose factory requires a current database, with one pending revision."""
    return make(Project(tmp_path / "project", sqlite_url))


def make(project: Project, command: str = "db") -> Project:
    """Write the application, the migration directory and a revision."""
    (project.folder / "app.py").write_text(APP.format(url=project.url, command=command))
    for name, source in SCRIPTS.items():
        (project.folder / f"{name}.py").write_text(source)
    done = project.flask(command, "init")
    assert done.returncode == 0, done.stderr
    project.revision("aaa")
    return project


@pytest.mark.parametrize(
    "command",
    [
        ("flask", "db", "upgrade"),
        ("flask", "--app", "app", "db", "upgrade"),
        ("flask", "--app", "app:create_app()", "--debug", "db", "upgrade"),
        ("flask", "db", "upgrade", "--plan"),
        ("flask", "hello"),
        ("flask", "routes"),
        ("flask", "shell"),
        ("flask", "--help"),
        ("flask", "db", "--help"),
        ("manage", "db", "upgrade"),
        ("run", "db", "upgrade"),
    ],
    ids=" ".join,
)
def test_commands_that_must_work(project: Project, command: tuple[str, ...]) -> None:
    """Whatever ``flask`` is called for, other than ``run``, finds the application."""
    done = project.run(*command)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if "upgrade" in command and "--plan" not in command:
        assert project.db("current") == "aaa (head)\n"


def test_other_command_name(tmp_path: Path, sqlite_url: str) -> None:
    """``Migrate`` may be called by another name."""
    project = make(Project(tmp_path / "project", sqlite_url), command="db2")
    assert project.flask("db2", "upgrade").returncode == 0
    assert project.flask("db2", "current").stdout == "aaa (head)\n"


@pytest.mark.parametrize(
    "env_py",
    [
        "from flask_dbmigrate.env import run_migrations\nrun_migrations()",
        "from app import create_app\n"
        "from flask_dbmigrate.env import run_migrations\n"
        "with create_app().app_context():\n"
        "    run_migrations()",
    ],
    ids=["ours", "with an application of its own"],
)
@pytest.mark.parametrize(
    "command",
    [
        ("alembic.config", "-c", "migrations/alembic.ini", "upgrade", "head"),
        ("upgrade",),
        ("flask", "db", "upgrade"),
    ],
    ids=["alembic", "alembic.command", "flask"],
)
def test_alembic_must_work(project: Project, env_py: str, command: tuple[str, ...]) -> None:
    """Alembic finds the application, whoever loads it and whoever calls Alembic."""
    (project.folder / "migrations/env.py").write_text(env_py)
    done = project.run(*command, env={"FLASK_APP": "app", "PYTHONPATH": python_path(project)})
    assert done.returncode == 0, done.stderr
    assert project.db("current") == "aaa (head)\n"


def python_path(project: Project) -> str:
    """Let the project be found, and this package where it is not installed."""
    return ":".join([str(project.folder), *filter(None, [environment().get("PYTHONPATH")])])


@pytest.mark.parametrize(
    "command",
    [
        ("flask", "run", "--port", "0"),
        ("flask", "--app", "app", "--debug", "run", "--no-reload", "--port", "0"),
        ("flask", "ready"),
        ("serve",),
        ("manage", "run", "--port", "0"),
    ],
    ids=" ".join,
)
def test_what_serves_is_stopped(project: Project, command: tuple[str, ...]) -> None:
    """What serves does not start, and says why and what to do; so does a command that asks."""
    done = project.run(*command)
    assert done.returncode != 0
    *_, error, hint = done.stderr.splitlines()
    assert error.endswith(f"{ERROR}.")
    assert hint == "Run 'flask db upgrade' first."


@pytest.mark.parametrize("options", [["--no-reload"], ["--reload"]], ids=" ".join)
def test_up_to_date(project: Project, options: list[str]) -> None:
    """With nothing pending ``flask run`` serves the application, its reloader too."""
    project.db("upgrade")
    port = servers.free_port()
    command = [sys.executable, "-m", "flask", "run", *options, "--port", str(port)]
    streams: dict[str, t.Any] = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    server = subprocess.Popen(
        command, cwd=project.folder, env=environment(), stdin=subprocess.DEVNULL, **streams
    )
    try:
        wait_until(lambda: servers.is_listening(port))
        with pytest.raises(HTTPError, match="NOT FOUND"):
            urlopen(f"http://127.0.0.1:{port}/")
    finally:
        server.terminate()
        server.wait(30)
