"""A Flask project in a folder of its own, used as its developer would."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import chdir
from functools import cache
from importlib.util import cache_from_source
from importlib.util import module_from_spec
from importlib.util import spec_from_file_location
import json
import os
from pathlib import Path
import re
import subprocess
import sys
import textwrap
import time
import typing as t

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from forks import Forks
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

LEGACY_ENV_PY = """
from alembic import context
from flask import current_app

db = current_app.extensions["migrate"].db
with db.engine.connect() as connection:
    context.configure(connection=connection, target_metadata=db.metadata)
    with context.begin_transaction():
        context.run_migrations()
"""
"""An env.py that knows nothing of this package."""

OUR_TABLES = {"alembic_version", "alembic_version_log"}
"""What a run makes in a database for itself."""

ALL_OUR_TABLES = OUR_TABLES | {"alembic_version_journal"}
"""The same where something cannot be rolled back."""

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
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {engine_options!r}
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
        "SSL_CERT_FILE": os.devnull,  # as in this process: no server has a certificate
        **(more or {}),
    }


@cache
def forks() -> Forks:
    """Where most commands are run."""
    return Forks(environment())


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

    is_forked = True
    """Whether its commands may run in forks of a process that has imported the libraries."""

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
        engine_options: dict[str, t.Any] | None = None,
    ) -> None:
        """Write ``app.py`` anew.

        :param models: The source of the models.
        :param binds: ``SQLALCHEMY_BINDS``.
        :param arguments: More arguments for ``Migrate(app, db)``, beginning with a comma.
        :param engine_options: ``SQLALCHEMY_ENGINE_OPTIONS``.
        """
        source = APP.format(
            models=models,
            url=self.url,
            binds=binds or {},
            arguments=arguments,
            engine_options=engine_options or {},
        )
        (self.folder / "app.py").write_text(source)

    def run(
        self,
        *command: str,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python module as a command, without a terminal."""
        if self.is_forked and not any(name.startswith("PYTHON") for name in env or {}):
            return forks().run(command, cwd or self.folder, environment(env))
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
        (ended,) = self.herds((count, arguments))
        return ended

    def herds(self, *commands: tuple[int, tuple[str, ...]]) -> list[list[tuple[int, str]]]:
        """Run one such herd after the other."""
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("herd.py"), json.dumps(commands)],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return [[(code, output) for code, output in ended] for ended in json.loads(done.stdout)]

    def start(
        self, *arguments: str, preexec_fn: t.Callable[[], None] | None = None
    ) -> subprocess.Popen[str]:
        """Start ``flask db`` with these arguments, and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "flask", "db", *arguments],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=preexec_fn,
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
        # Python takes what is compiled for that of a file of the same second and size
        Path(cache_from_source(str(path))).unlink(missing_ok=True)
        return path

    def tables(self, url: str | None = None) -> set[str]:
        """List the tables of a database, our own left out."""
        return set(self.inspect(url)) - ALL_OUR_TABLES

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


def normal(output: str) -> str:
    """Leave out what differs from run to run: durations."""
    return re.sub(r"\d+\.\d\d s", "0.01 s", output)


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


class Holder:
    """Another process, whose open transaction holds locks.

    :param statements: What it executes before it waits.
    """

    def __init__(self, url: str, *statements: str) -> None:
        plain = servers.synchronous(url).render_as_string(hide_password=False)
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("holder.py"), plain, *statements],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def release(self) -> None:
        """Let the locks go."""
        self.process.communicate()

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.release()


class Ended(t.NamedTuple):
    """How a command has ended.

    :param code: Its exit code; negative if a signal ended it.
    :param output: What it has written.
    :param moments: The moments at which it could have been killed, until its end.
    """

    code: int
    output: str
    moments: list[str]


class Killer:
    """Runs commands of a project, and kills them at a certain moment; see ``killer.py``."""

    def __init__(self, project: Project) -> None:
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("killer.py")],
            cwd=project.folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        *arguments: str,
        kill: int | str | None = None,
        block: tuple[str, str] | None = None,
        is_sent: bool = False,
    ) -> Ended:
        """Run ``flask db`` with these arguments.

        :param kill: The moment at which it is killed, or its number, from 1 on.
        :param block: The URL and the statement of a session that is begun then: the process is
            killed while its next statement waits for that.
        :param is_sent: Commit before the kill, as a DDL statement of MariaDB does when it begins.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {
            "arguments": ["db", *arguments],
            "kill": kill,
            "block": block,
            "is_sent": is_sent,
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return Ended(answer["code"], answer["output"], answer["moments"])

    def __enter__(self) -> Killer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()
