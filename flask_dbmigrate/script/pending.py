"""What is pending on a database, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from alembic.script import ScriptDirectory

from flask_dbmigrate import _alembic
from flask_dbmigrate.data import Data
from flask_dbmigrate.errors import PendingRevisionsError

from .directory import unknown_heads
from .revisions import describe
from .revisions import Revision


@dataclass(frozen=True)
class PendingRevisions(Data):
    """What is pending on one database.

    :param key: ``default``, or the bind key.
    :param url: Its URL, without the password.
    :param revisions: The revisions that are to be applied, in order.
    """

    key: str
    url: str
    revisions: tuple[Revision, ...]

    def __str__(self) -> str:
        listed = ", ".join(f"'{revision.revision}'" for revision in self.revisions)
        count = len(self.revisions)
        are = "1 revision is" if count == 1 else f"{count} revisions are"
        return f"Database '{self.key}' is not up to date: {are} pending ({listed})."


def pending_error(*found: PendingRevisions, command: str = "db") -> PendingRevisionsError:
    """Build the error for databases that are not up to date.

    :param command: The command name of the ``Migrate`` object.
    """
    return PendingRevisionsError(
        " ".join(map(str, found)),
        hint=f"Run 'flask {command} upgrade' first.",
        database=found[0].key,
        pending=tuple(revision.revision for revision in found[0].revisions),
    )


def pending_revisions(directory: ScriptDirectory, heads: tuple[str, ...]) -> tuple[Revision, ...]:
    """List the revisions between where a database is and the heads, in the order they would run.

    :param heads: The revisions in its version table.
    :returns: None of them if one of those is in no script: nobody knows then.
    """
    if unknown_heads(directory, heads):
        return ()
    steps = _alembic.upgrade_steps(directory, "heads", heads)
    scripts = map(_alembic.script_of, steps)
    return tuple(describe(script) for script in scripts if script is not None)
