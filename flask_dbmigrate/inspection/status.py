"""The state of a database: what is pending, unknown, edited, and who is at work on it."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent

import sqlalchemy as sa

from flask_dbmigrate.data import Data
from flask_dbmigrate.databases import safe_url
from flask_dbmigrate.databases import without_secrets
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.runtime.edited import edited_revisions
from flask_dbmigrate.runtime.edited import EditedRevision
from flask_dbmigrate.runtime.half_applied import examine
from flask_dbmigrate.runtime.half_applied import HalfApplied
from flask_dbmigrate.runtime.locking import holder_of
from flask_dbmigrate.runtime.log import last_applied
from flask_dbmigrate.runtime.log import LogEntry
from flask_dbmigrate.runtime.log import read_log
from flask_dbmigrate.runtime.own_tables import harmless
from flask_dbmigrate.runtime.visit import Visit
from flask_dbmigrate.script.directory import unknown_heads
from flask_dbmigrate.script.pending import pending_revisions
from flask_dbmigrate.script.revisions import Revision

_SHOWN = 3
"""How many entries of the log a status has."""


@dataclass(frozen=True)
class UnknownRevision(Data):
    """A revision that a database is at and no script has.

    :param revision: The revision.
    :param applied: What the log says of it, if it does.
    """

    revision: str
    applied: LogEntry | None

    def __str__(self) -> str:
        applied = f" It was applied {self.applied.origin}." if self.applied else ""
        return f"No script has revision '{self.revision}'.{applied}"


@dataclass(frozen=True)
class DatabaseStatus(Data):
    """The state of one database.

    :param key: ``default``, or the bind key.
    :param url: Its URL, without the password.
    :param half_applied: The revision that was begun and is not complete.
    :param heads: The revisions it is at; none at base.
    :param unknown: Those of them that no script has; what is pending is not known then.
    :param pending: The revisions that are to be applied, in order.
    :param locked_by: Who is running migrations on it, as far as the DBMS tells.
    :param edited: The revisions that were edited after they were applied; none are looked for
        where ``DBMIGRATE_EDITED`` is ``ignore``.
    :param log: The last three entries of its log, the newest one last.
    :param log_problem: Why the log cannot be read.
    :param is_ok: Whether nothing is half-applied, pending or unknown and, where
        ``DBMIGRATE_EDITED`` is ``error``, nothing edited.
    """

    key: str
    url: str
    half_applied: HalfApplied | None
    heads: tuple[str, ...]
    unknown: tuple[UnknownRevision, ...]
    pending: tuple[Revision, ...]
    locked_by: str | None
    edited: tuple[EditedRevision, ...]
    log: tuple[LogEntry, ...]
    log_problem: str
    is_ok: bool

    def __str__(self) -> str:
        lines = []
        if self.half_applied is not None:
            lines += [str(self.half_applied), self.half_applied.hint]
        lines += [self._heading, *(f"    {revision.line}" for revision in self.pending)]
        lines += map(str, self.unknown)
        if self.locked_by:
            lines.append(f"It is being migrated by {self.locked_by}.")
        lines += map(str, self.edited)
        if self.log_problem:
            lines.append(f"The log cannot be read: {self.log_problem}.")
        if self.log:
            lines += ["The log ends with:", *(f"    {entry}" for entry in self.log)]
            if self.log[-1].error:
                lines.append(indent(self.log[-1].error, " " * 8))
        return "\n".join(lines)

    @property
    def _heading(self) -> str:
        place = " and ".join(f"'{head}'" for head in self.heads) or "base"
        count = "1 revision" if len(self.pending) == 1 else f"{len(self.pending)} revisions"
        what = f", with {count} pending:" if self.pending else ": nothing is pending."
        if self.unknown:
            what = ": what is pending is not known."
        return f"Database '{self.key}' ({self.url}) is at {place}{what}"


@dataclass(frozen=True)
class StatusResult(Data):
    """The state of the databases.

    :param databases: One entry for each database.
    """

    databases: tuple[DatabaseStatus, ...]

    @property
    def is_ok(self) -> bool:
        """Whether there is nothing to do about any of them."""
        return all(database.is_ok for database in self.databases)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.databases))


def database_status(visit: Visit, *, edited_mode: str) -> DatabaseStatus:
    """Look at one database; nothing is written, locked or waited for.

    :param edited_mode: What ``DBMIGRATE_EDITED`` says.
    """
    entries, problem = _log_of(visit)
    applied = last_applied(entries)
    heads = visit.before
    unknown = tuple(
        UnknownRevision(head, applied.get(head)) for head in unknown_heads(visit.directory, heads)
    )
    pending = pending_revisions(visit.directory, heads)
    is_comparable = edited_mode != "ignore" and not unknown
    edited = edited_revisions(visit, applied) if is_comparable else ()
    locked_by = holder_of(visit)
    # while a run is at work, its revisions are half-applied in passing
    half_applied = None if locked_by else _half_applied(visit)
    return DatabaseStatus(
        key=visit.key,
        url="" if visit.engine is None else safe_url(visit.engine.url),
        half_applied=half_applied,
        heads=heads,
        unknown=unknown,
        pending=pending,
        locked_by=locked_by,
        edited=edited,
        log=entries[-_SHOWN:],
        log_problem=problem,
        is_ok=not (half_applied or unknown or pending or (edited and edited_mode == "error")),
    )


def _half_applied(visit: Visit) -> HalfApplied | None:
    entries = visit.journal.read()
    return examine(visit, visit.context, entries).half_applied if entries else None


def _log_of(visit: Visit) -> tuple[tuple[LogEntry, ...], str]:
    """Read the whole log, or tell why it cannot be read."""
    connection = visit.context.connection
    assert connection is not None
    try:
        with harmless(visit.context):
            return read_log(visit.context), ""
    except sa.exc.SQLAlchemyError as error:
        original = getattr(error, "orig", None) or error
        said = facts_of(connection.dialect.name).message(original).rstrip(".")
        return (), without_secrets(said, connection.engine.url)
