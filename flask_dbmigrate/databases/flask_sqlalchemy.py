"""The databases of Flask-SQLAlchemy: ``SQLALCHEMY_DATABASE_URI`` and ``SQLALCHEMY_BINDS``."""

from __future__ import annotations

import sys

import sqlalchemy as sa

from flask_dbmigrate.errors import NoDatabaseError
from flask_dbmigrate.state import Source

from .base import as_engine
from .base import by_key
from .base import Database
from .base import default_first
from .base import given_models
from .base import no_default_database


def fits(source: Source) -> bool:
    """Tell whether this is the provider; it does not import Flask-SQLAlchemy to find out."""
    module = sys.modules.get("flask_sqlalchemy")
    return module is not None and isinstance(source.db, module.SQLAlchemy)


def databases_of(source: Source) -> tuple[Database, ...]:
    """List the databases, the default one first and then the bind keys as they are configured.

    :param source: Its ``db`` is the ``SQLAlchemy`` object of the current application.
    :raises NoDatabaseError: if ``db`` was not initialised, or has no database for models that have
        no bind key.
    """
    db = source.db
    try:
        engines = db.engines
    except (KeyError, RuntimeError) as error:
        raise NoDatabaseError(
            f"The '{type(db).__name__}' given to 'Migrate' is not bound to this application.",
            hint="Call 'db.init_app(app)' with the same application.",
        ) from error
    given = by_key(source.metadata)
    if None not in engines and (None in given or db.metadatas[None].tables):
        raise no_default_database()
    return tuple(
        Database(
            bind_key=key,
            engine=as_engine(engines[key]) or engines[key],
            metadata=given_models(given[key])
            if key in given
            else db.metadatas.get(key, sa.MetaData()),
            setting="'SQLALCHEMY_DATABASE_URI'" if key is None else "'SQLALCHEMY_BINDS'",
        )
        for key in default_first(engines)
    )
