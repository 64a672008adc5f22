"""What a run does to env.py's own connection, so that its DBMS migrates safely."""

from __future__ import annotations

import typing as t

import sqlalchemy as sa

from .base import Preparation as Preparation
from .base import RefusedError as RefusedError
from .sqlite import SQLiteTransactions


def prepare(connection: sa.Connection, options: t.Mapping[str, t.Any]) -> Preparation:
    """Choose how to prepare a connection; it is not touched yet.

    :param options: Those of Alembic's ``configure()``.
    """
    if connection.dialect.name == "sqlite" and SQLiteTransactions.suit(connection, options):
        return SQLiteTransactions(connection, options)
    return Preparation()
