"""Which databases the application has: one provider for each kind of source."""

from __future__ import annotations

import typing as t

from flask_sqlalchemy import SQLAlchemy

from flask_dbmigrate.state import PlainSource

from . import any_object
from . import flask_sqlalchemy
from . import plain_sqlalchemy
from .base import Database as Database
from .base import DEFAULT_KEY as DEFAULT_KEY
from .base import is_same_database as is_same_database
from .base import safe_url as safe_url
from .base import without_secrets as without_secrets


def databases_of(db: t.Any) -> tuple[Database, ...]:
    """List the databases of the object given to ``Migrate``, the default one first.

    :raises ConfigurationError: if the object does not fit.
    """
    if isinstance(db, SQLAlchemy):
        return flask_sqlalchemy.databases_of(db)
    if isinstance(db, PlainSource):
        return plain_sqlalchemy.databases_of(db)
    return any_object.databases_of(db)
