"""What a run did, as plain data, and who is told while it does it."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import typing as t

if t.TYPE_CHECKING:
    from flask_dbmigrate.script.calls import Operation

    from .edited import EditedRevision


@dataclass(frozen=True)
class StepResult:
    """One revision that was run, or one stamp.

    :param direction: ``upgrade``, ``downgrade`` or ``stamp``.
    :param revisions: The revision, or those that a stamp crossed.
    :param description: The step as the log shows it: ``upgrade a -> b, message``.
    :param seconds: How long it took, commit included.
    """

    direction: str
    revisions: tuple[str, ...]
    description: str
    seconds: float = field(compare=False)


@dataclass(frozen=True)
class DatabaseResult:
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

    def __str__(self) -> str:
        place = " and ".join(f"'{head}'" for head in self.after) or "base"
        if not self.steps:
            return f"Database '{self.key}' is at {place}: nothing to do."
        return f"Database '{self.key}' is at {place} now."


@dataclass(frozen=True)
class Loss:
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

    def step_started(self, database: str, description: str) -> None:
        """A step is about to run."""

    def step_finished(self, database: str, step: StepResult) -> None:
        """The step has run, and is committed where each step is."""


SILENT = Listener()
