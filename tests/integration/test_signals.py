"""Signals before and after a run, and after each revision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
import logging
from pathlib import Path
import typing as t

from blinker import NamedSignal
from flask import Flask
from harness import Application
from harness import execute
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import DBMigrateError
from flask_dbmigrate import LockNotAcquiredError
from flask_dbmigrate import MigrationError
from flask_dbmigrate import signals

Sent = list[tuple[str, dict[str, t.Any]]]

FAILS = "raise ValueError('no such luck')"


@pytest.fixture
def app(start: Callable[..., Application]) -> Application:
    """An application with two revisions."""
    application = start()
    script("aaa", None)
    script("bbb", "aaa")
    return application


def script(identifier: str, down: str | None, upgrade: str | None = None) -> None:
    """Write a revision by hand, which makes a table unless it does something else."""
    upgrade = upgrade or f"op.create_table('{identifier}', sa.Column('id', sa.Integer))"
    Path("migrations", "versions", f"{identifier}_.py").write_text(
        f'"""revision {identifier}"""\nfrom alembic import op\nimport sqlalchemy as sa\n'
        f"revision, down_revision = {identifier!r}, {down!r}\n"
        f"def upgrade(engine_name=''):\n    {upgrade}\n"
        f"def downgrade(engine_name=''):\n    op.drop_table('{identifier}')\n"
    )


def heard(stack: ExitStack, app: Flask, **receivers: Callable[[], object]) -> Sent:
    """Note all signals of an application.

    :param receivers: What else to do when the signal of this name comes.
    """
    sent: Sent = []

    def note(signal: NamedSignal, name: str) -> None:
        def receive(sender: Flask, **facts: t.Any) -> None:
            assert sender is app
            sent.append((name, facts))
            receivers.get(name, lambda: None)()

        stack.enter_context(signal.connected_to(receive, sender=app))

    for name in ("before_run", "after_revision", "after_run"):
        note(getattr(flask_dbmigrate, name), name)
    return sent


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Disconnects receivers in the end."""
    with ExitStack() as stack:
        yield stack


def fail() -> None:
    """Fail as a receiver does."""
    raise ConnectionError("nobody\nlistens.")


