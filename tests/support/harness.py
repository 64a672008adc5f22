"""A Flask project in a folder of its own, used as its developer would."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import chdir
from importlib.util import module_from_spec
from importlib.util import spec_from_file_location
import json
import os
from pathlib import Path
import subprocess
import sys
import textwrap
import time
import typing as t

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
import servers
import sqlalchemy as sa

import flask_dbmigrate

USER_MODEL = """
class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(128))
"""

POST_MODEL = """
class Post(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    title = db.Column(db.String(64), nullable=False)
"""

OUR_TABLES = {"alembic_version", "alembic_version_log"}
"""What a run makes in a database for itself."""

APP = """
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_dbmigrate import Migrate

db = SQLAlchemy()
{models}

def create_app():
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = {url!r}
    app.config["SQLALCHEMY_BINDS"] = {binds!r}
    db.init_app(app)
    Migrate(app, db{arguments})
    return app
"""


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a process, without what this one was told."""
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FLASK_", "PYTEST_"))
            and name not in ("EDITOR", "VISUAL", "PYTHONDONTWRITEBYTECODE")
        },
        "NO_COLOR": "1",
        **(more or {}),
    }


def wait_until(condition: t.Callable[[], bool]) -> None:
    """Wait for another process to do something."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 30 seconds"
        time.sleep(0.02)  # no event tells what another process has done


class Application(t.NamedTuple):
    """An application in this process; its context is pushed by the test."""

    app: Flask
    db: SQLAlchemy
    migrate: flask_dbmigrate.Migrate


class Project:
    """A project folder with an ``app.py``.

    :param folder: Where; it is made.
    :param url: Its database.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        folder.mkdir(parents=True, exist_ok=True)
        self.write_app()

    def write_app(
        self,
        models: str = USER_MODEL,
        *,
        binds: dict[str, str] | None = None,
        arguments: str = "",
    ) -> None:
        """Write ``app.py`` anew.

        :param models: The source of the models.
        :param binds: ``SQLALCHEMY_BINDS``.
        :param arguments: More arguments for ``Migrate(app, db)``, beginning with a comma.
        """
        source = APP.format(models=models, url=self.url, binds=binds or {}, arguments=arguments)
        (self.folder / "app.py").write_text(source)

    def run(
        self,
        *command: str,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python module as a command, without a terminal."""
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=cwd or self.folder,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def herd(self, count: int, *arguments: str) -> list[tuple[int, str]]:
        """Run ``flask`` in several processes at the same moment: exit code and output of each."""
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("herd.py"), str(count), *arguments],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return [(code, output) for code, output in json.loads(done.stdout)]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``flask db`` with these arguments, and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "flask", "db", *arguments],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def flask(
        self, *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``flask`` with these arguments."""
        return self.run("flask", *arguments, env=env, cwd=cwd)

    def db(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        """Run ``flask db``, expect success, and return what it prints on stdout."""
        done = self.flask("db", *arguments, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def fails(self, *arguments: str, exit_code: int, env: dict[str, str] | None = None) -> str:
        """Run ``flask db``, expect this exit code and no traceback; return what stderr says."""
        done = self.flask("db", *arguments, env=env)
        assert done.returncode == exit_code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr

    def revision(
        self,
        identifier: str,
        down: str | tuple[str, ...] | None = None,
        *,
        upgrade: Iterable[str] = ("pass",),
        downgrade: Iterable[str] = ("pass",),
        extra: str = "",
        directory: str = "migrations",
    ) -> Path:
        """Write a revision script by hand."""
        versions = self.folder / directory / "versions"
        versions.mkdir(exist_ok=True)
        path = versions / f"{identifier}_.py"
        path.write_text(
            f'"""revision {identifier}"""\n'
            "from alembic import op\nimport sqlalchemy as sa\n"
            f"revision = {identifier!r}\ndown_revision = {down!r}\n{extra}\n"
            "def upgrade():\n" + textwrap.indent("\n".join(upgrade), "    ") + "\n"
            "def downgrade():\n" + textwrap.indent("\n".join(downgrade), "    ") + "\n"
        )
        return path

    def tables(self, url: str | None = None) -> set[str]:
        """List the tables of a database, the version table and the log left out."""
        return set(self.inspect(url)) - OUR_TABLES

    def inspect(self, url: str | None = None) -> list[str]:
        """List all tables of a database."""
        engine = sa.create_engine(servers.synchronous(url or self.url), poolclass=sa.NullPool)
        return sa.inspect(engine).get_table_names()

    def query(self, statement: str) -> list[tuple[t.Any, ...]]:
        """Ask the database something, or change it."""
        engine = sa.create_engine(servers.synchronous(self.url), poolclass=sa.NullPool)
        with engine.begin() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []


class QuickProject(Project):
    """A project whose commands run in this process, with an application made anew for each."""

    def flask(
        self, *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        spec = spec_from_file_location("app", self.folder / "app.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        with chdir(cwd or self.folder):
            app = module.create_app()
            result = app.test_cli_runner().invoke(
                args=arguments, prog_name="flask", env=env, catch_exceptions=False
            )
            with app.app_context():
                for engine in module.db.engines.values():
                    engine.dispose()
        return subprocess.CompletedProcess(
            arguments, result.exit_code, result.stdout, result.stderr
        )


def execute(url: str | sa.URL, *statements: str) -> None:
    """Change a database by hand; double quotes are for names on each DBMS."""
    engine = sa.create_engine(servers.synchronous(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            quoted = statement.replace('"', engine.dialect.identifier_preparer.initial_quote)
            connection.exec_driver_sql(quoted)


def differences() -> list[tuple[str, str]]:
    """What ``check`` finds: the kind and the table of each difference."""
    try:
        flask_dbmigrate.check()
    except flask_dbmigrate.DriftError as error:
        return sorted((found.kind, found.table or "") for found in error.differences)
    return []
