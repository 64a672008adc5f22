"""Which databases the application has: one provider for each kind of source."""

from __future__ import annotations

from dataclasses import replace

from flask import current_app

from flask_dbmigrate.config import read_settings
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.state import Source

from . import any_object
from . import flask_sqlalchemy
from . import flask_sqlalchemy_lite
from . import plain_sqlalchemy
from .base import as_engine as as_engine
from .base import by_key
from .base import Database as Database
from .base import forget_event_loop as forget_event_loop
from .base import is_same_database as is_same_database
from .base import key_of as key_of
from .base import no_default_database as no_default_database
from .base import require_quoted
from .base import safe_url as safe_url
from .base import without_secrets as without_secrets

_PROVIDERS = (plain_sqlalchemy, flask_sqlalchemy, flask_sqlalchemy_lite, any_object)


def databases_of(source: Source) -> tuple[Database, ...]:
    """List the databases of what was given to ``Migrate``, the default one first.

    :raises ConfigurationError: if something is missing or does not fit.
    """
    provider = next(provider for provider in _PROVIDERS if provider.fits(source))
    databases: tuple[Database, ...] = provider.databases_of(source)
    for key in by_key(source.metadata).keys() - {database.bind_key for database in databases}:
        known = ", ".join(f"'{database.key}'" for database in databases)
        raise ConfigurationError(
            f"'Migrate' was given models for the database '{key}', which the application has not.",
            hint=f"Use one of these: {known}.",
        )
    databases = (_direct(source, databases[0]), *databases[1:])
    for database in databases:
        require_quoted(database.engine.url, database.setting)
    return databases


def _direct(source: Source, default: Database) -> Database:
    """Connect to the default database as ``DBMIGRATE_URL`` says, past a pooler for example."""
    url = read_settings(current_app.config).url if current_app else None
    if url is None or default.bind_key is not None:
        return default
    engine = plain_sqlalchemy.engine_made_from(source, "DBMIGRATE_URL", url)
    return replace(default, engine=engine, setting="'DBMIGRATE_URL'")