def interrupt() -> None:
    """Be interrupted by Ctrl-C."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("lock", [True, False])
def test_signals_of_a_run(app: Application, stack: ExitStack, lock: bool) -> None:
    """A run says what it is going to do, then each revision, then what it did, lock or no lock."""
    sent = heard(stack, app.app)
    result = flask_dbmigrate.upgrade(lock=lock)
    run = {"command": "upgrade", "databases": ("default",)}
    steps = result.databases[0].steps
    assert [step.revisions for step in steps] == [("aaa",), ("bbb",)]
    assert sent == [
        ("before_run", run),
        *(
            ("after_revision", {"command": "upgrade", "database": "default", "step": step})
            for step in steps
        ),
        ("after_run", {**run, "result": result, "error": None}),
    ]


def test_signals_of_other_commands(app: Application, stack: ExitStack) -> None:
    """``downgrade`` and ``stamp`` send the same signals under their own names."""
    flask_dbmigrate.upgrade()
    sent = heard(stack, app.app)
    flask_dbmigrate.downgrade()
    flask_dbmigrate.stamp(revision="bbb")
    names = ["before_run", "after_revision", "after_run"]
    assert [(name, facts["command"]) for name, facts in sent] == [
        *((name, "downgrade") for name in names),
        *((name, "stamp") for name in names),
    ]
    assert [sent[number][1]["step"].direction for number in (1, 4)] == ["downgrade", "stamp"]


def test_no_signals(app: Application, stack: ExitStack) -> None:
    """What changes nothing sends no signals."""
    sent = heard(stack, app.app)
    flask_dbmigrate.upgrade(sql=True)
    flask_dbmigrate.stamp(sql=True)
    flask_dbmigrate.plan_upgrade()
    flask_dbmigrate.ensure_version()
    flask_dbmigrate.current()
    assert sent == []
    flask_dbmigrate.upgrade()
    sent.clear()
    flask_dbmigrate.upgrade()
    flask_dbmigrate.upgrade(lock=False)
    assert sent == []


def test_failed_revision(app: Application, stack: ExitStack) -> None:
    """A revision that fails is not announced; the end of the run is, with the error."""
    script("bbb", "aaa", FAILS)
    sent = heard(stack, app.app)
    with pytest.raises(MigrationError, match="Revision 'bbb' failed") as caught:
        flask_dbmigrate.upgrade()
    assert [name for name, _ in sent] == ["before_run", "after_revision", "after_run"]
    assert sent[1][1]["step"].revisions == ("aaa",)
    assert (sent[2][1]["result"], sent[2][1]["error"]) == (None, caught.value)


@pytest.mark.parametrize(
    ("receiver", "expected", "said"),
    [
        (
            fail,
            MigrationError,
            "^A receiver of the signal 'before_run' failed: ConnectionError: nobody listens. "
            "Nothing was run.$",
        ),
        (interrupt, KeyboardInterrupt, "^$"),
    ],
)
def test_veto(
    app: Application,
    stack: ExitStack,
    receiver: Callable[[], object],
    expected: type[BaseException],
    said: str,
) -> None:
    """An error of a receiver of ``before_run`` stops the run before it begins."""
    sent = heard(stack, app.app, before_run=receiver)
    with pytest.raises(expected, match=said) as caught:
        flask_dbmigrate.upgrade()
    assert sa.inspect(app.db.engine).get_table_names() == []
    assert [name for name, _ in sent] == ["before_run", "after_run"]
    assert sent[1][1]["error"] is caught.value


def test_veto_in_its_own_words(app: Application, stack: ExitStack) -> None:
    """One of our errors reaches the caller as the receiver has raised it."""
    error = DBMigrateError("There is no backup of today.", hint="Make one: 'make backup'.")

    def veto() -> None:
        raise error

    heard(stack, app.app, before_run=veto)
    with pytest.raises(DBMigrateError, match="no backup of today") as caught:
        flask_dbmigrate.upgrade()
    assert caught.value is error


@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mysql"])
def test_error_after_a_revision(
    start: Callable[..., Application],
    stack: ExitStack,
    request: pytest.FixtureRequest,
    backend: str,
) -> None:
    """An error of a receiver of ``after_revision`` stops the run; the revision is committed."""
    url = request.getfixturevalue(f"{backend}_url")
    app = start(url=url, transaction_per_migration=True)
    script("aaa", None)
    script("bbb", "aaa")
    sent = heard(stack, app.app, after_revision=fail)
    with pytest.raises(MigrationError, match=r"'after_revision' failed: .* is committed.$"):
        flask_dbmigrate.upgrade()
    assert [name for name, _ in sent] == ["before_run", "after_revision", "after_run"]
    assert str(flask_dbmigrate.current()) == "aaa"
    assert flask_dbmigrate.run_log().databases[0].entries[-1].status == "ok"
    stack.close()
    assert flask_dbmigrate.upgrade().databases[0].after == ("bbb",)


def test_error_after_a_run(app: Application, stack: ExitStack) -> None:
    """An error of a receiver of ``after_run`` says that the run itself is complete."""
    heard(stack, app.app, after_run=fail)
    with pytest.raises(MigrationError, match=r"listens. The run itself is complete.$") as caught:
        flask_dbmigrate.upgrade()
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert str(flask_dbmigrate.current()) == "bbb (head)"


def test_error_after_a_failed_run(
    app: Application, stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of a receiver after a failed run is logged: the first error is what matters."""
    script("aaa", None, FAILS)
    heard(stack, app.app, after_run=fail)
    with pytest.raises(MigrationError, match="Revision 'aaa' failed"):
        flask_dbmigrate.upgrade()
    assert [(record.name, record.levelno) for record in caplog.records] == [
        ("flask_dbmigrate", logging.ERROR)
    ]
    assert "'after_run' failed: ConnectionError: nobody listens" in caplog.text


def test_database_can_be_used(app: Application, stack: ExitStack) -> None:
    """Receivers read and write the database: no transaction of the run is open then."""

    def write() -> None:
        app.db.session.execute(sa.text("CREATE TABLE IF NOT EXISTS note (id INTEGER)"))
        app.db.session.execute(sa.text("INSERT INTO note VALUES (1)"))
        app.db.session.commit()

    heard(stack, app.app, before_run=write, after_revision=write, after_run=write)
    flask_dbmigrate.upgrade()
    assert app.db.session.execute(sa.text("SELECT count(*) FROM note")).scalar() == 4


def test_connection_handed_in(app: Application, stack: ExitStack) -> None:
    """A run on a connection that was handed in sends the same signals; its owner commits."""
    sent = heard(stack, app.app)
    with app.db.engine.connect() as connection:

        @app.migrate.configure
        def hand_in(config: flask_dbmigrate.Config) -> flask_dbmigrate.Config:
            config.attributes["connection"] = connection
            return config

        flask_dbmigrate.upgrade()
        flask_dbmigrate.upgrade()
        connection.rollback()
    assert [name for name, _ in sent] == [
        "before_run",
        "after_revision",
        "after_revision",
        "after_run",
    ]


def test_lock_is_held(new_project: Project) -> None:
    """Signals are sent while no other process can begin to migrate."""
    new_project.revision("aaa")
    app = new_project.folder / "app.py"
    app.write_text(
        app.read_text().replace("    return app", "    connect(app)\n    return app")
        + "import os, subprocess, sys\nfrom flask_dbmigrate import signals\n"
        "def receive(sender, **facts):\n"
        "    command = [sys.executable, '-m', 'flask', 'db', 'stamp', '--lock-timeout', '0']\n"
        "    done = subprocess.run(command, env={**os.environ, 'INNER': '1'})\n"
        "    print(done.returncode)\n"
        "def connect(app):\n"
        "    if 'INNER' not in os.environ:\n"
        "        signals.before_run.connect(receive, app)\n"
        "        signals.after_run.connect(receive, app)\n"
    )
    done = new_project.flask("db", "upgrade")
    code = LockNotAcquiredError.exit_code
    assert (done.returncode, done.stdout) == (0, f"{code}\n{code}\n"), done.stderr


