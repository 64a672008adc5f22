"""The databases of Flask-SQLAlchemy: ``SQLALCHEMY_DATABASE_URI`` and ``SQLALCHEMY_BINDS``."""

from __future__ import annotations

import typing as t

import sqlalchemy as sa

from flask_dbmigrate.errors import NoDatabaseError

from .base import Database

if t.TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy


def databases_of(db: SQLAlchemy) -> tuple[Database, ...]:
    """List the databases, the default one first and then the bind keys as they are configured.

    :param db: The ``SQLAlchemy`` object; its application is the current one.
    :raises NoDatabaseError: if ``db`` was not initialised, or has no default database.
    """
    try:
        engines = db.engines
    except (KeyError, RuntimeError) as error:
        raise NoDatabaseError(
            f"The '{type(db).__name__}' given to 'Migrate' is not bound to this application.",
            hint="Call 'db.init_app(app)' with the same application.",
        ) from error
    if None not in engines:
        raise NoDatabaseError(
            "The application has bind keys, but no default database.",
            hint="Set 'SQLALCHEMY_DATABASE_URI'.",
        )
    keys = [None, *(key for key in engines if key is not None)]
    return tuple(
        Database(
            bind_key=key,
            engine=engines[key],
            metadata=db.metadatas.get(key, sa.MetaData()),
            setting="'SQLALCHEMY_DATABASE_URI'" if key is None else "'SQLALCHEMY_BINDS'",
        )
        for key in keys
    )
