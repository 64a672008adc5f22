"""A revision that is half-applied: what of it is done, and how to go on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from flask_dbmigrate.databases import MASK
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.errors import HalfAppliedError

from .journal import JournalEntry
from .journal import State
from .origin import Origin

if t.TYPE_CHECKING:
    from .visit import Visit

_LISTED = 10
"""How many statements that are done a message lists."""


@dataclass(frozen=True)
class JournaledStatement:
    """A statement of a half-applied revision, or an operation that was not reached.

    :param state: ``done``, ``not done``, or ``not known``.
    :param text: The statement, or the operation as its script says it.
    :param line: Where it is in the script; 0 if it is not.
    """

    state: str
    text: str
    line: int

    def __str__(self) -> str:
        text = self.text if len(self.text) <= 100 else f"{self.text[:99]}…"
        place = f" (line {self.line})" if self.line else ""
        return f"    {self.state:<9}  {text}{place}"


@dataclass(frozen=True)
class HalfApplied:
    """A revision that was begun and is not complete, on one database.

    :param database: The key of the database.
    :param revision: The revision.
    :param direction: ``upgrade`` or ``downgrade``.
    :param since: When it was begun, UTC, to the second.
    :param host: The name of the machine it was run on last.
    :param user: The operating system's user who ran it.
    :param release: The release that ran it.
    :param statements: What is done and what is not, as far as that is known.
    :param obstacle: Why it cannot be resumed, as the end of a sentence; empty if it can.
    """

    database: str
    revision: str
    direction: str
    since: datetime
    host: str
    user: str
    release: str
    statements: tuple[JournaledStatement, ...]
    obstacle: str

    @property
    def is_resumable(self) -> bool:
        """Whether ``flask db resume`` can complete it."""
        return not self.obstacle

    @property
    def done(self) -> int:
        """How many statements are done."""
        return sum(statement.state == "done" for statement in self.statements)

    def __str__(self) -> str:
        by = Origin(self.host, self.user, self.release)
        return (
            f"Revision '{self.revision}' is half-applied on database '{self.database}': its "
            f"{self.direction}, begun on {self.since:%Y-%m-%d %H:%M:%S} UTC by {by}, is not "
            f"complete.\n{self.listing}"
        )

    @property
    def listing(self) -> str:
        """What is done and what is not, a line each, and why it cannot be resumed."""
        hidden = max(0, self.done - _LISTED)
        lines = [f"    done       {hidden} statements before these"] if hidden else []
        lines += map(str, self.statements[hidden:])
        if self.obstacle:
            lines.append(f"It cannot be resumed, because {self.obstacle}.")
        return "\n".join(lines)

    @property
    def hint(self) -> str:
        """What leads on from here."""
        if self.is_resumable:
            return f"Go on with 'flask db resume'. Or {self.by_hand}"
        return self.by_hand[0].upper() + self.by_hand[1:]

    @property
    def by_hand(self) -> str:
        """What can be done without the script."""
        finished, undone = "--applied", "--rolled-back"
        if self.direction == "downgrade":
            finished, undone = undone, finished
        return (
            f"finish it by hand and say so with 'flask db resolve {finished} {self.revision}', or "
            f"undo it by hand and say so with 'flask db resolve {undone} {self.revision}'."
        )

    def error(self, **changes: str) -> HalfAppliedError:
        """Build the error.

        :param changes: A ``message`` or a ``hint`` of its own.
        """
        texts = {"message": str(self), "hint": self.hint, **changes}
        return HalfAppliedError(
            texts["message"], hint=texts["hint"], database=self.database, half_applied=self
        )


class Finding(t.NamedTuple):
    """What the journal of a database and its catalogue say together.

    :param known: The statements that were executed.
    :param doubtful: One that was begun after them, and was not executed, as far as that is known.
    """

    half_applied: HalfApplied
    known: tuple[JournalEntry, ...]
    doubtful: JournalEntry | None


def examine(visit: Visit, context: MigrationContext, entries: tuple[JournalEntry, ...]) -> Finding:
    """Find out what of a half-applied revision is done.

    :param context: Has a connection to ask the catalogue with; not env.py's if that is closed.
    :param entries: What the journal says: at least one.
    """
    last, first = entries[-1], entries[0]
    happened = _has_happened(context, last)
    known = entries if happened else entries[:-1]
    doubtful = None if happened else last
    path = _path_of(visit.directory, last.revision)
    statements = [JournaledStatement("done", entry.statement, entry.line) for entry in known]
    if doubtful is not None:
        state = "not known" if happened is None else "not done"
        statements.append(JournaledStatement(state, last.statement, last.line))
    if path is not None:
        is_incomplete = any(entry.state == State.BOUND for entry in known) and doubtful is None
        state = "not known" if is_incomplete else "not done"
        statements += _after(visit, path, last, state)
    obstacle = next((entry.obstacle for entry in entries if entry.obstacle), "")
    if path is None:
        obstacle = "no script has this revision"
    elif happened is None and not obstacle:
        obstacle = f"nothing tells whether statement {last.number} was executed"
    half_applied = HalfApplied(
        database=visit.key,
        revision=last.revision,
        direction=last.direction,
        since=first.noted,
        host=last.host,
        user=last.user,
        release=last.release,
        statements=tuple(statements),
        obstacle=obstacle,
    )
    return Finding(half_applied, known, doubtful)


def _has_happened(context: MigrationContext, last: JournalEntry) -> bool | None:
    """Tell whether the last statement in the journal was executed; None if nobody knows."""
    if last.state == State.FAILED:
        return False
    if last.state != State.STARTED:
        return True
    if MASK in last.statement:
        return None
    facts, connection = facts_of(context.dialect.name), context.connection
    assert connection is not None
    return facts.has_happened(connection, last.statement, last.fingerprint)


def _path_of(directory: ScriptDirectory, revision: str) -> str | None:
    try:
        return directory.get_revision(revision).path
    except CommandError:
        return None


def _after(
    visit: Visit, path: str, last: JournalEntry, state: str
) -> t.Iterator[JournaledStatement]:
    """List the operations that come after the last statement, as far as the script can be read."""
    from flask_dbmigrate.script.operations import read_operations  # few runs need it

    engine_name = visit.arguments.get("engine_name")
    for operation in read_operations(path, last.direction, engine_name=engine_name):
        if operation.line > last.line:
            yield JournaledStatement(state, operation.text, operation.line)
