"""Databases of plain SQLAlchemy: models and engines given to ``Migrate`` itself."""

from __future__ import annotations

from collections.abc import Mapping
import typing as t
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.state import PlainSource

from .base import Database
from .base import DEFAULT_KEY

_made: WeakKeyDictionary[PlainSource, dict[str | None, sa.Engine]] = WeakKeyDictionary()
"""The engines made from URLs: one for each, as long as the source lives."""


def databases_of(source: PlainSource) -> tuple[Database, ...]:
    """List the databases, the default one first.

    :raises ConfigurationError: if an engine or the models are none.
    """
    engines, metadatas = _by_key(source.engine), _by_key(source.metadata)
    if None not in engines:
        raise ConfigurationError(
            f"The engines given to 'Migrate' have no key '{DEFAULT_KEY}'.",
            hint="One database must be the default one.",
        )
    return tuple(
        Database(
            bind_key=key,
            engine=_engine(source, key, engines[key]),
            metadata=_metadata(metadatas.get(key, sa.MetaData())),
            setting="the 'url' or 'engine' given to 'Migrate'",
        )
        for key in sorted(engines, key=lambda key: (key is not None, key))
    )


def _by_key(value: t.Any) -> dict[str | None, t.Any]:
    if not isinstance(value, Mapping):
        return {None: value}
    return {None if key == DEFAULT_KEY else key: item for key, item in value.items()}


def _engine(source: PlainSource, key: str | None, value: t.Any) -> sa.Engine:
    if isinstance(value, sa.Engine):
        return value
    if not isinstance(value, (str, sa.URL)):
        raise _wrong(value, "an Engine or a URL")
    engines = _made.setdefault(source, {})
    if key not in engines:
        engines[key] = sa.create_engine(value, poolclass=sa.NullPool)
    return engines[key]


def _metadata(value: t.Any) -> t.Any:
    several = value if isinstance(value, (list, tuple)) else [value]
    for metadata in several:
        if not isinstance(metadata, sa.MetaData):
            raise _wrong(metadata, "a MetaData, or a list of them")
    return value


def _wrong(value: t.Any, expected: str) -> ConfigurationError:
    return ConfigurationError(
        f"'Migrate' was given a '{type(value).__name__}' where it needs {expected}.",
        hint="Call 'Migrate(app, metadata=Base.metadata, url=\"postgresql://...\")'.",
    )
