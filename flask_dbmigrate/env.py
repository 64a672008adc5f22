"""What a generated ``env.py`` calls."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import nullcontext
from dataclasses import replace
import itertools
import os
import re
import typing as t

from alembic import context
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
import click
from flask import current_app
from flask.cli import load_dotenv
from flask.cli import ScriptInfo
import sqlalchemy as sa

from . import _alembic
from .compat import log
from .compat import STATE
from .databases import as_engine
from .databases import Database
from .databases import databases_of
from .databases import no_default_database
from .errors import ConfigurationError
from .errors import DBMigrateError
from .runtime.connection import borrowed
from .runtime.connection import connected
from .runtime.connection import run_with_event_loop
from .runtime.selection import Selection
from .runtime.settings import settings_of
from .runtime.two_phase import all_or_none
from .runtime.version_table import create_schema_with_version_table
from .script.several import env_py_is_ours
from .script.several import env_py_names_bind_keys
from .script.several import multidb_in_env_py
from .script.several import template_knows_bind_keys
from .state import current_state
from .state import MigrateState
from .state import running


def run_migrations(*, multidb: bool | None = None, **options: t.Any) -> None:
    """Run the current Alembic command on the databases of the application.

    The URL of each comes from ``SQLALCHEMY_DATABASE_URI`` and ``SQLALCHEMY_BINDS``, its models
    from ``db.metadatas``. A Connection, Engine or AsyncEngine in
    ``Config.attributes["connection"]`` is used for the default database instead; a
    Connection's transaction, isolation level and settings stay its owner's.

    Without an application context, as under the plain ``alembic`` command, the application is
    loaded the way ``flask`` does it: ``FLASK_APP``, ``.flaskenv``, ``wsgi.py`` or ``app.py``.

    :param multidb: Whether to run on the databases of all bind keys, too: by default if one of
        them has models, and if ``script.py.mako`` writes a function for each. Scripts then take
        the bind key as ``upgrade(engine_name)``; the default database's is an empty string.
    :param options: Options of Alembic's ``EnvironmentContext.configure()``; they come before
        those given to ``Migrate``.
    :raises ConfigurationError: if there is no application or no database.
    :raises DatabaseUnavailableError: if a database cannot be reached.
    """
    with _plain_alembic(), _application():
        state: MigrateState = context.config.attributes.get(STATE) or current_state()
        databases = databases_of(state.source)
        if multidb is None:
            multidb = _are_meant(databases) and template_knows_bind_keys(context.script.dir)
        if not multidb:
            databases = tuple(found for found in databases if found.bind_key is None)
        run = _Run(
            databases,
            multidb=multidb,
            options={**state.configure_args, **options},
        )
        if context.is_offline_mode():
            run.offline()
        else:
            run_with_event_loop(run.online, run.engines())


def _are_meant(databases: t.Iterable[Database]) -> bool:
    """Tell whether there is something to do on the databases of bind keys."""
    chosen = settings_of(context.config).databases
    return any(
        database.bind_key is not None and (database.has_models or database.key in chosen)
        for database in databases
    )


def functions_of_script(names: t.Any) -> dict[str, str]:
    """Name the functions of a new script by bind key; none if it is for one database.

    :param names: What the revision template is given: its ``context``.
    """
    functions, given = function_names(), set(names.keys())
    if any(f"{key}_upgrades" in given for key in functions):  # env.py has compared them
        return functions
    return {} if "upgrades" in given or not _are_for_several(names["config"]) else functions


def _are_for_several(config: Config) -> bool:
    """Tell whether scripts have a function for each bind key where env.py has compared nothing."""
    folder = ScriptDirectory.from_config(config).dir
    if not env_py_is_ours(folder):
        return env_py_names_bind_keys(folder)
    if (said := multidb_in_env_py(folder)) is not None:
        return said
    with _application():
        databases = databases_of(current_state().source)
    return any(database.bind_key is not None and database.has_models for database in databases)


def function_names() -> dict[str, str]:
    """Name a script's function for each bind key; the default database's key is empty.

    Revision templates of version 0.1 call it: they write ``upgrade_<name>`` for each.
    """
    names: dict[str, str] = {}
    with _application():
        for database in databases_of(current_state().source):
            name = plain = re.sub(r"\W", "_", database.engine_name)
            for number in itertools.count(2):
                if name not in names.values():
                    break
                name = f"{plain}_{number}"
            names[database.engine_name] = name
    return names


class _Run:
    """The databases to run on, and how."""

    def __init__(
        self, databases: tuple[Database, ...], *, multidb: bool, options: dict[str, t.Any]
    ) -> None:
        settings = settings_of(context.config)
        handed_in = context.config.attributes.get("connection")
        has_default = bool(databases) and databases[0].bind_key is None
        if not databases or (handed_in is not None and not has_default):
            raise no_default_database()
        if (engine := as_engine(handed_in)) is not None:
            default = replace(databases[0], engine=engine, setting="the URL of its engine")
            databases, handed_in = (default, *databases[1:]), None
        settings.require_visited(database.key for database in databases)
        self.databases = [database for database in databases if settings.is_chosen(database.key)]
        self.handed_in = handed_in
        self.multidb = multidb
        self.options = options
        self.two_phase = settings.two_phase and len(self.databases) > 1
        self.selection = Selection(settings)

    def engines(self) -> list[sa.Engine]:
        """List the engines that :meth:`online` connects."""
        return [found.engine for found in self.databases if self._handed_in_for(found) is None]

    def online(self) -> None:
        """Run on all databases. They commit in the end; where DDL is not transactional, earlier."""
        with ExitStack() as stack:
            connections = {
                database.key: stack.enter_context(self._connection(database))
                for database in self.databases
            }
            stack.enter_context(all_or_none(connections) if self.two_phase else nullcontext())
            for database in self.databases:
                connection = connections[database.key]
                context.configure(connection=connection, **self._options_for(database))
                self._prepare(database)
                stack.enter_context(context.begin_transaction())
                if not self._is_left_out(database):
                    context.run_migrations(**self._arguments_for(database))

    def offline(self) -> None:
        """Write the SQL for all databases, each under a heading if there are several."""
        for database in self.databases:
            context.configure(
                url=database.engine.url,
                literal_binds=True,
                dialect_opts={"paramstyle": "named"},
                **self._options_for(database),
            )
            self._prepare(database)
            if len(self.databases) > 1:
                context.get_context().impl.static_output(f"-- Database '{database.key}'")
            with context.begin_transaction():
                context.run_migrations(**self._arguments_for(database))

    def _options_for(self, database: Database) -> dict[str, t.Any]:
        options = {"target_metadata": database.metadata, **self.options}
        if len(self.databases) > 1:  # they commit together
            options.setdefault("transaction_per_migration", False)
        if self.multidb:
            options["upgrade_token"] = f"{database.engine_name}_upgrades"
            options["downgrade_token"] = f"{database.engine_name}_downgrades"
        return options

    def _prepare(self, database: Database) -> None:
        """Do under plain Alembic what our own commands do for every env.py."""
        if running.get() is None:
            from .autogenerate.pipeline import prepare  # few commands compare

            create_schema_with_version_table(context.get_context())
            _alembic.adapt_functions(
                context.get_context(),
                self._arguments_for(database),
                is_default=database.bind_key is None,
            )
            prepare(context.get_context(), current_state().app, database.key)

    def _is_left_out(self, database: Database) -> bool:
        """Tell under plain Alembic what our own commands find out for every env.py."""
        if running.get() is not None or not self.multidb:
            return False
        reason = self.selection.reason_to_skip(database.engine_name, context.get_context())
        if reason is not None:
            log.info("Database '%s' %s: skipped.", database.key, reason)
        return reason is not None

    def _arguments_for(self, database: Database) -> dict[str, str]:
        return {"engine_name": database.engine_name} if self.multidb else {}

    def _handed_in_for(self, database: Database) -> t.Any:
        return self.handed_in if database.bind_key is None else None

    def _connection(self, database: Database) -> t.ContextManager[sa.Connection]:
        handed_in = self._handed_in_for(database)
        if handed_in is None:
            return connected(database)
        if isinstance(handed_in, sa.Connection):
            return borrowed(handed_in)
        if hasattr(handed_in, "connect"):  # pytest-alembic's connection in an engine's clothes
            return _lent(handed_in)
        raise ConfigurationError(
            "'Config.attributes[\"connection\"]' is neither a Connection nor an Engine: "
            f"it is a '{type(handed_in).__name__}'.",
            hint="Hand in an 'sqlalchemy.Connection', 'Engine' or 'AsyncEngine'.",
        )


@contextmanager
def _lent(lender: t.Any) -> t.Iterator[sa.Connection]:
    with lender.connect() as connection, borrowed(connection):
        yield connection


@contextmanager
def _plain_alembic() -> t.Iterator[None]:
    """Behave under the ``alembic`` command as its users expect: its logging, its errors."""
    config = context.config
    if not hasattr(config.cmd_opts, "cmd"):  # only Alembic's command line sets this
        yield
        return
    if config.config_file_name and config.file_config.has_section("loggers"):
        import logging.config  # our own commands do without it

        logging.config.fileConfig(config.config_file_name, disable_existing_loggers=False)
    try:
        yield
    except DBMigrateError as error:
        raise CommandError(f"{error.message} {error.hint}".strip()) from error


@contextmanager
def _application() -> t.Iterator[None]:
    """Have an application context: the current one, or that of the application ``flask`` finds."""
    if current_app:
        yield
        return
    load_dotenv()
    info = ScriptInfo(app_import_path=os.environ.get("FLASK_APP"))
    try:
        app = info.load_app()
    except click.UsageError as error:
        raise ConfigurationError(
            " ".join(error.format_message().split()),
            hint="Set 'FLASK_APP', or run from the folder of the application.",
        ) from error
    with app.app_context():
        yield
