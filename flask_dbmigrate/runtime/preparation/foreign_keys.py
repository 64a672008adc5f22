"""Finds the rows that a revision on SQLite leaves without the row they refer to."""

from __future__ import annotations

from collections import Counter
import re
import sqlite3
import typing as t

from flask_dbmigrate.dialects import beginning_with

from .base import RefusedError

Violations = Counter[tuple[str, str]]
"""The number of rows that refer to nothing, by table and the table they refer to."""

_CHANGES_ROWS = beginning_with(
    r"INSERT|UPDATE|DELETE|REPLACE|WITH|DROP\s+TABLE|ALTER\b.*\bREFERENCES"
)


def count_violations(raw: sqlite3.Connection) -> Violations:
    """Count the rows that refer to nothing; every row with a foreign key is read."""
    return Counter((row[0], row[2]) for row in raw.execute("PRAGMA foreign_key_check"))


class NewViolationsError(RefusedError):
    """A revision leaves rows that refer to nothing, and did not find them so."""

    def __init__(self, new: Violations) -> None:
        clauses = (
            f"'{child}' would have {rows} row{'s' if rows > 1 else ''} "
            f"with a foreign key to nothing in '{parent}'"
            for (child, parent), rows in sorted(new.items())
        )
        super().__init__(", and ".join(clauses))


class ForeignKeyGuard:
    """Compares the violations before and after statements that can make some.

    What was in the data before does not count.

    :param count: Counts the violations.
    :param version_table: Its rows, and those of the log beside it, refer to nothing.
    """

    def __init__(self, count: t.Callable[[], Violations], version_table: str) -> None:
        self._count = count
        self._own_rows = re.compile(
            rf'\w+ (?:INTO |FROM )?(?:\S+\.)?"?{re.escape(version_table)}(?:_log)?"?\s'
        )
        self._before: Violations | None = None
        self._is_dirty = False
        self._can_count = True

    def watch(self, statement: str) -> None:
        """Look at a statement that is about to run."""
        if self._is_dirty or not _CHANGES_ROWS.match(statement) or self._own_rows.match(statement):
            return
        self._is_dirty = True
        if self._before is None:
            try:
                self._before = self._count()
            except sqlite3.OperationalError:  # a foreign key to columns that are not unique
                self._can_count = False

    def check(self) -> None:
        """Compare, before a commit.

        :raises NewViolationsError: if there are more than before.
        :raises RefusedError: if there is a foreign key now that cannot be checked.
        """
        if self._is_dirty and self._can_count:
            try:
                after = self._count()
            except sqlite3.OperationalError as error:
                raise RefusedError(str(error)) from error
            if new := after - (self._before or Counter()):
                raise NewViolationsError(new)
            self._before = after
        self._is_dirty = False

    def forget(self) -> None:
        """Count anew before the next change: others than these statements will change rows."""
        self._before = None
