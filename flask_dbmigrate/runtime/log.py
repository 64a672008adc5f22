"""The log of a database: what was run on it, when, by whom, from which host and release."""

from __future__ import annotations

from contextlib import suppress
import dataclasses
from dataclasses import dataclass
from datetime import datetime
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.runtime.migration import MigrationInfo
import sqlalchemy as sa

from flask_dbmigrate.data import Data
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.wording import shortened

from .origin import Origin
from .own_tables import all_columns
from .own_tables import as_entry
from .own_tables import harmless
from .own_tables import has_table
from .own_tables import rows_of


@dataclass(frozen=True)
class LogEntry(Data):
    """One step that was run on a database; each field is a column of the log's table.

    :param revision: The revision; of a stamp, where it went to.
    :param down_revision: The revisions it comes after; of a stamp, where it came from.
    :param direction: ``upgrade``, ``downgrade`` or ``stamp``.
    :param message: The first paragraph of the script's docstring.
    :param checksum: The digest of the script's bytes.
    :param token_checksum: The digest of what the script does.
    :param started: When it began, UTC, to the second.
    :param finished: When it ended.
    :param duration_ms: How long it took, in milliseconds.
    :param status: ``ok``, ``failed``, ``stamped``, ``resolved as applied`` or ``resolved as
        rolled back``.
    :param statements: How many SQL statements it executed.
    :param error: Why it failed.
    :param host: The name of the machine it was run on.
    :param user: The operating system's user who ran it.
    :param release: What ``HEROKU_RELEASE_VERSION``, ``HEROKU_SLUG_COMMIT`` or ``GIT_COMMIT`` said.
    :param tool_version: The version of this package.
    """

    revision: str
    down_revision: str
    direction: str
    message: str
    checksum: str
    token_checksum: str
    started: datetime
    finished: datetime
    duration_ms: int
    status: str
    statements: int
    error: str
    host: str
    user: str
    release: str
    tool_version: str

    @property
    def origin(self) -> str:
        """When it was run and by whom, as the end of a sentence."""
        by = Origin(self.host, self.user, self.release)
        return f"on {self.started:%Y-%m-%d %H:%M:%S} UTC by {by}"

    def __str__(self) -> str:
        message = f", {shortened(self.message, 100)}" if self.message else ""
        return (
            f"{self.started:%Y-%m-%d %H:%M:%S} UTC {self.direction} {self.revision}{message} "
            f"({self.duration_ms / 1000:.2f} s): {self.status}, {self.user}@{self.host}"
            + (f", release {self.release}" if self.release else "")
        )


_TYPES = {"str": sa.Text, "int": sa.Integer, "datetime": sa.DateTime}

COLUMNS = ("id", *(field.name for field in dataclasses.fields(LogEntry)))


_NOT_APPLIED = ("failed", "resolved as rolled back")


def log_table(context: MigrationContext) -> sa.Table:
    """Describe the log's table, which is beside the version table."""
    return sa.Table(
        f"{context.version_table}_log",
        sa.MetaData(),
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        *(
            sa.Column(field.name, _TYPES[str(field.type)], nullable=False)
            for field in dataclasses.fields(LogEntry)
        ),
        schema=context.version_table_schema,
        **facts_of(context.dialect.name).table_options,
    )


def read_log(context: MigrationContext, number: int | None = None) -> tuple[LogEntry, ...]:
    """Read the last entries, the newest one last; none where there is no log.

    :param number: How many; None for all.
    """
    connection, table = context.connection, log_table(context)
    assert connection is not None
    if not has_table(connection, table):
        return ()
    _, rows = rows_of(connection, all_columns(table).order_by(table.c.id.desc()).limit(number))
    return tuple(as_entry(LogEntry, row) for row in reversed(rows))


def applied_checksums(context: MigrationContext) -> dict[str, str]:
    """Tell for each revision the checksum with which it was applied, as far as the log knows."""
    if context.as_sql:
        return {}
    connection, table = context.connection, log_table(context)
    assert connection is not None
    is_applied = (table.c.direction != "downgrade") & table.c.status.not_in(_NOT_APPLIED)
    query = sa.select(table.c.revision, table.c.checksum).where(is_applied).order_by(table.c.id)
    with suppress(sa.exc.SQLAlchemyError), harmless(context):
        if has_table(connection, table):
            _, rows = rows_of(connection, query)
            return {row.revision: row.checksum for row in rows}
    return {}


def applied_entries(context: MigrationContext) -> dict[str, LogEntry]:
    """Tell for each revision the last entry that says it was applied, as far as the log knows."""
    if context.as_sql:
        return {}
    with suppress(sa.exc.SQLAlchemyError), harmless(context):
        return last_applied(read_log(context))
    return {}


def last_applied(entries: t.Iterable[LogEntry]) -> dict[str, LogEntry]:
    """Tell for each revision the last entry that says it was applied."""
    return {
        entry.revision: entry
        for entry in entries
        if entry.direction != "downgrade" and entry.status not in _NOT_APPLIED
    }


def direction_of(step: MigrationInfo) -> str:
    """Name what a step does: ``upgrade``, ``downgrade`` or ``stamp``."""
    return "stamp" if step.is_stamp else "upgrade" if step.is_upgrade else "downgrade"
