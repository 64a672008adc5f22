"""Two-phase commit: all databases commit, or none does."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import ExitStack
import typing as t

import sqlalchemy as sa

from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import MigrationError

from .preparation.autocommit import Autocommit


@contextmanager
def all_or_none(connections: t.Mapping[str, sa.Connection]) -> t.Iterator[None]:
    """Hold the transactions of these databases until every one of them is sure to commit.

    :param connections: A connection for each database, by key.
    :raises ConfigurationError: if a database cannot prepare changes of its schema.
    :raises MigrationError: if one that is prepared does not commit.
    """
    for key, connection in connections.items():
        if not facts_of(connection.dialect.name).two_phase or connection.in_transaction():
            raise _no_two_phase(key, connection)
        Autocommit(connection).start()
    with ExitStack() as stack:
        transactions = {
            key: stack.enter_context(connection.begin_twophase())
            for key, connection in connections.items()
        }
        unprepared = dict(connections)
        try:
            yield
            for key, transaction in transactions.items():
                transaction.prepare()
                del unprepared[key]
        except BaseException:
            for connection in unprepared.values():
                connection.invalidate()  # drivers fail to roll back what is not prepared
            raise
        stack.pop_all()  # from here on nothing is rolled back
    _commit(connections, transactions)


def require_two_phase(key: str, connection: sa.Connection) -> None:
    """Check that env.py has begun a transaction in two phases.

    :raises ConfigurationError: if it has not.
    """
    if not isinstance(connection.get_transaction(), sa.TwoPhaseTransaction):
        raise _no_two_phase(key, connection)


def _no_two_phase(key: str, connection: sa.Connection) -> ConfigurationError:
    """Build the error for a database whose transaction cannot be prepared."""
    return ConfigurationError(
        f"Database '{key}' ('{connection.dialect.name}') takes no part in a two-phase commit.",
        hint="Leave '--two-phase' and 'DBMIGRATE_TWO_PHASE' out; an 'env.py' of Flask-Migrate "
        "has 'USE_TWOPHASE' of its own.",
    )


def _commit(
    connections: t.Mapping[str, sa.Connection], transactions: t.Mapping[str, sa.TwoPhaseTransaction]
) -> None:
    failures: dict[str, BaseException] = {}
    for key, transaction in transactions.items():
        try:
            transaction.commit()
        except BaseException as error:  # the others have to commit, Ctrl-C or not
            connections[key].invalidate()  # closing it would roll back
            failures[key] = error
    if failures:
        key, failure = next(iter(failures.items()))
        said = getattr(failure, "orig", None) or type(failure).__name__
        statements = "; ".join(f"COMMIT PREPARED '{transactions[key].xid}'" for key in failures)
        raise MigrationError(
            f"All databases were ready to commit, but '{key}' did not: {said}.",
            hint=f"Its changes wait there; commit them by hand: {statements}.",
            database=key,
        ) from failure
