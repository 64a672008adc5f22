"""The databases of an object that has ``metadata(s)`` and ``engine`` or ``get_engine()``.

Alchemical's is such an object, also its asyncio one.
"""

from __future__ import annotations

import typing as t

import sqlalchemy as sa

from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.state import Source

from .base import as_engine
from .base import by_key
from .base import Database
from .base import default_first
from .base import explained
from .base import given_models


def fits(source: Source) -> bool:
    """Tell whether this is the provider: it is, for whatever no other knows."""
    return True


def databases_of(source: Source) -> tuple[Database, ...]:
    """List the databases, the default one first.

    :raises ConfigurationError: if the object has no engine or no models.
    """
    db = source.db
    given = by_key(source.metadata)
    own = getattr(db, "metadatas", {None: getattr(db, "metadata", None)})
    with explained("of the application"):  # engines may be made now
        engines = _engines(db, {None, *own, *given})
    found = []
    for key in default_first(engines):
        if (usable := as_engine(engines[key])) is None:
            raise _unfit(db, "engine", "'engine' or 'get_engine()'")
        metadata = given_models(given[key]) if key in given else own.get(key, sa.MetaData())
        if key not in given and not isinstance(metadata, sa.MetaData):
            raise _unfit(db, "MetaData", "'metadata' or 'metadatas'")
        found.append(Database(bind_key=key, engine=usable, metadata=metadata))
    return tuple(found)


def _engines(db: t.Any, keys: t.Iterable[str | None]) -> t.Mapping[str | None, t.Any]:
    get_engine = getattr(db, "get_engine", None)
    default = getattr(db, "engine", None) if get_engine is None else get_engine()
    if engines := getattr(db, "engines", None):  # Alchemical's are made by get_engine()
        return t.cast(t.Mapping[str | None, t.Any], engines)
    if get_engine is None:
        return {None: default}
    return {None: default, **{key: get_engine(key) for key in sorted(filter(None, keys))}}


def _unfit(db: t.Any, what: str, where: str) -> ConfigurationError:
    return ConfigurationError(
        f"The '{type(db).__name__}' given to 'Migrate' has no SQLAlchemy {what} in {where}.",
        hint="Give 'Migrate' the 'SQLAlchemy' object of the application.",
    )
