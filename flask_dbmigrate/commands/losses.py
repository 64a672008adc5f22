"""What a downgrade would drop, and whether somebody agrees to it."""

from __future__ import annotations

import typing as t

import sqlalchemy as sa

from flask_dbmigrate.config import read_settings
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.errors import DataLossError
from flask_dbmigrate.runtime.result import Listener
from flask_dbmigrate.runtime.result import Loss
from flask_dbmigrate.runtime.visit import Visit

from .workspace import Workspace

if t.TYPE_CHECKING:
    from flask_dbmigrate.script.calls import Operation

Agrees = t.Callable[[tuple[Loss, ...]], bool | None]
"""Is told what holds data, or may; says whether to drop it, or None if there is nobody to ask."""


def nobody(losses: tuple[Loss, ...]) -> None:
    """Stand in for somebody to ask."""


def find_losses(
    workspace: Workspace, target: str, *, listener: Listener, **context_options: t.Any
) -> tuple[Loss, ...]:
    """Find the tables and columns that a downgrade would drop, and tell the listener.

    :param target: Where the downgrade goes.
    """
    found: list[Loss] = []

    def look(visit: Visit) -> tuple[()]:
        losses = tuple(_losses(visit, target))
        if losses:
            listener.losses_found(visit.key, losses)
        found.extend(losses)
        return ()

    workspace.look(look, **context_options)
    return tuple(found)


def _losses(visit: Visit, target: str) -> t.Iterator[Loss]:
    """Find what is dropped from one database, each table or column once."""
    from .planning import read_downgrade  # reads scripts, which an upgrade need not

    steps = read_downgrade(visit, target).steps
    drops = {operation.text: operation for step in steps for operation in _drops(step.operations)}
    connection = visit.context.connection
    assert connection is not None
    facts = facts_of(connection.dialect.name)
    for operation in drops.values():
        if operation.table is None:
            yield Loss(visit.key, operation, None)
        elif facts.has_table(connection, operation.table, operation.schema):
            yield Loss(visit.key, operation, _has_rows(visit, operation))


def _drops(operations: t.Iterable[Operation]) -> t.Iterator[Operation]:
    for operation in operations:
        if operation.kind in ("drop_table", "drop_column"):
            yield operation
        yield from _drops(operation.contains)


def _has_rows(visit: Visit, operation: Operation) -> bool | None:
    """Tell whether a table has rows; None if we may not know."""
    connection = visit.context.connection
    assert connection is not None
    assert operation.table is not None
    table = sa.table(operation.table, schema=operation.schema)
    query: sa.Select[t.Any] = sa.select(sa.literal_column("1")).select_from(table).limit(1)
    try:
        with connection.begin_nested():  # on PostgreSQL an error ends the transaction otherwise
            return connection.scalar(query) is not None
    except sa.exc.DBAPIError:
        return None


def require_agreement(workspace: Workspace, losses: t.Iterable[Loss], agrees: Agrees) -> None:
    """Check that what holds data may be dropped.

    :raises DataLossError: if it may not.
    """
    at_risk = tuple(loss for loss in losses if loss.holds_data is not False)
    if not at_risk:
        return
    answer = agrees(at_risk)
    if answer is None:
        answer = not read_settings(workspace.state.app.config).protected
    if not answer:
        listed = ", ".join(f"{loss} of database '{loss.database}'" for loss in at_risk)
        raise DataLossError(
            f"This would drop data, and nothing was done: {listed}.",
            hint="See the whole of it with 'flask db downgrade --plan'. "
            "If the data may go, add '--yes'; in Python, 'yes=True'.",
            losses=at_risk,
        )
