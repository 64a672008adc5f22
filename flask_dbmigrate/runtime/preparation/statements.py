"""What kind of statement it is, told from its first words."""

from __future__ import annotations

import re

from flask_dbmigrate.dialects import beginning_with

DDL = beginning_with(
    "ALTER|CREATE|DROP|TRUNCATE|RENAME|COMMENT|LOCK|REINDEX|CLUSTER|REFRESH|GRANT|REVOKE|ANALYZE"
    "|OPTIMIZE"
)
"""Statements that lock tables as a whole: who comes after them has to wait for them."""

_ALTER = beginning_with("ALTER")
_CONTROL = beginning_with("BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET|RESET|SHOW")


class Housekeeping:
    """Recognises statements that wait for nobody: of the session, the catalogue, or ourselves.

    :param version_table: Only the holder of the migration lock writes to it and to the log.
    """

    def __init__(self, version_table: str) -> None:
        self._tables = re.compile(rf"pg_catalog\.|\b{re.escape(version_table)}(_log|_journal)?\b")

    def match(self, statement: str) -> bool:
        """Tell whether a statement is one."""
        if _ALTER.match(statement):  # of our own tables, too: somebody may be reading them
            return False
        return bool(_CONTROL.match(statement) or self._tables.search(statement))
