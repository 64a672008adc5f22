"""A revision that is half-applied: what of it is done, and how to go on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from flask_dbmigrate.data import Data
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import is_definition
from flask_dbmigrate.errors import HalfAppliedError
from flask_dbmigrate.wording import MASK

from .journal import JournalEntry
from .journal import State
from .journal_writer import BYPASS
from .origin import Origin
from .repetition import Repetition

if t.TYPE_CHECKING:
    from .effects import Effects
    from .visit import Visit

_LISTED = 10
"""How many statements that are done a message lists."""


@dataclass(frozen=True)
class JournaledStatement(Data):
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
class HalfApplied(Data):
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
    :param is_rerunnable: Whether its script says that it can be run again from its start.
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
    is_rerunnable: bool = False

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
        return f"{self.by_hand[0].upper()}{self.by_hand[1:]} {self.without_undoing}"

    @property
    def continuation(self) -> str:
        """What the next run does."""
        if self.is_rerunnable:
            return "It runs again from its start."
        return (
            "It goes on after what is done. If the revision is wrong as a whole, undo what is "
            f"done, say so with '{self._resolve(is_finished=False)}', and correct it then."
        )

    @property
    def by_hand(self) -> str:
        """What can be done without the script."""
        return (
            f"finish it by hand and say so with '{self._resolve(is_finished=True)}', or "
            f"undo it by hand and say so with '{self._resolve(is_finished=False)}'."
        )

    @property
    def without_undoing(self) -> str:
        """What can be done with a script that looks what there is."""
        return (
            "A script that checks for itself what is done can be run again after "
            f"'{self._resolve(is_finished=False)}' without undoing anything; 'rerunnable = True' "
            "at its top says so beforehand."
        )

    def _resolve(self, *, is_finished: bool) -> str:
        is_applied = is_finished == (self.direction == "upgrade")
        option = "--applied" if is_applied else "--rolled-back"
        return f"flask db resolve {option} {self.revision}"

    def error(self, **changes: str) -> HalfAppliedError:
        """Build the error.

        :param changes: A ``message`` or a ``hint`` of its own.
        """
        texts = {"message": str(self), "hint": self.hint, **changes}
        return HalfAppliedError(
            texts["message"], hint=texts["hint"], database=self.database, half_applied=self
        )


class Finding(t.NamedTuple):
    """What the journal of a database, its catalogue and the script say together.

    :param repetition: What is to be skipped when the script runs again.
    :param doubtful: A statement that was begun after that, and was not executed, as far as that is
        known.
    :param kept: The number of the last entry of the journal that stays.
    """

    half_applied: HalfApplied
    repetition: Repetition
    doubtful: JournalEntry | None
    kept: int


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
    effects = _effects(visit, path, last)
    obstacle = next((entry.obstacle for entry in entries if entry.obstacle), "")
    if path is None:
        obstacle = "no script has this revision"
    elif effects.is_rerunnable:
        obstacle = ""
    elif happened is None and not obstacle:
        obstacle = f"nothing tells whether statement {last.number} was executed"
    elif not obstacle:
        obstacle = _obstacle(known, effects)
    half_applied = HalfApplied(
        database=visit.key,
        revision=last.revision,
        direction=last.direction,
        since=first.noted,
        host=last.host,
        user=last.user,
        release=last.release,
        statements=(
            *_listed(known, "done"),
            *_listed([doubtful], "not known" if happened is None else "not done"),
            *_after(visit, path, known, last),
        ),
        obstacle=obstacle,
        is_rerunnable=effects.is_rerunnable,
    )
    done = tuple(entry for entry in known if not entry.is_of_no_account)
    repetition = Repetition(done, effects.ends_branch if _may_leave_out(known, effects) else None)
    if effects.is_rerunnable:
        repetition = Repetition()
    return Finding(half_applied, repetition, doubtful, known[-1].number if known else 0)


def _effects(visit: Visit, path: str | None, last: JournalEntry) -> Effects:
    from .effects import read_effects  # few runs need it
    from .effects import UNKNOWN

    if path is None:
        return UNKNOWN
    return read_effects(path, last.direction, engine_name=visit.arguments.get("engine_name"))


def _obstacle(known: t.Iterable[JournalEntry], effects: Effects) -> str:
    """Tell why the script cannot be run again, though it was not noted with its statements."""
    past = [entry for entry in known if entry.goes_past_operations]
    if not past or _may_leave_out(known, effects):
        return ""
    is_same = effects.is_steady and all(entry.is_of_no_account for entry in past)
    if is_same and all(map(_is_definition, known)):
        return ""
    return f"{BYPASS} (line {past[0].line})"


def _may_leave_out(known: t.Iterable[JournalEntry], effects: Effects) -> bool:
    """Tell whether a script may leave out what is done: it looks, and changes no rows."""
    return effects.looks and not effects.changes_data and all(map(_is_definition, known))


def _is_definition(entry: JournalEntry) -> bool:
    return entry.state in (State.READ, State.SESSION) or is_definition(entry.statement)


def _has_happened(context: MigrationContext, last: JournalEntry) -> bool | None:
    """Tell whether the last statement in the journal was executed; None if nobody knows."""
    if last.state == State.FAILED:
        return False
    if last.state == State.UNKNOWN:
        return None
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


def _listed(entries: t.Iterable[JournalEntry | None], state: str) -> t.Iterator[JournaledStatement]:
    for entry in entries:
        if entry is not None and not entry.is_of_no_account:
            yield JournaledStatement(state, entry.statement, entry.line)


def _after(
    visit: Visit, path: str | None, known: t.Iterable[JournalEntry], last: JournalEntry
) -> t.Iterator[JournaledStatement]:
    """List the operations that come after the last statement, as far as the script can be read."""
    from flask_dbmigrate.script.operations import read_operations  # few runs need it

    if path is None:
        return
    is_incomplete = any(entry.state == State.BOUND for entry in known)
    engine_name = visit.arguments.get("engine_name")
    for operation in read_operations(path, last.direction, engine_name=engine_name):
        if operation.line > last.line:
            state = "not known" if is_incomplete else "not done"
            yield JournaledStatement(state, operation.text, operation.line)
