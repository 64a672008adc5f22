"""Finds the revisions whose scripts were edited after they were applied."""

from __future__ import annotations

from dataclasses import dataclass
import typing as t

from flask_dbmigrate.data import Data
from flask_dbmigrate.errors import EditedRevisionError
from flask_dbmigrate.script.checksum import Checksum
from flask_dbmigrate.script.directory import checksums_of
from flask_dbmigrate.script.directory import shorten

from .log import applied_checksums
from .log import applied_entries
from .log import LogEntry
from .result import Listener

if t.TYPE_CHECKING:
    from .visit import Visit


@dataclass(frozen=True)
class EditedRevision(Data):
    """A revision whose script does something else now than when it was applied.

    :param database: The key of the database it was applied to.
    :param revision: The revision.
    :param path: Its script.
    :param applied: What the log says of it.
    """

    database: str
    revision: str
    path: str
    applied: LogEntry

    def __str__(self) -> str:
        return (
            f"Revision '{self.revision}' ('{shorten(self.path)}') was edited after it was applied "
            f"to database '{self.database}' {self.applied.origin}."
        )


def report_edited(visit: Visit, mode: str, listener: Listener) -> None:
    """Look for edited revisions that a database has.

    :param mode: What to do about them: ``warn``, ``error`` or ``ignore``.
    :param listener: Is warned.
    :raises EditedRevisionError: if there are any and this is an error.
    """
    found = () if mode == "ignore" else _find_edited(visit)
    if found and mode == "error":
        raise EditedRevisionError(
            " ".join(map(str, found)),
            hint="Undo the edit, and put the change into a new revision: 'flask db revision'.",
            database=visit.key,
            edited=found,
        )
    for edited in found:
        listener.revision_edited(visit.key, edited)


def _find_edited(visit: Visit) -> tuple[EditedRevision, ...]:
    """Find the edited revisions; where the bytes of all scripts are the same, that is fast."""
    applied, scripts = applied_checksums(visit.context), checksums_of(visit.directory)
    changed = {name for name in applied if scripts.get(name, applied[name]) != applied[name]}
    if not changed:
        return ()
    entries = applied_entries(visit.context)
    return edited_revisions(visit, {name: entries[name] for name in changed & entries.keys()})


def edited_revisions(visit: Visit, applied: t.Mapping[str, LogEntry]) -> tuple[EditedRevision, ...]:
    """Compare the scripts of the revisions that a database has with what was applied.

    :param applied: What the log says of each revision.
    """
    if not applied or not visit.before:
        return ()
    scripts = visit.directory.iterate_revisions(visit.before, "base")
    return tuple(
        EditedRevision(visit.key, script.revision, script.path, entry)
        for script in reversed(list(scripts))
        if (entry := applied.get(script.revision))
        and Checksum(script.path).differs_from(entry.checksum, entry.token_checksum)
    )
