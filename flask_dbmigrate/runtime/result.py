"""What a run did, as plain data, and who is told while it does it."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import typing as t

from flask_dbmigrate.data import Data

if t.TYPE_CHECKING:
    from flask_dbmigrate.script.calls import Operation

    from .edited import EditedRevision
    from .half_applied import HalfApplied


@dataclass(frozen=True)
class StepResult(Data):
    """One revision that was run, or one stamp.

    :param direction: ``upgrade``, ``downgrade`` or ``stamp``.
    :param revisions: The revision, or those that a stamp crossed.
    :param description: The step as the log shows it: ``upgrade a -> b, message``.
    :param seconds: How long it took until its commit, as the log says.
    :param statements: How many SQL statements it executed.
    """

    direction: str
    revisions: tuple[str, ...]
    description: str
    seconds: float = field(compare=False)
    statements: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Retry(Data):
    """A step that waits for somebody else's lock, and is going to be tried again.

    :param step: The step, as the log shows it; empty before the first one.
    :param blockers: Who holds the lock, as far as that is known.
    :param number: Which try is the next one, after the first.
    :param limit: How many there are.
    :param seconds: When it is.
    """

    step: str
    blockers: tuple[str, ...]
    number: int
    limit: int
    seconds: float

    def __str__(self) -> str:
        names = " and ".join(self.blockers) or "another transaction"
        return (
            f"A lock is held by {names}. Trying again in {self.seconds:.1f} s "
            f"({self.number} of {self.limit})."
        )


@dataclass(frozen=True)
class DatabaseResult(Data):
    """What was done to one database.

    :param key: ``default``, or the bind key.
    :param url: Its URL, without the password.
    :param before: The heads it was at.
    :param after: The heads it is at now.
    :param steps: What was run on it, in order.
    :param file: Where its SQL was written to, with ``--output``.
    """

    key: str
    url: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    steps: tuple[StepResult, ...] = ()
    file: str | None = field(default=None, metadata={"json": False})

    @property
    def seconds(self) -> float:
        """How long all steps took."""
        return sum(step.seconds for step in self.steps)

    @property
    def statements(self) -> int:
        """How many SQL statements all steps executed."""
        return sum(step.statements for step in self.steps)

    def __str__(self) -> str:
        place = " and ".join(f"'{head}'" for head in self.after) or "base"
        if not self.steps:
            return f"Database '{self.key}' is at {place}: nothing to do."
        if self.steps[0].direction == "stamp":
            return f"Database '{self.key}' is at {place} now."
        revisions = _counted(len(self.steps), "revision")
        statements = _counted(self.statements, "statement")
        return (
            f"Database '{self.key}' is at {place} now: "
            f"{revisions} with {statements} in {self.seconds:.2f} s."
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True)
class MigrationResult(Data):
    """What a run did.

    :param databases: One result for each database, in the order they were run.
    """

    databases: tuple[DatabaseResult, ...]

    def __str__(self) -> str:
        return "\n".join(str(database) for database in self.databases)


@dataclass(frozen=True)
class Loss(Data):
    """A table or a column that a downgrade drops.

    :param database: The key of the database it is in.
    :param operation: What drops it.
    :param holds_data: Whether the table has rows; None if that is not known.
    """

    database: str
    operation: Operation
    holds_data: bool | None

    def __str__(self) -> str:
        return self.operation.text.removeprefix("drop ")


class Listener:
    """Is told what a run does while it does it; ``database`` is the key of one.

    Does nothing itself: subclass it.
    """

    def database_skipped(self, database: str, reason: str) -> None:
        """Nothing is done with a database, because it ``reason``: "has no models"."""

    def database_awaited(self, reason: str) -> None:
        """A database cannot be reached yet; ``reason`` is a sentence that names it."""

    def lock_awaited(self, database: str, holder: str) -> None:
        """Another run, the ``holder``, is at work on a database: told at once, then every 30 s."""

    def lock_missing(self, database: str) -> None:
        """The DBMS has no lock: nothing keeps two runs from working on a database at once."""

    def losses_found(self, database: str, losses: tuple[Loss, ...]) -> None:
        """A downgrade is going to drop tables or columns."""

    def revision_edited(self, database: str, edited: EditedRevision) -> None:
        """A script was edited after it was applied."""

    def log_unavailable(self, database: str, reason: str) -> None:
        """What the run does from now on is not written to the log, because of this."""

    def steps_planned(self, database: str, steps: tuple[str, ...]) -> None:
        """These steps are run on a database, those already done included.

        Told before the first one, and again if the plan is made anew. The steps of a stamp are
        not known beforehand.

        :param steps: What ``step_started`` is told of each.
        """

    def statement_awaited(self, database: str, session: str) -> None:
        """The server still executes what a run began that is gone: told at once, then every 30 s.

        :param session: Which of its sessions does, with the statement and its age.
        """

    def revision_resumed(self, database: str, half_applied: HalfApplied) -> None:
        """A half-applied revision is gone on with; ``step_started`` comes next."""

    def leftover_dropped(self, database: str, name: str) -> None:
        """An index is dropped that an earlier try has left unfinished, and made anew."""

    def step_started(self, database: str, description: str) -> None:
        """A step is about to run."""

    def step_blocked(self, database: str, retry: Retry) -> None:
        """The step cannot have the lock it needs, and will be tried again; it may start anew."""

    def step_finished(self, database: str, step: StepResult) -> None:
        """The step has run, and is committed where each step is."""


SILENT = Listener()
