"""Refuses a database that cannot be written to, before anything is."""

from __future__ import annotations

import typing as t

from flask_dbmigrate.databases import key_of
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import Refusal
from flask_dbmigrate.errors import ReadOnlyDatabaseError

if t.TYPE_CHECKING:
    from .visit import Visit

_DIRECT = "'DBMIGRATE_URL'"


def require_writable(visit: Visit, setting: str) -> None:
    """Check that a database can be written to, as far as its DBMS tells.

    :param setting: What to correct if its URL is wrong.
    :raises ReadOnlyDatabaseError: if it cannot.
    """
    connection = visit.context.connection
    if connection is None or visit.context.as_sql:
        return
    facts = facts_of(connection.dialect.name)
    refusal = facts.refusal(connection)
    if refusal is None:
        return
    target = "the primary" if refusal is Refusal.REPLICA else "one that can"
    has_other_way = visit.key == key_of(None) and setting != _DIRECT
    other_way = f", or set {_DIRECT}, which is for migrations only" if has_other_way else ""
    hint = f"Let {setting} lead to {target}{other_way}."
    if facts.write_remedy:
        hint = f"{facts.write_remedy}, or correct {setting}."
    raise ReadOnlyDatabaseError(
        f"Database '{visit.key}' {refusal.value}: it cannot be written to.",
        hint=hint,
        database=visit.key,
    )
