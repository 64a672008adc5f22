"""What only the users of Flask-Migrate need, so that their code goes on as it was."""

from __future__ import annotations

import argparse
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from copy import copy
from functools import wraps
import logging
import os
from pathlib import Path
import typing as t
from weakref import WeakKeyDictionary

import alembic
from alembic.config import Config as AlembicConfig
from alembic.util import CommandError
from flask import g
import sqlalchemy as sa

from .databases import databases_of
from .databases import no_default_database
from .errors import ConfigurationError
from .errors import DBMigrateError
from .runtime.connection import in_event_loop
from .script.location import find_directory
from .script.location import find_pyproject
from .state import MigrateState
from .state import Source

P = t.ParamSpec("P")

STATE = "flask_dbmigrate.state"
"""The key of ``Config.attributes`` under which env.py finds its :class:`MigrateState`."""

alembic_version = tuple(int(number) for number in alembic.__version__.split(".")[:3])
log = logging.getLogger("flask_dbmigrate")


class Config(AlembicConfig):
    """Alembic's ``Config``, which finds the templates of this package.

    :param template_directory: Another directory of templates.
    """

    def __init__(
        self,
        *args: t.Any,
        template_directory: str | os.PathLike[str] | None = None,
        **kwargs: t.Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.template_directory = template_directory

    def set_section_option(self, section: str, name: str, value: str) -> None:
        """Set an option; a ``%`` that interpolates nothing stands for itself.

        env.py files before Flask-Migrate 2.5 pass URLs as they are, passwords with ``%`` too.
        """
        try:
            super().set_section_option(section, name, value)
        except ValueError:
            super().set_section_option(section, name, value.replace("%", "%%"))

    def get_template_directory(self) -> str:
        """Tell where Alembic's ``init`` finds its templates."""
        return os.fspath(self.template_directory or Path(__file__).with_name("templates"))


def make_config(
    state: MigrateState,
    directory: str | os.PathLike[str] | None = None,
    x_arg: str | t.Sequence[str] | None = None,
    opts: t.Iterable[str] | None = None,
) -> Config:
    """Build the Alembic ``Config`` for the migration directory of an application.

    :param directory: A directory that comes before the application's.
    :param x_arg: More for env.py than what ``-x`` gives to the running command.
    :param opts: Names of flags to set on ``config.cmd_opts``.
    :raises MigrationDirectoryError: if there is no migration directory.
    :raises ConfigurationError: if ``alembic.ini`` or ``pyproject.toml`` cannot be read.
    """
    pyproject, script_location = find_pyproject(state)
    given = None if directory is None else os.fspath(directory)
    location = find_directory(state, given, fallback=script_location)
    ini = Path(location, "alembic.ini")
    config = Config(_readable(ini) if ini.is_file() else None, toml_file=pyproject)
    config.cmd_opts = argparse.Namespace(
        x=[*getattr(g, "x_arg", ()), *([x_arg] if isinstance(x_arg, str) else x_arg or ())],
        **{"autogenerate": False, **dict.fromkeys(opts or (), True)},
    )
    config.set_main_option("script_location", location.replace("%", "%%"))
    config.attributes[STATE] = state
    return state.migrate.call_configure_callbacks(config)


def _readable(ini: Path) -> Path:
    """Check that a file can be read as Alembic reads it."""
    try:
        RawConfigParser().read_string(ini.read_text("utf-8"), source=ini.name)
    except (OSError, UnicodeDecodeError, ConfigParserError) as error:
        raise ConfigurationError(
            f"'{ini}' cannot be read: {' '.join(str(error).split())}.",
            hint="Correct the file, or restore it from version control.",
        ) from error
    return ini


def catch_errors(f: t.Callable[P, object]) -> t.Callable[P, None]:
    """Let a function log its errors and end the process with exit code 1.

    The functions of this package raise instead; this is for commands that users wrote.
    """

    @wraps(f)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            f(*args, **kwargs)
        except (CommandError, RuntimeError, DBMigrateError) as error:
            log.error(f"Error: {error}")
            raise SystemExit(1) from error

    return wrapped


class LegacyDb:
    """The database object as env.py files since 2013 expect it.

    It answers ``get_engine()`` in all its forms without Flask-SQLAlchemy's, which is
    deprecated, and its engines show their password where an env.py reads ``str(engine.url)``.
    Everything else is the real object's.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._source.db)

    def __getattr__(self, name: str) -> t.Any:
        if name == "_source":  # while it is copied
            raise AttributeError(name)
        return getattr(self._source.db, name)

    @property
    def metadata(self) -> t.Any:
        """The models of the default database."""
        return _found(self.metadatas, None)

    @property
    def metadatas(self) -> dict[str | None, t.Any]:
        """The models of each bind key; None is the default database's."""
        return {database.bind_key: database.metadata for database in databases_of(self._source)}

    @property
    def engine(self) -> t.Any:
        """The engine of the default database."""
        return self.get_engine()

    @property
    def engines(self) -> dict[str | None, t.Any]:
        """The engine of each bind key; None is the default database's.

        One of asyncio is as its application knows it, except where we run the event loop.
        """
        return {
            database.bind_key: _as_known(_with_visible_password(database.engine))
            for database in databases_of(self._source)
        }

    def get_engine(
        self,
        *args: t.Any,
        app: t.Any = None,
        bind: str | None = None,
        bind_key: str | None = None,
    ) -> t.Any:
        """Return an engine: ``()``, ``(bind)``, ``(app, bind)``, ``(bind=)`` or ``(bind_key=)``."""
        positional = next((arg for arg in args if isinstance(arg, str)), None)
        return _found(self.engines, bind_key or bind or positional or None)


def _found(values: t.Mapping[str | None, t.Any], bind_key: str | None) -> t.Any:
    if bind_key is None and None not in values:
        raise no_default_database()
    return values[bind_key]


def _as_known(engine: sa.Engine) -> t.Any:
    if not engine.dialect.is_async or in_event_loop.get():
        return engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    return AsyncEngine(engine)


class _VisibleURL(sa.URL):
    """A URL whose string is the one to connect with."""

    def __str__(self) -> str:
        return self.render_as_string(hide_password=False)


_visible_engines: WeakKeyDictionary[sa.Engine, sa.Engine] = WeakKeyDictionary()


def _with_visible_password(engine: sa.Engine) -> sa.Engine:
    """Return the engine's twin: the same pool and listeners, another way to show the URL."""
    visible = _visible_engines.get(engine)
    if visible is None:
        engine.dispatch  # noqa: B018 - made on first use, and shared from then on
        visible = _visible_engines[engine] = copy(engine)
        visible.url = tuple.__new__(_VisibleURL, engine.url)
    return visible
