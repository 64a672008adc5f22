"""A run inside a process leaves the logging of the application alone, whatever env.py does."""

from __future__ import annotations

from collections.abc import Iterator
import logging
import logging.config
from pathlib import Path
import threading
import typing as t

from harness import normal
from harness import Project
import pytest

import flask_dbmigrate

LEGACY_ENV_PY = """
import logging
from logging.config import fileConfig
{import_module}

from alembic import context
from flask import current_app

config = context.config
{call}
logger = logging.getLogger("alembic.env")
ours = current_app.extensions["migrate"]


def offline():
    url = str(ours.db.get_engine().url)
    context.configure(url=url, target_metadata=ours.db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def online():
    with ours.db.get_engine().connect() as connection:
        context.configure(
            connection=connection, target_metadata=ours.db.metadata, **ours.configure_args
        )
        with context.begin_transaction():
            context.run_migrations()


offline() if context.is_offline_mode() else online()
"""

CALLS = [
    ("", "fileConfig(config.config_file_name)"),
    ("import logging.config", "logging.config.fileConfig(config.config_file_name)"),
    ("", "fileConfig(config.config_file_name, disable_existing_loggers=False)"),
    ("", "fileConfig(fname=config.config_file_name)"),
]

ALL_LEVELS = [logging.DEBUG, logging.INFO, logging.WARNING]


def legacy_env_py(import_module: str, call: str) -> None:
    """Make env.py one of Flask-Migrate's kind."""
    Path("migrations/env.py").write_text(
        LEGACY_ENV_PY.format(import_module=import_module, call=call)
    )


Snapshot = dict[str, tuple[int, bool, bool, list[logging.Handler], list[t.Any]]]


def snapshot() -> Snapshot:
    """The state of all loggers, ``root`` among them."""
    loggers = {"": logging.root, **logging.root.manager.loggerDict}
    return {
        name: (
            logger.level,
            logger.disabled,
            logger.propagate,
            list(logger.handlers),
            list(logger.filters),
        )
        for name, logger in loggers.items()
        if isinstance(logger, logging.Logger)
    }


@pytest.fixture
def handlers(tmp_path: Path) -> Iterator[dict[str, logging.FileHandler]]:
    """A file handler on root and one on a logger of the application."""
    found = {}
    for name in ("", "shop.orders"):
        logger = logging.getLogger(name)
        handler = logging.FileHandler(tmp_path / f"{name or 'root'}.log", mode="w")
        logger.addHandler(handler)
        found[name] = handler
    logging.getLogger("shop.orders").setLevel(logging.DEBUG)
    yield found
    for name, handler in found.items():
        logging.getLogger(name).removeHandler(handler)
        handler.close()
    logging.getLogger("shop.orders").setLevel(logging.NOTSET)
    logging.getLogger("shop.orders").disabled = False


@pytest.fixture
def ready(application: t.Any, tmp_path: Path, sqlite_url: str) -> Iterator[Project]:
    """The folder of an application with one revision, its context pushed."""
    with application.app.app_context():
        flask_dbmigrate.init()
        project = Project(tmp_path, sqlite_url)
        project.revision("aaa")
        flask_dbmigrate.history()  # loads what has loggers of its own
        yield project


@pytest.mark.parametrize(("import_module", "call"), CALLS)
def test_handlers_still_write(
    ready: Project, handlers: dict[str, logging.FileHandler], import_module: str, call: str
) -> None:
    """After a run with an env.py that calls ``fileConfig`` everything logs as before."""
    legacy_env_py(import_module, call)
    logger = logging.getLogger("shop.orders")
    logger.debug("before")
    before = snapshot()
    flask_dbmigrate.upgrade()
    after = snapshot()
    logger.debug("after")
    assert {name: after[name] for name in before} == before
    for name in ("root.log", "shop.orders.log"):
        lines = Path(name).read_text().splitlines()
        assert [line for line in lines if line in ("before", "after")] == ["before", "after"]


@pytest.mark.parametrize(
    "function",
    [
        flask_dbmigrate.current,
        flask_dbmigrate.downgrade,
        flask_dbmigrate.stamp,
        lambda: flask_dbmigrate.upgrade(sql=True),
        lambda: flask_dbmigrate.history(indicate_current=True),
        lambda: flask_dbmigrate.migrate(),
    ],
)
def test_every_command_leaves_logging_alone(
    ready: Project, handlers: dict[str, logging.FileHandler], function: t.Callable[[], object]
) -> None:
    """No function that runs env.py changes a logger."""
    flask_dbmigrate.upgrade()
    legacy_env_py(*CALLS[0])
    before = snapshot()
    function()
    after = snapshot()
    assert {name: after[name] for name in before} == before
    assert not any(handler.stream is None for handler in handlers.values())


