"""The databases of an object that has ``metadata(s)`` and ``engine`` or ``get_engine()``.

Alchemical's is such an object.
"""

from __future__ import annotations

import typing as t

import sqlalchemy as sa

from flask_dbmigrate.errors import ConfigurationError

from .base import Database


def databases_of(db: t.Any) -> tuple[Database, ...]:
    """List the databases, the default one first.

    :param db: The object.
    :raises ConfigurationError: if it has no engine or no models, or an engine of asyncio.
    """
    get_engine = getattr(db, "get_engine", None)
    engine = getattr(db, "engine", None) if get_engine is None else get_engine()
    metadatas = getattr(db, "metadatas", {None: getattr(db, "metadata", None)})
    engines = getattr(db, "engines", None) or {None: engine}
    found = []
    for key in sorted(engines, key=lambda key: (key is not None, key)):
        if not isinstance(engines[key], sa.Engine):
            raise _unfit(db, "engine", "'engine' or 'get_engine()'")
        metadata = metadatas.get(key, sa.MetaData())
        if not isinstance(metadata, sa.MetaData):
            raise _unfit(db, "MetaData", "'metadata' or 'metadatas'")
        found.append(Database(bind_key=key, engine=engines[key], metadata=metadata))
    return tuple(found)


def _unfit(db: t.Any, what: str, where: str) -> ConfigurationError:
    return ConfigurationError(
        f"The '{type(db).__name__}' given to 'Migrate' has no SQLAlchemy {what} in {where}.",
        hint="Give 'Migrate' the 'SQLAlchemy' object of the application.",
    )
