"""Databases of plain SQLAlchemy: models and engines given to ``Migrate`` itself."""

from __future__ import annotations

import typing as t
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.state import Source

from .base import as_engine
from .base import by_key
from .base import Database
from .base import default_first
from .base import explained
from .base import given_models
from .base import wrong_argument

_made: WeakKeyDictionary[Source, dict[str | None, sa.Engine]] = WeakKeyDictionary()
"""The engines made from URLs: one for each, as long as the source lives."""


def fits(source: Source) -> bool:
    """Tell whether this is the provider."""
    return source.engine is not None


def databases_of(source: Source) -> tuple[Database, ...]:
    """List the databases, the default one first.

    :raises ConfigurationError: if an engine or the models are none.
    """
    engines, metadatas = by_key(source.engine), by_key(source.metadata)
    if None not in engines:
        raise ConfigurationError(
            "The engines given to 'Migrate' have no key 'default'.",
            hint="One database must be the default one.",
        )
    return tuple(
        Database(
            bind_key=key,
            engine=_engine(source, key, engines[key]),
            metadata=given_models(metadatas.get(key, sa.MetaData())),
            setting="the 'url' or 'engine' given to 'Migrate'",
        )
        for key in default_first(engines)
    )


def _engine(source: Source, key: str | None, value: t.Any) -> sa.Engine:
    if isinstance(value, (str, sa.URL)):
        return engine_made_from(source, key, value)
    engine = as_engine(value)
    if engine is None:
        raise wrong_argument(value, "an Engine or a URL")
    return engine


def engine_made_from(source: Source, key: str | None, url: str | sa.URL) -> sa.Engine:
    """Make the engine for a URL, one for each key of a source.

    :raises ConfigurationError: if there is no such URL, or no driver for it.
    """
    engines = _made.setdefault(source, {})
    if key not in engines:
        engines[key] = _made_from(url)
    return engines[key]


def _made_from(url: str | sa.URL) -> sa.Engine:
    with explained("given for migrations"):
        return sa.create_engine(url, poolclass=sa.NullPool)
