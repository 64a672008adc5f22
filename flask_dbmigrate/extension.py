"""``Migrate``: binds an application and its database, and hangs ``flask db`` on it."""

from __future__ import annotations

from contextlib import nullcontext
import os
import typing as t

from flask import Flask

from .cli import db as db_group
from .errors import ConfigurationError
from .state import current_state
from .state import DEFAULT_DIRECTORY
from .state import Defaults
from .state import MigrateState
from .state import register
from .state import Source

if t.TYPE_CHECKING:
    from .compat import Config
    from .script.pending import PendingRevisions

    ConfigCallback = t.Callable[[Config], Config]
    CallbackT = t.TypeVar("CallbackT", bound=ConfigCallback)


class Migrate:
    """Database migrations for a Flask application.

    Nothing here differs between applications, so one object serves several of them:
    what belongs to one is in ``app.extensions['migrate']``.

    :param app: The application; without it, call :meth:`init_app` later.
    :param db: Its Flask-SQLAlchemy object. By default the one the application has.
    :param directory: The migration directory, by default ``migrations``. A relative one is looked
        for in the working directory, then in the application's root path and in its parent;
        ``package:folder`` is a folder inside of an installed package.
    :param command: The name of the command group, by default ``db``.
    :param compare_type: Whether autogenerate compares column types.
    :param render_as_batch: Whether autogenerate writes batch operations, which SQLite needs.
    :param metadata: The models, if ``db`` has none: a ``MetaData``, a list of them, or a mapping
        of bind keys to either. The default database's key is ``default``.
    :param engine: Instead of ``db``: the engine, also one of asyncio, or a mapping of bind keys to
        engines or URLs.
    :param url: Instead of ``engine``: the URL of the database.
    :param configure_args: Any other option of Alembic's ``EnvironmentContext.configure()``.
    :raises ConfigurationError: if two of ``db``, ``engine`` and ``url`` are given, or one of the
        latter without ``metadata``.
    """

    def __init__(
        self,
        app: Flask | None = None,
        db: t.Any = None,
        directory: str | os.PathLike[str] | None = None,
        command: str = "db",
        compare_type: t.Any = True,
        render_as_batch: bool = True,
        *,
        metadata: t.Any = None,
        engine: t.Any = None,
        url: t.Any = None,
        **configure_args: t.Any,
    ) -> None:
        self.configure_callbacks: list[ConfigCallback] = []
        self.db = db
        self.directory = DEFAULT_DIRECTORY if directory is None else os.fspath(directory)
        self.command = command
        self._defaults = Defaults(
            given=_source(Source(), db, metadata, engine, url),
            given_directory=None if directory is None else os.fspath(directory),
            configure_args={
                **configure_args,
                "compare_type": compare_type,
                "render_as_batch": render_as_batch,
            },
        )
        if app is not None:
            self.init_app(app)

    def init_app(
        self,
        app: Flask,
        db: t.Any = None,
        directory: str | os.PathLike[str] | None = None,
        command: str | None = None,
        compare_type: t.Any = None,
        render_as_batch: bool | None = None,
        *,
        metadata: t.Any = None,
        engine: t.Any = None,
        url: t.Any = None,
        **configure_args: t.Any,
    ) -> None:
        """Bind an application; what is not given is as the constructor has it.

        Call it again to complete what an earlier call left out, for example the database.

        :param app: The application.
        :param db: See :class:`Migrate`, as for the other parameters.
        """
        for name, value in (("compare_type", compare_type), ("render_as_batch", render_as_batch)):
            if value is not None:
                configure_args[name] = value
        if not hasattr(app, "extensions"):
            raise ConfigurationError(
                f"'Migrate' takes the application first, and was given a '{type(app).__name__}'.",
                hint="Call 'Migrate(app, db)', or 'migrate.init_app(app, db)'.",
            )
        command = command or self.command
        earlier = app.extensions.get("dbmigrate", {}).get(command)
        if earlier is None or earlier.migrate is not self:
            earlier = self._defaults
        state = MigrateState(
            app=app,
            migrate=self,
            command=command,
            given=_source(earlier.given, db, metadata, engine, url),
            given_directory=earlier.given_directory if directory is None else os.fspath(directory),
            configure_args={**earlier.configure_args, **configure_args},
            legacy_db=_legacy_db,
        )
        register(state)
        app.cli.add_command(db_group, name=state.command)

    def configure(self, f: CallbackT) -> CallbackT:
        """Register a function that changes the Alembic ``Config`` of every command.

        :param f: Takes the ``Config`` and returns it.
        """
        self.configure_callbacks.append(f)
        return f

    def call_configure_callbacks(self, config: Config) -> Config:
        """Pass a ``Config`` through the functions given to :meth:`configure`.

        :raises ConfigurationError: if one of them does not return it.
        """
        for callback in self.configure_callbacks:
            changed = callback(config)
            if changed is None:
                raise ConfigurationError(
                    f"'{callback.__name__}()', given to 'Migrate.configure', returns nothing.",
                    hint="End it with 'return config'.",
                )
            config = changed
        return config

    def get_config(
        self,
        directory: str | os.PathLike[str] | None = None,
        x_arg: str | t.Sequence[str] | None = None,
        opts: t.Iterable[str] | None = None,
    ) -> Config:
        """Build the Alembic ``Config`` of the current application.

        :param directory: By default the application's.
        :param x_arg: What ``-x`` gives to env.py.
        :param opts: Names of flags to set on ``config.cmd_opts``.
        :raises MigrationDirectoryError: if there is no migration directory.
        """
        from .compat import make_config

        return make_config(self._state(), directory, x_arg, opts)

    def pending(self, app: Flask | None = None) -> tuple[PendingRevisions, ...]:
        """List what is pending, for each database on which something is; see the README.

        A database at a revision that no script has counts as up to date: a newer release has
        migrated it.

        :param app: The application; by default the current one.
        :raises DatabaseUnavailableError: if a database cannot be reached.
        """
        from .commands.readiness import pending

        with nullcontext() if app is None else app.app_context():
            return pending(self._state())

    def require_current(self, app: Flask | None = None) -> None:
        """Check that nothing is pending, at the end of an application factory for example.

        Nothing is checked where the application is loaded by ``flask`` for a command other than
        ``run``, or by Alembic: that may be to apply what is pending.

        :param app: The application; by default the current one.
        :raises PendingRevisionsError: if something is pending.
        :raises DatabaseUnavailableError: if a database cannot be reached.
        """
        from .loading import is_for_migrating

        if is_for_migrating():
            return
        from .commands.readiness import require_current

        with nullcontext() if app is None else app.app_context():
            require_current(self._state())

    def _state(self) -> MigrateState:
        """Find what the current application has of this object, or else of another one."""
        state = current_state()
        if state.migrate is not self:
            states = state.app.extensions["dbmigrate"].values()
            state = next((mine for mine in states if mine.migrate is self), state)
        return state


def _source(earlier: Source, db: t.Any, metadata: t.Any, engine: t.Any, url: t.Any) -> Source:
    """Complete what was given earlier, and check that it fits together."""
    source = Source(
        earlier.db if db is None else db,
        earlier.metadata if metadata is None else metadata,
        next((given for given in (engine, url, earlier.engine) if given is not None), None),
    )
    is_plain = source.engine is not None
    if (is_plain and (source.db is not None or source.metadata is None)) or (
        engine is not None and url is not None
    ):
        raise ConfigurationError(
            "'Migrate' takes either 'db', or 'metadata' and one of 'engine' and 'url'.",
            hint="Call 'Migrate(app, db)' or 'Migrate(app, metadata=..., engine=...)'.",
        )
    return source


def _legacy_db(source: Source) -> t.Any:
    from .compat import LegacyDb

    return LegacyDb(source)