def test_one_process_announces(new_project: Project) -> None:
    """Of several processes that upgrade at once only the one that does the work sends signals."""
    new_project.revision("aaa", upgrade=["import time", "time.sleep(1)"])
    app = new_project.folder / "app.py"
    app.write_text(
        app.read_text()
        + "from flask_dbmigrate import signals\n"
        + "".join(
            f"@signals.{name}.connect\n"
            f"def on_{name}(sender, **facts):\n"
            f"    open('sent', 'a').write('{name}\\n')\n"
            for name in ("before_run", "after_revision", "after_run")
        )
    )
    ended = new_project.herd(4, "db", "upgrade")
    assert [code for code, _ in ended] == [0] * 4, ended
    assert (new_project.folder / "sent").read_text().split() == [
        "before_run",
        "after_revision",
        "after_run",
    ]


def test_veto_on_the_command_line(new_project: Project) -> None:
    """On the command line a veto is an error of one line and a hint."""
    new_project.revision("aaa")
    app = new_project.folder / "app.py"
    app.write_text(
        app.read_text() + "from flask_dbmigrate import before_run\n@before_run.connect\n"
        "def veto(sender, **facts):\n    raise RuntimeError('Not on Fridays.')\n"
    )
    assert new_project.fails("upgrade", exit_code=1).splitlines() == [
        "Error: A receiver of the signal 'before_run' failed: RuntimeError: Not on Fridays. "
        "Nothing was run.",
        "Add '--traceback' to see where.",
    ]


def test_coroutine_as_receiver(
    app: Application, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coroutine function may be a receiver: Flask's ``ensure_sync`` runs it."""
    received: list[str] = []

    async def receive(sender: Flask, *, command: str, **facts: t.Any) -> None:
        received.append(command)

    def async_to_sync(function: Callable[..., t.Any]) -> Callable[..., t.Any]:
        return lambda *arguments, **named: asyncio.run(function(*arguments, **named))

    monkeypatch.setattr(app.app, "async_to_sync", async_to_sync)  # Flask's needs asgiref
    stack.enter_context(signals.after_run.connected_to(receive))
    flask_dbmigrate.upgrade()
    assert received == ["upgrade"]


@pytest.fixture
def two(postgresql_server: servers.PostgreSQL) -> Iterator[tuple[str, str]]:
    """Two new PostgreSQL databases."""
    with (
        postgresql_server.database("psycopg") as first,
        postgresql_server.database("psycopg") as second,
    ):
        yield first, second


@pytest.fixture
def several(
    make_application: Callable[..., Application], two: tuple[str, str]
) -> Iterator[Application]:
    """An application with these databases, and two revisions for both."""
    application = make_application(url=two[0], binds={"second": two[1]})
    with application.app.app_context():
        flask_dbmigrate.init(multidb=True)
        script("aaa", None)
        script("bbb", "aaa")
        yield application


def test_several_databases(several: Application, stack: ExitStack, two: tuple[str, str]) -> None:
    """A revision is announced when all databases have committed, and only those with work count."""
    flask_dbmigrate.upgrade(revision="aaa", database="default")
    seen: list[list[str]] = []

    def look() -> None:
        for url in two:
            engine = sa.create_engine(url, poolclass=sa.NullPool)
            with engine.connect() as connection:
                seen.append(list(connection.scalars(sa.text("SELECT * FROM alembic_version"))))

    sent = heard(stack, several.app, after_revision=look)
    result = flask_dbmigrate.upgrade()
    assert sent[0][1]["databases"] == ("default", "second")
    assert [(facts["database"], facts["step"].revisions) for _, facts in sent[1:4]] == [
        ("default", ("bbb",)),
        ("second", ("aaa",)),
        ("second", ("bbb",)),
    ]
    assert sent[4:] == [
        ("after_run", {**sent[0][1], "result": result, "error": None}),
    ]
    assert seen == [["bbb"]] * 6
    flask_dbmigrate.downgrade(revision="aaa", database="second")
    sent.clear()
    flask_dbmigrate.upgrade()
    assert [facts["databases"] for name, facts in sent if name != "after_revision"] == [
        ("second",),
        ("second",),
    ]


def test_failure_on_one_of_several(
    several: Application, stack: ExitStack, two: tuple[str, str]
) -> None:
    """Revisions that are rolled back, because another database fails, are not announced."""
    execute(two[1], "CREATE TABLE bbb (id INTEGER)")
    sent = heard(stack, several.app)
    with pytest.raises(MigrationError, match="'bbb' failed on database 'second'"):
        flask_dbmigrate.upgrade()
    assert [name for name, _ in sent] == ["before_run", "after_run"]