def test_logging_after_a_failure(ready: Project, handlers: dict[str, logging.FileHandler]) -> None:
    """A run that fails leaves the loggers, and ``fileConfig`` itself, as they were."""
    legacy_env_py(*CALLS[0])
    ready.revision("bbb", "aaa", upgrade=["raise RuntimeError('stop')"])
    before, function = snapshot(), logging.config.fileConfig
    with pytest.raises(flask_dbmigrate.MigrationError, match="RuntimeError: stop"):
        flask_dbmigrate.upgrade()
    after = snapshot()
    assert {name: after[name] for name in before} == before
    assert logging.config.fileConfig is function


def test_thread_that_logs_during_the_run(
    application: t.Any, ready: Project, handlers: dict[str, logging.FileHandler]
) -> None:
    """A thread that logs while a revision runs loses no line."""
    legacy_env_py(*CALLS[0])
    running, logged = threading.Event(), threading.Event()
    application.app.extensions["events"] = (running, logged)
    ready.revision(
        "bbb",
        "aaa",
        upgrade=[
            "from flask import current_app",
            "running, logged = current_app.extensions['events']",
            "running.set()",
            "assert logged.wait(20)",
        ],
    )
    logger = logging.getLogger("shop.orders")

    def log() -> None:
        logger.info("before")
        if running.wait(20):
            for level in ALL_LEVELS:
                logger.log(level, "during")
            logging.getLogger().warning("during on root")
            logged.set()

    thread = threading.Thread(target=log)
    thread.start()
    done = flask_dbmigrate.upgrade()
    thread.join()
    logger.info("after")
    assert done.databases[0].after == ("bbb",)
    expected = ["before", "during", "during", "during", "after"]
    assert Path("shop.orders.log").read_text().splitlines() == expected
    root = [line for line in Path("root.log").read_text().splitlines() if "during" in line]
    assert root == ["during", "during", "during", "during on root"]


OTHER_THREAD = """
import logging
import logging.config
import threading
from app import create_app
from flask_dbmigrate import upgrade

app = create_app()
running, configured = threading.Event(), threading.Event()
app.extensions["events"] = (running, configured)


def configure():
    assert running.wait(20)
    logging.config.fileConfig("logging.ini", disable_existing_loggers=False)
    configured.set()


thread = threading.Thread(target=configure)
thread.start()
with app.app_context():
    upgrade()
thread.join()
logging.getLogger("shop").info("written")
"""

LOGGING_INI = """
[loggers]
keys = root
[handlers]
keys = file
[formatters]
keys =
[logger_root]
level = INFO
handlers = file
[handler_file]
class = FileHandler
args = ("configured.log",)
"""


def test_thread_that_configures_logging_during_the_run(new_project: Project) -> None:
    """What another thread configures with ``fileConfig`` while a revision runs counts."""
    new_project.revision(
        "aaa",
        upgrade=[
            "from flask import current_app",
            "running, configured = current_app.extensions['events']",
            "running.set()",
            "assert configured.wait(20)",
        ],
    )
    (new_project.folder / "logging.ini").write_text(LOGGING_INI)
    (new_project.folder / "program.py").write_text(OTHER_THREAD)
    done = new_project.run("program")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    log = (new_project.folder / "configured.log").read_text()
    assert log.splitlines()[-1] == "written"


def test_command_line_shows_what_alembic_reports(new_project: Project) -> None:
    """On the command line 'Detected ...' and 'Running upgrade ...' are on stderr."""
    migrate = new_project.flask("db", "migrate", "--rev-id", "aaa")
    assert migrate.stdout == "migrations/versions/aaa_.py\n"
    assert migrate.stderr == "Detected added table 'user'\n"
    upgrade = new_project.flask("db", "upgrade")
    assert upgrade.stdout == ""
    assert normal(upgrade.stderr).splitlines() == [
        "Running upgrade  -> aaa, empty message (0.01 s)",
        "Database 'default' is at 'aaa' now: 1 revision with 1 statement in 0.01 s.",
    ]


def test_command_line_with_a_legacy_env_py(new_project: Project) -> None:
    """On the command line a legacy env.py configures logging as it always did."""
    new_project.revision("aaa")
    env_py = new_project.folder / "migrations" / "env.py"
    env_py.write_text(LEGACY_ENV_PY.format(import_module="", call=CALLS[0][1]))
    done = new_project.flask("db", "upgrade")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Running upgrade  -> aaa, revision aaa" in done.stderr
    assert "Database 'default' is at 'aaa' now: 1 revision with 0 statements in" in done.stderr
