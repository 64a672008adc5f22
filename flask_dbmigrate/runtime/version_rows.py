"""What is wrong with the rows of a version table, and what helps."""

from __future__ import annotations

import typing as t

from alembic.script import ScriptDirectory
from alembic.util import CommandError

from flask_dbmigrate import _alembic
from flask_dbmigrate.errors import MigrationError
from flask_dbmigrate.errors import UnknownDatabaseRevisionError
from flask_dbmigrate.script.directory import unknown_heads

from .log import applied_entries

if t.TYPE_CHECKING:
    from .visit import Visit


def require_known(visit: Visit) -> None:
    """Check that the revisions in the version table exist on disk.

    :raises UnknownDatabaseRevisionError: if one does not.
    """
    for head in unknown_heads(visit.directory, visit.before):
        applied = applied_entries(visit.context).get(head)
        meant = _meant(visit.directory, head)
        raise UnknownDatabaseRevisionError(
            f"Database '{visit.key}' is at revision '{head}', "
            f"which no script in '{visit.directory.dir}' has."
            + (f" It was applied {applied.origin}." if applied else ""),
            hint=_hint(visit, head, meant)
            if meant
            else "Deploy the code that has it. If it is gone for good, say where the "
            "database stands with 'flask db stamp --purge REVISION'.",
            database=visit.key,
            revision=head,
        )


def _meant(directory: ScriptDirectory, head: str) -> str | None:
    """Tell which revision it is but for blanks around it, and capitals."""
    found = (script.revision for script in directory.walk_revisions())
    return next((name for name in found if name.casefold() == head.strip().casefold()), None)


def _hint(visit: Visit, head: str, meant: str) -> str:
    table = visit.context.version_table
    if visit.context.dialect.name == "postgresql" and head.rstrip(" ") == meant:
        return (
            f"It is '{meant}' with blanks, as in a column of type CHAR: 'ALTER TABLE {table} "
            "ALTER COLUMN version_num TYPE VARCHAR(32) USING rtrim(version_num)'."
        )
    return f"It is to be '{meant}': write that with 'flask db stamp --purge {meant}'."


def require_distinct(visit: Visit, heads: tuple[str, ...]) -> None:
    """Check before the first step that no row is there twice: Alembic finds out after it.

    :raises MigrationError: if one is.
    """
    for head in heads:
        if (number := heads.count(head)) > 1:
            raise MigrationError(
                f"The version table '{visit.context.version_table}' of database '{visit.key}' has "
                f"{number} rows with '{head}'.",
                hint=f"Leave one of them with 'flask db stamp --purge {head}'.",
                database=visit.key,
            )


def explain_line(error: CommandError, visit: Visit) -> MigrationError | None:
    """Say that two rows are of one line, if that is the error."""
    found = _alembic.overlapping_heads(error)
    if found is None or not visit.before or not set(found) <= set(visit.before):
        return None
    later, earlier = found
    return MigrationError(
        f"The version table '{visit.context.version_table}' of database '{visit.key}' has "
        f"'{earlier}' and '{later}', which comes after it.",
        hint=f"Leave the later one with 'flask db stamp --purge {later}'.",
        database=visit.key,
    )
