"""Reads the tables that are ours, which another run may have made just now."""

from __future__ import annotations

from collections.abc import Sequence
import typing as t

import sqlalchemy as sa

from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import OWN
from flask_dbmigrate.dialects import separate_connection


def has_table(connection: sa.Connection, table: sa.Table) -> bool:
    """Tell whether there is a table of ours."""
    facts = facts_of(connection.dialect.name)
    return facts.has_table(connection, table.name, table.schema)


def rows_of(connection: sa.Connection, query: sa.Select[t.Any]) -> Sequence[sa.Row[t.Any]]:
    """Read from a table of ours, on another connection if it is newer than the transaction."""
    try:
        return connection.execute(query, execution_options=OWN).all()
    except sa.exc.DBAPIError as error:
        facts = facts_of(connection.dialect.name)
        if error.orig is None or not facts.is_older_than_table(error.orig):
            raise
    with separate_connection(connection.engine) as now:
        return now.execute(query).all()
