"""What can be prepared on any DBMS, and the answers where nothing is."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
import re
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script import Script
import sqlalchemy as sa

from flask_dbmigrate.dialects import Blocker
from flask_dbmigrate.dialects import DialectFacts
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import OWN
from flask_dbmigrate.runtime.settings import RunSettings

from .autocommit import Autocommit
from .blocks import Blocks

_MAY_COMMIT = re.compile(r"(?<!\bON\s)\bCOMMIT\b|^\s*END\b", flags=re.IGNORECASE)


def is_own(context: sa.engine.ExecutionContext | None) -> bool:
    """Tell whether a statement is no part of a revision, given the context of its execution."""
    options: t.Mapping[str, t.Any] = getattr(context, "execution_options", {})
    return OWN.items() <= options.items()


class RefusedError(Exception):
    """A commit that is refused; the text is a clause without a full stop."""


@dataclass(frozen=True)
class Conflict:
    """Somebody's lock kept a statement from running.

    :param blockers: Who holds it, as far as that is known.
    :param is_own: Whether this very process does, so that waiting cannot help.
    :param is_repeatable: Whether nothing of the revision is left, so that it can run again.
    """

    blockers: tuple[Blocker, ...] = ()
    is_own: bool = False
    is_repeatable: bool = True

    @property
    def hint(self) -> str:
        """What to do about it."""
        if self.is_own:
            return (
                "This process holds the lock itself, in an open session or connection: end it "
                "before, with 'db.session.commit()' or 'db.session.rollback()'."
            )
        names = " and ".join(map(str, self.blockers)) or "another transaction"
        return (
            f"It was blocked by {names}. End that, or wait longer with '--ddl-lock-timeout' and "
            "'--ddl-retries'."
        )


class Preparation:
    """Follows a run on one connection; this one does nothing."""

    knows_commits = False
    """Whether all that commits on the connection is ours, Alembic's or the revision's."""

    borrowed: t.AbstractSet[sa.PoolProxiedConnection] = frozenset()
    """What the step has taken out of pools without SQLAlchemy."""

    facts = DialectFacts()
    options: t.Mapping[str, t.Any] = {}
    """Options of Alembic's ``configure()`` that it needs."""

    is_final = False
    """Whether something stays of what is not committed yet, so that it must not be run again."""

    def start(self) -> None:
        """Prepare the connection, on which env.py may have begun a transaction."""

    def before_step(self, script: Script | None, context: MigrationContext) -> None:
        """Get ready for a step.

        :param script: Its script; None for a stamp.
        """

    def listening(self) -> t.ContextManager[None]:
        """Look meanwhile at statements, after all others that do."""
        return nullcontext()

    def surround(self, context: MigrationContext) -> None:
        """Get around all else that looks at the statements of a step."""

    def finish(self) -> None:
        """Commit what Alembic has left open after the last step, and let go of the connection."""

    @property
    def spares_savepoint(self) -> bool:
        """Whether a step can be run once more if an error of ours ends its transaction."""
        return False

    def conflict(self, error: BaseException) -> Conflict | None:
        """Tell whether a lock was in the way of the statement that failed."""
        return None

    def hint(self, error: BaseException) -> str:
        """Tell what helps with an error that comes from the preparation; empty if none does."""
        conflict = self.conflict(error)
        if conflict is not None:
            return conflict.hint
        original = error.orig if isinstance(error, sa.exc.DBAPIError) else None
        if original is not None and self.facts.is_statement_timeout(original):
            return "Allow it more time with '--statement-timeout', or do less in one statement."
        return ""


class TransactionPerRevision(Preparation):
    """Commits after each revision, unless env.py has begun one transaction for all.

    A connection that was in AUTOCOMMIT is so for statements that need it, which commit what was
    done before them.

    :param connection: env.py's own.
    :param options: Those of Alembic's ``configure()``.
    :param settings: May ask for a single transaction.
    """

    knows_commits = True

    def __init__(
        self, connection: sa.Connection, options: t.Mapping[str, t.Any], settings: RunSettings
    ) -> None:
        self.connection = connection
        self.facts = facts_of(connection.dialect.name)
        self._autocommit = Autocommit(connection, self._begin_again)
        self._blocks = Blocks(
            connection, self._autocommit, is_allowed=not settings.single_transaction
        )
        self.is_per_revision = (
            not connection.in_transaction()
            and not settings.single_transaction
            and options.get("transaction_per_migration", True)
        )
        self.options = {"transaction_per_migration": self.is_per_revision}
        self._commits: int | None = None  # before the first step they do not count

    def start(self) -> None:
        self._autocommit.start()
        for name, function in self._listeners():
            sa.event.listen(self.connection, name, function)

    def _listeners(self) -> t.Iterator[tuple[str, t.Callable[..., None]]]:
        yield "commit", self._count_commit
        yield "before_cursor_execute", self._count_statement

    def listening(self) -> t.ContextManager[None]:
        return self._blocks.listening()

    def before_step(self, script: Script | None, context: MigrationContext) -> None:
        if self.is_per_revision or self._commits is None:
            self._commits = 0

    def surround(self, context: MigrationContext) -> None:
        self._blocks.intercept(context)

    def finish(self) -> None:
        if self.is_per_revision:
            self.connection.commit()
            self._commits = None
        for name, function in self._listeners():
            sa.event.remove(self.connection, name, function)
        self._autocommit.finish()

    def _begin_again(self) -> None:
        """Begin a transaction that SQLAlchemy believes in, where the driver does not."""

    def _count_commit(self, connection: sa.Connection) -> None:
        if self._commits is not None:
            self._commits += 1

    def _count_statement(
        self, connection: sa.Connection, cursor: t.Any, statement: str, *_: t.Any
    ) -> None:
        """Count what may commit; where it does not, the revision is just not repeated."""
        if _MAY_COMMIT.search(statement):
            self._count_commit(connection)

    def has_conflict(self, error: BaseException) -> bool:
        """Tell whether an error of the driver says that a lock was in the way."""
        return (
            isinstance(error, sa.exc.DBAPIError)
            and error.orig is not None
            and self.facts.is_lock_conflict(error.orig)
        )

    def has_committed(self, error: BaseException) -> bool:
        """Tell whether something of the revision is committed, which can be none that failed."""
        has_failed = getattr(error, "statement", None) is None
        return (self._commits or 0) - has_failed > 0
