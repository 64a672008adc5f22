"""What ``Migrate`` knows about one application, and the one place that says it is missing."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
import inspect
import typing as t
import warnings

from flask import current_app
from flask import Flask
from werkzeug.local import LocalProxy

from .errors import NoDatabaseError
from .errors import NotRegisteredError

if t.TYPE_CHECKING:
    from .extension import Migrate
    from .runtime.result import DatabaseResult

DEFAULT_DIRECTORY = "migrations"

running: ContextVar[MigrateState | None] = ContextVar("flask_dbmigrate.running", default=None)
"""The state whose command is in progress: it answers for ``app.extensions['migrate']``."""

on_command_line: ContextVar[bool] = ContextVar("flask_dbmigrate.on_command_line", default=False)
"""Whether the process is a ``flask db`` command and its logging ours to configure."""


# Plain classes: making a dataclass costs more than everything else that an application pays.


class Source:
    """Where the databases come from: what ``Migrate`` was given, each None if it was not.

    :param db: The object that holds the engines, and the models unless they are given.
    :param metadata: A MetaData, a list of them, or a mapping of bind keys to either.
    :param engine: Instead of ``db``: an engine, a URL, or a mapping of bind keys to either.
    """

    def __init__(self, db: t.Any = None, metadata: t.Any = None, engine: t.Any = None) -> None:
        self.db = db
        self.metadata = metadata
        self.engine = engine


class Defaults:
    """What ``Migrate`` was given, for applications that give nothing else."""

    def __init__(
        self, *, given: Source, given_directory: str | None, configure_args: dict[str, t.Any]
    ) -> None:
        self.given = given
        self.given_directory = given_directory
        self.configure_args = configure_args


class MigrateState(Defaults):
    """One ``Migrate`` on one application, under one command name.

    Old ``env.py`` files find it as ``current_app.extensions['migrate']`` and read
    ``db``, ``directory``, ``migrate``, ``configure_args`` and ``metadata``.

    :param legacy_db: Makes of a source the object that old env.py files understand.
    """

    def __init__(
        self,
        *,
        app: Flask,
        migrate: Migrate,
        command: str,
        legacy_db: t.Callable[[Source], t.Any],
        **defaults: t.Any,
    ) -> None:
        super().__init__(**defaults)
        self.app = app
        self.migrate = migrate
        self.command = command
        self.legacy_db = legacy_db
        self.seen: t.Mapping[str, DatabaseResult] = {}
        """Where this process last saw each database."""

    @property
    def directory(self) -> str:
        """The migration directory as it was given, or ``migrations``."""
        return self.given_directory or DEFAULT_DIRECTORY

    @property
    def source(self) -> Source:
        """What was given, completed with the application's Flask-SQLAlchemy(-Lite).

        :raises NoDatabaseError: if there is neither.
        """
        given = self.given
        if given.engine is not None or given.db is not None:
            return given
        if "sqlalchemy" not in self.app.extensions:
            raise NoDatabaseError(
                f"'Migrate' of application '{self.app.name}' has no database.",
                hint="Call 'Migrate(app, db)' or 'migrate.init_app(app, db)' "
                "with the 'SQLAlchemy' object of the application.",
            )
        return Source(self.app.extensions["sqlalchemy"], given.metadata)

    @property
    def db(self) -> t.Any:
        """The database object, as env.py files of all ages expect it."""
        return self.legacy_db(self.source)

    @property
    def metadata(self) -> t.Any:
        """``db.metadata``: env.py files before Flask-Migrate 1.2 read it here."""
        return self.db.metadata


@contextmanager
def answering(state: MigrateState) -> t.Iterator[None]:
    """Let a state answer for ``app.extensions['migrate']``, whichever was registered first."""
    token = running.set(state)
    try:
        yield
    finally:
        running.reset(token)


def register(state: MigrateState) -> None:
    """Make a state known to its application."""
    states: dict[str, MigrateState] = state.app.extensions.setdefault("dbmigrate", {})
    previous = states.get(state.command)
    if previous is not None and previous.migrate is not state.migrate:
        warnings.warn(
            f"Two 'Migrate' objects are registered as 'flask {state.command}', with the "
            f"directories '{previous.directory}' and '{state.directory}': the second one counts. "
            "Give one of them a 'command' of its own.",
            stacklevel=_level_of_caller(),
        )
    states[state.command] = state
    state.app.extensions["migrate"] = LocalProxy(partial(_answering, states))


def _level_of_caller() -> int:
    """Tell how far up the stack the code is that called this package."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level - 1


_PACKAGE = __name__.partition(".")[0]


def _answering(states: dict[str, MigrateState]) -> MigrateState:
    state = running.get()
    return state if state in states.values() else next(iter(states.values()))  # type: ignore[return-value]


def current_state(command: str | None = None) -> MigrateState:
    """Find the state of the current application.

    :param command: The command name it was registered under; by default the state
        whose command is in progress, else the first one registered.
    :raises NotRegisteredError: without an application, or without ``Migrate`` on it.
    """
    if not current_app:
        raise NotRegisteredError(
            "There is no current Flask application.",
            hint="Push one first: 'with app.app_context(): ...'.",
        )
    states: dict[str, MigrateState] = current_app.extensions.get("dbmigrate", {})
    if not states:
        raise NotRegisteredError(
            f"Application '{current_app.name}' has no 'Migrate'.",
            hint="Call 'Migrate(app, db)', or 'migrate.init_app(app, db)' in its factory.",
        )
    if command is None:
        return _answering(states)
    if command not in states:
        known = ", ".join(f"'{name}'" for name in states)
        raise NotRegisteredError(
            f"Application '{current_app.name}' has no 'Migrate' with the command '{command}'.",
            hint=f"Use one of these: {known}.",
        )
    return states[command]
