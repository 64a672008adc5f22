"""The databases of Flask-SQLAlchemy-Lite: ``SQLALCHEMY_ENGINES`` and ``SQLALCHEMY_ASYNC_ENGINES``.

It has engines only; the models are given to ``Migrate``.
"""

from __future__ import annotations

import sys

import sqlalchemy as sa

from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import NoDatabaseError
from flask_dbmigrate.state import Source

from .base import as_engine
from .base import by_key
from .base import Database
from .base import default_first
from .base import given_models
from .base import is_same_database
from .base import safe_url


def fits(source: Source) -> bool:
    """Tell whether this is the provider; it does not import Flask-SQLAlchemy-Lite to find out."""
    module = sys.modules.get("flask_sqlalchemy_lite")
    return module is not None and isinstance(source.db, module.SQLAlchemy)


def databases_of(source: Source) -> tuple[Database, ...]:
    """List the databases, the one called ``default`` first.

    A name may have an engine of each kind, for one database: the synchronous one is used then.

    :param source: Its ``db`` is the ``SQLAlchemy`` object of the current application.
    :raises NoDatabaseError: if ``db`` was not initialised, or has no default engine.
    :raises ConfigurationError: if there are no models, or if the two engines of a name differ.
    """
    if source.metadata is None:
        raise ConfigurationError(
            "Flask-SQLAlchemy-Lite has no models, and 'Migrate' was given none.",
            hint="Call 'Migrate(app, db, metadata=Base.metadata)'.",
        )
    engines, metadata = _engines(source), by_key(source.metadata)
    return tuple(
        Database(
            bind_key=key,
            engine=engine,
            metadata=given_models(metadata.get(key, sa.MetaData())),
            setting="'SQLALCHEMY_ASYNC_ENGINES'"
            if engine.dialect.is_async
            else "'SQLALCHEMY_ENGINES'",
        )
        for key in default_first(engines)
        if (engine := as_engine(engines[key])) is not None
    )


def _engines(source: Source) -> dict[str | None, sa.Engine]:
    try:
        engines, async_engines = by_key(source.db.engines), by_key(source.db.async_engines)
    except RuntimeError as error:
        raise NoDatabaseError(
            "The 'SQLAlchemy' given to 'Migrate' is not bound to this application.",
            hint="Call 'db.init_app(app)' with the same application.",
        ) from error
    for key in engines.keys() & async_engines.keys():
        urls = engines[key].url, async_engines[key].url
        if not is_same_database(*urls):
            raise ConfigurationError(
                f"The engines called '{key or 'default'}' are of two databases: "
                + " and ".join(f"'{safe_url(url)}'" for url in urls)
                + ".",
                hint="Give one of them another name.",
            )
    if None not in engines and None not in async_engines:
        raise NoDatabaseError(
            "The application has no engine called 'default'.",
            hint="Add one to 'SQLALCHEMY_ENGINES'.",
        )
    return {**async_engines, **engines}
